//! A paced push as a record.

use super::args::PacedArgs;
use super::found::Found;
use super::judge::{SECOND_US, TENTH_US};
use super::windows;
use crate::results::Better::{Higher, Lower, Neutral};
use crate::results::Record;

/// Table, curves and broken promises of a run.
pub(super) fn record(args: &PacedArgs, found: &Found) -> Result<Record, String> {
    let mut record = Record::new("paced", None);
    let (course, judgement) = (&found.course, &found.judgement);
    record.figure("push", "devices", course.devices as f64, "", Neutral);
    record.figure("push", "rate", course.rate, "/s", Neutral);
    if let Some((asked, answered)) = course.change {
        record.figure("change", "after", (asked - course.asked_us) as f64 / 1e6, "s", Neutral);
        record.figure("change", "to", course.change_to, "/s", Neutral);
        record.figure("change", "answered in", (answered - asked) as f64 / 1e3, "ms", Lower);
        let in_force = judgement.in_force_ms.unwrap_or(f64::NAN);
        record.figure("change", "in force after the answer", in_force, "ms", Lower);
    }
    for spread in &judgement.spreads {
        if spread.of != "with the ends" {
            record.figure(spread.window, &format!("{}, least", spread.of), spread.least * 100.0, "%", Higher);
        }
        record.figure(spread.window, &format!("{}, most", spread.of), spread.most * 100.0, "%", Lower);
    }
    etas(&mut record, found);
    let last = &course.last;
    record.figure("ledger", "targeted", last.targeted.map_or(f64::NAN, |n| n as f64), "", Neutral);
    record.figure("ledger", "sent", last.sent as f64, "", Neutral);
    let cancelled = last.failed.get("cancelled").copied().filter(|_| course.interrupted);
    record.figure("ledger", "failed", (last.failed() - cancelled.unwrap_or(0)) as f64, "", Lower);
    if let Some(cancelled) = cancelled {
        record.figure("ledger", "cancelled by Ctrl-C", cancelled as f64, "", Neutral);
    }
    record.figure("devices", "received", found.arrivals.len() as f64, "", Neutral);
    record.figure("devices", "duplicates", found.duplicates as f64, "", Lower);
    record.figure("devices", "malformed", found.malformed as f64, "", Lower);
    record.figure("devices", "CPU of their thread", found.crew_cpu_percent, "%", Neutral);
    let rows = judgement.latencies.iter().map(|(name, told, seen)| {
        vec![
            (*name).to_owned(),
            format!("{told:.1} ms"),
            format!("{seen:.1} ms"),
            format!("{:+.1} ms", told - seen),
        ]
    });
    if !judgement.latencies.is_empty() {
        record.table(
            "latency from acceptance",
            &["", "ledger", "devices", "ledger − devices"],
            rows.collect(),
        );
    }
    curves(&mut record, args, found);
    record.warnings.clone_from(&judgement.broken);
    record.details = serde_json::to_value(found).map_err(|e| e.to_string())?;
    Ok(record)
}

fn etas(record: &mut Record, found: &Found) {
    let judged = || found.judgement.etas.iter().filter(|eta| eta.counts);
    record.figure("ETA", "judged", judged().count() as f64, "", Neutral);
    if let Some(worst) =
        judged().max_by(|a, b| (a.said_s - a.left_s).abs().total_cmp(&(b.said_s - b.left_s).abs()))
    {
        record.figure("ETA", "worst error", (worst.said_s - worst.left_s).abs() * 1000.0, "ms", Lower);
        record.figure(
            "ETA",
            "worst, beyond its grain, of what was left",
            judged().fold(0.0, |most, eta| f64::max(most, eta.off)) * 100.0,
            "%",
            Lower,
        );
    }
    let etas = &found.judgement.etas;
    let units = ("s", "s");
    let line = |value: fn(&super::judge::Eta) -> f64| etas.iter().map(|eta| (eta.at_s, value(eta))).collect();
    record.series("time left", "by its ETA", units, line(|eta| eta.said_s));
    record.series("time left", "in truth", units, line(|eta| eta.left_s));
    record.series("error of the ETA", "", units, line(|eta| eta.said_s - eta.left_s));
}

/// Devices a second, and the bands.
fn curves(record: &mut Record, args: &PacedArgs, found: &Found) {
    let (Some(first), Some(last)) = (found.arrivals.first(), found.arrivals.last()) else { return };
    let span = (*first, *last);
    let seconds = |us: u64| us.saturating_sub(*first) as f64 / 1e6;
    for (plot, window, percent) in [
        ("devices a second, over 100 ms", TENTH_US, args.tenth_percent),
        ("devices a second, over a second", SECOND_US, args.second_percent),
    ] {
        let units = ("s", "/s");
        record.series(plot, "seen", units, windows::rates(&found.arrivals, span, window));
        for (sign, factor) in [("+", 1.0 + percent / 100.0), ("−", 1.0 - percent / 100.0)] {
            let (from, to) = (found.course.rate * factor, found.course.change_to * factor);
            let points = match found.course.change {
                None => vec![(0.0, from), (seconds(*last), from)],
                Some((asked, _)) => {
                    let at = seconds(asked);
                    vec![(0.0, from), (at, from), (at, to), (seconds(*last), to)]
                }
            };
            record.series(plot, &format!("rate {sign}{percent} %"), units, points);
        }
    }
}
