//! Deadlines for answers that never come. A connection that is cut off silently (a firewall forgot it, a machine lost
//! power) gives no error, and the driver of PostgreSQL has no timeout.
//!
//! Every statement and commit has a deadline. After a missed deadline every older connection is suspect. A suspect
//! connection is replaced before use, without a ping: a pool of dead connections costs one wait, not one wait for each.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sea_orm::sqlx::{self, AssertSqlSafe};
use sea_orm::{DbErr, RuntimeErr};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::interrupt::CLIENT_LOOK;

/// The usual deadline, a little over PostgreSQL's own statement timeout. After it the connection is not slow but dead.
pub(super) const ANSWER: Duration = Duration::from_secs(65);

/// How long a statement on a suspect connection may still take, because it may be a slow statement on a busy server.
const GRACE: Duration = Duration::from_secs(10);

/// The deadline of the smallest question, which reads no row.
pub(super) const PING: Duration = Duration::from_secs(5);

/// The deadline for getting a connection and beginning on it while no other request waits for a connection. It exceeds
/// [`PING`], so that a ping finds a dead connection of the pool first, and makes the others suspect.
pub(super) const CONNECTED: Duration = Duration::from_secs(6);

/// A connection that was idle for less is not pinged, because it has just answered.
pub(super) const IDLE_TRUSTED: Duration = Duration::from_secs(1);

/// The suspicion that connections are dead: the time of the last missed deadline, if any. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Doubt(Arc<watch::Sender<Option<Instant>>>);

impl Default for Doubt {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Doubt {
    /// Records a missed deadline: every present connection may be dead.
    pub(super) fn raise(&self) {
        self.0.send_replace(Some(Instant::now()));
    }

    /// Whether a connection of this age is suspect.
    pub(super) fn covers(&self, age: Duration) -> bool {
        self.0.borrow().is_some_and(|raised| raised.elapsed() < age)
    }

    /// Waits until a doubt is raised after this call.
    pub(super) async fn raised(&self) {
        // The sender lives as long as `self`, so the wait has no other end.
        self.0.subscribe().changed().await.ok();
    }

    /// Waits for an answer up to a deadline. Raises the doubt if the deadline is missed.
    pub(super) async fn bound<T>(
        &self,
        bound: Duration,
        answer: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, DbErr> {
        tokio::select! {
            biased;
            answer = answer => return answer,
            () = sleep(bound) => self.raise(),
            // Another task raised the doubt. Raising it again would make newer connections suspect.
            () = async { self.raised().await; sleep(GRACE).await } => {}
        }
        Err(unanswered())
    }
}

/// Returns the error of a missed deadline. It looks like a lost connection.
pub(super) fn unanswered() -> DbErr {
    let error = io::Error::new(io::ErrorKind::TimedOut, "the database does not answer");
    DbErr::Conn(RuntimeErr::SqlxError(Arc::new(sqlx::Error::Io(error))))
}

type Options = sqlx::pool::PoolOptions<sqlx::Postgres>;

/// Sets up a pool of PostgreSQL that uses no suspect connection, and no connection to a standby: the log of a standby
/// may end before changes that this node has seen.
pub(super) fn watchful(options: Options, doubt: &Doubt) -> Options {
    let (taken, returned) = (doubt.clone(), doubt.clone());
    options
        .after_connect(|conn, _| {
            Box::pin(async move {
                if is_standby(conn).await? {
                    Err(sqlx::Error::Io(io::Error::other("the server is a standby, which cannot be written to")))
                } else {
                    let look = format!("SET client_connection_check_interval = '{CLIENT_LOOK}'");
                    if let Err(error) = sqlx::raw_sql(AssertSqlSafe(look)).execute(&mut *conn).await {
                        debug!(%error, "PostgreSQL goes on with statements that nobody waits for, up to their time");
                    }
                    Ok(())
                }
            })
        })
        .before_acquire(move |conn, meta| {
            let doubt = taken.clone();
            Box::pin(async move {
                if doubt.covers(meta.age) {
                    return Ok(false);
                }
                Ok(meta.idle_for < IDLE_TRUSTED || answers(conn, &doubt).await)
            })
        })
        .after_release(move |_, meta| {
            // The pool pings it next, with the timeout of `kept.rs`.
            let in_doubt = returned.covers(meta.age);
            Box::pin(async move { Ok(!in_doubt) })
        })
}

/// Whether the server is a standby.
pub(super) async fn is_standby(conn: &mut sqlx::PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(conn).await
}

async fn answers(conn: &mut sqlx::PgConnection, doubt: &Doubt) -> bool {
    match timeout(PING, sqlx::Connection::ping(conn)).await {
        Ok(answer) => answer.is_ok(),
        Err(_) => {
            doubt.raise();
            false
        }
    }
}
