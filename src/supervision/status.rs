//! How the gateway stands, in one line for `systemctl status`.

use crate::config::Config;
use crate::metrics::Blocks;

/// The line. It has no line break: in the protocol that would begin another assignment.
pub(super) fn line(blocks: &Blocks, config: &Config, is_draining: bool) -> String {
    let connections: u64 = blocks
        .shards
        .iter()
        .flat_map(|shard| &shard.connections)
        .map(fanfare_core::counters::Value::get)
        .sum();
    let count = |n: u64, noun: &str| format!("{n} {noun}{}", if n == 1 { "" } else { "s" });
    let connections = count(connections, "connection");
    let shards = count(blocks.shards.len() as u64, "shard");
    let redis = match &config.redis {
        None => "no Redis",
        Some(_) if blocks.ingest.redis_subscribed.get() == 0 => "Redis is gone",
        Some(_) if blocks.ingest.redis_publishing.get() == 0 => {
            "Redis subscribed, publishing is not possible"
        }
        Some(_) => "Redis subscribed",
    };
    if is_draining {
        format!("Draining: {connections} left on {shards}; {redis}")
    } else {
        format!("{connections} on {shards}; {redis}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Redis;

    #[test]
    fn it_counts_every_format_on_every_shard() {
        let blocks = Blocks::new(2);
        blocks.shards[0].connections[0].set(1);
        assert_eq!(line(&blocks, &Config::default(), false), "1 connection on 2 shards; no Redis");
        blocks.shards[1].connections[1].set(41);
        assert_eq!(
            line(&blocks, &Config::default(), true),
            "Draining: 42 connections left on 2 shards; no Redis"
        );
    }

    #[test]
    fn it_tells_which_redis_session_stands() {
        let blocks = Blocks::new(1);
        let url = "redis://:hunter2@cache".parse().expect("a URL");
        let config = Config { redis: Some(Redis { url, prefix: "fanfare:".into() }), ..Config::default() };
        let redis = || line(&blocks, &config, false).split_once("; ").map(|(_, redis)| redis.to_owned());
        assert_eq!(redis().as_deref(), Some("Redis is gone"));
        blocks.ingest.redis_subscribed.set(1);
        assert_eq!(redis().as_deref(), Some("Redis subscribed, publishing is not possible"));
        blocks.ingest.redis_publishing.set(1);
        assert_eq!(redis().as_deref(), Some("Redis subscribed"));
    }
}
