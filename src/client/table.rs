//! Text in columns, bars, and numbers for people. Pure.
//!
//! What comes from outside (names of topics, sentences of the gateway) passes [`printable`] on its way into a table: no
//! byte of it can move the cursor. *Not here*: what a column means.

use crate::doctor::table::grouped;

/// How a line is shown where colours are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As it is.
    Plain,
    /// A heading.
    Head,
    /// Less than the rest.
    Dim,
    /// Something to look at.
    Warn,
}

/// One line of a screen or of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Without escape codes.
    pub text: String,
    /// How it is shown.
    pub style: Style,
}

impl Line {
    /// A line as it is.
    pub fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), style: Style::Plain }
    }

    /// A line in some style.
    pub fn styled(text: impl Into<String>, style: Style) -> Self {
        Self { text: text.into(), style }
    }

    /// With the escape codes of its style.
    pub fn coloured(&self) -> String {
        let code = match self.style {
            Style::Plain => return self.text.clone(),
            Style::Head => "1",
            Style::Dim => "2",
            Style::Warn => "33",
        };
        format!("\x1b[{code}m{}\x1b[0m", self.text)
    }
}

/// Lines as a text, with escape codes or without.
pub fn text(lines: &[Line], colours: bool) -> String {
    let line = |line: &Line| if colours { line.coloured() } else { line.text.clone() } + "\n";
    lines.iter().map(line).collect()
}

/// Where a cell stands in its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its heading.
    pub head: &'static str,
    /// Where its cells stand.
    pub side: Side,
    /// Of what does not fit, the highest goes first; 0 stays.
    pub spare: u8,
}

impl Column {
    /// A column of text.
    pub const fn left(head: &'static str, spare: u8) -> Self {
        Self { head, side: Side::Left, spare }
    }

    /// A column of numbers.
    pub const fn right(head: &'static str, spare: u8) -> Self {
        Self { head, side: Side::Right, spare }
    }
}

/// Rows below headings.
#[derive(Clone, Debug)]
pub struct Table<'a> {
    columns: &'a [Column],
    rows: Vec<(Vec<String>, Style)>,
}

/// Columns between two cells.
const GAP: usize = 2;
/// A cell is cut to so many characters: a topic's name may have 256.
const CELL_CHARS_MAX: usize = 40;

impl<'a> Table<'a> {
    /// A table without rows.
    pub fn new(columns: &'a [Column]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row; one cell for each column.
    pub fn row(&mut self, cells: Vec<String>, style: Style) {
        debug_assert_eq!(cells.len(), self.columns.len(), "a cell for each column");
        let cells = cells.into_iter().map(|cell| cut(&printable(&cell), CELL_CHARS_MAX)).collect();
        self.rows.push((cells, style));
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Nothing but headings.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table in so many columns of a terminal: what can be spared goes first, then lines are cut.
    pub fn lines(&self, width: usize) -> Vec<Line> {
        let widths: Vec<usize> = (0..self.columns.len()).map(|at| self.width_of(at)).collect();
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        let needed =
            |shown: &[usize]| shown.iter().map(|at| widths[*at] + GAP).sum::<usize>().saturating_sub(GAP);
        while needed(&shown) > width {
            let spared = shown.iter().enumerate().max_by_key(|(_, at)| self.columns[**at].spare);
            match spared {
                Some((position, at)) if self.columns[*at].spare > 0 => shown.remove(position),
                _ => break,
            };
        }
        let heads: Vec<String> = self.columns.iter().map(|column| column.head.to_owned()).collect();
        let line = |cells: &[String]| {
            let mut line = String::new();
            for (position, at) in shown.iter().enumerate() {
                let (cell, width) = (&cells[*at], widths[*at]);
                let gap = if position == 0 { 0 } else { GAP };
                let padding = " ".repeat(width - cell.chars().count());
                line += &" ".repeat(gap);
                match self.columns[*at].side {
                    Side::Left => line.extend([cell.as_str(), &padding]),
                    Side::Right => line.extend([&padding, cell.as_str()]),
                }
            }
            cut(line.trim_end(), width)
        };
        let mut lines = vec![Line::styled(line(&heads), Style::Head)];
        lines.extend(self.rows.iter().map(|(cells, style)| Line::styled(line(cells), *style)));
        lines
    }

    fn width_of(&self, at: usize) -> usize {
        let cells = self.rows.iter().map(|(cells, _)| cells[at].chars().count());
        cells.chain([self.columns[at].head.len()]).max().unwrap_or(0)
    }
}

/// Facts side by side, broken between them into lines of at most `width`.
pub fn flow(facts: &[String], width: usize) -> Vec<Line> {
    const BETWEEN: &str = "   ";
    let mut lines: Vec<String> = Vec::new();
    for fact in facts {
        let fact = printable(fact);
        match lines.last_mut() {
            Some(line) if line.chars().count() + BETWEEN.len() + fact.chars().count() <= width => {
                line.push_str(BETWEEN);
                line.push_str(&fact);
            }
            _ => lines.push(fact),
        }
    }
    lines.into_iter().map(|line| Line::plain(cut(&line, width))).collect()
}

/// A text without characters that a terminal takes for orders.
pub fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_control() || is_invisible(c) { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}

/// Marks that turn the direction of what follows, and separators that break a line.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// At most so many characters; the last one says that there were more.
pub fn cut(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let mut kept: String = text.chars().take(chars_max.saturating_sub(1)).collect();
    if chars_max > 0 {
        kept.push('…');
    }
    kept
}

/// `[####......]`, so many characters between the brackets.
pub fn bar(percent: u64, width: usize) -> String {
    let filled = (percent.min(100) as usize * width) / 100;
    format!("[{}{}]", "#".repeat(filled), ".".repeat(width - filled))
}

/// A time that somebody waits for: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "?".into();
    }
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    // In whole seconds, so that no part reaches 60.
    #[allow(clippy::cast_sign_loss)]
    let whole = seconds.round() as u64;
    let (minutes, hours, days) = (whole / 60, whole / 3600, whole / 86_400);
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{minutes} min {} s", whole % 60),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// A time that was measured: `0.25 ms`, `12.3 ms`, `1.53 s`.
pub fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms < 9.995 => format!("{ms:.2} ms"),
        ms if ms < 999.95 => format!("{ms:.1} ms"),
        ms if ms < 99_995.0 => format!("{:.2} s", ms / 1000.0),
        ms => duration(ms / 1000.0),
    }
}

