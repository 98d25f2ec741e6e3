// What the reference implementation's own validation suite tries, told over the desk's schema: each kind of valid and of broken
// document that it has for a rule, and likewise for the language, for values and for conditions.
//
// node rules.mjs URL SCHEMA
//
// Each case says what is to be said of it. The reference must agree, so that no case is a mistake of ours, and then the desk.
// - `valid`: nothing is wrong with it. A refusal by the domain, inside an answer, is one more answer.
// - `refused`: it is refused, by the rule of the section or, where the section is a step (syntax, variables), by that step.
// - `elsewhere`: the rule of the section has nothing against it, and others have.
// - `answered`: valid, and the answer has the names that the reference would write, in their order.
// - `meant`: valid, and what the desk understood of an argument is what the reference understands.
// - `known`: the difference of docs/DESIGN.md by that name. Both are held to their side, so that the list stays true.
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

// What cannot be broken over this schema, and why; it is looked at whether that still holds.
const UNBREAKABLE = {
  KnownOperationTypesRule: () => ["query", "mutation", "subscription"].every((operation) => schema.getRootType(operation)),
};

// An incident holds a number of bookmarks, so there is a new one for every few cases that pin some.
let id;
let pinned = 0;
async function incident() {
  const made = await asked(url, { query: 'mutation { createIncident(input: { title: "Beaconing" }) { incident { id } } }' });
  id = made.data.createIncident.incident.id;
}
await incident();

// A case is a document, or a document with its variables, or with more of the request.
async function request(given) {
  const [query, variables, more] = Array.isArray(given) ? given : [given];
  if (query.includes("addBookmark") && ++pinned % 15 === 0) await incident();
  const written = JSON.stringify({ query, ...(variables && { variables }), ...more });
  return JSON.parse(written.replaceAll("INCIDENT_ID", id));
}

// What the reference makes of the arguments of the root field.
async function understood(parsed, { variables, operationName }) {
  let seen;
  const fieldResolver = (_source, args, _context, info) => {
    if (info.path.prev === undefined) seen = args;
    return null;
  };
  await execute({ schema, document: parsed, variableValues: variables, operationName, rootValue: {}, fieldResolver });
  return JSON.parse(JSON.stringify(seen));
}

// What the desk gives back of them: the filter of a summary, the rows of a bookmark.
function echoed({ queueSummary, addBookmark }) {
  return queueSummary ? { filter: queueSummary.filter } : { input: { rows: addBookmark?.bookmark.rows } };
}

// Whether all that is in `part` is in `whole`.
function within(part, whole) {
  if (part === null || typeof part !== "object" || Array.isArray(part)) return isDeepStrictEqual(part, whole);
  return Object.entries(part).every(([name, value]) => within(value, whole?.[name]));
}

// What is wrong with a case, or nothing.
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

// How the desk's understanding of an argument differs from the reference's, if it does.
async function misunderstood(parsed, it, data) {
  const meant = await understood(parsed, it);
  const wanted = meant.input ? { input: { rows: meant.input.rows } } : meant;
  return within(wanted, echoed(data)) ? undefined : `the desk: ${JSON.stringify(data)}, the reference: ${JSON.stringify(wanted)}`;
}

// A known difference: what the plain reference says, without what reference.mjs holds back, and what the desk says. Where both accept,
// it is one of understanding.
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

// No rule is left out, on either side.
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
