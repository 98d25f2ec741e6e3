// Opens the wall of a real server in a real browser. Every request to another machine is blocked.
//
//   node test/wall.mjs BINARY DATABASE_URL [SCREENSHOT_FOLDER]
//
// The expected content comes from the API, by other queries than the queries of the wall, and is sorted in this file.
import { strict as assert } from 'node:assert';
import { Browser, STEP_MS } from './browser.mjs';
import { Desk, until } from './desk.mjs';

const [binary, databaseUrl, folder] = process.argv.slice(2);
if (databaseUrl === undefined) {
  console.error('usage: node test/wall.mjs BINARY DATABASE_URL [SCREENSHOT_FOLDER]');
  process.exit(2);
}

const SEVERITIES = ['HIGH', 'MEDIUM', 'LOW', 'INFORMATIONAL'];
const FULL_HD = { width: 1920, height: 1080 };

const desk = await Desk.open(binary, databaseUrl);
const browser = await Browser.open(folder);
try {
  const people = await hire(['Mira Holt', 'Jun Takeda', 'Adaeze Obi']);
  for (const [number, severity] of SEVERITIES.flatMap((one) => [one, one]).entries()) {
    await report(`First report ${number}`, severity, number % 2 === 0 ? people[number % 3] : null);
  }
  const page = await hang('/wall', { viewport: FULL_HD });
  await theScreenIsExact(page, 'at first');
  await browser.shoot(page, 'wall-1-live');
  const sent = queriesOf(page);

  await aMutationMovesTheScreen(page);
  await aKillShowsAndTheScreenCatchesUp(page);
  await silenceShows(page);
  await aCutNetworkShows(page);
  assert.deepEqual(sent, [], 'after every cut the screen went on from its position, and asked for nothing anew');
  console.log('ok   no set was read again');
  await theHomePageLeadsHere();
  await aFilterChoosesWhatIsShown(people);
  await theWordsOfPeopleAreIsolated();
  await aBadFilterSaysSo();
  await aViewChoosesWhatIsShown();
  await nothingMovesForThoseWhoAskForThat();
  await everySizeHoldsEverything();
  await aStormLeavesNothingBehind(page);
  browser.assertClean();
} finally {
  await browser.close();
  await desk.kill();
}

async function aMutationMovesTheScreen(page) {
  await page.evaluate(() => {
    globalThis.moved = new Set();
    const look = () => {
      for (const animation of document.getAnimations()) {
        const row = animation.effect.target?.closest('li');
        if (row && animation.effect.getKeyframes().some(({ transform }) => transform && transform !== 'none')) {
          globalThis.moved.add(`${row.classList.contains('leaving') ? 'left' : 'moved'} ${row.querySelector('.title')?.textContent}`);
        }
      }
      requestAnimationFrame(look);
    };
    look();
  });
  const { id } = await report('Beacon to a new domain', 'HIGH', null);
  await page.locator('#newest li:first-child .title', { hasText: 'Beacon to a new domain' }).waitFor();
  assert.match(await page.locator('#newest li:first-child').getAttribute('class'), /entered/, 'it is marked as new');
  await page.locator('#activity li:first-child', { hasText: 'reported' }).waitFor();
  await theScreenIsExact(page, 'after a report');
  await browser.shoot(page, 'wall-2-entered');
  await until('it came in, and others made room', async () => {
    const moved = await page.evaluate(() => [...globalThis.moved]);
    return (moved.includes('moved Beacon to a new domain') && moved.some((one) => one.startsWith('moved First'))) || moved;
  });

  await change(id, { status: 'RESOLVED', classification: { truePositive: 'MALWARE' } });
  await page.locator('#activity li:first-child', { hasText: 'resolved INC-9 as malware' }).waitFor();
  await theScreenIsExact(page, 'after a resolution');
  await until('it left', async () => {
    const moved = await page.evaluate(() => [...globalThis.moved]);
    return moved.includes('left Beacon to a new domain') || moved;
  });
  console.log('ok   a report and its resolution by HTTP: the row comes and goes, counters and ticker follow');
}

