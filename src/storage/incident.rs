//! Incidents: the row, its conversions, loads, locks and saves.

use std::collections::{BTreeSet, HashMap, HashSet};

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{LockBehavior, LockType};
use sea_orm::{ActiveEnum, DbBackend, FromQueryResult, IdenStatic, QueryOrder, QueryResult, QuerySelect, Select};

use super::deferred::{ChangedRow, NewRow, Table};
use super::filter::{self, StatusWay};
use super::{Reader, Tx, account, statement, tag};
use crate::domain::account::{ActorImage, Owner, OwnerId};
use crate::domain::classification::{
    Classification, ClassificationKind, ExpectedActivity, FalsePositiveReason, Threat,
};
use crate::domain::incident::{Incident, Resolution};
use crate::domain::queue::QueueRow;
use crate::domain::summary::OPEN;
use crate::domain::tag::Tag;
use crate::domain::{Error, GroupId, IncidentId, Instant, Result, UserId, text, title};

pub(super) mod row {
    //! The row of an incident.
    use sea_orm::entity::prelude::*;

    use crate::domain::classification::ClassificationKind;
    use crate::domain::incident::{Severity, Status};

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "incident")]
    pub(in crate::storage) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(in crate::storage) id: Uuid,
        pub(in crate::storage) number: i64,
        pub(in crate::storage) version: i64,
        pub(in crate::storage) title: String,
        pub(in crate::storage) title_key: String,
        pub(in crate::storage) title_folded: String,
        pub(in crate::storage) title_version: i64,
        pub(in crate::storage) title_generated: bool,
        pub(in crate::storage) description: Option<String>,
        pub(in crate::storage) description_folded: Option<String>,
        pub(in crate::storage) description_version: i64,
        pub(in crate::storage) severity: Severity,
        pub(in crate::storage) severity_override: Option<Severity>,
        pub(in crate::storage) computed_severity: Severity,
        pub(in crate::storage) status: Status,
        pub(in crate::storage) classification: Option<ClassificationKind>,
        pub(in crate::storage) determination: Option<String>,
        pub(in crate::storage) owner_user_id: Option<Uuid>,
        pub(in crate::storage) owner_group_id: Option<Uuid>,
        pub(in crate::storage) resolution_note: Option<String>,
        pub(in crate::storage) resolution_note_version: Option<i64>,
        pub(in crate::storage) resolved_at: Option<DateTimeUtc>,
        pub(in crate::storage) resolved_by: Option<String>,
        pub(in crate::storage) alert_count: i64,
        pub(in crate::storage) comment_count: i64,
        pub(in crate::storage) has_active_alerts: bool,
        pub(in crate::storage) products: String,
        pub(in crate::storage) providers: String,
        pub(in crate::storage) created_at: DateTimeUtc,
        pub(in crate::storage) created_input: Option<Vec<u8>>,
        pub(in crate::storage) updated_at: DateTimeUtc,
        pub(in crate::storage) stated_first_activity_at: Option<DateTimeUtc>,
        pub(in crate::storage) stated_last_activity_at: Option<DateTimeUtc>,
        pub(in crate::storage) first_activity_at: Option<DateTimeUtc>,
        pub(in crate::storage) last_activity_at: Option<DateTimeUtc>,
        pub(in crate::storage) first_assigned_at: Option<DateTimeUtc>,
        pub(in crate::storage) redirected_to: Option<Uuid>,
        pub(in crate::storage) deleted_at: Option<DateTimeUtc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(in crate::storage) enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

use row::{Column, Entity, Model};

/// Returns the two columns of a classification.
pub(super) fn classification_columns(class: Option<Classification>) -> (Option<ClassificationKind>, Option<String>) {
    let determination = class.map(|class| match class {
        Classification::TruePositive(threat) => threat.to_value(),
        Classification::InformationalExpectedActivity(activity) => activity.to_value(),
        Classification::FalsePositive(reason) => reason.to_value(),
    });
    (class.map(Classification::kind), determination)
}

