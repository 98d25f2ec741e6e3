// Follows a queue with Apollo Client over the client of graphql-ws, through any number of restarts of the server. After
// each restart it resumes from the last position.
//
//   node resume-apollo.mjs WS_URL
import { ApolloClient, InMemoryCache, gql } from '@apollo/client';
import { GraphQLWsLink } from '@apollo/client/link/subscriptions';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

import { QUERY, next, variables } from './queue.mjs';

const [url] = process.argv.slice(2);
// The link needs the WebSocket of the browser.
globalThis.WebSocket = WebSocket;
// Apollo Client copies the variables, so a retry of the link would subscribe from the first position again.
const link = new GraphQLWsLink(createClient({ url, retryAttempts: 0 }));
const client = new ApolloClient({ link, cache: new InMemoryCache() });
const query = gql(QUERY);

function follow() {
  let over = false;
  const again = () => {
    if (!over) setTimeout(follow, 50);
    over = true;
  };
  client.subscribe({ query, variables: { ...variables }, fetchPolicy: 'no-cache' }).subscribe({
    next: (result) => {
      // Apollo Client reports a lost connection as a result with an error.
      if (result.data) next(result);
      else again();
    },
    error: again,
    complete: again,
  });
}

follow();
