//! Records laid side by side, the first as the measure of the others: what is compared, what comes of it, and the text.
//!
//! *Not here*: how one run is shown (`text`), several as a page (`html`), where records come from (`super`).

use std::collections::HashMap;
use std::fmt::Write as _;

use super::text;
use crate::results::{Better, Record, Table};
use crate::units::{decimals, human};

/// Numbers closer than this are the same: two runs of one thing differ by more.
const SAME: f64 = 0.02;

/// One number of every record that has it.
pub(super) struct Row<'a> {
    pub(super) group: &'a str,
    pub(super) name: &'a str,
    pub(super) unit: &'a str,
    pub(super) better: Better,
    pub(super) values: Vec<Option<f64>>,
}

/// Figures and percentiles, those of the first record first.
pub(super) fn rows(records: &[(String, Record)]) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    let mut places = HashMap::new();
    for (at, (_, record)) in records.iter().enumerate() {
        let figures = record.figures.iter().map(|figure| {
            (figure.group.as_str(), figure.name.as_str(), figure.unit.as_str(), figure.better, figure.value)
        });
        let percentiles =
            record.distributions.iter().filter(|one| one.percentiles.count > 0).flat_map(|one| {
                let p = &one.percentiles;
                let named = [
                    ("p50", p.p50_ms),
                    ("p90", p.p90_ms),
                    ("p99", p.p99_ms),
                    ("p99.9", p.p999_ms),
                    ("max", p.max_ms),
                ];
                named.into_iter().map(|(name, ms)| (one.name.as_str(), name, "ms", Better::Lower, ms))
            });
        for (group, name, unit, better, value) in figures.chain(percentiles) {
            let place = *places.entry((group, name, unit)).or_insert_with(|| {
                rows.push(Row { group, name, unit, better, values: vec![None; records.len()] });
                rows.len() - 1
            });
            rows[place].values[at].get_or_insert(value);
        }
    }
    rows
}

/// How a number stands to the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Better,
    Worse,
    Same,
    /// It differs and is a condition, or cannot be compared.
    Differs,
}

/// A number against the first: the ratio, if there is one, and which way it went.
pub(super) fn against(first: Option<f64>, value: Option<f64>, better: Better) -> (String, Verdict) {
    let (Some(first), Some(value)) = (first, value) else { return (String::new(), Verdict::Differs) };
    if !first.is_finite() || !value.is_finite() {
        return (String::new(), Verdict::Differs);
    }
    if (value - first).abs() <= SAME * first.abs() {
        return ("=".into(), Verdict::Same);
    }
    let verdict = match better {
        Better::Neutral => Verdict::Differs,
        Better::Lower if value < first => Verdict::Better,
        Better::Higher if value > first => Verdict::Better,
        Better::Lower | Better::Higher => Verdict::Worse,
    };
    let ratio = value / first;
    let number = match ratio {
        ratio if !ratio.is_finite() || ratio <= 0.0 => String::new(),
        ratio if ratio >= 99.5 => format!("{} ×", decimals(ratio, 0)),
        ratio if ratio < 0.01 => "< 0.01 ×".into(),
        ratio => format!("{} ×", decimals(ratio, 2)),
    };
    let word = match verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::Same | Verdict::Differs => "",
    };
    (format!("{number} {word}").trim().to_owned(), verdict)
}

/// Conditions that are not the same in all records: what they are, and what each has.
pub(super) fn conditions(records: &[(String, Record)]) -> Vec<(String, Vec<String>)> {
    let mut all: Vec<(String, Vec<String>)> = Vec::new();
    let mut add = |name: &str, value: &dyn Fn(&Record) -> String| {
        let values: Vec<String> = records.iter().map(|(_, record)| value(record)).collect();
        if values.iter().any(|value| *value != values[0]) {
            all.push((name.into(), values));
        }
    };
    add("subcommand", &|record| record.subcommand.clone());
    add("machine", &|record| record.environment.machine());
    add("open files", &|record| record.environment.open_files_max.to_string());
    add("commit", &|record| record.environment.commit.clone().unwrap_or_default());
    add("version", &|record| record.environment.version.clone());
    add("command", &|record| record.environment.command.join(" "));
    add("ended", &|record| if record.interrupted { "by Ctrl-C" } else { "by itself" }.into());
    let mut sysctls: Vec<&String> =
        records.iter().flat_map(|(_, record)| record.environment.sysctls.keys()).collect();
    sysctls.sort();
    sysctls.dedup();
    for key in sysctls {
        add(key, &|record| record.environment.sysctls.get(key).cloned().unwrap_or_default());
    }
    all
}

