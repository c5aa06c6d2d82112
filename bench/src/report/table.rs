//! Tables for people.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::json;
use crate::args::FanoutArgs;
use crate::fanout::Report;
use crate::floor::Floor;
use crate::histogram::Percentiles;

/// 1234567 as 1,234,567.
#[allow(clippy::cast_sign_loss)] // counts are not negative
fn count(value: f64) -> String {
    let digits = (value.round() as u64).to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn row(name: &str, value: &str) {
    println!("{name:<16} {value}");
}

fn distribution(name: &str, values: &Percentiles) {
    row(
        name,
        &format!(
            "p50 {:>8.2}   p90 {:>8.2}   p99 {:>8.2}   p99.9 {:>8.2}   max {:>8.2} ms",
            values.p50_ms, values.p90_ms, values.p99_ms, values.p999_ms, values.max_ms
        ),
    );
}

fn list(counts: &BTreeMap<String, u64>) -> String {
    let parts: Vec<String> = counts.iter().map(|(how, n)| format!("{how}: {}", count(*n as f64))).collect();
    if parts.is_empty() { "none".into() } else { parts.join(", ") }
}

/// One line per payload size.
pub(super) fn floor(floors: &[Floor]) {
    row("machine", &json::machine());
    for floor in floors.iter().take(1) {
        row("floor", &format!("{} sockets, {}", count(floor.sockets as f64), floor.sender));
    }
    println!(
        "\n{:>8} {:>6} {:>10} {:>10} {:>10} {:>8} {:>11} {:>10} {:>10} {:>10} {:>10} {:>8} {:>9}",
        "bytes",
        "msgs",
        "pass p50",
        "pass p99",
        "sends/s",
        "MB/s",
        "messages/s",
        "last p50",
        "last p99",
        "apart p50",
        "apart p99",
        "blocked",
        "CPU/send"
    );
    for floor in floors {
        println!(
            "{:>8} {:>6} {:>7.1} ms {:>7.1} ms {:>10} {:>8} {:>11} {:>7.1} ms {:>7.1} ms {:>7.1} ms {:>7.1} ms {:>8} {:>6.0} ns",
            count(floor.bytes_per_send as f64),
            floor.messages_per_send,
            floor.pass.p50_ms,
            floor.pass.p99_ms,
            count(floor.sends_per_s),
            count(floor.mb_per_s),
            count(floor.messages_per_s),
            floor.last_back_to_back.p50_ms,
            floor.last_back_to_back.p99_ms,
            floor.last_paced.p50_ms,
            floor.last_paced.p99_ms,
            count(floor.blocked as f64),
            floor.sender_ns_per_send,
        );
    }
    println!();
    for floor in floors {
        row(&format!("{} B", count(floor.bytes_per_send as f64)), &floor.receivers.verdict());
        if floor.messages_per_send > 1 {
            let at_full = floor.messages_per_s * 100.0 / floor.receivers.cpu_percent.max(1.0);
            let text = format!(
                "{} messages/s verified and recorded; extrapolated to a whole core {}",
                count(floor.messages_per_s),
                count(at_full)
            );
            row("", &text);
        }
    }
}

/// The whole run.
pub(super) fn fanout(args: &FanoutArgs, report: &Report) {
    row("machine", &json::machine());
    row(
        "connections",
        &format!(
            "{} opened in {:.2} s ({}/s)",
            count(report.connections as f64),
            report.connect_seconds,
            count(report.connects_per_s)
        ),
    );
    if !args.idle {
        load(args, report);
    }
    let faults = report.faults;
    row(
        "verified",
        &format!(
            "gaps {}   duplicates {}   reorders {}   malformed {}   connections with gaps {}",
            count(faults.gaps as f64),
            count(faults.duplicates as f64),
            count(faults.reorders as f64),
            count(faults.malformed as f64),
            count(report.connections_with_gaps as f64)
        ),
    );
    if let Some(what) = &report.first_malformed {
        row("", &format!("first malformed: {what}"));
    }
    if !report.closed_by_server.is_empty() {
        row("closed by server", &list(&report.closed_by_server));
    }
    if args.joins_leaves > 0.0 {
        let failed = count(report.rejoins_failed as f64);
        row("churn", &format!("{} left and rejoined, {failed} failed", count(report.rejoined as f64)));
    }
    if let Some(stalled) = &report.stalled {
        row(
            "stalled",
            &format!(
                "{}; closed {}; they found {} messages, gaps {}, malformed {}",
                count(stalled.connections as f64),
                list(&stalled.closed),
                count(stalled.messages as f64),
                count(stalled.faults.gaps as f64),
                count(stalled.faults.malformed as f64)
            ),
        );
    }
    gateway(report);
    row("receivers", &report.receivers.verdict());
    if let Some(floor) = &report.floor {
        against_floor(report, floor);
    }
    if report.interrupted {
        row("interrupted", "these are the results up to Ctrl-C");
    }
}

fn load(args: &FanoutArgs, report: &Report) {
    row(
        "published",
        &format!(
            "{} messages of {} B at {}/s, {:?}, ticks of {} ms; {} refused",
            count(report.published as f64),
            args.load.bytes,
            args.rate,
            args.load.publisher,
            args.load.tick_ms,
            count(report.refused as f64)
        ),
    );
    if let Some(why) = &report.publish_error {
        row("", why);
    }
    distribution("publisher lag", &report.publish_lag);
    distribution("publish answer", &report.publish_answer);
    row(
        "deliveries",
        &format!(
            "{}/s   payload {} MB/s   frames {}/s   ({} in {:.2} s)",
            count(report.deliveries_per_s),
            count(report.payload_mb_per_s),
            count(report.frames_per_s),
            count(report.deliveries as f64),
            report.window_seconds
        ),
    );
    row(
        "batching",
        &format!(
            "{:.1} messages a frame, {:.1} a read; {} B a send ({})",
            report.messages_per_frame,
            report.messages_per_read,
            count(report.bytes_per_send),
            report.bytes_per_send_from
        ),
    );
    distribution("latency", &report.latency);
    distribution("to last device", &report.time_to_last);
}

fn gateway(report: &Report) {
    match &report.gateway {
        None if report.memory.is_none() => {
            row("gateway", "CPU and memory not measured: give --gateway or --gateway-pid");
        }
        None => {}
        Some(used) => {
            let mut text = format!(
                "CPU {:.0} %: user {:.2} s, system {:.2} s",
                used.cpu_percent, used.user_seconds, used.system_seconds
            );
            if let (Some(user), Some(system)) = (used.user_ns_per_send, used.system_ns_per_send) {
                let _ = write!(text, "; per send user {} ns, system {} ns", count(user), count(system));
            }
            row("gateway", &text);
        }
    }
    if let Some(memory) = &report.memory {
        let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
        row(
            "memory",
            &format!(
                "{:.0} B a connection (anonymous); anonymous MiB: start {:.1}, connected {:.1}, loaded {:.1}, all left {:.1}",
                memory.anonymous_per_connection,
                mib(memory.before.anonymous),
                mib(memory.connected.anonymous),
                mib(memory.after_load.anonymous),
                mib(memory.after_leave.anonymous)
            ),
        );
    }
}

fn against_floor(report: &Report, floor: &Floor) {
    row(
        "floor",
        &format!(
            "{} sockets × {} B: pass p50 {:.1} ms, to last p50 {:.1} ms, {} sends/s, {} MB/s",
            count(floor.sockets as f64),
            count(floor.bytes_per_send as f64),
            floor.pass.p50_ms,
            floor.last_paced.p50_ms,
            count(floor.sends_per_s),
            count(floor.mb_per_s)
        ),
    );
    row("", &floor.receivers.verdict());
    row(
        "against floor",
        &format!(
            "to last device p50 is {:.2} × a pass; payload is {:.2} × its MB/s",
            report.time_to_last.p50_ms / floor.pass_paced.p50_ms.max(0.001),
            report.payload_mb_per_s / floor.mb_per_s.max(0.001)
        ),
    );
}
