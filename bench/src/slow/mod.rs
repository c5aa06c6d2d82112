//! Slow devices: the same load without them and with them, on one server; what the others notice, and what becomes of
//! the slow ones.
//!
//! *Not here*: what a stalled, a trickling and a vanished device does (`receiver::slow`).

mod args;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::fanout::{self, Report, Session, Slow};
use crate::progress::Progress;
use crate::report;
use crate::results::Better::{Higher, Lower, Neutral};
use crate::results::Record;
use crate::sys::process;
use crate::units::{count, human, plain};

pub(crate) use args::SlowArgs;

/// Deliveries that missed their time are counted for so long after the last publish of the run without slow ones.
const DRAIN: Duration = Duration::from_secs(10);

/// What both runs found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Found {
    /// The load without slow devices.
    pub(crate) without: Report,
    /// The load with them; `None` when Ctrl-C came before.
    pub(crate) with: Option<Report>,
    /// Connections that the server closed in the second run, by its own reason, when its metrics say so.
    pub(crate) closed: BTreeMap<String, f64>,
}

/// The subcommand; false when one of the others missed something because of the slow ones, or at all.
pub(crate) fn run(args: &SlowArgs) -> Result<bool, String> {
    let found = measure(args, Progress::new(&args.machine))?;
    report::finish(&args.machine, record(args, &found)?)?;
    let right = |report: &Report| {
        report.faults.none()
            && report.publish_error.is_none()
            && report.deliveries > 0
            && report.closed_by_server.is_empty()
    };
    Ok(right(&found.without) && found.with.as_ref().is_none_or(right))
}

/// Both runs, on one server.
pub(crate) fn measure(args: &SlowArgs, progress: Progress) -> Result<Found, String> {
    if args.stalled + args.trickling + args.vanishing == 0 {
        return Err("nobody is slow: give --stalled, --trickling or --vanishing".into());
    }
    if !(0.0..=3_600.0).contains(&args.watch) {
        return Err("--watch has 0 to 3,600 seconds".into());
    }
    let (plain, slow) = (args.without(), args.with());
    fanout::check(&slow)?;
    let mut session = Session::open(&plain, progress)?;
    let without = session.rung(&plain, DRAIN)?;
    if process::interrupted() {
        return Ok(Found { without, with: None, closed: BTreeMap::new() });
    }
    // All connect anew, so that both runs begin alike.
    session.leave()?;
    let before = session.closed_by_reason();
    match session.connect(&slow) {
        Err(_) if process::interrupted() => {
            return Ok(Found { without, with: None, closed: BTreeMap::new() });
        }
        connected => connected?,
    }
    let load = session.publish(&slow, "publishing with slow ones", None)?;
    session.watch_slow(Duration::from_secs_f64(args.watch));
    let mut closed = session.closed_by_reason();
    for (reason, count) in &mut closed {
        *count -= before.get(reason).copied().unwrap_or(0.0);
    }
    closed.retain(|_, count| *count > 0.0);
    let with = session.finish(&slow, Some(load))?;
    Ok(Found { without, with: Some(with), closed })
}

fn record(args: &SlowArgs, found: &Found) -> Result<Record, String> {
    let mut record = Record::new("slow", None);
    record.figure("load", "connections that read", f64::from(args.load.connections), "", Neutral);
    record.figure("load", "stalled", f64::from(args.stalled), "", Neutral);
    record.figure("load", "trickling", f64::from(args.trickling), "", Neutral);
    record.figure("load", "vanishing", f64::from(args.vanishing), "", Neutral);
    record.figure("load", "messages", args.rate, "/s", Neutral);
    record.figure("load", "message", args.load.bytes as f64, "B", Neutral);
    if let Some(with) = &found.with {
        others(&mut record, &found.without, with);
        for (reason, count) in &found.closed {
            record.figure("server closed", &format!("for {reason}"), *count, "", Neutral);
        }
        became(&mut record, args, with);
        memory(&mut record, with);
        with.receivers.into_record(&mut record, "receivers");
        record.series.clone_from(&with.series);
    } else {
        record.warn("only the run without slow devices was made");
    }
    for (name, report) in
        [("without slow ones", Some(&found.without)), ("with slow ones", found.with.as_ref())]
    {
        let Some(report) = report else { continue };
        verified(&mut record, name, report);
        for distribution in report.distributions.iter().filter(|of| of.name == "latency") {
            let mut distribution = distribution.clone();
            distribution.name = format!("latency {name}");
            record.distributions.push(distribution);
        }
    }
    record.details = serde_json::to_value(found).map_err(|e| e.to_string())?;
    Ok(record)
}

