//! Writes a whole desk in bulk into an empty database: rows by COPY on PostgreSQL, by long INSERTs on SQLite.
//!
//! The rows are the rows that commands write, made by the same functions. The head of the log is written last: a load
//! that stops between its transactions leaves changes beyond the head ([`Reader::goes_beyond`](super::Reader::goes_beyond)), and no desk opens such
//! a database.

use std::collections::BTreeMap;
use std::fmt::Write;

use sea_orm::entity::prelude::*;
use sea_orm::{DbBackend, IdenStatic, IntoActiveModel, Statement, Value};
use serde_json::json;

use super::incident::to_json;
use super::log_head::Head;
use super::rows::{self, lots};
use super::tag::{LAST_USED_GRAIN, held as tag_held, name as tag_name};
use super::{Store, Tx, alert, alert_log, changelog, comment, entity, incident, statement, text};
use crate::domain::account::{ActorImage, LOCAL_MANAGER_ACCOUNT, OwnerId};
use crate::domain::alert::Alert;
use crate::domain::alert_log::AlertBody;
use crate::domain::change::{ChangeBody, Entry};
use crate::domain::comment::Comment;
use crate::domain::incident::{Incident, TextField};
use crate::domain::tag::{Tag, TagKind};
use crate::domain::{Error, Instant, Result, UserId};

/// Rows of one INSERT on SQLite. The cost of the statement itself is small by then, and the widest row has 38 columns
/// of the 32,766 parameters that SQLite takes.
const ROWS_PER_INSERT: usize = 100;

/// Rows of one INSERT on PostgreSQL. A connection keeps a prepared statement for each size, so sizes are few: 64, 32,
/// 16, …
const ROWS_PER_INSERT_POSTGRES: usize = 64;

/// SQLite's page cache while a desk is loaded, in KiB. The indexes of a large desk do not fit into the usual 2 MiB, and
/// each page that leaves the cache before the commit is written once more.
const SQLITE_CACHE_KIB: u32 = 256 << 10;

/// Tables that are empty in a new desk. The table of users may hold the local manager.
const TABLES: [&str; 7] = ["incident", "alert", "change", "alert_change", "tag", "group", "saved_view"];

/// An incident after its last change, with everything on it.
#[derive(Clone, Debug)]
pub struct WholeIncident {
    /// The state of the incident.
    pub incident: Incident,
    /// Its alerts, each with its raw payload and the version of the incident that brought it.
    pub alerts: Vec<(Alert, Option<String>, u64)>,
    /// Its comments, as they were written.
    pub comments: Vec<Comment>,
    /// Its texts that are too long for a change, each with the version that set it.
    pub texts: Vec<(TextField, u64, String)>,
}

/// A desk that is being loaded: the rows that are not written yet, and the head of its log.
#[derive(Debug)]
pub struct Load {
    backend: DbBackend,
    head: Head,
    number: i64,
    tags: BTreeMap<(TagKind, String), (String, Instant)>,
    picks: BTreeMap<(UserId, OwnerId), Instant>,
    rows: LoadRows,
}

/// Rows that are not written yet.
#[derive(Debug, Default)]
struct LoadRows {
    incidents: Vec<incident::row::Model>,
    texts: Vec<text::row::Model>,
    tags: Vec<tag_held::Model>,
    alerts: Vec<alert::row::Model>,
    raws: Vec<alert::raw::Model>,
    named: Vec<entity::named::Model>,
    held: Vec<entity::held::Model>,
    comments: Vec<comment::row::Model>,
    revisions: Vec<comment::revision::Model>,
    changes: Vec<changelog::row::Model>,
    alert_changes: Vec<alert_log::row::Model>,
}

/// Rows to write, in an order in which each row refers only to earlier rows.
#[derive(Debug, Default)]
pub struct Lot(Vec<Part>);

#[derive(Debug)]
enum Part {
    /// A COPY statement and its data.
    Copy(String, Vec<u8>),
    Insert(Statement),
}

/// The rows that are written last, with the head of the log.
#[derive(Debug)]
pub struct End {
    head: Head,
    number: i64,
    tags: Vec<tag_name::Model>,
    picks: BTreeMap<(UserId, OwnerId), Instant>,
}

