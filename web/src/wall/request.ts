// What the address asks for: which incidents, and what this wall is called.

export type Filter = Readonly<Record<string, unknown>>;

export interface Request {
  title: string | null;
  filter: Filter | null;
  /** As it stands in the address. */
  text: string | null;
  /** Why `text` cannot be a filter at all. Whether the desk understands it, the desk says. */
  fault: string | null;
}

export function readRequest(search: string): Request {
  const asked = new URLSearchParams(search);
  const [title, text] = [asked.get('title'), asked.get('filter')];
  if (!text?.trim()) return { title, filter: null, text: null, fault: null };
  try {
    const filter: unknown = JSON.parse(text);
    if (typeof filter === 'object' && filter !== null && !Array.isArray(filter)) return { title, filter: filter as Filter, text, fault: null };
    return { title, filter: null, text, fault: 'A filter is an object of JSON, such as {"severity":["HIGH"]}.' };
  } catch (error) {
    return { title, filter: null, text, fault: `It is not JSON: ${(error as Error).message}` };
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
  if (field === 'severity' || field === 'status') return list(value).map(word).join(', ');
  if (Array.isArray(value)) return `${label(field)} ${list(value).map(word).join(', ')}`;
  if (typeof value === 'object') {
    const parts = Object.entries(value).filter(([, part]) => part !== null && part !== false && !(Array.isArray(part) && part.length === 0));
    return `${label(field)} ${parts.map(([name, part]) => (part === true ? label(name) : `${label(name)} ${list(part).map(word).join(', ')}`)).join(', ')}`;
  }
  return `${label(field)} ${word(value)}`;
}

const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : [value]);

/** `FALSE_POSITIVE` is read as `False positive`; what is no constant of the API stays as it is. */
function word(value: unknown): string {
  if (typeof value !== 'string') return typeof value === 'object' ? Object.values(value ?? {}).map(word).join(' ') : String(value);
  return /^[A-Z_]+$/.test(value) ? value.charAt(0) + value.slice(1).toLowerCase().replaceAll('_', ' ') : value;
}

/** `firstActivity` is read as `first activity`. */
const label = (name: string): string => name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
