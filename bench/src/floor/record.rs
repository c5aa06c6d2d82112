//! Floors as a record, and one beside the numbers of a load. *Not here*: measuring them (`super`).

use super::found::Floor;
use crate::results::{Better, Record};
use crate::units::count;

/// The measurements of a run, one group each.
pub(super) fn record(floors: &[Floor]) -> Result<Record, String> {
    let mut record = Record::new("floor", None);
    for floor in floors {
        let label = label(floor);
        record.figure(&label, "sockets", floor.sockets as f64, "", Better::Neutral);
        record.figure(&label, "messages a send", floor.messages_per_send as f64, "", Better::Neutral);
        match floor.passes {
            0 => record.warn(format!("{label}: interrupted before the passes back to back")),
            _ => back_to_back(&mut record, &label, floor),
        }
        for (name, recorder) in &floor.distributions {
            record.distribution(&format!("{label}: {name}"), recorder);
        }
    }
    if floors.len() > 1 {
        let points = |value: fn(&Floor) -> f64| {
            floors.iter().map(|floor| (floor.bytes_per_send as f64, value(floor))).collect()
        };
        record.series("sends over bytes of a send", "back to back", ("B", "/s"), points(|f| f.sends_per_s));
        record.series("payload over bytes of a send", "back to back", ("B", "MB/s"), points(|f| f.mb_per_s));
    }
    record.details = serde_json::to_value(floors).map_err(|e| e.to_string())?;
    Ok(record)
}

/// What only passes back to back tell.
fn back_to_back(record: &mut Record, label: &str, floor: &Floor) {
    rates(record, label, floor);
    record.figure(label, "CPU a send", floor.sender_ns_per_send, "ns", Better::Lower);
    if floor.messages_per_send > 1 {
        let at_full = floor.messages_per_s * 100.0 / floor.receivers.cpu_percent.max(1.0);
        record.figure(label, "messages, extrapolated to a whole core", at_full, "/s", Better::Higher);
    }
    floor.receivers.into_record(record, &format!("receivers, {label}"));
}

fn label(floor: &Floor) -> String {
    format!("{} B, {}", count(floor.bytes_per_send as f64), floor.sender)
}

/// The numbers that a fan-out is held against.
fn rates(record: &mut Record, group: &str, floor: &Floor) {
    record.figure(group, "sends", floor.sends_per_s, "/s", Better::Higher);
    record.figure(group, "payload", floor.mb_per_s, "MB/s", Better::Higher);
    record.figure(group, "messages", floor.messages_per_s, "/s", Better::Higher);
    record.figure(group, "blocked", floor.blocked as f64, "", Better::Lower);
}

/// The floor of a fan-out's own record.
pub(crate) fn beside(record: &mut Record, floor: &Floor) {
    record.figure("floor", "sockets", floor.sockets as f64, "", Better::Neutral);
    record.figure("floor", "bytes a send", floor.bytes_per_send as f64, "B", Better::Neutral);
    // Passes apart: what the load's own rounds are held against.
    record.figure("floor", "pass p50", floor.pass_paced.p50_ms, "ms", Better::Lower);
    record.figure("floor", "to last p50", floor.last_paced.p50_ms, "ms", Better::Lower);
    if floor.passes == 0 {
        return;
    }
    record.figure("floor", "pass back to back p50", floor.pass.p50_ms, "ms", Better::Lower);
    rates(record, "floor", floor);
    floor.receivers.into_record(record, "floor's receivers");
}
