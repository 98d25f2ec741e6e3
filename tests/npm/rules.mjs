// Runs the cases of the reference implementation's validation suite over the desk's schema: for each rule, every kind
// of valid and of broken document. More cases test the language, values and conditions.
//
// node rules.mjs URL SCHEMA
//
// Each case names its expected result. The reference must give it, which proves the case, and the desk must give it.
// - `valid`: the request is valid. A refusal by the domain, inside an answer, counts as an answer.
// - `refused`: the rule of the section refuses it, or the step of the section (syntax, variables).
// - `elsewhere`: the rule of the section accepts it, and other rules refuse it.
// - `answered`: valid, and the answer has the names of the reference's answer, in their order.
// - `meant`: valid, and the desk reads an argument as the reference reads it.
// - `known`: a known difference of docs/DESIGN.md. Both sides must give their own result, so that the list stays true.
import { isDeepStrictEqual } from "node:util";
import { parse, validate, execute } from "graphql-september-2025";
import { asked, broken, judged, replayed, rules, schemaOf } from "./reference.mjs";
import documents from "./cases/documents.mjs";
import overlaps from "./cases/overlaps.mjs";
import args from "./cases/arguments.mjs";
import language from "./cases/language.mjs";
import values from "./cases/values.mjs";

const [url, file] = process.argv.slice(2);
const schema = schemaOf(file);

// The rules that no document can break over this schema. Each function checks that the reason is still true.
const UNBREAKABLE = {
  KnownOperationTypesRule: () => ["query", "mutation", "subscription"].every((operation) => schema.getRootType(operation)),
};

// The bookmarks of an incident are limited, so every fifteenth case with a bookmark creates a new incident.
let id;
let pinned = 0;
async function incident() {
  const made = await asked(url, { query: 'mutation { createIncident(input: { title: "Beaconing" }) { incident { id } } }' });
  id = made.data.createIncident.incident.id;
}
await incident();

// Returns the request of a case: a document, or a list of a document, its variables and the rest of the request.
async function request(given) {
  const [query, variables, more] = Array.isArray(given) ? given : [given];
  if (query.includes("addBookmark") && ++pinned % 15 === 0) await incident();
  const written = JSON.stringify({ query, ...(variables && { variables }), ...more });
  return JSON.parse(written.replaceAll("INCIDENT_ID", id));
}

// Returns the arguments of the root field as the reference reads them.
async function understood(parsed, { variables, operationName }) {
  let seen;
  const fieldResolver = (_source, args, _context, info) => {
    if (info.path.prev === undefined) seen = args;
    return null;
  };
  await execute({ schema, document: parsed, variableValues: variables, operationName, rootValue: {}, fieldResolver });
  return JSON.parse(JSON.stringify(seen));
}

// Returns the arguments that the desk's answer repeats: the filter of a summary, or the rows of a bookmark.
function echoed({ queueSummary, addBookmark }) {
  return queueSummary ? { filter: queueSummary.filter.json } : { input: { rows: addBookmark?.bookmark.rows } };
}

// Returns whether `whole` contains everything in `part`.
function within(part, whole) {
  if (part === null || typeof part !== "object" || Array.isArray(part)) return isDeepStrictEqual(part, whole);
  return Object.entries(part).every(([name, value]) => within(value, whole?.[name]));
}

// Returns what is wrong with a case, or undefined.
async function tried(section, expectation, it) {
  const theirs = judged(schema, it);
  const names = theirs.step === "rules" ? broken(schema, theirs.parsed) : [theirs.step];
  const isRule = rules.some((rule) => rule.name === section);
  const refused = expectation === "refused" || expectation === "elsewhere";
  if (refused !== Boolean(theirs.refused)) return `the reference: ${theirs.refused ?? "accepted"}`;
  if (expectation === "refused" && !names.includes(section)) return `the reference refuses it by ${names}`;
  if (expectation === "elsewhere" && (!isRule || names.includes(section))) return `the reference refuses it by ${names}`;
  const ours = await asked(url, it);
  if (refused) {
    if (!ours.refused) return `the desk: accepted, ${JSON.stringify(ours.data)} where the reference says ${theirs.refused}`;
    const code = ours.refused.extensions?.code;
    return code === "INVALID" ? undefined : `the desk: ${code}, ${ours.refused.message}`;
  }
  if (ours.refused) return `the desk: ${ours.refused.message}`;
  if (expectation === "valid") return undefined;
  if (ours.errors) return `the desk: ${JSON.stringify(ours.errors)}`;
  if (expectation === "answered") {
    const again = await replayed(schema, theirs.parsed, it, ours.data);
    const [mine, other] = [ours.data, again.data].map((data) => JSON.stringify(data));
    return mine === other ? undefined : `the desk: ${mine}, the reference: ${other}`;
  }
  return misunderstood(theirs.parsed, it, ours.data);
}

// Returns how the desk's reading of an argument differs from the reference's reading, or undefined.
async function misunderstood(parsed, it, data) {
  const meant = await understood(parsed, it);
  const wanted = meant.input ? { input: { rows: meant.input.rows } } : meant;
  return within(wanted, echoed(data)) ? undefined : `the desk: ${JSON.stringify(data)}, the reference: ${JSON.stringify(wanted)}`;
}

// Checks a known difference: the result of the reference alone, without the corrections of reference.mjs, and the
// result of the desk. If both accept the request, they must read an argument differently.
async function differs({ theirs, ours }, it) {
  const plain = () => {
    const parsed = parse(it.query);
    if (validate(schema, parsed, rules).length > 0) return "refused";
    const { variables, operationName } = it;
    const { errors = [] } = execute({ schema, document: parsed, variableValues: variables, operationName, rootValue: {} });
    return errors.every((error) => error.path) ? "valid" : "refused";
  };
  const said = plain();
  if (said !== theirs) return `the reference: ${said}`;
  const answer = await asked(url, it);
  if ((answer.refused ? "refused" : "valid") !== ours) return `the desk: ${answer.refused?.message ?? "accepted"}`;
  if (theirs !== ours) return undefined;
  return (await misunderstood(parse(it.query), it, answer.data)) ? undefined : "the two agree";
}

const sections = [...documents, ...overlaps, ...args, ...language, ...values];
const failures = [];
const tally = {};
const count = (section, expectation) => {
  tally[section] ??= {};
  tally[section][expectation] = (tally[section][expectation] ?? 0) + 1;
};
for (const { section, known = [], ...cases } of sections) {
  for (const [expectation, list] of Object.entries(cases)) {
    for (const given of list) {
      const it = await request(given);
      count(section, expectation);
      const wrong = await tried(section, expectation, it);
      if (wrong) failures.push({ section, expectation, ...it, wrong });
    }
  }
  for (const { request: given, ...sides } of known) {
    const it = await request(given);
    count(section, "known");
    const wrong = await differs(sides, it);
    if (wrong) failures.push({ section, expectation: "known", ...sides, ...it, wrong });
  }
}

// Each rule has a valid case and, if it can be broken, a refused case.
for (const { name } of rules) {
  const { valid = 0, refused = 0 } = tally[name] ?? {};
  const breakable = !UNBREAKABLE[name]?.();
  if (valid === 0 || (refused === 0) === breakable) failures.push({ section: name, wrong: `${valid} valid, ${refused} refused` });
}

for (const failure of failures) console.log(JSON.stringify(failure, null, 1));
console.log(tally);
const total = Object.values(tally).flatMap((it) => Object.values(it)).reduce((sum, n) => sum + n, 0);
console.log(`${total} cases, ${failures.length} differences`);
process.exitCode = failures.length === 0 ? 0 : 1;
