//! What the ingest core counts.

use fanfare_core::counters::Value;
use fanfare_core::counters::histogram::Histogram;

use super::pulse::Pulse;
use super::refused::Refused;

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
    /// Batches sealed, by [`fanfare_core::ingest::merger::SealReason`].
    pub batches_sealed: [Value; fanfare_core::ingest::merger::SealReason::ALL.len()],
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
    /// What the server is, a [`Role`](crate::redis::Role).
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

impl IngestBlock {
    /// What the ingest loop has counted.
    pub fn pulse(&self) -> Pulse {
        Pulse { turns: self.turns.get(), progress: self.progress.get(), waits: self.waits.get() }
    }
}
