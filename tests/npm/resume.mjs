// Follows a queue with the real graphql-ws client through any number of restarts of the server, going on from the last
// position each time.
//
//   node resume.mjs WS_URL
//
// Prints a line for each item: its kind, and the title of its row.
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

const [url] = process.argv.slice(2);
const client = createClient({
  url,
  webSocketImpl: WebSocket,
  lazy: false,
  retryAttempts: 100,
  // A refused connection is no close event: without this the client takes it for final.
  shouldRetry: () => true,
  retryWait: () => new Promise((resolve) => setTimeout(resolve, 50)),
});
const query = `subscription Follow($after: String) {
  incidentQueue(after: $after) {
    __typename
    position
    ... on QueueEntered { row { title } }
    ... on Resync { __typename }
  }
}`;
// The client sends the variables of the moment when it subscribes anew, so the last position is kept in them.
const variables = { after: null };
client.subscribe(
  { query, variables },
  {
    next: ({ data, errors }) => {
      if (errors) throw new Error(JSON.stringify(errors));
      const item = data.incidentQueue;
      variables.after = item.position;
      console.log(item.__typename, item.row?.title ?? '');
    },
    error: (error) => {
      console.error(error);
      process.exit(1);
    },
    complete: () => process.exit(0),
  },
);
