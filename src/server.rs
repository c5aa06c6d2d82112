//! All the wiring: who is connected to whom, and every thread of the process. Threads start here and nowhere else.
//!
//! A thread that ends, other than in a drain, takes the process down with its reason: half a gateway would lose
//! messages in silence. *Not here*: what the threads do.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use monoio::{IoUringDriver, RuntimeBuilder};

use crate::api::{self, Control};
use crate::config::Config;
use crate::dataplane::Uring;
use crate::ingest;
use crate::ingest::publisher::Publisher;
use crate::ingest::redis::Lookup;
use crate::limits;
use crate::metrics::Blocks;
use crate::ring::broadcast::Broadcast;
use crate::ring::doorbell::Doorbell;
use crate::ring::{self, Receiver};
use crate::shard::accept::{self, Lobby};
use crate::shard::{Shard, run};
use crate::sys::eventfd::EventFd;
use crate::sys::files::OwnTable;
use crate::sys::signals::{Signals, Stop, Wake, Waker};
use crate::sys::{affinity, sockopt};
use crate::topology::{self, Plan, ShardPlan};

/// Entries of a monoio ring: accepts and handshakes of one thread.
const RUNTIME_ENTRIES: u32 = 1024;

/// Name of the threads that resolve Redis' host name.
const RESOLVER: &str = "resolver";

/// A gateway whose shards all listen.
pub struct Running {
    devices: SocketAddr,
    api: SocketAddr,
    plan: Plan,
    stop: Arc<EventFd>,
    notices: mpsc::Receiver<Notice>,
    /// Threads that end in a drain: the shards and the ingest core.
    draining: usize,
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

/// Why a gateway did not start.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be listened on.
    Address {
        /// The configuration key that names it.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        error: io::Error,
    },
    /// The kernel refused something that a gateway needs.
    Kernel {
        /// What was wanted.
        wanted: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { key, address, error } if error.kind() == io::ErrorKind::AddrInUse => write!(
                f,
                "{key}: another process listens on {address} already; stop it, or choose another address"
            ),
            Self::Address { key, address, error } => {
                write!(f, "{key}: cannot listen on {address}: {error}")
            }
            Self::Kernel { wanted, error } => write!(f, "cannot {wanted}: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl StartError {
    /// 78 (`EX_CONFIG`) when the operator has something to fix, 70 (`EX_SOFTWARE`) when the kernel refuses.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Address { .. } => 78,
            Self::Kernel { .. } => 70,
        }
    }
}

/// What a thread tells the main thread.
enum Notice {
    /// A shard listens here.
    Listening(SocketAddr),
    /// A shard could not be set up.
    NotStarted(StartError),
    /// A thread is over.
    Ended { name: String, cause: Result<(), String> },
}

/// Starts every thread; returns once all shards listen. `cores` may be used, and none of them is pinned to yet.
pub fn start(config: Config, cores: &[usize], waker: &Waker) -> Result<Running, StartError> {
    let plan = topology::plan(cores, &config.server);
    let config = Arc::new(config);
    let blocks = Arc::new(Blocks::new(plan.shards.len()));
    let api_listener = listen_api(config.api.listen)?;
    let api = address_of(&api_listener, config.api.listen)?;
    claim(config.server.listen)?;
    let (notices_sender, notices) = mpsc::channel();
    let threads = Threads { notices: notices_sender, waker: waker.clone() };

    let mut senders = Vec::with_capacity(plan.shards.len());
    let mut devices = config.server.listen;
    for (number, shard) in plan.shards.iter().enumerate() {
        let doorbell = doorbell()?;
        let (sender, receiver) = ring::ring(number, Arc::clone(&doorbell), Arc::clone(&blocks));
        senders.push(sender);
        let seat = ShardSeat {
            number,
            plan: *shard,
            listen: devices,
            config: Arc::clone(&config),
            blocks: Arc::clone(&blocks),
            doorbell,
            receiver,
        };
        let to_main = threads.notices.clone();
        threads.spawn(format!("shard-{number}"), shard.core, move || run_shard(seat, &to_main))?;
        // One after the other: with port 0, the first shard learns the port that the others share.
        devices = await_listening(&notices)?;
    }

    let bell = doorbell()?;
    let (publisher, requests) = Publisher::new(Arc::clone(&bell));
    let seat = ingest::Seat {
        config: Arc::clone(&config),
        requests,
        doorbell: bell,
        broadcast: Broadcast::new(senders),
        blocks: Arc::clone(&blocks),
        resolve: {
            let threads = threads.clone();
            Box::new(move |lookup| threads.resolve(lookup))
        },
    };
    threads.spawn("ingest".to_owned(), plan.ingest_core, move || block_on(|| ingest::run(seat)))?;

    let stop = Arc::new(eventfd()?);
    let control = Control { config, publisher, blocks, listener: api_listener, stop: Arc::clone(&stop) };
    threads.spawn("control".to_owned(), plan.control_core, move || {
        block_on(|| async {
            api::serve(control).await;
            Ok(())
        })
    })?;
    let draining = plan.shards.len() + 1;
    Ok(Running { devices, api, plan, stop, notices, draining })
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

    /// Waits until the gateway ends: the first signal drains it, a second one ends it at once.
    pub fn wait(mut self, signals: &mut Signals) -> Outcome {
        let mut stopping = false;
        loop {
            match signals.wait() {
                Wake::Stop(stop) if stopping => return Outcome::Forced(stop),
                Wake::Stop(stop) => {
                    tracing::info!("{stop}: draining");
                    stopping = true;
                    self.stop.signal();
                }
                Wake::Woken => {}
            }
            while let Ok(notice) = self.notices.try_recv() {
                let Notice::Ended { name, cause } = notice else { continue };
                match cause {
                    // It ends with the session that it resolves for, and that session's thread tells why.
                    Ok(()) if name == RESOLVER => {}
                    Ok(()) if stopping => self.draining -= 1,
                    Ok(()) => return Outcome::Died(format!("the thread {name} ended")),
                    Err(cause) => return Outcome::Died(format!("the thread {name} failed: {cause}")),
                }
            }
            if self.draining == 0 {
                return Outcome::Drained;
            }
        }
    }
}

