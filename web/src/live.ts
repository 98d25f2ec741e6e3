// Follows a Watchfloor desk: a queue, as a set that equals the server's, and the activity log, through any disconnect, restart or
// second node. It needs `graphql-ws` and nothing else, so that it can be copied. docs/LIVE.md shows how to use it.
import { type ClientOptions, createClient } from 'graphql-ws';

/**
 * - `connecting`: nothing is held yet. `catching up`: connected; the set is being read, or what was missed comes in.
 * - `live`: what is held is what the server holds. `stale`: no connection; what is held is as of `exactAt`.
 * - `refused`: the server says no, and `why`. It is asked again from time to time.
 */
export type State = 'connecting' | 'catching up' | 'live' | 'stale' | 'refused';

export interface Health {
  readonly state: State;
  /** The last moment at which all that the server had was held; it moves on while `live`. */
  readonly exactAt: Date | null;
  /** What went wrong last; null once live. */
  readonly why: string | null;
}
export interface Followed {
  readonly health: Health;
  /** As of which place in the log. */
  readonly position: string | null;
  stop(): void;
}
export type Row = { id: string; version: number };
export type QueueChange<R> =
  | { kind: 'snapshot' }
  | { kind: 'entered' | 'updated'; row: R; was: R | undefined }
  | { kind: 'left'; id: string; was: R | undefined; reason: string };
export interface QueueOptions<R extends Row> {
  /** An `IncidentFilterInput`; the default queue where none is given. */
  filter?: object | null;
  /** A selection on `QueueFields`, such as `title severity owner { name }`; `id` and `version` come with it. */
  fields: string;
  /** After each change of `rows`. After a `snapshot` all of them may be others. */
  onChange?(change: QueueChange<R>): void;
  onHealth?(health: Health): void;
}
export interface StreamOptions<Item> {
  /** A subscription of one field, and its variables but for `after`, which is the last position. */
  query: string;
  variables?: Record<string, unknown>;
  next(item: Item): void;
  onHealth?: ((health: Health) => void) | undefined;
  /** Reads what the stream begins with, and says its position; asked again whenever the stream cannot go on. Else: the present. */
  begin?(): Promise<string | null>;
  /** Each item is the whole state: there is nothing to resume. */
  whole?: true;
}
export interface DeskOptions extends Omit<ClientOptions, 'on'> {
  /** A connection that does not answer for so long counts as lost. The server is pinged, so a quiet desk is not silent. */
  silenceMs?: number;
}

type Mark = { __typename: string; position: string; resyncReason?: string };
type QueueItem<R> = Mark & { row?: R; incidentId: string; reason: string };
type Page<R> = { incidents: { position: string; pageInfo: { endCursor: string | null; hasNextPage: boolean }; nodes: R[] } };

/** The longest pause between two attempts. */
const PAUSE_MS_MAX = 8_000;
/** Refusals of the request itself. After any other error the same request may succeed. */
const REFUSALS = ['INVALID', 'FORBIDDEN', 'UNAUTHENTICATED', 'NOT_FOUND', 'LIMIT'];

