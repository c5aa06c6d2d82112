//! The devices: threads that hold many connections, read them as fast as bytes come, and verify every byte.
//!
//! A thread has its own file table, epoll, read buffer and counts; it shares with the controller only the atomics of
//! [`Control`] and [`Progress`]. *Not here*: what is right (`verify`), when a phase begins (`fanout`, `floor`).

mod churn;
pub(crate) mod connection;
mod slow;
mod thread;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::histogram::{Coarse, Live, Recorder};
use crate::message::MessageSpec;
use crate::verify::{Framing, Refusals, Tally};

use connection::Role;
pub(crate) use slow::SlowSeen;

/// Connections of one thread: its file table has room for a few files more.
const SPARE_FILES: u64 = 200;
/// Connections from one source address: a seventh of the default range of local ports (28,232). The kernel looks for a
/// free one port after port, the even ones first; with 20,000 in use and those of the run before in `TIME_WAIT` it looked
/// at ten thousand, and a server could not get more than 1,500 connections a second.
const CONNECTIONS_PER_SOURCE: usize = 4_000;
/// Connects in flight of one thread, as a rule. Above it the queue of a listener that has the default length overflows,
/// and SYNs are sent again after a second.
pub(crate) const CONNECTS_IN_FLIGHT: usize = 256;
/// Connects in flight of all threads, as a rule: more only wait, for a server that does 20,000 a second.
const CONNECTS_IN_FLIGHT_ALL: usize = 4_096;

/// A thread looks at its orders every few milliseconds; settling a million connections takes less than a second.
const ROUND_ENDS_WITHIN: Duration = Duration::from_secs(20);

/// What every thread does.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Where to connect.
    pub(crate) target: SocketAddr,
    /// The upgrade request of each topic's connections, which are spread evenly; none: one topic, and the socket carries
    /// messages from its first byte.
    pub(crate) upgrades: Vec<Vec<u8>>,
    /// A complete frame to send once upgraded.
    pub(crate) hello: Option<Vec<u8>>,
    /// How messages lie in the stream.
    pub(crate) framing: Framing,
    /// The messages.
    pub(crate) spec: MessageSpec,
    /// First sequence that counts in latencies.
    pub(crate) measure_from: u64,
    /// Congestion control of the sockets; `None`: the system's.
    pub(crate) congestion: Option<String>,
    /// Connects in flight of one thread.
    pub(crate) connects_in_flight: usize,
    /// Whether a connect that fails is counted, instead of ending the run.
    pub(crate) counts_refusals: bool,
    /// Interval of a go-push PING per connection.
    pub(crate) ping_every: Option<Duration>,
    /// Connections that stay (and read) for the whole run.
    pub(crate) staying: usize,
    /// Connections that leave and rejoin, in turn.
    pub(crate) churning: usize,
    /// Leaves (each followed by a join) a second, all threads together.
    pub(crate) churn_per_s: f64,
    /// Connections that are slow, each in its way.
    pub(crate) slow: SlowKinds,
    /// Cores of the threads, one thread each at least.
    pub(crate) cores: Vec<usize>,
}

/// What the controller wants of the threads, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Connect, and read what comes.
    Receive,
    /// The window that CPU and lag are measured in begins.
    Measure,
    /// That window ends.
    Measured,
    /// Read the stalled connections too.
    ReadStalled,
    /// Close everything.
    Leave,
}

impl Phase {
    const ALL: [Self; 5] = [Self::Receive, Self::Measure, Self::Measured, Self::ReadStalled, Self::Leave];
}

/// How many connections are slow once they have joined, and how.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SlowKinds {
    /// Read nothing.
    pub(crate) stalled: usize,
    /// Read `trickle_bytes_per_s`.
    pub(crate) trickling: usize,
    /// Bytes a second.
    pub(crate) trickle_bytes_per_s: u32,
    /// Vanish without a word.
    pub(crate) vanishing: usize,
}

impl Plan {
    /// Topics; connection `index` of the run is of topic `index % topics`.
    fn topics(&self) -> usize {
        self.upgrades.len().max(1)
    }
}

impl SlowKinds {
    /// All of them.
    pub(crate) fn total(&self) -> usize {
        self.stalled + self.trickling + self.vanishing
    }
}

/// The messages of one round: connections outlive it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    /// The messages; their sequences begin at 0 again.
    pub(crate) spec: MessageSpec,
    /// First sequence that counts in latencies.
    pub(crate) measure_from: u64,
}

/// What the controller tells all threads.
#[derive(Debug)]
pub(crate) struct Control {
    phase: AtomicU8,
    published: AtomicU64,
    /// How many rounds have ended, and what the next one carries.
    rounds: AtomicU64,
    round: Mutex<Round>,
    /// When the threads began to connect.
    began: Instant,
    /// The run's clock.
    pub(crate) clock: Clock,
    /// Sequences that the server refused.
    pub(crate) refusals: Refusals,
}

