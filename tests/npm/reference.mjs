// Asks the reference implementation, which has the desk's schema, and the desk about a document and its variables.
import { readFileSync } from "node:fs";
import {
  buildSchema, parse, validate, specifiedRules, recommendedRules, execute, getNamedType, getOperationAST, getVariableValues, GraphQLError,
  TypeInfo, visit, visitWithTypeInfo,
} from "graphql-september-2025";

// The rules of the specification, without the recommended limit of introspection's depth. The desk has its own limits.
export const rules = specifiedRules.filter((rule) => !recommendedRules.includes(rule));

const time = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/;
const uuid = /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/;

// Returns the schema with the scalars of the desk for which the scripts make broken values: DateTime and UUID.
export function schemaOf(file) {
  const schema = buildSchema(readFileSync(file, "utf8"));
  for (const [name, form] of [["DateTime", time], ["UUID", uuid]]) {
    const scalar = schema.getType(name);
    const read = (value) => {
      if (typeof value !== "string" || !form.test(value)) throw new GraphQLError(`not a ${name}`);
      return value;
    };
    scalar.parseValue = read;
    scalar.coerceInputValue = read;
    scalar.parseLiteral = (node) => read(node.value);
    scalar.coerceInputLiteral = (node) => read(node.kind === "StringValue" ? node.value : undefined);
  }
  return schema;
}

// Returns whether the only field of an input with exactly one field is a variable that may be null. Known difference
// "exactly one": this reference does not refuse that variable if the input itself may not be null.
function mayBeNone(schema, parsed) {
  const nullable = new Set();
  const types = new TypeInfo(schema);
  let found = false;
  visit(parsed, { VariableDefinition: (it) => { if (it.type.kind !== "NonNullType") nullable.add(it.variable.name.value); } });
  const isOneOf = () => types.getParentInputType() && getNamedType(types.getParentInputType()).isOneOf;
  visit(parsed, visitWithTypeInfo(types, {
    ObjectField: ({ value }) => { found ||= value.kind === "Variable" && nullable.has(value.name.value) && isOneOf(); },
  }));
  return found;
}

// Returns the reference's judgement of a request: the parsed document, or the refusal and the step that refuses it.
export function judged(schema, { query, variables, operationName }) {
  const refused = (step, errors) => ({ step, refused: errors.map((it) => it.message).join(" | ") });
  let parsed;
  try { parsed = parse(query); } catch (error) { return refused("syntax", [error]); }
  // Known difference "empty selection sets": this parser accepts `{ }`. The grammar (`{ Selection+ }`) forbids it.
  // Known difference "blocks": fields that merge must have equal arguments, and this reference does not count a text in
  // a block string as equal to that text in a string.
  let empty = false;
  visit(parsed, {
    SelectionSet: (set) => { empty ||= set.selections.length === 0; },
    StringValue: (string) => { string.block = false; },
  });
  if (empty) return refused("syntax", [{ message: "an empty selection set" }]);
  const errors = validate(schema, parsed, rules);
  if (errors.length > 0) return { ...refused("rules", errors), parsed };
  if (mayBeNone(schema, parsed)) return refused("oneOf", [{ message: "a variable may be null as the one field of an input" }]);
  const operation = getOperationAST(parsed, operationName);
  if (!operation) return refused("operation", [{ message: "no operation" }]);
  const coerced = getVariableValues(schema, operation.variableDefinitions ?? [], variables ?? {});
  if (coerced.errors) return refused("variables", coerced.errors);
  // Known difference "conditions": if the variable of a condition is null, the desk always refuses the request. The
  // reference refuses it only if the condition decides.
  const given = coerced.variableValues.coerced;
  const decides = (it) => it.value.kind === "Variable" && it.value.name.value in given && given[it.value.name.value] === null;
  let isNull = false;
  visit(parsed, { Directive: (directive) => { isNull ||= directive.arguments.some(decides); } });
  if (isNull) return refused("variables", [{ message: "a condition is null" }]);
  return { parsed };
}

// Returns the names of the rules that a document breaks.
export function broken(schema, parsed) {
  return rules.filter((rule) => validate(schema, parsed, [rule]).length > 0).map((rule) => rule.name);
}

// Executes a document with the reference, over the desk's answer.
export function replayed(schema, parsed, { variables, operationName }, data) {
  return execute({
    schema, document: parsed, variableValues: variables, operationName, rootValue: data,
    fieldResolver: (source, _args, _context, info) => source?.[info.path.key] ?? null,
    typeResolver: (value) => value.__typename,
  });
}

// Returns the desk's answer to a request. `refused` is the error that prevents the execution; `stream` is true if the
// operation is a subscription.
export async function asked(url, request) {
  const response = await fetch(`${url}/graphql`, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(request),
  });
  const answer = await response.json();
  const first = answer.errors?.[0];
  const stream = Boolean(first?.message.startsWith("a subscription is a stream"));
  return { ...answer, stream, refused: "data" in answer || stream ? undefined : first ?? { message: "nothing" } };
}
