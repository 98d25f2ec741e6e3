//! Wake-ups between nodes: says on the line when this node has committed, and wakes the relay when another says so.
//!
//! A word may be lost, and the line may die without a sign, so nothing depends on it but speed: the relay's tick is the
//! net, and it is short whenever the line is not known to be whole. It is known to be whole by what is heard: whoever
//! speaks hears itself, so a node that has heard nothing for a while speaks, and must hear that. One such word is heard by
//! all, so that many nodes that rest say no more than one.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant as Deadline, sleep, sleep_until};
use tracing::{info, warn};

use super::Hub;
use crate::domain::{Error, Result};
use crate::storage::{Store, Word};

/// A node says at most one word in this time: commits that come closer together are one. The first is said at once.
const SAY_EVERY: Duration = Duration::from_millis(5);

/// After so long without a word from anybody, this node asks whether the line is whole. With [`HEARD_WITHIN`] it is how
/// long a line that died without a sign is trusted.
const QUIET: Duration = Duration::from_secs(2);

/// A word comes back within milliseconds; a line that takes longer is of no use, even if it is whole.
const HEARD_WITHIN: Duration = Duration::from_secs(2);

/// Between two tries to open the line.
const PAUSE: Duration = Duration::from_millis(500);

/// Keeps the line, for ever.
pub(super) async fn run(store: Store, hub: Arc<Hub>) {
    let mut told = false;
    loop {
        let Err(error) = keep(&store, &hub, &mut told).await else { continue };
        hub.line_is_whole(false);
        if !std::mem::replace(&mut told, true) {
            let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            warn!(cause, "the line to other nodes is lost: what they commit is looked for, which takes longer");
        }
        sleep(PAUSE).await;
    }
}

async fn keep(store: &Store, hub: &Hub, told: &mut bool) -> Result<()> {
    let mut line = store.open_line(hub.known().end.epoch).await?;
    // Whether it is whole is not known before a word came back.
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
