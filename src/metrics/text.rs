//! Every metric's name and help text in one table, and the table as OpenMetrics text.
//!
//! A family is a row of `FAMILIES`: name, help, labels, and where its values are read. To add a metric, add its value
//! to a block in [`super`], a row here, and a row in `docs/METRICS.md` (a test compares them). *Not here*: how the text is
//! written (`encode`, `classic`), who writes the values, who serves the text (`api`).

pub mod classic;
mod encode;
mod keys;
pub mod negotiate;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::registry::Registry;

use super::{Blocks, ConfigOutcome, process};
use crate::log;
use crate::redis::Role;
use fanfare_core::counters::histogram::{Histogram, Snapshot};
use fanfare_core::counters::total;
use fanfare_core::model::CloseReason;
use keys::{
    AUDIENCE, CAUSE, CLASS, CLOSED, DROP, FAILED, FOREIGN, FORMAT, HANDSHAKE, HELD, Key, LOG_DROP, OUTCOME,
    OVER, POLICY, PUBLISH, REFUSED, SEALED, SINK, SOURCE, STATE, THREAD, UNDER_WAY,
};

/// Media type of [`Exposition::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// First part of every name.
const PREFIX: &str = "fanfare";

/// All metrics of the process.
#[derive(Debug)]
pub struct Exposition {
    registry: Registry,
}

impl Exposition {
    /// Metrics over these blocks, of a process that started then.
    pub fn new(blocks: Arc<Blocks>, started: SystemTime) -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(Source { blocks, started }));
        Self { registry }
    }

    /// The values of now. Costs some microseconds a shard.
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(32 * 1024);
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .expect("a String takes every write, and no gauge exceeds i64");
        text
    }
}

/// A metric as its readers know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The family's name, prefix included; samples of a counter end in `_total`.
    pub name: String,
    /// `counter`, `gauge`, `histogram` or `info`.
    pub kind: &'static str,
    /// Labels.
    pub labels: Vec<&'static str>,
    /// The help text.
    pub help: &'static str,
}

impl Described {
    /// The names that its samples bear.
    pub fn samples(&self) -> Vec<String> {
        let ends: &[&str] = match self.kind {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            "info" => &["_info"],
            _ => &[""],
        };
        ends.iter().map(|end| format!("{}{end}", self.name)).collect()
    }
}

/// Every metric that the process has, in the order of the text.
pub fn described() -> Vec<Described> {
    let describe = |family: &Family| Described {
        name: format!("{PREFIX}_{}", family.name),
        kind: family.kind.label(),
        labels: family.labels(),
        help: family.help,
    };
    let build = Described {
        name: format!("{PREFIX}_{}", BUILD.0),
        kind: "info",
        labels: vec!["version"],
        help: BUILD.1,
    };
    FAMILIES.iter().map(describe).chain([build]).collect()
}

/// The family that says what runs: name and help.
const BUILD: (&str, &str) = ("build", "What this process runs");

/// Where the values come from.
#[derive(Debug)]
struct Source {
    blocks: Arc<Blocks>,
    started: SystemTime,
}

impl Source {
    /// A value of every shard, added up.
    fn sum(&self, read: impl Fn(&super::ShardBlock) -> u64) -> u64 {
        self.blocks.shards.iter().map(read).sum()
    }

    /// A histogram of every shard, added up.
    fn merged(&self, read: impl Fn(&super::ShardBlock) -> &Histogram) -> Snapshot {
        let mut merged = Snapshot::default();
        for shard in &self.blocks.shards {
            merged.add(read(shard));
        }
        merged
    }

    /// Connections of a shard in one of [`STATES`].
    fn connections_in(&self, shard: usize, state: usize) -> u64 {
        let block = &self.blocks.shards[shard];
        let closing = block.closing.get();
        match state {
            0 => block.handshakes.get(),
            1 => total(&block.connections).saturating_sub(closing),
            _ => closing,
        }
    }

    /// Open descriptors of a shard: as the kernel counts them, from Linux 6.2 on; before that, its connections.
    fn open_files_of(&self, shard: usize) -> u64 {
        let block = &self.blocks.shards[shard];
        match process::open_files(&format!("self/task/{}", block.thread.get())) {
            0 => total(&block.connections) + block.handshakes.get(),
            open => open,
        }
    }

    fn started_us(&self) -> u64 {
        self.started.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
    }
}

