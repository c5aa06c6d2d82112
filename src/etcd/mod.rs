//! etcd as a source of live configuration: what stands below a prefix, kept up with on a thread of its own.
//!
//! ```text
//!  etcd ── get, watch ──► etcd thread: reading, mirror ──► mailbox (the newest snapshot) ──► main thread: checks, orders
//! ```
//! The thread decides nothing: a snapshot that is refused changes nothing, and etcd's absence only means that none comes.
//! *Not here*: what the keys mean (`config::snapshot`), the thread itself (`server`).

pub mod mirror;
pub mod reading;
#[cfg(feature = "etcd")]
pub mod watch;

use std::sync::{Mutex, PoisonError};

use crate::config::snapshot::Snapshot;

/// The newest snapshot that nobody has looked at. An older one is of no use to anybody.
#[derive(Debug, Default)]
pub struct Mailbox(Mutex<Option<Snapshot>>);

impl Mailbox {
    /// Puts a snapshot in the place of an older one.
    pub fn put(&self, snapshot: Snapshot) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot);
    }

    /// Takes the snapshot out.
    pub fn take(&self) -> Option<Snapshot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
