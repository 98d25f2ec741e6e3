// Follows a queue with the client of subscriptions-transport-ws, which speaks the subprotocol graphql-ws, through any number
// of restarts of the server, going on from the last position each time.
//
//   node resume-legacy.mjs WS_URL
import { SubscriptionClient } from 'subscriptions-transport-ws';
import WebSocket from 'ws';

import { QUERY, fail, next, variables } from './queue.mjs';

const [url] = process.argv.slice(2);
const client = new SubscriptionClient(url, { reconnect: true, minTimeout: 5000 }, WebSocket);
// A refused connection is an event of its own, and the client comes back.
client.onError(() => {});
// The client starts the same operation anew, with the variables of the moment.
client.request({ query: QUERY, variables }).subscribe({ next, error: fail, complete: () => fail('complete') });