/// What one thread tells the controller.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Progress {
    open: AtomicU64,
    /// Connections that were ever opened, rejoins included.
    opened: AtomicU64,
    /// When the last of them was opened: microseconds since the threads began.
    opened_at_us: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    messages: AtomicU64,
    behind: AtomicU64,
    slow_left: AtomicU64,
    slow_held: AtomicU64,
    latency: Live,
}

/// What one thread saw.
pub(crate) struct Outcome {
    /// Of the connections that read.
    pub(crate) tally: Tally,
    /// Of the slow ones: stalled, trickling, vanished.
    pub(crate) slow: [SlowSeen; 3],
    /// Connections that missed a message.
    pub(crate) connections_with_gaps: u64,
    /// Connections that left and joined again.
    pub(crate) rejoined: u64,
    /// Rejoins that failed.
    pub(crate) rejoins_failed: u64,
    /// CPU time in the measured window.
    pub(crate) cpu: Duration,
    /// Time in that window that the thread could run and was not let.
    pub(crate) run_delay: Duration,
    /// Length of that window.
    pub(crate) window: Duration,
    /// From connect to the end of the upgrade, microseconds.
    pub(crate) handshakes: Recorder,
    /// Connects and upgrades that failed, by what the server or the kernel said.
    pub(crate) refusals: BTreeMap<String, u64>,
    /// Go-push PINGs sent.
    pub(crate) pings_sent: u64,
    /// How long a turn of the loop took: a ready socket waits no longer than that.
    pub(crate) turns: Recorder,
}

impl Outcome {
    /// Nothing seen yet.
    fn measuring_from(sequence: u64) -> Self {
        Self {
            tally: Tally::measuring_from(sequence),
            slow: std::array::from_fn(|_| SlowSeen {
                tally: Tally::measuring_from(u64::MAX),
                ..SlowSeen::default()
            }),
            connections_with_gaps: 0,
            rejoined: 0,
            rejoins_failed: 0,
            cpu: Duration::ZERO,
            run_delay: Duration::ZERO,
            window: Duration::ZERO,
            handshakes: Recorder::default(),
            refusals: BTreeMap::new(),
            pings_sent: 0,
            turns: Recorder::default(),
        }
    }

    /// The counts of connections with this role.
    fn tally_of(&mut self, role: Role) -> &mut Tally {
        match role.slow() {
            None => &mut self.tally,
            Some(kind) => &mut self.slow[kind].tally,
        }
    }
}

/// Running threads.
pub(crate) struct Receivers {
    control: Arc<Control>,
    progress: Vec<Arc<Progress>>,
    threads: Vec<JoinHandle<Result<Outcome, String>>>,
    ended: mpsc::Receiver<Outcome>,
    total: usize,
}

impl Receivers {
    /// From the begin to the last connection that was opened.
    pub(crate) fn connect_time(&self) -> Duration {
        let last = self.progress.iter().map(|progress| progress.opened_at_us.load(Ordering::Acquire)).max();
        Duration::from_micros(last.unwrap_or(0))
    }

    /// Starts the threads; they begin to connect.
    pub(crate) fn start(plan: &Plan, clock: Clock, refusals: Refusals) -> Result<Self, String> {
        let total = plan.staying + plan.churning + plan.slow.total();
        let room = usize::try_from(crate::sys::process::open_files_max().saturating_sub(SPARE_FILES))
            .unwrap_or(usize::MAX)
            .max(1);
        let threads = plan.cores.len().max(total.div_ceil(room)).min(total.max(1));
        let phase = AtomicU8::new(Phase::Receive as u8);
        let round = Mutex::new(Round { spec: plan.spec, measure_from: plan.measure_from });
        let (published, rounds) = (AtomicU64::new(u64::MAX), AtomicU64::new(0));
        let began = Instant::now();
        let control = Arc::new(Control { phase, published, rounds, round, began, clock, refusals });
        let (end, ended) = mpsc::channel();
        let mut receivers = Self { control, progress: Vec::new(), threads: Vec::new(), ended, total };
        let (mut first_index, plan_cores) = (0, plan.cores.len());
        for at in 0..threads {
            let share = |n: usize| n * (at + 1) / threads - n * at / threads;
            let mut plan = plan.clone();
            plan.cores = vec![plan.cores[at % plan.cores.len()]];
            plan.staying = share(plan.staying);
            plan.churning = share(plan.churning);
            plan.slow.stalled = share(plan.slow.stalled);
            plan.churn_per_s /= threads as f64;
            if plan.connects_in_flight == CONNECTS_IN_FLIGHT {
                plan.connects_in_flight = (CONNECTS_IN_FLIGHT_ALL / threads).clamp(1, CONNECTS_IN_FLIGHT);
            }
            plan.slow.trickling = share(plan.slow.trickling);
            plan.slow.vanishing = share(plan.slow.vanishing);
            let connections = plan.staying + plan.churning + plan.slow.total();
            let progress = Arc::new(Progress::default());
            progress.behind.store(u64::MAX, Ordering::Relaxed);
            progress.slow_left.store((plan.slow.stalled + plan.slow.trickling) as u64, Ordering::Relaxed);
            receivers.progress.push(Arc::clone(&progress));
            let control = Arc::clone(&receivers.control);
            let pacing = thread::Pacing::of(threads.div_ceil(plan_cores));
            let end = end.clone();
            let run = move || thread::run(plan, pacing, first_index, &control, &progress, &end);
            let thread = std::thread::Builder::new().name(format!("receiver-{at}")).spawn(run);
            receivers.threads.push(thread.map_err(|e| format!("cannot start a receiver thread: {e}"))?);
            first_index += connections;
        }
        Ok(receivers)
    }