impl Load {
    /// Begins a load into a database whose log ends at this head.
    pub fn onto(store: &Store, head: Head) -> Self {
        let (backend, rows) = (store.reader.backend(), LoadRows::default());
        Self { backend, head, number: 0, tags: BTreeMap::new(), picks: BTreeMap::new(), rows }
    }

    /// Adds an incident. Its changes are added separately, its first change not before the incident.
    pub fn incident(&mut self, whole: WholeIncident) -> Result<()> {
        let WholeIncident { incident, alerts, comments, texts } = whole;
        self.number = self.number.max(incident.number);
        let rows = &mut self.rows;
        for (field, version, text) in texts {
            rows.texts.push(text::row::Model { incident_id: incident.id.0, field, version: version as i64, text });
        }
        for tag in &incident.tags {
            rows.tags.push(tag_held::Model { incident_id: incident.id.0, kind: tag.kind, key: tag.key() });
        }
        for (alert, raw, since) in alerts {
            rows.held.extend(entity::holding(&incident, &alert, since));
            rows.alert(&alert, raw)?;
        }
        for comment in comments {
            rows.revisions.push(comment::to_revision(comment.id, 1, &comment.first_text())?);
            rows.comments.push(comment::to_row(&comment)?);
        }
        rows.incidents.push(incident::to_row(&incident, None)?);
        Ok(())
    }

    /// Adds an alert that no incident holds.
    pub fn alert(&mut self, alert: &Alert, raw: Option<String>) -> Result<()> {
        self.rows.alert(alert, raw)
    }

    /// Adds the next change of the log, a change of an incident.
    pub fn change(&mut self, change: &ChangeBody) -> Result<()> {
        for entry in &change.entries {
            match entry {
                Entry::Tags { added, .. } => added.iter().try_for_each(|tag| self.tag(tag, change.at))?,
                Entry::Owner { after: Some(owner), .. } => {
                    if let ActorImage::User { id, .. } = &change.actor {
                        self.picks.insert((*id, owner.id), change.at);
                    }
                }
                _ => {}
            }
        }
        let row = self.head.append_change(change)?;
        self.rows.changes.push(row);
        Ok(())
    }

    /// Adds the next change of the log, a change of an alert that no incident holds.
    pub fn alert_change(&mut self, change: &AlertBody) -> Result<()> {
        let row = self.head.append_alert_change(change, to_json(change)?);
        self.rows.alert_changes.push(row);
        Ok(())
    }

    /// Notes a use of a tag, as a command notes it.
    fn tag(&mut self, tag: &Tag, at: Instant) -> Result<()> {
        let (name, last) = self.tags.entry((tag.kind, tag.key())).or_insert_with(|| (tag.name.clone(), at));
        if *name != tag.name {
            let both = format!("{name:?} and {:?} are one tag", tag.name);
            return Err(Error::fault("loading a tag, which has the name that it was first given", both));
        }
        if *last < at - LAST_USED_GRAIN {
            *last = at;
        }
        Ok(())
    }

    /// Takes the rows that are not written yet.
    pub fn lot(&mut self) -> Result<Lot> {
        let LoadRows { incidents, texts, tags, alerts, raws, named, held, comments, revisions, changes, alert_changes } =
            std::mem::take(&mut self.rows);
        let mut lot = Lot::default();
        lot.add::<incident::row::Entity>(self.backend, &incidents)?;
        lot.add::<text::row::Entity>(self.backend, &texts)?;
        lot.add::<tag_held::Entity>(self.backend, &tags)?;
        lot.add::<alert::row::Entity>(self.backend, &alerts)?;
        lot.add::<alert::raw::Entity>(self.backend, &raws)?;
        lot.add::<entity::named::Entity>(self.backend, &named)?;
        lot.add::<entity::held::Entity>(self.backend, &held)?;
        lot.add::<comment::row::Entity>(self.backend, &comments)?;
        lot.add::<comment::revision::Entity>(self.backend, &revisions)?;
        lot.add::<changelog::row::Entity>(self.backend, &changes)?;
        lot.add::<alert_log::row::Entity>(self.backend, &alert_changes)?;
        Ok(lot)
    }

