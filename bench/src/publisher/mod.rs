//! The backend: publishes messages at a constant rate, whatever the gateway does with them.
//!
//! The loop is open: message k is due at k/rate and is sent at the first tick after that, however long the answer to
//! the one before took. *Not here*: what a message is (`message`).

mod http;
mod post;
mod redis;

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::histogram::Recorder;
use crate::message::MessageSpec;
use crate::sys::process;
use crate::verify::Refusals;

pub(crate) use http::HttpTarget;
pub(crate) use post::{Body, PostTarget};
pub(crate) use redis::RedisTarget;

/// Messages of one publish; what is due beyond follows at once.
const MESSAGES_PER_PUBLISH: u64 = 256;
/// Payload of one publish.
const BYTES_PER_PUBLISH: usize = 1024 * 1024;

/// Where messages go.
pub(crate) enum Target {
    /// A gateway's API.
    Http(HttpTarget),
    /// Redis.
    Redis(RedisTarget),
    /// A server that takes messages in the bodies of POSTs.
    Post(PostTarget),
}

impl Target {
    /// Publishes these messages of the run, each to its topic; tells `refused` the numbers of those that nobody took.
    fn publish(
        &mut self,
        run: &MessageSpec,
        numbers: Range<u64>,
        topics: usize,
        refused: &mut dyn FnMut(Range<u64>),
    ) -> io::Result<()> {
        let first = (numbers.start % topics as u64) as usize;
        for topic in (first..topics).chain(0..first).take((numbers.end - numbers.start) as usize) {
            let spec = run.of_topic(topic, topics);
            let messages = spec.sequences(numbers.clone());
            match self {
                Self::Http(target) => target.publish(topic, &spec, messages, refused)?,
                Self::Redis(target) => target.publish(topic, &spec, messages, refused)?,
                Self::Post(target) => target.publish(&spec, messages, refused)?,
            }
        }
        Ok(())
    }

    /// Waits for the answers that are still out.
    fn finish(&mut self, refused: &mut dyn FnMut(Range<u64>)) -> io::Result<()> {
        match self {
            Self::Http(_) => Ok(()),
            Self::Redis(target) => target.finish(refused),
            Self::Post(target) => target.finish(refused),
        }
    }
}

/// How to publish.
pub(crate) struct Schedule {
    /// The messages.
    pub(crate) spec: MessageSpec,
    /// Topics, which take turns.
    pub(crate) topics: usize,
    /// First sequence that counts in the lag.
    pub(crate) measure_from: u64,
    /// Time between two publishes.
    pub(crate) tick: Duration,
    /// Core of the thread.
    pub(crate) core: usize,
}

/// What was published.
#[derive(Default)]
pub(crate) struct Published {
    /// Messages given to the target, the refused ones included.
    pub(crate) messages: u64,
    /// Messages that it refused.
    pub(crate) refused: u64,
    /// Their numbers.
    pub(crate) refused_numbers: Vec<Range<u64>>,
    /// Time from intended to actual sending, behind the warm-up.
    pub(crate) lag: Recorder,
    /// Time from sending a publish to its answer.
    pub(crate) answers: Recorder,
    /// CPU time of the thread.
    pub(crate) cpu: Duration,
    /// How long it published.
    pub(crate) time: Duration,
    /// Why it ended early.
    pub(crate) error: Option<String>,
}

/// A running publisher.
pub(crate) struct Publisher {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: JoinHandle<Published>,
}

impl Publisher {
    /// Starts the thread; the clock's base is set already.
    pub(crate) fn start(
        target: Target,
        schedule: Schedule,
        clock: Clock,
        refusals: Refusals,
    ) -> Result<Self, String> {
        let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stop_too, sent_too) = (Arc::clone(&stop), Arc::clone(&sent));
        let run = move || publish_all(target, &schedule, &clock, &refusals, &stop_too, &sent_too);
        let thread = std::thread::Builder::new().name("publisher".into()).spawn(run);
        Ok(Self { stop, sent, thread: thread.map_err(|e| format!("cannot start the publisher: {e}"))? })
    }

    /// Nothing more will be published.
    pub(crate) fn done(&self) -> bool {
        self.thread.is_finished()
    }

    /// Messages sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends the publishing and returns what was published.
    pub(crate) fn stop(self) -> Result<Published, String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the publisher panicked".to_owned())
    }
}

fn publish_all(
    mut target: Target,
    schedule: &Schedule,
    clock: &Clock,
    refusals: &Refusals,
    stop: &AtomicBool,
    sent: &AtomicU64,
) -> Published {
    let (mut out, begin) = (Published::default(), Instant::now());
    let result = process::pin(schedule.core).and_then(|()| {
        let spec = &schedule.spec;
        let most = MESSAGES_PER_PUBLISH.min((BYTES_PER_PUBLISH / spec.bytes) as u64).max(1);
        let tick_us = schedule.tick.as_micros() as u64;
        while out.messages < spec.count && !stop.load(Ordering::Relaxed) {
            let now = clock.now_us();
            let due = spec.due(now / tick_us * tick_us).min(spec.count).min(out.messages + most);
            if due <= out.messages || now == 0 {
                // The first tick at or behind the next message's time.
                let next = spec.intended_us(out.messages).div_ceil(tick_us) * tick_us;
                clock.sleep_until(next.max(1), Duration::from_millis(50));
                continue;
            }
            let messages = out.messages..due;
            for sequence in messages.start.max(schedule.measure_from)..messages.end {
                out.lag.record(now.saturating_sub(spec.intended_us(sequence)));
            }
            let (count, numbers) = (&mut out.refused, &mut out.refused_numbers);
            let noted = target.publish(spec, messages, schedule.topics, &mut |range| {
                note_refused(range, count, numbers, refusals);
            });
            out.messages = due;
            sent.store(due, Ordering::Relaxed);
            out.answers.record(clock.now_us() - now);
            noted.map_err(|e| format!("publishing failed after {due} messages: {e}"))?;
        }
        let (count, numbers) = (&mut out.refused, &mut out.refused_numbers);
        let finished = target.finish(&mut |range| note_refused(range, count, numbers, refusals));
        finished.map_err(|e| format!("publishing failed: {e}"))
    });
    out.error = result.err();
    out.cpu = process::thread_cpu();
    out.time = begin.elapsed();
    out
}

fn note_refused(range: Range<u64>, count: &mut u64, numbers: &mut Vec<Range<u64>>, refusals: &Refusals) {
    *count += range.end - range.start;
    numbers.push(range.clone());
    refusals.add(range);
}