/// Starts threads that tell the main thread how they end.
#[derive(Clone)]
struct Threads {
    notices: mpsc::Sender<Notice>,
    waker: Waker,
}

impl Threads {
    /// Starts a thread on a core. Whatever ends it, a panic included, is told to the main thread.
    fn spawn(
        &self,
        name: String,
        core: Option<usize>,
        body: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) -> Result<(), StartError> {
        let (notices, waker) = (self.notices.clone(), self.waker.clone());
        let thread = thread::Builder::new().name(name.clone()).spawn(move || {
            if let Some(core) = core
                && !affinity::pin_current(core)
            {
                tracing::warn!("cannot pin {name} to core {core}");
            }
            let cause = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(message_of(&*panic)));
            // The main thread outlives every other one; if it is gone, so is the process.
            let _ = notices.send(Notice::Ended { name, cause });
            waker.wake();
        });
        thread.map(drop).map_err(|error| StartError::Kernel { wanted: "start a thread", error })
    }

    /// A host name needs a thread that resolves it, because the system's resolver blocks.
    fn resolve(&self, lookup: Lookup) -> io::Result<()> {
        let started = self.spawn(RESOLVER.to_owned(), None, move || {
            lookup.run();
            Ok(())
        });
        started.map_err(io::Error::other)
    }
}

/// Waits until the shard that was started last listens.
fn await_listening(notices: &mpsc::Receiver<Notice>) -> Result<SocketAddr, StartError> {
    match notices.recv() {
        Ok(Notice::Listening(address)) => Ok(address),
        Ok(Notice::NotStarted(error)) => Err(error),
        Ok(Notice::Ended { name, cause }) => {
            let cause = cause.err().unwrap_or_else(|| "it ended".to_owned());
            let error = io::Error::other(format!("{name}: {cause}"));
            Err(StartError::Kernel { wanted: "start a shard", error })
        }
        Err(_) => unreachable!("the caller keeps a sender"),
    }
}

/// What a panic said.
fn message_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
}

/// What a shard's thread is given.
struct ShardSeat {
    number: usize,
    plan: ShardPlan,
    listen: SocketAddr,
    config: Arc<Config>,
    blocks: Arc<Blocks>,
    doorbell: Arc<Doorbell>,
    receiver: Receiver,
}

fn run_shard(seat: ShardSeat, notices: &mpsc::Sender<Notice>) -> Result<(), String> {
    let (listener, plane) = match set_up_shard(&seat) {
        Ok(made) => made,
        Err(error) => {
            let _ = notices.send(Notice::NotStarted(error));
            return Ok(());
        }
    };
    block_on(|| async move {
        let ShardSeat { number, plan, config, blocks, doorbell, receiver, listen } = seat;
        let address = listener.local_addr().unwrap_or(listen);
        let same_listener = listener.try_clone()?;
        let lobby = Lobby::new(number, Arc::clone(&blocks), config.clients.clone(), Arc::clone(&doorbell));
        let shard = Shard::new(plane, number, Arc::clone(&blocks), &config.clients, config.outbox);
        let seat = run::Seat {
            ring: receiver,
            lobby: lobby.clone(),
            doorbell,
            spin: plan.spin,
            stop_accepting: Box::new(move || sockopt::stop_listening(&same_listener)),
        };
        monoio::spawn(accept::accept(monoio::net::TcpListener::from_std(listener)?, lobby));
        blocks.shards[number].listening.set(1);
        let _ = notices.send(Notice::Listening(address));
        run::run(shard, seat).await
    })
}

