//! The head of the log: the one row that says where the log ends, the floor of its streams, and the number of changes
//! of accounts. The head is locked last in each transaction, and until its commit.

use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{ExprTrait, LockType, OnConflict, Values};
use sea_orm::{DbBackend, FromQueryResult, QueryOrder, QueryResult, QuerySelect, QueryTrait, Set, Statement};

use super::changelog::row as change;
use super::{Reader, Tx, alert_log};
use crate::domain::chain::{Hash, Link, LinkSubject, check, genesis};
use crate::domain::position::Position;
use crate::domain::{Error, Instant, Result};

mod head {
    //! The one row with the end of the log.
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "log_head")]
    pub(super) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) id: i16,
        pub(super) epoch: Uuid,
        pub(super) position: i64,
        pub(super) hash: Vec<u8>,
        pub(super) floor: i64,
        pub(super) accounts: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(super) enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

mod mark {
    //! The length of the log at a time.
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "log_mark")]
    pub(super) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) at: DateTimeUtc,
        pub(super) position: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(super) enum Relation {}
    impl ActiveModelBehavior for ActiveModel {}
}

/// Builds the statement that reads the end of the log.
pub(super) fn read_head(backend: DbBackend) -> Statement {
    head::Entity::find_by_id(1_i16).build(backend)
}

/// Reads the row that [`read_head`] has found.
pub(super) fn found_head(row: &QueryResult) -> Result<Head> {
    found_head_in(row, "")
}

/// Reads the head from a row in which the names of its columns have this prefix.
pub(super) fn found_head_in(row: &QueryResult, prefix: &str) -> Result<Head> {
    head::Model::from_query_result(row, prefix)?.try_into()
}

/// The end of the log in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The epoch: the identity of the log.
    pub epoch: Uuid,
    /// The number of changes in the log.
    pub offset: u64,
    /// The hash of the log at its end.
    pub hash: Hash,
    /// The oldest offset from which a stream may resume.
    pub floor: u64,
    /// How often users, groups or members were changed.
    pub accounts: u64,
}

impl Head {
    /// Returns the position after the last change.
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, offset: self.offset, check: check(&self.hash), queue: None }
    }

    /// Advances by a change with this stored body.
    pub(super) fn append(&mut self, of: LinkSubject, version: u64, body: &str) {
        self.offset += 1;
        self.hash = Link { position: self.offset, of, version, body }.hash(&self.hash);
    }
}

impl TryFrom<head::Model> for Head {
    type Error = Error;

    fn try_from(row: head::Model) -> Result<Self> {
        Ok(Self {
            epoch: row.epoch,
            offset: row.position as u64,
            hash: hash_of(&row.hash)?,
            floor: row.floor as u64,
            accounts: row.accounts as u64,
        })
    }
}

pub(super) fn hash_of(bytes: &[u8]) -> Result<Hash> {
    bytes.try_into().map_err(|_| Error::fault("reading the log's hash", "it has not 32 bytes"))
}

impl Reader {
    /// Reads the end of the log.
    pub async fn head(&self) -> Result<Head> {
        let row = head::Entity::find_by_id(1_i16).one(self.conn()).await?;
        row.ok_or_else(|| Error::fault("reading the head of the log", "it is missing; run `watchfloor migrate`"))?
            .try_into()
    }

    /// Whether there are changes beyond the head. A load that was broken off leaves them, because it writes the head
    /// last.
    pub async fn goes_beyond(&self, head: &Head) -> Result<bool> {
        let of_incident = change::Entity::find().filter(change::Column::Position.gt(head.offset as i64));
        let found: Option<i64> =
            of_incident.select_only().column(change::Column::Position).limit(1).into_tuple().one(self.conn()).await?;
        Ok(found.is_some())
    }

    /// Returns the end of the log if the log contains this position: its epoch, its offset and its hash there. A log
    /// that was restored, or is on a standby that had not received its end, may have other changes at this offset.
    pub async fn head_from(&self, place: &Position) -> Result<Option<Head>> {
        let mut query = head::Entity::find_by_id(1_i16)
            .filter(head::Column::Position.gte(place.offset as i64))
            .filter(head::Column::Epoch.eq(place.epoch));
        if place.offset > 0 {
            let same = change::Entity::find_by_id(place.offset as i64)
                .filter(Expr::cust("substr(hash, 1, 8)").eq(place.check.to_vec()))
                .select_only()
                .column(change::Column::Position)
                .into_query();
            query = query.filter(Expr::exists(same).or(Expr::exists(alert_log::at(place))));
        }
        query.one(self.conn()).await?.map(Head::try_from).transpose()
    }