/// Reads a classification from its two columns.
pub(super) fn classification(kind: Option<ClassificationKind>, word: Option<&str>) -> Result<Option<Classification>> {
    let (Some(kind), Some(word)) = (kind, word) else { return Ok(None) };
    let word = word.to_owned();
    Ok(match kind {
        ClassificationKind::TruePositive => Some(Classification::TruePositive(Threat::try_from_value(&word)?)),
        ClassificationKind::InformationalExpectedActivity => {
            Some(Classification::InformationalExpectedActivity(ExpectedActivity::try_from_value(&word)?))
        }
        ClassificationKind::FalsePositive => {
            Some(Classification::FalsePositive(FalsePositiveReason::try_from_value(&word)?))
        }
    })
}

/// Reads an owner from its two columns.
pub(super) fn owner_id(user: Option<Uuid>, group: Option<Uuid>) -> Option<OwnerId> {
    user.map(|id| OwnerId::User(UserId(id))).or(group.map(|id| OwnerId::Group(GroupId(id))))
}

/// Returns the two columns of an owner.
pub(super) fn owner_columns(owner: Option<OwnerId>) -> (Option<Uuid>, Option<Uuid>) {
    match owner {
        None => (None, None),
        Some(OwnerId::User(id)) => (Some(id.0), None),
        Some(OwnerId::Group(id)) => (None, Some(id.0)),
    }
}

/// Reads a column with JSON that this service wrote.
pub(super) fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::fault("reading stored JSON", error))
}

/// Writes a value as a column with JSON.
pub(super) fn to_json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::fault("writing JSON", error))
}

fn to_domain(row: Model, owner: Option<Owner>, tags: Vec<Tag>) -> Result<Incident> {
    let resolution = match (row.resolved_at, &row.resolved_by) {
        (Some(at), Some(by)) => Some(Resolution {
            note: row.resolution_note,
            note_version: row.resolution_note_version.unwrap_or(0) as u64,
            at,
            by: json::<ActorImage>(by)?,
        }),
        _ => None,
    };
    Ok(Incident {
        id: IncidentId(row.id),
        number: row.number,
        version: row.version as u64,
        title: row.title,
        title_version: row.title_version as u64,
        title_generated: row.title_generated,
        description: row.description,
        description_version: row.description_version as u64,
        severity_override: row.severity_override,
        computed_severity: row.computed_severity,
        status: row.status,
        classification: classification(row.classification, row.determination.as_deref())?,
        owner,
        tags,
        resolution,
        alert_count: row.alert_count as u64,
        comment_count: row.comment_count as u64,
        has_active_alerts: row.has_active_alerts,
        products: json(&row.products)?,
        providers: json(&row.providers)?,
        created_at: row.created_at,
        updated_at: row.updated_at,
        stated_first_activity_at: row.stated_first_activity_at,
        stated_last_activity_at: row.stated_last_activity_at,
        first_activity_at: row.first_activity_at,
        last_activity_at: row.last_activity_at,
        first_assigned_at: row.first_assigned_at,
        redirected_to: row.redirected_to.map(IncidentId),
        deleted_at: row.deleted_at,
    })
}

pub(super) fn to_row(incident: &Incident, created_input: Option<Vec<u8>>) -> Result<Model> {
    let (classification, determination) = classification_columns(incident.classification);
    let (owner_user_id, owner_group_id) = owner_columns(incident.owner.as_ref().map(|owner| owner.id));
    let resolution = incident.resolution.as_ref();
    Ok(Model {
        id: incident.id.0,
        number: incident.number,
        version: incident.version as i64,
        title: incident.title.clone(),
        title_key: title::order_key(&incident.title),
        title_folded: text::fold(&incident.title),
        title_version: incident.title_version as i64,
        title_generated: incident.title_generated,
        description: incident.description.clone(),
        description_folded: incident.description.as_deref().map(text::fold),
        description_version: incident.description_version as i64,
        severity: incident.severity(),
        severity_override: incident.severity_override,
        computed_severity: incident.computed_severity,
        status: incident.status,
        classification,
        determination,
        owner_user_id,
        owner_group_id,
        resolution_note: resolution.and_then(|resolution| resolution.note.clone()),
        resolution_note_version: resolution.map(|resolution| resolution.note_version as i64),
        resolved_at: resolution.map(|resolution| resolution.at),
        resolved_by: resolution.map(|resolution| to_json(&resolution.by)).transpose()?,
        alert_count: incident.alert_count as i64,
        comment_count: incident.comment_count as i64,
        has_active_alerts: incident.has_active_alerts,
        products: to_json(&incident.products)?,
        providers: to_json(&incident.providers)?,
        created_at: incident.created_at,
        created_input,
        updated_at: incident.updated_at,
        stated_first_activity_at: incident.stated_first_activity_at,
        stated_last_activity_at: incident.stated_last_activity_at,
        first_activity_at: incident.first_activity_at,
        last_activity_at: incident.last_activity_at,
        first_assigned_at: incident.first_assigned_at,
        redirected_to: incident.redirected_to.map(|id| id.0),
        deleted_at: incident.deleted_at,
    })
}