/// A descriptor table of the thread's own, a listener and a dataplane in it.
fn set_up_shard(seat: &ShardSeat) -> Result<(TcpListener, Uring), StartError> {
    let kernel = |wanted| move |error| StartError::Kernel { wanted, error };
    let table = OwnTable::unshare().map_err(kernel("give a shard its own descriptor table"))?;
    let bell = seat.doorbell.bell();
    table.close_all_except(&[bell.as_raw_fd()]).map_err(kernel("close what is not a shard's own"))?;
    let listener = sockopt::listener(seat.listen, limits::KERNEL_UNSENT_BYTES)
        .map_err(|error| StartError::Address { key: "server.listen", address: seat.listen, error })?;
    let plane = Uring::new(bell).map_err(kernel("create an io_uring for a shard"))?;
    Ok((listener, plane))
}

/// Runs a future on a runtime that is built on the calling thread.
fn block_on<F: Future<Output = io::Result<()>>>(future: impl FnOnce() -> F) -> Result<(), String> {
    let mut ring = io_uring_06::IoUring::builder();
    ring.setup_single_issuer().setup_defer_taskrun();
    let runtime = RuntimeBuilder::<IoUringDriver>::new()
        .uring_builder(ring)
        .with_entries(RUNTIME_ENTRIES)
        .enable_timer()
        .build();
    let mut runtime = runtime.map_err(|error| format!("cannot create an io_uring: {error}"))?;
    runtime.block_on(async { future().await }).map_err(|error| error.to_string())
}

fn eventfd() -> Result<EventFd, StartError> {
    EventFd::new().map_err(|error| StartError::Kernel { wanted: "create an eventfd", error })
}

fn doorbell() -> Result<Arc<Doorbell>, StartError> {
    Ok(Arc::new(Doorbell::new(eventfd()?)))
}

fn listen_api(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).map_err(|error| StartError::Address { key: "api.listen", address, error })
}

fn address_of(listener: &TcpListener, address: SocketAddr) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|error| StartError::Address { key: "api.listen", address, error })
}

/// Makes sure that nobody else listens where the shards will.
fn claim(address: SocketAddr) -> Result<(), StartError> {
    let refused = |error| StartError::Address { key: "server.listen", address, error };
    match sockopt::port_is_free(address) {
        Ok(true) => Ok(()),
        Ok(false) => Err(refused(io::ErrorKind::AddrInUse.into())),
        Err(error) => Err(refused(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A gateway of the threads that a test starts, and what its main thread waits on.
    fn gateway(draining: usize) -> (Running, Threads, Signals) {
        let signals = Signals::block().expect("signals can be blocked");
        let (sender, notices) = mpsc::channel();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let running = Running {
            devices: address,
            api: address,
            plan: topology::plan(&[], &Config::default().server),
            stop: Arc::new(EventFd::new().expect("an eventfd")),
            notices,
            draining,
        };
        let threads = Threads { notices: sender, waker: signals.waker() };
        (running, threads, signals)
    }

    #[test]
    fn a_thread_that_panics_takes_the_process_down_with_its_reason() {
        let (running, threads, mut signals) = gateway(2);
        threads.spawn("shard-1".to_owned(), None, || panic!("out of luck")).expect("a thread");
        let outcome = running.wait(&mut signals);
        assert_eq!(outcome, Outcome::Died("the thread shard-1 failed: out of luck".to_owned()));
    }

    #[test]
    fn a_thread_that_just_ends_takes_the_process_down_too() {
        let (running, threads, mut signals) = gateway(2);
        threads.spawn("ingest".to_owned(), None, || Ok(())).expect("a thread");
        assert_eq!(running.wait(&mut signals), Outcome::Died("the thread ingest ended".to_owned()));
    }

    #[test]
    fn a_port_that_is_taken_names_its_key_and_is_for_the_operator() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let error = claim(address).expect_err("the port is taken");
        assert_eq!(error.exit_code(), 78);
        assert!(
            error.to_string().starts_with("server.listen: another process listens on 127.0.0.1:"),
            "{error}"
        );
    }
}
