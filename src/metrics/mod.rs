//! Counters: one padded block per thread, each value written by one thread and read by any, mostly the control thread.
//!
//! A write is a plain load and store (no locked instruction): the block's owner is the only writer. *Not here*: names
//! and help texts (`text`), who serves them (`api`).

pub mod histogram;
pub mod process;
pub mod pulse;
mod refused;
pub mod text;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::batch::charge::Total;
use crate::connection::reason::CloseReason;
use crate::formats::FORMATS;
use crate::push::registry::State;
use crate::push::share::Failed;
use histogram::Histogram;
use pulse::Working;

pub use refused::{Audience, PublishRefused, Refused};

/// A value with one writer and any number of readers.
#[derive(Debug, Default)]
pub struct Value(AtomicU64);

impl Value {
    /// Adds to a counter. Only the block's owner calls this.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Takes from a gauge. Only the block's owner calls this.
    #[inline]
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(n), Ordering::Relaxed);
    }

    /// Sets a gauge. Only the block's owner calls this.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// Reads; any thread.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Values added up.
pub fn total(values: &[Value]) -> u64 {
    values.iter().map(Value::get).sum()
}

/// What one shard counts.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ShardBlock {
    /// 1 once the shard's listener is open.
    pub listening: Value,
    /// 1 from when the shard wants to be told of who comes to its listener until it looks there.
    pub at_door: Value,
    /// Connections now, by format.
    pub connections: [Value; FORMATS.len()],
    /// Those of them that are not open any more: one side has said Close.
    pub closing: Value,
    /// How long connections that ended had lasted, milliseconds.
    pub lifetime_ms: Histogram,
    /// Time from a push's acceptance to a device that it reached, milliseconds.
    pub push_latency_ms: Histogram,
    /// The thread's id, 0 until it has begun: its descriptor table is found by it.
    pub thread: Value,
    /// TCP connections accepted.
    pub accepted: Value,
    /// Failures of accept itself (EMFILE, …).
    pub accept_errors: Value,
    /// 1 while accept keeps failing, so that nobody can connect to the shard.
    pub accept_blocked: Value,
    /// Upgrades that became connections.
    pub upgraded: Value,
    /// Upgrades that did not, by [`HandshakeFailure`].
    pub handshakes_failed: [Value; HandshakeFailure::ALL.len()],
    /// Handshakes under way now.
    pub handshakes: Value,
    /// Bytes that those hold, as allocated.
    pub handshake_bytes: Value,
    /// Lifecycle events that the shard noted.
    pub events: Value,
    /// Those that found no room in its ring to the events thread.
    pub events_dropped: Value,
    /// Connections ended, by [`CloseReason`].
    pub closed: [Value; CloseReason::ALL.len()],
    /// Topics with at least one member on this shard.
    pub topics: Value,
    /// Memberships (a connection in a topic).
    pub memberships: Value,
    /// JOINs of one topic more than a connection may be in.
    pub joins_refused: Value,
    /// Downlinks taken from the ring.
    pub downlinks: Value,
    /// Payload bytes taken from the ring and released again (the ring's byte bound reads it).
    pub downlink_bytes_released: Value,
    /// Fanout rounds begun.
    pub rounds: Value,
    /// Messages delivered: all their bytes were taken by the kernel or by an outbox.
    pub deliveries: Value,
    /// Send requests given to the kernel (a round's frames for one connection are one send).
    pub sends: Value,
    /// WebSocket frames of messages in those sends.
    pub frames: Value,
    /// Bytes of messages in those sends; an answer that takes them along is not in it.
    pub send_bytes: Value,
    /// Sends that the kernel took only partly or not at all.
    pub sends_short: Value,
    /// Sends that found the connection gone.
    pub sends_failed: Value,
    /// Messages that were not delivered, by [`Failed`].
    pub deliveries_failed: [Value; Failed::ALL.len()],
    /// Messages dropped by an outbox policy other than close, by policy (drop-oldest, latest-only).
    pub outbox_dropped: [Value; 2],
    /// Bytes that outboxes have still to send.
    pub outbox_owed_bytes: Value,
    /// Bytes allocated for outboxes, each for one alone.
    pub outbox_own_bytes: Value,
    /// Bytes of buffers that outboxes share, each once.
    pub outbox_shared_bytes: Value,
    /// Bytes allocated for the unfinished messages and frames of clients.
    pub partial_bytes: Value,
    /// Connections with an outbox now.
    pub outboxes: Value,
    /// Memory of batches taken from the ring and not finished.
    pub backlog_bytes: Value,
    /// The part of it that waits behind pushes which have a pace or stand still.
    pub held_bytes: Value,
    /// Bytes from clients.
    pub bytes_in: Value,
    /// Frames from clients.
    pub frames_in: Value,
    /// Data frames from clients that their format ignores.
    pub frames_ignored: Value,
    /// Times that a connection's input was held back until a later turn.
    pub input_held_back: Value,
    /// WebSocket pings that the gateway sent.
    pub pings_sent: Value,
    /// Longest turn of the loop since the last look, microseconds.
    pub turn_max_us: Value,
    /// What turns of the loop took, microseconds.
    pub turn_us: Histogram,
    /// Times without a turn for longer than [`crate::limits::OWN_PAUSE`].
    pub pauses: Value,
    /// Turns of the loop, at least one a tick.
    pub turns: Value,
    /// Turns that ended in a wait for news or for a point in time. [`pulse`] reads it.
    pub waits: Value,
    /// Number of the configuration's edition that the shard goes by.
    pub edition: Value,
}

