//! The threads of the process: their names, how they are started, and how their end reaches the main thread.
//!
//! *Not here*: which there are and what each is given (`super`), what they do.

use std::fmt;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;

use super::error::StartError;
use crate::log::panic_message;
use crate::log::writer::LogWriter;
use crate::redis::Lookup;
use crate::sys::affinity;
use crate::sys::signals::Waker;

/// A thread of the process, other than the main one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A shard, by its number.
    Shard(usize),
    /// The ingest core.
    Ingest,
    /// The control thread.
    Control,
    /// Collects events of connections' lives and speaks to Redis about them; ends in a drain when the shards have.
    Events,
    /// Posts such events; ends in a drain, and nobody waits for it.
    Webhook,
    /// Resolves Redis' host name, and ends with the session that it resolves for; that session's thread tells why.
    Resolver,
    /// Keeps up with etcd.
    Etcd,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shard(number) => write!(f, "shard-{number}"),
            Self::Ingest => f.write_str("ingest"),
            Self::Control => f.write_str("control"),
            Self::Events => f.write_str("events"),
            Self::Webhook => f.write_str("webhook"),
            Self::Resolver => f.write_str("resolver"),
            Self::Etcd => f.write_str("etcd"),
        }
    }
}

/// What a thread tells the main thread.
pub(super) enum Notice {
    /// A shard listens here.
    Listening(SocketAddr),
    /// A shard could not be set up.
    NotStarted(StartError),
    /// A thread is over.
    Ended { part: Part, cause: Result<(), String> },
}

/// Starts threads that tell the main thread how they end.
#[derive(Clone)]
pub(super) struct Threads {
    pub(super) notices: mpsc::Sender<Notice>,
    pub(super) waker: Waker,
}

impl Threads {
    /// Starts a thread on a core. Whatever ends it, a panic included, is told to the main thread.
    pub(super) fn spawn(
        &self,
        part: Part,
        core: Option<usize>,
        body: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) -> Result<(), StartError> {
        let (notices, waker) = (self.notices.clone(), self.waker.clone());
        let thread = thread::Builder::new().name(part.to_string()).spawn(move || {
            if let Some(core) = core
                && !affinity::pin_current(core)
            {
                tracing::warn!("cannot pin {part} to core {core}");
            }
            let cause =
                catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(panic_message(&*panic)));
            // The main thread outlives every other one; if it is gone, so is the process.
            let _ = notices.send(Notice::Ended { part, cause });
            waker.wake();
        });
        thread.map(drop).map_err(|error| StartError::Kernel { wanted: "start a thread", error })
    }

    /// A host name needs a thread that resolves it, because the system's resolver blocks.
    pub(super) fn resolve(&self, lookup: Lookup) -> io::Result<()> {
        let started = self.spawn(Part::Resolver, None, move || {
            lookup.run();
            Ok(())
        });
        started.map_err(io::Error::other)
    }
}

/// Starts the thread that writes the log. It is none of the parts: it may wait for ever for what it writes to, nobody waits
/// for it, and it never ends.
pub fn write_log(writer: LogWriter<File>) -> Result<(), StartError> {
    let thread = thread::Builder::new().name("log".into()).spawn(move || writer.run());
    thread.map(drop).map_err(|error| StartError::Kernel { wanted: "start a thread", error })
}
