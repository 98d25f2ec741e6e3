// Compares a running desk with the reference implementation over random documents and variables, valid and broken. Both
// must accept or both must refuse a document, and both answers must have equal names in an equal order.
//
// node differential.mjs URL SCHEMA SEED COUNT
//
// The reference executes each document over the desk's answer. Its resolvers read the values from that answer by name.
// Its own rules decide which names the answer has, in which order, and which values are null.
import {
  getNamedType, getNullableType, isAbstractType, isEnumType, isInputObjectType, isLeafType, isListType, isNonNullType,
  isCompositeType, isRequiredArgument, isRequiredInputField, parseType, typeFromAST,
} from "graphql-september-2025";
import { asked, broken as rulesBroken, judged, replayed, schemaOf } from "./reference.mjs";

const [url, file, seed = "1", count = "1000"] = process.argv.slice(2);
const schema = schemaOf(file);

let state = Number(seed) >>> 0;
function random() {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = state;
  t = Math.imul(t ^ (t >>> 15), t | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}
const below = (n) => Math.floor(random() * n);
const pick = (items) => items[below(items.length)];
const chance = (p) => random() < p;

// The probability with which each value, directive, alias and fragment is made wrong.
let spoil = 0;
const wrong = [null, 1, 1.5, "x", "NEW", true, [], ["x"], [[1]], {}, { a: 1 }, 3e9, "1"];

const ids = [];
// Types of variables inside a JSON value. Any type is valid there.
const FREE = ["[[Int]]", "[[Int!]!]!", "[[Severity]!]", "Float", "ID!", "SystemTagInput", "[ClassificationInput!]"];
const CONDITION = schema.getDirective("skip").args[0].type;
const texts = ["a", "INC", "é 😀", "line\nbreak", 'quote " \\', "", "0"];

// Returns a random value of a type, as JSON.
function json(type, depth) {
  if (chance(spoil)) return pick(wrong);
  if (isNonNullType(type)) return json(type.ofType, depth);
  if (isListType(type)) {
    if (chance(0.2)) return json(getNullableType(type.ofType), depth);
    return Array.from({ length: below(3) }, () => json(type.ofType, depth));
  }
  if (isEnumType(type)) return pick(type.getValues()).name;
  if (isInputObjectType(type)) {
    const fields = Object.values(type.getFields());
    if (type.isOneOf) {
      const field = pick(depth > 2 ? fields.filter((it) => isLeafType(getNamedType(it.type))).concat(fields).slice(0, 1) : fields);
      const second = chance(spoil) ? { [pick(fields).name]: null } : {};
      return { [field.name]: json(field.type, depth + 1), ...second };
    }
    const chosen = fields.filter((it) => (isRequiredInputField(it) && !chance(spoil)) || (depth < 3 && chance(0.25)));
    const unknown = chance(spoil) ? { [pick(["colour", "id"])]: 1 } : {};
    const given = chosen.map((it) => [it.name, !isNonNullType(it.type) && chance(0.1) ? null : json(it.type, depth + 1)]);
    return { ...Object.fromEntries(given), ...unknown };
  }
  switch (type.name) {
    case "Int": return below(5) + 1;
    case "Float": return pick([1, 1.5]);
    case "Boolean": return chance(0.5);
    case "ID": return pick([...ids, "x", 7]);
    case "DateTime": return pick(["2025-01-01T00:00:00Z", "2025-06-01T12:30:00.5+02:00"]);
    case "UUID": return "0198a8a0-0000-7000-8000-000000000000";
    case "JSON": return pick([{ a: [1, "b", null] }, "text", 3]);
    default: return pick(texts);
  }
}

// Writes a value of a type as the text of a document. Some values become variables.
function written(made, type, value, place = {}) {
  if (made && chance(0.06)) return variable(made, type, value, place);
  if (value === null) return "null";
  const nullable = getNullableType(type);
  if (isListType(nullable)) {
    if (!Array.isArray(value)) return written(undefined, nullable.ofType, value);
    return `[${value.map((item) => written(made, nullable.ofType, item)).join(pick([", ", " "]))}]`;
  }
  if (isEnumType(nullable) && typeof value === "string") return /^[A-Za-z]/.test(value) ? value : "NONE";
  if (isInputObjectType(nullable) && typeof value === "object" && !Array.isArray(value)) {
    const fields = nullable.getFields();
    const entry = ([name, inner]) => {
      const known = fields[name];
      const place = known && { isOneOf: nullable.isOneOf, hasDefault: !isRequiredInputField(known) };
      const text = `${name}: ${known ? written(made, known.type, inner, place) : plain(inner)}`;
      return chance(spoil / 2) ? `${text}, ${text}` : text;
    };
    return `{${Object.entries(value).map(entry).join(", ")}}`;
  }
  if (made && nullable.name === "JSON" && chance(0.5)) {
    const free = typeFromAST(schema, parseType(pick(FREE)));
    return `[{a: ${variable(made, free, json(free, 2))}, b: ${plain(value)}}]`;
  }
  return plain(value);
}
function plain(value) {
  if (Array.isArray(value)) return `[${value.map(plain).join(", ")}]`;
  if (value !== null && typeof value === "object") return `{${Object.entries(value).map(([k, v]) => `${k}: ${plain(v)}`).join(", ")}}`;
  return typeof value === "string" ? string(value) : String(value);
}
function string(text) {
  if (chance(0.1) && !/["\\]/.test(text) && text.trim() === text && text) return `"""${text}"""`;
  const escaped = [...text].map((c) => {
    if (c === '"' || c === "\\") return `\\${c}`;
    if (c === "\n") return "\\n";
    if (c.length === 2 && chance(0.5)) return chance(0.5) ? `\\u{${c.codePointAt(0).toString(16)}}` : [0, 1].map((i) => `\\u${c.charCodeAt(i).toString(16)}`).join("");
    return c;
  });
  return `"${escaped.join("")}"`;
}

function document() {
  const made = { variables: {}, declared: [], fragments: [], names: 0 };
  const kind = chance(0.85) ? "query" : chance(0.6) ? "mutation" : "subscription";
  const root = { query: schema.getQueryType(), mutation: schema.getMutationType(), subscription: schema.getSubscriptionType() }[kind];
  const body = kind === "subscription" ? `{ ${field(made, pick(Object.values(root.getFields())), 1)} }` : selection(made, root, 0, kind);
  const second = (list) => { if (list.length > 0 && chance(spoil)) list.push(pick(list)); };
  second(made.declared);
  second(made.fragments);
  const declared = made.declared.length > 0 ? `(${made.declared.join(pick([", ", " "]))})` : "";
  const name = declared || chance(0.5) ? " Q" : "";
  const parts = [`${kind}${name}${declared} ${body}`, ...made.fragments];
  if (chance(spoil)) parts.push(pick(["{ __typename }", "query Q { __typename }", "query R { __typename }"]));
  if (chance(0.3)) parts.reverse();
  return { query: kind === "query" && !name && chance(0.5) ? [body, ...made.fragments].join(" ") : parts.join("\n"), variables: made.variables };
}

function selection(made, type, depth, kind) {
  const items = [];
  const fields = isAbstractType(type) && !type.getFields ? [] : Object.values(type.getFields());
  const usable = fields.filter((it) => depth < 4 || isLeafType(getNamedType(it.type)));
  // The reference reads the type of the object from this field.
  if (isAbstractType(type)) items.push("__typename");
  const wanted = kind === "mutation" ? 1 : 1 + below(depth === 0 ? 3 : 5);
  for (let n = 0; n < wanted; n += 1) {
    const dice = random();
    if (usable.length === 0 || dice < 0.08) items.push(`${chance(0.3) ? "t: " : ""}__typename${condition(made)}`);
    else if (kind === "mutation" && chance(0.15)) items.push(field(made, usable.find((it) => it.name === "addBookmark"), depth + 1));
    else if (dice < 0.8 || depth > 4 || kind === "mutation") items.push(field(made, pick(usable), depth + 1));
    else {
      const on = fragmentType(type);
      const inner = selection(made, on, depth + 1);
      if (dice < 0.92) items.push(`...${on === type && chance(0.4) ? "" : ` on ${on.name}`}${condition(made)} ${inner}`);
      else {
        const name = `F${made.names++}`;
        const again = chance(spoil * 3) ? ` ...F${below(made.names)}` : "";
        made.fragments.push(`fragment ${name} on ${chance(spoil / 2) ? pick(["Severity", "OwnerInput", "Nothing"]) : on.name} ${inner.slice(0, -1)}${again} }`);
        items.push(`...${name}${condition(made)}`);
        if (chance(0.3)) items.push(`...${name}`);
      }
    }
  }
  if (items.length > 1 && chance(0.3) && kind !== "mutation") items.push(pick(items));
  return `{ ${items.join(pick([" ", "\n", ", "]))} }`;
}

function fragmentType(type) {
  const others = Object.values(schema.getTypeMap()).filter((it) => isCompositeType(it) && !it.name.startsWith("__") && overlap(it, type));
  return chance(0.5) ? type : pick(others);
}
const possible = (type) => (isAbstractType(type) ? schema.getPossibleTypes(type) : [type]);
const overlap = (one, two) => possible(one).some((it) => possible(two).includes(it));

function condition(made) {
  if (!chance(0.1)) return "";
  const value = chance(0.5);
  const name = pick(["skip", "include"]);
  const one = ` @${name}(if: ${chance(0.5) ? value : variable(made, CONDITION, value)})`;
  const other = chance(0.2) ? ` @${chance(spoil * 5) === (name === "skip") ? "skip" : "include"}(if: ${chance(0.5)})` : "";
  return `${one}${other}`;
}

// Declares a variable for a place, with the type of the place or a stricter or laxer type, with or without a default.
function variable(made, place, value, { isOneOf = false, hasDefault = false } = {}) {
  const name = `v${made.declared.length}`;
  const nullable = getNullableType(place);
  const isDefault = chance(0.3) && value !== null;
  const mayBeLax = isNonNullType(place) ? isDefault || hasDefault : !isOneOf;
  const isStrict = !chance(mayBeLax ? 0.7 : spoil);
  made.declared.push(`$${name}: ${chance(spoil) ? pick(["String", "Incident", "Nothing"]) : nullable}${isStrict ? "!" : ""}${isDefault ? ` = ${written(undefined, nullable, value)}` : ""}`);
  if (!isDefault || chance(0.2)) made.variables[name] = isStrict || !chance(0.1) ? value : null;
  if (!isStrict && chance(0.15)) delete made.variables[name];
  return `$${name}`;
}

function field(made, definition, depth) {
  const given = definition.args.filter((it) => (isRequiredArgument(it) && !chance(spoil)) || chance(0.3));
  const args = given.map((it) => {
    const value = /^(first|last)$/.test(it.name) ? 1 + below(2) : json(it.type, 0);
    const place = { hasDefault: !isRequiredArgument(it) };
    return `${it.name}: ${chance(0.3) ? variable(made, it.type, value, place) : written(made, it.type, value, place)}`;
  });
  if (args.length > 0 && chance(spoil)) args.push(pick(args));
  const type = getNamedType(definition.type);
  const alias = chance(spoil) ? `${pick(["a", "b"])}: ` : chance(0.15) ? `${pick(["a", "b", "c"])}${made.names++}: ` : "";
  const below_ = isCompositeType(type) ? ` ${selection(made, type, depth)}` : "";
  const on = definition.name in schema.getSubscriptionType().getFields() && depth === 1 ? "" : condition(made);
  return `${alias}${definition.name}${args.length > 0 ? `(${args.join(", ")})` : ""}${on}${below_}`;
}

// Breaks one thing in a request: the value of a variable, or a token. Sometimes the result is still valid.
function broken({ query, variables }) {
  if (chance(0.35) && Object.keys(variables).length > 0) {
    const name = pick(Object.keys(variables));
    return { query, variables: { ...variables, [name]: pick(wrong) } };
  }
  const tokens = query.match(/"""[^]*?"""|"(?:\\.|[^"\\\n])*"|\.\.\.|[A-Za-z_][A-Za-z0-9_]*|-?\d+(?:\.\d+)?|\S/g) ?? [];
  const at = below(tokens.length);
  const words = ["title", "Incident", "NEW", "first", "x", "null", "true", "1", "1.5", '"x"', "$v0", "$v9", "@skip(if: true)", "@x", "...F0", "{", "}", "(", ")", "[", "]", ":", "!", "=", "on", "query", "fragment", "__typename", "a: id", "{a: 1}", "[1]"];
  switch (below(5)) {
    case 0: tokens.splice(at, 1); break;
    case 1: tokens.splice(at, 0, tokens[at]); break;
    case 2: tokens.splice(at, 1, pick(words)); break;
    case 3: tokens.splice(at, 0, pick(words)); break;
    default: tokens.splice(at, 1, pick(tokens));
  }
  return { query: tokens.join(" "), variables };
}

const first = { query: "{ incidents(first: 5) { nodes { id alerts(first: 2) { nodes { id } } } } users { nodes { id } } }", variables: {} };
const start = await asked(url, first);
for (const node of start.data.incidents.nodes) ids.push(node.id, ...node.alerts.nodes.map((it) => it.id));
ids.push(...start.data.users.nodes.map((it) => it.id));

const tally = { accepted: 0, refused: 0, beyond: 0, compared: 0, unread: 0 };
const reached = {};
const differences = [];
for (let n = 0; n < Number(count); n += 1) {
  // Of four documents, one has a broken token or variable, and one is made with wrong parts.
  spoil = n % 4 === 1 ? 0.04 : 0;
  const whole = document();
  const request = n % 4 === 3 ? broken(whole) : whole;
  const ours = await asked(url, request);
  if (ours.refused && ours.refused.extensions?.code !== "INVALID") { tally.beyond += 1; continue; }
  const theirs = judged(schema, request);
  if (Boolean(ours.refused) !== Boolean(theirs.refused)) {
    differences.push({ n, ...request, ours: ours.refused ?? "accepted", theirs: theirs.refused ?? "accepted" });
    continue;
  }
  if (theirs.refused) {
    tally.refused += 1;
    for (const name of theirs.step === "rules" ? rulesBroken(schema, theirs.parsed) : [theirs.step]) reached[name] = (reached[name] ?? 0) + 1;
    continue;
  }
  tally.accepted += 1;
  if (ours.stream || ours.data === null || ours.errors) { tally.unread += 1; continue; }
  const again = await replayed(schema, theirs.parsed, request, ours.data);
  // The broken token may be the `__typename` that the reference needs.
  if (again.errors?.some((it) => it.message.startsWith("Abstract type"))) { tally.unread += 1; continue; }
  tally.compared += 1;
  if (JSON.stringify(again.data) !== JSON.stringify(ours.data)) {
    const [mine, other] = [ours.data, again.data].map((data) => JSON.stringify(data));
    differences.push({ n, ...request, ours: mine, theirs: other, errors: again.errors?.map((it) => it.message) });
  }
}
for (const difference of differences.slice(0, 10)) console.log(JSON.stringify(difference, null, 1));
console.log("refused by", reached);
console.log(`seed ${seed}:`, tally, `${differences.length} differences`);
process.exitCode = differences.length === 0 ? 0 : 1;
