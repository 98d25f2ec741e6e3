//! Wake-ups between nodes over PostgreSQL's NOTIFY: tells the other nodes of commits, and wakes the relay at their
//! messages.
//!
//! A message may be lost, and the LISTEN connection (the line) may die unnoticed. So only speed depends on it: the
//! relay also reads at each tick, and the tick is short while the connection is not known to work. A node receives its
//! own messages too. After a quiet time it sends a message as a heartbeat and must receive it. All nodes hear that
//! heartbeat, so many idle nodes send no more of them than one node.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant as Deadline, sleep_until};
use tracing::{info, warn};

use super::Hub;
use crate::domain::{Error, Result};
use crate::storage::{Store, Word, pause_unanswered};

/// The least time between two messages of a node: commits within it share one message. The first is sent at once.
const SAY_EVERY: Duration = Duration::from_millis(5);

/// After so long without any message, this node tests the LISTEN connection with a heartbeat. A connection that died
/// unnoticed is trusted for this time plus [`HEARD_WITHIN`].
const QUIET: Duration = Duration::from_secs(2);

/// The deadline of a heartbeat. It normally takes milliseconds; a slower connection is useless even if it works.
const HEARD_WITHIN: Duration = Duration::from_secs(2);

/// Keeps a LISTEN connection open; never returns.
pub(super) async fn run(store: Store, hub: Arc<Hub>) {
    let mut told = false;
    loop {
        let Err(error) = keep(&store, &hub, &mut told).await else { continue };
        hub.line_is_whole(false);
        if !std::mem::replace(&mut told, true) {
            let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            warn!(cause, "the line to other nodes is lost: what they commit is looked for, which takes longer");
        }
        pause_unanswered().await;
    }
}

async fn keep(store: &Store, hub: &Hub, told: &mut bool) -> Result<()> {
    let mut line = store.open_line(hub.known().end.epoch).await?;
    // Until the first message comes back, the connection is not known to work.
    line.say(word(hub)).await?;
    let (mut awaited, mut until, mut free) = (true, Deadline::now() + HEARD_WITHIN, Deadline::now());
    loop {
        tokio::select! {
            heard = line.hear() => {
                let heard = heard?;
                if hub.line_is_whole(true) && std::mem::replace(told, false) {
                    info!("the line to other nodes is whole again");
                }
                (awaited, until) = (false, Deadline::now() + QUIET);
                if heard.offset > hub.head() || heard.accounts > hub.accounts() {
                    hub.wake();
                }
            }
            () = async { sleep_until(free).await; hub.to_tell.notified().await } => {
                line.say(word(hub)).await?;
                free = Deadline::now() + SAY_EVERY;
            }
            () = sleep_until(until) => {
                if awaited {
                    store.doubt();
                    return Err(Error::fault("listening to the other nodes", "a word of our own did not come back"));
                }
                line.say(word(hub)).await?;
                (awaited, until) = (true, Deadline::now() + HEARD_WITHIN);
            }
        }
    }
}

fn word(hub: &Hub) -> Word {
    Word { offset: hub.present(), accounts: hub.accounts() }
}
