// Reads a saved view by its slug. Its filter becomes the filter of the wall.
import type { Filter } from './request.ts';

export interface SavedView {
  name: string;
  filter: Filter;
}

/** The pause between two attempts to reach a desk that does not answer. */
const PAUSE_MS = 2_000;

const VIEW = 'query ($slug: String!) { view(by: { slug: $slug }) { name filter { json } } }';

/** The view of a slug, or the message with which the desk refuses it. */
export type Answer = { view: SavedView } | { refused: string };

/** Asks until the desk answers. */
export async function readView(slug: string): Promise<Answer> {
  for (;;) {
    const answer = await ask(slug).catch(() => null);
    if (answer !== null) return answer;
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

/** Asks once. Returns null if a later attempt may succeed. */
async function ask(slug: string): Promise<Answer | null> {
  const response = await fetch('/graphql', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query: VIEW, variables: { slug } }),
  });
  const { data, errors } = (await response.json()) as {
    data?: { view: { name: string; filter: { json: Filter } } | null };
    errors?: { message: string; extensions?: { code?: string } }[];
  };
  if (data?.view) return { view: { name: data.view.name, filter: data.view.filter.json } };
  const error = errors?.[0];
  if (error === undefined || error.extensions?.code === 'UNAVAILABLE') return null;
  return { refused: error.message };
}
