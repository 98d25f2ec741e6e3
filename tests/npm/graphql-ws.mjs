// Subscribes with the real client of graphql-ws to the endpoint URL and stays subscribed through a restart.
//
// usage: node graphql-ws.mjs URL QUERY. Prints `data <json>` for each item, `closed <code>` when the socket closes and
// `connected` when it is acknowledged. The one who runs it restarts the server after an item and ends the input when
// content; the exit code says whether the client ever gave up.

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