async function aKillShowsAndTheScreenCatchesUp(page) {
  for (const life of [1, 2]) {
    const shown = await screen(page);
    await desk.kill();
    await page.locator('#state', { hasText: 'STALE' }).waitFor();
    await page.locator('#banner', { hasText: 'NOT LIVE: this is ' }).waitFor();
    assert.deepEqual((await screen(page)).urgent, shown.urgent, 'what was there last stays, marked as old');
    await browser.shoot(page, 'wall-3-stale');

    // Another server works on the same database for a time, then this server starts again.
    const other = await Desk.open(binary, databaseUrl);
    const open = [...(await other.set(null, 'number')).values()].sort((a, b) => a.number - b.number);
    await report(`While the screen was blind, ${life}`, 'HIGH', null, other);
    await change(open[0].id, { status: 'RESOLVED' }, other);
    await change(open[1].id, { severity: 'HIGH', owner: { me: true } }, other);
    await other.kill();
    await desk.start();
    await report(`Before it could see again, ${life}`, 'MEDIUM', null);
    await live(page);
    await theScreenIsExact(page, `after kill ${life}`);
  }
  browser.faults = browser.faults.filter((fault) => !/ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET/.test(fault));
  console.log('ok   killed twice: the screen says so, and catches up exactly');
}

async function silenceShows(page) {
  desk.freeze();
  await page.locator('#banner', { hasText: 'NOT LIVE' }).waitFor();
  desk.thaw();
  await report('After the silence', 'LOW', null);
  await live(page);
  await theScreenIsExact(page, 'after a silence');
  browser.faults = browser.faults.filter((fault) => !/WebSocket/.test(fault));
  console.log('ok   a server that falls silent shows itself');
}

async function aCutNetworkShows(page) {
  await page.context().setOffline(true);
  await report('While the network was cut', 'HIGH', null);
  await page.locator('#banner', { hasText: 'NOT LIVE' }).waitFor();
  await page.context().setOffline(false);
  await live(page);
  await theScreenIsExact(page, 'after a cut');
  browser.faults = browser.faults.filter((fault) => !/ERR_INTERNET_DISCONNECTED/.test(fault));
  console.log('ok   a cut network shows itself');
}

async function theHomePageLeadsHere() {
  const page = await browser.page();
  await page.goto(desk.base);
  await page.getByRole('link', { name: 'wall' }).click();
  await page.waitForURL('**/wall');
  await live(page);
  await page.context().close();
  console.log('ok   the first page leads to the wall');
}

async function aFilterChoosesWhatIsShown(people) {
  const filter = { severity: ['HIGH', 'MEDIUM'], owner: { unassigned: true } };
  const page = await hang(`/wall?filter=${encodeURIComponent(JSON.stringify(filter))}&title=Tier%202`, { viewport: FULL_HD });
  await theScreenIsExact(page, 'under a filter', filter);
  assert.equal(await page.locator('#title').textContent(), 'Tier 2');
  assert.equal(await page.locator('#scope').textContent(), 'High, Medium · owner unassigned');
  await report('Of no concern here', 'LOW', null);
  const { id } = await report('Of concern here', 'HIGH', null);
  await page.locator('#activity li', { hasText: 'Of concern here' }).waitFor();
  assert.equal(await page.locator('#activity li', { hasText: 'Of no concern here' }).count(), 0);
  await theScreenIsExact(page, 'under a filter, after reports', filter);
  await change(id, { owner: { user: people[0] } });
  await page.locator('#activity li:first-child', { hasText: 'to Mira Holt' }).waitFor();
  await theScreenIsExact(page, 'after one left the filter', filter);
  await browser.shoot(page, 'wall-4-filter');
  await page.context().close();
  console.log('ok   the filter of the address chooses what is shown, in the ticker as well');
}

