//! The ingest core: what Redis and the API publish becomes batches, and batches go to every shard, in order.
//!
//! One thread, one loop over a closed set of events. When a shard's ring has no room the loop takes nothing, so its
//! inbox and its ring of requests fill, Redis feels TCP's back-pressure and publishers get 429. *Not here*: batches
//! (`batch`), rings (`ring`), what a shard does (never named here).

pub mod inbox;
pub mod publisher;
pub mod pushes;
pub mod redis;

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::batch::merger::Merger;
use crate::batch::{Address, Message, PayloadKind, Topic, seal};
use crate::config;
use crate::config::live::Edition;
use crate::downlink::Downlink;
use crate::limits::{
    DRAIN_REDIS, INGEST_TURN, MESSAGE_BYTES_MAX, REDIS_INBOX_MESSAGES_MAX, REDIS_OUTBOX_BYTES_MAX,
    STALL_RETRY, TICK,
};
use crate::metrics::{Blocks, Refused};
use crate::push::header::Header;
use crate::push::{self, Source};
use crate::redis::{Dialer, Lookup, Timing};
use crate::ring::broadcast::Broadcast;
use crate::ring::doorbell::Doorbell;
use crate::sys::clock::Clock;
use crate::sys::eventfd::EventFd;
use crate::sys::readiness::Readiness;
use inbox::Inbox;
use publisher::{Request, Requests};
use pushes::{Births, Pushes};
use redis::{Incoming, PublishQueue};

/// How long nothing may come from Redis before a drain believes that nothing more will.
const DRAIN_QUIET: Duration = Duration::from_millis(50);

/// What the ingest core is given at its start.
pub struct Seat {
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
    /// Pushes on their way to the control thread, which steers them.
    pub births: Births,
    /// Gives a lookup of Redis' host name a thread of its own.
    pub resolve: Box<dyn Fn(Lookup) -> io::Result<()> + Send>,
}

/// One thing that happens to the ingest core.
enum Event {
    Incoming(Incoming),
    Request(Request),
}

/// A publish on its way to Redis that its queue had no room for.
struct Held {
    channels: Channels,
    messages: Vec<Message>,
    /// How many of the messages times channels are in the queue already.
    done: usize,
}

/// Where a publish goes in Redis.
enum Channels {
    /// The channels of these addresses.
    Of(Vec<Address>),
    /// The channel of pushes.
    Push,
}

impl Channels {
    fn len(&self) -> usize {
        match self {
            Self::Of(addresses) => addresses.len(),
            Self::Push => 1,
        }
    }

    /// The name of one, without the prefix.
    fn name(&self, index: usize) -> String {
        match self {
            Self::Push => "push".to_owned(),
            Self::Of(addresses) => match &addresses[index] {
                Address::All => "all".to_owned(),
                Address::Topic(topic) => format!("topic:{}", topic.as_str()),
            },
        }
    }
}

/// Where a drain stands.
struct Draining {
    until: u64,
    quiet_since: u64,
}

/// The state of the loop.
struct Ingest {
    /// Time over which shards will spread their closes.
    drain: Duration,
    merger: Merger,
    broadcast: Broadcast,
    blocks: Arc<Blocks>,
    requests: Requests,
    inbox: Inbox<Incoming>,
    to_redis: Option<PublishQueue>,
    held: Option<Held>,
    draining: Option<Draining>,
    pushes: Pushes,
    clock: Clock,
}

