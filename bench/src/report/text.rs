//! A record as text for a terminal.

use std::fmt::Write;

use crate::results::{Distribution, Record, Table};
use crate::units::{NO_NUMBER, count, decimals, human};

/// Width of the column of groups, and of the names of distributions.
const LABEL: usize = 18;
/// Figures of a group go on in the next line from here on.
const WIDTH: usize = 112;

/// The whole run.
pub(crate) fn run(record: &Record) -> String {
    let mut out = String::new();
    row(&mut out, "machine", &[record.environment.machine()]);
    figures(&mut out, record);
    distributions(&mut out, &record.distributions);
    for table in &record.tables {
        out.push('\n');
        out.push_str(&self::table(table));
    }
    for warning in &record.warnings {
        let _ = write!(out, "\nWARNING: {warning}");
    }
    if !record.warnings.is_empty() {
        out.push('\n');
    }
    out
}

/// One line per group, in the order in which groups first appear.
fn figures(out: &mut String, record: &Record) {
    let mut groups: Vec<&str> = Vec::new();
    for figure in &record.figures {
        if !groups.contains(&figure.group.as_str()) {
            groups.push(&figure.group);
        }
    }
    for group in groups {
        let of_group = record.figures.iter().filter(|figure| figure.group == group);
        let parts = of_group.map(|figure| {
            let value = human(figure.value, &figure.unit);
            if figure.name.is_empty() { value } else { format!("{} {value}", figure.name) }
        });
        row(out, group, &parts.collect::<Vec<_>>());
    }
}

/// A label and its parts, in as many lines as they need.
fn row(out: &mut String, label: &str, parts: &[String]) {
    let mut line = pad(&format!("{label}  "), LABEL, false);
    for (at, part) in parts.iter().enumerate() {
        if at > 0 && line.chars().count() + 3 + part.chars().count() > WIDTH {
            let _ = writeln!(out, "{}", line.trim_end());
            line = " ".repeat(LABEL);
        } else if at > 0 {
            line.push_str("   ");
        }
        line.push_str(part);
    }
    let _ = writeln!(out, "{}", line.trim_end());
}

fn distributions(out: &mut String, all: &[Distribution]) {
    let columns = ["ms", "values", "p50", "p90", "p99", "p99.9", "max"].map(str::to_owned).to_vec();
    let rows = all.iter().filter(|one| one.percentiles.count > 0).map(|one| {
        let p = &one.percentiles;
        let mut row = vec![one.name.clone(), count(p.count as f64)];
        row.extend([p.p50_ms, p.p90_ms, p.p99_ms, p.p999_ms, p.max_ms].map(|ms| decimals(ms, 2)));
        row
    });
    let rows: Vec<_> = rows.collect();
    if !rows.is_empty() {
        out.push('\n');
        out.push_str(&table(&Table { title: String::new(), columns, rows }));
    }
}

/// Columns as wide as their widest cell; those that hold numbers only are aligned to the right.
pub(crate) fn table(table: &Table) -> String {
    let mut out = String::new();
    if !table.title.is_empty() {
        let _ = writeln!(out, "{}", table.title);
    }
    let cell = |row: &Vec<String>, at: usize| row.get(at).cloned().unwrap_or_default();
    let columns: Vec<(usize, bool)> = (0..table.columns.len())
        .map(|at| {
            let cells = table.rows.iter().map(|row| cell(row, at));
            let width = cells.clone().map(|cell| cell.chars().count()).max().unwrap_or(0);
            let numbers = at > 0 && are_numbers(cells);
            (width.max(table.columns[at].chars().count()), numbers)
        })
        .collect();
    for row in std::iter::once(&table.columns).chain(&table.rows) {
        let line: Vec<String> = columns
            .iter()
            .enumerate()
            .map(|(at, (width, numbers))| {
                let width = if at == 0 { (*width).max(LABEL - 2) } else { *width };
                pad(&cell(row, at), width, *numbers)
            })
            .collect();
        let _ = writeln!(out, "{}", line.join("  ").trim_end());
    }
    out
}

/// A column of numbers: some are, and nothing else stands between them but what stands for a number.
pub(super) fn are_numbers(cells: impl Iterator<Item = String>) -> bool {
    let mut some = false;
    let mut all = true;
    for cell in cells {
        let digits =
            cell.trim_start_matches(['-', '+', '≥', '<', ' ']).starts_with(|c: char| c.is_ascii_digit());
        some |= digits;
        all &= digits || ["", "yes", "no", NO_NUMBER].contains(&cell.as_str());
    }
    some && all
}

fn pad(text: &str, width: usize, to_the_right: bool) -> String {
    let fill = " ".repeat(width.saturating_sub(text.chars().count()));
    if to_the_right { fill + text } else { text.to_owned() + &fill }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Better;

    #[test]
    fn figures_stand_behind_their_group_and_wrap_under_it() {
        let mut record = Record::new("x", None);
        record.figure("deliveries", "a second", 500_000.0, "/s", Better::Higher);
        record.figure("memory", "", 122.0, "B", Better::Lower);
        for at in 0..9 {
            record.figure("deliveries", &format!("another {at}"), 1e9, "", Better::Higher);
        }
        record.warn("the receivers were the bottleneck");
        let text = run(&record);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[1].starts_with("deliveries        a second 500,000/s   another 0 1,000,000,000"),
            "{text}"
        );
        assert!(lines[2].starts_with("                  another"), "{text}");
        assert!(text.contains("\nmemory            122 B\n"), "{text}");
        assert!(text.ends_with("\nWARNING: the receivers were the bottleneck\n"), "{text}");
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH));
    }

    #[test]
    fn columns_of_numbers_are_aligned_to_the_right() {
        let rows =
            vec![vec!["100".into(), "yes".into(), "1.5".into()], vec!["2".into(), "no".into(), "–".into()]];
        let columns = ["rate", "held", "p99, ms"].map(str::to_owned).to_vec();
        let text = table(&Table { title: "rungs".into(), columns, rows });
        assert_eq!(text.lines().nth(2), Some("100               yes       1.5"));
        assert_eq!(text.lines().nth(3), Some("2                 no          –"));
    }
}
