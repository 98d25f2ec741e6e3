// Tests the words of the wall for filters, changes and ages, and its order of urgency.
import { strict as assert } from 'node:assert';
import { createServer } from 'vite';

const vite = await createServer({
  server: { middlewareMode: true, hmr: false, ws: false },
  optimizeDeps: { noDiscovery: true },
  appType: 'custom',
  logLevel: 'error',
});
// list.ts calls matchMedia while it loads, and Node.js has none.
globalThis.matchMedia = () => ({ matches: false });
try {
  const { describe, readRequest } = await vite.ssrLoadModule('/src/wall/request.ts');
  const { inWords } = await vite.ssrLoadModule('/src/wall/activity.ts');
  const { age } = await vite.ssrLoadModule('/src/wall/time.ts');
  const { firstOf, urgency } = await vite.ssrLoadModule('/src/wall/incident.ts');

  for (const [filter, words] of [
    [null, 'All that is new or active'],
    [{}, 'All that is new or active'],
    [{ severity: ['HIGH', 'MEDIUM'], owner: { unassigned: true } }, 'High, Medium · owner unassigned'],
    [{ tags: { any: ['vip', 'VIP'], none: [] }, text: 'mail' }, 'tags any vip, VIP · “mail”'],
    [{ or: [{ severity: ['LOW'] }, { not: { status: ['NEW'] } }] }, '(Low or not (New))'],
    [{ classification: ['FALSE_POSITIVE'], number: [7] }, 'classification False positive · number 7'],
    [{ created: { from: '2026-11-24T00:00:00Z' } }, 'created from 2026-11-24T00:00:00Z'],
    [{ entity: [{ kind: 'IP', value: '192.0.2.7' }] }, 'entity IP 192.0.2.7'],
  ]) {
    assert.equal(describe(filter), words);
  }
  assert.deepEqual(readRequest('?title=Tier%202&filter=%7B%7D'), { title: 'Tier 2', filter: {}, text: '{}', view: null, fault: null });
  assert.deepEqual(readRequest('?filter='), { title: null, filter: null, text: null, view: null, fault: null });
  assert.deepEqual(readRequest('?view=tier-2'), { title: null, filter: null, text: null, view: 'tier-2', fault: null });
  assert.ok(readRequest('?view=tier-2&filter={}').fault);
  assert.ok(readRequest('?filter=[1]').fault && readRequest('?filter={').fault && readRequest('?filter=null').fault);

  const actor = { id: 'user:1', name: 'Mira' };
  const said = (...entries) => {
    const { verb, rest } = inWords({ actor, entries });
    return rest ? `${verb} … ${rest}` : verb;
  };
  const malware = { kind: 'CLASSIFICATION', classificationAfter: { kind: 'TRUE_POSITIVE', threat: 'MALWARE' } };
  const resolved = { kind: 'STATUS', statusBefore: 'ACTIVE', statusAfter: 'RESOLVED' };
  assert.equal(said({ kind: 'CREATED' }, { kind: 'STATUS', statusBefore: null, statusAfter: 'NEW' }), 'reported');
  assert.equal(said(malware, resolved), 'resolved … as malware');
  assert.equal(said(malware), 'classified … as malware');
  assert.equal(said({ kind: 'STATUS', statusBefore: 'RESOLVED', statusAfter: 'ACTIVE' }), 'reopened');
  assert.equal(said({ kind: 'OWNER', ownerAfter: { id: 'user:1', name: 'Mira' } }, { kind: 'COMMENT', action: 'ADDED' }), 'took');
  assert.equal(said({ kind: 'OWNER', ownerAfter: { id: 'group:2', name: 'Second line' } }), 'assigned … to Second line');
  assert.equal(said({ kind: 'SEVERITY', severityBefore: 'LOW', severityAfter: 'HIGH' }), 'raised … to high');
  assert.equal(said({ kind: 'ALERTS_LINKED', alertIds: ['a', 'b'] }), 'added 2 alerts to');
  assert.equal(said({ kind: 'BOOKMARK', bookmarkAction: 'ADDED' }), 'pinned a bookmark to');
  assert.equal(said({ kind: 'A_KIND_OF_NEXT_YEAR' }), 'changed');

  const now = Date.parse('2026-11-24T12:00:00Z');
  for (const [since, words] of [
    ['2026-11-24T12:00:09Z', 'now'],
    ['2026-11-24T11:58:30Z', '1 min'],
    ['2026-11-24T08:56:00Z', '3 h 4 m'],
    ['2026-11-22T07:00:00Z', '2 d 5 h'],
    ['2026-10-24T12:00:00Z', '31 d'],
  ]) {
    assert.equal(age(since, now), words);
  }

  const severities = ['HIGH', 'MEDIUM', 'LOW', 'INFORMATIONAL'];
  const incidents = Array.from({ length: 200 }, (_, number) => ({
    number,
    severity: severities[(number * 7) % 4],
    owner: number % 3 === 0 ? null : { id: 'user:1', name: 'Mira' },
    createdAt: `2026-11-${10 + ((number * 13) % 15)}`,
  }));
  assert.deepEqual(firstOf(incidents, 12, urgency), [...incidents].sort(urgency).slice(0, 12));
  console.log('ok   filters, changes and ages have their words');
} finally {
  await vite.close();
}
