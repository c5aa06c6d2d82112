//! A ladder as a record.

use super::args::LadderArgs;
use super::found::{BrokenOff, Ladder};
use super::rung::Rung;
use crate::results::Better::{Higher, Lower, Neutral};
use crate::results::Record;
use crate::units::{count, human, plain};

const COLUMNS: [&str; 10] = [
    "messages/s",
    "deliveries/s",
    "MB/s",
    "p50",
    "p99",
    "lag p99",
    "gateway CPU",
    "receivers",
    "held",
    "why not",
];

pub(super) fn record(args: &LadderArgs, ladder: &Ladder) -> Result<Record, String> {
    let mut record = Record::new("ladder", None);
    let connections = f64::from(args.load.connections);
    record.figure("load", "connections", connections, "", Neutral);
    record.figure("load", "topics", f64::from(args.load.topics), "", Neutral);
    record.figure("load", "message", args.load.bytes as f64, "B", Neutral);
    record.figure("load", "seconds a rung", args.load.seconds, "s", Neutral);
    record.figure("load", "p99 allowed", args.p99_max_ms, "ms", Neutral);
    record.figure("highest held", "messages", ladder.held.unwrap_or(0.0), "/s", Higher);
    if let Some(best) = ladder.best() {
        record.figure("highest held", "deliveries", best.report.deliveries_per_s, "/s", Higher);
        record.figure("highest held", "payload", best.report.payload_mb_per_s, "MB/s", Higher);
        record.figure("highest held", "latency p50", best.report.latency.p50_ms, "ms", Lower);
        record.figure("highest held", "latency p99", best.report.latency.p99_ms, "ms", Lower);
        if let Some(used) = &best.report.gateway {
            record.figure("highest held", "gateway CPU", used.cpu_percent, "%", Neutral);
        }
        best.report.receivers.into_record(&mut record, "receivers");
        record.distributions.clone_from(&best.report.distributions);
    }
    if let Some(failed) = ladder.failed {
        record.figure("lowest not held", "messages", failed, "/s", Neutral);
    }
    sentences(&mut record, args, ladder);
    record.table("rungs", &COLUMNS, ladder.rungs.iter().map(row).collect());
    curves(&mut record, ladder, args.receivers(), args.p99_max_ms);
    record.details = serde_json::to_value(ladder).map_err(|e| e.to_string())?;
    Ok(record)
}

/// What the numbers alone do not say.
fn sentences(record: &mut Record, args: &LadderArgs, ladder: &Ladder) {
    if let Some(BrokenOff { rate, why }) = &ladder.broken_off {
        record.warn(format!("{why}: whether {}/s is held is not known, nor what lies above", plain(*rate)));
    }
    let is_whole = !ladder.interrupted && ladder.broken_off.is_none();
    match (ladder.failed, &ladder.why) {
        (Some(rate), Some(why)) => {
            record.table("what stopped it", &["messages/s", "why"], vec![vec![plain(rate), why.clone()]]);
        }
        _ if !is_whole => {}
        _ => record.warn(format!(
            "the last rung held: the limit lies above {}/s; give a higher --to",
            plain(args.to)
        )),
    }
    if ladder.held.is_none() && is_whole {
        record.warn(format!("no rate was held: give a --from below {}/s", plain(args.from)));
    }
    let limited = ladder.rungs.iter().rev().find(|rung| !rung.held()).and_then(|rung| rung.bottleneck);
    if let Some(what) = limited {
        record.warn(format!("{what} where the ladder stopped: the server may hold more than this says"));
    }
    let retried = ladder.rungs.iter().filter(|rung| {
        !rung.held()
            && ladder.rungs.iter().any(|other| other.held() && other.rate.to_bits() == rung.rate.to_bits())
    });
    for rung in retried {
        let why = rung.failed.as_deref().unwrap_or_default();
        record.warn(format!("{}/s was held at the second try only: {why}", plain(rung.rate)));
    }
}

fn row(rung: &Rung) -> Vec<String> {
    let report = &rung.report;
    let gateway = report.gateway.as_ref().map_or_else(|| "–".to_owned(), |used| human(used.cpu_percent, "%"));
    vec![
        plain(rung.rate),
        count(report.deliveries_per_s),
        count(report.payload_mb_per_s),
        human(report.latency.p50_ms, "ms"),
        human(report.latency.p99_ms, "ms"),
        human(report.publish_lag.p99_ms, "ms"),
        gateway,
        human(report.receivers.cpu_percent, "%"),
        if rung.held() { "yes" } else { "no" }.into(),
        rung.failed.clone().unwrap_or_default(),
    ]
}

fn curves(record: &mut Record, ladder: &Ladder, receivers: f64, p99_max_ms: f64) {
    let mut rungs: Vec<&Rung> = ladder.rungs.iter().collect();
    rungs.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    let points = |y: &dyn Fn(&Rung) -> f64| rungs.iter().map(|rung| (rung.rate, y(rung))).collect::<Vec<_>>();
    let (latency, deliveries) = ("latency over rate", "deliveries over rate");
    record.series(latency, "p50", ("messages/s", "ms"), points(&|rung| rung.report.latency.p50_ms));
    record.series(latency, "p99", ("messages/s", "ms"), points(&|rung| rung.report.latency.p99_ms));
    record.bound(p99_max_ms, "--p99-max-ms");
    record.series(
        deliveries,
        "delivered",
        ("messages/s", "/s"),
        points(&|rung| rung.report.deliveries_per_s),
    );
    record.series(deliveries, "asked for", ("messages/s", "/s"), points(&|rung| rung.rate * receivers));
    if rungs.iter().any(|rung| rung.report.gateway.is_some()) {
        let cpu = |rung: &Rung| rung.report.gateway.as_ref().map_or(f64::NAN, |used| used.cpu_percent);
        record.series("CPU over rate", "gateway", ("messages/s", "%"), points(&cpu));
        let own = |rung: &Rung| rung.report.receivers.cpu_percent;
        record.series("CPU over rate", "receivers", ("messages/s", "%"), points(&own));
    }
}
