//! Commands for people: they ask a running gateway over its HTTP API, and show what it says.
//!
//! ```text
//!  push, pushes ─► request ─┐                   ┌─► views ─► ledger ─┐
//!                           ├─► http ─► gateway ─┤                    ├─► table ─► terminal
//!  watch, top ──────────────┘                   └─► sse, sample ─────┘
//! ```
//!
//! What reads a socket or a terminal (`http`, `watch`, `top`, and `run` of the commands) lays nothing out; what parses or
//! lays out reads neither. Nothing here runs in the gateway. *Not here*: what a push is (`push`), the terminal's modes
//! (`sys::terminal`).

pub mod address;
pub mod arguments;
pub mod http;
pub mod ledger;
pub mod message;
pub mod push;
pub mod pushes;
pub mod request;
pub mod sse;
pub mod table;
pub mod top;
pub mod views;
pub mod watch;

use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sys::signals::{Signals, Stop, Wake};
use crate::sys::terminal;
use table::Line;

/// How a command ended, for whoever reads its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked. Of a push that was watched: every device that was still there was served.
    Done,
    /// A push ended, and some devices that were there have not got it: slow, expired, cancelled, shutdown.
    NotAllSent,
    /// `EX_UNAVAILABLE`: the gateway cannot be reached, or stopped answering.
    Unreachable,
    /// `EX_TEMPFAIL`: the gateway takes nothing now; the same command may succeed later.
    Later,
    /// `EX_CONFIG`, as of the gateway itself: somebody has to change the command.
    Operator,
    /// 128 + SIGINT: watching was interrupted, and the push goes on.
    Interrupted,
    /// 128 + SIGTERM.
    Terminated,
}

impl Exit {
    /// The process's exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::NotAllSent => 1,
            Self::Unreachable => 69,
            Self::Later => 75,
            Self::Operator => 78,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

/// Why a command did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What is wrong, and what to do about it.
    pub sentence: String,
    /// The exit code that goes with it.
    pub exit: Exit,
}

impl Failure {
    /// Somebody has to change the command.
    pub fn operator(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), exit: Exit::Operator }
    }

    /// The gateway is not there.
    pub fn unreachable(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), exit: Exit::Unreachable }
    }
}

/// Whether standard output took everything.
static IS_TOLD: AtomicBool = AtomicBool::new(true);

/// To standard output. Whoever closes it early (`| head`) has seen enough; any other error [fails the
/// command](check_told).
fn say(text: &str) {
    if let Err(error) = std::io::stdout().write_all(text.as_bytes())
        && error.kind() != ErrorKind::BrokenPipe
        && IS_TOLD.swap(false, Ordering::Relaxed)
    {
        remark(&format!("standard output takes no more: {error}"));
    }
}

/// The exit code of a command that did what it should, unless its answer could not be written.
pub fn check_told(exit: Exit) -> Option<Exit> {
    IS_TOLD.load(Ordering::Relaxed).then_some(exit)
}

/// To standard error: a remark that is no result.
fn remark(text: &str) {
    let _ = writeln!(std::io::stderr(), "fanfare: {text}");
}

/// Lines to standard output, in colours where somebody sees them.
fn show(lines: &[Line]) {
    say(&table::text(lines, colours()));
}

/// Standard output is a terminal, and nobody has asked for none (<https://no-color.org>).
fn colours() -> bool {
    let unset = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let able = std::env::var_os("TERM").is_none_or(|value| value != "dumb");
    unset && able && std::io::stdout().is_terminal()
}

/// Columns that a table on standard output may have: of a file or a pipe, as many as it wants.
fn width() -> usize {
    terminal::size().map_or(usize::MAX, |size| size.columns)
}

/// Whether somebody wants the command to stop, now. A closed terminal does.
fn stop_wanted(signals: &mut Signals) -> Option<Exit> {
    match signals.wait(Some(std::time::Duration::ZERO)) {
        Wake::Stop(Stop::Interrupt) => Some(Exit::Interrupted),
        Wake::Stop(Stop::Term) | Wake::Reload => Some(Exit::Terminated),
        Wake::Woken | Wake::Elapsed => None,
    }
}

/// From here on signals wait until [`stop_wanted`] looks at them.
fn block_signals() -> Result<Signals, Failure> {
    let failed = |error| Failure::operator(format!("signals cannot be blocked: {error}"));
    Signals::block().map_err(failed)
}
