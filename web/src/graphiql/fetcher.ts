// Sends the operations of GraphiQL to /graphql: queries and mutations by POST, subscriptions by graphql-transport-ws.
import { getOperationAST, parse, type GraphQLError } from 'graphql';
import type { GraphiQLProps } from 'graphiql';
import { createClient, type Client } from 'graphql-ws';
import { tape } from './tape';

type Fetcher = GraphiQLProps['fetcher'];
type Request = Parameters<Fetcher>[0];
type Headers = Record<string, string>;
type Answer = ReturnType<Fetcher>;
/** The observer that GraphiQL passes to `subscribe`. Its own type also allows three functions, but it passes none. */
type Sink = { next(result: object): void; error(error: Error): void; complete(): void };

/** A browser cannot set headers on a WebSocket, so the server also reads this header from connection_init. */
const ACTOR = 'Watchfloor-Actor';
/**
 * The client pings after this much silence. Without a ping, a connection that was lost while a laptop slept looks like
 * a quiet queue.
 */
const KEEP_ALIVE_MS = 10_000;
/** A socket that does not answer a ping in this time is closed, and the client connects again. */
const PONG_DEADLINE_MS = 5_000;
/** The pause doubles with each attempt, up to the longest. A random part, at most as long again, is added. */
const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 8_000;

export const fetcher: Fetcher = (request, options) => {
  const headers = texts(options?.headers);
  return isSubscription(request) ? subscribe(request, headers) : post(request, headers);
};

/** Parses the text that is sent, because the editor parses its text only some time after a key. */
function isSubscription({ query, operationName }: Request): boolean {
  try {
    return getOperationAST(parse(query), operationName)?.operation === 'subscription';
  } catch {
    return false; // The server describes the syntax error.
  }
}

async function post(request: Request, headers: Headers) {
  const response = await fetch('/graphql', {
    method: 'POST',
    headers: {
      accept: 'application/graphql-response+json, application/json;q=0.9',
      'content-type': 'application/json',
      ...headers,
    },
    body: JSON.stringify(request),
  });
  const text = await response.text();
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`HTTP ${response.status}: ${text || response.statusText || 'empty answer'}`);
  }
}

/** Opens a socket for each subscription, so that it carries the headers of the tab that started it. */
function subscribe(request: Request, headers: Headers): Answer {
  const stream = {
    subscribe(sink: Sink) {
      const run = tape.begin();
      const client = connect(headers, run);
      const finish = (ending: string) => {
        run.end(ending);
        void client.dispose();
      };
      client.subscribe(
        { query: request.query, operationName: request.operationName ?? null, variables: request.variables ?? null },
        {
          next(result) {
            run.item(result);
            sink.next(result);
          },
          error(cause) {
            if (isGraphQLErrors(cause)) {
              sink.next({ errors: cause });
              sink.complete();
            } else {
              sink.error(asError(cause));
            }
            finish('ended with an error');
          },
          complete() {
            sink.complete();
            finish('ended by the server');
          },
        },
      );
      return { unsubscribe: () => finish('stopped') };
    },
  };
  return stream as unknown as Answer;
}

function connect(headers: Headers, run: ReturnType<typeof tape.begin>): Client {
  const actor = Object.entries(headers).find(([name]) => name.toLowerCase() === ACTOR.toLowerCase())?.[1];
  const url = new URL('/graphql', window.location.href);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  let deadline: ReturnType<typeof setTimeout> | undefined;

  const client = createClient({
    url: url.href,
    lazy: true,
    ...(actor === undefined ? {} : { connectionParams: { [ACTOR]: actor } }),
    keepAlive: KEEP_ALIVE_MS,
    retryAttempts: Infinity,
    shouldRetry: () => true,
    retryWait: (attempt) => {
      const wait = Math.min(FIRST_RETRY_MS * 2 ** attempt, LONGEST_RETRY_MS);
      return new Promise((resolve) => setTimeout(resolve, wait * (1 + Math.random())));
    },
    on: {
      connected: () => run.connected(),
      closed: () => {
        clearTimeout(deadline);
        run.disconnected();
      },
      ping: (received) => {
        if (!received) deadline = setTimeout(() => client.terminate(), PONG_DEADLINE_MS);
      },
      pong: (received) => {
        if (received) clearTimeout(deadline);
      },
    },
  });
  return client;
}

/** Turns the values of the Headers editor, which may be any JSON, into strings for HTTP. */
function texts(headers: Record<string, unknown> | null | undefined): Headers {
  return Object.fromEntries(Object.entries(headers ?? {}).map(([name, value]) => [name, String(value)]));
}

function isGraphQLErrors(cause: unknown): cause is readonly GraphQLError[] {
  return Array.isArray(cause);
}

function asError(cause: unknown): Error {
  if (cause instanceof CloseEvent) return new Error(`the server closed the socket: ${cause.code} ${cause.reason}`.trimEnd());
  return cause instanceof Error ? cause : new Error(String(cause));
}
