//! What the API shows of the blocks, as JSON shapes. Pure, except for the process's resident memory.
//!
//! `/stats` speaks go-push's camel case, everything under `/v1` snake case. *Not here*: the metrics' text
//! (`metrics::text`).

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Serialize;

use crate::metrics::{Audience, Blocks, PublishRefused, ShardBlock, process};
use crate::redis::{RefusalKind, Role};
use fanfare_core::counters::{Value, total};
use fanfare_core::model::FormatId;
use fanfare_core::protocols;

/// The answer to `/v1/push`.
#[derive(Debug, Serialize)]
pub struct Accepted {
    /// Names the push; later ones of the same process sort after it.
    pub id: String,
    /// Messages taken, each for every address of the push.
    pub accepted: usize,
    /// Devices that it is for, where that is known.
    pub targeted: Option<u64>,
    /// The same push was accepted before, and is not sent again.
    pub duplicate: bool,
}

/// The answer to `/v1/topics/{topic}`.
#[derive(Debug, Serialize)]
pub struct TopicView<'a> {
    topic: &'a str,
    members: u64,
    offset: u64,
    epoch: String,
}

impl<'a> TopicView<'a> {
    /// `offset` is the one that the next message will get. The epoch is shown as hex: it uses all 64 bits, and JSON
    /// numbers of most readers keep 53.
    pub fn new(topic: &'a str, members: u64, offset: u64, epoch: u64) -> Self {
        Self { topic, members, offset, epoch: format!("{epoch:016x}") }
    }
}

/// The answer to `/stats`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    // go-push's keys.
    online_connections: u64,
    send_message_total: u64,
    send_message_fail: u64,
    dispatch_pending: u64,
    push_job_pending: u64,
    dispatch_fail: u64,
    room_count: u64,
    merger_pending: u64,
    merger_room_total: u64,
    merger_all_total: u64,
    merger_room_fail: u64,
    merger_all_fail: u64,
    // Ours.
    shards: usize,
    uptime_seconds: u64,
    resident_bytes: u64,
    sends_total: u64,
    messages_from_redis: u64,
    messages_from_http: u64,
    redis_subscribed: bool,
    redis_gaps: u64,
    publish_refused: u64,
}

/// The counters as go-push's callers know them.
pub fn stats(blocks: &Blocks, started: SystemTime) -> Stats {
    let sum = |read: fn(&ShardBlock) -> u64| blocks.shards.iter().map(read).sum();
    let (ingest, control) = (&blocks.ingest, &blocks.control);
    Stats {
        online_connections: sum(|shard| total(&shard.connections)),
        send_message_total: sum(|shard| shard.deliveries.get()),
        send_message_fail: sum(|shard| total(&shard.deliveries_failed)),
        dispatch_pending: (0..blocks.shards.len()).map(|shard| blocks.ring_bytes(shard)).sum(),
        push_job_pending: sum(|shard| shard.backlog_bytes.get()),
        dispatch_fail: total(&blocks.ring_stalls),
        room_count: sum(|shard| shard.topics.get()),
        merger_pending: ingest.open_messages.get(),
        merger_room_total: control.messages_taken[Audience::Topic as usize].get(),
        merger_all_total: control.messages_taken[Audience::All as usize].get(),
        merger_room_fail: control.messages_turned_away[Audience::Topic as usize].get(),
        merger_all_fail: control.messages_turned_away[Audience::All as usize].get(),
        shards: blocks.shards.len(),
        uptime_seconds: started.elapsed().map_or(0, |elapsed| elapsed.as_secs()),
        resident_bytes: process::resident_bytes(),
        sends_total: sum(|shard| shard.sends.get()),
        messages_from_redis: ingest.messages_redis.get(),
        messages_from_http: ingest.messages_http.get(),
        redis_subscribed: ingest.redis_subscribed.get() == 1,
        redis_gaps: ingest.redis_gaps.get(),
        publish_refused: PublishRefused::ALL.iter().map(|r| control.publish_refused[*r as usize].get()).sum(),
    }
}

/// The answer to `/v1/shards`.
#[derive(Debug, Serialize)]
pub struct Shards {
    /// Resident memory of the process: its shards share one address space, so it has no parts.
    process_resident_bytes: u64,
    shards: Vec<Shard>,
}

