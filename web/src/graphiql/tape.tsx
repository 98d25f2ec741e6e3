// The tape below the response pane: the items of the running subscription, newest first. GraphiQL itself shows only the
// last result, so that a heartbeat would replace the item that a person waited for.
import { useGraphiQL, useGraphiQLActions } from '@graphiql/react';
import { useEffect, useSyncExternalStore } from 'react';

/** The largest number of items on the tape. Older items leave the tape; the stream is not affected. */
const ITEMS_KEPT = 200;

interface Item {
  number: number;
  at: string;
  /** The type name of the item, the name of the root field, or `errors`. */
  label: string;
  /** The item as JSON in one line, without type names. */
  line: string;
  /** The whole result as indented JSON. */
  text: string;
}

interface Tape {
  /** The id of the GraphiQL tab that started the subscription and shows the tape. */
  tab: string | undefined;
  state: 'connecting' | 'live' | 'reconnecting' | 'over';
  ending: string;
  reconnects: number;
  received: number;
  items: Item[];
}

let current: Tape | null = null;
let activeTab: string | undefined;
const listeners = new Set<() => void>();

function show(next: Tape): void {
  current = next;
  for (const listener of listeners) listener();
}

export const tape = {
  /** Starts an empty tape. From now on, reports of earlier subscriptions are ignored. */
  begin() {
    let mine: Tape = { tab: activeTab, state: 'connecting', ending: '', reconnects: 0, received: 0, items: [] };
    const update = (change: Partial<Tape>) => {
      if (current !== mine || mine.state === 'over') return;
      mine = { ...mine, ...change };
      show(mine);
    };
    show(mine);
    return {
      connected: () => update({ state: 'live', reconnects: mine.reconnects + (mine.state === 'reconnecting' ? 1 : 0) }),
      disconnected: () => update({ state: 'reconnecting' }),
      item: (result: object) => {
        const received = mine.received + 1;
        update({ received, items: [describe(received, result), ...mine.items].slice(0, ITEMS_KEPT) });
      },
      end: (ending: string) => update({ state: 'over', ending }),
    };
  },
};

/** Describes a result. The value of the root field is the item, and its `__typename`, if selected, is the label. */
function describe(number: number, result: object): Item {
  const { data, errors } = result as { data?: Record<string, unknown> | null; errors?: unknown };
  const value = errors ?? Object.values(data ?? {})[0];
  const kind = (value as { __typename?: unknown } | null | undefined)?.__typename;
  return {
    number,
    at: new Date().toLocaleTimeString([], { hour12: false }),
    label: errors ? 'errors' : typeof kind === 'string' ? kind : (Object.keys(data ?? {})[0] ?? 'item'),
    line: inEscapes(JSON.stringify(value, (key, inner) => (key === '__typename' ? undefined : inner)) ?? ''),
    text: inEscapes(JSON.stringify(result, null, 2)),
  };
}

/** Writes invisible characters and marks of text direction as JSON escapes, so that no text can hide its content. */
function inEscapes(json: string): string {
  const hidden = /[\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]/g;
  return json.replace(hidden, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

export function TapeView() {
  const shown = useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => current,
  );
  const tab = useGraphiQL(({ tabs, activeTabIndex }) => tabs[activeTabIndex]?.id);
  const { stop } = useGraphiQLActions();
  useEffect(() => {
    // GraphiQL stops a subscription when a person selects another tab, but not when a person adds a tab. Its results
    // would then appear in the new tab.
    if (activeTab !== undefined && activeTab !== tab) stop();
    activeTab = tab;
  }, [tab, stop]);

  if (shown === null || shown.tab !== tab) return null;
  return (
    <section className="tape" aria-label="Items of the subscription">
      <header className={`tape-state tape-${shown.state}`} role="status">
        <i aria-hidden="true" />
        <b>{stateText(shown)}</b>
        <span>{shown.received === 1 ? '1 item' : `${shown.received} items`}</span>
        {shown.reconnects > 0 && <span>reconnected {shown.reconnects}× (the subscription began anew each time)</span>}
      </header>
      <ol className="tape-items">
        {shown.items.map((item) => (
          <li key={item.number}>
            <details>
              <summary>
                <time>{item.at}</time>
                <b>{item.label}</b>
                <code>{item.line}</code>
              </summary>
              <pre>{item.text}</pre>
            </details>
          </li>
        ))}
      </ol>
    </section>
  );
}

function stateText({ state, ending }: Tape): string {
  if (state === 'over') return ending;
  return { connecting: 'connecting', live: 'live', reconnecting: 'connection lost, trying again' }[state];
}
