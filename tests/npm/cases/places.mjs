// Functions that complete the text of a case to a document, so that a case is one line. A text is a selection on an
// object or an interface, an argument, or an input.

// A selection on an object, `Incident`.
export const incident = (set) => `{ incident(by: { number: 1 }) { ${set} } }`;
// A selection on `Node`, an interface that many object types implement.
export const node = (set) => `{ node(id: "INCIDENT_ID") { __typename ${set} } }`;
// A selection on an interface, `ChangeEntry`.
export const entry = (set) => `{ activity(incidentId: "INCIDENT_ID") { nodes { entries { ${set} } } } }`;
// A selection on an interface of a stream, `QueueItem`.
export const item = (set) => `subscription { incidentQueue { ${set} } }`;
// Arguments and inputs.
export const page = (given) => `{ incidents(${given}) { totalCount } }`;
export const filter = (given) => page(`filter: {${given}}`);
export const moment = (given) => `{ incidentAsOf(by: { number: 1 }, moment: ${given}) { title } }`;
export const rows = (given) => `mutation { addBookmark(input: { incidentId: "INCIDENT_ID", title: "B", rows: ${given} }) { bookmark { rows } } }`;
// An input that needs exactly one field, and that may itself be null. The alert does not exist.
export const classify = (given) => `mutation { updateAlert(input: { alertId: "x", classification: ${given} }) { position } }`;
export const summary = (given) => `{ queueSummary(filter: {${given}}) { filter { json } } }`;
// The functions below also declare variables.
export const pageOf = (declared, given) => `query(${declared}) ${page(given)}`;
export const filterOf = (declared, given) => `query(${declared}) ${filter(given)}`;
export const momentOf = (declared, given) => `query(${declared}) ${moment(given)}`;
export const summaryOf = (declared, given) => `query(${declared}) ${summary(given)}`;
export const rowsOf = (declared, given) => `mutation(${declared}) ${rows(given).slice("mutation ".length)}`;
export const classifyOf = (declared, given) => `mutation(${declared}) ${classify(given).slice("mutation ".length)}`;