    /// Returns the position after the change at this offset, or none if the log does not reach the offset.
    pub async fn position_at(&self, head: &Head, offset: u64) -> Result<Option<Position>> {
        let hash = match offset {
            0 => Some(genesis(head.epoch)),
            at if at == head.offset => Some(head.hash),
            at => self.hashes_at(&[at]).await?.remove(&at),
        };
        Ok(hash.map(|hash| Position { epoch: head.epoch, offset, check: check(&hash), queue: None }))
    }
}

impl Tx {
    /// Creates the head of a new log with this epoch. An existing head stays.
    pub(super) async fn ensure_head(&self, epoch: Uuid) -> Result<()> {
        let new = head::ActiveModel {
            id: Set(1),
            epoch: Set(epoch),
            position: Set(0),
            hash: Set(genesis(epoch).to_vec()),
            floor: Set(0),
            accounts: Set(0),
        };
        let keep = OnConflict::column(head::Column::Id).do_nothing().to_owned();
        head::Entity::insert(new).on_conflict(keep).exec_without_returning(self.conn()).await?;
        Ok(())
    }

    /// Locks the head of the log until the commit. Nobody else can append meanwhile.
    pub(super) async fn lock_head(&self) -> Result<Head> {
        let locked = head::Entity::find_by_id(1_i16).lock(LockType::Update).one(self.conn()).await?;
        locked.ok_or_else(|| Error::fault("locking the head of the log", "it is missing"))?.try_into()
    }

    /// Writes the new end of the log.
    pub(super) async fn move_head(&self, head: &Head) -> Result<()> {
        head::Entity::update_many()
            .col_expr(head::Column::Position, Expr::value(head.offset as i64))
            .col_expr(head::Column::Hash, Expr::value(head.hash.to_vec()))
            .filter(head::Column::Id.eq(1))
            .exec(self.conn())
            .await?;
        Ok(())
    }

    /// Records the present length of the log, and moves the floor of the streams up to the log's recorded end as of
    /// `oldest`.
    ///
    /// The records decide, not the times of the changes: an import writes changes of last year today, and a client that
    /// holds a position from before the import must not find it below the floor.
    pub async fn move_floor(&self, now: Instant, oldest: Instant) -> Result<()> {
        let head = self.head().await?;
        let note = mark::ActiveModel { at: Set(now), position: Set(head.offset as i64) };
        let keep = OnConflict::column(mark::Column::At).do_nothing().to_owned();
        mark::Entity::insert(note).on_conflict(keep).exec_without_returning(self.conn()).await?;
        let old = mark::Entity::find().filter(mark::Column::At.lte(oldest)).order_by_desc(mark::Column::At);
        let Some(floor) = old.one(self.conn()).await? else { return Ok(()) };
        mark::Entity::delete_many().filter(mark::Column::At.lt(floor.at)).exec(self.conn()).await?;
        head::Entity::update_many()
            .col_expr(head::Column::Floor, Expr::value(floor.position))
            .filter(head::Column::Id.eq(1))
            .filter(head::Column::Floor.lt(floor.position))
            .exec(self.conn())
            .await?;
        Ok(())
    }

    /// Adds to the number of changes of users, groups and members.
    pub(super) async fn count_accounts(&self, more: u64) -> Result<()> {
        head::Entity::update_many()
            .col_expr(head::Column::Accounts, Expr::col(head::Column::Accounts).add(more as i64))
            .filter(head::Column::Id.eq(1))
            .exec(self.conn())
            .await?;
        Ok(())
    }
}

/// Adds the update of the head to an INSERT: one statement on PostgreSQL, one message of two statements on SQLite.
pub(super) fn and_move_head(insert: &mut Statement, head: &Head) {
    let values = &mut insert.values.get_or_insert_with(|| Values(Vec::new())).0;
    let (position, hash) = (values.len() + 1, values.len() + 2);
    values.extend([(head.offset as i64).into(), head.hash.to_vec().into()]);
    let moved = format!("UPDATE log_head SET position = ${position}, hash = ${hash} WHERE id = 1");
    insert.sql = match insert.db_backend {
        DbBackend::Postgres => format!("WITH appended AS ({}) {moved}", insert.sql),
        _ => format!("{}; {moved}", insert.sql),
    };
}
