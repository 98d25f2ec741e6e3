//! Bulk jobs, their incidents and the results.

use std::collections::HashMap;

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{LockBehavior, LockType};
use sea_orm::{QueryOrder, QuerySelect, Set};

use super::incident::{json, to_json};
use super::queue::Span;
use super::{IDS_PER_STATEMENT, Reader, Tx};
use crate::domain::bulk::{BULK_KEPT_DAYS, BulkItem, BulkJob, BulkOutcome, BulkResult, BulkState};
use crate::domain::{BulkJobId, Error, IncidentId, Instant, Result, UserId};

mod job {
    //! A job.
    use sea_orm::entity::prelude::*;

    use crate::domain::bulk::BulkState;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "bulk_job")]
    pub(super) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) id: Uuid,
        pub(super) user_id: Uuid,
        pub(super) actor: String,
        pub(super) client_mutation_id: Option<String>,
        pub(super) edit: String,
        pub(super) total: i64,
        pub(super) changed: i64,
        pub(super) unchanged: i64,
        pub(super) refused: i64,
        pub(super) state: BulkState,
        pub(super) created_at: DateTimeUtc,
        pub(super) finished_at: Option<DateTimeUtc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(super) enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

mod item {
    //! An incident of a job.
    use sea_orm::entity::prelude::*;

    use crate::domain::bulk::BulkOutcome;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "bulk_item")]
    pub(super) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) job_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) ordinal: i64,
        pub(super) incident_id: Uuid,
        pub(super) outcome: Option<BulkOutcome>,
        pub(super) code: Option<String>,
        pub(super) message: Option<String>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(super) enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// A filter on bulk jobs. All given conditions must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BulkJobFilter {
    /// Jobs in this state.
    pub state: Option<BulkState>,
    /// Jobs that this user created.
    pub user: Option<UserId>,
}

/// Rows per INSERT: six columns each, and SQLite takes 32,766 parameters.
const ROWS_PER_INSERT: usize = 5_000;

impl TryFrom<job::Model> for BulkJob {
    type Error = Error;

    fn try_from(row: job::Model) -> Result<Self> {
        Ok(Self {
            id: BulkJobId(row.id),
            user: UserId(row.user_id),
            actor: json(&row.actor)?,
            client_mutation_id: row.client_mutation_id,
            edit: json(&row.edit)?,
            total: row.total as u64,
            changed: row.changed as u64,
            unchanged: row.unchanged as u64,
            refused: row.refused as u64,
            state: row.state,
            created_at: row.created_at,
            finished_at: row.finished_at,
        })
    }
}

impl From<item::Model> for BulkItem {
    fn from(row: item::Model) -> Self {
        let (code, message) = (row.code, row.message);
        let result = row.outcome.map(|outcome| BulkResult { outcome, code, message });
        Self { ordinal: row.ordinal as u64, incident: IncidentId(row.incident_id), result }
    }
}

impl Reader {
    /// Whether a job is still running.
    pub async fn has_bulk_work(&self) -> Result<bool> {
        let running = job::Entity::find().filter(job::Column::State.eq(BulkState::Running));
        Ok(running.limit(1).one(self.conn()).await?.is_some())
    }

    /// Reads the job with this id.
    pub async fn bulk_job(&self, id: BulkJobId) -> Result<Option<BulkJob>> {
        job::Entity::find_by_id(id.0).one(self.conn()).await?.map(BulkJob::try_from).transpose()
    }

    /// Reads the jobs with these ids, in no order.
    pub async fn bulk_jobs(&self, ids: &[BulkJobId]) -> Result<Vec<BulkJob>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let found = job::Entity::find().filter(job::Column::Id.is_in(ids.iter().map(|id| id.0)));
        found.all(self.conn()).await?.into_iter().map(BulkJob::try_from).collect()
    }

    /// Reads a slice of the jobs that meet a filter, newest first: by id, which is the order of their creation.
    pub async fn bulk_jobs_page(&self, filter: &BulkJobFilter, span: Span<BulkJobId>) -> Result<Vec<BulkJob>> {
        let mut query = job::Entity::find();
        if let Some(state) = filter.state {
            query = query.filter(job::Column::State.eq(state));
        }
        if let Some(user) = filter.user {
            query = query.filter(job::Column::UserId.eq(user.0));
        }
        if let Some(after) = span.after {
            query = query.filter(job::Column::Id.lt(after.0));
        }
        if let Some(before) = span.before {
            query = query.filter(job::Column::Id.gt(before.0));
        }
        query = if span.from_end { query.order_by_asc(job::Column::Id) } else { query.order_by_desc(job::Column::Id) };
        let mut rows = query.limit(span.limit).all(self.conn()).await?;
        if span.from_end {
            rows.reverse();
        }
        rows.into_iter().map(BulkJob::try_from).collect()
    }

    /// Reads a slice of a job's incidents by their ordinal, with this outcome if an outcome is given.
    pub async fn bulk_items(
        &self,
        job: BulkJobId,
        outcome: Option<BulkOutcome>,
        span: Span<u64>,
    ) -> Result<Vec<BulkItem>> {
        let mut query = item::Entity::find().filter(item::Column::JobId.eq(job.0));
        if let Some(outcome) = outcome {
            query = query.filter(item::Column::Outcome.eq(outcome));
        }
        if let Some(after) = span.after {
            query = query.filter(item::Column::Ordinal.gt(after as i64));
        }
        if let Some(before) = span.before {
            query = query.filter(item::Column::Ordinal.lt(before as i64));
        }
        query = if span.from_end {
            query.order_by_desc(item::Column::Ordinal)
        } else {
            query.order_by_asc(item::Column::Ordinal)
        };
        let mut rows = query.limit(span.limit).all(self.conn()).await?;
        if span.from_end {
            rows.reverse();
        }
        Ok(rows.into_iter().map(BulkItem::from).collect())
    }
}

