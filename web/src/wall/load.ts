// Who has how many open incidents; those that nobody has come first.
import { part, say } from './incident.ts';
import type { MovingList, Rows } from './list.ts';
import type { Summary } from './summary.ts';

/** The least height of a row, in rem. */
export const LOAD_REM = 2.6;

export interface Share {
  id: string;
  name: string;
  count: number;
  /** Of the longest bar, in percent. */
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

export function showLoad(list: MovingList<Share>, { unassigned, byOwner }: Summary): void {
  const room = list.room(LOAD_REM);
  const owners = [...byOwner].sort((a, b) => b.count - a.count || a.owner.name.localeCompare(b.owner.name));
  const named = owners.length + 1 > room ? owners.slice(0, Math.max(0, room - 2)) : owners;
  const rest = owners.slice(named.length);
  const restCount = rest.reduce((sum, { count }) => sum + count, 0);
  const longest = Math.max(1, unassigned, ...named.map(({ count }) => count));
  const percent = (count: number): number => Math.min(100, (count / longest) * 100);
  list.show([
    { id: 'nobody', name: 'Unassigned', count: unassigned, percent: percent(unassigned) },
    ...named.map(({ owner, count }) => ({ id: owner.id, name: owner.name, count, percent: percent(count) })),
    ...(rest.length === 0 ? [] : [{ id: 'rest', name: `${rest.length} others`, count: restCount, percent: 0 }]),
  ]);
}