impl ShardBlock {
    /// Bytes allocated for outboxes now.
    pub fn outbox_bytes(&self) -> u64 {
        self.outbox_own_bytes.get() + self.outbox_shared_bytes.get()
    }
}

/// Why a handshake did not become a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum HandshakeFailure {
    /// Not an upgrade to WebSocket, or a head that is no HTTP (400).
    BadRequest,
    /// `Sec-WebSocket-Version` other than 13 (426).
    BadVersion,
    /// No such path (404).
    NotFound,
    /// Head above its bound (431).
    HeadTooBig,
    /// The deadline passed (408).
    Timeout,
    /// Too many handshakes at once, too many bytes in them, or draining (503).
    Overload,
    /// No descriptor is free for one more connection (503).
    NoDescriptor,
    /// The client went away.
    Gone,
}

impl HandshakeFailure {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 8] = [
        Self::BadRequest,
        Self::BadVersion,
        Self::NotFound,
        Self::HeadTooBig,
        Self::Timeout,
        Self::Overload,
        Self::NoDescriptor,
        Self::Gone,
    ];

    /// Label in `handshakes_failed_total{reason}`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::BadVersion => "bad_version",
            Self::NotFound => "not_found",
            Self::HeadTooBig => "head_too_big",
            Self::Timeout => "timeout",
            Self::Overload => "overload",
            Self::NoDescriptor => "no_descriptor",
            Self::Gone => "gone",
        }
    }
}

/// What the ingest core counts.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct IngestBlock {
    /// Turns of the loop, at least one a tick.
    pub turns: Value,
    /// Units of work done: things taken, things handed on. A turn that finds work and cannot do it adds none.
    pub progress: Value,
    /// Turns that ended in a wait for something outside the thread: news, room in a ring, a point in time.
    pub waits: Value,
    /// Messages that a drain could not hand on, by [`Left`].
    pub drain_left: [Value; Left::ALL.len()],
    /// Messages accepted, from Redis.
    pub messages_redis: Value,
    /// Messages accepted, from the HTTP API directly.
    pub messages_http: Value,
    /// Payload bytes accepted.
    pub message_bytes: Value,
    /// Messages refused, by [`Refused`].
    pub messages_refused: [Value; Refused::ALL.len()],
    /// Batches sealed, by [`crate::batch::merger::SealReason`].
    pub batches_sealed: [Value; crate::batch::merger::SealReason::ALL.len()],
    /// Messages of a batch.
    pub batch_messages: Histogram,
    /// Payload bytes of a batch.
    pub batch_bytes: Histogram,
    /// How long the first message of a batch waited for others, microseconds.
    pub merge_us: Histogram,
    /// Messages in open batches now.
    pub open_messages: Value,
    /// Memory of those.
    pub open_bytes: Value,
    /// Memory of messages from Redis that wait for the loop.
    pub inbox_bytes: Value,
    /// Topics with state now.
    pub topics: Value,
    /// 1 if Redis is configured.
    pub redis_configured: Value,
    /// Pushes made.
    pub pushes_begun: Value,
    /// Pushes whose name had been there before.
    pub pushes_repeated: Value,
    /// 1 while the subscription stands.
    pub redis_subscribed: Value,
    /// 1 while the publishing session stands.
    pub redis_publishing: Value,
    /// Why Redis refused the last publish or probe of one, a [`RefusalKind`](crate::redis::RefusalKind).
    pub redis_publish_refused: Value,
    /// Why it refused the last attempt to subscribe, the same.
    pub redis_subscribe_refused: Value,
    /// What the server is, a [`Role`](crate::ingest::redis::Role).
    pub redis_role: Value,
    /// Times that the subscription was lost after it stood: messages may have been missed.
    pub redis_gaps: Value,
    /// Microseconds without a subscription, all gaps together.
    pub redis_gap_us: Value,
    /// Attempts to connect that failed.
    pub redis_connect_errors: Value,
    /// Messages published to Redis and acknowledged by it.
    pub redis_published: Value,
    /// Messages that were given to Redis and whose fate is not known, or that it refused.
    pub redis_publish_failed: Value,
}