impl Tx {
    /// Creates a job for these incidents, in this order.
    pub async fn insert_bulk_job(&self, new: &BulkJob, incidents: &[IncidentId]) -> Result<()> {
        let row = job::ActiveModel {
            id: Set(new.id.0),
            user_id: Set(new.user.0),
            actor: Set(to_json(&new.actor)?),
            client_mutation_id: Set(new.client_mutation_id.clone()),
            edit: Set(to_json(&new.edit)?),
            total: Set(new.total as i64),
            changed: Set(new.changed as i64),
            unchanged: Set(new.unchanged as i64),
            refused: Set(new.refused as i64),
            state: Set(new.state),
            created_at: Set(new.created_at),
            finished_at: Set(new.finished_at),
        };
        job::Entity::insert(row).exec_without_returning(self.conn()).await?;
        for (chunk, incidents) in incidents.chunks(ROWS_PER_INSERT).enumerate() {
            let rows = incidents.iter().enumerate().map(|(index, incident)| item::ActiveModel {
                job_id: Set(new.id.0),
                ordinal: Set((chunk * ROWS_PER_INSERT + index) as i64),
                incident_id: Set(incident.0),
                outcome: Set(None),
                code: Set(None),
                message: Set(None),
            });
            item::Entity::insert_many(rows).exec_without_returning(self.conn()).await?;
        }
        Ok(())
    }

    /// Locks the oldest running job that no transaction has locked.
    pub async fn lock_next_bulk_job(&self) -> Result<Option<BulkJob>> {
        let row = job::Entity::find()
            .filter(job::Column::State.eq(BulkState::Running))
            .order_by_asc(job::Column::CreatedAt)
            .order_by_asc(job::Column::Id)
            .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
            .one(self.conn())
            .await?;
        row.map(BulkJob::try_from).transpose()
    }

    /// Locks and reads a job.
    pub async fn lock_bulk_job(&self, id: BulkJobId) -> Result<Option<BulkJob>> {
        let row = job::Entity::find_by_id(id.0).lock(LockType::Update).one(self.conn()).await?;
        row.map(BulkJob::try_from).transpose()
    }

    /// Reads the next waiting incidents of a job, in its order.
    pub async fn waiting_bulk_items(&self, job: BulkJobId, limit: usize) -> Result<Vec<BulkItem>> {
        let rows = item::Entity::find()
            .filter(item::Column::JobId.eq(job.0))
            .filter(item::Column::Outcome.is_null())
            .order_by_asc(item::Column::Ordinal)
            .limit(limit as u64)
            .all(self.conn())
            .await?;
        Ok(rows.into_iter().map(BulkItem::from).collect())
    }

    /// Writes results of a job's incidents by their ordinals, in one statement for each distinct result.
    pub async fn settle_bulk_items(&self, job: BulkJobId, results: &[(u64, BulkResult)]) -> Result<()> {
        let mut alike: HashMap<&BulkResult, Vec<i64>> = HashMap::new();
        for (ordinal, result) in results {
            alike.entry(result).or_default().push(*ordinal as i64);
        }
        for (result, ordinals) in alike {
            item::Entity::update_many()
                .set(item::ActiveModel {
                    outcome: Set(Some(result.outcome)),
                    code: Set(result.code.clone()),
                    message: Set(result.message.clone()),
                    ..Default::default()
                })
                .filter(item::Column::JobId.eq(job.0))
                .filter(item::Column::Ordinal.is_in(ordinals))
                .exec(self.conn())
                .await?;
        }
        Ok(())
    }

    /// Writes a locked job's counts and state.
    pub async fn save_bulk_job(&self, after: &BulkJob) -> Result<()> {
        job::Entity::update_many()
            .set(job::ActiveModel {
                changed: Set(after.changed as i64),
                unchanged: Set(after.unchanged as i64),
                refused: Set(after.refused as i64),
                state: Set(after.state),
                finished_at: Set(after.finished_at),
                ..Default::default()
            })
            .filter(job::Column::Id.eq(after.id.0))
            .exec(self.conn())
            .await?;
        Ok(())
    }

    /// Deletes jobs that ended long enough ago. Their changes stay in the log.
    pub async fn forget_bulk_jobs(&self, now: Instant) -> Result<()> {
        let ended: Vec<Uuid> = job::Entity::find()
            .select_only()
            .column(job::Column::Id)
            .filter(job::Column::FinishedAt.lte(now - chrono::Duration::days(BULK_KEPT_DAYS)))
            .limit(IDS_PER_STATEMENT as u64)
            .into_tuple()
            .all(self.conn())
            .await?;
        item::Entity::delete_many().filter(item::Column::JobId.is_in(ended.clone())).exec(self.conn()).await?;
        job::Entity::delete_many().filter(job::Column::Id.is_in(ended)).exec(self.conn()).await?;
        Ok(())
    }
}
