// Reads the address of the wall: its title, and its filter or its saved view.

export type Filter = Readonly<Record<string, unknown>>;

export interface Request {
  title: string | null;
  filter: Filter | null;
  /** The filter as the address spells it. */
  text: string | null;
  /** The slug of a saved view, whose filter the wall uses. */
  view: string | null;
  /** Why the wall cannot be shown. The desk, and not this file, checks the fields of a filter. */
  fault: string | null;
}

export function readRequest(search: string): Request {
  const parameters = new URLSearchParams(search);
  const title = parameters.get('title');
  const text = parameters.get('filter');
  const view = parameters.get('view')?.trim() || null;
  if (!text?.trim()) return { title, filter: null, text: null, view, fault: null };
  const refused = (fault: string): Request => ({ title, filter: null, text, view: null, fault });
  if (view !== null) return refused('A wall shows a filter or a view, one of the two.');
  try {
    const filter: unknown = JSON.parse(text);
    if (isObject(filter)) return { title, filter, text, view, fault: null };
    return refused('A filter is an object of JSON, such as {"severity":["HIGH"]}.');
  } catch (error) {
    return refused(`It is not JSON: ${(error as Error).message}`);
  }
}

function isObject(value: unknown): value is Filter {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Describes the filter in a few words. The description names every condition of the filter. */
export function describe(filter: Filter | null): string {
  if (filter === null) return 'All that is new or active';
  const conditions = Object.entries(filter).map(([field, value]) => condition(field, value));
  const parts = conditions.filter(Boolean);
  return parts.length === 0 ? 'All that is new or active' : parts.join(' · ');
}

function condition(field: string, value: unknown): string {
  if (value === null || value === undefined) return '';
  if (field === 'and' || field === 'or') {
    const parts = list(value).map((operand) => describe(operand as Filter));
    return field === 'and' ? parts.join(' · ') : `(${parts.join(' or ')})`;
  }
  if (field === 'not') return `not (${describe(value as Filter)})`;
  if (field === 'text') return `“${String(value)}”`;
  if (field === 'severity' || field === 'status') return list(value).map(constant).join(', ');
  if (CONSTANTS.has(field)) return `${label(field)} ${list(value).map(constant).join(', ')}`;
  if (typeof value === 'object' && !Array.isArray(value)) {
    const parts = Object.entries(value).map(([name, inner]) => part(name, inner));
    return `${label(field)} ${parts.filter(Boolean).join(', ')}`;
  }
  return `${label(field)} ${list(value).map(plain).join(', ')}`;
}

/**
 * Describes one field of a condition: `any vip` of tags, `unassigned` of owners. Null, false and an empty list switch a
 * field off, so they have no words.
 */
function part(name: string, value: unknown): string {
  if (value === null || value === false) return '';
  if (Array.isArray(value) && value.length === 0) return '';
  return value === true ? label(name) : `${label(name)} ${list(value).map(plain).join(', ')}`;
}

function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [value];
}

/** The conditions whose values are constants of the API. All other values are shown as people wrote them. */
const CONSTANTS = new Set(['classification', 'threat', 'activity', 'reason']);

/** `FALSE_POSITIVE` becomes `False positive`. */
function constant(value: unknown): string {
  const text = plain(value);
  return text.charAt(0) + text.slice(1).toLowerCase().replaceAll('_', ' ');
}

/** Writes a value as text. An object becomes its values, with a blank between them. */
function plain(value: unknown): string {
  if (typeof value !== 'object') return String(value);
  return Object.values(value ?? {}).map(plain).join(' ');
}

/** `firstActivity` becomes `first activity`. */
function label(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}
