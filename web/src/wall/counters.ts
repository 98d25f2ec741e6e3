// The counters over the lists: how much, how bad, whose, how old, and what became of it today.
import { flash, say, shape, SEVERITIES, SEVERITY_WORDS } from './incident.ts';
import type { Summary } from './summary.ts';
import { age } from './time.ts';

interface Counter {
  name: string;
  /** What stands under the number. */
  label: string;
  mark?: string;
  value(summary: Summary): string;
  /** For what grows older by itself. */
  since?(summary: Summary): string | null;
}

const statusCount = (summary: Summary, status: string): number => summary.byStatus.find((one) => one.status === status)?.count ?? 0;

const COUNTERS: readonly Counter[] = [
  { name: 'open', label: 'open', value: ({ open }) => `${open}` },
  ...SEVERITIES.map((severity) => ({
    name: severity.toLowerCase(),
    label: SEVERITY_WORDS[severity],
    mark: shape(severity),
    value: ({ bySeverity }: Summary) => `${bySeverity.find((one) => one.severity === severity)?.count ?? 0}`,
  })),
  { name: 'new', label: 'new', value: (summary) => `${statusCount(summary, 'NEW')}` },
  { name: 'active', label: 'active', value: (summary) => `${statusCount(summary, 'ACTIVE')}` },
  { name: 'unassigned', label: 'unassigned', value: ({ unassigned }) => `${unassigned}` },
  { name: 'oldest', label: 'oldest open', value: ({ oldest }) => (oldest ? age(oldest, Date.now()) : '–'), since: ({ oldest }) => oldest },
  { name: 'created', label: 'created today', value: ({ created }) => `${created}` },
  { name: 'resolved', label: 'resolved today', value: ({ resolved }) => `${resolved}` },
];

/** Draws the empty counters; the function that comes back fills them. */
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
