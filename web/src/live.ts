// Follows a Watchfloor desk: a queue as a set that equals the server's set, and the activity log, through any disconnect,
// restart or second node. This file needs `graphql-ws` and nothing else, so that it can be copied. docs/LIVE.md shows how to
// use it.
import { type ClientOptions, createClient } from 'graphql-ws';

/**
 * - `connecting`: the client holds no data yet.
 * - `catching up`: connected; the set is being read, or missed items are coming in.
 * - `live`: the client holds what the server holds.
 * - `stale`: not connected; the client holds what the server held at `exactAt`.
 * - `refused`: the server refuses the request, `why` says for which reason. The client asks again from time to time.
 */
export type State = 'connecting' | 'catching up' | 'live' | 'stale' | 'refused';

export interface Health {
  readonly state: State;
  /** The last moment at which the client held all that the server had. It moves on while the state is `live`. */
  readonly exactAt: Date | null;
  /** The last failure; null once the state is `live`. */
  readonly why: string | null;
}
export interface Followed {
  readonly health: Health;
  /** The position in the log of the newest item. */
  readonly position: string | null;
  stop(): void;
}
export type Row = { id: string; version: number };
export type QueueChange<R> =
  | { kind: 'snapshot' }
  | { kind: 'entered' | 'updated'; row: R; was: R | undefined }
  | { kind: 'left'; id: string; was: R | undefined; reason: string };
export interface QueueOptions<R extends Row> {
  /** An `IncidentFilterInput`. Without it, the default queue is followed. */
  filter?: object | null;
  /** A selection on `QueueFields`, for example `title severity owner { name }`. `id` and `version` are always selected. */
  fields: string;
  /** Called after each change of `rows`. After a `snapshot` any row may be another. */
  onChange?(change: QueueChange<R>): void;
  onHealth?(health: Health): void;
}
export interface StreamOptions<Item> {
  /** A subscription of one field. Its variables do not contain `after`, which is always the last position. */
  query: string;
  variables?: Record<string, unknown>;
  next(item: Item): void;
  onHealth?: ((health: Health) => void) | undefined;
  /**
   * Reads the data that the stream continues, and returns its position. It is called again whenever the stream cannot
   * resume. Without it, the stream starts at the present.
   */
  begin?(): Promise<string | null>;
  /** Each item is a whole state, so the stream has nothing to resume. */
  whole?: true;
}
export interface DeskOptions extends Omit<ClientOptions, 'on'> {
  /** A connection without an answer for this time counts as lost. The client pings, so a quiet desk is not silent. */
  silenceMs?: number;
}

type Marker = { __typename: string; position: string; resyncReason?: string };
type QueueItem<R> = Marker & { row?: R; incidentId: string; reason: string };
type Page<R> = {
  incidents: { position: string; pageInfo: { endCursor: string | null; hasNextPage: boolean }; nodes: R[] };
};

/** The longest pause between two attempts. */
const PAUSE_MS_MAX = 8_000;
/** The longest pause after the first failure. */
const FIRST_PAUSE_MS = 400;
/** Codes that refuse the request itself. After any other error the same request may succeed. */
const REFUSALS = ['INVALID', 'FORBIDDEN', 'UNAUTHENTICATED', 'NOT_FOUND', 'LIMIT'];

