// Shows whether the server answers, asked anew every few seconds, and the addresses as this browser reaches them.
const ASK_EVERY_MS = 4_000;
/** A server that takes longer is shown as silent: a person has started to wonder by then. */
const ANSWER_WITHIN_MS = 3_000;

const health = document.getElementById('health');
const words = health?.querySelector('span');
let silentSince: Date | null = null;

async function ask(): Promise<void> {
  const asked = performance.now();
  try {
    const answer = await fetch('/healthz', { cache: 'no-store', signal: AbortSignal.timeout(ANSWER_WITHIN_MS) });
    const took_ms = Math.max(1, Math.round(performance.now() - asked));
    silentSince = null;
    if (answer.ok) say('well', `on watch · answered in ${took_ms} ms`);
    else say('unwell', `answers, but not healthy (${answer.status})`);
  } catch {
    silentSince ??= new Date();
    say('silent', `no answer since ${silentSince.toLocaleTimeString([], { hour12: false })}`);
  }
}

function say(state: 'well' | 'unwell' | 'silent', text: string): void {
  if (!health || !words) return;
  health.dataset.state = state;
  words.textContent = text;
}

async function keepAsking(): Promise<void> {
  if (!document.hidden) await ask();
  setTimeout(() => void keepAsking(), ASK_EVERY_MS);
}

for (const place of document.querySelectorAll<HTMLElement>('[data-address]')) {
  const socket = location.protocol === 'https:' ? 'wss:' : 'ws:';
  const protocol = place.dataset.address === 'ws' ? socket : location.protocol;
  place.textContent = `${protocol}//${location.host}${place.textContent}`;
}

document.addEventListener('visibilitychange', () => !document.hidden && void ask());
document.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && event.target === document.body) location.assign('/graphiql');
});
void keepAsking();
