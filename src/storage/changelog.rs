//! The log of changes: appending (which assigns positions), changes after a position, changes of an incident.
//! Changes of alerts that no incident holds are in a table of their own (`alert_log.rs`), in the same sequence of
//! positions and hashes.
//!
//! Positions are dense and in commit order, because the one row of `log_head` (`log_head.rs`) is locked just before the
//! commit and until its end: a reader that sees position n also sees every position before it. A database sequence
//! gives its numbers before the commit, so a reader that has seen 6 might never learn of a 5 that commits later.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{ExprTrait, SimpleExpr};
use sea_orm::{QueryOrder, QuerySelect};

use super::alert_log::{Numbered, PendingAlert, Unnumbered, row as alert_row};
use super::incident::to_json;
use super::log_head::{Head, and_move_head, hash_of};
use super::queue::Span;
use super::{Reader, Tx, rows};
use crate::domain::account::{ActorImage, OwnerId};
use crate::domain::activity::ToldChange;
use crate::domain::alert_log::Logged;
use crate::domain::chain::{LinkSubject, check};
use crate::domain::change::{Cause, Change, ChangeBody, Entry, EntryKind, entries_between};
use crate::domain::clock::Clock;
use crate::domain::incident::Incident;
use crate::domain::{Error, IncidentId, Instant, Result, TransactionId, UserId};

pub(super) mod row {
    //! The stored row of a change.
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "change")]
    pub(in crate::storage) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(in crate::storage) position: i64,
        pub(in crate::storage) incident_id: Uuid,
        pub(in crate::storage) version: i64,
        pub(in crate::storage) kinds: i64,
        pub(in crate::storage) actor_id: Option<Uuid>,
        pub(in crate::storage) at: DateTimeUtc,
        pub(in crate::storage) body: String,
        pub(in crate::storage) hash: Vec<u8>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(in crate::storage) enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// Rows per INSERT: eight columns each, and SQLite takes 32,766 parameters.
pub(super) const ROWS_PER_INSERT: usize = 2_000;

impl Head {
    /// Advances by a change of an incident, and returns its row.
    pub(super) fn append_change(&mut self, change: &ChangeBody) -> Result<row::Model> {
        let (body, incident, version) = (to_json(change)?, change.row.id, change.row.version);
        self.append(LinkSubject::Incident(incident), version, &body);
        Ok(row::Model {
            position: self.offset as i64,
            incident_id: incident.0,
            version: version as i64,
            kinds: kinds_of(&change.entries),
            actor_id: actor_id(&change.actor),
            at: change.at,
            body,
            hash: self.hash.to_vec(),
        })
    }
}

/// What a command writes at the end of its transaction: its changes, which get their positions then, and rows that many
/// commands write, so that the locks of these rows are short.
#[derive(Debug, Default)]
pub(super) struct Pending {
    incidents: Vec<ChangeBody>,
    pub(super) alerts: Vec<PendingAlert>,
    /// How often users, groups or members were changed.
    accounts: u64,
    /// The owners that users picked: user, owner, time.
    pub(super) picks: Vec<((UserId, OwnerId), Instant)>,
}

/// The number of pending entries of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PendingCounts {
    incidents: usize,
    alerts: usize,
    accounts: u64,
    picks: usize,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.incidents.is_empty() && self.alerts.is_empty()
    }

    /// Returns how many entries of each kind there are.
    pub(super) fn counts(&self) -> PendingCounts {
        let Self { incidents, alerts, accounts, picks } = self;
        PendingCounts { incidents: incidents.len(), alerts: alerts.len(), accounts: *accounts, picks: picks.len() }
    }

    /// Returns the number of changes that the log will have.
    pub(super) fn len(&self) -> usize {
        self.incidents.len() + self.alerts.len()
    }

    /// Adds a change of an incident.
    pub(super) fn push(&mut self, body: ChangeBody) {
        self.incidents.push(body);
    }

    /// Returns the incidents of the changes.
    pub(super) fn incidents(&self) -> impl Iterator<Item = IncidentId> {
        self.incidents.iter().map(|body| body.row.id)
    }

    /// Drops the entries that were added after [`Self::counts`] returned these numbers.
    pub(super) fn truncate(&mut self, counts: PendingCounts) {
        self.incidents.truncate(counts.incidents);
        self.alerts.truncate(counts.alerts);
        self.accounts = counts.accounts;
        self.picks.truncate(counts.picks);
    }
}

