// Follows a queue with the client of graphql-ws through any number of restarts of the server, going on from the last
// position each time.
//
//   node resume-graphql-ws.mjs WS_URL
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

import { QUERY, fail, next, variables } from './queue.mjs';

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
// The client sends the variables of the moment when it subscribes anew.
client.subscribe({ query: QUERY, variables }, { next, error: fail, complete: () => fail('complete') });