/** One connection to a desk, shared by everything that is followed. */
export function connect({ silenceMs = 8_000, ...options }: DeskOptions) {
  const follows = new Set<{ connected(): void; stop(): void }>();
  let [open, heardAt]: [boolean, Date | null] = [false, null];
  let deadline: ReturnType<typeof setTimeout> | undefined;
  const answered = () => clearTimeout(deadline);
  const expectAnswer = () => (answered(), (deadline = setTimeout(() => client.terminate(), silenceMs / 2)));
  const client = createClient({
    keepAlive: silenceMs / 2,
    lazyCloseTimeout: 5_000, // the socket stays between a snapshot and its subscription
    ...options,
    retryAttempts: 0, // `follow` comes back by itself, with its last position
    on: {
      connecting: expectAnswer,
      connected: () => (answered(), (open = true), follows.forEach((one) => one.connected())),
      ping: (received) => received || expectAnswer(),
      pong: (received) => received && answered(),
      message: () => (heardAt = new Date()),
      closed: () => (answered(), (open = false)),
    },
  });

  /** Runs an operation to its end; `started` gets what ends it early. */
  function run<T>(query: string, variables: Record<string, unknown>, next: (data: T) => void, started?: (drop: () => void) => void) {
    return new Promise<void>((complete, error) => {
      const take = ({ data, errors }: { data?: unknown; errors?: unknown }) => (errors ? error(errors) : next(data as T));
      const drop = client.subscribe({ query, variables }, { next: take, complete, error });
      started?.(drop);
    });
  }

  async function query<T>(document: string, variables: Record<string, unknown> = {}): Promise<T> {
    let answer: T | undefined;
    await run<T>(document, variables, (data) => (answer = data));
    if (answer === undefined) throw new Error('the server ended the query without an answer');
    return answer;
  }

  function follow<Item extends Mark>({ query, variables, next, onHealth, begin, whole }: StreamOptions<Item>): Followed {
    let [state, why, exactAt, position]: [State, string | null, Date | null, string | null] = ['connecting', null, null, null];
    let [stopped, failures, drop, wake] = [false, 0, () => {}, () => {}];
    const health: Health = {
      get state() { return state; },
      get why() { return why; },
      get exactAt() { return state === 'live' ? heardAt : exactAt; },
    }; // prettier-ignore
    const become = (next: State, reason: string | null) => {
      if (stopped || (state === next && why === reason)) return;
      if (state === 'live') exactAt = heardAt;
      [state, why] = [next, reason];
      safely(() => onHealth?.(health));
    };
    const take = (data: Record<string, Item>) => {
      const item = Object.values(data)[0]!;
      if (stopped) return;
      position = item.__typename === 'Resync' ? null : item.position;
      if (item.__typename === 'Resync') become('catching up', `begun anew: ${item.resyncReason ?? 'RESYNC'}`);
      else if (item.__typename !== 'Live' && item.__typename !== 'Heartbeat') safely(() => next(item));
      if (whole || item.__typename === 'Live') become('live', ((failures = 0), null));
    };
    const attempt = async () => {
      if (open && state !== 'refused') become('catching up', why);
      position ??= (await begin?.()) ?? null;
      // Should graphql-ws ever subscribe again by itself, it must be from where we are then.
      const sent = whole ? { ...variables } : { ...variables, get after() { return position; } }; // prettier-ignore
      if (!stopped) await run(query, sent, take, (end) => (drop = end));
      if (state === 'live') become('catching up', 'the server ended the stream');
    };
    const attempts = async () => {
      for (; !stopped; failures++) {
        if (failures > 0) await new Promise<void>((go) => setTimeout((wake = go), pauseMs(failures)));
        await attempt().catch((error: unknown) => {
          const refused = Array.isArray(error) && error.some(({ extensions }) => REFUSALS.includes(extensions?.code ?? 'INVALID'));
          if (refused) position = null; // which may be what is refused
          become(refused ? 'refused' : (exactAt ?? state === 'live') ? 'stale' : 'connecting', inWords(error));
        });
      }
    };
    const stop = () => ((stopped = true), follows.delete(one), wake(), drop());
    const one = { connected: () => become('catching up', why), stop };
    follows.add(one);
    void attempts();
    return { health, stop, get position() { return position; } }; // prettier-ignore
  }

  function queue<R extends Row>({ filter = null, fields, onChange, onHealth }: QueueOptions<R>) {
    const all = `fragment All on QueueFields { id version ${fields} }`;
    const pageQuery = `query ($filter: IncidentFilterInput, $after: String) {
      incidents(filter: $filter, first: 100, after: $after, orderBy: [{ field: NUMBER, direction: ASC }]) {
        position pageInfo { endCursor hasNextPage } nodes { ...All } } } ${all}`;
    let rows = new Map<string, R>();
    const begin = async () => {
      const read = new Map<string, R>();
      let first: string | null = null;
      for (let after: string | null = null, more = true; more; ) {
        const { incidents }: Page<R> = await query(pageQuery, { filter, after });
        for (const row of incidents.nodes) read.set(row.id, row);
        first ??= incidents.position;
        ({ endCursor: after, hasNextPage: more } = incidents.pageInfo);
      }
      rows = read;
      safely(() => onChange?.({ kind: 'snapshot' }));
      return first; // What happened while the other pages were read comes again, as items: hence `version` below.
    };
    const next = ({ row, incidentId, reason }: QueueItem<R>) => {
      const was = rows.get(row?.id ?? incidentId);
      if (row && was && was.version >= row.version) return;
      if (row) rows.set(row.id, row);
      else rows.delete(incidentId);
      onChange?.(row ? { kind: was ? 'updated' : 'entered', row, was } : { kind: 'left', id: incidentId, was, reason });
    };
    const items = `subscription ($filter: IncidentFilterInput, $after: String) { incidentQueue(filter: $filter, after: $after) {
      __typename position ... on QueueEntered { row { ...All } } ... on QueueUpdated { row { ...All } }
      ... on QueueLeft { incidentId reason } ... on Resync { resyncReason } } } ${all}`;
    const followed = follow<QueueItem<R>>({ query: items, variables: { filter }, begin, next, onHealth });
    return Object.defineProperty(followed, 'rows', { get: () => rows }) as Followed & { readonly rows: ReadonlyMap<string, R> };
  }

  const close = () => (follows.forEach((one) => one.stop()), answered(), client.dispose());
  return { queue, follow, query, close };
}

/** Doubles with each failure. Half of it is chance, so that a thousand screens do not come back in the same instant. */
const pauseMs = (failures: number) => Math.min(PAUSE_MS_MAX, 200 * 2 ** failures) * (0.5 + Math.random() / 2);

/** An error in a caller's function is the caller's; it must not cost the connection. */
const safely = (call: () => void) => {
  try { call(); } catch (error) { queueMicrotask(() => { throw error; }); } // prettier-ignore
};

function inWords(error: unknown): string {
  if (Array.isArray(error)) return error.map(({ message }) => message).join('; ');
  const { code, reason, message } = error as { code?: number; reason?: string; message?: string };
  return message || reason || (code ? `the connection closed (${code})` : 'no connection');
}
