// Checks schema.graphql by graphql-eslint (eslint.config.mjs). Fails on each finding, and if the linter finds nothing in
// a schema that breaks a rule.

import { fileURLToPath } from 'node:url';
import { ESLint } from 'eslint';

const root = fileURLToPath(new URL('../../', import.meta.url));
const eslint = new ESLint({ cwd: root, overrideConfigFile: fileURLToPath(new URL('eslint.config.mjs', import.meta.url)) });
const [{ messages }] = await eslint.lintFiles(['schema.graphql']);
for (const { line, ruleId, message } of messages) console.error(`schema.graphql:${line} ${ruleId}: ${message}`);

const [broken] = await eslint.lintText('type bad_name { id: ID! }', { filePath: `${root}schema.graphql` });
const isSeen = broken.messages.some(({ ruleId }) => ruleId === '@graphql-eslint/naming-convention');
if (!isSeen) console.error('the linter does not see a type with a wrong name');
process.exitCode = messages.length > 0 || !isSeen ? 1 : 0;
