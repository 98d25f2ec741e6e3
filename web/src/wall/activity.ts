// The ticker: who has just done what to which incident, in words.
import { headline, part, say, shape, type Severity } from './incident.ts';
import type { Rows } from './list.ts';
import { clock } from './time.ts';
import type { Filter } from './request.ts';

/** The least height of a row, in rem: two lines. */
export const ACTIVITY_REM = 4.2;

/** Kept at most: more than any screen shows. */
const KEPT = 60;

type Named = { id: string; name: string };
interface Entry {
  kind: string;
  statusBefore?: string | null;
  statusAfter?: string;
  ownerAfter?: Named | null;
  severityBefore?: Severity | null;
  severityAfter?: Severity;
  classificationAfter?: { kind: string; threat: string | null; activity: string | null; reason: string | null } | null;
  action?: 'ADDED' | 'EDITED' | 'DELETED';
  bookmarkAction?: 'ADDED' | 'REMOVED';
  alertIds?: string[];
  added?: { name: string }[];
  generated?: boolean;
  targetNumber?: number;
  sourceNumber?: number;
  otherNumber?: number;
}
export interface Change {
  position: string;
  at: string;
  actor: { id: string | null; name: string };
  incidentId: string;
  incidentNumber: number;
  incident: { title: string; severity: Severity } | null;
  entries: Entry[];
}

const CHANGE = `position at actor { id name } incidentId incidentNumber incident { title severity }
  entries { kind
    ... on StatusEntry { statusBefore statusAfter } ... on OwnerEntry { ownerAfter { id name } }
    ... on SeverityEntry { severityBefore severityAfter }
    ... on ClassificationEntry { classificationAfter { kind threat activity reason } }
    ... on CommentEntry { action } ... on BookmarkEntry { bookmarkAction }
    ... on AlertsLinkedEntry { alertIds } ... on AlertsUnlinkedEntry { alertIds }
    ... on TagsEntry { added { name } } ... on TextEntry { generated }
    ... on MergedIntoEntry { targetNumber } ... on MergedEntry { sourceNumber } ... on MergeUndoneEntry { otherNumber } }`;

export const LOG = `subscription ($after: String) {
  activityLog(after: $after) { __typename position ... on ActivityChange { change { ${CHANGE} } } ... on Resync { resyncReason } }
}`;

/** The newest changes are among the last ones of the incidents that changed last. */
export const BEFORE = `query ($filter: IncidentFilterInput) {
  incidents(first: 10, filter: $filter) { position nodes { activity(last: 10) { nodes { ${CHANGE} } } } }
}`;
export interface Before {
  incidents: { position: string; nodes: { activity: { nodes: Change[] } }[] };
}

/** What happens to an incident that is resolved belongs to the log as well. */
export function ofAnyStatus(filter: Filter | null): Filter {
  const any = { status: ['NEW', 'ACTIVE', 'RESOLVED', 'REDIRECTED'] };
  return filter === null ? any : { and: [filter, any] };
}

/** The newest changes, newest first, as many as are kept. */
export class Ticker {
  #changes: (Change & { concerns?: boolean })[] = [];

  /** `concerns` says whether a change is about this wall's queue. Asked when drawn, since the queue is another stream. */
  constructor(readonly concerns: (change: Change) => boolean) {}

  begin({ incidents }: Before): void {
    const changes = incidents.nodes.flatMap(({ activity }) => activity.nodes.map((change) => ({ ...change, concerns: true })));
    this.#changes = changes.sort((a, b) => b.at.localeCompare(a.at)).slice(0, KEPT);
  }

