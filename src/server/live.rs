//! The ends of live configuration in the main thread: what the control thread proposes, what etcd says.
//!
//! *Not here*: what is made of it (`supervision`).

use std::sync::Arc;

use super::error::StartError;
use super::threads::Threads;
use crate::api::proposals::{self, Proposal, Proposals};
use crate::config::Etcd;
use crate::config::snapshot::Snapshot;
use crate::etcd::Mailbox;
use crate::metrics::Blocks;

/// What may change the configuration of a running gateway, besides signals and the file.
#[derive(Debug)]
pub(super) struct Inlets {
    proposals: proposals::Inbox,
    etcd: Arc<Mailbox>,
}

impl Inlets {
    /// The question of the API that has waited longest.
    pub(super) fn proposal(&self) -> Option<Proposal> {
        self.proposals.next()
    }

    /// The newest of what etcd has said since the last look.
    pub(super) fn snapshot(&self) -> Option<Snapshot> {
        self.etcd.take()
    }
}

/// Both ends of the API's way, and the etcd thread where there is an etcd.
pub(super) fn open(
    threads: &Threads,
    etcd: &Etcd,
    blocks: &Arc<Blocks>,
) -> Result<(Proposals, Inlets), StartError> {
    let waker = threads.waker.clone();
    let (proposals, inbox) = proposals::proposals(move || waker.wake());
    let mailbox = Arc::default();
    start_etcd(threads, etcd, &mailbox, blocks)?;
    Ok((proposals, Inlets { proposals: inbox, etcd: mailbox }))
}

/// Starts the thread that keeps up with etcd; it does not wait for etcd to be there.
#[cfg(feature = "etcd")]
fn start_etcd(
    threads: &Threads,
    etcd: &Etcd,
    mailbox: &Arc<Mailbox>,
    blocks: &Arc<Blocks>,
) -> Result<(), StartError> {
    use std::hash::{BuildHasher, RandomState};

    use super::threads::Part;
    use crate::etcd::watch;

    if etcd.endpoints.is_empty() {
        return Ok(());
    }
    let waker = threads.waker.clone();
    let setup = watch::WatchSetup {
        etcd: etcd.clone(),
        mailbox: Arc::clone(mailbox),
        wake: Box::new(move || waker.wake()),
        blocks: Arc::clone(blocks),
        seed: RandomState::new().hash_one(Part::Etcd.to_string()),
    };
    threads.spawn(Part::Etcd, None, move || watch::run(&setup))
}

/// Without the feature the configuration refuses endpoints.
#[cfg(not(feature = "etcd"))]
fn start_etcd(_: &Threads, _: &Etcd, _: &Arc<Mailbox>, _: &Arc<Blocks>) -> Result<(), StartError> {
    Ok(())
}
