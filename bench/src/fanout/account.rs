//! From counts to what a run found.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::phases::Load;
use crate::args::FanoutArgs;
use crate::floor::{self, Floor, SenderKind};
use crate::gateway::Memory;
use crate::histogram::{Percentiles, Recorder};
use crate::lag::Lag;
use crate::message::{MESSAGE_BYTES_MAX, MESSAGE_BYTES_MIN};
use crate::progress::Progress;
use crate::receiver::{Outcome, Plan, SlowSeen};
use crate::results::{Distribution, Series};
use crate::verify::{Faults, Tally};

/// Passes a second of a floor at least: enough of them in its two seconds.
const FLOOR_RATE_MIN: f64 = 5.0;

/// What a run found. All of it goes into the JSON; the table shows the most of it.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) connections: u64,
    pub(crate) connect_seconds: f64,
    pub(crate) connects_per_s: f64,
    pub(crate) connect_cpu: Option<ConnectCpu>,
    /// From a connection's SYN to its 101.
    pub(crate) handshake: Percentiles,
    /// Connections that could not be opened, where that is counted, by what the server or the kernel said.
    pub(crate) connects_refused: BTreeMap<String, u64>,
    pub(crate) interrupted: bool,
    /// Messages given to the publisher's target, warm-up included.
    pub(crate) published: u64,
    pub(crate) refused: u64,
    /// Messages that were refused, and came to somebody all the same.
    pub(crate) refused_and_delivered: u64,
    pub(crate) publish_error: Option<String>,
    /// CPU time of the publisher, of its time.
    pub(crate) publisher_cpu_percent: f64,
    /// Connections that had not got everything when the wait for them ended.
    pub(crate) behind: u64,
    pub(crate) publish_lag: Percentiles,
    pub(crate) publish_answer: Percentiles,
    /// From the first measured message's time to the last delivery, or to when the message after the last would have come.
    pub(crate) window_seconds: f64,
    pub(crate) deliveries: u64,
    pub(crate) deliveries_per_s: f64,
    pub(crate) payload_mb_per_s: f64,
    /// Frames, reads and their quotients count the warm-up too.
    pub(crate) frames: u64,
    pub(crate) frames_per_s: f64,
    pub(crate) messages_per_frame: f64,
    pub(crate) messages_per_read: f64,
    pub(crate) latency: Percentiles,
    pub(crate) time_to_last: Percentiles,
    pub(crate) faults: Faults,
    pub(crate) connections_with_gaps: u64,
    pub(crate) first_malformed: Option<String>,
    pub(crate) other_frames: u64,
    /// Go-push PINGs.
    pub(crate) pings_sent: u64,
    /// The server's pings.
    pub(crate) pings_answered: u64,
    /// Connections that the server ended, by Close code or what came instead.
    pub(crate) closed_by_server: BTreeMap<String, u64>,
    pub(crate) rejoined: u64,
    pub(crate) rejoins_failed: u64,
    pub(crate) stalled: Option<Slow>,
    pub(crate) trickling: Option<Slow>,
    pub(crate) vanished: Option<Slow>,
    pub(crate) gateway: Option<GatewayUse>,
    pub(crate) bytes_per_send: f64,
    /// Where `bytes_per_send` comes from: the gateway's metrics, or the receivers' reads.
    pub(crate) bytes_per_send_from: &'static str,
    pub(crate) memory: Option<MemoryUse>,
    pub(crate) receivers: Lag,
    pub(crate) floor: Option<Floor>,
    /// The distributions of which the percentiles above are, whole.
    #[serde(skip)]
    pub(crate) distributions: Vec<Distribution>,
    /// How the run went over time.
    #[serde(skip)]
    pub(crate) series: Vec<Series>,
}

/// What connecting cost.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct ConnectCpu {
    /// CPU time of the gateway for one connection, accept and upgrade.
    pub(crate) gateway_us_per_connection: f64,
    /// CPU time of the gateway, of the time that connecting took.
    pub(crate) gateway_percent: f64,
    /// CPU time of this tool, of the time that its cores had meanwhile.
    pub(crate) tool_percent: f64,
}

impl ConnectCpu {
    /// From CPU times and how long connecting took.
    pub(super) fn new(gateway: Duration, tool: Duration, wall: Duration, cores: usize, opened: u64) -> Self {
        let percent = |cpu: Duration| 100.0 * cpu.as_secs_f64() / wall.as_secs_f64().max(1e-9);
        Self {
            gateway_us_per_connection: gateway.as_secs_f64() * 1e6 / opened.max(1) as f64,
            gateway_percent: percent(gateway),
            tool_percent: percent(tool) / cores.max(1) as f64,
        }
    }
}