#[derive(Debug, Serialize)]
struct Shard {
    #[serde(rename = "shard")]
    index: usize,
    listening: bool,
    connections: u64,
    connections_by_format: BTreeMap<&'static str, u64>,
    handshakes: u64,
    topics: u64,
    memberships: u64,
    deliveries: u64,
    deliveries_failed: u64,
    sends: u64,
    sends_short: u64,
    send_bytes: u64,
    turn_max_us: u64,
    ring_bytes: u64,
    ring_stalls: u64,
    backlog_bytes: u64,
    outboxes: u64,
    outbox_bytes: u64,
}

/// Every shard.
pub fn shards(blocks: &Blocks) -> Shards {
    let view = |(index, shard): (usize, &ShardBlock)| Shard {
        index,
        listening: shard.listening.get() == 1,
        connections: total(&shard.connections),
        connections_by_format: std::iter::zip(FormatId::ALL.map(protocols::format), &shard.connections)
            .map(|(format, connections)| (format.name(), connections.get()))
            .collect(),
        handshakes: shard.handshakes.get(),
        topics: shard.topics.get(),
        memberships: shard.memberships.get(),
        deliveries: shard.deliveries.get(),
        deliveries_failed: total(&shard.deliveries_failed),
        sends: shard.sends.get(),
        sends_short: shard.sends_short.get(),
        send_bytes: shard.send_bytes.get(),
        turn_max_us: shard.turn_max_us.get(),
        ring_bytes: blocks.ring_bytes(index),
        ring_stalls: blocks.ring_stalls[index].get(),
        backlog_bytes: shard.backlog_bytes.get(),
        outboxes: shard.outboxes.get(),
        outbox_bytes: shard.outbox_bytes(),
    };
    Shards {
        process_resident_bytes: process::resident_bytes(),
        shards: blocks.shards.iter().enumerate().map(view).collect(),
    }
}

/// A part without which the process is not ready.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// `draining`, `shards`, `accept`, `threads`, `redis_role`, `redis_publishing` or `redis_subscription`.
    pub part: &'static str,
    /// One sentence.
    pub message: String,
    /// How long it has been missing, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
}

/// Why nothing can be published through Redis: the part that is missing, and a sentence. `None`: it can be, as far as is
/// known.
pub fn publishing_missing(blocks: &Blocks) -> Option<(&'static str, String)> {
    let ingest = &blocks.ingest;
    if ingest.redis_role.get() == Role::Replica as u64 {
        let message = "the Redis server is a replica: what is published there does not reach the primary";
        return Some(("redis_role", message.into()));
    }
    if ingest.redis_publishing.get() == 0 {
        return Some(("redis_publishing", "the session that publishes to Redis does not stand".into()));
    }
    None
}

/// What was refused last, as far as a number can say.
fn refused(kind: &Value) -> Option<&'static str> {
    let kind = RefusalKind::ALL.get(kind.get() as usize)?;
    (*kind != RefusalKind::None).then(|| kind.meaning())
}

