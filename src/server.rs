//! All the wiring: who is connected to whom, and every thread of the process.
//!
//! A thread that ends, other than in a drain, takes the process down with its reason: half a gateway would lose
//! messages in silence. *Not here*: what the threads do, and when the main thread looks at them (`supervision`).

pub mod bind;
pub mod error;
mod events;
mod live;
mod runtime;
mod shard;
pub mod sockets;
mod threads;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::mpsc;

use crate::api::orders::{self, Order, Orders};
use crate::api::proposals::Proposal;
use crate::api::{self, Control};
use crate::config::Config;
use crate::config::live::Edition;
use crate::config::snapshot::Snapshot;
use crate::ingest;
use crate::ingest::answers::{self, Answers};
use crate::ingest::publisher::Publisher;
use crate::ingest::pushes::{self, Births};
use crate::metrics::Blocks;
use crate::metrics::pulse::{Pulse, Working};
use crate::ring;
use crate::ring::broadcast::Broadcast;
use crate::ring::doorbell::Doorbell;
use crate::sys::clock::Clock;
use crate::sys::eventfd::EventFd;
use crate::sys::signals::{Stop, Waker};
use crate::topology::{self, Plan};
use bind::Patience;
use error::StartError;
use events::Journals;
use live::Inlets;
use runtime::{RUNTIME_ENTRIES, block_on};
use shard::Listen;
use sockets::Sockets;
use threads::{Notice, Threads};
pub use threads::{Part, write_log};

/// A gateway whose shards all listen.
pub struct Running {
    devices: SocketAddr,
    api: SocketAddr,
    plan: Plan,
    blocks: Arc<Blocks>,
    edition: Arc<Edition>,
    orders: Orders,
    inlets: Inlets,
    notices: mpsc::Receiver<Notice>,
    is_draining: bool,
    /// Threads that work: the shards, the ingest core, the control thread. A drain ends all but the last.
    working: Vec<Part>,
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Drained: every message that had entered was delivered, every client was told.
    Drained,
    /// Told to stop a second time while it drained.
    Forced(Stop),
    /// A thread ended that should not have.
    Died(String),
}

/// Starts every thread; returns once all shards listen. `cores` may be used, and none of them is pinned to yet.
pub fn start(
    config: Config,
    sockets: Sockets,
    cores: &[usize],
    waker: &Waker,
) -> Result<Running, StartError> {
    let plan = topology::plan(cores, &config.server);
    let edition = Arc::new(Edition::first(config));
    let config = &edition.config;
    let blocks = Arc::new(Blocks::new(plan.shards.len()));
    let clock = Clock::start();
    let mut listens = device_listens(&sockets, config.server.listen, plan.shards.len())?;
    let patience = Patience::begin();
    let api_listener = match sockets.api {
        Some(inherited) => inherited.listener,
        None => listen_api(config.api.listen, patience)?,
    };
    let api = address_of(&api_listener, config.api.listen)?;
    let (notices_sender, notices) = mpsc::channel();
    let threads = Threads { notices: notices_sender, waker: waker.clone() };

    let mut senders = Vec::with_capacity(plan.shards.len());
    let mut journals = Journals::new(config);
    let mut devices = config.server.listen;
    for (number, shard) in plan.shards.iter().enumerate() {
        let doorbell = doorbell()?;
        let (sender, receiver) = ring::ring(number, Arc::clone(&doorbell), Arc::clone(&blocks));
        senders.push(sender);
        let setup = shard::ShardSetup {
            number,
            plan: *shard,
            listen: listens[number],
            patience,
            neighbours: Listen::neighbours(&listens, number),
            edition: Arc::clone(&edition),
            blocks: Arc::clone(&blocks),
            doorbell,
            receiver,
            journal: journals.add(number, config, &blocks),
            clock,
        };
        let to_main = threads.notices.clone();
        threads.spawn(Part::Shard(number), shard.core, move || shard::run(setup, &to_main))?;
        // One after the other: with port 0, the first shard learns the port that the others share.
        let address = await_listening(&notices)?;
        if number == 0 {
            devices = address;
            for listen in &mut listens {
                listen.learn(address);
            }
        }
    }
    // The shards have their own descriptors for them by now.
    drop(sockets.devices);

    let events = journals.start(&threads, config, &blocks)?;
    let (births, born) = pushes::births();
    let (answers, verdicts) = answers::answers(doorbell()?);
    let to_control = ToControl { births, answers };
    let publisher = start_ingest(&threads, &plan, &edition, &blocks, (senders, clock, to_control))?;
    let (orders, inbox) = orders::orders().map_err(no_eventfd)?;
    let (proposals, inlets) = live::open(&threads, &config.etcd, &blocks)?;
    let control = Control {
        edition: Arc::clone(&edition),
        publisher,
        blocks: Arc::clone(&blocks),
        listener: api_listener,
        orders: inbox,
        proposals,
        clock,
        births: born,
        verdicts,
    };
    threads.spawn(Part::Control, plan.control_core, move || {
        block_on(RUNTIME_ENTRIES, || async {
            api::serve(control).await;
            Ok(())
        })
    })?;
    let shards = (0..plan.shards.len()).map(Part::Shard);
    let working = shards.chain([Part::Ingest, Part::Control]).chain(events).collect();
    Ok(Running { devices, api, plan, blocks, edition, orders, inlets, notices, is_draining: false, working })
}