/// What those that read noticed.
fn others(record: &mut Record, without: &Report, with: &Report) {
    let ratio = |with: f64, without: f64| if without > 0.0 { with / without } else { f64::NAN };
    let rows = [
        ("latency p50", without.latency.p50_ms, with.latency.p50_ms, "ms", Lower),
        ("latency p99", without.latency.p99_ms, with.latency.p99_ms, "ms", Lower),
        ("latency max", without.latency.max_ms, with.latency.max_ms, "ms", Lower),
        ("to last device p99", without.time_to_last.p99_ms, with.time_to_last.p99_ms, "ms", Lower),
        ("deliveries", without.deliveries_per_s, with.deliveries_per_s, "/s", Higher),
        ("publisher lag p99", without.publish_lag.p99_ms, with.publish_lag.p99_ms, "ms", Lower),
    ];
    let mut table = Vec::new();
    for (name, a, b, unit, better) in rows {
        let times = ratio(b, a);
        table.push(vec![name.into(), human(a, unit), human(b, unit), format!("{} ×", plain(times))]);
        record.figure("with/without", name, times, "×", better);
    }
    if let (Some(a), Some(b)) = (&without.gateway, &with.gateway) {
        let (a, b) = (a.cpu_percent, b.cpu_percent);
        let times = format!("{} ×", plain(ratio(b, a)));
        table.push(vec!["gateway CPU".into(), human(a, "%"), human(b, "%"), times]);
    }
    record.table("what the others notice", &["", "without", "with", "ratio"], table);
}

fn verified(record: &mut Record, name: &str, report: &Report) {
    let faults = report.faults;
    let wrong = faults.gaps + faults.duplicates + faults.reorders + faults.malformed;
    record.figure("verified", &format!("faults {name}"), wrong as f64, "", Lower);
    if wrong > 0 {
        record.warn(format!(
            "{name}: not every message came to every device that reads: gaps {}, duplicates {}, reorders {}, malformed {}",
            count(faults.gaps as f64),
            count(faults.duplicates as f64),
            count(faults.reorders as f64),
            count(faults.malformed as f64)
        ));
    }
    for (how, closed) in &report.closed_by_server {
        record.warn(format!("{name}: the server closed {closed} devices that read ({how})"));
    }
    if report.refused > 0 {
        record.warn(format!("{name}: {} messages were refused", count(report.refused as f64)));
    }
    if let Some(why) = &report.publish_error {
        record.warn(format!("{name}: {why}"));
    }
    if report.receivers.bottleneck {
        record.warn(format!("{name}: the receivers were (or may have been) the bottleneck"));
    }
}

/// What became of each kind.
fn became(record: &mut Record, args: &SlowArgs, with: &Report) {
    let mut rows = Vec::new();
    let trickling = format!("trickling, {}/s", human(f64::from(args.trickle_bytes_per_s), "B"));
    for (name, slow) in
        [("stalled", &with.stalled), (trickling.as_str(), &with.trickling), ("vanished", &with.vanished)]
    {
        let Some(slow) = slow else { continue };
        rows.push(row(name, slow));
        let kind = name.split(',').next().unwrap_or(name);
        record.figure(kind, "given up by the server", slow.given_up.count as f64, "", Neutral);
        record.figure(kind, "still held", slow.held as f64, "", Neutral);
        record.figure(kind, "malformed", slow.faults.malformed as f64, "", Lower);
        if slow.given_up.count > 0 {
            record.figure(kind, "half of them after", slow.given_up.p50_ms / 1000.0, "s", Neutral);
            record.figure(kind, "the last after", slow.given_up.max_ms / 1000.0, "s", Neutral);
        }
        if slow.faults.malformed > 0 {
            record.warn(format!("{kind} devices read {} malformed frames", slow.faults.malformed));
        }
    }
    let columns = [
        "device",
        "connections",
        "given up",
        "half after",
        "last after",
        "still held",
        "what they read of it",
        "messages read",
    ];
    record.table("what became of the slow ones", &columns, rows);
}

fn row(name: &str, slow: &Slow) -> Vec<String> {
    let n = |value: u64| count(value as f64);
    let after =
        |ms: f64| if slow.given_up.count > 0 { format!("{:.0} s", ms / 1000.0) } else { "–".into() };
    let mut ends: Vec<String> =
        slow.closed.iter().map(|(how, ended)| format!("{how}: {}", n(*ended))).collect();
    if ends.is_empty() {
        ends.push("nothing".into());
    }
    let held =
        if slow.unseen > 0 { format!("{}, {} unseen", n(slow.held), n(slow.unseen)) } else { n(slow.held) };
    vec![
        name.into(),
        n(slow.connections),
        n(slow.given_up.count),
        after(slow.given_up.p50_ms),
        after(slow.given_up.max_ms),
        held,
        ends.join(", "),
        n(slow.messages),
    ]
}

fn memory(record: &mut Record, with: &Report) {
    let Some(memory) = &with.memory else {
        record.warn("the gateway's memory was not measured: give --gateway or --gateway-pid");
        return;
    };
    for (name, bytes) in [
        ("all connected", memory.connected.anonymous),
        ("highest", memory.peak),
        ("when the slow ones were given up", memory.after_load.anonymous),
        ("all left", memory.after_leave.anonymous),
    ] {
        record.figure("gateway memory", name, bytes as f64, "B", Lower);
    }
}