/// The origin of the changes of a transaction.
#[derive(Clone, Debug)]
pub struct ChangeOrigin {
    /// The time of the changes.
    pub at: Instant,
    /// The user who makes the changes, or the system.
    pub actor: ActorImage,
    /// The cause of the changes.
    pub cause: Cause,
    /// The client's id for its mutation.
    pub client_mutation_id: Option<String>,
}

/// A filter on the changes of an activity log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ActivityFilter {
    /// Changes with an entry of one of these kinds. `None` means every kind.
    pub kinds: Option<Vec<EntryKind>>,
    /// Changes by this user.
    pub actor: Option<UserId>,
    /// Changes up to this version of the incident.
    pub up_to: Option<u64>,
}

impl ActivityFilter {
    /// Whether a change meets the filter, by kinds and actor only.
    pub fn matches(&self, change: &Logged) -> bool {
        let by = match change.actor() {
            ActorImage::User { id, .. } => Some(*id),
            ActorImage::System => None,
        };
        self.actor.is_none_or(|actor| by == Some(actor))
            && self.kinds.as_ref().is_none_or(|kinds| change.entries().iter().any(|it| kinds.contains(&it.kind())))
    }
}

/// A filter on the changes of all incidents. All given conditions must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeskLogFilter {
    /// Changes by this user.
    pub actor: Option<UserId>,
    /// Changes at or after this instant.
    pub from: Option<Instant>,
    /// Changes before this instant.
    pub to: Option<Instant>,
    /// Whether changes of deleted incidents are among them.
    pub shows_deleted: bool,
}

/// The place of a change in the order of time. The offset decides between changes of equal time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPlace {
    /// The time of the change.
    pub at: Instant,
    /// The offset of the change in the log.
    pub offset: u64,
}

impl LogPlace {
    fn expr(self) -> SimpleExpr {
        Expr::tuple([Expr::value(self.at), Expr::value(self.offset as i64)])
    }
}

/// Returns the bit of an entry's kind in the column `kinds`. Bits are append-only, like kinds.
fn bit(kind: EntryKind) -> i64 {
    1 << match kind {
        EntryKind::Created => 0,
        EntryKind::Title => 1,
        EntryKind::Description => 2,
        EntryKind::Severity => 3,
        EntryKind::Status => 4,
        EntryKind::ResolutionNote => 5,
        EntryKind::Classification => 6,
        EntryKind::Owner => 7,
        EntryKind::Tags => 8,
        EntryKind::Activity => 9,
        EntryKind::Comment => 10,
        EntryKind::AlertsLinked => 11,
        EntryKind::AlertsUnlinked => 12,
        EntryKind::AlertsChanged => 13,
        EntryKind::Deleted => 14,
        EntryKind::MergedInto => 15,
        EntryKind::Merged => 16,
        EntryKind::MergeUndone => 17,
        EntryKind::Bookmark => 18,
        EntryKind::AlertReported => 19,
        EntryKind::AlertFreed => 20,
        EntryKind::Restored => 21,
    }
}

/// Returns the kinds of a change's entries as the bits of the column `kinds`.
pub(super) fn kinds_of(entries: &[Entry]) -> i64 {
    entries.iter().fold(0, |mask, entry| mask | bit(entry.kind()))
}

impl TryFrom<row::Model> for Change {
    type Error = Error;

    fn try_from(row: row::Model) -> Result<Self> {
        Change::read(row.position as u64, check(&hash_of(&row.hash)?), &row.body)
    }
}

impl TryFrom<row::Model> for ToldChange {
    type Error = Error;

    fn try_from(row: row::Model) -> Result<Self> {
        let place = (row.position as u64, check(&hash_of(&row.hash)?));
        Self::read(place, IncidentId(row.incident_id), row.version as u64, &row.body)
    }
}

