//! The end of the log and the changes after a position, in one statement.
//!
//! The relay reads it after each commit, and each message to the database delays the frame of a client. One statement
//! sees one snapshot, so no transaction has to be begun or ended.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::{ConnectionTrait, DbErr, QueryResult, Value};

use super::log_head::{Head, found_head_in, hash_of};
use super::transaction::Purpose;
use super::{Reader, Store, fault, statement};
use crate::domain::alert_log::{AlertChange, Logged};
use crate::domain::chain::check;
use crate::domain::change::Change;
use crate::domain::position::Position;
use crate::domain::{Error, Result};

/// The part of a log after a position.
#[derive(Clone, Debug)]
pub struct LogBeyond {
    /// The end of the log.
    pub head: Head,
    /// The next changes, ascending. `None` if a change is missing, because positions are dense.
    pub changes: Option<Vec<Logged>>,
}

impl Store {
    /// Reads the end of the log and the changes after a position, at most `limit`. Returns none if the log does not
    /// contain the position: it is shorter, it was restored, or it is on a standby that had not received its end.
    ///
    /// On PostgreSQL an answer that misses the deadline `bound` makes every connection suspect.
    pub async fn log_beyond(&self, place: &Position, limit: u64, bound: Duration) -> Result<Option<LogBeyond>> {
        let conn = self.begin(Purpose::Follow, bound).await?;
        let reader = Reader { conn: Arc::new(conn), _pass: None };
        match reader.rows_beyond(place, limit).await {
            Ok(rows) => beyond(place, limit, &rows),
            // The connection broke off while it was idle in the pool. A transaction tries the other connections.
            Err(error) if fault::is_lost(&error) || fault::is_unclean(&error) => {
                drop(reader);
                let reader = self.read_within(bound).await?;
                beyond(place, limit, &reader.rows_beyond(place, limit).await?)
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Reader {
    async fn rows_beyond(&self, place: &Position, limit: u64) -> Result<Vec<QueryResult>, DbErr> {
        let next = |table: &str, of_alert: i64| {
            format!(
                "SELECT position, hash, body, {of_alert} AS of_alert FROM (
                    SELECT position, hash, body FROM \"{table}\" WHERE position > $1 ORDER BY position LIMIT {limit}
                 ) AS next_{of_alert}"
            )
        };
        // The start of the log has no change whose hash could be compared.
        let known = match place.offset {
            0 => "$3 = $3".to_owned(),
            _ => {
                let is_in = |table: &str| {
                    format!("EXISTS (SELECT 1 FROM \"{table}\" WHERE position = $1 AND substr(hash, 1, 8) = $3)")
                };
                format!("({} OR {})", is_in("change"), is_in("alert_change"))
            }
        };
        let sql = format!(
            "SELECT \"log_head\".id AS head_id, \"log_head\".epoch AS head_epoch, \"log_head\".\"position\" AS head_position,
                \"log_head\".hash AS head_hash, \"log_head\".floor AS head_floor, \"log_head\".accounts AS head_accounts,
                next.position, next.hash, next.body, next.of_alert
             FROM \"log_head\" LEFT JOIN ({} UNION ALL {}) AS next ON next.position <= \"log_head\".\"position\"
             WHERE \"log_head\".id = 1 AND \"log_head\".\"position\" >= $1 AND \"log_head\".epoch = $2 AND {known}
             ORDER BY next.position",
            next("change", 0),
            next("alert_change", 1),
        );
        let values: [Value; 3] = [(place.offset as i64).into(), place.epoch.into(), place.check.to_vec().into()];
        self.conn().query_all_raw(statement(self, &sql, values)).await
    }
}

fn beyond(place: &Position, limit: u64, rows: &[QueryResult]) -> Result<Option<LogBeyond>> {
    let Some(first) = rows.first() else { return Ok(None) };
    let head = found_head_in(first, "head_")?;
    let end = std::cmp::min(head.offset, place.offset.saturating_add(limit));
    let changes = rows.iter().filter_map(|row| change(row).transpose());
    // Up to `limit` rows of each table were read, so rows beyond the end may have gaps.
    let changes: Vec<Logged> = changes
        .take_while(|change| change.as_ref().map_or(true, |change| change.offset() <= end))
        .collect::<Result<_>>()?;
    let dense = changes.iter().map(Logged::offset).eq(place.offset + 1..=end);
    Ok(Some(LogBeyond { head, changes: dense.then_some(changes) }))
}

/// Returns the change of a row, or none if the log ends at the position.
fn change(row: &QueryResult) -> Result<Option<Logged>> {
    let get = |error: DbErr| Error::from(error);
    let Some(position) = row.try_get::<Option<i64>>("", "position").map_err(get)? else { return Ok(None) };
    let hash: Vec<u8> = row.try_get("", "hash").map_err(get)?;
    let body: String = row.try_get("", "body").map_err(get)?;
    let (offset, check) = (position as u64, check(&hash_of(&hash)?));
    Ok(Some(match row.try_get::<i32>("", "of_alert").map_err(get)? {
        0 => Logged::Incident(Arc::new(Change::read(offset, check, &body)?)),
        _ => Logged::Alert(Arc::new(AlertChange::read(offset, check, &body)?)),
    }))
}
