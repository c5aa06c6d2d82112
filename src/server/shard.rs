//! A shard's thread: from its seat to its loop.
//!
//! The thread gives itself a descriptor table, so that everything it opens is its own; of what the process had open it
//! keeps its doorbell and, where the service manager opened the sockets, one of those. *Not here*: the loop
//! (`shard::run`), who starts the thread (`super`).

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::mpsc;

use monoio::io::Canceller;

use super::error::StartError;
use super::{Notice, block_on};
use crate::config::live::Edition;
use crate::dataplane::Uring;
use crate::events::journal::Journal;
use crate::limits;
use crate::metrics::{Blocks, process};
use crate::ring::Receiver;
use crate::ring::doorbell::Doorbell;
use crate::shard::accept::{self, Lobby};
use crate::shard::{Shard, run};
use crate::sys::clock::Clock;
use crate::sys::files::OwnTable;
use crate::sys::sockopt;
use crate::topology::ShardPlan;

/// Where a shard's listener comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Listen {
    /// The shard opens one here, beside those of the other shards.
    Bind(SocketAddr),
    /// The service manager's, a descriptor of the main thread's table that stays open until the shard listens. Several
    /// shards may have the same: the kernel wakes one of those that wait for each connection.
    Inherited(RawFd),
}

impl Listen {
    /// With port 0 the first shard's address is the one that all share.
    pub(super) fn learn(&mut self, shared: SocketAddr) {
        if let Self::Bind(address) = self {
            *address = shared;
        }
    }
}

/// What a shard's thread is given.
pub(super) struct Seat {
    pub(super) number: usize,
    pub(super) plan: ShardPlan,
    pub(super) listen: Listen,
    pub(super) edition: Arc<Edition>,
    pub(super) blocks: Arc<Blocks>,
    pub(super) doorbell: Arc<Doorbell>,
    pub(super) receiver: Receiver,
    pub(super) journal: Option<Journal>,
    pub(super) clock: Clock,
}

/// The thread's body.
pub(super) fn run(seat: Seat, notices: &mpsc::Sender<Notice>) -> Result<(), String> {
    let (listener, plane) = match set_up(&seat) {
        Ok(made) => made,
        Err(error) => {
            let _ = notices.send(Notice::NotStarted(error));
            return Ok(());
        }
    };
    block_on(|| async move {
        let Seat { number, plan, edition, blocks, doorbell, receiver, listen, journal, clock } = seat;
        let config = &edition.config;
        let address = listener.local_addr()?;
        let lobby = Lobby::new(number, Arc::clone(&blocks), config.clients.clone(), Arc::clone(&doorbell));
        let mut shard = Shard::new(plane, number, Arc::clone(&blocks), &config.clients, config.outbox);
        if let Some(journal) = journal {
            shard.keep_journal(journal);
        }
        let canceller = Canceller::new();
        let stop = canceller.handle();
        let stop_accepting = stop_accepting(listen, &listener, canceller)?;
        let seat = run::Seat {
            ring: receiver,
            lobby: lobby.clone(),
            doorbell,
            clock,
            spin: plan.spin,
            stop_accepting,
        };
        monoio::spawn(accept::accept(monoio::net::TcpListener::from_std(listener)?, lobby, stop));
        blocks.shards[number].edition.set(edition.number);
        blocks.shards[number].thread.set(process::thread_id());
        blocks.shards[number].listening.set(1);
        let _ = notices.send(Notice::Listening(address));
        run::run(shard, seat).await
    })
}

/// How accepting ends. A listener of our own is shut down, so that nobody waits in a queue that dies with the process;
/// one of the service manager's stays as it is, and who comes now waits in it for the next process.
fn stop_accepting(
    listen: Listen,
    listener: &TcpListener,
    canceller: Canceller,
) -> io::Result<Box<dyn FnOnce()>> {
    Ok(match listen {
        Listen::Bind(_) => {
            let same_listener = listener.try_clone()?;
            Box::new(move || sockopt::stop_listening(&same_listener))
        }
        Listen::Inherited(_) => Box::new(move || drop(canceller.cancel())),
    })
}

/// A descriptor table of the thread's own, a listener and a dataplane in it.
fn set_up(seat: &Seat) -> Result<(TcpListener, Uring), StartError> {
    let kernel = |wanted| move |error| StartError::Kernel { wanted, error };
    let table = OwnTable::unshare().map_err(kernel("give a shard its own descriptor table"))?;
    let bell = seat.doorbell.bell();
    let close_foreign =
        |keep: &[RawFd]| table.close_all_except(keep).map_err(kernel("close what is not a shard's own"));
    let listener =
        match seat.listen {
            Listen::Inherited(fd) => {
                let copy =
                    table.duplicate(fd).map_err(kernel("take over a socket of the service manager"))?;
                close_foreign(&[bell.as_raw_fd(), copy.as_raw_fd()])?;
                TcpListener::from(copy)
            }
            Listen::Bind(address) => {
                close_foreign(&[bell.as_raw_fd()])?;
                sockopt::listener(address, limits::KERNEL_UNSENT_BYTES)
                    .map_err(|error| StartError::Address { key: "server.listen", address, error })?
            }
        };
    let plane = Uring::new(bell).map_err(kernel("create an io_uring for a shard"))?;
    Ok((listener, plane))
}
