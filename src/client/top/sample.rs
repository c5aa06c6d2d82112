//! What a gateway says about itself at one moment. Pure.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Deserialize;

use crate::client::Failure;
use crate::client::http;
use crate::client::views::Pushes;

/// The answers that make a sample.
#[derive(Debug, Default)]
pub struct Bodies {
    /// Of `/v1/shards`.
    pub shards: Vec<u8>,
    /// Of `/stats`.
    pub stats: Vec<u8>,
    /// Of `/metrics`.
    pub metrics: Vec<u8>,
    /// Of `/v1/pushes`.
    pub pushes: Vec<u8>,
    /// Of `/readyz`.
    pub ready: Vec<u8>,
}

/// All of it at about one moment.
#[derive(Debug)]
pub struct Sample {
    /// When it was asked for.
    pub at: Instant,
    /// One each.
    pub shards: Vec<Shard>,
    /// Of the process.
    pub stats: Stats,
    /// Connections accepted since the start, by shard.
    pub accepted: BTreeMap<usize, u64>,
    /// Those that run, and recent ones.
    pub pushes: Pushes,
    /// What it lacks.
    pub readiness: Readiness,
}

/// A shard's row of `/v1/shards`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // The API's own names and units.
pub struct Shard {
    pub shard: usize,
    pub listening: bool,
    pub connections: u64,
    pub connections_by_format: BTreeMap<String, u64>,
    pub topics: u64,
    pub deliveries: u64,
    pub send_bytes: u64,
    pub turn_max_us: u64,
    pub ring_bytes: u64,
    pub backlog_bytes: u64,
    pub outboxes: u64,
    pub outbox_bytes: u64,
}

/// What is read of `/stats`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(missing_docs)] // The API's own names and units.
pub struct Stats {
    pub uptime_seconds: u64,
    pub resident_bytes: u64,
    pub messages_from_redis: u64,
    pub messages_from_http: u64,
    pub redis_subscribed: bool,
    pub redis_gaps: u64,
    pub publish_refused: u64,
}

/// `/readyz`
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Readiness {
    /// It serves.
    pub ready: bool,
    /// Why it does not.
    #[serde(default)]
    pub missing: Vec<Missing>,
}

/// A part that is missing.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Missing {
    /// Its name.
    pub part: String,
    /// One sentence.
    pub message: String,
}

/// How the gateway stands with Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redis {
    /// None is configured.
    None,
    /// Messages come.
    Subscribed,
    /// It is configured and gone.
    Gone,
}

#[derive(Deserialize)]
struct Shards {
    shards: Vec<Shard>,
}

impl Sample {
    /// Reads the answers.
    pub fn read(at: Instant, bodies: &Bodies) -> Result<Self, Failure> {
        let Shards { shards } = http::read(&bodies.shards)?;
        Ok(Self {
            at,
            shards,
            stats: http::read(&bodies.stats)?,
            accepted: by_shard(&bodies.metrics, "fanfare_accepted_total"),
            pushes: http::read(&bodies.pushes)?,
            readiness: http::read(&bodies.ready)?,
        })
    }

    /// A value of every shard, added up.
    pub fn sum(&self, read: impl Fn(&Shard) -> u64) -> u64 {
        self.shards.iter().map(read).sum()
    }

    /// How it stands with Redis: a gateway without one misses nothing and is not subscribed.
    pub fn redis(&self) -> Redis {
        if self.readiness.missing.iter().any(|missing| missing.part == "redis_subscription") {
            Redis::Gone
        } else if self.stats.redis_subscribed {
            Redis::Subscribed
        } else {
            Redis::None
        }
    }

    /// Connections by format, those of all shards; the most common first.
    pub fn formats(&self) -> Vec<(&str, u64)> {
        let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
        for (format, connections) in self.shards.iter().flat_map(|shard| &shard.connections_by_format) {
            *sums.entry(format).or_default() += connections;
        }
        let mut sums: Vec<(&str, u64)> =
            sums.into_iter().filter(|(_, connections)| *connections > 0).collect();
        sums.sort_by_key(|(_, connections)| std::cmp::Reverse(*connections));
        sums
    }
}