/** No text of people turns the words beside it around: each has an element of its own with its own direction. */
async function theWordsOfPeopleAreIsolated() {
  const [name, tag, turned, hebrew, shift] = ['נועה לוי', 'לילה', '\u202elive', 'התחזות', 'משמרת לילה'];
  const { upsertUser } = await desk.ask('mutation ($input: UpsertUserInput!) { upsertUser(input: $input) { user { id } } }', {
    input: { account: 'noa', name, role: 'RESPONDER' },
  });
  const ids = [];
  for (const title of [turned, hebrew]) {
    const { createIncident } = await desk.ask(
      'mutation ($input: CreateIncidentInput!) { createIncident(input: $input) { incident { id } } }',
      { input: { title, severity: 'HIGH', tags: [tag] } },
      'noa',
    );
    ids.push(createIncident.incident.id);
  }
  await change(ids[1], { owner: { user: upsertUser.user.id } });
  const filter = encodeURIComponent(JSON.stringify({ tags: { any: [tag] } }));
  const page = await hang(`/wall?filter=${filter}&title=${encodeURIComponent(shift)}`, { viewport: FULL_HD });
  for (const [place, text, direction] of [
    ['#title', shift, 'rtl'],
    ['#scope', `tags any ${tag}`, 'ltr'],
    ['#urgent .title', turned, 'ltr'],
    ['#newest .title', hebrew, 'rtl'],
    ['#urgent .owner', name, 'rtl'],
    ['#load .who', name, 'rtl'],
    ['#activity p > b:first-child', name, 'rtl'],
    ['#activity p > span', turned, 'ltr'],
    ['#activity p > span', hebrew, 'rtl'],
    ['#activity bdi', `to ${name}`, 'ltr'],
  ]) {
    const element = page.locator(place).filter({ hasText: text }).first();
    const found = await element.evaluate((one) => {
      const { unicodeBidi, direction } = getComputedStyle(one);
      return { text: one.textContent, bidi: unicodeBidi, direction };
    });
    assert.equal(found.text, text, `${place} holds nothing else`);
    assert.ok(['isolate', 'plaintext'].includes(found.bidi), `${place} with ${JSON.stringify(text)}: ${found.bidi}`);
    assert.equal(found.direction, direction, `${place} with ${JSON.stringify(text)}`);
  }
  await browser.shoot(page, 'wall-7-directions');
  await page.context().close();
  for (const id of ids) await change(id, { status: 'RESOLVED' });
  console.log('ok   titles, names and tags of any direction are isolated');
}

async function aBadFilterSaysSo() {
  const wrong = [
    ['{"severity":["SEVERE"]}', 'SEVERE'],
    ['{"sevrity":["HIGH"]}', 'sevrity'],
    ['{"owner":{"users":["nobody"]}}', 'there is no user'],
    ['{"severity":', 'It is not JSON'],
    ['["HIGH"]', 'A filter is an object'],
  ];
  for (const [filter, words] of wrong) {
    const page = await hang(`/wall?filter=${encodeURIComponent(filter)}`, {}, null);
    await page.locator('#refusal', { hasText: 'The filter of this wall is not understood' }).waitFor();
    await page.locator('#refusal', { hasText: words }).waitFor();
    assert.equal(await page.locator('#refusal pre').textContent(), filter);
    assert.equal(await page.locator('#state').textContent(), 'REFUSED');
    await browser.shoot(page, 'wall-5-bad-filter');
    await page.context().close();
  }
  console.log('ok   a filter that is not understood is named, with the reason');
}

async function aViewChoosesWhatIsShown() {
  const save = async (input) => {
    const mutation = 'mutation ($input: CreateViewInput!) { createView(input: $input) { view { id link } } }';
    return (await desk.ask(mutation, { input })).createView.view;
  };
  const [high, low] = [{ severity: ['HIGH'] }, { severity: ['LOW'] }];
  const { id, link } = await save({ name: 'Night shift', filter: high, visibility: 'SHARED' });
  assert.equal(link, '/wall?view=night-shift');
  const page = await hang(link, { viewport: FULL_HD });
  await theScreenIsExact(page, 'under a view', high);
  assert.equal(await page.locator('#title').textContent(), 'Night shift');
  assert.equal(await page.locator('#scope').textContent(), 'High · New, Active');

  // If a view changes while the desk is down, the wall shows the changed view once the desk is back.
  await desk.ask('mutation ($input: UpdateViewInput!) { updateView(input: $input) { changed } }', { input: { viewId: id, filter: low } });
  await desk.kill();
  await page.locator('#state', { hasText: 'STALE' }).waitFor();
  await desk.start();
  await page.locator('#scope', { hasText: 'Low · New, Active' }).waitFor({ timeout: 2 * STEP_MS });
  await live(page);
  await theScreenIsExact(page, 'under the changed view', low);

  for (const [path, words] of [
    ['/wall?view=no-such-view', 'there is no view no-such-view'],
    ['/wall?view=night-shift&filter={}', 'a filter or a view'],
  ]) {
    await page.goto(desk.base + path);
    await page.locator('#refusal', { hasText: words }).waitFor();
    assert.equal(await page.locator('#state').textContent(), 'REFUSED');
  }
  await page.context().close();
  browser.faults = browser.faults.filter((fault) => !/ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET/.test(fault));
  console.log('ok   a view chooses what is shown; one that was changed is shown anew after a cut');
}