/// The ways from the ingest core to the control thread.
struct ToControl {
    births: Births,
    answers: Answers,
}

/// Starts the ingest core; what it returns goes to the control thread.
fn start_ingest(
    threads: &Threads,
    plan: &Plan,
    edition: &Arc<Edition>,
    blocks: &Arc<Blocks>,
    (senders, clock, to_control): (Vec<ring::Sender>, Clock, ToControl),
) -> Result<Publisher, StartError> {
    let bell = doorbell()?;
    let (publisher, requests) = Publisher::new(Arc::clone(&bell));
    let resolving = threads.clone();
    let setup = ingest::IngestSetup {
        edition: Arc::clone(edition),
        requests,
        doorbell: bell,
        broadcast: Broadcast::new(senders),
        blocks: Arc::clone(blocks),
        clock,
        births: to_control.births,
        answers: to_control.answers,
        resolve: Box::new(move |lookup| resolving.resolve(lookup)),
    };
    threads
        .spawn(Part::Ingest, plan.ingest_core, move || block_on(RUNTIME_ENTRIES, || ingest::run(setup)))?;
    Ok(publisher)
}

/// Where each shard's listener comes from.
fn device_listens(sockets: &Sockets, address: SocketAddr, shards: usize) -> Result<Vec<Listen>, StartError> {
    let inherited: Vec<Listen> =
        sockets.listeners().map(|listener| Listen::Inherited(listener.as_raw_fd())).collect();
    if inherited.is_empty() {
        let mut listens = vec![Listen::Beside(address); shards];
        // The first one makes sure that nobody else listens there.
        listens[0] = Listen::First(address);
        return Ok(listens);
    }
    if inherited.len() > shards {
        let sockets = inherited.len();
        return Err(StartError::Socket(format!(
            "the service manager handed over {sockets} sockets for devices, and {shards} shards can accept from as many; \
             raise server.shards to {sockets} or remove a ListenStream="
        )));
    }
    Ok(inherited.iter().copied().cycle().take(shards).collect())
}

impl Running {
    /// Where devices connect.
    pub fn devices(&self) -> SocketAddr {
        self.devices
    }

    /// Where the API is.
    pub fn api(&self) -> SocketAddr {
        self.api
    }

    /// Who runs where.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Every counter.
    pub fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// The configuration that was ordered last.
    pub fn edition(&self) -> &Edition {
        &self.edition
    }

    /// Whether it was told to drain.
    pub fn is_draining(&self) -> bool {
        self.is_draining
    }

    /// Begins to drain; once.
    pub fn drain(&mut self) {
        self.is_draining = true;
        self.order(Order::Drain);
    }

    /// Makes every thread go by this configuration, in order with the messages. Not before the last one
    /// [is in effect](Self::is_configured).
    pub fn configure(&mut self, config: Config) {
        self.edition = Arc::new(Edition { number: self.edition.number + 1, config });
        self.order(Order::Configure(Arc::clone(&self.edition)));
    }

    /// Whether every shard goes by the configuration that was ordered last; it has passed the other threads by then.
    pub fn is_configured(&self) -> bool {
        self.blocks.shards.iter().all(|shard| shard.edition.get() == self.edition.number)
    }

    /// What the API wants of the configuration.
    pub fn proposal(&self) -> Option<Proposal> {
        self.inlets.proposal()
    }

    /// What etcd has said since the last look.
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.inlets.snapshot()
    }

    fn order(&self, order: Order) {
        if !self.orders.give(order) {
            tracing::error!("the control thread takes no orders");
        }
    }

    /// Takes what the threads have told; an outcome when the run is over.
    pub fn look(&mut self) -> Option<Outcome> {
        while let Ok(notice) = self.notices.try_recv() {
            let Notice::Ended { part, cause } = notice else { continue };
            match cause {
                Ok(()) if part == Part::Resolver || (part == Part::Webhook && self.is_draining) => {}
                Ok(()) if self.is_draining => self.working.retain(|working| *working != part),
                Ok(()) => return Some(Outcome::Died(format!("the thread {part} ended"))),
                Err(cause) => return Some(Outcome::Died(format!("the thread {part} failed: {cause}"))),
            }
        }
        self.working.iter().all(|part| *part == Part::Control).then_some(Outcome::Drained)
    }

    /// What each working thread has counted of its loop. Threads that may wait for somebody else for as long as that takes
    /// are not among them: the webhook's, the resolver's, etcd's.
    pub fn pulses(&self) -> impl Iterator<Item = (Part, Pulse)> {
        self.working.iter().filter_map(|&part| {
            let pulse = match part {
                Part::Shard(number) => self.blocks.shards[number].pulse(),
                Part::Ingest => self.blocks.ingest.pulse(),
                Part::Control => self.blocks.control.pulse(),
                Part::Events => self.blocks.events.pulse(),
                Part::Resolver | Part::Webhook | Part::Etcd => return None,
            };
            Some((part, pulse))
        })
    }

    /// Shows in the metrics whether a thread is stuck.
    pub fn note_stalled(&self, part: Part, is_stalled: bool) {
        let main = &self.blocks.main;
        let gauge = match part {
            Part::Shard(number) => &main.shards_stalled[number],
            Part::Ingest => &main.stalled[Working::Ingest as usize],
            Part::Control => &main.stalled[Working::Control as usize],
            Part::Events => &main.stalled[Working::Events as usize],
            Part::Resolver | Part::Webhook | Part::Etcd => return,
        };
        gauge.set(u64::from(is_stalled));
    }
}

