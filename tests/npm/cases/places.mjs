// Documents around what a case is about, so that a case is a line: a selection on an object, on interfaces, an argument, an input.

// On an object, `Incident`.
export const incident = (set) => `{ incident(number: 1) { ${set} } }`;
// On an interface that objects of many kinds implement, `Node`.
export const node = (set) => `{ node(id: "INCIDENT_ID") { __typename ${set} } }`;
// On an interface, `ChangeEntry`.
export const entry = (set) => `{ activity(incidentId: "INCIDENT_ID") { nodes { entries { ${set} } } } }`;
// On an interface of a stream, `QueueItem`.
export const item = (set) => `subscription { incidentQueue { ${set} } }`;
// Arguments and inputs.
export const page = (given) => `{ incidents(${given}) { totalCount } }`;
export const filter = (given) => page(`filter: {${given}}`);
export const moment = (given) => `{ incidentAsOf(number: 1, moment: ${given}) { title } }`;
export const rows = (given) => `mutation { addBookmark(input: { incidentId: "INCIDENT_ID", title: "B", rows: ${given} }) { bookmark { rows } } }`;
// An input of which exactly one field is given, and which may be null itself; there is no such alert.
export const classify = (given) => `mutation { updateAlert(input: { alertId: "x", classification: ${given} }) { position } }`;
export const summary = (given) => `{ queueSummary(filter: {${given}}) { filter } }`;
// The same with declared variables.
export const pageOf = (declared, given) => `query(${declared}) ${page(given)}`;
export const filterOf = (declared, given) => `query(${declared}) ${filter(given)}`;
export const momentOf = (declared, given) => `query(${declared}) ${moment(given)}`;
export const summaryOf = (declared, given) => `query(${declared}) ${summary(given)}`;
export const rowsOf = (declared, given) => `mutation(${declared}) ${rows(given).slice("mutation ".length)}`;
export const classifyOf = (declared, given) => `mutation(${declared}) ${classify(given).slice("mutation ".length)}`;
