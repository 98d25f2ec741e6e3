// What the address asks for: which incidents, and what this wall is called.

export type Filter = Readonly<Record<string, unknown>>;

export interface Request {
  title: string | null;
  filter: Filter | null;
  /** As it stands in the address. */
  text: string | null;
  /** The slug of the saved view that is to be shown. */
  view: string | null;
  /** Why `text` cannot be a filter at all. Whether the desk understands it, the desk says. */
  fault: string | null;
}

export function readRequest(search: string): Request {
  const asked = new URLSearchParams(search);
  const [title, text, view] = [asked.get('title'), asked.get('filter'), asked.get('view')?.trim() || null];
  if (!text?.trim()) return { title, filter: null, text: null, view, fault: null };
  if (view !== null) return { title, filter: null, text, view: null, fault: 'A wall shows a filter or a view, one of the two.' };
  try {
    const filter: unknown = JSON.parse(text);
    const isObject = typeof filter === 'object' && filter !== null && !Array.isArray(filter);
    if (isObject) return { title, filter: filter as Filter, text, view, fault: null };
    return { title, filter: null, text, view, fault: 'A filter is an object of JSON, such as {"severity":["HIGH"]}.' };
  } catch (error) {
    return { title, filter: null, text, view, fault: `It is not JSON: ${(error as Error).message}` };
  }
}

/** The filter in a few words: exact where it can be, and never silent about a condition. */
export function describe(filter: Filter | null): string {
  if (filter === null) return 'All that is new or active';
  const parts = Object.entries(filter).map(([field, value]) => condition(field, value)).filter(Boolean);
  return parts.length === 0 ? 'All that is new or active' : parts.join(' · ');
}

function condition(field: string, value: unknown): string {
  if (value === null || value === undefined) return '';
  if (field === 'and' || field === 'or') {
    const parts = (Array.isArray(value) ? value : [value]).map((part) => describe(part as Filter));
    return field === 'and' ? parts.join(' · ') : `(${parts.join(' or ')})`;
  }
  if (field === 'not') return `not (${describe(value as Filter)})`;
  if (field === 'text') return `“${String(value)}”`;
  if (field === 'severity' || field === 'status') return list(value).map(constant).join(', ');
  if (CONSTANTS.has(field)) return `${label(field)} ${list(value).map(constant).join(', ')}`;
  if (typeof value === 'object' && !Array.isArray(value)) return `${label(field)} ${Object.entries(value).map(part).filter(Boolean).join(', ')}`;
  return `${label(field)} ${list(value).map(plain).join(', ')}`;
}

/** One of several: `any vip` of tags, `unassigned` of owners. What is off by its value is not said. */
function part([name, value]: [string, unknown]): string {
  if (value === null || value === false || (Array.isArray(value) && value.length === 0)) return '';
  return value === true ? label(name) : `${label(name)} ${list(value).map(plain).join(', ')}`;
}

const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : [value]);

/** The conditions whose values are constants of the API; what people have written is shown as they wrote it. */
const CONSTANTS = new Set(['classification', 'threat', 'activity', 'reason']);

/** `FALSE_POSITIVE` is read as `False positive`. */
const constant = (value: unknown): string => plain(value).charAt(0) + plain(value).slice(1).toLowerCase().replaceAll('_', ' ');

const plain = (value: unknown): string => (typeof value === 'object' ? Object.values(value ?? {}).map(plain).join(' ') : String(value));

/** `firstActivity` is read as `first activity`. */
const label = (name: string): string => name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
