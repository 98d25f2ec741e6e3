// Times and ages in the words of the wall.

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** Returns how long ago a time was, in at most two units. A time ahead of this screen's clock is `now`. */
export function age(since: string | Date, now: number): string {
  const ms = Math.max(0, now - new Date(since).getTime());
  if (ms < MINUTE_MS) return 'now';
  if (ms < HOUR_MS) return `${Math.floor(ms / MINUTE_MS)} min`;
  if (ms < DAY_MS) return `${Math.floor(ms / HOUR_MS)} h ${Math.floor((ms % HOUR_MS) / MINUTE_MS)} m`;
  if (ms < 10 * DAY_MS) return `${Math.floor(ms / DAY_MS)} d ${Math.floor((ms % DAY_MS) / HOUR_MS)} h`;
  return `${Math.floor(ms / DAY_MS)} d`;
}

/** Returns how long ago a time was, in seconds during the first minute. */
export function span(since: Date, now: number): string {
  const seconds = Math.max(0, Math.round((now - since.getTime()) / 1_000));
  return seconds < 60 ? `${seconds} s` : age(since, now);
}

/** Hours and minutes on a clock of 24 hours, in the time zone of the screen. */
export const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
export const clockWithSeconds = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
export const date = new Intl.DateTimeFormat('en-GB', { weekday: 'short', day: 'numeric', month: 'short' });

/** Returns the last midnight in the time zone of the screen. */
export function midnight(now: Date): Date {
  return new Date(now.getFullYear(), now.getMonth(), now.getDate());
}
