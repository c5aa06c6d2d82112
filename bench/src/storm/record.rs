//! A storm as a record. *Not here*: making it (`super`).

use super::found::{BACK, Found};
use crate::fanout::Report;
use crate::results::Better::{Higher, Lower, Neutral};
use crate::results::Record;

/// What the leave and the return found.
pub(super) fn record(found: &Found) -> Result<Record, String> {
    let mut record = Record::new("storm", None);
    record.figure("connections", "opened", found.connections as f64, "", Neutral);
    record.figure("connections", "in", found.connect_seconds, "s", Lower);
    record.figure("connections", "connects", found.connects_per_s, "/s", Higher);
    record.figure("leave", "closed on this side in", found.leave_seconds, "s", Neutral);
    if let Some(after) = found.empty_after_seconds {
        record.figure("leave", "server counts nobody after", after, "s", Lower);
    }
    match found.memory_back_after_seconds {
        Some(after) => record.figure("leave", "resident memory back after", after, "s", Lower),
        None if !found.memory.is_empty() => record.warn(format!(
            "resident memory was not back at {BACK} × the start within {:.0} s",
            found.watched_seconds
        )),
        None => record.warn("the gateway's memory was not measured: give --gateway or --gateway-pid"),
    }
    record.figure("newcomers", "connected meanwhile", found.newcomers.count as f64, "", Neutral);
    record.figure("newcomers", "failed", found.newcomers_failed as f64, "", Lower);
    record.figure("newcomers", "slowest handshake", found.newcomers.max_ms, "ms", Lower);
    if let Some(why) = &found.first_failure {
        record.warn(why.as_str());
    }
    record.distributions.clone_from(&found.distributions);
    match &found.back {
        Some(back) => returned(&mut record, found.returning, back),
        None => record.warn("interrupted before anybody returned"),
    }
    let names = ["resident at start", "all connected", "watch over", "all returned"];
    for (name, at) in names.into_iter().zip(&found.memory) {
        record.figure("memory", name, at.rss as f64, "B", Lower);
    }
    record.series.clone_from(&found.series);
    record.details = serde_json::to_value(found).map_err(|e| e.to_string())?;
    Ok(record)
}

fn returned(record: &mut Record, returning: u64, back: &Report) {
    record.figure("return", "at once", returning as f64, "", Neutral);
    record.figure("return", "accepted", back.connections as f64, "", Higher);
    record.figure("return", "in", back.connect_seconds, "s", Lower);
    record.figure("return", "accepts", back.connects_per_s, "/s", Higher);
    record.figure("return", "longest wait", back.handshake.max_ms, "ms", Lower);
    for (why, count) in &back.connects_refused {
        record.warn(format!("{count} returning connections were refused: {why}"));
    }
    for (how, count) in &back.closed_by_server {
        record.warn(format!("{count} returned connections were ended by the server: {how}"));
    }
    record.distributions.extend(back.distributions.iter().cloned().map(|mut distribution| {
        distribution.name = format!("returning: {}", distribution.name);
        distribution
    }));
}
