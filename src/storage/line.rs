//! LISTEN and NOTIFY between the nodes on one PostgreSQL. Each node has one connection for it that does nothing else.
//!
//! A message is only a hint to look at the log, so a node that missed it loses nothing. No message is sent in a
//! transaction that writes, because PostgreSQL commits such transactions one after the other in the whole cluster.

use std::time::Duration;

use sea_orm::sqlx::postgres::{PgListener, PgPoolOptions};
use sea_orm::{DbBackend, sqlx};
use tokio::time::timeout;
use uuid::Uuid;

use super::Store;
use super::bounded::{self, Doubt, PING};
use super::connect::postgres;
use crate::domain::{Error, Result};

/// The timeout for opening the LISTEN connection.
const OPENING: Duration = Duration::from_secs(5);

/// A NOTIFY message: how far the log reached when the node sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// The offset of the newest change.
    pub offset: u64,
    /// How often users, groups or members were changed.
    pub accounts: u64,
}

/// An open LISTEN connection. A node also receives its own messages.
pub struct ListenLine {
    listener: PgListener,
    channel: String,
}

impl Store {
    /// Whether nodes may share this database and wake each other.
    pub fn has_line(&self) -> bool {
        self.options.notify && self.is_postgres()
    }

    /// Opens the LISTEN connection of a log. The channel carries the log's epoch, so two desks in two schemas of one
    /// database, or in two databases, do not wake each other.
    pub async fn open_line(&self, epoch: Uuid) -> Result<ListenLine> {
        let opening = async {
            // Suspicion of other connections must not end this one.
            let alone = bounded::watchful(PgPoolOptions::new(), &Doubt::default());
            let alone = alone.max_connections(1).acquire_timeout(OPENING).test_before_acquire(false);
            let pool = alone.connect_with(postgres(&self.options)?).await.map_err(lost)?;
            let mut listener = PgListener::connect_with(&pool).await.map_err(lost)?;
            // The driver must not reconnect silently, because messages sent meanwhile would be missed.
            listener.eager_reconnect(false);
            listener.ignore_pool_close_event(true);
            let channel = format!("watchfloor_{}", epoch.simple());
            listener.listen(&channel).await.map_err(lost)?;
            Ok(ListenLine { listener, channel })
        };
        timeout(OPENING, opening).await.map_err(|_| lost("it does not answer"))?
    }

    pub(super) fn is_postgres(&self) -> bool {
        self.writer.backend() == DbBackend::Postgres
    }
}

impl ListenLine {
    /// Sends a message to every node, this node included.
    pub async fn say(&mut self, word: Word) -> Result<()> {
        let text = format!("{} {}", word.offset, word.accounts);
        let said = sqlx::query("SELECT pg_notify($1, $2)").bind(&self.channel).bind(text).execute(&mut self.listener);
        timeout(PING, said).await.map_err(|_| lost("it does not answer"))?.map_err(lost)?;
        Ok(())
    }

    /// Returns the next message. A wait that is dropped loses no message. A lost connection is an error.
    ///
    /// A dropped `ListenLine` sends `UNLISTEN`. If the server does not answer, TCP closes the connection after a
    /// quarter of an hour.
    pub async fn hear(&mut self) -> Result<Word> {
        let heard = self.listener.try_recv().await.map_err(lost)?.ok_or_else(|| lost("the connection broke off"))?;
        // A later version may send text that this version cannot read: it is only a sign of life.
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
