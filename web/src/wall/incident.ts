// An incident on the wall: the selected fields, the orders of the lists, and how a row is drawn.
import type { Row } from '../live.ts';
import type { Rows } from './list.ts';
import { age } from './time.ts';

export type Severity = 'HIGH' | 'MEDIUM' | 'LOW' | 'INFORMATIONAL';
export const SEVERITIES: readonly Severity[] = ['HIGH', 'MEDIUM', 'LOW', 'INFORMATIONAL'];

export interface Incident extends Row {
  reference: string;
  number: number;
  /** The first 1,000 characters of the title. */
  title: string;
  titleTruncated: boolean;
  severity: Severity;
  status: 'NEW' | 'ACTIVE' | 'RESOLVED' | 'REDIRECTED';
  owner: { id: string; name: string } | null;
  alertCount: number;
  createdAt: string;
}

export const FIELDS = 'reference number title titleTruncated severity status owner { id name } alertCount createdAt';

/** The smallest height of a row, in rem: two lines of title, one line of facts. */
const ROW_REM = 7;
/**
 * The smallest height of a row while the banner is shown: one line of title. The banner takes room, and lower rows keep
 * every incident on the screen.
 */
const ROW_REM_STALE = 5.5;

export function leastRowRem(): number {
  return document.body.classList.contains('stale') ? ROW_REM_STALE : ROW_REM;
}

function severityRank({ severity }: Incident): number {
  return SEVERITIES.indexOf(severity);
}

function ownerRank({ owner }: Incident): number {
  return owner === null ? 0 : 1;
}

/** Orders by severity, then incidents without an owner first, then the oldest incident first. */
export function urgency(a: Incident, b: Incident): number {
  return (
    severityRank(a) - severityRank(b) ||
    ownerRank(a) - ownerRank(b) ||
    a.createdAt.localeCompare(b.createdAt) ||
    a.number - b.number
  );
}

/** Orders the newest incident first. */
export function newness(a: Incident, b: Incident): number {
  return b.createdAt.localeCompare(a.createdAt) || b.number - a.number;
}

/** Returns the first `count` incidents of an order, without sorting all incidents. */
export function firstOf(rows: Iterable<Incident>, count: number, order: (a: Incident, b: Incident) => number): Incident[] {
  const first: Incident[] = [];
  for (const row of rows) {
    if (first.length === count && order(row, first[count - 1]!) > 0) continue;
    const index = first.findIndex((other) => order(row, other) < 0);
    first.splice(index < 0 ? first.length : index, 0, row);
    if (first.length > count) first.pop();
  }
  return first;
}

/** Each severity has a shape and a letter, so that colour is not the only sign of it. */
const SHAPES: Record<Severity, string> = {
  HIGH: '<path d="M20 3 38 35.5H2Z"/><text x="20" y="31.5">H</text>',
  MEDIUM: '<path d="M20 1 39 20 20 39 1 20Z"/><text x="20" y="26.5">M</text>',
  LOW: '<rect x="4" y="4" width="32" height="32" rx="4"/><text x="20" y="27">L</text>',
  INFORMATIONAL: '<circle cx="20" cy="20" r="18"/><text x="20" y="27">I</text>',
};

export const SEVERITY_WORDS: Record<Severity, string> = {
  HIGH: 'High',
  MEDIUM: 'Medium',
  LOW: 'Low',
  INFORMATIONAL: 'Info',
};

/** Returns the SVG of a severity. */
export function shape(severity: Severity): string {
  const label = SEVERITY_WORDS[severity];
  const attributes = `class="shape" data-severity="${severity}" viewBox="0 0 40 40" role="img" aria-label="${label}"`;
  return `<svg ${attributes}>${SHAPES[severity]}</svg>`;
}

function alertsText(count: number): string {
  if (count === 0) return '';
  return count === 1 ? '1 alert' : `${count} alerts`;
}

/**
 * Draws the rows of one list. `entered` says whether an incident entered the queue a moment ago, `holds` whether the
 * queue still holds it.
 */
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
      say(row, '.counts', alertsText(incident.alertCount));
      say(row, '.status', incident.status.toLowerCase());
      part(row, '.status').dataset.status = incident.status;
      part(row, 'time').dataset.since = incident.createdAt;
      say(row, 'time', age(incident.createdAt, Date.now()));
    },
  };
}

/** Shortens the words with which every generated title begins, because a line on the wall is short. */
export function headline(title: string): string {
  return title.replace(/^Multi-stage incident involving /, 'Multi-stage: ');
}

/** Lights an element up to show that it changed. Nothing moves, so this also runs with reduced motion. */
export function flash(element: HTMLElement): void {
  element.animate([{ backgroundColor: 'rgb(255 255 255 / 16%)' }, {}], { duration: 1_600, easing: 'ease-out' });
}

/** Returns the element of a selector, which must exist below `root`. */
export function part(root: Element, selector: string): HTMLElement {
  return root.querySelector<HTMLElement>(selector)!;
}

/** Sets the text of an element if it differs. */
export function say(root: Element, selector: string, text: string): void {
  const element = part(root, selector);
  if (element.textContent !== text) element.textContent = text;
}
