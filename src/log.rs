//! The program's log on standard error, protected from floods by clients. Each kind of warning is written at most once
//! a minute, with the number of those left out.
//!
//! A kind is one place in the source of this crate or a library. Faults of operations are also distinguished by their
//! cause.

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{DefaultFields, Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

/// How long later events of a kind are left out after one was written.
const QUIET: Duration = Duration::from_secs(60);

/// The most kinds that are remembered; the source has fewer places. Beyond it, causes are not distinguished.
const KINDS_MAX: usize = 512;

/// The fields that distinguish the kinds of one place.
const TELLING: [&str; 2] = ["error.cause", "caution"];

/// The default filter without `RUST_LOG`: warnings of all crates, and notes of this crate.
const USUAL: &str = "warn,watchfloor=info,sea_orm_migration=warn";

/// Writes the log of this process to standard error.
pub fn init() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(USUAL));
    subscriber(std::io::stderr, std::io::stderr().is_terminal(), filter, QUIET).init();
}

type Builder<W> = tracing_subscriber::fmt::SubscriberBuilder<DefaultFields, Seldom<Format>, EnvFilter, W>;

fn subscriber<W>(writer: W, ansi: bool, filter: EnvFilter, quiet: Duration) -> Builder<W>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        // Internal errors would go to stderr by a macro that panics if nobody reads stderr; a stopping desk would hang.
        .log_internal_errors(false)
        .with_ansi(ansi)
        .with_target(false)
        .map_event_format(|format| Seldom { format, quiet, kinds: Mutex::default() })
}

/// Writes a warning or an error only if its kind was not written within [`QUIET`].
struct Seldom<F> {
    format: F,
    quiet: Duration,
    kinds: Mutex<HashMap<u64, QuietKind>>,
}

struct QuietKind {
    written: Instant,
    left_out: u64,
}

impl<F> Seldom<F> {
    /// Returns how many events of this kind were left out since the last one; `None` if this one is left out too.
    fn left_out(&self, event: &Event<'_>) -> Option<u64> {
        let now = Instant::now();
        let mut kinds = self.kinds.lock();
        if kinds.len() >= KINDS_MAX {
            kinds.retain(|_, kind| now - kind.written < self.quiet);
        }
        let kind = kind_of(event, kinds.len() < KINDS_MAX);
        match kinds.get_mut(&kind) {
            Some(kind) if now - kind.written < self.quiet => {
                kind.left_out += 1;
                None
            }
            Some(kind) => {
                kind.written = now;
                Some(std::mem::take(&mut kind.left_out))
            }
            None => {
                kinds.insert(kind, QuietKind { written: now, left_out: 0 });
                Some(0)
            }
        }
    }
}

impl<S, N, F> FormatEvent<S, N> for Seldom<F>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if *event.metadata().level() > Level::WARN {
            return self.format.format_event(ctx, writer, event);
        }
        match self.left_out(event) {
            None => Ok(()),
            Some(0) => self.format.format_event(ctx, writer, event),
            Some(left_out) => {
                let mut line = String::new();
                self.format.format_event(ctx, Writer::new(&mut line), event)?;
                writeln!(writer, "{} log.left_out={left_out}", line.trim_end())
            }
        }
    }
}

fn kind_of(event: &Event<'_>, with_cause: bool) -> u64 {
    struct CauseHash(DefaultHasher);

    impl Visit for CauseHash {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if TELLING.contains(&field.name()) {
                format!("{value:?}").hash(&mut self.0);
            }
        }
    }

    let mut hasher = DefaultHasher::new();
    event.metadata().callsite().hash(&mut hasher);
    let mut cause = CauseHash(hasher);
    if with_cause {
        event.record(&mut cause);
    }
    cause.0.finish()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(quiet: Duration, work: impl FnOnce()) -> Vec<String> {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(move || writer.clone(), false, EnvFilter::new("info"), quiet).finish();
        tracing::subscriber::with_default(subscriber, work);
        let bytes = lines.0.lock().clone();
        String::from_utf8(bytes).expect("UTF-8").lines().map(str::to_owned).collect()
    }

    fn warn(number: u32) {
        tracing::warn!(number, "a client does it again");
    }

    #[test]
    fn a_kind_of_warning_is_written_once_and_notes_always() {
        let lines = logged(QUIET, || {
            for number in 0..1_000 {
                warn(number);
                tracing::error!("another kind");
            }
            tracing::info!("a note");
            tracing::info!("a note");
        });
        assert_eq!(lines.len(), 4, "{lines:#?}");
        assert!(lines[0].contains("a client does it again") && lines[0].contains("number=0"));
    }

    #[test]
    fn the_next_one_tells_how_many_were_left_out() {
        let lines = logged(Duration::from_millis(200), || {
            for number in 0..10 {
                warn(number);
            }
            std::thread::sleep(Duration::from_millis(250));
            warn(10);
            warn(11);
        });
        assert_eq!(lines.len(), 2, "{lines:#?}");
        assert!(lines[1].contains("number=10") && lines[1].ends_with(" log.left_out=9"), "{lines:#?}");
    }

    #[test]
    fn faults_are_told_apart_by_their_cause_as_long_as_there_are_few() {
        let fault =
            |cause: usize| tracing::error!(error.reference = %cause, error.cause = %cause, "an operation failed");
        let lines = logged(QUIET, || {
            for number in 0..30 {
                fault(number % 3);
            }
        });
        assert_eq!(lines.len(), 3, "{lines:#?}");
        let lines = logged(QUIET, || {
            for number in 0..5_000 {
                fault(number);
            }
        });
        assert!(lines.len() <= KINDS_MAX + 1, "{}", lines.len());
    }
}
