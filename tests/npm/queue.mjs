// What the clients that go on from their last position have in common: the query, and a line for each item.

export const QUERY = `subscription Follow($after: String) {
  incidentQueue(after: $after) {
    __typename
    position
    ... on QueueEntered { row { title } }
  }
}`;

// Prints the kind of an item and the title of its row; returns the position to go on from.
export function say({ data, errors }) {
  if (errors) throw new Error(JSON.stringify(errors));
  const item = data.incidentQueue;
  console.log(item.__typename, item.row?.title ?? '');
  return item.position;
}
