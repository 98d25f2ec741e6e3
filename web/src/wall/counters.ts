// The counters above the lists: open incidents by severity, by status and without an owner, the age of the oldest open
// incident, and the incidents that were created and resolved today.
import { flash, say, shape, SEVERITIES, SEVERITY_WORDS, type Severity } from './incident.ts';
import type { Summary } from './summary.ts';
import { age } from './time.ts';

interface Counter {
  name: string;
  /** The text below the number. */
  label: string;
  /** An SVG in front of the label. */
  mark?: string;
  value(summary: Summary): string;
  /** The time from which an age counts. The page renews the age each second, without a new summary. */
  since?(summary: Summary): string | null;
}

function severityCount({ bySeverity }: Summary, severity: Severity): number {
  return bySeverity.find((bucket) => bucket.severity === severity)?.count ?? 0;
}

function statusCount({ byStatus }: Summary, status: string): number {
  return byStatus.find((bucket) => bucket.status === status)?.count ?? 0;
}

const COUNTERS: readonly Counter[] = [
  { name: 'open', label: 'open', value: ({ open }) => `${open}` },
  ...SEVERITIES.map((severity) => ({
    name: severity.toLowerCase(),
    label: SEVERITY_WORDS[severity],
    mark: shape(severity),
    value: (summary: Summary) => `${severityCount(summary, severity)}`,
  })),
  { name: 'new', label: 'new', value: (summary) => `${statusCount(summary, 'NEW')}` },
  { name: 'active', label: 'active', value: (summary) => `${statusCount(summary, 'ACTIVE')}` },
  { name: 'unassigned', label: 'unassigned', value: ({ unassigned }) => `${unassigned}` },
  {
    name: 'oldest',
    label: 'oldest open',
    value: ({ oldest }) => (oldest ? age(oldest, Date.now()) : '–'),
    since: ({ oldest }) => oldest,
  },
  { name: 'created', label: 'created today', value: ({ created }) => `${created}` },
  { name: 'resolved', label: 'resolved today', value: ({ resolved }) => `${resolved}` },
];

/** Draws the counters without numbers, and returns the function that fills them from a summary. */
export function counters(root: HTMLElement): (summary: Summary) => void {
  root.replaceChildren(
    ...COUNTERS.map(({ name, label, mark }) => {
      const tile = document.createElement('p');
      tile.className = 'counter';
      tile.dataset.counter = name;
      tile.innerHTML = `<b>–</b><span>${mark ?? ''}${label}</span>`;
      return tile;
    }),
  );
  return (summary) => {
    for (const [index, { value, since }] of COUNTERS.entries()) {
      const tile = root.children[index] as HTMLElement;
      const number = tile.firstElementChild as HTMLElement;
      const instant = since?.(summary);
      if (instant) number.dataset.since = instant;
      else delete number.dataset.since;
      const text = value(summary);
      if (number.textContent === text) continue;
      if (number.textContent !== '–') flash(tile);
      say(tile, 'b', text);
      tile.classList.toggle('none', text === '0');
      tile.classList.toggle('long', text.length > 5);
    }
  };
}