/// The values of one metric by their `shard` label. Lines that are no such sample are passed over.
fn by_shard(metrics: &[u8], name: &str) -> BTreeMap<usize, u64> {
    let sample = |line: &[u8]| {
        let line = std::str::from_utf8(line).ok()?;
        let (labels, value) = line.strip_prefix(name)?.strip_prefix('{')?.split_once("} ")?;
        let shard = labels.split(',').find_map(|label| label.strip_prefix("shard=\"")?.strip_suffix('"'))?;
        // A time may follow the value.
        let value = value.split(' ').next()?;
        Some((shard.parse().ok()?, value.parse().ok()?))
    };
    metrics.split(|byte| *byte == b'\n').filter_map(sample).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use proptest::prelude::*;

    use super::*;
    use crate::api::views;
    use crate::metrics::Blocks;
    use crate::metrics::text::Exposition;

    /// The gateway's own answers about these counters.
    pub(in crate::client::top) fn sample(blocks: &Arc<Blocks>, after: Duration, pushes: &str) -> Sample {
        let started = SystemTime::now();
        let missing = views::missing(blocks, false, false, None);
        let ready = serde_json::json!({"ready": missing.is_empty(), "missing": missing});
        let json = |value: &serde_json::Value| value.to_string().into_bytes();
        let bodies = Bodies {
            shards: serde_json::to_vec(&views::shards(blocks)).expect("JSON"),
            stats: serde_json::to_vec(&views::stats(blocks, started)).expect("JSON"),
            metrics: Exposition::new(Arc::clone(blocks), started).text().into_bytes(),
            pushes: pushes.as_bytes().to_vec(),
            ready: json(&ready),
        };
        Sample::read(Instant::now() + after, &bodies).expect("the gateway's own answers")
    }

    pub(in crate::client::top) const NO_PUSHES: &str = r#"{"running":[],"recent":[]}"#;

    #[test]
    fn a_sample_is_what_the_gateway_says() {
        let blocks = Arc::new(Blocks::new(2));
        for (at, shard) in blocks.shards.iter().enumerate() {
            shard.listening.set(1);
            shard.accepted.set(100 + at as u64);
            shard.connections[0].set(7);
        }
        blocks.shards[1].connections[1].set(20);
        blocks.ingest.redis_subscribed.set(1);
        let sample = sample(&blocks, Duration::ZERO, NO_PUSHES);
        assert_eq!(sample.accepted, BTreeMap::from([(0, 100), (1, 101)]));
        assert_eq!(sample.sum(|shard| shard.connections), 34);
        let formats = sample.formats();
        assert_eq!((formats.len(), formats[0].1, formats[1].1), (2, 20, 14));
        assert_eq!(sample.redis(), Redis::Subscribed);
        assert!(sample.readiness.ready);
    }

    #[test]
    fn redis_that_is_gone_is_not_redis_that_is_not_wanted() {
        let mut sample = sample(&Arc::new(Blocks::new(1)), Duration::ZERO, NO_PUSHES);
        assert_eq!(sample.redis(), Redis::None);
        sample.readiness.missing.push(Missing { part: "redis_subscription".into(), message: "gone".into() });
        assert_eq!(sample.redis(), Redis::Gone);
    }

    #[test]
    fn an_answer_of_something_else_is_a_failure() {
        assert!(Sample::read(Instant::now(), &Bodies::default()).is_err());
    }

    proptest! {
        #[test]
        fn metrics_of_any_kind_are_read_or_passed_over(text in "(x_total|[{}\", =\\n]|shard|[0-9]){0,60}") {
            for value in by_shard(text.as_bytes(), "x_total").values() {
                prop_assert!(text.contains(&value.to_string()) || text.contains('0'));
            }
        }
    }
}
