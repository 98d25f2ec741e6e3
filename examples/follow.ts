// Follows the open incidents of high severity, and what is done to any: node examples/follow.ts [URL]
import { connect } from '../web/src/live.ts';

interface Incident {
  id: string;
  version: number;
  reference: string;
  title: string;
  owner: { name: string } | null;
}
interface Done {
  __typename: string;
  position: string;
  change: { at: string; actor: { name: string }; incidentNumber: number; entries: { kind: string }[] };
}

export const desk = connect({ url: process.argv[2] ?? 'ws://127.0.0.1:8080/graphql' });

const queue = desk.queue<Incident>({
  filter: { severity: ['HIGH'] },
  fields: 'reference title owner { name }',
  onChange(change) {
    if (change.kind === 'snapshot') return console.log(`${queue.rows.size} incidents are open`);
    const row = change.kind === 'left' ? change.was : change.row;
    console.log(`${change.kind} ${row?.reference}: ${row?.title} (${row?.owner?.name ?? 'nobody'}); ${queue.rows.size} are open`);
  },
  onHealth({ state, exactAt, why }) {
    if (state === 'stale') console.log(`STALE, as of ${exactAt?.toISOString()}: ${why}`);
    else console.log(why ? `${state}: ${why}` : state);
  },
});

desk.follow<Done>({
  query: `subscription ($after: String) {
    activityLog(after: $after) {
      __typename
      position
      ... on ActivityChange { change { at actor { name } incidentNumber entries { kind } } }
      ... on Resync { resyncReason }
    }
  }`,
  next({ __typename, change }) {
    // Others are changes of alerts that no incident holds (ActivityAlertChange).
    if (__typename !== 'ActivityChange') return;
    console.log(`${change.actor.name}, INC-${change.incidentNumber}: ${change.entries.map(({ kind }) => kind).join(', ')}`);
  },
});
