// The common part of the clients that resume from their last position: the query, its variables, and the output.

export const QUERY = `subscription Follow($after: String) {
  incidentQueue(after: $after) {
    __typename
    position
    ... on QueueEntered { row { title } }
  }
}`;

// The variables change: `after` is always the position of the last item.
export const variables = { after: null };

// Prints the kind of an item and the title of its row.
export function next({ data, errors }) {
  if (errors || !data) throw new Error(JSON.stringify(errors));
  const item = data.incidentQueue;
  variables.after = item.position;
  console.log(item.__typename, item.row?.title ?? '');
}

export function fail(error) {
  console.error(error);
  process.exit(1);
}
