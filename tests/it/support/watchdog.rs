//! Ends a test that does not end: the run stops, and its last line names the test.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::process;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The longest time of one test: ten times the time of the slowest test on two busy cores.
const LIMIT: Duration = Duration::from_secs(900);

/// The runs of hours, which have a test without a time limit.
const LONG_RUNS: [&str; 4] =
    ["WATCHFLOOR_CHAOS_SECONDS", "WATCHFLOOR_FAULTS", "WATCHFLOOR_FUZZ_DOCUMENTS", "WATCHFLOOR_REPLAY"];

/// The start times of the running tests, by number.
static RUNNING: LazyLock<Mutex<HashMap<u64, (String, Instant)>>> = LazyLock::new(|| {
    if LONG_RUNS.iter().all(|name| std::env::var_os(name).is_none()) {
        thread::spawn(watch);
    }
    Mutex::default()
});

/// A running test, until this value is dropped.
pub(crate) struct Running(u64);

impl Running {
    /// Begins to watch the test of this thread: libtest gives a thread the name of its test.
    pub(crate) fn begin() -> Self {
        let name = thread::current().name().unwrap_or("a test").to_owned();
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let number = running.keys().max().map_or(0, |last| last + 1);
        running.insert(number, (name, Instant::now()));
        Self(number)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

/// Watches the running tests. libtest cannot stop a test, so the process ends with it.
fn watch() {
    loop {
        thread::sleep(Duration::from_secs(5));
        let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let late = running.values().filter(|(_, began)| began.elapsed() > LIMIT);
        let names: Vec<&str> = late.map(|(name, _)| name.as_str()).collect();
        if !names.is_empty() {
            // `eprintln!` would write to the output of a test, which libtest captures.
            writeln!(io::stderr(), "\nno end after {} minutes: {}", LIMIT.as_secs() / 60, names.join(", ")).ok();
            process::exit(101);
        }
    }
}
