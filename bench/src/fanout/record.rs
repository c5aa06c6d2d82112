//! A fan-out as a record. The groups are the rows that the README explains.

use super::args::FanoutArgs;
use super::found::Report;
use crate::floor;
use crate::results::Better::{Higher, Lower, Neutral};
use crate::results::Record;
use crate::units::count;

/// What a fan-out found, and its floor if it was measured.
pub(super) fn record(args: &FanoutArgs, report: &Report) -> Result<Record, String> {
    let mut record = Record::new("fanout", None);
    record.figure("connections", "opened", report.connections as f64, "", Neutral);
    record.figure("connections", "time", report.connect_seconds, "s", Lower);
    record.figure("connections", "rate", report.connects_per_s, "/s", Higher);
    if !args.idle {
        load(&mut record, args, report);
    }
    verified(&mut record, args, report);
    gateway(&mut record, report);
    report.receivers.into_record(&mut record, "receivers");
    if let Some(floor) = &report.floor {
        floor::record::beside(&mut record, floor);
        let pass = report.time_to_last.p50_ms / floor.pass_paced.p50_ms.max(0.001);
        record.figure("against floor", "to last device p50, of a pass", pass, "×", Lower);
        let payload = report.payload_mb_per_s / floor.mb_per_s.max(0.001);
        record.figure("against floor", "payload, of its MB/s", payload, "×", Higher);
    }
    record.distributions.clone_from(&report.distributions);
    record.series.clone_from(&report.series);
    record.details = serde_json::to_value(report).map_err(|e| e.to_string())?;
    Ok(record)
}

fn load(record: &mut Record, args: &FanoutArgs, report: &Report) {
    record.figure("published", "messages", report.published as f64, "", Neutral);
    record.figure("published", "size", args.load.bytes as f64, "B", Neutral);
    record.figure("published", "rate", args.rate, "/s", Neutral);
    record.figure("published", "ticks", args.load.tick_ms as f64, "ms", Neutral);
    record.figure("published", "refused", report.refused as f64, "", Lower);
    if report.refused_and_delivered > 0 {
        record.figure("published", "refused, delivered", report.refused_and_delivered as f64, "", Lower);
        record.warn(format!(
            "{} messages were refused and delivered all the same: the server's answers are not true",
            count(report.refused_and_delivered as f64)
        ));
    } else if report.refused > 0 {
        record.warn("some publishes were refused: nobody was meant to get those messages");
    }
    if let Some(why) = &report.publish_error {
        record.warn(why.as_str());
    }
    record.figure("deliveries", "rate", report.deliveries_per_s, "/s", Higher);
    record.figure("deliveries", "payload", report.payload_mb_per_s, "MB/s", Higher);
    record.figure("deliveries", "frames", report.frames_per_s, "/s", Neutral);
    record.figure("deliveries", "count", report.deliveries as f64, "", Neutral);
    record.figure("deliveries", "window", report.window_seconds, "s", Neutral);
    record.figure("batching", "messages a frame", report.messages_per_frame, "", Neutral);
    record.figure("batching", "messages a read", report.messages_per_read, "", Neutral);
    let send = format!("bytes a send, {}", report.bytes_per_send_from);
    record.figure("batching", &send, report.bytes_per_send, "B", Neutral);
}

/// What of the deliveries was not as it must be.
pub(crate) fn faults(record: &mut Record, report: &Report) {
    let faults = report.faults;
    for (name, count) in [
        ("gaps", faults.gaps),
        ("duplicates", faults.duplicates),
        ("reorders", faults.reorders),
        ("malformed", faults.malformed),
        ("connections with gaps", report.connections_with_gaps),
    ] {
        record.figure("verified", name, count as f64, "", Lower);
    }
    if !faults.none() {
        record.warn("not every message came to every connection once, in order and whole: see \"verified\"");
    }
    if let Some(what) = &report.first_malformed {
        record.warn(format!("first malformed: {what}"));
    }
}

fn verified(record: &mut Record, args: &FanoutArgs, report: &Report) {
    faults(record, report);
    for (how, count) in &report.closed_by_server {
        record.figure("closed by server", how, *count as f64, "", Lower);
    }
    if args.joins_leaves > 0.0 {
        record.figure("churn", "left and rejoined", report.rejoined as f64, "", Neutral);
        record.figure("churn", "failed", report.rejoins_failed as f64, "", Lower);
    }
    if let Some(stalled) = &report.stalled {
        record.figure("stalled", "connections", stalled.connections as f64, "", Neutral);
        for (how, count) in &stalled.closed {
            record.figure("stalled", &format!("closed by {how}"), *count as f64, "", Neutral);
        }
        record.figure("stalled", "messages that they found", stalled.messages as f64, "", Neutral);
        record.figure("stalled", "gaps", stalled.faults.gaps as f64, "", Neutral);
        record.figure("stalled", "malformed", stalled.faults.malformed as f64, "", Lower);
    }
}

fn gateway(record: &mut Record, report: &Report) {
    if report.gateway.is_none() && report.memory.is_none() {
        record.warn("the gateway's CPU and memory were not measured: give --gateway or --gateway-pid");
    }
    if let Some(used) = &report.gateway {
        record.figure("gateway", "CPU", used.cpu_percent, "%", Lower);
        record.figure("gateway", "user", used.user_seconds, "s", Lower);
        record.figure("gateway", "system", used.system_seconds, "s", Lower);
        for (name, per_send) in
            [("user, a send", used.user_ns_per_send), ("system, a send", used.system_ns_per_send)]
        {
            if let Some(ns) = per_send {
                record.figure("gateway", name, ns, "ns", Lower);
            }
        }
    }
    if let Some(memory) = &report.memory {
        record.figure("memory", "anonymous, a connection", memory.anonymous_per_connection, "B", Lower);
        for (name, at) in [
            ("start", memory.before),
            ("connected", memory.connected),
            ("loaded", memory.after_load),
            ("all left", memory.after_leave),
        ] {
            record.figure("memory", name, at.anonymous as f64, "B", Lower);
        }
    }
}
