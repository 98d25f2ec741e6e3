// Follows a queue with the client of subscriptions-transport-ws, which speaks the subprotocol graphql-ws, through any
// number of restarts of the server. After each restart it resumes from the last position.
//
//   node resume-legacy.mjs WS_URL
import { SubscriptionClient } from 'subscriptions-transport-ws';
import WebSocket from 'ws';

import { QUERY, fail, next, variables } from './queue.mjs';

const [url] = process.argv.slice(2);
const client = new SubscriptionClient(url, { reconnect: true, minTimeout: 5000 }, WebSocket);
// A refused connection is an error event, after which the client connects again.
client.onError(() => {});
// The client starts the operation again with the variables as they are then.
client.request({ query: QUERY, variables }).subscribe({ next, error: fail, complete: () => fail('complete') });
