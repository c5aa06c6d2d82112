//! The ingest core: what Redis and the API publish becomes batches, and batches go to every shard, in order.
//!
//! One thread, one loop. A turn (`turn`) is a decision without a wait in it: it does what can be done now, and says what is
//! lacking for the rest; the loop waits for exactly that. Directives of the control thread come by a lane of their own and
//! wait for nothing. When a shard's ring has no room nothing is taken, so the inbox and the ring of requests fill, Redis
//! feels TCP's back-pressure and publishers get 429. *Not here*: batches (`merger`), rings (`ring`), what a shard does
//! (never named here).

pub mod answers;
mod begin;
mod drain;
pub mod inbox;
mod intake;
mod next;
pub mod publisher;
pub mod pushes;
pub mod redis;
mod returning;
mod state;
mod strays;
mod turn;

pub use next::{Lack, Next};
pub use state::{Ends, Ingest};

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::config;
use crate::config::live::Edition;
use crate::metrics::Blocks;
use crate::redis::{Dialer, Lookup, Timing};
use crate::ring::broadcast::Broadcast;
use crate::ring::doorbell::Doorbell;
use crate::sys::clock::Clock;
use crate::sys::eventfd::EventFd;
use crate::sys::memory;
use crate::sys::readiness::Readiness;
use answers::Answers;
use fanfare_core::limits::{REDIS_INBOX_BYTES_MAX, REDIS_OUTBOX_BYTES_MAX};
use inbox::Inbox;
use publisher::Requests;
use pushes::Births;
use redis::{Incoming, PublishQueue};

/// What the ingest core is given at its start.
pub struct IngestSetup {
    /// The configuration at start.
    pub edition: Arc<Edition>,
    /// Requests from the control thread.
    pub requests: Requests,
    /// Rung by the control thread.
    pub doorbell: Arc<Doorbell>,
    /// Every shard's ring.
    pub broadcast: Broadcast,
    /// Counters.
    pub blocks: Arc<Blocks>,
    /// The process's clock.
    pub clock: Clock,
    /// The way of verdicts to the control thread.
    pub answers: Answers,
    /// Pushes on their way to the control thread, which steers them.
    pub births: Births,
    /// Gives a lookup of Redis' host name a thread of its own.
    pub resolve: Box<dyn Fn(Lookup) -> io::Result<()> + Send>,
}

/// Runs until a drain has given every shard its last command.
pub async fn run(setup: IngestSetup) -> io::Result<()> {
    let IngestSetup { edition, requests, doorbell, broadcast, blocks, clock, answers, births, resolve } =
        setup;
    let config = &edition.config;
    let inbox = Inbox::new(REDIS_INBOX_BYTES_MAX);
    let to_redis = match &config.redis {
        Some(redis) => Some(begin_sessions(redis, &inbox, &blocks, &resolve)?),
        None => None,
    };
    blocks.ingest.redis_configured.set(u64::from(to_redis.is_some()));
    let wakeup = Readiness::of(doorbell.bell())?;
    monoio::spawn(pass_on(wakeup, Arc::clone(&doorbell), inbox.clone()));
    let always = EventFd::new()?;
    always.signal();
    let always = Readiness::of(&always)?;

    let first_epoch =
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_micros() as u64);
    let ends = Ends { requests, inbox, to_redis, broadcast, answers, births, blocks, clock };
    let mut ingest = Ingest::new(config, first_epoch, ends);
    loop {
        ingest.work(clock.now_us());
        match ingest.finish(clock.now_us()) {
            // The sessions need their turn; a task that wakes itself would starve the timers.
            Next::Again => always.ready().await?,
            Next::Wait(lack, at_most) => {
                if ingest.merger.take_dropped_many() {
                    memory::collect();
                }
                doorbell.prepare_sleep();
                if !ingest.has_come(lack) {
                    let news = async {
                        match lack {
                            Lack::Item => ingest.inbox.wait().await,
                            // Items are there, and cannot be taken.
                            _ => ingest.inbox.notified().await,
                        }
                    };
                    // Time that passed without news is what the wait is bounded by.
                    let _ = monoio::time::timeout(at_most, news).await;
                    ingest.blocks.ingest.waits.add(1);
                }
                doorbell.awake();
            }
            Next::Over => return Ok(()),
        }
    }
}

/// Starts both sessions: one subscribes, one publishes what enters by HTTP.
fn begin_sessions(
    redis: &config::Redis,
    inbox: &Inbox<Incoming>,
    blocks: &Arc<Blocks>,
    resolve: &dyn Fn(Lookup) -> io::Result<()>,
) -> io::Result<PublishQueue> {
    let dialer = |session| -> io::Result<Dialer> {
        let (dialer, lookup) = Dialer::new(&redis.url, Timing::default(), seed(session))?;
        lookup.map_or(Ok(()), resolve)?;
        Ok(dialer)
    };
    let queue =
        PublishQueue::new(&redis.prefix, REDIS_OUTBOX_BYTES_MAX, inbox.clone(), &name(), Instant::now());
    let (prefix, inbox) = (redis.prefix.clone(), inbox.clone());
    monoio::spawn(redis::subscribe(dialer(0)?, prefix, inbox, queue.clone(), Arc::clone(blocks)));
    monoio::spawn(redis::publish(dialer(1)?, redis.prefix.clone(), queue.clone(), Arc::clone(blocks)));
    Ok(queue)
}

/// Tells this gateway's marks from those of others. Process numbers do not: in containers they are alike.
fn name() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

/// Differs between processes and sessions, so that a fleet of gateways does not return to Redis in step.
fn seed(session: u64) -> u64 {
    let nanos =
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::from(since.subsec_nanos()));
    nanos ^ u64::from(std::process::id()) << 32 ^ session << 63
}

/// Makes the doorbell's rings end the loop's wait.
async fn pass_on(wakeup: Readiness, doorbell: Arc<Doorbell>, inbox: Inbox<Incoming>) {
    while wakeup.ready().await.is_ok() {
        doorbell.bell().drain();
        inbox.notify();
    }
}
