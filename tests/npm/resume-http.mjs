// Follows a queue with a real client over HTTP through any number of restarts of the server, going on from the last
// position each time.
//
//   node resume-http.mjs CLIENT HTTP_URL
//
// CLIENT is sse (graphql-sse, a stream for each operation), single (graphql-sse, one stream for all), eventsource,
// urql or apollo. Prints a line for each item: its kind, and the title of its row.
import { setTimeout as wait } from 'node:timers/promises';

import { QUERY, fail, next, variables } from './queue.mjs';

const [kind, url] = process.argv.slice(2);

// As a dashboard does it whose client ends with its connection: it subscribes again with the last position.
async function again(subscribe) {
  for (;;) {
    await subscribe().catch(() => {});
    await wait(50);
  }
}

const clients = {
  // The client sends the request of the moment when it comes back by itself, so the last position is kept in it.
  async sse(singleConnection = false) {
    const { createClient } = await import('graphql-sse');
    const client = createClient({ url, singleConnection, retryAttempts: 1000, retry: () => wait(50) });
    // A connection that breaks off while the client does not wait for an item is an error to it, not a retry.
    const subscribe = () => client.subscribe({ query: QUERY, variables }, { next, error: subscribe, complete: () => fail('complete') });
    subscribe();
  },

  single: () => clients.sse(true),

  // What a browser has. It knows nothing of variables: the server takes its Last-Event-ID.
  async eventsource() {
    const { EventSource } = await import('eventsource');
    const source = new EventSource(`${url}?${new URLSearchParams({ query: QUERY })}`);
    source.addEventListener('next', ({ data }) => next(JSON.parse(data)));
    source.addEventListener('complete', () => fail('complete'));
    // A refused connection is tried again; a response that is no stream would be final.
    source.addEventListener('error', () => source.readyState === EventSource.CLOSED && fail('closed'));
  },

  async urql() {
    const { Client, fetchExchange } = await import('@urql/core');
    const client = new Client({ url, exchanges: [fetchExchange], fetchSubscriptions: true, preferGetMethod: false });
    await again(
      () =>
        new Promise((resolve) => {
          const { unsubscribe } = client.subscription(QUERY, { ...variables }).subscribe((result) => {
            if (result.error?.networkError) {
              resolve();
              // Not before the assignment above.
              queueMicrotask(() => unsubscribe());
            } else if (result.data || result.error) {
              next({ data: result.data, errors: result.error?.graphQLErrors });
            }
          });
        }),
    );
  },

  async apollo() {
    const { ApolloClient, HttpLink, InMemoryCache, gql } = await import('@apollo/client');
    const client = new ApolloClient({ link: new HttpLink({ uri: url }), cache: new InMemoryCache() });
    await again(
      () =>
        new Promise((resolve) => {
          client
            .subscribe({ query: gql(QUERY), variables: { ...variables }, fetchPolicy: 'no-cache', errorPolicy: 'all' })
            .subscribe({
              next: ({ data, error }) => (data ? next({ data }) : resolve(error)),
              error: resolve,
              complete: resolve,
            });
        }),
    );
  },
};

await clients[kind]();