async function nothingMovesForThoseWhoAskForThat() {
  const page = await hang('/wall', { viewport: FULL_HD, reducedMotion: 'reduce' });
  await page.evaluate(() => {
    globalThis.moved = 0;
    const look = () => {
      const moves = ({ effect }) => effect.getKeyframes().some(({ transform }) => transform && transform !== 'none');
      globalThis.moved += document.getAnimations().filter(moves).length;
      requestAnimationFrame(look);
    };
    look();
  });
  const { id } = await report('Seen without movement', 'HIGH', null);
  await page.locator('#newest li.entered', { hasText: 'Seen without movement' }).waitFor();
  await change(id, { status: 'RESOLVED' });
  await theScreenIsExact(page, 'without movement');
  assert.equal(await page.evaluate(() => globalThis.moved), 0);
  await page.context().close();
  console.log('ok   with reduced motion nothing moves, and everything is shown');
}

async function everySizeHoldsEverything() {
  for (const [width, height] of [[1280, 720], [1366, 768], [1920, 1200], [2560, 1080], [3840, 2160], [1080, 1920]]) {
    const page = await hang('/wall', { viewport: { width, height } });
    await until(`${width} x ${height} has rows`, async () => (await page.locator('#urgent li').count()) >= 4);
    await page.waitForFunction(() => !document.getAnimations().some(({ effect }) => effect.target.closest('li')));
    const beyond = await page.evaluate(() => {
      const places = ['header > *', '.counter > *', '.incident', '.share', '.change'].join();
      return [...document.querySelectorAll(places)]
        .filter((one) => {
          const { left, right, top, bottom } = one.getBoundingClientRect();
          const clipped = !['LI'].includes(one.tagName) && one.id !== 'scope' && one.scrollWidth > one.clientWidth + 1;
          return clipped || left < 0 || top < 0 || right > innerWidth + 1 || bottom > innerHeight + 1;
        })
        .map((one) => one.outerHTML.slice(0, 120));
    });
    assert.deepEqual(beyond, [], `${width} x ${height}`);
    await browser.shoot(page, `wall-6-${width}x${height}`);
    await page.context().close();
  }
  console.log('ok   from 1280 x 720 to 4K, wide and upright, nothing is cut off');
}

/** Makes the changes of some days in seconds. The nodes and listeners of the page must not grow. */
async function aStormLeavesNothingBehind(page) {
  const session = await page.context().newCDPSession(page);
  const weigh = async () => {
    await session.send('HeapProfiler.collectGarbage');
    return session.send('Memory.getDOMCounters');
  };
  const settle = () => page.waitForFunction(() => document.querySelector('.leaving') === null && document.querySelector('.entered') === null);
  await settle();
  const before = await weigh();
  for (let round = 0; round < 4; round += 1) {
    for (let number = 0; number < 25; number += 1) {
      const { id } = await report(`Storm ${round}.${number}`, SEVERITIES[number % 4], null);
      await change(id, { status: 'RESOLVED' });
    }
    await desk.kill();
    await page.locator('#state', { hasText: 'STALE' }).waitFor();
    await desk.start();
    await live(page);
  }
  await theScreenIsExact(page, 'after a storm');
  await settle();
  await new Promise((go) => setTimeout(go, 6_000)); // The pings and timers of closed sockets end.
  const after = await weigh();
  browser.faults = browser.faults.filter((fault) => !/ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET/.test(fault));
  assert.ok(after.nodes <= before.nodes * 1.1 + 100, `nodes: ${before.nodes}, then ${after.nodes}`);
  assert.ok(after.jsEventListeners <= before.jsEventListeners + 10, `listeners: ${before.jsEventListeners}, then ${after.jsEventListeners}`);
  console.log(`ok   200 changes and four restarts: ${before.nodes} nodes before, ${after.nodes} after`);
}

async function hang(path, options, awaited = 'LIVE') {
  const page = await browser.page(options);
  await page.goto(desk.base + path);
  if (awaited !== null) await live(page);
  return page;
}

async function live(page) {
  await page.locator('#state', { hasText: /^LIVE$/ }).waitFor({ timeout: 2 * STEP_MS });
  await page.locator('#banner').waitFor({ state: 'hidden' });
}

/** Returns a list that collects the queries that the page sends from now on. Subscriptions are not among them. */
function queriesOf(page) {
  const queries = [];
  page.on('websocket', (socket) =>
    socket.on('framesent', ({ payload }) => {
      const { type, payload: operation } = JSON.parse(payload);
      if (type === 'subscribe' && !operation.query.trim().startsWith('subscription')) queries.push(operation.query);
    }),
  );
  return queries;
}

