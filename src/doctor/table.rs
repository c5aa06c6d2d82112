//! A diagnosis as text for people and as JSON for machines. Pure.

use std::fmt::{self, Write as _};

use super::finding::{Diagnosis, Verdict};

/// Columns of a line, so that it fits beside something else on a screen.
const WIDTH: usize = 110;
const INDENT: &str = "    ";

impl Verdict {
    /// As it stands in the table.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotApplicable => "n/a",
            Self::Unknown => "unknown",
            Self::Warn => "warn",
            Self::Bad => "BAD",
        }
    }
}

impl Diagnosis {
    /// One JSON object.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self)
            .unwrap_or_else(|error| unreachable!("only text and numbers: {error}"))
    }
}

impl fmt::Display for Diagnosis {
    /// A row for each check; below a row that is not good, why it matters and the command.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shards = if self.shards == 1 { "shard" } else { "shards" };
        writeln!(f, "{} connections on {} {shards}\n", grouped(self.connections), self.shards)?;
        let heads = ["check", "wanted", "found", "verdict"];
        let cells = |at: usize| {
            let finding = &self.findings[at];
            // What could not be read takes more than a cell: it stands below.
            let found = if finding.verdict == Verdict::Unknown { "?" } else { &finding.found };
            [finding.name, &finding.wanted, found, finding.verdict.word()]
        };
        let rows: Vec<[&str; 4]> = (0..self.findings.len()).map(cells).collect();
        let width = |column: usize| {
            let cells = rows.iter().chain([&heads]).map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths = [0, 1, 2, 3].map(width);
        write_row(f, heads, widths)?;
        for (row, finding) in rows.iter().zip(&self.findings) {
            write_row(f, *row, widths)?;
            if finding.verdict == Verdict::Unknown {
                write_wrapped(f, &finding.found)?;
            }
            if matches!(finding.verdict, Verdict::Unknown | Verdict::Warn | Verdict::Bad) {
                write_wrapped(f, &finding.why)?;
                // A command is not broken, so that it can be taken as it is.
                finding.mend.iter().try_for_each(|mend| writeln!(f, "{INDENT}mend: {mend}"))?;
            }
        }
        writeln!(f, "\n{}", self.sum())
    }
}

impl Diagnosis {
    fn sum(&self) -> String {
        let connections = grouped(self.connections);
        let verdict = match (self.bad, self.unknown, self.warn) {
            (1.., _, _) => "does not hold",
            (0, 1.., _) => "may or may not hold",
            (0, 0, 1..) => "holds",
            (0, 0, 0) => return format!("This host is ready for {connections} connections."),
        };
        let left = [
            (self.bad, "to mend (BAD)"),
            (self.unknown, "not found out (unknown)"),
            (self.warn, "to look at (warn)"),
        ];
        let left: Vec<String> = left
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        format!("This host {verdict} {connections} connections: {}.", left.join(", "))
    }
}

fn write_row(f: &mut fmt::Formatter<'_>, cells: [&str; 4], widths: [usize; 4]) -> fmt::Result {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        write!(line, "{cell:width$}  ")?;
    }
    writeln!(f, "{}", line.trim_end())
}

/// A paragraph, indented, broken between words.
fn write_wrapped(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && INDENT.len() + line.chars().count() + 1 + word.chars().count() > WIDTH {
            writeln!(f, "{INDENT}{line}")?;
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    writeln!(f, "{INDENT}{line}")
}

/// `1,200,000`
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Decimal units, as memory is sold: `5.4 GB`.
pub(super) fn bytes(number: u64) -> String {
    match number {
        0..1_000_000 => format!("{} B", grouped(number)),
        1_000_000..1_000_000_000 => format!("{:.0} MB", number as f64 / 1e6),
        _ => format!("{:.1} GB", number as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Finding;

    fn finding(verdict: Verdict) -> Finding {
        Finding {
            name: "net.core.somaxconn",
            wanted: "4,096 or more".into(),
            found: "128".into(),
            verdict,
            why: "word ".repeat(60),
            mend: Some("sysctl -w net.core.somaxconn=4096".into()),
        }
    }

    fn diagnosis(verdict: Verdict) -> String {
        let bad = usize::from(verdict == Verdict::Bad);
        let warn = usize::from(verdict == Verdict::Warn);
        let unknown = usize::from(verdict == Verdict::Unknown);
        let findings = vec![finding(verdict)];
        Diagnosis { connections: 15_000, shards: 1, bad, warn, unknown, findings }.to_string()
    }

    #[test]
    fn a_good_row_is_one_line_and_a_bad_one_has_its_reason_and_its_command() {
        let good = diagnosis(Verdict::Ok);
        assert_eq!(good.lines().count(), 6, "{good}");
        assert!(good.ends_with("\nThis host is ready for 15,000 connections.\n"), "{good}");
        let bad = diagnosis(Verdict::Bad);
        assert!(bad.contains("\n    mend: sysctl -w net.core.somaxconn=4096\n"), "{bad}");
        assert!(bad.ends_with("This host does not hold 15,000 connections: 1 to mend (BAD).\n"), "{bad}");
    }

    #[test]
    fn what_could_not_be_found_out_is_never_ready() {
        let unknown = diagnosis(Verdict::Unknown);
        let wanted = "This host may or may not hold 15,000 connections: 1 not found out (unknown).\n";
        assert!(unknown.ends_with(wanted), "{unknown}");
    }

    #[test]
    fn columns_are_aligned_and_paragraphs_fit_the_width() {
        let text = diagnosis(Verdict::Warn);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[2].find("verdict"), lines[3].find("warn"));
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH && !line.ends_with(' ')), "{text}");
    }

    #[test]
    fn numbers_are_grouped_and_bytes_have_units() {
        assert_eq!([0, 999, 1_000, 1_200_000].map(grouped), ["0", "999", "1,000", "1,200,000"]);
        assert_eq!([4_500, 67_500_000, 5_400_000_000].map(bytes), ["4,500 B", "68 MB", "5.4 GB"]);
    }
}