/** Opens one connection to a desk. All queues and streams share it. */
export function connect({ silenceMs = 8_000, ...options }: DeskOptions) {
  const streams = new Set<{ connected(): void; stop(): void }>();
  let isOpen = false;
  /** When the last message came. */
  let heardAt: Date | null = null;
  let deadline: ReturnType<typeof setTimeout> | undefined;

  function stopWaiting() {
    clearTimeout(deadline);
  }

  function waitForAnswer() {
    stopWaiting();
    deadline = setTimeout(() => client.terminate(), silenceMs / 2);
  }

  const client = createClient({
    keepAlive: silenceMs / 2,
    lazyCloseTimeout: 5_000, // The socket stays open between a snapshot and its subscription.
    ...options,
    retryAttempts: 0, // `follow` reconnects by itself, with its last position.
    on: {
      connecting: waitForAnswer,
      connected: () => {
        stopWaiting();
        isOpen = true;
        for (const stream of streams) stream.connected();
      },
      ping: (received) => {
        if (!received) waitForAnswer();
      },
      pong: (received) => {
        if (received) stopWaiting();
      },
      message: () => {
        heardAt = new Date();
      },
      closed: () => {
        stopWaiting();
        isOpen = false;
      },
    },
  });

  /** Runs an operation to its end. `started` gets the function that ends the operation early. */
  function run<T>(
    query: string,
    variables: Record<string, unknown>,
    next: (data: T) => void,
    started?: (end: () => void) => void,
  ) {
    return new Promise<void>((complete, error) => {
      const end = client.subscribe(
        { query, variables },
        {
          next: ({ data, errors }) => {
            if (errors) error(errors);
            else next(data as T);
          },
          complete,
          error,
        },
      );
      started?.(end);
    });
  }

  async function query<T>(document: string, variables: Record<string, unknown> = {}): Promise<T> {
    let answer: T | undefined;
    await run<T>(document, variables, (data) => {
      answer = data;
    });
    if (answer === undefined) throw new Error('the server ended the query without an answer');
    return answer;
  }

  /** Follows a stream: resumes from the last position after each failure, and begins anew if the server says so. */
  function follow<Item extends Marker>(stream: StreamOptions<Item>): Followed {
    let state: State = 'connecting';
    let why: string | null = null;
    let exactAt: Date | null = null;
    let position: string | null = null;
    let stopped = false;
    /** Attempts since the stream was live last. */
    let failures = 0;
    let endAttempt = () => {};
    let endPause = () => {};

    const health: Health = {
      get state() {
        return state;
      },
      get why() {
        return why;
      },
      get exactAt() {
        return state === 'live' ? heardAt : exactAt;
      },
    };

    function become(next: State, reason: string | null) {
      if (stopped || (state === next && why === reason)) return;
      if (state === 'live') exactAt = heardAt;
      state = next;
      why = reason;
      safely(() => stream.onHealth?.(health));
    }

    function take(data: Record<string, Item>) {
      const item = Object.values(data)[0]!;
      if (stopped) return;
      if (item.__typename === 'Resync') {
        position = null;
        become('catching up', `begun anew: ${item.resyncReason ?? 'RESYNC'}`);
      } else {
        position = item.position;
        if (item.__typename !== 'Live' && item.__typename !== 'Heartbeat') safely(() => stream.next(item));
      }
      if (stream.whole || item.__typename === 'Live') {
        failures = 0;
        become('live', null);
      }
    }

    async function attempt() {
      if (isOpen && state !== 'refused') become('catching up', why);
      if (position === null && stream.begin) position = await stream.begin();
      const variables = { ...stream.variables };
      if (!stream.whole) {
        // A getter: if graphql-ws ever subscribed again by itself, it would send the position of that moment.
        Object.defineProperty(variables, 'after', { enumerable: true, get: () => position });
      }
      if (!stopped) {
        await run(stream.query, variables, take, (end) => {
          endAttempt = end;
        });
      }
      if (state === 'live') become('catching up', 'the server ended the stream');
    }

    function failed(error: unknown) {
      if (isRefusal(error)) {
        position = null; // The server may have refused the position.
        become('refused', inWords(error));
        return;
      }
      const holdsData = exactAt !== null || state === 'live';
      become(holdsData ? 'stale' : 'connecting', inWords(error));
    }

    async function attemptUntilStopped() {
      while (!stopped) {
        if (failures > 0) {
          await new Promise<void>((resolve) => {
            endPause = resolve;
            setTimeout(resolve, pauseMs(failures));
          });
        }
        await attempt().catch(failed);
        failures += 1;
      }
    }

    function stop() {
      stopped = true;
      streams.delete(entry);
      endPause();
      endAttempt();
    }

    const entry = { connected: () => become('catching up', why), stop };
    streams.add(entry);
    void attemptUntilStopped();
    return {
      health,
      stop,
      get position() {
        return position;
      },
    };
  }

  /** Follows a queue as a set of rows. */
  function queue<R extends Row>({ filter = null, fields, onChange, onHealth }: QueueOptions<R>) {
    const all = `fragment All on QueueFields { id version ${fields} }`;
    const page = `query ($filter: IncidentFilterInput, $after: String) {
      incidents(filter: $filter, first: 100, after: $after, orderBy: [{ field: NUMBER, direction: ASC }]) {
        position pageInfo { endCursor hasNextPage } nodes { ...All } } } ${all}`;
    const items = `subscription ($filter: IncidentFilterInput, $after: String) { incidentQueue(filter: $filter, after: $after) {
      __typename position ... on QueueEntered { row { ...All } } ... on QueueUpdated { row { ...All } }
      ... on QueueLeft { incidentId reason } ... on Resync { resyncReason } } } ${all}`;
    let rows = new Map<string, R>();

    /**
     * Reads all pages, and returns the position of the first page. Changes that happen while the other pages are read
     * come again as items: `next` recognises them by their version.
     */
    async function begin() {
      const read = new Map<string, R>();
      let first: string | null = null;
      let after: string | null = null;
      let hasMore = true;
      while (hasMore) {
        const { incidents }: Page<R> = await query(page, { filter, after });
        for (const row of incidents.nodes) read.set(row.id, row);
        first ??= incidents.position;
        after = incidents.pageInfo.endCursor;
        hasMore = incidents.pageInfo.hasNextPage;
      }
      rows = read;
      safely(() => onChange?.({ kind: 'snapshot' }));
      return first;
    }

    function next({ row, incidentId, reason }: QueueItem<R>) {
      const was = rows.get(row?.id ?? incidentId);
      if (row) {
        if (was && was.version >= row.version) return;
        rows.set(row.id, row);
        onChange?.({ kind: was ? 'updated' : 'entered', row, was });
      } else {
        rows.delete(incidentId);
        onChange?.({ kind: 'left', id: incidentId, was, reason });
      }
    }

    const followed = follow<QueueItem<R>>({ query: items, variables: { filter }, begin, next, onHealth });
    return Object.defineProperty(followed, 'rows', { get: () => rows }) as Followed & {
      readonly rows: ReadonlyMap<string, R>;
    };
  }

  function close() {
    for (const stream of streams) stream.stop();
    stopWaiting();
    return client.dispose();
  }

  return { queue, follow, query, close };
}

/** The pause doubles with each failure. Half of it is random, so that a thousand screens do not reconnect at one instant. */
function pauseMs(failures: number) {
  const pause = Math.min(PAUSE_MS_MAX, FIRST_PAUSE_MS * 2 ** (failures - 1));
  return pause / 2 + (Math.random() * pause) / 2;
}

/** Calls a function of the caller. An error in it is reported, and does not end the stream. */
function safely(call: () => void) {
  try {
    call();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

function isRefusal(error: unknown) {
  if (!Array.isArray(error)) return false;
  return error.some(({ extensions }) => REFUSALS.includes(extensions?.code ?? 'INVALID'));
}

function inWords(error: unknown): string {
  if (Array.isArray(error)) return error.map(({ message }) => message).join('; ');
  const { code, reason, message } = error as { code?: number; reason?: string; message?: string };
  return message || reason || (code ? `the connection closed (${code})` : 'no connection');
}
