// Runs the audits of GraphQL over HTTP against the endpoint URL. Fails on each audit that is not ok, and on a kit with
// another number of audits than the number that was reviewed.

import { auditServer } from 'graphql-http';

const AUDITS = 61;

// The audits that may end with a notice, each with the reason. An error or a warning always fails.
const NOTICES = {};

const url = process.argv[2];
if (!url) throw new Error('usage: node audits.mjs URL');

const results = await auditServer({ url, fetchFn: fetch });
const wrong = results.filter(({ id, status }) => status !== 'ok' && !(status === 'notice' && id in NOTICES));
for (const { id, name, status, reason } of wrong) console.error(`${status} ${id} ${name}: ${reason}`);
console.log(`${results.length - wrong.length} of ${results.length} audits are ok`);
if (results.length !== AUDITS) console.error(`the kit has ${results.length} audits, ${AUDITS} were looked at`);
process.exitCode = wrong.length > 0 || results.length !== AUDITS ? 1 : 0;