/// Something a second: `0.5`, `12.5`, `500`, `4,940,000`.
pub fn rate(per_second: f64) -> String {
    if per_second < 99.95 && (per_second - per_second.round()).abs() > 0.04 {
        return format!("{per_second:.1}");
    }
    // Not a number and what is below zero become 0, which a rate is at least.
    #[allow(clippy::cast_sign_loss)]
    grouped(per_second.round() as u64)
}

/// Bytes in decimal units, three digits of them: `950 B`, `1.2 MB`.
pub fn bytes(bytes: f64) -> String {
    let mut value = bytes;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 999.5 || unit == "GB" {
            return if unit == "B" || value >= 99.95 {
                format!("{value:.0} {unit}")
            } else {
                format!("{value:.1} {unit}")
            };
        }
        value /= 1000.0;
    }
    unreachable!("the last unit takes every value")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COLUMNS: [Column; 3] = [Column::left("id", 0), Column::right("rate", 2), Column::left("to", 1)];

    fn table(rows: &[[&str; 3]]) -> Table<'static> {
        let mut table = Table::new(&COLUMNS);
        for row in rows {
            table.row(row.iter().map(|cell| (*cell).to_owned()).collect(), Style::Plain);
        }
        table
    }

    fn texts(lines: &[Line]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn columns_are_aligned_text_left_and_numbers_right() {
        let lines = table(&[["a", "1,000", "news"], ["longer", "5", "eu"]]).lines(80);
        assert_eq!(texts(&lines), ["id       rate  to", "a       1,000  news", "longer      5  eu"]);
        assert_eq!((lines[0].style, lines[1].style), (Style::Head, Style::Plain));
    }

    #[test]
    fn on_a_narrow_terminal_what_can_be_spared_goes_and_the_rest_is_cut() {
        let table = table(&[["a-name", "1,000", "news"]]);
        assert_eq!(texts(&table.lines(13)), ["id      to", "a-name  news"]);
        assert_eq!(texts(&table.lines(8)), ["id", "a-name"]);
        assert_eq!(texts(&table.lines(4)), ["id", "a-n…"]);
    }

    #[test]
    fn facts_flow_into_lines() {
        let facts: Vec<String> = ["one", "two", "three"].map(String::from).into();
        assert_eq!(texts(&flow(&facts, 9)), ["one   two", "three"]);
        assert_eq!(texts(&flow(&facts, 80)), ["one   two   three"]);
    }

    #[test]
    fn a_name_cannot_give_orders_to_a_terminal() {
        let lines = table(&[["\x1b[2J\u{9b}31m", "\r\n", "\u{202e}x"]]).lines(80);
        assert!(lines[1].text.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{:?}", lines[1].text);
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [0.0, 9.94, 9.95, 59.6, 200.0, 7_500.0, 273_600.0].map(duration),
            ["0.0 s", "9.9 s", "10 s", "1 min 0 s", "3 min 20 s", "2 h 5 min", "3 d 4 h"]
        );
        assert_eq!(duration(f64::NAN), "?");
        assert_eq!(
            [0.25, 12.34, 999.94, 1_532.0, 100_000.0].map(milliseconds),
            ["0.25 ms", "12.3 ms", "999.9 ms", "1.53 s", "1 min 40 s"]
        );
        assert_eq!(
            [0.0, 0.5, 12.5, 500.0, 99.96, 4_940_000.0].map(rate),
            ["0", "0.5", "12.5", "500", "100", "4,940,000"]
        );
        assert_eq!(
            [0.0, 950.0, 1_200.0, 559_100_000.0, 5e12].map(bytes),
            ["0 B", "950 B", "1.2 kB", "559 MB", "5000 GB"]
        );
        assert_eq!((bar(0, 4), bar(52, 4), bar(300, 4)), ("[....]".into(), "[##..]".into(), "[####]".into()));
    }

    #[test]
    fn colours_are_codes_around_a_line_and_nothing_else() {
        let lines = [Line::plain("a"), Line::styled("b", Style::Warn)];
        assert_eq!(text(&lines, false), "a\nb\n");
        assert_eq!(text(&lines, true), "a\n\x1b[33mb\x1b[0m\n");
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(
            cells in prop::collection::vec("\\PC{0,50}", 3..=3), width in 0_usize..120,
        ) {
            let mut table = Table::new(&COLUMNS);
            table.row(cells.clone(), Style::Plain);
            for line in table.lines(width).iter().chain(&flow(&cells, width)) {
                prop_assert!(line.text.chars().count() <= width, "{:?}", line.text);
            }
        }

        #[test]
        fn any_number_has_a_text(number in any::<f64>()) {
            let _ = (duration(number), milliseconds(number), rate(number), bytes(number));
        }
    }
}
