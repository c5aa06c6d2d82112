//! From rows to the record of the run: the table with its ratios, and where fanfare is not ahead.

use serde_json::json;

use super::row::Row;
use crate::results::{Better, Record};
use crate::units::{NO_NUMBER, decimals};

/// This tool's share of its cores above which it, not the server, may have set the pace of connecting.
const TOOL_PERCENT_MAX: f64 = 90.0;

/// A column that servers are compared in.
struct Column {
    name: &'static str,
    unit: &'static str,
    better: Better,
    /// Part of the comparison's claim, not only its explanation.
    decides: bool,
    digits: usize,
    value: fn(&Row) -> Option<f64>,
}

const COLUMNS: [Column; 10] = [
    Column {
        name: "idle memory a connection",
        unit: "B",
        better: Better::Lower,
        decides: true,
        digits: 0,
        value: |row| row.of_idle(|idle| idle.memory_bytes),
    },
    Column {
        name: "accepts",
        unit: "/s",
        better: Better::Higher,
        decides: true,
        digits: 0,
        value: |row| row.of_idle(|idle| idle.accepts_per_s),
    },
    Column {
        name: "CPU an accept",
        unit: "µs",
        better: Better::Lower,
        decides: false,
        digits: 1,
        value: |row| row.of_idle(|idle| idle.accept_cpu_us),
    },
    Column {
        name: "connects of this tool",
        unit: "/s",
        better: Better::Higher,
        decides: false,
        digits: 0,
        value: |row| row.of_idle(|idle| Some(idle.connects_per_s)),
    },
    Column {
        name: "p50",
        unit: "ms",
        better: Better::Lower,
        decides: false,
        digits: 2,
        value: |row| row.of_low(|low| Some(low.p50_ms)),
    },
    Column {
        name: "p99",
        unit: "ms",
        better: Better::Lower,
        decides: true,
        digits: 2,
        value: |row| row.of_low(|low| Some(low.p99_ms)),
    },
    Column {
        name: "to last device",
        unit: "ms",
        better: Better::Lower,
        decides: false,
        digits: 2,
        value: |row| row.of_low(|low| Some(low.to_last_ms)),
    },
    Column {
        name: "CPU a delivery",
        unit: "µs",
        better: Better::Lower,
        decides: false,
        digits: 2,
        value: |row| row.of_low(|low| low.delivery_cpu_us),
    },
    Column {
        name: "highest rate",
        unit: "/s",
        better: Better::Higher,
        decides: true,
        digits: 0,
        value: |row| row.top.as_ref().map(|top| top.rate),
    },
    Column {
        name: "deliveries",
        unit: "/s",
        better: Better::Higher,
        decides: false,
        digits: 0,
        value: |row| row.top.as_ref().map(|top| top.deliveries_per_s),
    },
];

/// By how much the baseline is ahead: above 1 it is.
fn lead(column: &Column, baseline: f64, other: f64) -> Option<f64> {
    let (best, worst) = if column.better == Better::Higher { (baseline, other) } else { (other, baseline) };
    // Memory that did not grow, or a server that held no rate at all: no ratio says it.
    (worst > 0.0 && best > 0.0).then(|| best / worst)
}

fn baseline<'a>(rows: &'a [Row], row: &Row) -> Option<&'a Row> {
    if row.is_baseline {
        return None;
    }
    rows.iter().find(|other| other.is_baseline && other.framing == row.framing)
}

/// What each server had to bear.
pub(crate) struct Load {
    /// Messages a second of the low rate.
    pub(crate) rate: f64,
    pub(crate) connections: u32,
    pub(crate) bytes: usize,
    /// What the 99th percentile of a rung may come to.
    pub(crate) p99_max_ms: f64,
}

