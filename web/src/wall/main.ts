// The wall: follows the queue, the log and the summary over one connection, and draws them at most four times a second.
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

/** The pause between two drawings. A shorter pause flickers; with this pause many changes cost no more than a few. */
const DRAW_EVERY_MS = 250;
/** The time for which a new incident is marked: a person who looks up at the movement still finds it. */
const LATELY_MS = 10_000;
/** The cursor hides after this time without a movement. */
const CURSOR_HIDES_MS = 3_000;
/** The pause before the page asks for a refused view again. Somebody may have created or shared the view by then. */
const ASKED_AGAIN_MS = 30_000;

keepTime();
fullScreen();
void start(readRequest(location.search));

function element(id: string): HTMLElement {
  return document.getElementById(id)!;
}

/** Shows the name of the wall and what it shows, then follows the desk or shows why the desk refuses the request. */
async function start(asked: Request): Promise<void> {
  const request = asked.view === null ? asked : await withView(asked, asked.view);
  element('title').textContent = request.title ?? 'Watchfloor';
  element('scope').textContent = request.fault === null ? describe(request.filter) : '';
  if (request.title) document.title = `${request.title} · Watchfloor`;
  if (request.fault === null) follow(request);
  else watch(request)({ state: 'refused', exactAt: null, why: request.fault });
}

/** Returns the request with the filter of its view. The title of the request wins over the name of the view. */
async function withView(asked: Request, slug: string): Promise<Request> {
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

  /** When an incident entered or left the queue, in milliseconds, for incidents that did so a moment ago. */
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

  const ticker = new Ticker(({ incidentId }) => filter === null || queue.rows.has(incidentId) || left.has(incidentId));
  const log = desk.follow<{ __typename: string; position: string; change: Change }>({
    query: LOG,
    begin: async () => {
      const before = await desk.query<Before>(BEFORE, { filter: ofAnyStatus(filter) });
      ticker.begin(before);
      draw();
      return before.incidents.position;
    },
    next: ({ __typename, change }) => {
      // The log also holds changes of alerts that no incident holds. The wall does not show them.
      if (__typename !== 'ActivityChange') return;
      ticker.take(change);
      draw();
    },
    onHealth: () => tell(),
  });

  let numbers: Summary | null = null;
  let day = midnight(new Date());
  const followToday = () =>
    followSummary(desk, {
      filter,
      since: day,
      next: (next) => {
        numbers = next;
        draw();
      },
      onHealth: () => tell(),
    });
  let summary = followToday();

  const isNew = (id: string): boolean => entered.has(id);
  const holds = (id: string): boolean => queue.rows.has(id);
  const urgent = new MovingList(element('urgent'), incidentRows(isNew, holds));
  const newest = new MovingList(element('newest'), incidentRows(isNew, holds));
  const load = new MovingList(element('load'), shareRows);
  const activity = new MovingList(element('activity'), changeRows);
  const showCounters = counters(element('counters'));

  let drawing: ReturnType<typeof setTimeout> | undefined;
  /** Draws after the pause. Calls during the pause are one drawing. */
  function draw(): void {
    if (drawing === undefined) drawing = setTimeout(drawNow, DRAW_EVERY_MS);
  }

  function drawNow(): void {
    drawing = undefined;
    urgent.show(firstOf(queue.rows.values(), urgent.room(leastRowRem()), urgency));
    newest.show(firstOf(queue.rows.values(), newest.room(leastRowRem()), newness));
    if (numbers) {
      showCounters(numbers);
      showLoad(load, numbers);
    }
    activity.show(ticker.newest(activity.room(ACTIVITY_REM)));
  }

  const sizes = new ResizeObserver(draw);
  for (const list of [urgent, newest, load, activity]) sizes.observe(list.root);

  setInterval(() => {
    const now = Date.now();
    for (const [id, at] of entered) {
      if (now - at > LATELY_MS) {
        entered.delete(id);
        draw();
      }
    }
    for (const [id, at] of left) {
      if (now - at > LATELY_MS) left.delete(id);
    }
    // The counters of a day begin anew at midnight.
    if (midnight(new Date()).getTime() !== day.getTime()) {
      day = midnight(new Date());
      summary.stop();
      summary = followToday();
    }
    tell();
  }, 1_000);
}

/** Renews the clock and every age on the page, each second. */
function keepTime(): void {
  const tick = (): void => {
    const now = new Date();
    element('clock').querySelector('b')!.textContent = clock.format(now);
    element('clock').querySelector('span')!.textContent = date.format(now);
    for (const shown of document.querySelectorAll<HTMLElement>('[data-since]')) {
      const text = age(shown.dataset.since!, now.getTime());
      if (shown.textContent !== text) shown.textContent = text;
    }
  };
  tick();
  setInterval(tick, 1_000);
}

/** Switches to full screen at a double click or the key F, hides an idle cursor, and keeps the screen on. */
function fullScreen(): void {
  const toggle = (): void => {
    if (document.fullscreenElement) void document.exitFullscreen();
    else void document.documentElement.requestFullscreen();
  };
  addEventListener('dblclick', toggle);
  addEventListener('keydown', ({ key }) => {
    if (key.toLowerCase() === 'f') toggle();
  });
  let hiding: ReturnType<typeof setTimeout> | undefined;
  addEventListener('pointermove', () => {
    clearTimeout(hiding);
    document.documentElement.classList.remove('idle');
    hiding = setTimeout(() => document.documentElement.classList.add('idle'), CURSOR_HIDES_MS);
  });
  // A wake lock keeps an untouched screen on. The browser releases the lock when the page is hidden, so the page
  // requests it again whenever it becomes visible.
  const stayAwake = (): void => {
    if (!document.hidden) navigator.wakeLock?.request('screen').catch(() => {});
  };
  document.addEventListener('visibilitychange', stayAwake);
  stayAwake();
}
