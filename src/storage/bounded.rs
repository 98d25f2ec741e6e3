//! An end for answers that never come: whoever is cut off without a word (a firewall that forgot the connection, a machine
//! without power) gets no error, and the driver of PostgreSQL knows no timeout.
//!
//! Every statement and every commit has a bound. Once one was not answered, every connection that is older is in doubt, and
//! is replaced when it is asked for, not tried: a pool of dead connections costs one wait, not one each.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sea_orm::sqlx::{self, AssertSqlSafe};
use sea_orm::{DbErr, RuntimeErr};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::interrupt::CLIENT_LOOK;

/// A little longer than PostgreSQL itself lets a statement run: past this it is not slow, it is gone.
pub(super) const ANSWER: Duration = Duration::from_secs(65);

/// How long a statement may go on whose connection is in doubt: it may be a slow one on a busy server.
const GRACE: Duration = Duration::from_secs(10);

/// How long the least question may take, one that touches no row.
pub(super) const PING: Duration = Duration::from_secs(5);

/// How long it may take to be given a connection where nobody else waits for one, and to begin on it: longer than [`PING`],
/// so that a dead one that lay in the pool is found out, and puts the others in doubt.
pub(super) const CONNECTED: Duration = Duration::from_secs(6);

/// A connection that lay idle for less is not asked whether it lives: it just has answered.
pub(super) const IDLE_TRUSTED: Duration = Duration::from_secs(1);

/// When the database last failed to answer.
#[derive(Clone, Debug)]
pub(super) struct Doubt(Arc<watch::Sender<Option<Instant>>>);

impl Default for Doubt {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Doubt {
    /// Something was not answered: whatever connections there are may be dead.
    pub(super) fn raise(&self) {
        self.0.send_replace(Some(Instant::now()));
    }

    /// Whether a connection of this age is in doubt.
    pub(super) fn covers(&self, age: Duration) -> bool {
        self.0.borrow().is_some_and(|raised| raised.elapsed() < age)
    }

    /// Resolves when doubt is raised from now on.
    pub(super) async fn raised(&self) {
        // The sender lives as long as `self`, so the wait has no other end.
        self.0.subscribe().changed().await.ok();
    }

    /// What comes of a question that has so long to be answered.
    pub(super) async fn bound<T>(
        &self,
        bound: Duration,
        answer: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, DbErr> {
        tokio::select! {
            biased;
            answer = answer => return answer,
            () = sleep(bound) => self.raise(),
            // Somebody else's doubt: to raise it once more would cover connections that are new since.
            () = async { self.raised().await; sleep(GRACE).await } => {}
        }
        Err(unanswered())
    }
}

/// What a caller is told who waited long enough; it reads as a connection that broke off.
pub(super) fn unanswered() -> DbErr {
    let error = io::Error::new(io::ErrorKind::TimedOut, "the database does not answer");
    DbErr::Conn(RuntimeErr::SqlxError(Arc::new(sqlx::Error::Io(error))))
}

type Options = sqlx::pool::PoolOptions<sqlx::Postgres>;

/// A pool of PostgreSQL that waits for no dead connection, and takes none to a server that only follows another: there the
/// log may end before what this node has seen.
pub(super) fn watchful(options: Options, doubt: &Doubt) -> Options {
    let (taken, returned) = (doubt.clone(), doubt.clone());
    options
        .after_connect(|conn, _| {
            Box::pin(async move {
                match is_standby(conn).await? {
                    true => {
                        Err(sqlx::Error::Io(io::Error::other("the server is a standby, which cannot be written to")))
                    }
                    false => {
                        let look = format!("SET client_connection_check_interval = '{CLIENT_LOOK}'");
                        if let Err(error) = sqlx::raw_sql(AssertSqlSafe(look)).execute(&mut *conn).await {
                            debug!(%error, "PostgreSQL goes on with statements that nobody waits for, up to their time");
                        }
                        Ok(())
                    }
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
            // Whether it lives is asked by the pool, for as long as `kept.rs` lets it.
            let in_doubt = returned.covers(meta.age);
            Box::pin(async move { Ok(!in_doubt) })
        })
}

/// Whether the server follows another one.
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