/// The whole run.
pub(crate) fn record(rows: &[Row], load: &Load) -> Record {
    let Load { rate, connections, bytes, p99_max_ms } = load;
    let mut record = Record::new("compare", None);
    let mut columns = vec![String::new()];
    columns.extend(rows.iter().map(|row| label(rows, row)));
    let mut lines: Vec<Vec<String>> = COLUMNS
        .iter()
        .map(|column| {
            let mut line = vec![format!("{}, {}", column.name, column.unit)];
            line.extend(rows.iter().map(|row| cell(column, rows, row)));
            line
        })
        .collect();
    let mut text = |name: &str, of: &dyn Fn(&Row) -> String| {
        let mut line = vec![name.to_owned()];
        line.extend(rows.iter().map(of));
        lines.push(line);
    };
    text("faults at the low rate", &|row| decimals(row.faults() as f64, 0));
    text("outcome", &|row| row.stopped.clone().unwrap_or_else(|| "measured".into()));
    let title = format!(
        "one core each, {connections} connections, {bytes} B; latency at {rate} messages/s; (n×): fanfare is ahead by \
         that, behind below 1"
    );
    record.table(&title, &columns.iter().map(String::as_str).collect::<Vec<_>>(), lines);
    for row in rows {
        let group = label(rows, row);
        for column in &COLUMNS {
            if let Some(value) = (column.value)(row) {
                record.figure(&group, column.name, value, column.unit, column.better);
            }
        }
        if let Some(top) = row.top.as_ref().filter(|top| !top.rungs.is_empty()) {
            record.series("p99 over the rate", &group, ("messages/s", "ms"), top.rungs.clone());
            record.bound(*p99_max_ms, "--p99-max-ms");
        }
    }
    let ends = rows.iter().filter_map(|row| Some(vec![label(rows, row), row.top.as_ref()?.limit.clone()]));
    record.table("what ended the climb", &["server", "reason"], ends.collect());
    record.warnings = warnings(rows);
    record.details = json!({ "rows": rows });
    record
}

/// A server in the table's head; with its framing when it is there in both.
fn label(rows: &[Row], row: &Row) -> String {
    if rows.iter().filter(|other| other.server == row.server).count() > 1 {
        return format!("{} {}", row.server, row.framing);
    }
    row.server.clone()
}

fn cell(column: &Column, rows: &[Row], row: &Row) -> String {
    let Some(value) = (column.value)(row) else { return NO_NUMBER.into() };
    let text = decimals(value, column.digits);
    let against = baseline(rows, row).and_then(|base| lead(column, (column.value)(base)?, value));
    against.map_or_else(
        || text.clone(),
        |lead| format!("{text} ({}×)", decimals(lead, if lead < 10.0 { 2 } else { 0 })),
    )
}

