//! What was found of one server: a row of the table.

use serde::Serialize;

use super::door::Door;
use crate::fanout::Report;

/// Of one server, whatever was measured before it was over.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Row {
    /// The server.
    pub(crate) server: String,
    /// "raw" or "go-push".
    pub(crate) framing: String,
    /// The others of its framing are held against it.
    pub(crate) is_baseline: bool,
    /// One per round.
    pub(crate) idle: Vec<Idle>,
    /// One per round.
    pub(crate) low: Vec<Low>,
    /// The ladder's end.
    pub(crate) top: Option<Top>,
    /// Why the rest was not measured.
    pub(crate) stopped: Option<String>,
}

/// Everybody connected, nothing published.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Idle {
    /// Of a crowd that waited at the door: accepted, upgraded, joined and answered a second. Only of servers that were
    /// started here.
    pub(crate) accepts_per_s: Option<f64>,
    /// The server's CPU time for one of them.
    pub(crate) accept_cpu_us: Option<f64>,
    /// This tool's share of its core meanwhile: near 100, the server was not what limited the rate.
    pub(crate) tool_percent: f64,
    /// Connections opened a second, each by this tool; it sets the pace of a server that is faster.
    pub(crate) connects_per_s: f64,
    /// Anonymous memory that a connection added.
    pub(crate) memory_bytes: Option<f64>,
}

/// Few messages, so that latency is that of one fan-out.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Low {
    /// Of all deliveries.
    pub(crate) p50_ms: f64,
    /// Of all deliveries.
    pub(crate) p99_ms: f64,
    /// Per message, until the last device had it: the median.
    pub(crate) to_last_ms: f64,
    /// The server's CPU time for one delivery.
    pub(crate) delivery_cpu_us: Option<f64>,
    /// Gaps, duplicates, reorders, malformed.
    pub(crate) faults: u64,
    /// The receivers may have been what was measured.
    pub(crate) receivers_busy: bool,
}

/// The highest rate that it held.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Top {
    /// Messages a second; 0: not even the first rung.
    pub(crate) rate: f64,
    /// At that rate.
    pub(crate) deliveries_per_s: f64,
    /// At that rate.
    pub(crate) p99_ms: f64,
    /// Why the next rung was not held.
    pub(crate) limit: String,
    /// The receivers may have been what was measured.
    pub(crate) receivers_busy: bool,
    /// Every rung: rate, p99.
    pub(crate) rungs: Vec<(f64, f64)>,
}

impl Idle {
    /// From a run without messages.
    pub(super) fn of(report: &Report, door: Option<Door>) -> Self {
        Self {
            accepts_per_s: door.map(|door| door.accepts_per_s),
            accept_cpu_us: door.and_then(|door| door.cpu_us),
            tool_percent: door.map_or(0.0, |door| door.tool_percent),
            connects_per_s: report.connects_per_s,
            memory_bytes: report.memory.map(|memory| memory.anonymous_per_connection),
        }
    }
}

impl Low {
    /// From a run with messages.
    pub(crate) fn of(report: &Report) -> Self {
        let faults = report.faults;
        let used = report.gateway.map(|used| used.user_seconds + used.system_seconds);
        Self {
            p50_ms: report.latency.p50_ms,
            p99_ms: report.latency.p99_ms,
            to_last_ms: report.time_to_last.p50_ms,
            delivery_cpu_us: used.map(|seconds| seconds * 1e6 / report.deliveries.max(1) as f64),
            faults: faults.gaps + faults.duplicates + faults.reorders + faults.malformed,
            receivers_busy: report.receivers.bottleneck,
        }
    }
}

impl Row {
    /// The middle one of the rounds.
    pub(crate) fn of_idle(&self, value: impl Fn(&Idle) -> Option<f64>) -> Option<f64> {
        median(self.idle.iter().filter_map(value).collect())
    }

    /// The middle one of the rounds.
    pub(crate) fn of_low(&self, value: impl Fn(&Low) -> Option<f64>) -> Option<f64> {
        median(self.low.iter().filter_map(value).collect())
    }

    /// Of all rounds.
    pub(crate) fn faults(&self) -> u64 {
        self.low.iter().map(|low| low.faults).sum()
    }
}

/// The middle value; of an even number the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bad_round_of_three_moves_no_figure() {
        let idle = |rate: f64| Idle { connects_per_s: rate, ..Idle::default() };
        let row = Row { idle: vec![idle(20.0), idle(1.0), idle(21.0)], ..Row::default() };
        assert_eq!(row.of_idle(|idle| Some(idle.connects_per_s)), Some(20.0));
        assert_eq!(row.of_idle(|idle| idle.memory_bytes), None);
        assert_eq!(median(vec![4.0, 2.0]), Some(3.0));
    }
}