/// Waits until the shard that was started last listens.
fn await_listening(notices: &mpsc::Receiver<Notice>) -> Result<SocketAddr, StartError> {
    match notices.recv() {
        Ok(Notice::Listening(address)) => Ok(address),
        Ok(Notice::NotStarted(error)) => Err(error),
        Ok(Notice::Ended { part, cause }) => {
            let cause = cause.err().unwrap_or_else(|| "it ended".to_owned());
            let error = io::Error::other(format!("{part}: {cause}"));
            Err(StartError::Kernel { wanted: "start a shard", error })
        }
        Err(_) => unreachable!("the caller keeps a sender"),
    }
}

fn eventfd() -> Result<EventFd, StartError> {
    EventFd::new().map_err(no_eventfd)
}

fn no_eventfd(error: io::Error) -> StartError {
    StartError::Kernel { wanted: "create an eventfd", error }
}

fn doorbell() -> Result<Arc<Doorbell>, StartError> {
    Ok(Arc::new(Doorbell::new(eventfd()?)))
}

fn listen_api(address: SocketAddr, patience: Patience) -> Result<TcpListener, StartError> {
    patience
        .bind(|| TcpListener::bind(address))
        .map_err(|error| StartError::listening("api.listen", address, error))
}

fn address_of(listener: &TcpListener, address: SocketAddr) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|error| StartError::Address { key: "api.listen", address, error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::signals::{Signals, Wake};

    /// A gateway of the threads that a test starts, and what its main thread waits on.
    fn gateway() -> (Running, Threads, Signals) {
        let signals = Signals::block().expect("signals can be blocked");
        let (sender, notices) = mpsc::channel();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let (orders, _) = orders::orders().expect("an eventfd");
        let threads = Threads { notices: sender, waker: signals.waker() };
        let blocks = Arc::new(Blocks::new(2));
        let (_, inlets) = live::open(&threads, &Config::default().etcd, &blocks).expect("no etcd, no thread");
        let running = Running {
            devices: address,
            api: address,
            plan: topology::plan(&[], &Config::default().server),
            blocks,
            edition: Arc::new(Edition::first(Config::default())),
            orders,
            inlets,
            notices,
            is_draining: false,
            working: vec![Part::Shard(0), Part::Shard(1), Part::Ingest, Part::Control],
        };
        (running, threads, signals)
    }

    #[test]
    fn a_thread_that_panics_takes_the_process_down_with_its_reason() {
        let (mut running, threads, mut signals) = gateway();
        threads.spawn(Part::Shard(1), None, || panic!("out of luck")).expect("a thread");
        assert_eq!(signals.wait(None), Wake::Woken);
        let outcome = Outcome::Died("the thread shard-1 failed: out of luck".to_owned());
        assert_eq!(running.look(), Some(outcome));
    }

    #[test]
    fn a_thread_that_just_ends_takes_the_process_down_too() {
        let (mut running, threads, mut signals) = gateway();
        threads.spawn(Part::Ingest, None, || Ok(())).expect("a thread");
        assert_eq!(signals.wait(None), Wake::Woken);
        assert_eq!(running.look(), Some(Outcome::Died("the thread ingest ended".to_owned())));
    }

    #[test]
    fn a_port_that_is_taken_names_its_key_and_is_for_the_operator() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let error = listen_api(address, Patience::begin()).expect_err("the port is taken");
        assert_eq!(error.exit_code(), 78);
        let wanted = format!("api.listen: {address} is in use: a process listens there that cannot be seen ");
        assert!(error.to_string().starts_with(&wanted), "{error}");
    }

    #[test]
    fn a_drain_is_over_when_all_but_the_control_thread_have_ended() {
        let (mut running, threads, mut signals) = gateway();
        running.is_draining = true;
        for part in [Part::Shard(0), Part::Ingest, Part::Shard(1)] {
            assert_eq!(running.look(), None);
            assert!(running.pulses().any(|(working, _)| working == part));
            threads.spawn(part, None, || Ok(())).expect("a thread");
            assert_eq!(signals.wait(None), Wake::Woken);
        }
        assert_eq!(running.look(), Some(Outcome::Drained));
        assert_eq!(running.pulses().map(|(part, _)| part).collect::<Vec<_>>(), [Part::Control]);
    }
}
