// Tests src/live.ts and the example of docs/LIVE.md with a real server, which is killed and started again.
//
//   node test/live.mjs BINARY DATABASE_URL [DATABASE_URL_OF_ANOTHER_LIFE]
//
// The client's set must equal the server's set, and the client may read it only once. A client that reads the whole set
// again after each disconnect would also be equal, but would not show that it resumes.
import { strict as assert } from 'node:assert';
import { readFile } from 'node:fs/promises';
import { createServer } from 'vite';
import WebSocket from 'ws';
import { Desk, dice, until } from './desk.mjs';

const [binary, databaseUrl, otherUrl] = process.argv.slice(2);
if (databaseUrl === undefined) {
  console.error('usage: node test/live.mjs BINARY DATABASE_URL [DATABASE_URL_OF_ANOTHER_LIFE]');
  process.exit(2);
}

const FILTER = { tags: { none: ['done'] } };
const FIELDS = 'title severity status owner { name } tags { name }';
const SILENCE_MS = 3_000;
const roll = dice(7);
const ids = [];

/** Vite reads the TypeScript, so that the test runs on every version of Node.js that builds the pages. */
const vite = await createServer({
  server: { middlewareMode: true, hmr: false, ws: false },
  optimizeDeps: { noDiscovery: true },
  appType: 'custom',
  logLevel: 'error',
});
const { connect } = await vite.ssrLoadModule('/src/live.ts');
const desk = await Desk.open(binary, databaseUrl);
const url = `${desk.base.replace('http', 'ws')}/graphql`;
const client = connect({ url, webSocketImpl: WebSocket, silenceMs: SILENCE_MS });
try {
  const log = await aLogFromTheStart();
  const queue = await theSetIsRightThoughItChangesWhileItIsRead();
  await theSetIsRightAfterEachKill(queue, log);
  await silenceShows(queue);
  await eachChangeOfTheLogCameOnce(log);
  await aBadFilterIsRefused();
  await theExampleRuns();
  if (otherUrl !== undefined) await anotherLifeOfTheLogIsReadAnew(queue);
  await whoStoppedHearsNothingMore(queue);
} finally {
  await client.close();
  await desk.kill();
  await vite.close();
}

async function aLogFromTheStart() {
  const seen = { changes: [] };
  seen.followed = client.follow({
    query: `subscription ($after: String) { activityLog(after: $after) { __typename position
      ... on ActivityChange { change { position incidentId version } } ... on Resync { resyncReason } } }`,
    next: ({ change }) => seen.changes.push(change),
  });
  await isLive(seen);
  return seen;
}

async function theSetIsRightThoughItChangesWhileItIsRead() {
  while (ids.length < 230) await create(ids.length);
  const seen = follow(FILTER);
  await Promise.all([isLive(seen), act(25)]);
  await equal(seen, 'with changes while its pages were read');
  assert.deepEqual(seen.states, ['catching up', 'live']);
  console.log(`ok   ${seen.followed.rows.size} rows of three pages, changed while they were read: equal to the server's`);
  return seen;
}

async function theSetIsRightAfterEachKill(seen, log) {
  for (let life = 1; life <= 4; life += 1) {
    const acting = act(40).catch(() => {});
    await new Promise((go) => setTimeout(go, 100 + roll(300)));
    await desk.kill();
    await acting;
    await until('it shows', () => seen.followed.health.state === 'stale' || seen.states);
    assert.ok(seen.followed.health.exactAt instanceof Date && seen.followed.health.why);
    await desk.start();
    await act(15); // Before the client is connected again, or while it connects.
    await isLive(seen);
    await isLive(log);
    await equal(seen, `life ${life}`);
  }
  assert.equal(seen.snapshots, 1, 'the set was asked for once');
  console.log('ok   killed four times: stale, then live again and equal, without a second snapshot');
}

async function silenceShows(seen) {
  desk.freeze();
  const cut = Date.now();
  await until('silence shows', () => seen.followed.health.state === 'stale');
  assert.ok(Date.now() - cut < SILENCE_MS + 2_000, 'in the time that was asked for');
  desk.thaw();
  await act(10);
  await isLive(seen);
  await equal(seen, 'after a silence');
  assert.equal(seen.snapshots, 1);
  console.log('ok   a server that says nothing is stale in time');
}

async function eachChangeOfTheLogCameOnce(log) {
  const logged = [];
  // `ids` is not complete: a server that was killed may have created an incident without answering.
  for (const incidentId of (await desk.set({ status: ['NEW', 'ACTIVE', 'RESOLVED'] }, '')).keys()) {
    const { activity } = await desk.ask(
      'query ($incidentId: ID!) { activity(incidentId: $incidentId, first: 100) { totalCount nodes { position incidentId version } } }',
      { incidentId },
    );
    assert.equal(activity.totalCount, activity.nodes.length);
    logged.push(...activity.nodes);
  }
  await until('the whole log', () => log.changes.length === logged.length || [log.changes.length, logged.length]);
  const sorted = (changes) => changes.map(({ position }) => position).sort();
  assert.deepEqual(sorted(log.changes), sorted(logged));
  const versions = new Map();
  for (const { incidentId, version } of log.changes) {
    assert.equal(version, (versions.get(incidentId) ?? 0) + 1, 'in order');
    versions.set(incidentId, version);
  }
  console.log(`ok   ${logged.length} changes of the log, each once and in order`);
}