/// What became of slow connections of one kind.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Slow {
    pub(crate) connections: u64,
    /// By Close code or what came instead, as far as they could read it; what is missing was still open.
    pub(crate) closed: BTreeMap<String, u64>,
    /// Messages that they read, at their pace or at the end.
    pub(crate) messages: u64,
    pub(crate) faults: Faults,
    /// From the load's begin until the server's kernel no longer had the connection as established; to the second.
    pub(crate) given_up: Percentiles,
    /// Connections that the server still held at the end.
    pub(crate) held: u64,
    /// Connections whose end at the server cannot be seen from here.
    pub(crate) unseen: u64,
}

impl Slow {
    /// Of all threads; `None` when there was no such connection.
    fn of(kind: usize, connections: usize, outcomes: &[Outcome]) -> Option<Self> {
        let mut all = SlowSeen::default();
        for seen in outcomes.iter().map(|outcome| &outcome.slow[kind]) {
            all.tally.merge(&seen.tally);
            all.given_up.merge(&seen.given_up);
            all.held += seen.held;
            all.unseen += seen.unseen;
        }
        (connections > 0).then(|| Self {
            connections: connections as u64,
            closed: by_name(&all.tally),
            messages: all.tally.messages,
            faults: all.tally.faults,
            given_up: all.given_up.percentiles(),
            held: all.held,
            unseen: all.unseen,
        })
    }
}

/// The gateway's CPU time in the measured window.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct GatewayUse {
    pub(crate) user_seconds: f64,
    pub(crate) system_seconds: f64,
    /// Of the window's wall time.
    pub(crate) cpu_percent: f64,
    pub(crate) sends: Option<f64>,
    pub(crate) user_ns_per_send: Option<f64>,
    pub(crate) system_ns_per_send: Option<f64>,
}

/// The gateway's memory, bytes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct MemoryUse {
    pub(crate) before: Memory,
    pub(crate) connected: Memory,
    pub(crate) after_load: Memory,
    pub(crate) after_leave: Memory,
    /// The highest anonymous memory that was seen.
    pub(crate) peak: u64,
    pub(crate) anonymous_per_connection: f64,
}

fn by_name(tally: &Tally) -> BTreeMap<String, u64> {
    tally.closed.iter().map(|(how, count)| (how.to_string(), *count)).collect()
}

/// How connections were closed, and how many in each way.
pub(super) fn closed_how(outcomes: &[Outcome]) -> Vec<String> {
    let mut tally = Tally::default();
    for outcome in outcomes {
        tally.merge(&outcome.tally);
    }
    by_name(&tally).into_iter().map(|(how, count)| format!("{how} ({count})")).collect()
}

/// The gateway's CPU time under the load, in all and for a send.
fn gateway_use(load: &Load) -> Option<GatewayUse> {
    load.cpu.map(|cpu| {
        let sends = load.sends.as_ref().map(|sends| sends.sends);
        let per_send = |time: Duration| sends.map(|sends| time.as_nanos() as f64 / sends);
        GatewayUse {
            user_seconds: cpu.user.as_secs_f64(),
            system_seconds: cpu.system.as_secs_f64(),
            cpu_percent: (cpu.user + cpu.system).as_secs_f64() / load.wall.as_secs_f64() * 100.0,
            sends,
            user_ns_per_send: per_send(cpu.user),
            system_ns_per_send: per_send(cpu.system),
        }
    })
}

