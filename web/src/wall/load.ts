// The open incidents of each owner, as bars. Unassigned incidents come first.
import { part, say } from './incident.ts';
import type { MovingList, Rows } from './list.ts';
import type { Summary } from './summary.ts';

/** The smallest height of a row, in rem. */
export const LOAD_REM = 2.6;

export interface Share {
  id: string;
  name: string;
  count: number;
  /** The length of the bar, in percent of the longest bar. */
  percent: number;
}

export const shareRows: Rows<Share> = {
  key: ({ id }) => id,
  make: () => {
    const row = document.createElement('li');
    row.className = 'share';
    row.innerHTML = '<span class="who" dir="auto"></span><span class="bar"><i></i></span><b></b>';
    return row;
  },
  draw: (row, { id, name, count, percent }) => {
    row.classList.toggle('nobody', id === 'nobody');
    row.classList.toggle('rest', id === 'rest');
    say(row, '.who', name);
    say(row, 'b', `${count}`);
    part(row, 'i').style.width = `${percent}%`;
  },
};

/**
 * Draws the bars: unassigned incidents, then the owners with the most incidents. If the owners do not all fit, the last
 * row sums up the others, without a bar.
 */
export function showLoad(list: MovingList<Share>, { unassigned, byOwner }: Summary): void {
  const room = list.room(LOAD_REM);
  const owners = [...byOwner].sort((a, b) => b.count - a.count || a.owner.name.localeCompare(b.owner.name));
  const allFit = owners.length + 1 <= room;
  const named = allFit ? owners : owners.slice(0, Math.max(0, room - 2));
  const rest = owners.slice(named.length);
  const longest = Math.max(1, unassigned, ...named.map(({ count }) => count));
  const percent = (count: number): number => Math.min(100, (count / longest) * 100);
  const shares: Share[] = [{ id: 'nobody', name: 'Unassigned', count: unassigned, percent: percent(unassigned) }];
  for (const { owner, count } of named) {
    shares.push({ id: owner.id, name: owner.name, count, percent: percent(count) });
  }
  if (rest.length > 0) {
    const restCount = rest.reduce((sum, { count }) => sum + count, 0);
    shares.push({ id: 'rest', name: `${rest.length} others`, count: restCount, percent: 0 });
  }
  list.show(shares);
}
