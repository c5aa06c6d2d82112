//! What one shard counts.

use std::sync::Arc;

use fanfare_core::counters::histogram::Histogram;
use fanfare_core::counters::{Value, total};
use fanfare_core::model::{CloseReason, FormatId};
use fanfare_core::push::share::Failed;
use fanfare_core::session::outbox::Dues;
use fanfare_core::websocket::handshake::HandshakeFailure;

use super::pulse::Pulse;

/// What one shard counts.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ShardBlock {
    /// 1 once the shard's listener is open.
    pub listening: Value,
    /// 1 from when the shard wants to be told of who comes to its listener until it looks there.
    pub at_door: Value,
    /// Connections now, by format.
    pub connections: [Value; FormatId::COUNT],
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
    /// Bytes of buffers that outboxes share, each once. Such a buffer has a reference, and takes itself off when it goes.
    pub outbox_shared_bytes: Arc<Value>,
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
    /// Times without a turn for longer than [`fanfare_core::limits::OWN_PAUSE`].
    pub pauses: Value,
    /// Turns of the loop, at least one a tick.
    pub turns: Value,
    /// Turns that ended in a wait for news or for a point in time. [`Pulse`] has it.
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

impl ShardBlock {
    /// Devices that are connected or about to be.
    pub fn devices(&self) -> u64 {
        total(&self.connections) + self.handshakes.get()
    }

    /// Counts that an outbox, or several, came to `before` and come to `after`.
    pub fn count_dues(&self, before: Dues, after: Dues) {
        let count = |value: &Value, before: usize, after: usize| {
            value.add(after as u64);
            value.sub(before as u64);
        };
        count(&self.outboxes, before.outboxes, after.outboxes);
        count(&self.outbox_owed_bytes, before.owed, after.owed);
        count(&self.outbox_own_bytes, before.own, after.own);
    }
}

impl ShardBlock {
    /// What the shard's loop has counted. Its work is what its other counters say was taken, sent, delivered, refused or
    /// ended; a report of the kernel that leads to none of these is no work, and costs the loop nothing to tell apart.
    pub fn pulse(&self) -> Pulse {
        let single = [
            &self.accepted,
            &self.upgraded,
            &self.downlinks,
            &self.deliveries,
            &self.sends,
            &self.sends_failed,
            &self.bytes_in,
            &self.pings_sent,
        ];
        let single = single.into_iter().map(Value::get).fold(0, u64::wrapping_add);
        let progress =
            [&self.handshakes_failed[..], &self.closed, &self.deliveries_failed, &self.outbox_dropped]
                .into_iter()
                .map(total)
                .fold(single, u64::wrapping_add);
        Pulse { turns: self.turns.get(), progress, waits: self.waits.get() }
    }
}