/// Runs until a drain has handed its last downlink over.
pub async fn run(seat: Seat) -> io::Result<()> {
    let Seat { edition, requests, doorbell, broadcast, blocks, clock, births, resolve } = seat;
    let config = &edition.config;
    let inbox = Inbox::new(REDIS_INBOX_MESSAGES_MAX);
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
    let merger = Merger::new(config.merge, first_epoch);
    let mut ingest = Ingest {
        drain: config.server.drain,
        merger,
        broadcast,
        blocks,
        requests,
        inbox,
        to_redis,
        held: None,
        draining: None,
        pushes: Pushes::new(births, config.pacing.clone()),
        clock,
    };
    loop {
        ingest.blocks.ingest.turns.add(1);
        if let Some(shard) = ingest.broadcast.flush() {
            ingest.blocks.ring_stalls[shard].add(1);
            monoio::time::sleep(STALL_RETRY).await;
            ingest.blocks.ingest.waits.add(1);
            continue;
        }
        if ingest.draining.is_none() && ingest.pushes.is_full(&ingest.blocks) {
            ingest.blocks.ingest.push_stalls.add(1);
            ingest.seal_due();
            monoio::time::sleep(STALL_RETRY).await;
            ingest.blocks.ingest.waits.add(1);
            continue;
        }
        let taken = ingest.turn();
        ingest.blocks.ingest.progress.add(taken as u64);
        if ingest.draining.is_some() {
            if ingest.is_drained() {
                return ingest.finish().await;
            }
            monoio::time::sleep(STALL_RETRY).await;
            ingest.blocks.ingest.waits.add(1);
        } else if taken > 0 {
            // The sessions need their turn; a task that wakes itself would starve the timers.
            always.ready().await?;
        } else {
            doorbell.prepare_sleep();
            if ingest.requests.is_empty() {
                drop(monoio::time::timeout(ingest.pause(), ingest.inbox.wait()).await);
                ingest.blocks.ingest.waits.add(1);
            }
            doorbell.awake();
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
    let queue = PublishQueue::new(&redis.prefix, REDIS_OUTBOX_BYTES_MAX);
    monoio::spawn(redis::subscribe(dialer(0)?, redis.prefix.clone(), inbox.clone(), Arc::clone(blocks)));
    monoio::spawn(redis::publish(dialer(1)?, queue.clone(), Arc::clone(blocks)));
    Ok(queue)
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

impl Ingest {
    /// Microseconds of the process's clock.
    fn now(&self) -> u64 {
        self.clock.now_us()
    }

    /// How long the loop may sleep: a tick at most, so that a loop that stands still can be told from an idle one.
    fn pause(&self) -> Duration {
        if self.held.is_some() {
            return STALL_RETRY;
        }
        let due = self.merger.next_due();
        due.map_or(TICK, |due| Duration::from_micros(due.saturating_sub(self.now()).max(1)).min(TICK))
    }

    /// Takes a share of what waits, and seals what is due; returns how much was taken.
    fn turn(&mut self) -> usize {
        let now = self.now();
        let mut taken = 0;
        while taken < INGEST_TURN
            && !self.broadcast.is_waiting()
            && let Some(incoming) = self.inbox.try_pop()
        {
            self.handle(Event::Incoming(incoming), now);
            taken += 1;
        }
        self.try_held();
        while taken < 2 * INGEST_TURN
            && self.held.is_none()
            && !self.broadcast.is_waiting()
            && let Some(request) = self.requests.pop()
        {
            self.handle(Event::Request(request), now);
            taken += 1;
        }
        self.seal_due();
        self.blocks.ingest.open_messages.set(self.merger.open_messages() as u64);
        self.blocks.ingest.topics.set(self.merger.len() as u64);
        if taken > 0
            && let Some(draining) = &mut self.draining
        {
            draining.quiet_since = now;
        }
        taken
    }

    fn handle(&mut self, event: Event, now: u64) {
        match event {
            Event::Incoming(Incoming::Message { channel, payload }) => {
                if let Err(refused) = self.take_incoming(&channel, payload, now) {
                    self.blocks.ingest.messages_refused[refused as usize].add(1);
                }
            }
            // Nothing can be done about messages that did not come. The session has counted the gap; when topics have
            // a history, this is where their epochs change.
            Event::Incoming(Incoming::Gap) => {}
            Event::Request(Request::Publish { addresses, messages }) => {
                if self.to_redis.is_some() {
                    self.held = Some(Held { channels: Channels::Of(addresses), messages, done: 0 });
                    self.try_held();
                } else {
                    self.blocks.ingest.messages_http.add((messages.len() * addresses.len()) as u64);
                    for address in &addresses {
                        for message in &messages {
                            self.merge(address, message.clone(), now);
                        }
                    }
                }
            }
            Event::Request(Request::Push(new)) => {
                if self.to_redis.is_some() {
                    let message = Message { payload: new.request.to_json(&new.id), kind: PayloadKind::Json };
                    let channels = Channels::Push;
                    self.held = Some(Held { channels, messages: vec![message], done: 0 });
                    self.try_held();
                } else {
                    self.begin_push(new.id, new.request, Source::Http, new.accepted);
                }
            }
            Event::Request(Request::Inspect { position, census }) => {
                if let Some((next, epoch)) = self.merger.position(&census.address) {
                    position.fill(next.0, epoch.0);
                }
                self.broadcast.send(Downlink::Census(census));
            }
            Event::Request(Request::Configure(edition)) => {
                self.merger.configure(edition.config.merge, now);
                self.drain = edition.config.server.drain;
                self.pushes.configure(edition.config.pacing.clone());
                self.broadcast.send(Downlink::Configure(edition));
            }
            Event::Request(Request::Drain) => {
                let until = now + DRAIN_REDIS.as_micros() as u64;
                self.draining.get_or_insert(Draining { until, quiet_since: now });
            }
        }
    }

    /// A message from Redis, on a channel whose prefix is cut off.
    fn take_incoming(&mut self, channel: &Bytes, payload: Bytes, now: u64) -> Result<(), Refused> {
        if &channel[..] == b"push" {
            let request = self.read_request(&payload)?;
            self.blocks.ingest.messages_redis.add((request.messages.len() * request.to.len()) as u64);
            self.begin_push_of_redis(request);
            return Ok(());
        }
        let address = Self::address_of(channel, &payload)?;
        let header = self.read_header(&payload)?;
        self.blocks.ingest.messages_redis.add(1);
        match header {
            Header::None => self.merge(&address, Message { payload, kind: PayloadKind::Unknown }, now),
            Header::Push { is_job: false, payload, .. } => {
                self.merge(&address, Message { payload, kind: PayloadKind::Unknown }, now);
            }
            Header::Push { terms, id, is_job, payload } => {
                let messages = vec![Message { payload, kind: PayloadKind::Unknown }];
                self.begin_push_of_redis(push::request::Request {
                    to: vec![address],
                    messages,
                    terms,
                    id,
                    is_job,
                });
            }
        }
        Ok(())
    }

    /// The address that a channel, without its prefix, names.
    fn address_of(channel: &Bytes, payload: &Bytes) -> Result<Address, Refused> {
        if payload.len() > MESSAGE_BYTES_MAX {
            return Err(Refused::TooBig);
        }
        let channel = std::str::from_utf8(channel).map_err(|_| Refused::BadTopic)?;
        match channel.split_once(':') {
            None if channel == "all" => Ok(Address::All),
            Some(("topic", topic)) => Topic::new(topic).map(Address::Topic).map_err(|_| Refused::BadTopic),
            Some(("uid", _)) => Err(Refused::Uid),
            _ => Err(Refused::UnknownChannel),
        }
    }

    fn merge(&mut self, address: &Address, message: Message, now: u64) {
        self.blocks.ingest.message_bytes.add(message.payload.len() as u64);
        self.seal(|merger, sealed| merger.push(address, message, now, sealed));
    }

    /// Closes what is due: messages that were taken do not wait for those that are not.
    fn seal_due(&mut self) {
        let now = self.now();
        self.seal(|merger, sealed| merger.end_turn(now, sealed));
    }

    /// Lets the merger close batches, and sends each of them on.
    fn seal<T>(
        &mut self,
        act: impl FnOnce(&mut Merger, &mut dyn FnMut(crate::batch::Batch, crate::batch::merger::SealReason)) -> T,
    ) -> T {
        let Self { merger, broadcast, blocks, pushes, clock, .. } = self;
        act(merger, &mut |batch, reason| {
            let counters = &blocks.ingest;
            counters.batches_sealed[reason as usize].add(1);
            counters.batch_messages.record(batch.len() as u64);
            counters.batch_bytes.record(batch.payload_bytes() as u64);
            counters.merge_us.record(batch.merged_us);
            let push = pushes.by_rule(&batch, blocks, *clock);
            let batch = seal::seal(batch, blocks.formats_in_use());
            broadcast.send(match push {
                Some(push) => Downlink::Push(push, [batch].into()),
                None => Downlink::Batch(batch),
            });
        })
    }

    /// Moves a held publish on towards Redis, as far as there is room.
    fn try_held(&mut self) {
        let (Some(held), Some(queue)) = (&mut self.held, &self.to_redis) else { return };
        let total = held.channels.len() * held.messages.len();
        while held.done < total {
            let channel = held.channels.name(held.done / held.messages.len());
            let message = &held.messages[held.done % held.messages.len()];
            if queue.try_publish(channel.as_bytes(), message.payload.clone()).is_err() {
                return;
            }
            held.done += 1;
        }
        self.held = None;
    }

    /// Whether everything that entered before the drain has reached the merger, or had its time.
    fn is_drained(&self) -> bool {
        let Some(draining) = &self.draining else { return false };
        let now = self.now();
        if !self.requests.is_empty() {
            return false;
        }
        let settled = match &self.to_redis {
            None => true,
            // What this gateway publishes comes back through its own subscription.
            Some(queue) => {
                let quiet = now.saturating_sub(draining.quiet_since) >= DRAIN_QUIET.as_micros() as u64;
                self.held.is_none() && queue.is_empty() && self.inbox.is_empty() && quiet
            }
        };
        settled || now >= draining.until
    }

    /// Seals what is open, tells every shard to drain, and waits until each has been told.
    async fn finish(mut self) -> io::Result<()> {
        let now = self.now();
        self.seal(|merger, sealed| merger.drain(now, sealed));
        self.broadcast.send(Downlink::Drain(self.drain));
        while self.broadcast.flush().is_some() {
            self.blocks.ingest.turns.add(1);
            monoio::time::sleep(STALL_RETRY).await;
            self.blocks.ingest.waits.add(1);
        }
        Ok(())
    }
}
