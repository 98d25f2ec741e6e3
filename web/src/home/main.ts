// Shows whether the server answers, and completes the addresses on the page with the host that this browser uses.

/** The pause between two questions to the server. */
const ASK_EVERY_MS = 4_000;
/** A server that needs longer than this counts as silent. */
const ANSWER_WITHIN_MS = 3_000;

const health = document.getElementById('health');
const words = health?.querySelector('span');
let silentSince: Date | null = null;

async function ask(): Promise<void> {
  const askedAt = performance.now();
  try {
    const answer = await fetch('/healthz', { cache: 'no-store', signal: AbortSignal.timeout(ANSWER_WITHIN_MS) });
    const tookMs = Math.max(1, Math.round(performance.now() - askedAt));
    silentSince = null;
    if (answer.ok) say('well', `on watch · answered in ${tookMs} ms`);
    else say('unwell', `answers, but not healthy (${answer.status})`);
  } catch {
    if (silentSince === null) silentSince = new Date();
    say('silent', `no answer since ${silentSince.toLocaleTimeString([], { hour12: false })}`);
  }
}

function say(state: 'well' | 'unwell' | 'silent', text: string): void {
  if (!health || !words) return;
  health.dataset.state = state;
  words.textContent = text;
}

/** A hidden page asks nothing. */
async function keepAsking(): Promise<void> {
  if (!document.hidden) await ask();
  setTimeout(() => void keepAsking(), ASK_EVERY_MS);
}

// The page contains `/graphql`. Here it becomes `ws://host/graphql` or `http://host/graphql`.
for (const place of document.querySelectorAll<HTMLElement>('[data-address]')) {
  const socket = location.protocol === 'https:' ? 'wss:' : 'ws:';
  const protocol = place.dataset.address === 'ws' ? socket : location.protocol;
  place.textContent = `${protocol}//${location.host}${place.textContent}`;
}

document.addEventListener('visibilitychange', () => {
  if (!document.hidden) void ask();
});
document.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && event.target === document.body) location.assign('/graphiql');
});
void keepAsking();
