// Shows at all times whether the screen is live, with a banner while it is not.
import type { Followed, Health, State } from '../live.ts';
import { part, say } from './incident.ts';
import { clockWithSeconds, span } from './time.ts';
import type { Request } from './request.ts';
import { readView } from './view.ts';

/** The states from best to worst. The screen shows the worst state of its three streams. */
const STATES: readonly State[] = ['live', 'catching up', 'connecting', 'stale', 'refused'];
/** An interruption shorter than this changes only the state in the header, and shows no banner. */
const HICCUP_MS = 1_500;

/** Returns the worst health. Of equal states, the first stream decides. */
export function worst(streams: readonly Pick<Followed, 'health'>[]): Health {
  const healths = streams.map(({ health }) => health);
  return healths.reduce((found, next) => (STATES.indexOf(next.state) > STATES.indexOf(found.state) ? next : found));
}

/** Whether this page was live before. */
let loadedBefore = false;

/**
 * Returns the function that draws the health. Call it at each change of the health, and each second: the banner shows
 * how old the screen is.
 */
export function watch(request: Request): (health: Health) => void {
  const banner = document.getElementById('banner')!;
  const light = document.getElementById('state')!;
  /** When the screen stopped being live, in milliseconds. 0 while it is live. */
  let troubledAt = 0;
  let wasLive = false;

  return (health) => {
    const now = Date.now();
    const { state, exactAt, why } = health;
    const isLive = state === 'live';
    if (isLive) troubledAt = 0;
    else if (troubledAt === 0) troubledAt = now;
    document.body.dataset.state = state;
    say(light, 'b', state.toUpperCase());
    const showsBanner = exactAt !== null && !isLive && state !== 'refused' && now - troubledAt >= HICCUP_MS;
    banner.hidden = !showsBanner;
    document.body.classList.toggle('stale', showsBanner);
    if (showsBanner) {
      const age = `this is ${clockWithSeconds.format(exactAt)}, ${span(exactAt, now)} ago`;
      if (state === 'stale') {
        say(banner, 'b', `NOT LIVE: ${age}`);
        say(banner, 'span', `${why ?? 'No connection'}; trying again by itself`);
      } else {
        say(banner, 'b', `CATCHING UP: ${age}`);
        say(banner, 'span', 'Reading what was missed');
      }
    }
    showRefusal(state === 'refused' ? (why ?? '') : null, request);
    if (isLive && !wasLive && loadedBefore) void reloadIfRenewed(request);
    if (isLive) loadedBefore = true;
    document.body.classList.toggle('held', loadedBefore);
    wasLive = isLive;
  };
}

/**
 * Reloads the page if the desk now serves another page or another filter of the view. After an update of the desk, the
 * old page may ask for fields that exist no more.
 */
async function reloadIfRenewed({ view, filter }: Request): Promise<void> {
  if (view !== null) {
    const answer = await readView(view);
    if ('refused' in answer || JSON.stringify(answer.view.filter) !== JSON.stringify(filter)) location.reload();
  }
  const script = document.querySelector('script[type=module][src]')?.getAttribute('src');
  const page = await fetch('/wall', { cache: 'no-store' }).catch(() => null);
  if (script && page?.ok && !(await page.text()).includes(script)) location.reload();
}

/** Shows why the desk refuses this wall, or nothing if `why` is null. */
function showRefusal(why: string | null, { text, view }: Request): void {
  const root = document.getElementById('refusal')!;
  root.hidden = why === null;
  if (why === null) return;
  say(root, 'h1', refusalHeadline(text, view));
  say(root, 'p', why);
  say(root, 'pre', text ?? view ?? '');
  part(root, 'pre').hidden = text === null && view === null;
  part(root, '.hint').hidden = text === null;
}

function refusalHeadline(text: string | null, view: string | null): string {
  if (text !== null) return 'The filter of this wall is not understood';
  return view === null ? 'The desk refuses this wall' : 'The view of this wall cannot be shown';
}
