// Follows a queue with the client of subscriptions-transport-ws, which speaks the subprotocol graphql-ws, through any number
// of restarts of the server, going on from the last position each time.
//
//   node resume-legacy.mjs WS_URL
import { SubscriptionClient } from 'subscriptions-transport-ws';
import WebSocket from 'ws';

import { QUERY, say } from './queue.mjs';

const [url] = process.argv.slice(2);
const client = new SubscriptionClient(url, { reconnect: true, minTimeout: 5000 }, WebSocket);
// A refused connection is an event of its own, and the client comes back.
client.onError(() => {});
// The client starts the same operation anew, so the last position is kept in its variables.
const variables = { after: null };
client.request({ query: QUERY, variables }).subscribe({
  next: (result) => {
    variables.after = say(result);
  },
  error: (error) => {
    console.error(error);
    process.exit(1);
  },
  complete: () => process.exit(0),
});
