// The activity list of the wall: the newest changes, each as a sentence with its actor, its verb and its incident.
import { headline, part, say, shape, type Severity } from './incident.ts';
import type { Rows } from './list.ts';
import { clock } from './time.ts';
import type { Filter } from './request.ts';

/** The smallest height of a row, in rem: two lines of text. */
export const ACTIVITY_REM = 4.2;

/** The largest number of changes that are kept. No screen shows that many. */
const KEPT = 60;

type Named = { id: string; name: string };

/** One entry of a change. Each kind of entry has its own fields. */
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

/**
 * Reads the changes before the stream begins. The newest changes of the desk are among the last changes of the
 * incidents that changed last.
 */
export const BEFORE = `query ($filter: IncidentFilterInput) {
  incidents(first: 10, filter: $filter) { position nodes { activity(last: 10) { nodes { ${CHANGE} } } } }
}`;
export interface Before {
  incidents: { position: string; nodes: { activity: { nodes: Change[] } }[] };
}

/** Widens a filter to every status: the list also shows changes of resolved and redirected incidents. */
export function ofAnyStatus(filter: Filter | null): Filter {
  const anyStatus = { status: ['NEW', 'ACTIVE', 'RESOLVED', 'REDIRECTED'] };
  return filter === null ? anyStatus : { and: [filter, anyStatus] };
}

/** Keeps the newest `KEPT` changes, newest first. */
export class Ticker {
  #changes: (Change & { concerns?: boolean })[] = [];

  /**
   * `concerns` says whether a change belongs to this wall's queue. It is called when the list is drawn: the queue is
   * another stream, and its item for a change may come after the change.
   */
  constructor(readonly concerns: (change: Change) => boolean) {}

  begin({ incidents }: Before): void {
    const changes = incidents.nodes.flatMap(({ activity }) =>
      activity.nodes.map((change) => ({ ...change, concerns: true })),
    );
    this.#changes = changes.sort((a, b) => b.at.localeCompare(a.at)).slice(0, KEPT);
  }

  take(change: Change): void {
    this.#changes.unshift(change);
    if (this.#changes.length > KEPT) this.#changes.pop();
  }

  newest(count: number): Change[] {
    for (const change of this.#changes) {
      if (!change.concerns) change.concerns = this.concerns(change);
    }
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
    const actor = document.createElement('b');
    const reference = document.createElement('b');
    const title = document.createElement('span');
    // `dir` isolates a text of people: a right-to-left name does not turn the words beside it around.
    actor.dir = 'auto';
    title.dir = 'auto';
    actor.textContent = change.actor.name;
    reference.textContent = `INC-${change.incidentNumber}`;
    title.textContent = headline(change.incident?.title ?? '');
    part(row, 'p').replaceChildren(actor, ` ${verb} `, reference, ...outcome(rest), title);
    say(row, 'time', clock.format(new Date(change.at)));
    part(row, '.mark').innerHTML = change.incident ? shape(change.incident.severity) : '';
  },
};

/** Returns the nodes for the end of a phrase. `bdi` isolates its direction, because it may contain a name. */
function outcome(rest: string | undefined): (string | Node)[] {
  if (!rest) return ['  '];
  const isolated = document.createElement('bdi');
  isolated.textContent = rest;
  return [' ', isolated, '  '];
}

/**
 * Returns the phrase of the most important entry, which has the smallest weight: `resolved … as phishing`, `took`,
 * `assigned … to Second line`.
 */
export function inWords({ actor, entries }: Change): Phrase {
  const phrases = entries.map((entry) => phrase(entry, actor)).filter((found) => found !== null);
  const [first, ...others] = phrases.sort((a, b) => a.weight - b.weight);
  if (first === undefined) return { weight: 99, verb: 'changed' };
  if (first.verb !== 'resolved') return first;
  // A resolution shows the classification that the same change sets.
  const classification = others.find(({ verb }) => verb === 'classified')?.rest;
  return classification === undefined ? first : { ...first, rest: classification };
}

interface Phrase {
  /** The phrase with the smallest weight is shown. */
  weight: number;
  /** The words before the incident's reference. */
  verb: string;
  /** The words after the incident's reference. */
  rest?: string;
}

const COMMENT_VERBS = {
  ADDED: 'commented on',
  EDITED: 'edited a comment on',
  DELETED: 'took back a comment on',
};

/** Returns the phrase of an entry, or null for an entry that the list does not show. */
function phrase(entry: Entry, actor: Change['actor']): Phrase | null {
  const { statusAfter, statusBefore, ownerAfter, severityAfter, severityBefore } = entry;
  switch (entry.kind) {
    case 'DELETED':
      return { weight: 0, verb: 'deleted' };
    case 'RESTORED':
      return { weight: 0, verb: 'restored' };
    case 'MERGED_INTO':
      return { weight: 0, verb: 'merged', rest: `into INC-${entry.targetNumber}` };
    case 'MERGED':
      return { weight: 0, verb: 'extended', rest: `by INC-${entry.sourceNumber}` };
    case 'MERGE_UNDONE':
      return { weight: 0, verb: 'parted', rest: `from INC-${entry.otherNumber}` };
    case 'CREATED':
      return { weight: 1, verb: actor.id === null ? 'opened' : 'reported' };
    case 'STATUS':
      if (statusAfter === 'RESOLVED') return { weight: 2, verb: 'resolved' };
      if (!statusBefore) return null;
      if (statusBefore === 'RESOLVED') return { weight: 2, verb: 'reopened' };
      return statusAfter === 'ACTIVE' ? { weight: 9, verb: 'started on' } : { weight: 9, verb: 'set back' };
    case 'OWNER':
      if (!ownerAfter) return { weight: 3, verb: 'released' };
      if (ownerAfter.id === actor.id) return { weight: 3, verb: 'took' };
      return { weight: 3, verb: 'assigned', rest: `to ${ownerAfter.name}` };
    case 'SEVERITY': {
      if (!severityBefore || !severityAfter || severityBefore === severityAfter) return null;
      const order = ['INFORMATIONAL', 'LOW', 'MEDIUM', 'HIGH'];
      const raised = order.indexOf(severityAfter) > order.indexOf(severityBefore);
      return { weight: 4, verb: raised ? 'raised' : 'lowered', rest: `to ${lower(severityAfter)}` };
    }
    case 'CLASSIFICATION': {
      const classification = entry.classificationAfter;
      if (!classification) return { weight: 5, verb: 'classified', rest: 'no more' };
      return { weight: 5, verb: 'classified', rest: `as ${lower(classification.threat ?? classification.kind)}` };
    }
    case 'COMMENT':
      return { weight: 6, verb: COMMENT_VERBS[entry.action ?? 'ADDED'] };
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

/** `CREDENTIAL_PHISHING` becomes `credential phishing`. */
function lower(constant: string): string {
  return constant.toLowerCase().replaceAll('_', ' ');
}

function alerts({ alertIds = [] }: Entry): string {
  return alertIds.length === 1 ? 'an alert' : `${alertIds.length} alerts`;
}