/// Where a drain that is out of time leaves messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Left {
    /// In the ring of the API's requests.
    Api,
    /// On their way to Redis: not sent, or not answered.
    ToRedis,
    /// In the inbox of the subscription.
    FromRedis,
    /// In front of a shard's ring.
    Ring,
}

impl Left {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 4] = [Self::Api, Self::ToRedis, Self::FromRedis, Self::Ring];

    /// Label in `drain_left_total{at}`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::ToRedis => "to_redis",
            Self::FromRedis => "from_redis",
            Self::Ring => "ring",
        }
    }
}

/// Why a request is taken for that of a page of another site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Foreign {
    /// It calls the gateway by a name that nobody listed.
    Host,
    /// Its browser says so.
    Origin,
}

impl Foreign {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 2] = [Self::Host, Self::Origin];

    /// Label in `api_foreign_total{reason}`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Origin => "origin",
        }
    }
}

/// What the control thread counts itself.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ControlBlock {
    /// Turns of a task that does nothing else, one a tick: the thread's runtime works.
    pub turns: Value,
    /// Times that this task's timer fired. The runtime looks at timers only when no task can run, so a task that wakes
    /// itself stops this.
    pub waits: Value,
    /// API requests answered, by status class (1xx at 0).
    pub requests: [Value; 5],
    /// Memory of publish requests that the ingest core has not taken, when the metrics were read.
    pub publish_bytes: Value,
    /// Publishes refused, by [`PublishRefused`].
    pub publish_refused: [Value; PublishRefused::ALL.len()],
    /// Requests that a page of another site may have sent, by [`Foreign`].
    pub foreign: [Value; Foreign::ALL.len()],
    /// Messages handed to the ingest core, one per address that they are for, by [`Audience`].
    pub messages_taken: [Value; Audience::ALL.len()],
    /// Messages of well-formed publishes that found no room or no Redis, by [`Audience`].
    pub messages_turned_away: [Value; Audience::ALL.len()],
    /// 1 while `/readyz` says so; looked at when the metrics are read.
    pub ready: Value,
    /// API connections now.
    pub connections: Value,
    /// Streams of events now.
    pub streams: Value,
    /// API connections that were closed for a newcomer.
    pub displaced: Value,
    /// Bytes of API requests that arrive or are answered, and of answers that their clients have not read.
    pub held_bytes: [Value; 2],
    /// API connections that ended in a caught panic.
    pub panics: Value,
    /// Pushes that the ingest core made and that are over, since the start.
    pub pushes_over: Value,
    /// Pushes that are over, by [`State::OVER`](crate::push::registry::State::OVER).
    pub pushes_finished: [Value; State::OVER.len()],
    /// Pushes that wait or run now.
    pub pushes_running: Value,
    /// Pushes that stand still now.
    pub pushes_paused: Value,
    /// Devices that pushes reached.
    pub push_devices_sent: Value,
    /// Devices that pushes did not reach, by [`Failed`].
    pub push_devices_failed: [Value; Failed::ALL.len()],
}

/// A receiver of lifecycle events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EventSink {
    /// The Redis channel or stream.
    Redis,
    /// The webhook.
    Webhook,
}

impl EventSink {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 2] = [Self::Redis, Self::Webhook];

    /// Label in `events_sent_total{sink}`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Webhook => "webhook",
        }
    }
}

/// What one receiver of lifecycle events comes to. `sent`, `failed` and `refused` are written by who delivers to it, the
/// others by the events thread.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct EventSinkBlock {
    /// Events that it took.
    pub sent: Value,
    /// Attempts to reach it, or to deliver a batch, that failed. The batch is delivered again.
    pub failed: Value,
    /// Events of batches that it will never take.
    pub refused: Value,
    /// Events that found its queue full.
    pub overflowed: Value,
    /// Events that it had not taken when the process ended.
    pub left: Value,
    /// Events in its queue now.
    pub queue: Value,
    /// Bytes in its queue now.
    pub queue_bytes: Value,
}

/// What the events thread counts.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct EventsBlock {
    /// Turns of the loop, at least one a tick.
    pub turns: Value,
    /// Records taken from the journals.
    pub progress: Value,
    /// Turns that ended in a wait for the next look.
    pub waits: Value,
    /// By [`EventSink`].
    pub sinks: [EventSinkBlock; EventSink::ALL.len()],
}

/// What made the main thread look at the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ConfigCause {
    /// SIGHUP.
    Signal,
    /// The file was saved.
    Save,
    /// etcd's keys have changed.
    Etcd,
    /// `PATCH /v1/config`.
    Api,
}