/// Turns counts into a report.
pub(super) fn account(plan: &Plan, report: &mut Report, load: Option<Load>, outcomes: &[Outcome]) {
    let (mut tally, mut handshakes) = (Tally::default(), Recorder::default());
    for outcome in outcomes {
        tally.merge(&outcome.tally);
        report.connections_with_gaps += outcome.connections_with_gaps;
        report.rejoined += outcome.rejoined;
        report.rejoins_failed += outcome.rejoins_failed;
        report.pings_sent += outcome.pings_sent;
        handshakes.merge(&outcome.handshakes);
        for (why, count) in &outcome.refusals {
            *report.connects_refused.entry(why.clone()).or_default() += count;
        }
    }
    report.handshake = handshakes.percentiles();
    report.receivers = Lag::of(outcomes);
    report.faults = tally.faults;
    report.first_malformed.clone_from(&tally.first_malformed);
    report.other_frames = tally.other_frames;
    report.pings_answered = tally.pings;
    report.closed_by_server = by_name(&tally);
    report.stalled = Slow::of(0, plan.slow.stalled, outcomes);
    report.trickling = Slow::of(1, plan.slow.trickling, outcomes);
    report.vanished = Slow::of(2, plan.slow.vanishing, outcomes);
    let handshake = Distribution::of("handshake", &handshakes);
    let Some(load) = load else {
        report.distributions = vec![handshake];
        return;
    };
    report.published = load.published.messages;
    report.refused = load.published.refused;
    let came = |number: &u64| tally.last_us.get(*number as usize).is_some_and(|last| *last > 0);
    let refused = load.published.refused_numbers.iter().cloned().flatten();
    report.refused_and_delivered = refused.filter(came).count() as u64;
    report.publish_error.clone_from(&load.published.error);
    report.behind = load.behind;
    report.publisher_cpu_percent =
        100.0 * load.published.cpu.as_secs_f64() / load.published.time.as_secs_f64().max(1e-9);
    report.publish_lag = load.published.lag.percentiles();
    report.publish_answer = load.published.answers.percentiles();

    let mut to_last = Recorder::default();
    let mut end_us = 0;
    for sequence in plan.measure_from..load.published.messages {
        let last = tally.last_us.get(sequence as usize).copied().map_or(0, u64::from);
        if last > 0 {
            to_last.record(last.saturating_sub(plan.spec.intended_us(sequence)));
            end_us = end_us.max(last);
        }
    }
    if end_us > 0 {
        // A message stands for the interval behind it; otherwise a few of them would come at more than their rate.
        end_us = end_us.max(plan.spec.intended_us(load.published.messages));
    }
    let window_us = end_us.saturating_sub(plan.spec.intended_us(plan.measure_from));
    report.window_seconds = window_us as f64 / 1e6;
    let per_s = |n: f64| if window_us == 0 { 0.0 } else { n / report.window_seconds };
    report.deliveries = tally.measured;
    report.deliveries_per_s = per_s(tally.measured as f64);
    report.payload_mb_per_s = per_s((tally.measured * plan.spec.bytes as u64) as f64 / 1e6);
    report.frames = tally.frames;
    report.messages_per_frame = tally.messages as f64 / tally.frames.max(1) as f64;
    report.frames_per_s = report.deliveries_per_s / report.messages_per_frame.max(f64::MIN_POSITIVE);
    report.messages_per_read = tally.messages as f64 / tally.reads.max(1) as f64;
    report.latency = tally.latency.percentiles();
    report.time_to_last = to_last.percentiles();
    report.distributions = vec![
        Distribution::of("latency", &tally.latency),
        Distribution::of("to last device", &to_last),
        Distribution::of("publisher lag", &load.published.lag),
        Distribution::of("publish answer", &load.published.answers),
        handshake,
    ];
    report.bytes_per_send = tally.bytes as f64 / tally.reads.max(1) as f64;
    report.bytes_per_send_from = "receivers' reads";
    if let Some(sends) = load.sends {
        report.bytes_per_send = sends.bytes / sends.sends;
        report.bytes_per_send_from = "gateway's metrics";
    }
    report.gateway = gateway_use(&load);
}

/// Passes a second of a load's floor: as often as the load sends, as long as half of the time is left between the passes. A
/// core that sends rarely is slower at each send.
fn floor_rate(args: &FanoutArgs, to_last_ms: f64) -> f64 {
    let ticks_per_s = 1e3 / args.load.tick_ms.max(1) as f64;
    args.rate.min(ticks_per_s).min(500.0 / to_last_ms.max(1.0)).max(FLOOR_RATE_MIN)
}

#[allow(clippy::cast_sign_loss)] // bytes are not negative
pub(super) fn measure_floor(
    args: &FanoutArgs,
    report: &Report,
    progress: &Progress,
) -> Result<Floor, String> {
    let spec = floor::Spec {
        sockets: args.load.connections as usize,
        bytes: (report.bytes_per_send.round() as usize).clamp(MESSAGE_BYTES_MIN, MESSAGE_BYTES_MAX),
        items: None,
        seconds: 2.0,
        rate: floor_rate(args, report.time_to_last.p50_ms),
        sender: SenderKind::Send,
        sender_core: args.server.gateway_core[0],
        receiver_cores: args.machine.receiver_core.clone(),
        congestion: args.machine.congestion.clone(),
    };
    floor::measure(&spec, progress)
}
