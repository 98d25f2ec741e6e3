// Follows a queue with the client of graphql-ws, through any number of restarts of the server. After each restart it
// resumes from the last position.
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
  // A refused connection is not a close event. Without this option the client does not try again.
  shouldRetry: () => true,
  retryWait: () => new Promise((resolve) => setTimeout(resolve, 50)),
});
// When the client subscribes again, it sends the variables as they are then.
client.subscribe({ query: QUERY, variables }, { next, error: fail, complete: () => fail('complete') });
