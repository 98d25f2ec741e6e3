//! The timeouts of the tests, and the pause between two looks.

use std::time::Duration;

/// How long a test waits for what must come: far longer than it takes, even beside the rest of the suite on a busy
/// machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How long a test waits for the end of many consecutive events.
pub(crate) const LONG_PATIENCE: Duration = Duration::from_secs(120);

/// Waits between two checks of a condition that nobody announces: short, but it leaves the processor to others.
pub(crate) async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}
