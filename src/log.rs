//! The log: lines on standard error, whose level can change while the process runs.
//!
//! ```text
//!  any thread ─ format ─ queue (bounded, drops and counts) ─► the log thread ─ write(2), may wait ─► standard error
//! ```
//! Whatever standard error is, no thread but the log's own waits for it, and nothing that happens there ends the process.
//! Standard output is for the answers of `--check` and `--print-config` and nothing else. *Not here*: what is logged.

mod line;
pub mod queue;
pub mod throttle;
pub mod told;
pub mod writer;

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::error::Error;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::panic::{self, PanicHookInfo};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Instant;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{self, LogFormat};
use fanfare_core::limits::LOG_FLUSH;
use line::LineWriter;
use queue::{Counts, Entrance};
use throttle::Throttle;
use writer::LogWriter;

/// What became of lines; for the metrics.
pub static COUNTS: Counts = Counts::new();

/// The queue, once the log has started.
static ENTRANCE: OnceLock<Entrance> = OnceLock::new();

/// Replaces the filter.
type Replace = dyn Fn(EnvFilter) -> Result<(), tracing_subscriber::reload::Error>;

/// Changes what is logged.
pub struct Level(Box<Replace>);

impl Level {
    /// Logs by this filter from here on. It was checked with the rest of the configuration.
    pub fn set(&self, level: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok((self.0)(EnvFilter::try_new(level)?)?)
    }
}

/// Gives the formatter its writer.
struct Lines {
    entrance: Entrance,
    is_json: bool,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter { entrance: &self.entrance, is_json: self.is_json }
    }
}

/// Starts the log, once in a process. What is logged waits until a thread runs the writer.
pub fn start(log: &config::Log) -> Result<(Level, LogWriter<File>), Box<dyn Error + Send + Sync>> {
    let filter = EnvFilter::try_new(&log.level)?;
    // A descriptor of its own, and not through `io::stderr`, whose lock would be held while a write waits.
    let sink = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let (entrance, exit) = queue::queue(&COUNTS);
    let is_json = log.format == LogFormat::Json;
    let builder = tracing_subscriber::fmt()
        .with_ansi(io::stderr().is_terminal())
        .log_internal_errors(false)
        .with_writer(Lines { entrance: entrance.clone(), is_json });
    // The formats are types, and so are their handles; only what a handle does is the same.
    let level = match log.format {
        LogFormat::Text => {
            let builder = builder.with_env_filter(filter).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.try_init()?;
            Level(Box::new(move |filter| handle.reload(filter)))
        }
        LogFormat::Json => {
            let builder = builder.json().with_env_filter(filter).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.try_init()?;
            Level(Box::new(move |filter| handle.reload(filter)))
        }
    };
    let _ = ENTRANCE.set(entrance);
    panic::set_hook(Box::new(tell_panic));
    Ok((level, LogWriter::new(exit, sink)))
}

/// A sentence for the operator, as it is: through the log's queue once that has started, directly before. Errors of
/// standard error are nobody's.
pub fn tell(sentence: impl Display) {
    let line = format!("fanfare: {sentence}\n");
    match ENTRANCE.get() {
        Some(entrance) => entrance.put(line.as_bytes()),
        None => drop(io::stderr().write_all(line.as_bytes())),
    }
}

/// Gives what was logged a moment to be written; the process ends after that.
pub fn flush() {
    if let Some(entrance) = ENTRANCE.get() {
        entrance.flush(LOG_FLUSH);
    }
}

/// What a panic said.
pub fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
}

/// In place of the hook that writes to standard error, and waits for it. What a panic comes to is not decided here.
fn tell_panic(panic: &PanicHookInfo<'_>) {
    /// A client may be able to repeat one that the API contains.
    static REPEATED: Mutex<Option<Throttle>> = Mutex::new(None);
    let times = REPEATED
        .try_lock()
        .ok()
        .and_then(|mut throttle| throttle.get_or_insert_default().event(Instant::now()));
    let Some(times) = times else { return };
    let thread = thread::current();
    let name = thread.name().unwrap_or("?");
    let message = panic_message(panic.payload());
    let place = panic.location().map_or_else(String::new, |place| format!(" at {place}"));
    let backtrace = Backtrace::capture();
    let backtrace = match backtrace.status() {
        BacktraceStatus::Captured => format!("\n{backtrace}"),
        _ => String::new(),
    };
    tracing::error!(times, "the thread {name} panicked{place}: {message}{backtrace}");
}
