// A saved view as a wall's filter, asked for by its slug, by the public API.
import type { Filter } from './request.ts';

export interface SavedView {
  name: string;
  filter: Filter;
}

/** Between two attempts to ask a desk that does not answer. */
const PAUSE_MS = 2_000;

const VIEW = 'query ($slug: String!) { view(slug: $slug) { name filter } }';

/** The view of this slug, or why the desk refuses it. */
export type Answer = { view: SavedView } | { refused: string };

/** Asks until the desk answers. */
export async function readView(slug: string): Promise<Answer> {
  for (;;) {
    const answer = await ask(slug).catch(() => null);
    if (answer !== null) return answer;
    await new Promise((go) => setTimeout(go, PAUSE_MS));
  }
}

async function ask(slug: string): Promise<Answer | null> {
  const answer = await fetch('/graphql', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query: VIEW, variables: { slug } }),
  });
  const { data, errors } = (await answer.json()) as {
    data?: { view: SavedView | null };
    errors?: { message: string; extensions?: { code?: string } }[];
  };
  if (data?.view) return { view: data.view };
  const [error] = errors ?? [];
  // What may be well a moment later is asked for again.
  return error === undefined || error.extensions?.code === 'UNAVAILABLE' ? null : { refused: error.message };
}
