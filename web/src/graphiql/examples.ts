// The operations of the folder examples/ at the root of the repository, in the order of their names. Vite reads them
// when it builds the page.
const documents = import.meta.glob<string>('../../../examples/*.graphql', { query: '?raw', import: 'default', eager: true });
const variables = import.meta.glob<string>('../../../examples/*.variables.json', {
  query: '?raw',
  import: 'default',
  eager: true,
});

export interface Example {
  /** The file name without its extension: `01-queue`. */
  name: string;
  /** The first comment line of the file, or the file name. */
  title: string;
  /** The other comment lines at the head of the file. */
  about: string;
  kind: 'query' | 'mutation' | 'subscription';
  query: string;
  variables: string | null;
}

export const examples: Example[] = Object.entries(documents)
  .map(([path, query]) => read(path, query))
  .sort((a, b) => (a.name < b.name ? -1 : 1));

function read(path: string, query: string): Example {
  const name = path.slice(path.lastIndexOf('/') + 1, -'.graphql'.length);
  const [title = name, ...about] = head(query);
  const kind = /^\s*(mutation|subscription)\b/m.exec(query)?.[1] as 'mutation' | 'subscription' | undefined;
  const values = variables[path.replace(/\.graphql$/, '.variables.json')];
  return { name, title, about: about.join(' '), kind: kind ?? 'query', query, variables: values?.trimEnd() ?? null };
}

/** Returns the comment lines at the head of the file, without `#`. */
function head(query: string): string[] {
  const lines = query.split('\n');
  const end = lines.findIndex((line) => !line.startsWith('#'));
  return lines
    .slice(0, end < 0 ? lines.length : end)
    .map((line) => line.replace(/^#+\s*/, '').trim())
    .filter((line) => line !== '');
}
