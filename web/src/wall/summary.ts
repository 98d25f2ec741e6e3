// The wall's numbers, of the open incidents that it holds. To be replaced by the desk's own: `queueSummary`.
import type { Incident, Severity } from './incident.ts';

export interface Summary {
  open: number;
  bySeverity: { severity: Severity; count: number }[];
  byStatus: { status: string; count: number }[];
  unassigned: number;
  byOwner: { owner: { id: string; name: string }; count: number }[];
  /** When the oldest open incident was created. */
  oldest: string | null;
  created: number;
  resolved: number;
}

export function summaryOf(rows: readonly Incident[], since: Date): Summary {
  const [severities, statuses] = [new Map<Severity, number>(), new Map<string, number>()];
  const owners = new Map<string, Summary['byOwner'][number]>();
  let oldest: string | null = null;
  for (const { severity, status, owner, createdAt } of rows) {
    severities.set(severity, (severities.get(severity) ?? 0) + 1);
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
    if (owner) owners.set(owner.id, { owner, count: (owners.get(owner.id)?.count ?? 0) + 1 });
    if (oldest === null || createdAt < oldest) oldest = createdAt;
  }
  return {
    open: rows.length,
    bySeverity: [...severities].map(([severity, count]) => ({ severity, count })),
    byStatus: [...statuses].map(([status, count]) => ({ status, count })),
    unassigned: rows.filter(({ owner }) => owner === null).length,
    byOwner: [...owners.values()],
    oldest,
    created: rows.filter(({ createdAt }) => new Date(createdAt) >= since).length,
    resolved: 0,
  };
}
