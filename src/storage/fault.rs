//! Classifies a driver's error: for the caller, for the connection, and for the transaction that was being committed.

use sea_orm::{DbErr, RuntimeErr, sqlx};
use tracing::{debug, warn};

use super::interrupt::TooLong;
use crate::domain::Error;

/// The message for a request that lost its database connection. Nothing was changed.
pub(super) const CONNECTION_LOST: &str = "the desk lost its database, try again";

/// The message for a request that has waited too long for a connection or a transaction.
pub(super) const DESK_BUSY: &str = "the desk is busy, try again";

/// The message for a change whose commit has an unknown outcome.
pub(super) const COMMIT_UNKNOWN: &str =
    "the desk lost its database while it saved this: it may be done or not, look before you try again";

/// The message for a change that the database rolled back instead of committing it.
pub(super) const TAKEN_BACK: &str = "the database did not keep this: nothing was changed, try again";

/// The reason why a database takes no writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoWrites {
    /// Its disk is full.
    Full,
    /// Its disk returns errors.
    Broken,
    /// It is read-only.
    ReadOnly,
    /// It has no memory, connections or other resources left.
    Exhausted,
}

impl NoWrites {
    /// Returns the message for the caller, in product words.
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::Full => "the disk of the database is full: nothing was changed, try again when there is room",
            Self::Broken => "the disk of the database answers with errors: nothing was changed, try again later",
            Self::ReadOnly => "the database may only be read now: nothing was changed, try again later",
            Self::Exhausted => "the database is out of resources: nothing was changed, try again later",
        }
    }
}

impl From<DbErr> for Error {
    /// Maps a driver's error. Conflicts and broken-off transactions become `Busy` and may be retried; a lost
    /// connection, a timeout and a database that takes no writes become refusals; the rest become faults.
    fn from(error: DbErr) -> Self {
        if is_transient(&error) {
            return Self::Busy;
        }
        if is_lost(&error) {
            warn!(%error, "a connection to the database broke off");
            return Self::unavailable(CONNECTION_LOST);
        }
        if let Some(too_long) = too_long(&error) {
            return too_long.refusal();
        }
        if let Some(why) = no_writes(&error) {
            // A failed write is logged when the outage begins.
            debug!(%error, "the database refuses");
            return Self::unavailable(why.message());
        }
        Self::fault("speaking to the database", error)
    }
}

fn driver_error(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => Some(error),
        _ => None,
    }
}

/// Whether a statement was ended by its timeout or because nobody waits for it: SQLite's INTERRUPT, PostgreSQL's
/// `query_canceled`.
pub(super) fn is_interrupted(error: &DbErr) -> bool {
    sqlite_code(error) == Some(9) || code(error).as_deref() == Some("57014")
}

fn too_long(error: &DbErr) -> Option<TooLong> {
    match driver_error(error)? {
        sqlx::Error::AnyDriverError(error) => error.downcast_ref::<TooLong>().copied(),
        _ => None,
    }
}

impl From<TooLong> for DbErr {
    fn from(too_long: TooLong) -> Self {
        Self::Query(RuntimeErr::SqlxError(sqlx::Error::AnyDriverError(Box::new(too_long)).into()))
    }
}

/// Returns the error code. PostgreSQL's code has five characters; SQLite's code is a number of at most four digits.
fn code(error: &DbErr) -> Option<String> {
    match driver_error(error) {
        Some(sqlx::Error::Database(error)) => error.code().map(|code| code.into_owned()),
        _ => None,
    }
}

/// Returns SQLite's primary code: the lowest eight bits. The other bits hold details.
fn sqlite_code(error: &DbErr) -> Option<u32> {
    let code = code(error).filter(|code| code.len() < 5)?;
    code.parse::<u32>().ok().map(|code| code & 0xff)
}

pub(super) fn is_transient(error: &DbErr) -> bool {
    if matches!(error, DbErr::ConnectionAcquire(_)) {
        return true;
    }
    // PostgreSQL: serialisation failure, deadlock, lock timeout. SQLite: BUSY, LOCKED, BUSY_SNAPSHOT. Both: a unique
    // key that another transaction took first. In the next try the command sees the other row and decides anew.
    matches!(code(error).as_deref(), Some("40001" | "40P01" | "55P03" | "5" | "6" | "517" | "23505" | "1555" | "2067"))
}

/// Whether the connection is lost. PostgreSQL: class 08 (connection exceptions), class 57P (the server stops, has
/// crashed or starts), 25P03 (the transaction was idle for too long).
pub(super) fn is_lost(error: &DbErr) -> bool {
    match driver_error(error) {
        Some(sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed) => true,
        _ => code(error).is_some_and(|code| {
            code.len() == 5 && (code.starts_with("08") || code.starts_with("57P") || code == "25P03")
        }),
    }
}

/// Whether BEGIN failed because the connection was still in a transaction (SQLite; PostgreSQL only warns, and begins
/// nothing). The desk's own code cannot cause it.
pub(super) fn is_unclean(error: &DbErr) -> bool {
    sqlite_code(error) == Some(1)
}

/// Returns the reason why the database takes no writes, if the error gives one. PostgreSQL: disk full, I/O error, the
/// rest of class 53 (resources), read-only transaction. SQLite: FULL; IOERR and CANTOPEN; READONLY and PERM; NOMEM.
pub(super) fn no_writes(error: &DbErr) -> Option<NoWrites> {
    match (code(error)?.as_str(), sqlite_code(error)) {
        ("53100", _) | (_, Some(13)) => Some(NoWrites::Full),
        ("58030", _) | (_, Some(10 | 14)) => Some(NoWrites::Broken),
        ("25006", _) | (_, Some(8 | 3)) => Some(NoWrites::ReadOnly),
        (_, Some(7)) => Some(NoWrites::Exhausted),
        (code, None) if code.starts_with("53") => Some(NoWrites::Exhausted),
        _ => None,
    }
}

/// Whether the transaction still exists after the error and can be rolled back. PostgreSQL keeps it, aborted. SQLite
/// keeps it except after errors at which it may roll back by itself: NOMEM, INTERRUPT, IOERR, CORRUPT, FULL.
pub(super) fn leaves_transaction(error: &DbErr) -> bool {
    match sqlite_code(error) {
        Some(code) => !matches!(code, 7 | 9 | 10 | 11 | 13),
        None => code(error).is_some() && !is_lost(error),
    }
}

/// Whether an answer to COMMIT proves that nothing was committed. Only SQLite's BUSY and LOCKED (the transaction goes
/// on), a violated constraint and FULL (a frame of the write-ahead log was not written, and the last frame makes the
/// commit) prove it. After any other error the last frame may be whole on the disk, though SQLite does not count it.
/// PostgreSQL is asked for the status in any case.
pub(super) fn is_refused_commit(error: &DbErr) -> bool {
    matches!(sqlite_code(error), Some(5 | 6 | 13 | 19))
}