impl Reader {
    /// Reads the changes after an offset, ascending, at most `limit`, of a log that ends at `head`. Returns none if a
    /// change is missing, because positions are dense.
    ///
    /// It takes one statement if all of them are changes of incidents: as many rows as positions leave no change of an
    /// alert.
    pub async fn log_after(&self, head: &Head, offset: u64, limit: u64) -> Result<Option<Vec<Logged>>> {
        let end = std::cmp::min(head.offset, offset.saturating_add(limit));
        let Some(count) = end.checked_sub(offset).filter(|count| *count > 0) else { return Ok(Some(Vec::new())) };
        let rows = row::Entity::find()
            .filter(row::Column::Position.gt(offset as i64))
            .filter(row::Column::Position.lte(end as i64))
            .order_by_asc(row::Column::Position)
            .all(self.conn())
            .await?;
        let changes =
            rows.into_iter().map(|row| Change::try_from(row).map(|change| Logged::Incident(Arc::new(change))));
        let mut changes = changes.collect::<Result<Vec<Logged>>>()?;
        if (changes.len() as u64) < count {
            let of_alerts = self.alert_changes_between(offset, end).await?;
            changes.extend(of_alerts.into_iter().map(|change| Logged::Alert(Arc::new(change))));
            changes.sort_by_key(Logged::offset);
        }
        let dense = changes.iter().map(Logged::offset).eq(offset + 1..=end);
        Ok(dense.then_some(changes))
    }

    /// Reads changes of an incident by version: a slice between two versions, from either end.
    pub async fn activity(
        &self,
        incident: IncidentId,
        filter: &ActivityFilter,
        page: Span<u64>,
    ) -> Result<Vec<Change>> {
        self.activity_rows(incident, filter, page).await?.into_iter().map(Change::try_from).collect()
    }

    /// Reads like [`Self::activity`], but only the parts of each change that an activity log shows.
    pub async fn activity_told(
        &self,
        incident: IncidentId,
        filter: &ActivityFilter,
        page: Span<u64>,
    ) -> Result<Vec<ToldChange>> {
        self.activity_rows(incident, filter, page).await?.into_iter().map(ToldChange::try_from).collect()
    }

    /// Reads a slice of the changes of all incidents, newest first.
    pub async fn desk_log(&self, filter: &DeskLogFilter, page: Span<LogPlace>) -> Result<Vec<ToldChange>> {
        let mut query = row::Entity::find();
        if let Some(actor) = filter.actor {
            query = query.filter(row::Column::ActorId.is_not_null()).filter(row::Column::ActorId.eq(actor.0));
        }
        // The expression of `change_by_actor`, which no other index has.
        let at = || match filter.actor {
            Some(_) => Expr::cust("COALESCE(\"change\".\"at\", '0001-01-01T00:00:00+00:00')"),
            None => Expr::col((row::Entity, row::Column::At)),
        };
        let position = || Expr::col((row::Entity, row::Column::Position));
        if let Some(from) = filter.from {
            query = query.filter(at().gte(from));
        }
        if let Some(to) = filter.to {
            query = query.filter(at().lt(to));
        }
        if !filter.shows_deleted {
            // A subquery for one value is not planned as a join, which might read all incidents first. Its value is the
            // condition itself, because PostgreSQL assumes that a subquery seldom gives NULL.
            let is_there = "(SELECT \"incident\".\"deleted_at\" IS NULL FROM \"incident\"
                WHERE \"incident\".\"id\" = \"change\".\"incident_id\")";
            query = query.filter(Expr::cust(is_there));
        }
        let place = || Expr::tuple([at(), position()]);
        if let Some(after) = page.after {
            query = query.filter(place().lt(after.expr()));
        }
        if let Some(before) = page.before {
            query = query.filter(place().gt(before.expr()));
        }
        query = if page.from_end {
            query.order_by_asc(at()).order_by_asc(position())
        } else {
            query.order_by_desc(at()).order_by_desc(position())
        };
        let mut rows = query.limit(page.limit).all(self.conn()).await?;
        if page.from_end {
            rows.reverse();
        }
        rows.into_iter().map(ToldChange::try_from).collect()
    }

    async fn activity_rows(
        &self,
        incident: IncidentId,
        filter: &ActivityFilter,
        page: Span<u64>,
    ) -> Result<Vec<row::Model>> {
        let mut query = filtered(row::Entity::find().filter(row::Column::IncidentId.eq(incident.0)), filter);
        if let Some(version) = page.after {
            query = query.filter(row::Column::Version.gt(version as i64));
        }
        if let Some(version) = page.before {
            query = query.filter(row::Column::Version.lt(version as i64));
        }
        query = if page.from_end {
            query.order_by_desc(row::Column::Version)
        } else {
            query.order_by_asc(row::Column::Version)
        };
        let mut rows = query.limit(page.limit).all(self.conn()).await?;
        if page.from_end {
            rows.reverse();
        }
        Ok(rows)
    }