/** Returns the content of the screen as a person reads it, without rows that fade out. */
async function screen(page) {
  return page.evaluate(() => {
    const texts = (selector) => [...document.querySelectorAll(selector)].map((one) => one.textContent);
    const counters = [...document.querySelectorAll('.counter')].map((one) => [one.dataset.counter, one.querySelector('b').textContent]);
    const rows = (list) =>
      [...document.querySelectorAll(`#${list} li:not(.leaving)`)].map((row) =>
        ['.reference', '.title', '.owner', '.status'].map((part) => row.querySelector(part).textContent).join(' | '),
      );
    return {
      urgent: rows('urgent'),
      newest: rows('newest'),
      counters: Object.fromEntries(counters),
      load: texts('#load li:not(.leaving)'),
    };
  });
}

/** Asserts that the screen comes to show the content of the desk, row by row. The desk does not change meanwhile. */
async function theScreenIsExact(page, when, filter = null) {
  const rows = [...(await desk.set(filter, 'number reference title severity status createdAt owner { name }')).values()];
  const any = { and: [...(filter === null ? [] : [filter]), { status: ['NEW', 'ACTIVE', 'RESOLVED', 'REDIRECTED'] }] };
  const ever = [...(await desk.set(any, 'createdAt resolvedAt')).values()];
  const today = new Date().setHours(0, 0, 0, 0);
  const words = ({ reference, title, owner, status }) => [reference, title, owner?.name ?? 'unassigned', status.toLowerCase()].join(' | ');
  const count = (test) => `${rows.filter(test).length}`;
  const urgency = (a, b) =>
    SEVERITIES.indexOf(a.severity) - SEVERITIES.indexOf(b.severity) || Number(a.owner !== null) - Number(b.owner !== null) || a.number - b.number;
  const owners = [...new Set(rows.flatMap(({ owner }) => (owner ? [owner.name] : [])))]
    .map((name) => ({ name, count: rows.filter(({ owner }) => owner?.name === name).length }))
    .sort((a, b) => b.count - a.count || a.name.localeCompare(b.name));
  const truth = {
    urgent: [...rows].sort(urgency).map(words),
    newest: [...rows].sort((a, b) => b.number - a.number).map(words),
    counters: {
      open: `${rows.length}`,
      ...Object.fromEntries(SEVERITIES.map((severity) => [severity.toLowerCase(), count((row) => row.severity === severity)])),
      new: count(({ status }) => status === 'NEW'),
      active: count(({ status }) => status === 'ACTIVE'),
      unassigned: count(({ owner }) => owner === null),
      created: `${ever.filter(({ createdAt }) => new Date(createdAt) >= today).length}`,
      resolved: `${ever.filter(({ resolvedAt }) => resolvedAt && new Date(resolvedAt) >= today).length}`,
    },
    load: [`Unassigned${count(({ owner }) => owner === null)}`, ...owners.map(({ name, count }) => `${name}${count}`)],
  };
  const mismatch = async () => {
    const seen = await screen(page);
    for (const list of ['urgent', 'newest']) {
      const room = seen[list].length;
      if (room < Math.min(6, truth[list].length)) return { [list]: seen[list] };
      if (JSON.stringify(seen[list]) !== JSON.stringify(truth[list].slice(0, room))) return { seen: seen[list], truth: truth[list].slice(0, room) };
    }
    for (const [name, value] of Object.entries(truth.counters)) if (seen.counters[name] !== value) return { [name]: seen.counters[name], truth: value };
    if (JSON.stringify(seen.load) !== JSON.stringify(truth.load)) return { seen: seen.load, truth: truth.load };
    return null;
  };
  await until(`the screen shows what the desk holds: ${when}`, async () => (await mismatch()) ?? true);
}

async function hire(names) {
  const ids = [];
  for (const name of names) {
    const account = name.split(' ')[0].toLowerCase();
    const { upsertUser } = await desk.ask('mutation ($input: UpsertUserInput!) { upsertUser(input: $input) { user { id } } }', {
      input: { account, name },
    });
    ids.push(upsertUser.user.id);
  }
  return ids;
}

async function report(title, severity, user, at = desk) {
  const { createIncident } = await at.ask('mutation ($input: CreateIncidentInput!) { createIncident(input: $input) { incident { id reference } } }', {
    input: { title, severity, ...(user && { owner: { user } }) },
  });
  return createIncident.incident;
}

async function change(incidentId, edit, at = desk) {
  await at.ask('mutation ($input: UpdateIncidentInput!) { updateIncident(input: $input) { changed } }', { input: { incidentId, ...edit } });
}