/// Selects incidents as answers show them: of a title only its start, and no columns that only filters use. Such rows
/// must never be saved.
pub(super) fn shown() -> Select<Entity> {
    let read = |column: &Column| !matches!(column, Column::Title | Column::TitleFolded | Column::DescriptionFolded);
    Entity::find()
        .select_only()
        .columns(<Column as sea_orm::Iterable>::iter().filter(read))
        .expr_as(super::text::start_of("incident", "title"), "title")
        .expr_as(Expr::cust("''"), "title_folded")
        .expr_as(Expr::cust("NULL"), "description_folded")
}

/// The offset of an incident's newest change, by the unique key of incident and version: one index lookup for each
/// incident.
const NEWEST_CHANGE: &str = "(SELECT position FROM change
    WHERE change.incident_id = incident.id AND change.version = incident.version)";

/// An open incident as the board begins with it.
#[derive(Clone, Debug)]
pub struct OpenRow {
    /// The row, without the description.
    pub row: QueueRow,
    /// The shown part of the title.
    pub title: title::ShownTitle,
    /// The offset of the newest change.
    pub changed: u64,
}

/// Selects [`shown`] rows with owners and tags, which are in other tables.
pub(super) fn shown_with_others(backend: DbBackend) -> Select<Entity> {
    with_others(shown(), backend)
}

fn with_others(query: Select<Entity>, backend: DbBackend) -> Select<Entity> {
    query.expr_as(account::owner_of("incident", backend), "owner").expr_as(tag::tags_of(backend), "tags")
}

/// A [`shown`] row with owner and tags.
pub(super) struct ShownIncidentRow {
    row: Model,
    owner: Option<String>,
    tags: Option<String>,
}

impl FromQueryResult for ShownIncidentRow {
    fn from_query_result(found: &QueryResult, pre: &str) -> Result<Self, DbErr> {
        Ok(Self {
            row: Model::from_query_result(found, pre)?,
            owner: found.try_get(pre, "owner")?,
            tags: found.try_get(pre, "tags")?,
        })
    }
}

impl TryFrom<ShownIncidentRow> for Incident {
    type Error = Error;

    fn try_from(shown: ShownIncidentRow) -> Result<Self> {
        let ShownIncidentRow { row, owner, tags } = shown;
        let owner = account::owner_told(owner_id(row.owner_user_id, row.owner_group_id), owner.as_deref())?;
        to_domain(row, owner, tag::tags_told(tags.as_deref())?)
    }
}

impl Reader {
    /// Runs a query of [`shown`] rows in one statement. The incidents keep its order, and have owners and tags.
    pub(super) async fn show(&self, query: Select<Entity>) -> Result<Vec<Incident>> {
        let query = with_others(query, self.conn().get_database_backend());
        let rows = query.into_model::<ShownIncidentRow>().all(self.conn()).await?;
        rows.into_iter().map(Incident::try_from).collect()
    }