    /// Reads the changes at one end of the log of each incident, oldest first: one statement for one incident,
    /// otherwise two.
    pub async fn changes_at_end(
        &self,
        incidents: &[IncidentId],
        filter: &ActivityFilter,
        span: Span<()>,
    ) -> Result<HashMap<IncidentId, Vec<ToldChange>>> {
        if let [incident] = incidents {
            return Ok(HashMap::from([(
                *incident,
                self.activity_told(*incident, filter, span.of_other_keys()).await?,
            )]));
        }
        let (places, way, limit) = (super::places(incidents.len()), span.sql_direction(), span.limit);
        let mut values: Vec<sea_orm::Value> = incidents.iter().map(|id| id.0.into()).collect();
        let mut met = String::new();
        if let Some(kinds) = &filter.kinds {
            met = format!(" AND (kinds & {}) <> 0", mask(kinds));
        }
        if let Some(actor) = filter.actor {
            values.push(actor.0.into());
            met.push_str(&format!(" AND actor_id = ${}", values.len()));
        }
        if let Some(version) = filter.up_to {
            met.push_str(&format!(" AND version <= {version}"));
        }
        let sql = format!(
            "SELECT position FROM (SELECT position, ROW_NUMBER() OVER (PARTITION BY incident_id ORDER BY version {way})
             AS place FROM change WHERE incident_id IN ({places}){met}) AS ranked WHERE place <= {limit}"
        );
        let found = self.conn().query_all_raw(super::statement(self, &sql, values)).await?;
        let positions = found.iter().map(|row| row.try_get_by_index::<i64>(0)).collect::<Result<Vec<_>, _>>()?;
        let rows = row::Entity::find()
            .filter(row::Column::Position.is_in(positions))
            .order_by_asc(row::Column::Position)
            .all(self.conn())
            .await?;
        let mut changes: HashMap<IncidentId, Vec<ToldChange>> = HashMap::new();
        for row in rows {
            changes.entry(IncidentId(row.incident_id)).or_default().push(row.try_into()?);
        }
        Ok(changes)
    }

    /// Counts the changes of each incident that meet a filter. An incident without a match has no count.
    pub async fn activity_counts(
        &self,
        incidents: &[IncidentId],
        filter: &ActivityFilter,
    ) -> Result<HashMap<IncidentId, u64>> {
        let of_these = row::Entity::find().filter(row::Column::IncidentId.is_in(incidents.iter().map(|id| id.0)));
        let rows: Vec<(Uuid, i64)> = filtered(of_these, filter)
            .select_only()
            .column(row::Column::IncidentId)
            .expr(Expr::cust("COUNT(*)"))
            .group_by(row::Column::IncidentId)
            .into_tuple()
            .all(self.conn())
            .await?;
        Ok(rows.into_iter().map(|(incident, count)| (IncidentId(incident), count as u64)).collect())
    }
}

pub(super) fn mask(kinds: &[EntryKind]) -> i64 {
    kinds.iter().fold(0, |mask, kind| mask | bit(*kind))
}

fn filtered(query: Select<row::Entity>, filter: &ActivityFilter) -> Select<row::Entity> {
    let mut query = query;
    if let Some(kinds) = &filter.kinds {
        query = query.filter(Expr::col(row::Column::Kinds).bit_and(mask(kinds)).ne(0));
    }
    if let Some(actor) = filter.actor {
        query = query.filter(row::Column::ActorId.eq(actor.0));
    }
    if let Some(version) = filter.up_to {
        query = query.filter(row::Column::Version.lte(version as i64));
    }
    query
}

impl Tx {
    /// Records that users, groups or members changed, for every node to see. It is written at the end of the
    /// transaction, because it locks the head's row until the commit.
    pub async fn note_accounts(&self) {
        self.pending.lock().await.accounts += 1;
    }

