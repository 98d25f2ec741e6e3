//! The pauses before the desk tries again. Jitter spreads them: commands, streams and nodes that failed at one moment do
//! not come back at one moment.

use std::time::Duration;

use backon::{BackoffBuilder, ConstantBuilder, ExponentialBuilder};
use tokio::time::sleep;

/// The pauses of a transaction that another transaction disturbed: five, of 7 to 14 ms first, each about twice as long
/// as the pause before it. After the sixth try the caller gets the error that the desk is busy.
pub(super) const BUSY: ExponentialBuilder =
    ExponentialBuilder::new().with_min_delay(Duration::from_millis(7)).with_max_times(5).with_jitter();

/// The pauses of work that a database did not do because it was busy or did not answer: 350 to 700 ms each, without end.
pub const UNANSWERED: ConstantBuilder =
    ConstantBuilder::new().with_delay(Duration::from_millis(350)).without_max_times().with_jitter();

/// Waits before the next try of work that never ends.
pub async fn pause_unanswered() {
    sleep(UNANSWERED.build().next().unwrap_or_default()).await;
}
