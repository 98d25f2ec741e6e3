// The wall: one connection, three things followed over it, drawn at most four times a second for as long as the screen hangs.
import { connect } from '../live.ts';
import { ACTIVITY_REM, BEFORE, type Before, type Change, changeRows, LOG, ofAnyStatus, Ticker } from './activity.ts';
import { counters } from './counters.ts';
import { FIELDS, firstOf, type Incident, incidentRows, leastRowRem, newness, urgency } from './incident.ts';
import { MovingList } from './list.ts';
import { shareRows, showLoad } from './load.ts';
import { describe, readRequest, type Request } from './request.ts';
import { followSummary, type Summary } from './summary.ts';
import { age, clock, date, midnight } from './time.ts';
import { readView } from './view.ts';
import { watch, worst } from './watch.ts';

/** Faster is flicker, and a storm of changes costs no more than a few do. */
const DRAW_EVERY_MS = 250;
/** How long an incident that came is marked as such: long enough to be found by who looks up at the movement. */
const LATELY_MS = 10_000;
const CURSOR_HIDES_MS = 3_000;
/** A view that is not there may be by then: made again, or shared. */
const ASKED_AGAIN_MS = 30_000;

const element = (id: string): HTMLElement => document.getElementById(id)!;
keepTime();
fullScreen();
void hang(readRequest(location.search));

async function hang(asked: Request): Promise<void> {
  const request = asked.view === null ? asked : await viewed(asked, asked.view);
  element('title').textContent = request.title ?? 'Watchfloor';
  element('scope').textContent = request.fault === null ? describe(request.filter) : '';
  if (request.title) document.title = `${request.title} · Watchfloor`;
  if (request.fault === null) follow(request);
  else watch(request)({ state: 'refused', exactAt: null, why: request.fault });
}

/** The request with the filter of its view, under the view's name unless it has one of its own. */
async function viewed(asked: Request, slug: string): Promise<Request> {
  const answer = await readView(slug);
  if ('refused' in answer) {
    setTimeout(() => location.reload(), ASKED_AGAIN_MS);
    return { ...asked, fault: answer.refused };
  }
  return { ...asked, title: asked.title ?? answer.view.name, filter: answer.view.filter };
}

function follow(request: Request): void {
  const desk = connect({ url: `${location.origin.replace(/^http/, 'ws')}/graphql` });
  const { filter } = request;
  const showHealth = watch(request);
  const tell = (): void => showHealth(worst([queue, log, summary]));

  const entered = new Map<string, number>();
  const left = new Map<string, number>();
  const queue = desk.queue<Incident>({
    filter,
    fields: FIELDS,
    onChange: (change) => {
      if (change.kind === 'entered' && queue.health.state === 'live') entered.set(change.row.id, Date.now());
      if (change.kind === 'left') left.set(change.id, Date.now());
      draw();
    },
    onHealth: () => tell(),
  });

  const ticker = new Ticker(({ incidentId: id }) => filter === null || queue.rows.has(id) || left.has(id));
  const log = desk.follow<{ __typename: string; position: string; change: Change }>({
    query: LOG,
    begin: async () => {
      const before = await desk.query<Before>(BEFORE, { filter: ofAnyStatus(filter) });
      ticker.begin(before);
      draw();
      return before.incidents.position;
    },
    next: ({ __typename, change }) => {
      // Alerts that no incident holds change too: they are nothing to show here.
      if (__typename !== 'ActivityChange') return;
      ticker.take(change);
      draw();
    },
    onHealth: () => tell(),
  });

  let numbers: Summary | null = null;
  let day = midnight(new Date());
  const today = () =>
    followSummary(desk, {
      filter,
      since: day,
      next: (next) => {
        numbers = next;
        draw();
      },
      onHealth: () => tell(),
    });
  let summary = today();

  const isNew = (id: string): boolean => entered.has(id);
  const holds = (id: string): boolean => queue.rows.has(id);
  const urgent = new MovingList(element('urgent'), incidentRows(isNew, holds));
  const newest = new MovingList(element('newest'), incidentRows(isNew, holds));
  const load = new MovingList(element('load'), shareRows);
  const activity = new MovingList(element('activity'), changeRows);
  const showCounters = counters(element('counters'));

  let drawing: ReturnType<typeof setTimeout> | undefined;
  function draw(): void {
    drawing ??= setTimeout(() => {
      drawing = undefined;
      const rows = queue.rows.values();
      urgent.show(firstOf(rows, urgent.room(leastRowRem()), urgency));
      newest.show(firstOf(queue.rows.values(), newest.room(leastRowRem()), newness));
      if (numbers) showCounters(numbers);
      if (numbers) showLoad(load, numbers);
      activity.show(ticker.newest(activity.room(ACTIVITY_REM)));
    }, DRAW_EVERY_MS);
  }

  const sizes = new ResizeObserver(draw);
  for (const list of [urgent, newest, load, activity]) sizes.observe(list.root);

  setInterval(() => {
    const now = Date.now();
    for (const [id, at] of entered) if (now - at > LATELY_MS) entered.delete(id), draw();
    for (const [id, at] of left) if (now - at > LATELY_MS) left.delete(id);
    if (midnight(new Date()).getTime() !== day.getTime()) {
      day = midnight(new Date());
      summary.stop();
      summary = today();
    }
    tell();
  }, 1_000);
}

/** The clock, and the age of whatever shows one. */
function keepTime(): void {
  const tick = (): void => {
    const now = new Date();
    element('clock').querySelector('b')!.textContent = clock.format(now);
    element('clock').querySelector('span')!.textContent = date.format(now);
    for (const one of document.querySelectorAll<HTMLElement>('[data-since]')) {
      const text = age(one.dataset.since!, now.getTime());
      if (one.textContent !== text) one.textContent = text;
    }
  };
  tick();
  setInterval(tick, 1_000);
}

function fullScreen(): void {
  const toggle = (): void => void (document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen());
  addEventListener('dblclick', toggle);
  addEventListener('keydown', ({ key }) => key.toLowerCase() === 'f' && toggle());
  let hiding: ReturnType<typeof setTimeout> | undefined;
  addEventListener('pointermove', () => {
    clearTimeout(hiding);
    document.documentElement.classList.remove('idle');
    hiding = setTimeout(() => document.documentElement.classList.add('idle'), CURSOR_HIDES_MS);
  });
  // A screen that nobody touches goes dark by itself, unless it is asked not to. Lost whenever the page is hidden.
  const stayAwake = (): void => void (document.hidden || navigator.wakeLock?.request('screen').catch(() => {}));
  document.addEventListener('visibilitychange', stayAwake);
  stayAwake();
}
