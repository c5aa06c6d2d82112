//! The devices: threads that hold many connections, read them as fast as bytes come, and verify every byte.
//!
//! A thread has its own file table, epoll, read buffer and counts; it shares with the controller only the atomics of
//! [`Control`] and [`Progress`]. *Not here*: what is right (`verify`), when a phase begins (`fanout`, `floor`).

mod churn;
pub(crate) mod connection;
mod control;
mod outcome;
mod plan;
mod slow;
mod thread;

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::histogram::Coarse;
use crate::verify::Refusals;

use control::{Control, Progress};
pub(crate) use control::{Phase, Round};
pub(crate) use outcome::Outcome;
pub(crate) use plan::{Plan, SlowKinds};
pub(crate) use slow::SlowSeen;

/// Connections of one thread: its file table has room for a few files more.
const SPARE_FILES: u64 = 200;
/// Connects in flight of one thread, as a rule. Above it the queue of a listener that has the default length overflows,
/// and SYNs are sent again after a second.
pub(crate) const CONNECTS_IN_FLIGHT: usize = 256;
/// Connects in flight of all threads, as a rule: more only wait, for a server that does 20,000 a second.
const CONNECTS_IN_FLIGHT_ALL: usize = 4_096;

/// A thread looks at its orders every few milliseconds; settling a million connections takes less than a second.
const ROUND_ENDS_WITHIN: Duration = Duration::from_secs(20);

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