/// What a value is.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Only grows.
    Counter,
    /// Goes both ways.
    Gauge,
    /// Microseconds that only grow, shown as seconds.
    CounterSeconds,
    /// Microseconds, shown as seconds.
    GaugeSeconds,
    /// A distribution. Values are divided by the first number; bounds from the second to the third, indices of
    /// [`super::histogram::bound`], are shown.
    Histogram(u32, usize, usize),
}

/// One metric family. `read` takes the shard (0 when the family has no shard label) and the index of the key's value.
struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    per_shard: bool,
    key: Option<Key>,
    /// A second key; its values go round within each of the first's, and `read` takes the index of the pair.
    second: Option<Key>,
    /// A label that follows from the first key's value.
    also: Option<(&'static str, Derived)>,
    read: Reading,
}

/// A label's value, by the index of the key's.
type Derived = fn(usize) -> String;

/// How values are read.
#[derive(Clone, Copy)]
enum Reading {
    Value(Read),
    Histogram(fn(&Source, usize) -> Snapshot),
}

type Read = fn(&Source, usize, usize) -> u64;

const fn counter(name: &'static str, help: &'static str, read: Read) -> Family {
    Family {
        name,
        help,
        kind: Kind::Counter,
        per_shard: false,
        key: None,
        second: None,
        also: None,
        read: Reading::Value(read),
    }
}

const fn gauge(name: &'static str, help: &'static str, read: Read) -> Family {
    Family {
        name,
        help,
        kind: Kind::Gauge,
        per_shard: false,
        key: None,
        second: None,
        also: None,
        read: Reading::Value(read),
    }
}

/// Bounds are indices of [`super::histogram::bound`]: 3 a decade, 0 is 1.
const fn histogram(
    name: &'static str,
    help: &'static str,
    (per, from, to): (u32, usize, usize),
    read: fn(&Source, usize) -> Snapshot,
) -> Family {
    let kind = Kind::Histogram(per, from, to);
    Family {
        name,
        help,
        kind,
        per_shard: false,
        key: None,
        second: None,
        also: None,
        read: Reading::Histogram(read),
    }
}

impl Family {
    const fn per_shard(self) -> Self {
        Self { per_shard: true, ..self }
    }

    const fn by(self, key: Key) -> Self {
        Self { key: Some(key), ..self }
    }

    const fn and(self, second: Key) -> Self {
        Self { second: Some(second), ..self }
    }

    const fn with(self, name: &'static str, value: Derived) -> Self {
        Self { also: Some((name, value)), ..self }
    }

    /// The value is microseconds and is shown as seconds.
    const fn microseconds(self) -> Self {
        let kind = match self.kind {
            Kind::Counter | Kind::CounterSeconds => Kind::CounterSeconds,
            Kind::Gauge | Kind::GaugeSeconds => Kind::GaugeSeconds,
            Kind::Histogram(..) => self.kind,
        };
        Self { kind, ..self }
    }
}

