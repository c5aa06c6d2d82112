//! From the command line to what receivers and publisher do.

use std::time::Duration;

use super::args::{Arrival, FanoutArgs};
use crate::gateway::Gateway;
use crate::message::{MESSAGE_BYTES_MAX, MESSAGE_BYTES_MIN, MessageSpec, SEQUENCE_MAX};
use crate::publisher::{Body, HttpTarget, PostTarget, RedisTarget, Target};
use crate::receiver::connection::upgrade_request;
use crate::receiver::{CONNECTS_IN_FLIGHT, Plan, SlowKinds};
use crate::server::{FormatKind, PublisherKind};
use crate::verify::{Framing, client_frame, opcode};

/// Stands for the name of a topic in a path and in a channel.
const TOPIC: &str = "{topic}";
/// A whole run; receipts are kept in 32 bits of microseconds.
const RUN_SECONDS_MAX: f64 = 4_000.0;

/// Of all kinds together: as many as `--connections` alone may be.
const CONNECTIONS_MAX: usize = 2_000_000;

/// A sentence when no run can be made of it.
pub(crate) fn check(args: &FanoutArgs) -> Result<(), String> {
    if !(MESSAGE_BYTES_MIN..=MESSAGE_BYTES_MAX).contains(&args.load.bytes) {
        return Err(format!(
            "--bytes {}: a message has {MESSAGE_BYTES_MIN} to {MESSAGE_BYTES_MAX}",
            args.load.bytes
        ));
    }
    let total = args.load.seconds + args.load.warmup;
    if args.load.seconds <= 0.0 || args.load.drain <= 0.0 {
        return Err("--seconds and --drain must be above zero".into());
    }
    if total > RUN_SECONDS_MAX || total * args.rate > SEQUENCE_MAX as f64 / 10.0 {
        return Err(format!(
            "a run has at most {RUN_SECONDS_MAX} seconds and {} messages",
            SEQUENCE_MAX / 10
        ));
    }
    let parted = |text: &Option<String>| text.as_ref().is_none_or(|text| text.contains(TOPIC));
    if args.load.topics > 1 && !(parted(&args.load.path) && parted(&args.load.redis_channel)) {
        return Err(format!("with --topics, --path and --redis-channel need {TOPIC} in them"));
    }
    let one_only = matches!(args.load.publisher, PublisherKind::Array | PublisherKind::Each);
    if args.load.topics > 1 && one_only {
        return Err("--publisher array and each publish to one topic: leave --topics away".into());
    }
    if args.load.topics > args.load.connections {
        return Err(format!(
            "--topics {}: there are only {} connections",
            args.load.topics, args.load.connections
        ));
    }
    let connections = connections(args);
    if connections > CONNECTIONS_MAX as u64 {
        return Err(format!(
            "a run has at most {CONNECTIONS_MAX} connections, and those of all kinds together are {connections}"
        ));
    }
    Ok(())
}

/// Connections of all kinds that are open at once.
pub(crate) fn connections(args: &FanoutArgs) -> u64 {
    (args.load.connections as usize + churning(args) + slow(args).total()) as u64
}

/// Each rejoins about every two seconds: long enough to receive, and a set that others are measured beside.
#[allow(clippy::cast_sign_loss)] // the option's range has nothing negative
fn churning(args: &FanoutArgs) -> usize {
    (args.joins_leaves * 2.0).ceil() as usize
}

fn slow(args: &FanoutArgs) -> SlowKinds {
    SlowKinds { stalled: args.stalled as usize, ..args.slow }
}

#[allow(clippy::cast_sign_loss)] // checked: no operand is negative
pub(crate) fn plan(args: &FanoutArgs, gateway: &Gateway) -> Plan {
    let path = args.load.path.clone().unwrap_or_else(|| match args.load.format {
        FormatKind::GoPush => {
            let path = if gateway.url.path.is_empty() { "/connect" } else { &gateway.url.path };
            let separator = if path.contains('?') { '&' } else { '?' };
            format!("{path}{separator}join={TOPIC}")
        }
        FormatKind::Raw => format!("/topics/{TOPIC}"),
    });
    let upgrade = |topic: &String| upgrade_request(&gateway.url.authority, &path.replace(TOPIC, topic));
    let count = ((args.rate * (args.load.seconds + args.load.warmup)).round() as u64).max(1);
    Plan {
        target: gateway.url.address,
        upgrades: args.load.topic_names().iter().map(upgrade).collect(),
        hello: args.load.hello.as_ref().map(|text| client_frame(opcode::TEXT, text.as_bytes())),
        framing: match args.load.format {
            FormatKind::GoPush => Framing::GoPush,
            FormatKind::Raw => Framing::Raw,
        },
        spec: MessageSpec::new(args.load.bytes, 1e6 / args.rate, count),
        measure_from: (args.rate * args.load.warmup).round() as u64,
        congestion: args.machine.congestion.clone(),
        connects_in_flight: if args.arrival == Arrival::AtOnce { usize::MAX } else { CONNECTS_IN_FLIGHT },
        counts_refusals: args.arrival != Arrival::Orderly,
        ping_every: (args.load.ping_every > 0.0 && args.load.format == FormatKind::GoPush)
            .then(|| Duration::from_secs_f64(args.load.ping_every)),
        staying: args.load.connections as usize,
        churning: churning(args),
        churn_per_s: args.joins_leaves,
        slow: slow(args),
        cores: args.machine.receiver_core.clone(),
    }
}

/// Address of Redis, when messages come from there.
pub(super) fn redis(args: &FanoutArgs) -> Option<&str> {
    (args.load.publisher == PublisherKind::Redis).then_some(args.load.redis.as_str())
}

pub(super) fn target(args: &FanoutArgs, gateway: &Gateway) -> Result<Target, String> {
    let publish = || {
        let mut url = gateway.api.clone();
        if let Some(path) = &args.load.publish_path {
            url.path.clone_from(path);
        }
        url
    };
    Ok(match args.load.publisher {
        PublisherKind::Http => Target::Http(HttpTarget::new(&gateway.api, &args.load.topic_names())),
        PublisherKind::Redis => {
            let channel = args.load.redis_channel.clone();
            let channel = channel.unwrap_or_else(|| format!("fanfare:topic:{TOPIC}"));
            let channels =
                args.load.topic_names().iter().map(|topic| channel.replace(TOPIC, topic)).collect();
            Target::Redis(RedisTarget::connect(&args.load.redis, channels)?)
        }
        PublisherKind::Array => Target::Post(PostTarget::connect(&publish(), Body::Array)?),
        PublisherKind::Each => Target::Post(PostTarget::connect(&publish(), Body::Each)?),
    })
}