    /// Writes an incident's new state and its change, if anything changed. Returns whether anything changed.
    ///
    /// `before` is the locked state, or none for a new incident. `facts` are entries that the two states do not show.
    /// The change gets its position when the transaction commits.
    pub async fn record(
        &self,
        before: Option<&Incident>,
        after: &mut Incident,
        facts: Vec<Entry>,
        origin: &ChangeOrigin,
        created_input: Option<Vec<u8>>,
    ) -> Result<bool> {
        let mut entries = entries_between(before, after);
        entries.extend(facts);
        if entries.is_empty() {
            return Ok(false);
        }
        after.version = before.map_or(0, |before| before.version) + 1;
        after.updated_at = Self::advance(before, origin.at);
        if entries.iter().any(Entry::moves_alerts) {
            after.has_active_alerts = after.alert_count > 0 && self.has_active_alerts(after.id).await?;
        }
        self.save_incident(before, after, created_input).await?;
        let body = ChangeBody {
            client_mutation_id: origin.client_mutation_id.clone(),
            ..ChangeBody::between(before, after, entries, origin.actor.clone(), origin.cause.clone())?
        };
        self.pending.lock().await.incidents.push(body);
        Ok(true)
    }

    /// Appends the changes of these commands to the log, in their order, each command as a separate transaction of the
    /// log. It is the transaction's last act, so the head is locked only for an insert, an update and the commit.
    /// Returns the end of the log after each command. `clock` gives the ids of the log's transactions.
    pub(super) async fn append_pending(&self, commands: Vec<Pending>, clock: &Clock) -> Result<Vec<Head>> {
        let (count, accounts) = (commands.len(), commands.iter().map(|command| command.accounts).sum());
        // All nodes lock the rows of picks in the same order.
        let picks: BTreeMap<_, _> = commands.iter().flat_map(|command| command.picks.iter().copied()).collect();
        self.write_picks(picks).await?;
        if accounts > 0 {
            self.count_accounts(accounts).await?;
        }
        if commands.iter().all(Pending::is_empty) {
            return Ok(vec![self.head().await?; count]);
        }
        let (mut of_incidents, mut of_alerts) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for Pending { mut incidents, alerts, .. } in commands {
            incidents.sort_by_key(|body| body.row.id);
            let transaction = TransactionId(clock.fresh_id());
            of_alerts.push(Unnumbered { changes: alerts, transaction, last: incidents.is_empty() });
            of_incidents.push((transaction, incidents));
        }
        let of_alerts = self.number_alert_changes(of_alerts).await?;
        let mut head = self.lock_head().await?;
        let (mut heads, mut rows, mut alert_rows) = (Vec::with_capacity(count), Vec::new(), Vec::new());
        for ((transaction, incidents), alerts) in of_incidents.into_iter().zip(of_alerts) {
            // Changes of alerts precede changes of incidents, which follow from an alert's link or unlink.
            for Numbered { body, json } in alerts {
                alert_rows.push(head.append_alert_change(&body, json));
            }
            let last = incidents.len();
            for (index, mut body) in incidents.into_iter().enumerate() {
                body.transaction = transaction;
                body.last = index + 1 == last;
                rows.push(head.append_change(&body)?);
            }
            heads.push(head.clone());
        }
        self.write_changes(&alert_rows, &rows, &head).await?;
        Ok(heads)
    }

    /// Writes the rows of changes and the new head. The last INSERT and the head are one message, because every writer
    /// waits for each answer while this transaction locks the head.
    async fn write_changes(
        &self,
        of_alerts: &[alert_row::Model],
        of_incidents: &[row::Model],
        head: &Head,
    ) -> Result<()> {
        let backend = self.conn().get_database_backend();
        let mut statements = rows::inserts::<alert_row::Entity>(backend, of_alerts, ROWS_PER_INSERT);
        statements.extend(rows::inserts::<row::Entity>(backend, of_incidents, ROWS_PER_INSERT));
        statements.last_mut().into_iter().for_each(|last| and_move_head(last, head));
        for statement in statements {
            self.conn().execute_raw(statement).await?;
        }
        Ok(())
    }
}

/// Returns the value of the column `actor_id`: none for the system.
pub(super) fn actor_id(actor: &ActorImage) -> Option<Uuid> {
    match actor {
        ActorImage::User { id, .. } => Some(id.0),
        ActorImage::System => None,
    }
}