/// Every metric except the build information. A counter's name gets `_total` in the text.
static FAMILIES: &[Family] = &[
    // Shards: connections.
    gauge("listening", "1 once the shard's listener is open", |s, i, _| s.blocks.shards[i].listening.get())
        .per_shard(),
    gauge("connections", "Connections now", |s, i, k| s.blocks.shards[i].connections[k].get())
        .per_shard()
        .by(FORMAT),
    gauge("connections_by_state", "Connections now, those under way to be one included", |s, i, k| {
        s.connections_in(i, k)
    })
    .per_shard()
    .by(STATE),
    histogram(
        "connection_duration_seconds",
        "Time from the handshake of a connection to its end, right to a sixteenth or 0.25 s",
        (1_000, 9, 24),
        |s, _| s.merged(|shard| &shard.lifetime_ms),
    ),
    counter("accepted", "TCP connections accepted", |s, i, _| s.blocks.shards[i].accepted.get()).per_shard(),
    counter("accept_errors", "Failures of accept itself", |s, i, _| s.blocks.shards[i].accept_errors.get())
        .per_shard(),
    gauge("accept_blocked", "1 while accept keeps failing, so that nobody can connect", |s, i, _| {
        s.blocks.shards[i].accept_blocked.get()
    })
    .per_shard(),
    counter("upgraded", "Handshakes that became connections", |s, i, _| s.blocks.shards[i].upgraded.get())
        .per_shard(),
    gauge("handshakes", "Connections that wait for the rest of their request", |s, i, _| {
        s.blocks.shards[i].handshakes.get()
    })
    .per_shard(),
    gauge(
        "handshake_bytes",
        "Bytes of those connections and of what has come of their requests",
        |s, i, _| s.blocks.shards[i].handshake_bytes.get(),
    )
    .per_shard(),
    counter("handshakes_failed", "Handshakes that did not become connections", |s, _, k| {
        s.sum(|shard| shard.handshakes_failed[k].get())
    })
    .by(HANDSHAKE),
    counter("closed", "Connections ended", |s, _, k| s.sum(|shard| shard.closed[k].get()))
        .by(CLOSED)
        .with("code", |i| CloseReason::ALL[i].code().map_or_else(String::new, |code| code.to_string())),
    gauge("shard_topics", "Topics with a member on the shard", |s, i, _| s.blocks.shards[i].topics.get())
        .per_shard(),
    gauge("memberships", "Memberships: a connection in a topic", |s, i, _| {
        s.blocks.shards[i].memberships.get()
    })
    .per_shard(),
    counter("joins_refused", "JOINs of one topic more than a connection may be in", |s, i, _| {
        s.blocks.shards[i].joins_refused.get()
    })
    .per_shard(),
    // Shards: delivery.
    counter("downlinks", "Downlinks taken from the ring", |s, i, _| s.blocks.shards[i].downlinks.get())
        .per_shard(),
    counter("rounds", "Fanout rounds begun", |s, i, _| s.blocks.shards[i].rounds.get()).per_shard(),
    counter("deliveries", "Messages taken whole by the kernel or an outbox, per connection", |s, i, _| {
        s.blocks.shards[i].deliveries.get()
    })
    .per_shard(),
    counter("deliveries_failed", "Messages not delivered, per connection", |s, i, k| {
        s.blocks.shards[i].deliveries_failed[k].get()
    })
    .per_shard()
    .by(FAILED),
    counter("sends", "Send requests given to the kernel", |s, i, _| s.blocks.shards[i].sends.get())
        .per_shard(),
    counter("sends_short", "Sends that the kernel took only partly or not at all", |s, i, _| {
        s.blocks.shards[i].sends_short.get()
    })
    .per_shard(),
    counter("sends_failed", "Sends that found the connection gone", |s, i, _| {
        s.blocks.shards[i].sends_failed.get()
    })
    .per_shard(),
    counter("frames", "WebSocket frames in sends", |s, i, _| s.blocks.shards[i].frames.get()).per_shard(),
    counter("send_bytes", "Bytes in sends", |s, i, _| s.blocks.shards[i].send_bytes.get()).per_shard(),
    counter("outbox_dropped", "Messages dropped by an outbox policy", |s, _, k| {
        s.sum(|shard| shard.outbox_dropped[k].get())
    })
    .by(POLICY),
    gauge("outbox_bytes", "Bytes allocated for outboxes, buffers that they share counted once", |s, i, _| {
        s.blocks.shards[i].outbox_bytes()
    })
    .per_shard(),
    gauge("outbox_owed_bytes", "Bytes that outboxes have still to send", |s, i, _| {
        s.blocks.shards[i].outbox_owed_bytes.get()
    })
    .per_shard(),
    gauge("outboxes", "Connections with an outbox", |s, i, _| s.blocks.shards[i].outboxes.get()).per_shard(),
    gauge("backlog_bytes", "Memory of batches taken from the ring and not finished", |s, i, _| {
        s.blocks.shards[i].backlog_bytes.get()
    })
    .per_shard(),
    gauge("backlog_held_bytes", "The part of the backlog that pushes hold up", |s, i, _| {
        s.blocks.shards[i].held_bytes.get()
    })
    .per_shard(),
    // Shards: input and the loop.
    counter("receive_bytes", "Bytes from clients", |s, i, _| s.blocks.shards[i].bytes_in.get()).per_shard(),
    gauge("partial_bytes", "Bytes allocated for unfinished messages of clients", |s, i, _| {
        s.blocks.shards[i].partial_bytes.get()
    })
    .per_shard(),
    counter("frames_received", "Frames from clients", |s, i, _| s.blocks.shards[i].frames_in.get())
        .per_shard(),
    counter("frames_ignored", "Data frames from clients that their format ignores", |s, i, _| {
        s.blocks.shards[i].frames_ignored.get()
    })
    .per_shard(),
    counter(
        "input_held_back",
        "Turns in which a connection's input was held back because it had used up its share",
        |s, i, _| s.blocks.shards[i].input_held_back.get(),
    )
    .per_shard(),
    counter("pings_sent", "WebSocket pings sent", |s, i, _| s.blocks.shards[i].pings_sent.get()).per_shard(),
    counter("turns", "Turns of the shard's loop", |s, i, _| s.blocks.shards[i].turns.get()).per_shard(),
    counter("pauses", "Times that the shard had no turn for a second or more", |s, i, _| {
        s.blocks.shards[i].pauses.get()
    })
    .per_shard(),
    gauge("turn_max_seconds", "Longest recent turn of the shard's loop", |s, i, _| {
        s.blocks.shards[i].turn_max_us.get()
    })
    .per_shard()
    .microseconds(),
    histogram(
        "turn_seconds",
        "What turns of the shard's loop took: how long input and other jobs wait",
        (1_000_000, 6, 18),
        |s, i| Snapshot::of(&s.blocks.shards[i].turn_us),
    )
    .per_shard(),
    gauge("config_edition", "Edition of the configuration that the shard goes by, 1 at start", |s, i, _| {
        s.blocks.shards[i].edition.get()
    })
    .per_shard(),
    // Rings.
    gauge("ring_bytes", "Memory of what is in the ring to the shard", |s, i, _| s.blocks.ring_bytes(i))
        .per_shard(),
    gauge("ring_downlinks", "Downlinks in the ring to the shard", |s, i, _| s.blocks.ring_downlinks(i))
        .per_shard(),
    counter("ring_stalls", "Times that the ingest core waited for the shard's ring", |s, i, _| {
        s.blocks.ring_stalls[i].get()
    })
    .per_shard(),
    // Ingest.
    counter("ingest_turns", "Turns of the ingest core's loop", |s, _, _| s.blocks.ingest.turns.get()),
    counter(
        "ingest_progress",
        "Items taken, directives obeyed and batches closed by the ingest core",
        |s, _, _| s.blocks.ingest.progress.get(),
    ),
    counter("ingest_waits", "Turns of the ingest core's loop that ended in a wait", |s, _, _| {
        s.blocks.ingest.waits.get()
    }),
    counter("drain_left", "Messages that a drain could not hand on in its time", |s, _, k| {
        s.blocks.ingest.drain_left[k].get()
    })
    .by(keys::LEFT),
    counter("messages", "Messages accepted by the ingest core", |s, _, k| {
        let ingest = &s.blocks.ingest;
        [&ingest.messages_redis, &ingest.messages_http][k].get()
    })
    .by(SOURCE),
    counter("message_bytes", "Payload bytes accepted by the ingest core", |s, _, _| {
        s.blocks.ingest.message_bytes.get()
    }),
    counter("messages_refused", "Messages that the ingest core did not accept", |s, _, k| {
        s.blocks.ingest.messages_refused[k].get()
    })
    .by(REFUSED),
    counter("batches_sealed", "Batches closed", |s, _, k| s.blocks.ingest.batches_sealed[k].get()).by(SEALED),
    histogram("batch_messages", "Messages of a batch", (1, 0, 9), |s, _| {
        Snapshot::of(&s.blocks.ingest.batch_messages)
    }),
    histogram("batch_bytes", "Payload bytes of a batch", (1, 6, 18), |s, _| {
        Snapshot::of(&s.blocks.ingest.batch_bytes)
    }),
    histogram(
        "merge_delay_seconds",
        "How long the first message of a batch waited for others",
        (1_000_000, 6, 18),
        |s, _| Snapshot::of(&s.blocks.ingest.merge_us),
    ),
    // Pushes.
    gauge("pushes", "Pushes that are not over", |s, _, k| {
        let control = &s.blocks.control;
        [&control.pushes_running, &control.pushes_paused][k].get()
    })
    .by(UNDER_WAY),
    counter("pushes_finished", "Pushes that are over", |s, _, k| s.blocks.control.pushes_finished[k].get())
        .by(OVER),
    counter("pushes_repeated", "Pushes by Redis whose id had been there before", |s, _, _| {
        s.blocks.ingest.pushes_repeated.get()
    }),
    counter("push_devices_sent", "Devices that pushes reached, one for each address", |s, _, _| {
        s.blocks.control.push_devices_sent.get()
    }),
    counter("push_devices_failed", "Devices that pushes did not reach", |s, _, k| {
        s.blocks.control.push_devices_failed[k].get()
    })
    .by(FAILED),
    histogram(
        "push_latency_seconds",
        "Time from the acceptance of a push until the kernel had all of it for a device",
        (1_000, 0, 18),
        |s, _| s.merged(|shard| &shard.push_latency_ms),
    ),
    gauge(
        "held_bytes",
        "Memory of batches for topics with pushes that run, counted once for all shards",
        |s, _, _| s.blocks.held.bytes(),
    ),
    gauge("open_messages", "Messages in open batches", |s, _, _| s.blocks.ingest.open_messages.get()),
    gauge("open_bytes", "Memory of messages in open batches", |s, _, _| s.blocks.ingest.open_bytes.get()),
    gauge("publish_bytes", "Memory of publish requests that wait for the ingest core", |s, _, _| {
        s.blocks.control.publish_bytes.get()
    }),
    gauge("redis_inbox_bytes", "Memory of messages from Redis that wait for the ingest core", |s, _, _| {
        s.blocks.ingest.inbox_bytes.get()
    }),
    gauge("topics", "Topics with state in the ingest core", |s, _, _| s.blocks.ingest.topics.get()),
    gauge("redis_configured", "1 if Redis is configured", |s, _, _| s.blocks.ingest.redis_configured.get()),
    gauge("redis_subscribed", "1 while the Redis subscription stands", |s, _, _| {
        s.blocks.ingest.redis_subscribed.get()
    }),
    gauge("redis_publishing", "1 while the Redis publishing session stands", |s, _, _| {
        s.blocks.ingest.redis_publishing.get()
    }),
    counter(
        "redis_gaps",
        "Times that the Redis subscription was lost: messages may have been missed",
        |s, _, _| s.blocks.ingest.redis_gaps.get(),
    ),
    counter("redis_gap_seconds", "Time without the Redis subscription, all gaps together", |s, _, _| {
        s.blocks.ingest.redis_gap_us.get()
    })
    .microseconds(),
    counter("redis_connect_errors", "Failed attempts to connect to Redis", |s, _, _| {
        s.blocks.ingest.redis_connect_errors.get()
    }),
    gauge(
        "redis_primary",
        "1 while the Redis server that is published to says that it is the primary",
        |s, _, _| u64::from(s.blocks.ingest.redis_role.get() == Role::Primary as u64),
    ),
    gauge(
        "redis_replica",
        "1 while that server says that it is a replica: publishes are refused",
        |s, _, _| u64::from(s.blocks.ingest.redis_role.get() == Role::Replica as u64),
    ),
    gauge("redis_publish_refused", "1 while Redis refuses to publish", |s, _, _| {
        u64::from(s.blocks.ingest.redis_publish_refused.get() != 0)
    }),
    counter("redis_published", "Messages that Redis took", |s, _, _| s.blocks.ingest.redis_published.get()),
    counter("redis_publish_failed", "Messages that Redis refused or whose fate is not known", |s, _, _| {
        s.blocks.ingest.redis_publish_failed.get()
    }),
    // The API.
    gauge("ready", "1 while /readyz says so", |s, _, _| s.blocks.control.ready.get()),
    counter("control_turns", "Turns of the control thread", |s, _, _| s.blocks.control.turns.get()),
    counter("api_requests", "API requests answered", |s, _, k| s.blocks.control.requests[k].get()).by(CLASS),
    gauge("api_connections", "API connections now", |s, _, _| s.blocks.control.connections.get()),
    gauge("api_streams", "Streams of events now", |s, _, _| s.blocks.control.streams.get()),
    counter("api_displaced", "API connections closed because a newcomer needed their place", |s, _, _| {
        s.blocks.control.displaced.get()
    }),
    gauge("api_bytes", "Bytes of large API requests under way, and of large answers not read", |s, _, k| {
        s.blocks.control.held_bytes[k].get()
    })
    .by(HELD),
    counter("api_panics", "API connections that ended in a caught panic", |s, _, _| {
        s.blocks.control.panics.get()
    }),
    counter("api_messages", "Messages that the API handed to the ingest core, per address", |s, _, k| {
        s.blocks.control.messages_taken[k].get()
    })
    .by(AUDIENCE),
    counter("publish_refused", "Publishes by HTTP that were refused", |s, _, k| {
        s.blocks.control.publish_refused[k].get()
    })
    .by(PUBLISH),
    counter(
        "api_foreign",
        "API requests refused because a web page of another site may have sent them",
        |s, _, k| s.blocks.control.foreign[k].get(),
    )
    .by(FOREIGN),
    // Lifecycle events.
    counter("events", "Lifecycle events noted by the shard", |s, i, _| s.blocks.shards[i].events.get())
        .per_shard(),
    counter("events_unnoted", "Lifecycle events dropped because the shard's ring was full", |s, i, _| {
        s.blocks.shards[i].events_dropped.get()
    })
    .per_shard(),
    counter("events_sent", "Lifecycle events that the receiver took", |s, _, k| {
        s.blocks.events.sinks[k].sent.get()
    })
    .by(SINK),
    counter("events_failed", "Attempts to reach the receiver of lifecycle events that failed", |s, _, k| {
        s.blocks.events.sinks[k].failed.get()
    })
    .by(SINK),
    counter("events_dropped", "Lifecycle events that the receiver will not get", |s, _, k| {
        let sink = &s.blocks.events.sinks[k / 3];
        [&sink.overflowed, &sink.refused, &sink.left][k % 3].get()
    })
    .by(SINK)
    .and(DROP),
    gauge("events_queue", "Lifecycle events that wait for the receiver", |s, _, k| {
        s.blocks.events.sinks[k].queue.get()
    })
    .by(SINK),
    gauge("events_queue_bytes", "Bytes of lifecycle events that wait for the receiver", |s, _, k| {
        s.blocks.events.sinks[k].queue_bytes.get()
    })
    .by(SINK),
    // The configuration.
    counter(
        "config_reloads",
        "Looks at the configuration, by what asked for them and what came of it",
        |s, _, k| {
            let (cause, outcome) = (k / ConfigOutcome::ALL.len(), k % ConfigOutcome::ALL.len());
            s.blocks.main.config_reloads[cause][outcome].get()
        },
    )
    .by(CAUSE)
    .and(OUTCOME),
    gauge("etcd_connected", "1 while the watch of etcd's keys stands", |s, _, _| {
        s.blocks.etcd.connected.get()
    }),
    gauge("etcd_revision", "Revision of etcd that is known", |s, _, _| s.blocks.etcd.revision.get()),
    counter(
        "etcd_connect_errors",
        "Attempts to reach etcd that failed, and connections that broke",
        |s, _, _| s.blocks.etcd.connect_errors.get(),
    ),
    counter("etcd_reads", "Times that all of etcd's keys were read", |s, _, _| s.blocks.etcd.reads.get()),
    gauge(
        "etcd_incomplete",
        "1 while etcd's keys cannot be read whole: those that were known before stay in force",
        |s, _, _| s.blocks.etcd.incomplete.get(),
    ),
    // The log.
    counter("log_lines_dropped", "Log lines that were not written", |_, _, k| {
        [log::COUNTS.full(), log::COUNTS.failed()][k]
    })
    .by(LOG_DROP),
    gauge("log_queue_bytes", "Bytes of log lines that wait to be written", |_, _, _| {
        log::COUNTS.bytes() as u64
    }),
    // The process.
    gauge("thread_stalled", "1 while the thread neither works nor waits", |s, _, k| {
        s.blocks.main.stalled[k].get()
    })
    .by(THREAD),
    gauge("shard_stalled", "1 while the shard's thread neither works nor waits", |s, i, _| {
        s.blocks.main.shards_stalled[i].get()
    })
    .per_shard(),
    gauge("process_resident_memory_bytes", "Resident memory of the process", |_, _, _| {
        process::resident_bytes()
    }),
    counter("process_cpu_seconds", "CPU time of the process, user and system", |_, _, _| process::cpu_us())
        .microseconds(),
    gauge("process_open_fds", "Open descriptors of the main table: all but the shards'", |_, _, _| {
        process::open_files("self")
    }),
    gauge("process_max_fds", "Soft limit of descriptors, for each table", |_, _, _| process::files_max()),
    gauge("shard_open_fds", "Open descriptors of the shard's own table", |s, i, _| s.open_files_of(i))
        .per_shard(),
    gauge("host_memory_bytes", "Memory of the host", |_, _, _| process::host_memory().total),
    gauge("host_memory_available_bytes", "Memory of the host that can be had without swapping", |_, _, _| {
        process::host_memory().available
    }),
    gauge("process_start_time_seconds", "Start of the process since the Unix epoch", |s, _, _| {
        s.started_us()
    })
    .microseconds(),
];

#[cfg(test)]
mod tests;
