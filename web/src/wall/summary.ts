// The numbers of the wall: a subscription to the summary of the queue.
import type { connect, Health } from '../live.ts';
import type { Filter } from './request.ts';
import type { Severity } from './incident.ts';

export interface Summary {
  position: string;
  /** The time from which `created` and `resolved` count. */
  since: string;
  open: number;
  bySeverity: { severity: Severity; count: number }[];
  byStatus: { status: string; count: number }[];
  unassigned: number;
  byOwner: { owner: { id: string; name: string }; count: number }[];
  /** When the oldest open incident was created. Null if no incident is open. */
  oldest: string | null;
  created: number;
  resolved: number;
}

const SUMMARY = `subscription ($filter: IncidentFilterInput, $since: DateTime) {
  queueSummary(filter: $filter, since: $since) {
    __typename position since open unassigned oldest created resolved
    bySeverity { severity: value count } byStatus { status: value count } byOwner { owner: value { id name } count }
  }
}`;

export interface SummaryOptions {
  filter: Filter | null;
  since: Date;
  next(summary: Summary): void;
  onHealth(health: Health): void;
}

/** Follows the summary. Each item is a whole summary, so a stream after a disconnect has nothing to resume. */
export function followSummary(desk: ReturnType<typeof connect>, { filter, since, next, onHealth }: SummaryOptions) {
  return desk.follow<Summary & { __typename: string }>({
    query: SUMMARY,
    variables: { filter, since: since.toISOString() },
    whole: true,
    next,
    onHealth,
  });
}
