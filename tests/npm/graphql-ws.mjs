// Subscribes to the endpoint URL with the real client of graphql-ws, and stays subscribed through a restart.
//
// usage: node graphql-ws.mjs URL QUERY. Prints `data <json>` for each item, `closed <code>` when the socket closes, and
// `connected` when the server acknowledges the connection. The caller restarts the server after an item, and closes
// standard input at the end. The exit code is 1 if the client ended with an error, else 0.

import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

const [url, query] = process.argv.slice(2);
if (!url || !query) throw new Error('usage: node graphql-ws.mjs URL QUERY');

const client = createClient({
  url,
  webSocketImpl: WebSocket,
  retryAttempts: 50,
  retryWait: () => new Promise((resolve) => setTimeout(resolve, 50)),
  on: {
    connected: () => console.log('connected'),
    closed: ({ code }) => console.log(`closed ${code}`),
  },
});

client.subscribe(
  { query },
  {
    next: ({ data }) => console.log(`data ${JSON.stringify(data)}`),
    error: (error) => {
      console.error(error);
      process.exit(1);
    },
    complete: () => console.log('complete'),
  },
);

process.stdin.resume();
process.stdin.on('end', async () => {
  await client.dispose();
  process.exit(0);
});
