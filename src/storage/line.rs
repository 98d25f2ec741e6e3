//! The line between the nodes of one PostgreSQL: LISTEN and NOTIFY, on one connection of its own, for nothing but "look".
//!
//! What is said is never more than a hint: the log is the truth, and whoever missed a word finds it there. Nothing is said
//! inside a transaction that writes: PostgreSQL lets all those that do commit one after the other, in the whole cluster.

use std::time::Duration;

use sea_orm::sqlx::postgres::{PgListener, PgPoolOptions};
use sea_orm::{DbBackend, sqlx};
use tokio::time::timeout;
use uuid::Uuid;

use super::Store;
use super::bounded::{self, Doubt, PING};
use super::connect::postgres;
use crate::domain::{Error, Result};

/// How long the line may take to be opened.
const OPENING: Duration = Duration::from_secs(5);

/// What a node says: how far the log reached when it spoke.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// The offset of the newest change.
    pub offset: u64,
    /// How often users, groups or members were changed.
    pub accounts: u64,
}

/// The line, open. Whoever speaks hears it too.
pub struct Line {
    listener: PgListener,
    channel: String,
}

impl Store {
    /// Whether nodes may share this database, and wake each other.
    pub fn has_line(&self) -> bool {
        self.options.notify && self.is_postgres()
    }

    /// Opens the line of a log. Its name is the log's, so that two desks in two schemas of one database, or in two
    /// databases, do not wake each other.
    pub async fn open_line(&self, epoch: Uuid) -> Result<Line> {
        let opening = async {
            // No doubt of other connections ends this one, which is asked for by itself.
            let alone = bounded::watchful(PgPoolOptions::new(), &Doubt::default());
            let alone = alone.max_connections(1).acquire_timeout(OPENING).test_before_acquire(false);
            let pool = alone.connect_with(postgres(&self.options)?).await.map_err(lost)?;
            let mut listener = PgListener::connect_with(&pool).await.map_err(lost)?;
            // One that is lost is told, not replaced behind our back: what was said meanwhile must be looked for.
            listener.eager_reconnect(false);
            listener.ignore_pool_close_event(true);
            let channel = format!("watchfloor_{}", epoch.simple());
            listener.listen(&channel).await.map_err(lost)?;
            Ok(Line { listener, channel })
        };
        timeout(OPENING, opening).await.map_err(|_| lost("it does not answer"))?
    }

    pub(super) fn is_postgres(&self) -> bool {
        self.writer.backend() == DbBackend::Postgres
    }
}

impl Line {
    /// Says a word to every node, this one as well.
    pub async fn say(&mut self, word: Word) -> Result<()> {
        let text = format!("{} {}", word.offset, word.accounts);
        let said = sqlx::query("SELECT pg_notify($1, $2)").bind(&self.channel).bind(text).execute(&mut self.listener);
        timeout(PING, said).await.map_err(|_| lost("it does not answer"))?.map_err(lost)?;
        Ok(())
    }

    /// The next word that is said; dropped before there is one, it loses none. The end of the line is an error.
    ///
    /// Dropped, a line says `UNLISTEN` on its way out; if nobody answers, TCP gives that up after a quarter of an hour.
    pub async fn hear(&mut self) -> Result<Word> {
        let heard = self.listener.try_recv().await.map_err(lost)?.ok_or_else(|| lost("the connection broke off"))?;
        // A later version may say more than this one understands: then it is a sign of life.
        Ok(read(heard.payload()).unwrap_or_default())
    }
}

fn read(text: &str) -> Option<Word> {
    let mut numbers = text.split(' ').map(|number| number.parse().ok());
    Some(Word { offset: numbers.next()??, accounts: numbers.next()?? })
}

fn lost(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::fault("listening to the other nodes", cause)
}