    /// Ends the load, and returns the data to write after the last lot.
    pub fn end(self) -> End {
        let Self { head, number, tags, picks, .. } = self;
        let tag = |((kind, key), (name, last_used_at))| tag_name::Model { kind, key, name, last_used_at };
        End { head, number, tags: tags.into_iter().map(tag).collect(), picks }
    }
}

impl LoadRows {
    fn alert(&mut self, alert: &Alert, raw: Option<String>) -> Result<()> {
        self.named.extend(entity::to_rows(alert));
        self.raws.extend(raw.map(|raw| alert::raw::Model { alert_id: alert.id.0, raw: raw.into_bytes() }));
        self.alerts.push(alert::to_row(alert)?);
        Ok(())
    }
}

impl Lot {
    pub(super) fn add<E: EntityTrait>(&mut self, backend: DbBackend, models: &[E::Model]) -> Result<()> {
        let columns: Vec<E::Column> = <E::Column as sea_orm::Iterable>::iter().collect();
        let names: Vec<String> = columns.iter().map(|column| format!("\"{}\"", column.as_str())).collect();
        let into = format!("\"{}\" ({})", E::default().table_name(), names.join(", "));
        let values = |model: &E::Model| columns.iter().map(|column| model.get(*column)).collect::<Vec<Value>>();
        if models.is_empty() {
            return Ok(());
        }
        if backend == DbBackend::Postgres {
            let mut data = String::new();
            for model in models {
                copied(&mut data, &values(model))?;
            }
            self.0.push(Part::Copy(format!("COPY {into} FROM STDIN"), data.into_bytes()));
            return Ok(());
        }
        self.insert::<E>(backend, models);
        Ok(())
    }

    /// Adds rows by INSERT on both databases, for lots of a few hundred rows. PostgreSQL answers a COPY of few rows
    /// after 40 ms, because its messages wait for one another's acknowledgement.
    pub(super) fn insert<E: EntityTrait>(&mut self, backend: DbBackend, models: &[E::Model]) {
        let rows_max = if backend == DbBackend::Postgres { ROWS_PER_INSERT_POSTGRES } else { ROWS_PER_INSERT };
        let rows = models.iter().map(rows::values::<E>).collect();
        lots(rows, rows_max, |rows| self.0.push(Part::Insert(rows::insert::<E>(backend, rows))));
    }
}

/// Writes a row in the text format of COPY.
fn copied(data: &mut String, values: &[Value]) -> Result<()> {
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            data.push('\t');
        }
        // Writing to a string never fails.
        let written = match value {
            Value::Bool(Some(truth)) => write!(data, "{truth}"),
            Value::SmallInt(Some(number)) => write!(data, "{number}"),
            Value::Int(Some(number)) => write!(data, "{number}"),
            Value::BigInt(Some(number)) => write!(data, "{number}"),
            Value::Uuid(Some(id)) => write!(data, "{id}"),
            Value::ChronoDateTimeUtc(Some(at)) => write!(data, "{}", at.format("%Y-%m-%d %H:%M:%S%.6f+00")),
            Value::Bytes(Some(bytes)) => write!(data, "\\\\x{}", hex::encode(bytes)),
            Value::String(Some(text)) => {
                escaped(data, text);
                Ok(())
            }
            Value::Bool(None)
            | Value::SmallInt(None)
            | Value::Int(None)
            | Value::BigInt(None)
            | Value::Uuid(None)
            | Value::ChronoDateTimeUtc(None)
            | Value::Bytes(None)
            | Value::String(None) => write!(data, "\\N"),
            other => return Err(Error::fault("writing a row for COPY", format!("it holds {other:?}"))),
        };
        written.map_err(|error| Error::fault("writing a row for COPY", error))?;
    }
    data.push('\n');
    Ok(())
}

fn escaped(data: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\\' => data.push_str("\\\\"),
            '\n' => data.push_str("\\n"),
            '\r' => data.push_str("\\r"),
            '\t' => data.push_str("\\t"),
            c => data.push(c),
        }
    }
}