async function aBadFilterIsRefused() {
  const refused = follow({ severity: ['SEVERE'] });
  await until('a bad filter is refused', () => refused.followed.health.state === 'refused' || refused.states);
  assert.match(refused.followed.health.why, /SEVERE/);
  refused.followed.stop();
  console.log(`ok   a bad filter is refused: ${refused.followed.health.why}`);
}

/** docs/LIVE.md contains the example word for word. Here it runs in this process, and its output is recorded. */
async function theExampleRuns() {
  const example = await readFile(new URL('../../examples/follow.ts', import.meta.url), 'utf8');
  assert.ok((await readFile(new URL('../../docs/LIVE.md', import.meta.url), 'utf8')).includes(example), 'docs/LIVE.md shows it');
  const said = [];
  const { log } = console;
  const [socket, argv] = [globalThis.WebSocket, process.argv];
  // Node.js has its own WebSocket since version 22.
  globalThis.WebSocket = WebSocket;
  process.argv = ['node', 'follow.ts', url];
  console.log = (line) => said.push(line);
  let example_desk;
  try {
    example_desk = await vite.ssrLoadModule('../examples/follow.ts');
    await until('it is live', () => said.includes('live') || said);
    await desk.ask('mutation ($input: CreateIncidentInput!) { createIncident(input: $input) { changed } }', {
      input: { title: 'Seen by the example', severity: 'HIGH' },
    });
    await until('it says so', () => said.some((line) => /^entered INC-\d+: Seen by the example \(nobody\)/.test(line)) || said);
    await until('the log too', () => said.some((line) => /, INC-\d+: CREATED, /.test(line)) || said);
  } finally {
    Object.assign(globalThis, { WebSocket: socket });
    Object.assign(process, { argv });
    console.log = log;
    await example_desk?.desk.close();
  }
  console.log('ok   the example of docs/LIVE.md runs');
}

async function anotherLifeOfTheLogIsReadAnew(seen) {
  await desk.kill();
  desk.databaseUrl = otherUrl;
  await desk.start();
  for (let number = 0; number < 5; number += 1) await create(number);
  await until('the other set is read', () => seen.snapshots === 2 || seen.states);
  await isLive(seen);
  await equal(seen, 'another life of the log');
  console.log('ok   another database at the same address: a second snapshot, equal');
}

async function whoStoppedHearsNothingMore(seen) {
  seen.followed.stop();
  const { length } = seen.states;
  await desk.kill();
  await new Promise((go) => setTimeout(go, 300));
  assert.equal(seen.states.length, length);
}

function follow(filter) {
  const seen = { snapshots: 0, states: [] };
  seen.followed = client.queue({
    filter,
    fields: FIELDS,
    onChange: ({ kind }) => (seen.snapshots += Number(kind === 'snapshot')),
    onHealth: ({ state }) => seen.states.push(state),
  });
  return seen;
}

function isLive({ followed }) {
  return until('it is live', () => followed.health.state === 'live' || followed.health.state);
}

/** Asserts that the client's set becomes equal to the server's set. The server's set does not change meanwhile. */
async function equal({ followed }, when) {
  const plain = (rows) => [...rows.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  const truth = plain(await desk.set(FILTER, FIELDS));
  const same = () => JSON.stringify(plain(followed.rows)) === JSON.stringify(truth);
  await until(`equal to the server's: ${when}`, same, 5_000).catch(() => assert.deepEqual(plain(followed.rows), truth, when));
}

async function create(number) {
  const severity = ['HIGH', 'MEDIUM', 'LOW'][roll(3)];
  const answer = await desk.ask(
    'mutation ($input: CreateIncidentInput!) { createIncident(input: $input) { incident { id } } }',
    { input: { title: `Incident ${number}`, severity } },
  );
  ids.push(answer.createIncident.incident.id);
}

async function act(times) {
  for (let time = 0; time < times; time += 1) {
    const incidentId = ids[roll(ids.length)];
    const edit = [
      { title: `Renamed ${roll(1e9)}` },
      { addTags: ['done'] },
      { removeTags: ['done'] },
      { severity: ['HIGH', 'LOW'][roll(2)] },
      { status: ['ACTIVE', 'RESOLVED', 'NEW'][roll(3)] },
      { owner: { me: true }, addTags: [`tag ${roll(9)}`] },
      undefined,
    ][roll(7)];
    if (edit === undefined) await create(`of the act ${roll(1e9)}`);
    else {
      await desk.ask('mutation ($input: UpdateIncidentInput!) { updateIncident(input: $input) { changed } }', {
        input: { incidentId, ...edit },
      });
    }
  }
}