/// Several records for a terminal.
pub(super) fn text(records: &[(String, Record)]) -> String {
    let mut out = String::new();
    let conditions = conditions(records);
    if !conditions.is_empty() {
        out.push_str("Different conditions\n");
        for (name, values) in conditions {
            let _ = writeln!(out, "  {name}");
            for ((label, _), value) in records.iter().zip(values) {
                let _ = writeln!(out, "    {label}: {value}");
            }
        }
        out.push('\n');
    }
    for (label, record) in records {
        for warning in &record.warnings {
            let _ = writeln!(out, "WARNING, {label}: {warning}");
        }
    }
    let mut columns = vec![String::new(), String::new()];
    for (at, (label, _)) in records.iter().enumerate() {
        columns.push(label.clone());
        columns.extend((at > 0).then(|| format!("to {}", records[0].0)));
    }
    let mut group = "";
    let mut cells = Vec::new();
    for row in rows(records) {
        let mut line =
            vec![if row.group == group { String::new() } else { row.group.into() }, row.name.into()];
        group = row.group;
        for (at, value) in row.values.iter().enumerate() {
            line.push(value.map_or_else(String::new, |value| human(value, row.unit)));
            line.extend((at > 0).then(|| against(row.values[0], *value, row.better).0));
        }
        cells.push(line);
    }
    out.push_str(&text::table(&Table { title: String::new(), columns, rows: cells }));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn better_is_what_the_figure_says_and_small_differences_are_none() {
        for (first, value, better, text, verdict) in [
            (100.0, 50.0, Better::Lower, "0.50 × better", Verdict::Better),
            (100.0, 250.0, Better::Lower, "2.50 × worse", Verdict::Worse),
            (100.0, 250.0, Better::Higher, "2.50 × better", Verdict::Better),
            (100.0, 101.9, Better::Lower, "=", Verdict::Same),
            (0.0, 0.0, Better::Lower, "=", Verdict::Same),
            (0.0, 3.0, Better::Lower, "worse", Verdict::Worse),
            (1.0, 12_345.0, Better::Neutral, "12,345 ×", Verdict::Differs),
            (f64::NAN, 1.0, Better::Lower, "", Verdict::Differs),
        ] {
            assert_eq!(against(Some(first), Some(value), better), (text.into(), verdict), "{first} {value}");
        }
        assert_eq!(against(None, Some(1.0), Better::Lower).1, Verdict::Differs);
    }

    #[test]
    fn what_only_one_record_has_is_shown_and_different_conditions_come_first() {
        let (mut one, mut other) = (Record::new("fanout", Some("one")), Record::new("fanout", Some("other")));
        one.figure("deliveries", "a second", 1000.0, "/s", Better::Higher);
        other.figure("deliveries", "a second", 2000.0, "/s", Better::Higher);
        other.figure("floor", "sends", 5.0, "/s", Better::Higher);
        other.environment.kernel = "9.9".into();
        other.environment.sysctls.insert("net.core.somaxconn".into(), "4096".into());
        let shown = text(&[("one".into(), one), ("other".into(), other)]);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], "Different conditions");
        assert!(shown.contains("    other: Linux 9.9"), "{shown}");
        assert!(shown.contains("net.core.somaxconn\n    one: \n    other: 4096"), "{shown}");
        let line = lines.iter().find(|line| line.starts_with("deliveries")).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words, ["deliveries", "a", "second", "1,000/s", "2,000/s", "2.00", "×", "better"]);
        assert!(shown.contains("sends"), "{shown}");
    }
}
