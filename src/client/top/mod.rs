//! `fanfare top`: what a gateway does, now.
//!
//! Every interval the gateway is asked for everything once ([`sample`]); two samples make a screen ([`screen`]). A
//! gateway that goes away leaves its last screen with a line about it, and comes back by itself. *Not here*: the
//! terminal's modes (`sys::terminal`).

pub mod sample;
pub mod screen;

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use super::http::Gateway;
use super::table::{Line, Style, cut, printable};
use super::{Exit, Failure, arguments, block_signals, colours, show, stop_wanted, width};
use crate::sys::terminal::{self, Screen, Size};
use fanfare_core::limits::TOP_DEADLINE;
use sample::{Bodies, Sample};

/// How often somebody who presses a key, resizes the terminal or sends a signal is noticed.
const LOOK: Duration = Duration::from_millis(100);
/// For a terminal that does not know.
const SIZE_DEFAULT: Size = Size { columns: 80, rows: 24 };
/// Ctrl-C and Ctrl-D, as keys.
const QUIT: [u8; 4] = [b'q', b'Q', 3, 4];

/// What `fanfare top` is asked.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Print one table, without escape codes unless it goes to a terminal, and exit
    #[arg(long)]
    pub once: bool,
    /// Time between two looks, and what rates are taken over
    #[arg(long = "interval", value_name = "TIME", default_value = "1s", value_parser = arguments::interval_s)]
    pub interval_s: f64,
}

impl Arguments {
    /// Shows until somebody presses q; once if that is wanted, or if nobody can press a key.
    pub fn run(&self, gateway: &Gateway) -> Result<Exit, Failure> {
        let gateway = gateway.within(TOP_DEADLINE);
        let interval = Duration::from_secs_f64(self.interval_s);
        let first = ask(&gateway)?;
        if self.once || !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
            std::thread::sleep(interval);
            let second = ask(&gateway)?;
            show(&screen::lines(&gateway.address().to_string(), &first, &second, width(), usize::MAX));
            return Ok(Exit::Done);
        }
        live(&gateway, first, interval)
    }
}

fn ask(gateway: &Gateway) -> Result<Sample, Failure> {
    let at = Instant::now();
    let shards = gateway.fetch("/v1/shards")?;
    let stats = gateway.fetch("/stats")?;
    let metrics = gateway.fetch("/metrics")?;
    let pushes = gateway.fetch("/v1/pushes")?;
    // A gateway that is not ready says so with a 503, and why.
    let ready = gateway.get("/readyz")?.body;
    Sample::read(at, &Bodies { shards, stats, metrics, pushes, ready })
}

/// Draws until somebody has seen enough.
fn live(gateway: &Gateway, first: Sample, interval: Duration) -> Result<Exit, Failure> {
    let mut signals = block_signals()?;
    let no_terminal = |error| Failure::operator(format!("the terminal cannot be used: {error}"));
    let mut terminal = Screen::enter().map_err(no_terminal)?;
    let address = gateway.address().to_string();
    let (mut before, mut now, mut problem) = (None, first, None);
    loop {
        let until = Instant::now() + interval;
        let mut drawn = None;
        while Instant::now() < until {
            let size = terminal::size().unwrap_or(SIZE_DEFAULT);
            if drawn != Some(size) {
                let rows = size.rows.saturating_sub(1);
                let before = before.as_ref().unwrap_or(&now);
                let mut lines = screen::lines(&address, before, &now, size.columns, rows);
                lines.push(last_line(problem.as_ref(), size.columns));
                // A terminal that has gone is told by its signal.
                let _ = std::io::stdout().write_all(frame(&lines, colours()).as_bytes());
                let _ = std::io::stdout().flush();
                drawn = Some(size);
            }
            if let Some(exit) = stop_wanted(&mut signals) {
                return Ok(if exit == Exit::Interrupted { Exit::Done } else { exit });
            }
            let left = until.saturating_duration_since(Instant::now());
            match terminal.key(left.min(LOOK)) {
                Ok(Some(key)) if QUIT.contains(&key) => return Ok(Exit::Done),
                Ok(_) => {}
                Err(_) => return Ok(Exit::Done),
            }
        }
        match ask(gateway) {
            Ok(sample) => {
                before = Some(std::mem::replace(&mut now, sample));
                problem = None;
            }
            Err(failure) => problem = Some(failure.sentence),
        }
    }
}

fn last_line(problem: Option<&String>, width: usize) -> Line {
    match problem {
        Some(sentence) => Line::styled(cut(&printable(sentence), width), Style::Warn),
        None => Line::styled(cut("q quits", width), Style::Dim),
    }
}

/// A screen as one write: each line over the old one, and nothing of the old one beside or below it.
fn frame(lines: &[Line], colours: bool) -> String {
    let mut frame = String::from("\x1b[H");
    for (at, line) in lines.iter().enumerate() {
        if at > 0 {
            frame.push_str("\r\n");
        }
        frame.push_str(&if colours { line.coloured() } else { line.text.clone() });
        frame.push_str("\x1b[K");
    }
    frame.push_str("\x1b[J");
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_overwrites_the_one_before() {
        let lines = [Line::plain("a"), Line::styled("b", Style::Head)];
        assert_eq!(frame(&lines, false), "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
        assert_eq!(frame(&lines, true), "\x1b[Ha\x1b[K\r\n\x1b[1mb\x1b[0m\x1b[K\x1b[J");
    }

    #[test]
    fn the_last_line_says_how_to_leave_or_what_is_wrong() {
        assert_eq!(last_line(None, 80).text, "q quits");
        let gone = "no gateway listens".to_owned();
        assert_eq!(last_line(Some(&gone), 6), Line::styled("no ga…", Style::Warn));
    }
}
