//! What kind of world a seed makes: sizes, rules, speeds.

use std::time::Duration;

use fanfare::config::Config;
use fanfare_core::ingest::merger::Merge;
use fanfare_core::model::{Clients, LivenessCounts};
use fanfare_core::session::bounds::{OutboxBounds, OutboxPolicy};

use crate::rng::Rng;

/// What happens when the world is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finale {
    /// Everybody is reset at once.
    MassLeave,
    /// The gateway drains, within this many milliseconds.
    Drain(u64),
    /// Nobody does anything for longer than any grace.
    Silence,
}

/// What the publisher does beside its ordinary traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flood {
    None,
    /// Messages as large as may be, while shards sleep: rings fill by bytes.
    Large,
    /// Thousands of batches of one message: rings fill by slots.
    Many,
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) shards: usize,
    pub(crate) topics: usize,
    pub(crate) clients_at_first: usize,
    pub(crate) clients_max: usize,
    pub(crate) steps: usize,
    pub(crate) merge: Merge,
    pub(crate) clients: Clients,
    pub(crate) outbox: OutboxBounds,
    pub(crate) message_bytes_max: usize,
    pub(crate) capacity_max: usize,
    /// Of a hundred clients, so many do not read as fast as they can.
    pub(crate) slow_percent: usize,
    /// Of a hundred slow clients, so many never read again.
    pub(crate) stalled_percent: usize,
    /// Of a hundred steps, so many pass without a turn of a shard.
    pub(crate) lazy_percent: usize,
    /// Of a hundred acts, so many are about topics; the same for what ends a connection.
    pub(crate) topic_percent: usize,
    pub(crate) ending_percent: usize,
    /// Of a hundred acts that can be repeated, so many are said hundreds of times in one go.
    pub(crate) flood_percent: usize,
    /// Of a hundred steps, so many last for seconds in which no shard has a turn.
    pub(crate) pause_percent: usize,
    /// Membership changes only while a shard has nothing on its way: its counters must be exact.
    pub(crate) is_calm: bool,
    pub(crate) flood: Flood,
    pub(crate) finale: Finale,
    /// Of a hundred steps, so many begin a push, and so many steer one.
    pub(crate) push_percent: usize,
    pub(crate) steer_percent: usize,
    /// Devices a second of all pushes together.
    pub(crate) cap: Option<u32>,
    /// The end comes while pushes run.
    pub(crate) is_cut_short: bool,
}

impl Plan {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let is_big = rng.percent(6);
        let is_calm = rng.percent(35);
        let policy = *rng.pick(&[
            OutboxPolicy::Close,
            OutboxPolicy::Close,
            OutboxPolicy::DropOldest,
            OutboxPolicy::LatestOnly,
        ]);
        let flood = match rng.below(60) {
            0 => Flood::Large,
            1 if !is_big => Flood::Many,
            _ => Flood::None,
        };
        let push_percent = if is_calm || flood != Flood::None { 0 } else { *rng.pick(&[0, 3, 10]) };
        let age_s = if rng.percent(25) { rng.between(1, 3) } else { 3600 };
        let liveness_s = if rng.percent(20) { rng.between(2, 6) } else { 3600 };
        let counts = if rng.percent(30) { LivenessCounts::PingOnly } else { LivenessCounts::AnyFrame };
        Self {
            shards: if is_big { 1 } else { rng.between(1, 3) },
            topics: rng.between(1, if is_big { 2 } else { 6 }),
            clients_at_first: if is_big { rng.between(1040, 1500) } else { rng.between(0, 24) },
            clients_max: if is_big { 1600 } else { rng.between(4, 60) },
            steps: if is_big { 40 } else { rng.between(60, 260) },
            merge: Merge {
                messages_max: if flood == Flood::Many { 1 } else { rng.scale(1, 100) },
                bytes_max: rng.scale(100, 32 * 1024),
                delay: Duration::from_micros(rng.below(20_000) as u64),
            },
            clients: Clients {
                message_bytes_max: 4096,
                message_deadline: Duration::from_secs(3600),
                partial_bytes_max: 1 << 30,
                upgrade_deadline: Duration::from_secs(10),
                handshakes_max: 1,
                topics_max: rng.between(1, 5),
                auto_join: Vec::new(),
                liveness: Duration::from_secs(liveness_s as u64),
                liveness_counts: counts,
                server_ping: rng.percent(40),
                idle_after: None,
                ..Config::default().clients
            },
            outbox: OutboxBounds {
                bytes_max: rng.scale(1_000, 64 * 1024),
                total_bytes_max: 1 << 30,
                age_max: Duration::from_secs(age_s as u64),
                policy,
            },
            message_bytes_max: if rng.percent(10) { 40_000 } else { rng.scale(8, 3000) },
            capacity_max: rng.scale(64, 1 << 17),
            slow_percent: if is_big { 3 } else { *rng.pick(&[0, 10, 40, 80]) },
            stalled_percent: *rng.pick(&[0, 20, 60]),
            lazy_percent: *rng.pick(&[0, 10, 50, 80]),
            topic_percent: *rng.pick(&[10, 40, 70]),
            ending_percent: if is_calm { 0 } else { *rng.pick(&[0, 2, 6]) },
            flood_percent: if is_big || !rng.percent(20) { 0 } else { 3 },
            pause_percent: if push_percent > 0 || !rng.percent(30) { 0 } else { 2 },
            is_calm,
            flood,
            push_percent,
            steer_percent: *rng.pick(&[2, 10, 30]),
            cap: rng.percent(30).then(|| rng.scale(10, 2_000) as u32),
            is_cut_short: push_percent > 0 && rng.percent(30),
            finale: *rng.pick(&[
                Finale::MassLeave,
                Finale::Silence,
                Finale::Drain(0),
                Finale::Drain(900),
                Finale::Drain(3_000),
            ]),
        }
    }

    /// Whether an outbox can become too old.
    pub(crate) fn may_age(&self) -> bool {
        self.outbox.age_max < Duration::from_secs(60)
    }

    /// Whether a silence can become too long.
    pub(crate) fn may_fall_silent(&self) -> bool {
        self.clients.liveness < Duration::from_secs(60)
    }

    pub(crate) fn keeps_all(&self) -> bool {
        self.outbox.policy == OutboxPolicy::Close
    }
}