  take(change: Change): void {
    this.#changes.unshift(change);
    if (this.#changes.length > KEPT) this.#changes.pop();
  }

  newest(count: number): Change[] {
    for (const change of this.#changes) change.concerns ||= this.concerns(change);
    return this.#changes.filter(({ concerns }) => concerns).slice(0, count);
  }
}

export const changeRows: Rows<Change> = {
  key: ({ position }) => position,
  make: () => {
    const row = document.createElement('li');
    row.className = 'change';
    row.innerHTML = '<time></time><span class="mark"></span><p></p>';
    return row;
  },
  draw: (row, change) => {
    if (row.dataset.position === change.position) return;
    row.dataset.position = change.position;
    const { verb, rest } = inWords(change);
    const [actor, reference, title] = [document.createElement('b'), document.createElement('b'), document.createElement('span')];
    // What people wrote keeps its direction to itself.
    actor.dir = title.dir = 'auto';
    actor.textContent = change.actor.name;
    reference.textContent = `INC-${change.incidentNumber}`;
    title.textContent = headline(change.incident?.title ?? '');
    part(row, 'p').replaceChildren(actor, ` ${verb} `, reference, ...outcome(rest), title);
    say(row, 'time', clock.format(new Date(change.at)));
    part(row, '.mark').innerHTML = change.incident ? shape(change.incident.severity) : '';
  },
};

/** What came of it, apart from what stands beside it: a name may be in it. */
function outcome(rest: string | undefined): (string | Node)[] {
  if (!rest) return ['  '];
  const said = document.createElement('bdi');
  said.textContent = rest;
  return [' ', said, '  '];
}

/** The weightiest of what was done: `resolved … as phishing`, `took`, `assigned … to Second line`. */
export function inWords({ actor, entries }: Change): Phrase {
  const said = entries.map((entry) => phrase(entry, actor)).filter((one) => one !== null);
  const [first, ...others] = said.sort((a, b) => a.weight - b.weight);
  if (first === undefined) return { weight: 99, verb: 'changed' };
  // What it turned out to be belongs to its resolution.
  const outcome = first.verb === 'resolved' ? others.find(({ verb }) => verb === 'classified')?.rest : undefined;
  return outcome === undefined ? first : { ...first, rest: outcome };
}

interface Phrase {
  weight: number;
  verb: string;
  rest?: string;
}

function phrase(entry: Entry, actor: Change['actor']): Phrase | null {
  const { statusAfter, statusBefore, ownerAfter, severityAfter, severityBefore } = entry;
  switch (entry.kind) {
    case 'DELETED':
      return { weight: 0, verb: 'deleted' };
    case 'MERGED_INTO':
      return { weight: 0, verb: 'merged', rest: `into INC-${entry.targetNumber}` };
    case 'MERGED':
      return { weight: 0, verb: 'extended', rest: `by INC-${entry.sourceNumber}` };
    case 'MERGE_UNDONE':
      return { weight: 0, verb: 'parted', rest: `from INC-${entry.otherNumber}` };
    case 'CREATED':
      return { weight: 1, verb: actor.id === null ? 'opened' : 'reported' };
    case 'STATUS':
      if (!statusBefore) return statusAfter === 'RESOLVED' ? { weight: 2, verb: 'resolved' } : null;
      if (statusAfter === 'RESOLVED') return { weight: 2, verb: 'resolved' };
      if (statusBefore === 'RESOLVED') return { weight: 2, verb: 'reopened' };
      return statusAfter === 'ACTIVE' ? { weight: 9, verb: 'started on' } : { weight: 9, verb: 'set back' };
    case 'OWNER':
      if (!ownerAfter) return { weight: 3, verb: 'released' };
      return ownerAfter.id === actor.id ? { weight: 3, verb: 'took' } : { weight: 3, verb: 'assigned', rest: `to ${ownerAfter.name}` };
    case 'SEVERITY': {
      if (!severityBefore || !severityAfter || severityBefore === severityAfter) return null;
      const order = ['INFORMATIONAL', 'LOW', 'MEDIUM', 'HIGH'];
      const raised = order.indexOf(severityAfter) > order.indexOf(severityBefore);
      return { weight: 4, verb: raised ? 'raised' : 'lowered', rest: `to ${lower(severityAfter)}` };
    }
    case 'CLASSIFICATION': {
      const to = entry.classificationAfter;
      return { weight: 5, verb: 'classified', rest: to ? `as ${lower(to.threat ?? to.kind)}` : 'no more' };
    }
    case 'COMMENT':
      return { weight: 6, verb: { ADDED: 'commented on', EDITED: 'edited a comment on', DELETED: 'took back a comment on' }[entry.action ?? 'ADDED'] };
    case 'BOOKMARK':
      return { weight: 6, verb: entry.bookmarkAction === 'REMOVED' ? 'took a bookmark from' : 'pinned a bookmark to' };
    case 'ALERTS_LINKED':
      return { weight: 7, verb: `added ${alerts(entry)} to` };
    case 'ALERTS_UNLINKED':
      return { weight: 7, verb: `took ${alerts(entry)} from` };
    case 'TAGS':
      return { weight: 8, verb: entry.added?.length ? 'tagged' : 'untagged' };
    case 'TITLE':
      return entry.generated ? null : { weight: 10, verb: 'renamed' };
    case 'DESCRIPTION':
      return { weight: 10, verb: 'described' };
    case 'RESOLUTION_NOTE':
      return { weight: 11, verb: 'noted the outcome of' };
    case 'ALERTS_CHANGED':
      return { weight: 12, verb: 'updated alerts of' };
    default:
      return null;
  }
}

const lower = (word: string): string => word.toLowerCase().replaceAll('_', ' ');
const alerts = ({ alertIds = [] }: Entry): string => (alertIds.length === 1 ? 'an alert' : `${alertIds.length} alerts`);
