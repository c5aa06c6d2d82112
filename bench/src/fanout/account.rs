//! From counts to what a run found. *Not here*: counting (`receiver`, `publisher`), what there is to know (`found`).

use std::collections::BTreeMap;
use std::time::Duration;

use super::args::FanoutArgs;
use super::found::{GatewayUse, Report, Slow};
use crate::floor::{self, Floor, SenderKind};
use crate::gateway::{Cpu, Sends};
use crate::histogram::Recorder;
use crate::lag::Lag;
use crate::message::{MESSAGE_BYTES_MAX, MESSAGE_BYTES_MIN};
use crate::progress::Progress;
use crate::publisher::Published;
use crate::receiver::{Outcome, Plan, SlowSeen};
use crate::results::Distribution;
use crate::verify::Tally;

/// Passes a second of a floor at least: enough of them in its two seconds.
const FLOOR_RATE_MIN: f64 = 5.0;

/// What the load was and what it cost.
pub(crate) struct Load {
    pub(super) published: Published,
    /// Connections that had not got everything when the wait for them ended.
    pub(super) behind: u64,
    pub(super) cpu: Option<Cpu>,
    pub(super) sends: Option<Sends>,
    pub(super) wall: Duration,
}

/// What became of the slow connections of a kind, of all threads; `None` when there was none.
fn slow(kind: usize, connections: usize, outcomes: &[Outcome]) -> Option<Slow> {
    let mut all = SlowSeen::default();
    for seen in outcomes.iter().map(|outcome| &outcome.slow[kind]) {
        all.tally.merge(&seen.tally);
        all.given_up.merge(&seen.given_up);
        all.held += seen.held;
        all.unseen += seen.unseen;
    }
    (connections > 0).then(|| Slow {
        connections: connections as u64,
        closed: by_name(&all.tally),
        messages: all.tally.messages,
        faults: all.tally.faults,
        given_up: all.given_up.percentiles(),
        held: all.held,
        unseen: all.unseen,
    })
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
    report.stalled = slow(0, plan.slow.stalled, outcomes);
    report.trickling = slow(1, plan.slow.trickling, outcomes);
    report.vanished = slow(2, plan.slow.vanishing, outcomes);
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
