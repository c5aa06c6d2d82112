//! Connections at rest, as a record. *Not here*: measuring them (`super`).

use super::args::IdleArgs;
use super::found::Found;
use crate::fanout::{self, Report};
use crate::floor;
use crate::results::Better::{Higher, Lower, Neutral};
use crate::results::{Record, Table};
use crate::units::human;

/// Caches that the table shows: what is below them is small change.
const CACHES_SHOWN: usize = 10;

/// What a hold found, and its broadcasts if there were any.
pub(super) fn record(args: &IdleArgs, found: &Found) -> Result<Record, String> {
    let mut record = Record::new("idle", None);
    let report = &found.report;
    record.figure("connections", "opened", report.connections as f64, "", Neutral);
    record.figure("connections", "in", report.connect_seconds, "s", Lower);
    record.figure("connections", "connects", report.connects_per_s, "/s", Higher);
    let refused: u64 = report.connects_refused.values().sum();
    record.figure("connections", "refused", refused as f64, "", Lower);
    for (why, count) in &report.connects_refused {
        record.warn(format!("{count} connections were refused: {why}"));
    }
    let dropped: u64 = report.closed_by_server.values().sum();
    record.figure("hold", "held for", found.held_seconds, "s", Neutral);
    record.figure("hold", "dropped", dropped as f64, "", Lower);
    for (how, count) in &report.closed_by_server {
        record.figure("hold", &format!("dropped by {how}"), *count as f64, "", Lower);
    }
    if let Some(cpu) = found.held_cpu_percent {
        record.figure("hold", "gateway's CPU", cpu, "%", Lower);
    }
    if report.pings_answered > 0 {
        record.figure("hold", "server's pings answered", report.pings_answered as f64, "", Neutral);
    }
    if args.answers_are_counted() {
        record.figure("pings", "sent, the whole run", report.pings_sent as f64, "", Neutral);
        record.figure("pings", "answered", report.other_frames as f64, "", Higher);
    }
    memory(&mut record, found);
    if args.broadcasts > 0 {
        broadcasts(&mut record, args, report);
    }
    record.distributions.clone_from(&report.distributions);
    record.series.clone_from(&report.series);
    record.details = serde_json::to_value(found).map_err(|e| e.to_string())?;
    Ok(record)
}

fn broadcasts(record: &mut Record, args: &IdleArgs, report: &Report) {
    record.figure("broadcasts", "published", report.published as f64, "", Neutral);
    record.figure("broadcasts", "of", args.load.bytes as f64, "B", Neutral);
    record.figure("broadcasts", "deliveries", report.deliveries as f64, "", Neutral);
    record.figure("broadcasts", "to the last device, p50", report.time_to_last.p50_ms, "ms", Lower);
    fanout::record::faults(record, report);
    report.receivers.into_record(record, "receivers");
    if let Some(floor) = &report.floor {
        floor::record::beside(record, floor);
        let last = report.time_to_last.p50_ms / floor.last_paced.p50_ms.max(0.001);
        record.figure("against floor", "to the last device p50, of its time to the last", last, "×", Lower);
        let pass = report.time_to_last.p50_ms / floor.pass_paced.p50_ms.max(0.001);
        record.figure("against floor", "to the last device p50, of a pass", pass, "×", Lower);
    }
}

fn memory(record: &mut Record, found: &Found) {
    let each = |bytes: u64| bytes as f64 / found.report.connections.max(1) as f64;
    let Some((user, anonymous)) =
        found.per_connection(|memory| memory.rss).zip(found.per_connection(|memory| memory.anonymous))
    else {
        record.warn("the gateway's memory was not measured: give --gateway or --gateway-pid");
        return;
    };
    record.figure("memory", "user space, a connection", user, "B", Lower);
    record.figure("memory", "of it anonymous", anonymous, "B", Lower);
    match &found.kernel {
        Some(kernel) => {
            let server = each(kernel.server);
            record.figure("memory", "kernel slab, a connection, server's end", server, "B", Lower);
            record.figure("memory", "user space and kernel, server's end", user + server, "B", Lower);
            record.figure(
                "memory",
                "kernel slab, a connection, both ends",
                each(kernel.both_ends),
                "B",
                Neutral,
            );
            let rows = kernel.caches.iter().take(CACHES_SHOWN).map(|growth| {
                vec![
                    growth.cache.clone(),
                    human(growth.bytes as f64, "B"),
                    format!("{:.0} B", each(growth.bytes)),
                ]
            });
            record.tables.push(Table {
                title: "kernel slab, both ends".into(),
                columns: vec!["cache".into(), "grew by".into(), "a connection".into()],
                rows: rows.collect(),
            });
        }
        None => record.warn("kernel memory was not measured: /proc/slabinfo is for root only"),
    }
    if let (Some((before, held)), Some(memory)) = (found.memory, found.report.memory) {
        for (name, at) in [
            ("resident at start", before),
            ("connected", memory.connected),
            ("held", held),
            ("all left", memory.after_leave),
        ] {
            record.figure("memory", name, at.rss as f64, "B", Lower);
        }
    }
}
