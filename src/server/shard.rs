//! A shard's thread: from its setup to its loop.
//!
//! The thread gives itself a descriptor table, so that everything it opens is its own; of what the process had open it
//! keeps its doorbell and, where the service manager opened the sockets, one of those. *Not here*: the loop
//! (`shard::run`), who starts the thread (`super`).

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::mpsc;

use super::bind::Patience;
use super::error::StartError;
use super::runtime::block_on;
use super::threads::Notice;
use crate::config::live::Edition;
use crate::dataplane::{Listener, Uring};
use crate::events::journal::Journal;
use crate::metrics::{Blocks, process};
use crate::ring::Receiver;
use crate::ring::doorbell::Doorbell;
use crate::shard::{Shard, run};
use crate::sys::clock::Clock;
use crate::sys::files::OwnTable;
use crate::sys::sockopt;
use crate::topology::ShardPlan;
use fanfare_core::limits;

/// Entries of a shard's monoio ring, which waits for an eventfd and for a timer.
const RUNTIME_ENTRIES: u32 = 8;

/// Where a shard's listener comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Listen {
    /// The shard opens the first one here, and waits for the address where a process before this one still has it.
    First(SocketAddr),
    /// The shard opens one here, beside those of the other shards.
    Beside(SocketAddr),
    /// The service manager's, a descriptor of the main thread's table that stays open until the shard listens. Several
    /// shards may have the same: the kernel wakes one of those that wait for each connection.
    Inherited(RawFd),
}

impl Listen {
    /// With port 0 the first shard's address is the one that all share.
    pub(super) fn learn(&mut self, shared: SocketAddr) {
        if let Self::First(address) | Self::Beside(address) = self {
            *address = shared;
        }
    }

    /// The other shards that accept from the same socket as this one.
    pub(super) fn neighbours(listens: &[Self], number: usize) -> Vec<usize> {
        let Self::Inherited(own) = listens[number] else { return Vec::new() };
        let is_same = |listen: &Self| matches!(listen, Self::Inherited(fd) if *fd == own);
        (0..listens.len()).filter(|other| *other != number && is_same(&listens[*other])).collect()
    }
}

/// What a shard's thread is given.
pub(super) struct ShardSetup {
    pub(super) number: usize,
    pub(super) plan: ShardPlan,
    pub(super) listen: Listen,
    /// For how long it waits for its address.
    pub(super) patience: Patience,
    /// Shards that accept from the same socket.
    pub(super) neighbours: Vec<usize>,
    pub(super) edition: Arc<Edition>,
    pub(super) blocks: Arc<Blocks>,
    pub(super) doorbell: Arc<Doorbell>,
    pub(super) receiver: Receiver,
    pub(super) journal: Option<Journal>,
    pub(super) clock: Clock,
}

/// The thread's body.
pub(super) fn run(setup: ShardSetup, notices: &mpsc::Sender<Notice>) -> Result<(), String> {
    let (address, plane) = match set_up(&setup) {
        Ok(made) => made,
        Err(error) => {
            let _ = notices.send(Notice::NotStarted(error));
            return Ok(());
        }
    };
    block_on(RUNTIME_ENTRIES, || async move {
        let ShardSetup {
            number, plan, neighbours, edition, blocks, doorbell, receiver, journal, clock, ..
        } = setup;
        let config = &edition.config;
        let mut shard = Shard::new(plane, number, Arc::clone(&blocks), &config.clients, config.outbox);
        shard.share_door(neighbours);
        if let Some(journal) = journal {
            shard.keep_journal(journal);
        }
        let setup = run::LoopSetup { ring: receiver, doorbell, clock, spin: plan.spin };
        blocks.shards[number].edition.set(edition.number);
        blocks.shards[number].thread.set(process::thread_id());
        blocks.shards[number].listening.set(1);
        let _ = notices.send(Notice::Listening(address));
        run::run(shard, setup).await
    })
}

/// A descriptor table of the thread's own, a listener and a dataplane in it.
fn set_up(setup: &ShardSetup) -> Result<(SocketAddr, Uring), StartError> {
    let kernel = |wanted| move |error| StartError::Kernel { wanted, error };
    let table = OwnTable::unshare().map_err(kernel("give a shard its own descriptor table"))?;
    let bell = setup.doorbell.bell();
    let close_foreign =
        |keep: &[RawFd]| table.close_all_except(keep).map_err(kernel("close what is not a shard's own"));
    let listener = match setup.listen {
        Listen::Inherited(fd) => {
            let copy = table.duplicate(fd).map_err(kernel("take over a socket of the service manager"))?;
            close_foreign(&[bell.as_raw_fd(), copy.as_raw_fd()])?;
            sockopt::defer_accept(&copy).map_err(kernel("set up a socket of the service manager"))?;
            Listener::Inherited(TcpListener::from(copy))
        }
        Listen::First(address) | Listen::Beside(address) => {
            close_foreign(&[bell.as_raw_fd()])?;
            let listener = match setup.listen {
                Listen::First(_) => {
                    setup.patience.bind(|| sockopt::first_listener(address, limits::KERNEL_UNSENT_BYTES))
                }
                _ => sockopt::listener(address, limits::KERNEL_UNSENT_BYTES),
            };
            Listener::Own(listener.map_err(|error| StartError::listening("server.listen", address, error))?)
        }
    };
    let address = listener.address().map_err(kernel("tell where a shard listens"))?;
    let plane = Uring::new(bell, listener).map_err(kernel("create an io_uring for a shard"))?;
    Ok((address, plane))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_the_other_shards_of_the_same_socket() {
        let listens = [5, 6, 5].map(Listen::Inherited);
        assert_eq!([0, 1, 2].map(|number| Listen::neighbours(&listens, number)), [vec![2], vec![], vec![0]]);
        let own = [Listen::Beside(SocketAddr::from(([127, 0, 0, 1], 0))); 2];
        assert_eq!(Listen::neighbours(&own, 0), [] as [usize; 0]);
    }
}
