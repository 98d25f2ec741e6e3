//! How long the tests wait for what must come, and how they look for it.

use std::time::Duration;

/// How long a test waits for what must come: far longer than it takes, even beside the rest of the suite on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How long a test waits for the end of many things that come one after the other.
pub(crate) const LONG_PATIENCE: Duration = Duration::from_secs(120);

/// Between two looks for something that nobody announces: short, and yet it leaves the processor to those who work on it.
pub(crate) async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}