impl ConfigCause {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 4] = [Self::Signal, Self::Save, Self::Etcd, Self::Api];

    /// Label in `config_reloads_total{source}`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Save => "save",
            Self::Etcd => "etcd",
            Self::Api => "api",
        }
    }
}

/// What came of a look at the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ConfigOutcome {
    /// Something took effect.
    Applied,
    /// Nothing that is live has changed.
    Unchanged,
    /// Something was wrong; the old one stays.
    Refused,
}

impl ConfigOutcome {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 3] = [Self::Applied, Self::Unchanged, Self::Refused];

    /// Label in `config_reloads_total{outcome}`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
        }
    }
}

/// What the main thread counts.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct MainBlock {
    /// Looks at the configuration, by [`ConfigCause`] and [`ConfigOutcome`].
    pub config_reloads: [[Value; ConfigOutcome::ALL.len()]; ConfigCause::ALL.len()],
    /// 1 while a thread is stuck, by [`Working`].
    pub stalled: [Value; Working::ALL.len()],
    /// 1 while a shard is stuck.
    pub shards_stalled: Box<[Value]>,
}

impl MainBlock {
    /// Names of the threads that are stuck now.
    pub fn stalled(&self) -> Vec<String> {
        let others =
            Working::ALL.into_iter().zip(&self.stalled).map(|(thread, is)| (thread.label().to_owned(), is));
        let shards =
            self.shards_stalled.iter().enumerate().map(|(number, is)| (format!("shard-{number}"), is));
        shards.chain(others).filter(|(_, is)| is.get() == 1).map(|(name, _)| name).collect()
    }
}

/// What the etcd thread counts.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct EtcdBlock {
    /// 1 while the watch stands.
    pub connected: Value,
    /// The revision that is known.
    pub revision: Value,
    /// Attempts that failed, and connections that broke.
    pub connect_errors: Value,
    /// Times that everything was read: at first, and after each watch that ended.
    pub reads: Value,
    /// 1 while what is below the prefix cannot be read whole.
    pub incomplete: Value,
}

/// Every block of the process; shared by reference count, written by their owners.
#[derive(Debug)]
pub struct Blocks {
    /// One per shard.
    pub shards: Box<[ShardBlock]>,
    /// The ingest core's.
    pub ingest: IngestBlock,
    /// The control thread's.
    pub control: ControlBlock,
    /// The events thread's, and its receivers'.
    pub events: EventsBlock,
    /// The main thread's.
    pub main: MainBlock,
    /// The etcd thread's.
    pub etcd: EtcdBlock,
    /// What waits behind pushes; charged by ingest, given back by whoever drops a batch last.
    pub held: Arc<Total>,
    /// One ring's depth per shard, written by ingest: bytes pushed so far.
    pub ring_bytes_pushed: Box<[Value]>,
    /// Downlinks pushed so far, per shard; written by ingest.
    pub ring_downlinks_pushed: Box<[Value]>,
    /// Times that ingest had to wait for a shard's ring; written by ingest.
    pub ring_stalls: Box<[Value]>,
}

impl Blocks {
    /// Which formats any connection speaks now.
    pub fn formats_in_use(&self) -> [bool; FORMATS.len()] {
        std::array::from_fn(|format| self.shards.iter().any(|shard| shard.connections[format].get() > 0))
    }

    /// Blocks for that many shards, all zero.
    pub fn new(shards: usize) -> Self {
        Self {
            shards: (0..shards).map(|_| ShardBlock::default()).collect(),
            ingest: IngestBlock::default(),
            control: ControlBlock::default(),
            events: EventsBlock::default(),
            main: MainBlock {
                shards_stalled: (0..shards).map(|_| Value::default()).collect(),
                ..MainBlock::default()
            },
            etcd: EtcdBlock::default(),
            held: Arc::default(),
            ring_bytes_pushed: (0..shards).map(|_| Value::default()).collect(),
            ring_downlinks_pushed: (0..shards).map(|_| Value::default()).collect(),
            ring_stalls: (0..shards).map(|_| Value::default()).collect(),
        }
    }

    /// Payload bytes in a shard's ring now. The two values are read one after the other: the answer is never below 0,
    /// and may be off by what moved meanwhile.
    pub fn ring_bytes(&self, shard: usize) -> u64 {
        let released = self.shards[shard].downlink_bytes_released.get();
        self.ring_bytes_pushed[shard].get().saturating_sub(released)
    }

    /// Downlinks in a shard's ring now; as exact as [`Blocks::ring_bytes`].
    pub fn ring_downlinks(&self, shard: usize) -> u64 {
        let taken = self.shards[shard].downlinks.get();
        self.ring_downlinks_pushed[shard].get().saturating_sub(taken)
    }
}