impl Store {
    /// Whether a whole desk is loaded in one transaction. SQLite's write-ahead log would become as large as the desk.
    pub fn loads_at_once(&self) -> bool {
        self.is_postgres()
    }
}

impl Tx {
    /// Begins a load: nobody else creates an incident or appends to the log until the commit. Refuses a desk that is in
    /// use, and a desk that an earlier load left incomplete.
    pub async fn begin_load(&self) -> Result<Head> {
        let number = self.lock_incident_number().await?;
        let head = self.lock_head().await?;
        if self.goes_beyond(&head).await? {
            return Err(incomplete());
        }
        for table in TABLES {
            let sql = format!("SELECT 1 FROM \"{table}\" LIMIT 1");
            if self.conn().query_one_raw(statement(self, &sql, [])).await?.is_some() {
                return Err(not_empty(table));
            }
        }
        let sql = "SELECT 1 FROM \"user\" WHERE account_key <> $1 LIMIT 1";
        let others = self.conn().query_one_raw(statement(self, sql, [LOCAL_MANAGER_ACCOUNT.into()])).await?;
        match (others, head.offset, number) {
            (None, 0, 0) => {}
            (Some(_), ..) => return Err(not_empty("user")),
            _ => return Err(not_empty("change")),
        }
        let settings = match self.conn().get_database_backend() {
            DbBackend::Sqlite => format!("PRAGMA cache_size = -{SQLITE_CACHE_KIB}"),
            // Checks each reference when its row is written. Checks that wait for the commit would take memory of the
            // server.
            _ => "SET CONSTRAINTS ALL IMMEDIATE".to_owned(),
        };
        self.conn().execute_unprepared(&settings).await?;
        Ok(head)
    }

    /// Inserts the rows of a lot.
    pub async fn write_lot(&self, lot: &Lot) -> Result<()> {
        for part in &lot.0 {
            match part {
                Part::Copy(sql, data) => self.conn().copy_in(sql, data).await?,
                Part::Insert(statement) => self.conn().execute_raw(statement.clone()).await.map(drop)?,
            }
        }
        Ok(())
    }

    /// Ends a load: writes the tags, the owners that users picked, the last incident number and, last, the head of the
    /// log.
    pub async fn end_load(&self, end: &End) -> Result<()> {
        for tags in end.tags.chunks(ROWS_PER_INSERT) {
            let rows = tags.iter().map(|row| row.clone().into_active_model().reset_all());
            tag_name::Entity::insert_many(rows).exec_without_returning(self.conn()).await?;
        }
        self.write_picks(end.picks.clone()).await?;
        self.save_incident_number(end.number).await?;
        if self.conn().get_database_backend() == DbBackend::Postgres {
            // Plans rest on statistics of the tables, and PostgreSQL has none until it collects them by itself.
            self.conn().execute_unprepared("ANALYZE").await?;
        }
        if self.lock_head().await?.offset != 0 {
            return Err(not_empty("change"));
        }
        self.move_head(&end.head).await
    }
}

impl End {
    /// Returns the end of the log.
    pub fn head(&self) -> &Head {
        &self.head
    }
}

fn not_empty(table: &str) -> Error {
    let now = json!({ "table": table });
    let message =
        format!("the desk is not empty, there are rows in its table {table}: a desk is generated into an empty one");
    Error::conflict(message, now)
}

/// Returns the error for a desk whose load was broken off.
pub fn incomplete() -> Error {
    let message = "the desk is incomplete: `watchfloor generate` was broken off before its end. Delete the database, and \
                   generate it once more";
    Error::conflict(message, json!({}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_copied_as_it_is() {
        let mut data = String::new();
        let text = "a\tb\\c\nd\re\u{8}✓ \\N \\.".to_owned();
        copied(&mut data, &[Value::String(Some(text)), Value::String(None), Value::Bytes(Some(vec![0, 255]))]).unwrap();
        assert_eq!(data, "a\\tb\\\\c\\nd\\re\u{8}✓ \\\\N \\\\.\t\\N\t\\\\x00ff\n");
    }
}