/// What is missing; empty when the process is ready. `redis_gone_ms` is there when Redis is configured and the
/// subscription does not stand.
pub fn missing(blocks: &Blocks, draining: bool, has_redis: bool, redis_gone_ms: Option<u64>) -> Vec<Missing> {
    let mut missing = Vec::new();
    if draining {
        missing.push(Missing { part: "draining", message: "the gateway is stopping".into(), for_ms: None });
    }
    let closed = |(_, shard): &(usize, &ShardBlock)| shard.listening.get() == 0;
    let closed: Vec<String> =
        blocks.shards.iter().enumerate().filter(closed).map(|(i, _)| format!("shard {i}")).collect();
    if !closed.is_empty() {
        let message = format!(
            "{} of {} shards do not listen: {}",
            closed.len(),
            blocks.shards.len(),
            closed.join(", ")
        );
        missing.push(Missing { part: "shards", message, for_ms: None });
    }
    let blocked = |(_, shard): &(usize, &ShardBlock)| shard.accept_blocked.get() == 1;
    let blocked: Vec<String> =
        blocks.shards.iter().enumerate().filter(blocked).map(|(i, _)| format!("shard {i}")).collect();
    if !blocked.is_empty() {
        let message = format!(
            "{} of {} shards cannot accept connections, mostly because they have as many files open as LimitNOFILE \
             allows: {}",
            blocked.len(),
            blocks.shards.len(),
            blocked.join(", ")
        );
        missing.push(Missing { part: "accept", message, for_ms: None });
    }
    let stalled = blocks.main.stalled();
    if !stalled.is_empty() {
        let message = format!("threads neither work nor wait, and the log says more: {}", stalled.join(", "));
        missing.push(Missing { part: "threads", message, for_ms: None });
    }
    if has_redis {
        let refused = || {
            let meaning = refused(&blocks.ingest.redis_publish_refused)?;
            Some(("redis_publishing", format!("Redis refuses PUBLISH: {meaning}")))
        };
        if let Some((part, message)) = publishing_missing(blocks).or_else(refused) {
            missing.push(Missing { part, message, for_ms: None });
        }
    }
    if let Some(ms) = redis_gone_ms {
        let mut message =
            format!("the Redis subscription has been gone for {}.{:03} s", ms / 1000, ms % 1000);
        if let Some(meaning) = refused(&blocks.ingest.redis_subscribe_refused) {
            message.push_str(": Redis refuses PSUBSCRIBE: ");
            message.push_str(meaning);
        }
        missing.push(Missing { part: "redis_subscription", message, for_ms: Some(ms) });
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::pulse::Working;

    #[test]
    fn ready_is_when_nothing_is_missing() {
        let blocks = Blocks::new(3);
        blocks.shards[1].listening.set(1);
        let parts = |missing: Vec<Missing>| missing.into_iter().map(|m| m.message).collect::<Vec<_>>();
        assert_eq!(
            parts(missing(&blocks, false, false, None)),
            ["2 of 3 shards do not listen: shard 0, shard 2"]
        );
        blocks.shards[0].listening.set(1);
        blocks.shards[2].listening.set(1);
        assert_eq!(missing(&blocks, false, false, None), []);
        blocks.shards[2].accept_blocked.set(1);
        let blocked = &missing(&blocks, false, false, None)[0];
        assert_eq!(blocked.part, "accept");
        assert!(
            blocked.message.starts_with("1 of 3 shards cannot accept")
                && blocked.message.ends_with(": shard 2")
        );
        blocks.shards[2].accept_blocked.set(0);
        blocks.main.shards_stalled[1].set(1);
        blocks.main.stalled[Working::Ingest as usize].set(1);
        let stalled = missing(&blocks, false, false, None);
        assert_eq!(stalled[0].part, "threads");
        assert!(stalled[0].message.ends_with(": shard-1, ingest"), "{}", stalled[0].message);
        blocks.main.shards_stalled[1].set(0);
        blocks.main.stalled[Working::Ingest as usize].set(0);
        assert_eq!(
            parts(missing(&blocks, true, false, Some(61_007))),
            ["the gateway is stopping", "the Redis subscription has been gone for 61.007 s"]
        );
    }

    #[test]
    fn what_redis_is_and_refuses_is_missing_with_its_reason() {
        let blocks = Blocks::new(1);
        blocks.shards[0].listening.set(1);
        let told = |gone| {
            let missing = missing(&blocks, false, true, gone);
            missing.into_iter().map(|m| (m.part, m.message)).collect::<Vec<_>>()
        };
        assert_eq!(told(None)[0].0, "redis_publishing");
        let ingest = &blocks.ingest;
        ingest.redis_publishing.set(1);
        assert_eq!(told(None), []);
        ingest.redis_publish_refused.set(RefusalKind::NotPermitted as u64);
        assert!(told(None)[0].1.contains("NOPERM"));
        ingest.redis_publish_refused.set(0);
        ingest.redis_role.set(Role::Replica as u64);
        assert!(told(None)[0].0 == "redis_role" && told(None)[0].1.contains("replica"));
        ingest.redis_role.set(Role::Primary as u64);
        ingest.redis_subscribe_refused.set(RefusalKind::NotAuthenticated as u64);
        assert!(told(Some(1))[0].1.contains("PSUBSCRIBE"));
    }

    #[test]
    fn go_push_sees_its_keys() {
        let blocks = Blocks::new(2);
        blocks.shards[0].connections[0].set(3);
        blocks.shards[1].connections[2].set(4);
        blocks.ring_bytes_pushed[1].set(9);
        blocks.control.messages_taken[Audience::Topic as usize].add(5);
        let stats = serde_json::to_value(stats(&blocks, SystemTime::now())).expect("JSON");
        assert_eq!((&stats["onlineConnections"], &stats["dispatchPending"]), (&7.into(), &9.into()));
        for key in [
            "onlineConnections",
            "sendMessageTotal",
            "sendMessageFail",
            "dispatchPending",
            "pushJobPending",
            "dispatchFail",
            "roomCount",
            "mergerPending",
            "mergerRoomTotal",
            "mergerAllTotal",
            "mergerRoomFail",
            "mergerAllFail",
        ] {
            assert!(stats[key].is_u64(), "{key}");
        }
        assert_eq!(stats["mergerRoomTotal"], 5);
    }
}