    fn sum(&self, value: impl Fn(&Progress) -> &AtomicU64) -> u64 {
        self.progress
            .iter()
            .map(|progress| value(progress).load(Ordering::Acquire))
            .fold(0, u64::saturating_add)
    }

    /// Connections that are open (and joined, as far as the server's answer says).
    pub(crate) fn open(&self) -> u64 {
        self.sum(|progress| &progress.open)
    }

    /// Connections that were opened, whether they still are or not.
    pub(crate) fn opened(&self) -> u64 {
        self.sum(|progress| &progress.opened)
    }

    /// Connections that could not be opened, when that is counted.
    pub(crate) fn refused(&self) -> u64 {
        self.sum(|progress| &progress.refused)
    }

    /// Connections asked for.
    pub(crate) fn total(&self) -> u64 {
        self.total as u64
    }

    /// A thread has given up (its outcome says why), or a connection could not be opened.
    pub(crate) fn failed(&self) -> bool {
        self.sum(|progress| &progress.failed) > 0 || self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Messages received so far.
    pub(crate) fn messages(&self) -> u64 {
        self.sum(|progress| &progress.messages)
    }

    /// Latencies so far, some milliseconds old.
    pub(crate) fn latency(&self) -> Coarse {
        Coarse::read(self.progress.iter().map(|progress| &progress.latency))
    }

    /// Connections that have not got everything that was published; all of them until every thread has counted, which
    /// is some milliseconds after `published`.
    pub(crate) fn behind(&self) -> u64 {
        self.sum(|progress| &progress.behind).min(self.total())
    }

    /// Stalled and trickling connections that have not found their end.
    pub(crate) fn slow_left(&self) -> u64 {
        self.sum(|progress| &progress.slow_left)
    }

    /// Slow connections that the server still holds, as far as that can be seen; some milliseconds old.
    pub(crate) fn slow_held(&self) -> u64 {
        self.sum(|progress| &progress.slow_held)
    }

    /// Everything below this sequence was published, and nothing else will be.
    pub(crate) fn published(&self, messages: u64) {
        self.control.published.store(messages, Ordering::Release);
    }

    /// The next phase.
    pub(crate) fn enter(&self, phase: Phase) {
        self.control.phase.store(phase as u8, Ordering::Release);
    }

    /// Ends the round and returns what the threads saw in it; the next one begins on the same connections. Only for
    /// a round whose messages have all arrived: one that comes later is malformed in the next.
    pub(crate) fn next_round(&self, next: Round) -> Result<Vec<Outcome>, String> {
        *self.control.round.lock().unwrap_or_else(PoisonError::into_inner) = next;
        // Before the count: a thread that begins the round must not see the phase of the one before.
        self.enter(Phase::Receive);
        self.control.rounds.fetch_add(1, Ordering::Release);
        let mut outcomes = Vec::new();
        while outcomes.len() < self.threads.len() {
            match self.ended.recv_timeout(ROUND_ENDS_WITHIN) {
                Ok(outcome) => outcomes.push(outcome),
                Err(_) => return Err("a receiver thread did not end its round".into()),
            }
        }
        self.control.published.store(u64::MAX, Ordering::Release);
        self.control.refusals.clear();
        Ok(outcomes)
    }

    /// Whatever is still to come will not be waited for, and is nobody's gap.
    pub(crate) fn abandon(&self) {
        self.control.published.store(u64::MAX, Ordering::Release);
    }

    /// Leaves and returns what the threads saw, or the first one's reason for giving up.
    pub(crate) fn join(mut self) -> Result<Vec<Outcome>, String> {
        self.enter(Phase::Leave);
        let mut outcomes = Vec::new();
        for thread in std::mem::take(&mut self.threads) {
            outcomes.push(thread.join().map_err(|_| "a receiver thread panicked".to_owned())??);
        }
        Ok(outcomes)
    }
}

impl Drop for Receivers {
    /// No thread outlives a run that somebody gave up.
    fn drop(&mut self) {
        self.enter(Phase::Leave);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Control {
    fn phase(&self) -> Phase {
        Phase::ALL[usize::from(self.phase.load(Ordering::Acquire))]
    }

    fn round(&self) -> Round {
        *self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn published(&self) -> Option<u64> {
        let published = self.published.load(Ordering::Acquire);
        (published != u64::MAX).then_some(published)
    }
}