    /// Reads the incidents with these ids as answers show them, including deleted incidents, in no order. A longer
    /// title is cut to its first [`START_CHARS`](title::START_CHARS) characters.
    pub async fn incidents_to_show(&self, ids: &[IncidentId]) -> Result<Vec<Incident>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.show(shown().filter(Column::Id.is_in(ids.iter().map(|id| id.0)))).await
    }

    /// Reads open incidents after an id, ordered by id, at most `limit`, without descriptions.
    pub async fn open_rows(&self, after: Option<IncidentId>, limit: u64) -> Result<Vec<OpenRow>> {
        let mut query = shown()
            .filter(Column::DeletedAt.is_null())
            .filter(filter::of_status(&OPEN, StatusWay::Known))
            .order_by_asc(Column::Id)
            .limit(limit);
        if let Some(after) = after {
            query = query.filter(Column::Id.gt(after.0));
        }
        let rows = query.all(self.conn()).await?.into_iter().map(|row| Model { description: None, ..row });
        let incidents = self.complete(rows.collect()).await?;
        let changed: Vec<(Uuid, Option<i64>)> = Entity::find()
            .select_only()
            .column(Column::Id)
            .expr(Expr::cust(NEWEST_CHANGE))
            .filter(Column::Id.is_in(incidents.iter().map(|incident| incident.id.0)))
            .into_tuple()
            .all(self.conn())
            .await?;
        let changed: HashMap<Uuid, u64> =
            changed.into_iter().map(|(id, offset)| (id, offset.unwrap_or_default() as u64)).collect();
        let open = incidents.iter().map(|incident| OpenRow {
            row: incident.row_to_show(),
            title: title::ShownTitle::of(&incident.title),
            changed: changed.get(&incident.id.0).copied().unwrap_or_default(),
        });
        Ok(open.collect())
    }

    /// Reads the whole title of an incident, deleted or not.
    pub async fn whole_title(&self, id: IncidentId) -> Result<Option<String>> {
        let title = Entity::find().select_only().column(Column::Title).filter(Column::Id.eq(id.0));
        Ok(title.into_tuple().one(self.conn()).await?)
    }

    /// Reads the incidents with these ids, whole, including deleted incidents, in no order.
    pub async fn incidents(&self, ids: &[IncidentId]) -> Result<Vec<Incident>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows = Entity::find().filter(Column::Id.is_in(ids.iter().map(|id| id.0))).all(self.conn()).await?;
        self.complete(rows).await
    }

    /// Returns the deleted incidents among these.
    pub async fn deleted_among(&self, ids: &[IncidentId]) -> Result<HashSet<IncidentId>> {
        let rows: Vec<Uuid> = Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(Column::Id.is_in(ids.iter().map(|id| id.0)))
            .filter(Column::DeletedAt.is_not_null())
            .into_tuple()
            .all(self.conn())
            .await?;
        Ok(rows.into_iter().map(IncidentId).collect())
    }

    /// Reads the incident with this id. A deleted incident counts as missing.
    pub async fn incident(&self, id: IncidentId) -> Result<Option<Incident>> {
        let found = self.incidents(&[id]).await?.pop();
        Ok(found.filter(|incident| incident.deleted_at.is_none()))
    }

    /// Reads the incident that a number leads to, as answers show it. A number of a merged incident leads along the
    /// redirects to the last incident that is not deleted. A number of a deleted incident leads to none.
    pub async fn incident_by_number(&self, number: i64) -> Result<Option<Incident>> {
        // Redirects form no circle: an incident that was merged into another takes no other incident in.
        let sql = "WITH RECURSIVE merged (id, redirected_to, place) AS (
                SELECT id, redirected_to, 0 FROM incident WHERE number = $1 AND deleted_at IS NULL
                UNION ALL
                SELECT i.id, i.redirected_to, m.place + 1 FROM merged m JOIN incident i ON i.id = m.redirected_to
                WHERE i.deleted_at IS NULL
             ) SELECT id FROM merged ORDER BY place DESC LIMIT 1";
        let found = self.conn().query_one_raw(statement(self, sql, [number.into()])).await?;
        let Some(found) = found else { return Ok(None) };
        Ok(self.incidents_to_show(&[IncidentId(found.try_get_by_index(0)?)]).await?.pop())
    }

    /// Reads the incident with this number, deleted or not.
    pub async fn any_incident_by_number(&self, number: i64) -> Result<Option<Incident>> {
        let row = Entity::find().filter(Column::Number.eq(number)).one(self.conn()).await?;
        Ok(self.complete(row.into_iter().collect()).await?.pop())
    }

    /// Returns the digest of the input that created an incident, if the client chose its id.
    pub async fn created_input(&self, id: IncidentId) -> Result<Option<Vec<u8>>> {
        let row: Option<Option<Vec<u8>>> = Entity::find()
            .select_only()
            .column(Column::CreatedInput)
            .filter(Column::Id.eq(id.0))
            .into_tuple()
            .one(self.conn())
            .await?;
        Ok(row.flatten())
    }

    /// Returns the incidents with a derived column (for filters and orders) that contradicts its source, and the
    /// column's name.
    pub async fn derived_at_odds(&self, ids: &[IncidentId]) -> Result<HashMap<IncidentId, &'static str>> {
        let rows = Entity::find().filter(Column::Id.is_in(ids.iter().map(|id| id.0))).all(self.conn()).await?;
        let at_odds = |row: &Model| {
            let severity = row.severity_override.unwrap_or(row.computed_severity);
            [
                ("severity", row.severity == severity),
                ("title_key", row.title_key == title::order_key(&row.title)),
                ("title_folded", row.title_folded == text::fold(&row.title)),
                ("description_folded", row.description_folded == row.description.as_deref().map(text::fold)),
            ]
            .into_iter()
            .find_map(|(column, same)| (!same).then_some(column))
        };
        Ok(rows.iter().filter_map(|row| Some((IncidentId(row.id), at_odds(row)?))).collect())
    }

    /// Adds owners and tags to rows, in the same order, in two or three statements however many rows there are.
    pub(super) async fn complete(&self, rows: Vec<Model>) -> Result<Vec<Incident>> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
        let owners: HashMap<OwnerId, Owner> =
            self.owners(rows.iter().filter_map(|row| owner_id(row.owner_user_id, row.owner_group_id))).await?;
        let mut tags = self.tags(&ids).await?;
        rows.into_iter()
            .map(|row| {
                let owner = owner_id(row.owner_user_id, row.owner_group_id).and_then(|id| owners.get(&id).cloned());
                let tags = tags.remove(&row.id).unwrap_or_default();
                to_domain(row, owner, tags)
            })
            .collect()
    }
}

