// An incident as the wall shows it: what it asks for, how it orders, how it draws a row.
import type { Row } from '../live.ts';
import type { Rows } from './list.ts';
import { age } from './time.ts';

export type Severity = 'HIGH' | 'MEDIUM' | 'LOW' | 'INFORMATIONAL';
export const SEVERITIES: readonly Severity[] = ['HIGH', 'MEDIUM', 'LOW', 'INFORMATIONAL'];

export interface Incident extends Row {
  reference: string;
  number: number;
  /** Its first 1,000 characters. */
  title: string;
  titleTruncated: boolean;
  severity: Severity;
  status: 'NEW' | 'ACTIVE' | 'RESOLVED' | 'REDIRECTED';
  owner: { id: string; name: string } | null;
  alertCount: number;
  createdAt: string;
}

export const FIELDS = 'reference number title titleTruncated severity status owner { id name } alertCount createdAt';

/** The least height of a row, in rem: two lines of title, one of facts. */
const ROW_REM = 7;
/** Under the banner rows are lower, not fewer: what was shown stays. One line of title. */
const ROW_REM_STALE = 5.5;

export const leastRowRem = (): number => (document.body.classList.contains('stale') ? ROW_REM_STALE : ROW_REM);

const rank = (incident: Incident): number => SEVERITIES.indexOf(incident.severity);
const ownerRank = (incident: Incident): number => (incident.owner === null ? 0 : 1);

/** By severity, then what nobody owns, then what has waited longest. */
export function urgency(a: Incident, b: Incident): number {
  return rank(a) - rank(b) || ownerRank(a) - ownerRank(b) || a.createdAt.localeCompare(b.createdAt) || a.number - b.number;
}

export function newness(a: Incident, b: Incident): number {
  return b.createdAt.localeCompare(a.createdAt) || b.number - a.number;
}

/** The first few of many, without sorting the many. */
export function firstOf(rows: Iterable<Incident>, count: number, order: (a: Incident, b: Incident) => number): Incident[] {
  const first: Incident[] = [];
  for (const row of rows) {
    if (first.length === count && order(row, first[count - 1]!) > 0) continue;
    const at = first.findIndex((other) => order(row, other) < 0);
    first.splice(at < 0 ? first.length : at, 0, row);
    if (first.length > count) first.pop();
  }
  return first;
}

/** A shape and a letter for each severity, so that colour is not the only sign. */
const SHAPES: Record<Severity, string> = {
  HIGH: '<path d="M20 3 38 35.5H2Z"/><text x="20" y="31.5">H</text>',
  MEDIUM: '<path d="M20 1 39 20 20 39 1 20Z"/><text x="20" y="26.5">M</text>',
  LOW: '<rect x="4" y="4" width="32" height="32" rx="4"/><text x="20" y="27">L</text>',
  INFORMATIONAL: '<circle cx="20" cy="20" r="18"/><text x="20" y="27">I</text>',
};

export const SEVERITY_WORDS: Record<Severity, string> = { HIGH: 'High', MEDIUM: 'Medium', LOW: 'Low', INFORMATIONAL: 'Info' };

export function shape(severity: Severity): string {
  return `<svg class="shape" data-severity="${severity}" viewBox="0 0 40 40" role="img" aria-label="${SEVERITY_WORDS[severity]}">${SHAPES[severity]}</svg>`;
}

/** The rows of one list. `entered` says since when an incident is in the queue, where it came while we watched. */
export function incidentRows(entered: (id: string) => boolean, holds: (id: string) => boolean): Rows<Incident> {
  return {
    key: ({ id }) => id,
    gone: (id) => !holds(id),
    make: () => {
      const row = document.createElement('li');
      row.className = 'incident';
      row.innerHTML = `<span class="mark"></span><p class="title" dir="auto"></p>
        <p class="facts"><b class="reference"></b><span class="owner" dir="auto"></span><span class="counts"></span></p>
        <p class="when"><time></time><span class="status"></span></p>`;
      return row;
    },
    draw: (row, incident) => {
      row.dataset.id = incident.id;
      row.dataset.severity = incident.severity;
      row.classList.toggle('entered', entered(incident.id));
      const version = `${incident.version}`;
      if (row.dataset.version === version) return;
      if (row.dataset.version !== undefined) flash(row);
      row.dataset.version = version;
      part(row, '.mark').innerHTML = shape(incident.severity);
      say(row, '.title', headline(incident.title) + (incident.titleTruncated ? '…' : ''));
      say(row, '.reference', incident.reference);
      say(row, '.owner', incident.owner?.name ?? 'unassigned');
      part(row, '.owner').classList.toggle('nobody', incident.owner === null);
      say(row, '.counts', ['', '1 alert'][incident.alertCount] ?? `${incident.alertCount} alerts`);
      say(row, '.status', incident.status.toLowerCase());
      part(row, '.status').dataset.status = incident.status;
      part(row, 'time').dataset.since = incident.createdAt;
      say(row, 'time', age(incident.createdAt, Date.now()));
    },
  };
}

/** A title that the desk has made from alerts begins with what all of them begin with: a line of a wall is too dear for that. */
export function headline(title: string): string {
  return title.replace(/^Multi-stage incident involving /, 'Multi-stage: ');
}

/** Lights up what has changed. A change of light, not of place, so that it is there with reduced motion as well. */
export function flash(element: HTMLElement): void {
  element.animate([{ backgroundColor: 'rgb(255 255 255 / 16%)' }, {}], { duration: 1_600, easing: 'ease-out' });
}

export function part(root: Element, selector: string): HTMLElement {
  return root.querySelector<HTMLElement>(selector)!;
}

export function say(root: Element, selector: string, text: string): void {
  const element = part(root, selector);
  if (element.textContent !== text) element.textContent = text;
}
