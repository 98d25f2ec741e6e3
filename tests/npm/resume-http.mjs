// Follows a queue with a real client over HTTP, through any number of restarts of the server. After each restart it
// resumes from the last position.
//
//   node resume-http.mjs CLIENT HTTP_URL
//
// CLIENT is sse (graphql-sse, a stream for each operation), single (graphql-sse, one stream for all operations),
// eventsource, urql or apollo. Prints a line for each item: its kind and the title of its row.
import { setTimeout as wait } from 'node:timers/promises';

import { QUERY, fail, next, variables } from './queue.mjs';

const [kind, url] = process.argv.slice(2);

// Subscribes again with the last position whenever the client ends, as a dashboard does if its client ends with the
// connection.
async function again(subscribe) {
  for (;;) {
    await subscribe().catch(() => {});
    await wait(50);
  }
}

const clients = {
  // When the client connects again, it sends the variables as they are then. They contain the last position.
  async sse(singleConnection = false) {
    const { createClient } = await import('graphql-sse');
    const client = createClient({ url, singleConnection, retryAttempts: 1000, retry: () => wait(50) });
    // If the connection breaks while the client waits for no item, the client reports an error and does not retry.
    const subscribe = () => client.subscribe({ query: QUERY, variables }, { next, error: subscribe, complete: () => fail('complete') });
    subscribe();
  },

  single: () => clients.sse(true),

  // The client of browsers. It sends no variables, so the server reads the position from Last-Event-ID.
  async eventsource() {
    const { EventSource } = await import('eventsource');
    const source = new EventSource(`${url}?${new URLSearchParams({ query: QUERY })}`);
    source.addEventListener('next', ({ data }) => next(JSON.parse(data)));
    source.addEventListener('complete', () => fail('complete'));
    // After a refused connection the client tries again. After a response that is not a stream it closes.
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
              // Runs after the assignment of `unsubscribe` above.
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