impl Tx {
    /// Locks these incidents in ascending order of id, and reads them. Nobody else changes them until the commit.
    pub async fn lock_incidents(&self, ids: &[IncidentId]) -> Result<Vec<Incident>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(incident) = self.conn().ahead().take(ids) {
            return Ok(vec![incident]);
        }
        let ids: BTreeSet<Uuid> = ids.iter().map(|id| id.0).collect();
        let found = || Entity::find().filter(Column::Id.is_in(ids.iter().copied())).order_by_asc(Column::Id);
        if !self.conn().defers_any(&ids.iter().copied().collect::<Vec<_>>()) {
            let free = if self.conn().is_joined() {
                found().lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
            } else {
                found().lock(LockType::Update)
            };
            let rows = free.all(&self.apart()).await?;
            if rows.len() == ids.len() || !self.conn().is_joined() {
                return self.complete(rows).await;
            }
            // Another transaction has locked an incident, or an incident is missing.
        }
        let rows = found().lock(LockType::Update).all(self.conn()).await?;
        self.complete(rows).await
    }

    /// Locks and reads an incident. Refuses an incident that is missing or deleted.
    pub async fn lock_incident(&self, id: IncidentId) -> Result<Incident> {
        let found = self.lock_incidents(&[id]).await?.pop();
        found.filter(|incident| incident.deleted_at.is_none()).ok_or_else(|| Error::not_found("incident", id))
    }

    /// Saves an incident: inserts it, or writes the columns that differ from its locked state `before`. The row is
    /// deferred.
    pub(super) async fn save_incident(
        &self,
        before: Option<&Incident>,
        after: &Incident,
        created_input: Option<Vec<u8>>,
    ) -> Result<()> {
        let row = to_row(after, created_input)?;
        match before {
            None => self.conn().insert_later(NewRow::of::<Entity>(Table::Incident, &row)).await?,
            Some(before) => {
                let was = to_row(before, None)?;
                let has_changed =
                    |column: &Column| !matches!(column, Column::CreatedInput) && was.get(*column) != row.get(*column);
                let changed: Vec<Column> = <Column as sea_orm::Iterable>::iter().filter(has_changed).collect();
                let (names, values) = changed.iter().map(|column| (column.as_str(), row.get(*column))).unzip();
                self.conn().change_later(ChangedRow::of_incident(after.id.0, names, values)).await?;
                if before.is_open() != after.is_open() {
                    self.note_open(after).await?;
                }
            }
        }
        self.save_tags(after.id, before.map_or(&[], |before| before.tags.as_slice()), &after.tags).await?;
        self.save_long_texts(after).await
    }

    /// Returns the new time of the last change. It must not go back, whatever the clocks of two nodes say.
    pub(super) fn advance(before: Option<&Incident>, at: Instant) -> Instant {
        before.map_or(at, |before| std::cmp::max(before.updated_at, at))
    }
}
