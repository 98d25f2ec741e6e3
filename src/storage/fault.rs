//! What a driver's error means: for the caller, for the connection, and for what was being committed.

use sea_orm::{DbErr, RuntimeErr, sqlx};
use tracing::{debug, warn};

use super::interrupt::TooLong;
use crate::domain::Error;

/// What a caller reads whose request met a database that went away. Nothing was changed.
pub(super) const CONNECTION_LOST: &str = "the desk lost its database, try again";

/// What a caller reads who has waited long enough for a connection or a transaction.
pub(super) const DESK_BUSY: &str = "the desk is busy, try again";

/// What a caller reads whose change was being committed at that moment, where the database cannot say what became of it.
pub(super) const COMMIT_UNKNOWN: &str =
    "the desk lost its database while it saved this: it may be done or not, look before you try again";

/// What a caller reads whose change the database rolled back when it was told to commit it.
pub(super) const TAKEN_BACK: &str = "the database did not keep this: nothing was changed, try again";

/// Why a database takes no writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoWrites {
    /// Its disk is full.
    Full,
    /// Its disk answers with errors.
    Broken,
    /// It may only be read.
    ReadOnly,
    /// It is out of memory, connections or another resource.
    Exhausted,
}

impl NoWrites {
    /// In product words.
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
    /// What a driver says, as the desk says it: busy and broken-off transactions may be tried again, a lost connection and a
    /// full disk are nobody's fault here, the rest are faults.
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
            // A write's is told once, where it becomes the desk's trouble.
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

/// Whether a statement was ended by its time, or because nobody waits for it: SQLite's INTERRUPT, PostgreSQL's
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

/// The code of an answer. PostgreSQL's has five characters; SQLite's is a number of at most four digits.
fn code(error: &DbErr) -> Option<String> {
    match driver_error(error) {
        Some(sqlx::Error::Database(error)) => error.code().map(|code| code.into_owned()),
        _ => None,
    }
}

/// SQLite's primary code: the lowest eight bits say the kind, the others its details.
fn sqlite_code(error: &DbErr) -> Option<u32> {
    let code = code(error).filter(|code| code.len() < 5)?;
    code.parse::<u32>().ok().map(|code| code & 0xff)
}

pub(super) fn is_transient(error: &DbErr) -> bool {
    if matches!(error, DbErr::ConnectionAcquire(_)) {
        return true;
    }
    // PostgreSQL: serialisation failure, deadlock, lock timeout. SQLite: BUSY, LOCKED, BUSY_SNAPSHOT. And a key that
    // another transaction took first (both): tried again, the command sees that row and decides anew.
    matches!(code(error).as_deref(), Some("40001" | "40P01" | "55P03" | "5" | "6" | "517" | "23505" | "1555" | "2067"))
}

/// Whether the connection is gone: broken off, or ended by PostgreSQL (class 08, connection exceptions; class 57P, it is
/// being stopped, has crashed or starts; 25P03, it was left open in a transaction).
pub(super) fn is_lost(error: &DbErr) -> bool {
    match driver_error(error) {
        Some(sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed) => true,
        _ => code(error).is_some_and(|code| {
            code.len() == 5 && (code.starts_with("08") || code.starts_with("57P") || code == "25P03")
        }),
    }
}

/// Whether a connection was given back in a transaction, and says so when the next one begins. (SQLite; PostgreSQL only warns,
/// and begins nothing.) It cannot happen by this desk's own hand.
pub(super) fn is_unclean(error: &DbErr) -> bool {
    sqlite_code(error) == Some(1)
}

/// Why the database takes no writes, if the error says so. PostgreSQL: disk full, the rest of class 53 (resources), and a
/// transaction that may only read. SQLite: FULL; IOERR and CANTOPEN; READONLY and PERM; NOMEM.
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

/// Whether a transaction is still there after the error, so that it can be rolled back. PostgreSQL keeps it, aborted. SQLite
/// keeps it unless the error is one of those at which it may roll back by itself: NOMEM, INTERRUPT, IOERR, CORRUPT, FULL.
pub(super) fn leaves_transaction(error: &DbErr) -> bool {
    match sqlite_code(error) {
        Some(code) => !matches!(code, 7 | 9 | 10 | 11 | 13),
        None => code(error).is_some() && !is_lost(error),
    }
}

/// Whether an answer to COMMIT says that nothing was committed. Only SQLite's BUSY and LOCKED (the transaction goes on), its
/// refusal of what breaks a constraint, and FULL (a frame of the write-ahead log was not written, and the last one makes the
/// commit) are that clear. After any other error the log's last frame may be whole on the disk, though SQLite does not
/// count it; PostgreSQL is asked for the status in any case.
pub(super) fn is_refused_commit(error: &DbErr) -> bool {
    matches!(sqlite_code(error), Some(5 | 6 | 13 | 19))
}
