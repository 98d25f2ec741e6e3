// Says how much the screen can be trusted: always, and loudly once it cannot.
import type { Followed, Health, State } from '../live.ts';
import { part, say } from './incident.ts';
import { clockWithSeconds, span } from './time.ts';
import type { Request } from './request.ts';
import { readView } from './view.ts';

/** The best first. The screen is as good as the worst of what it follows. */
const STATES: readonly State[] = ['live', 'catching up', 'connecting', 'stale', 'refused'];
/** A hiccup that is over before anybody has looked up is shown by the light alone. */
const HICCUP_MS = 1_500;

export function worst(follows: readonly Pick<Followed, 'health'>[]): Health {
  return follows.map(({ health }) => health).reduce((a, b) => (STATES.indexOf(b.state) > STATES.indexOf(a.state) ? b : a));
}

/** Draws the state; call it whenever it changes, and each second, since what is stale grows older. */
export function watch(request: Request): (health: Health) => void {
  const banner = document.getElementById('banner')!;
  const light = document.getElementById('state')!;
  let [troubledAt, wasLive] = [0, false];

  return (health) => {
    const now = Date.now();
    const { state, exactAt, why } = health;
    troubledAt = state === 'live' ? 0 : troubledAt || now;
    document.body.dataset.state = state;
    say(light, 'b', state.toUpperCase());
    const loud = exactAt !== null && state !== 'live' && state !== 'refused' && now - troubledAt >= HICCUP_MS;
    banner.hidden = !loud;
    document.body.classList.toggle('stale', loud);
    if (loud) {
      say(banner, 'b', `${state === 'stale' ? 'NOT LIVE' : 'CATCHING UP'}: this is ${clockWithSeconds.format(exactAt)}, ${span(exactAt, now)} ago`);
      say(banner, 'span', state === 'stale' ? `${why ?? 'No connection'}; trying again by itself` : 'Reading what was missed');
    }
    refusal(state === 'refused' ? (why ?? '') : null, request);
    if (state === 'live' && !wasLive && loadedBefore) void reloadIfRenewed(request);
    loadedBefore ||= state === 'live';
    document.body.classList.toggle('held', loadedBefore);
    wasLive = state === 'live';
  };
}

let loadedBefore = false;

/** After an update of the desk the page of before may ask for what is no more; and its view may be another by now. */
async function reloadIfRenewed({ view, filter }: Request): Promise<void> {
  if (view !== null) {
    const now = await readView(view);
    if ('refused' in now || JSON.stringify(now.view.filter) !== JSON.stringify(filter)) location.reload();
  }
  const script = document.querySelector('script[type=module][src]')?.getAttribute('src');
  const answer = await fetch('/wall', { cache: 'no-store' }).catch(() => null);
  if (script && answer?.ok && !(await answer.text()).includes(script)) location.reload();
}

function refusal(why: string | null, { text, view }: Request): void {
  const root = document.getElementById('refusal')!;
  root.hidden = why === null;
  if (why === null) return;
  const plain = view === null ? 'The desk refuses this wall' : 'The view of this wall cannot be shown';
  say(root, 'h1', text === null ? plain : 'The filter of this wall is not understood');
  say(root, 'p', why);
  say(root, 'pre', text ?? view ?? '');
  part(root, 'pre').hidden = text === null && view === null;
  part(root, '.hint').hidden = text === null;
}