fn warnings(rows: &[Row]) -> Vec<String> {
    let mut said = Vec::new();
    for row in rows {
        if let Some(why) = &row.stopped {
            said.push(format!("{}: {why}", row.server));
        }
        if row.faults() > 0 {
            said.push(format!("{}: {} messages were lost, repeated or wrong", row.server, row.faults()));
        }
        if let Some(percent) =
            row.of_idle(|idle| Some(idle.tool_percent)).filter(|percent| *percent > TOOL_PERCENT_MAX)
        {
            let text = "this tool may have set the pace of its accepts";
            said.push(format!("{}: {text} ({percent:.0} % of its cores)", row.server));
        }
        if row.low.iter().any(|low| low.receivers_busy)
            || row.top.as_ref().is_some_and(|top| top.receivers_busy)
        {
            said.push(format!("{}: the receivers may have been the bottleneck", row.server));
        }
        for column in COLUMNS.iter().filter(|column| column.decides) {
            let values = baseline(rows, row).and_then(|base| (column.value)(base).zip((column.value)(row)));
            if let Some(lead) =
                values.and_then(|(base, value)| lead(column, base, value)).filter(|lead| *lead <= 1.0)
            {
                said.push(format!("fanfare is not ahead of {} in {}: {lead:.2}×", row.server, column.name));
            }
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::super::row::{Idle, Low, Top};
    use super::*;

    const LOAD: Load = Load { rate: 5.0, connections: 10_000, bytes: 100, p99_max_ms: 1_000.0 };

    fn row(server: &str, memory: f64, accepts: f64, p99: f64, rate: f64) -> Row {
        let idle = Idle { accepts_per_s: Some(accepts), memory_bytes: Some(memory), ..Idle::default() };
        let low = Low { p99_ms: p99, p50_ms: p99 / 2.0, to_last_ms: p99, ..Low::default() };
        let top = Top { rate, deliveries_per_s: rate * 100.0, rungs: vec![(rate, p99)], ..Top::default() };
        Row {
            server: server.into(),
            framing: "raw".into(),
            is_baseline: server == "fanfare",
            idle: vec![idle],
            low: vec![low],
            top: Some(top),
            stopped: None,
        }
    }

    fn cells<'a>(record: &'a Record, server: &str, line: &str) -> &'a str {
        let table = &record.tables[0];
        let at = table.columns.iter().position(|name| name.starts_with(server)).unwrap();
        &table.rows.iter().find(|row| row[0].starts_with(line)).unwrap()[at]
    }

    #[test]
    fn a_ratio_says_by_how_much_fanfare_is_ahead_whichever_way_is_better() {
        let rows =
            [row("fanfare", 120.0, 40_000.0, 20.0, 2_000.0), row("peer", 6_000.0, 10_000.0, 50.0, 20.0)];
        let record = record(&rows, &LOAD);
        assert_eq!(cells(&record, "fanfare", "accepts"), "40,000");
        assert_eq!(cells(&record, "peer", "idle memory"), "6,000 (50×)");
        assert_eq!(cells(&record, "peer", "accepts"), "10,000 (4.00×)");
        assert_eq!(cells(&record, "peer", "p99"), "50.00 (2.50×)");
        assert_eq!(cells(&record, "peer", "highest rate"), "20 (100×)");
        assert_eq!(record.warnings, [""; 0]);
        assert_eq!(record.series.len(), 2);
        let bounds: Vec<_> = record.series.iter().map(|series| series.bound.clone()).collect();
        assert_eq!(bounds, vec![Some((1_000.0, "--p99-max-ms".to_owned())); 2]);
    }

    #[test]
    fn a_column_in_which_fanfare_is_behind_is_said_in_words() {
        let rows =
            [row("fanfare", 120.0, 9_000.0, 20.0, 2_000.0), row("peer", 6_000.0, 10_000.0, 50.0, 20.0)];
        let record = record(&rows, &LOAD);
        assert_eq!(cells(&record, "peer", "accepts"), "10,000 (0.90×)");
        assert_eq!(record.warnings, ["fanfare is not ahead of peer in accepts: 0.90×"]);
    }

    #[test]
    fn a_peer_that_died_is_a_row_with_its_reason_and_what_was_measured_before() {
        let mut dead = row("peer", 6_000.0, 10_000.0, 50.0, 20.0);
        (dead.top, dead.stopped) = (None, Some("the gateway ended during the run: signal 9".into()));
        let rows = [row("fanfare", 120.0, 40_000.0, 20.0, 2_000.0), dead];
        let record = record(&rows, &LOAD);
        assert_eq!(cells(&record, "peer", "highest rate"), NO_NUMBER);
        assert_eq!(cells(&record, "peer", "idle memory"), "6,000 (50×)");
        assert_eq!(cells(&record, "peer", "outcome"), "the gateway ended during the run: signal 9");
        assert_eq!(record.warnings, ["peer: the gateway ended during the run: signal 9"]);
    }

    #[test]
    fn a_peer_is_held_against_fanfare_in_its_own_framing() {
        let mut batches = row("fanfare", 120.0, 20_000.0, 20.0, 4_000.0);
        batches.framing = "go-push".into();
        let mut other = row("peer", 120.0, 20_000.0, 20.0, 1_000.0);
        other.framing = "go-push".into();
        let rows = [row("fanfare", 120.0, 40_000.0, 20.0, 2_000.0), batches, other];
        assert_eq!(cells(&record(&rows, &LOAD), "peer", "highest rate"), "1,000 (4.00×)");
    }

    #[test]
    fn what_has_no_ratio_gets_none() {
        let rows = [row("fanfare", 0.0, 40_000.0, 20.0, 2_000.0), row("peer", 6_000.0, 10_000.0, 50.0, 0.0)];
        let record = record(&rows, &LOAD);
        assert_eq!(cells(&record, "peer", "idle memory"), "6,000");
        assert_eq!(cells(&record, "peer", "highest rate"), "0");
    }
}
