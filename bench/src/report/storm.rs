//! A storm as a record.

use crate::args::StormArgs;
use crate::results::Better::{Higher, Lower, Neutral};
use crate::results::Record;
use crate::storm::{BACK, Found};

/// Shows and keeps the results of a storm.
pub(crate) fn storm(args: &StormArgs, found: &Found) -> Result<(), String> {
    super::finish(&args.machine, record(found)?)
}

fn record(found: &Found) -> Result<Record, String> {
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
        None if found.memory.is_some() => record.warn(format!(
            "resident memory was not back at {BACK} × the start within {:.0} s",
            found.watched_seconds
        )),
        None => record.warn("the gateway's memory was not measured: give --gateway or --gateway-pid"),
    }
    record.figure("newcomers", "connected meanwhile", found.probes.count as f64, "", Neutral);
    record.figure("newcomers", "failed", found.probes_failed as f64, "", Lower);
    record.figure("newcomers", "slowest handshake", found.probes.max_ms, "ms", Lower);
    if let Some(why) = &found.first_probe_failure {
        record.warn(why.as_str());
    }
    record.figure("return", "at once", found.returning as f64, "", Neutral);
    record.figure("return", "accepted", found.returned as f64, "", Higher);
    record.figure("return", "in", found.return_seconds, "s", Lower);
    record.figure("return", "accepts", found.returns_per_s, "/s", Higher);
    record.figure("return", "longest wait", found.wait.max_ms, "ms", Lower);
    for (why, count) in &found.refusals {
        record.warn(format!("{count} returning connections were refused: {why}"));
    }
    for (how, count) in &found.dropped {
        record.warn(format!("{count} returned connections were ended by the server: {how}"));
    }
    if let Some(memory) = found.memory {
        for (name, at) in [
            ("resident at start", memory.before),
            ("all connected", memory.connected),
            ("watch over", memory.after_watch),
            ("after the return", memory.returned),
        ] {
            record.figure("memory", name, at.rss as f64, "B", Lower);
        }
    }
    record.distributions.clone_from(&found.distributions);
    record.series.clone_from(&found.series);
    record.details = serde_json::to_value(found).map_err(|e| e.to_string())?;
    Ok(record)
}
