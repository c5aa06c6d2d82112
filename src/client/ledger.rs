//! Pushes as text: one with its whole account, many as a table, one on its way as a line. Pure.

use super::table::{Column, Line, Style, Table, bar, bytes, cut, duration, milliseconds, printable, rate};
use super::views::{Accepted, Latency, Push, Pushes, State};
use crate::doctor::table::grouped;

/// Width of a value that is not known.
const NOTHING: &str = "-";

/// The first line of `fanfare push`: its name first, so that a script can cut it off.
pub fn accepted(accepted: &Accepted) -> String {
    let devices = match accepted.targeted {
        Some(devices) => format!(" for {}", counted(devices, "device")),
        None => ", devices not counted".into(),
    };
    let before = if accepted.duplicate { ", taken before: nothing is sent again" } else { "" };
    format!("{}  {}{devices}{before}", printable(&accepted.id), counted(accepted.accepted, "message"))
}

/// `1 device`, `10,000 devices`
pub fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// The whole account of one push.
pub fn account(push: &Push) -> Vec<Line> {
    let mut rows: Vec<(&str, String)> = vec![("push", push.id.clone())];
    rows.push(("state", state(push)));
    rows.push(("to", push.audience()));
    rows.push(("what", format!("{}, {}", counted(push.messages, "message"), bytes(push.bytes as f64))));
    if push.lane == "urgent" {
        rows.push(("lane", push.lane.clone()));
    }
    rows.push(("pace", pace(push)));
    rows.push(("accepted", push.accepted_at.clone()));
    rows.extend(push.finished_at.clone().map(|at| ("finished", at)));
    let number = |devices: Option<u64>| devices.map_or_else(|| NOTHING.to_owned(), grouped);
    rows.push(("targeted", number(push.targeted)));
    rows.push(("sent", grouped(push.sent)));
    rows.push(("failed", grouped(push.failed_total())));
    let reasons = push.failed.iter().filter(|(_, devices)| **devices > 0);
    rows.extend(reasons.map(|(reason, devices)| ("", format!("{} {reason}", grouped(*devices)))));
    if !push.is_over() {
        rows.push(("remaining", number(push.remaining)));
        rows.push(("ends in", push.eta_s.map_or_else(|| NOTHING.to_owned(), duration)));
    }
    let latency = push.latency_ms.unwrap_or_default();
    rows.extend(times(&latency));
    rows.into_iter()
        .map(|(name, value)| {
            let warn = name == "failed" && push.failed_total() > 0;
            let style = if warn { Style::Warn } else { Style::Plain };
            Line::styled(format!("{name:<10}{}", printable(&value)), style)
        })
        .collect()
}

fn times(latency: &Latency) -> impl Iterator<Item = (&'static str, String)> {
    [("first", latency.first), ("p50", latency.p50), ("p99", latency.p99), ("last", latency.last)]
        .into_iter()
        .filter_map(|(name, ms)| Some((name, milliseconds(ms?))))
}

fn state(push: &Push) -> String {
    let word = push.state.word();
    match push.percent() {
        Some(percent) if !push.is_over() => format!("{word} {} {percent} %", bar(percent, 20)),
        Some(percent) if percent < 100 => format!("{word}, {percent} % were served"),
        _ => word.into(),
    }
}

fn pace(push: &Push) -> String {
    let wanted = push.rate.map(rate);
    let now = push.rate_now.filter(|_| !push.is_over()).map(rate);
    match (wanted, now) {
        (None, _) => "as fast as it goes".into(),
        (Some(wanted), Some(now)) if now != wanted => format!("{wanted} devices/s, now {now}"),
        (Some(wanted), _) => format!("{wanted} devices/s"),
    }
}

const COLUMNS: [Column; 10] = [
    Column::left("id", 0),
    Column::left("state", 0),
    Column::left("to", 5),
    Column::left("progress", 3),
    Column::right("rate", 6),
    Column::right("targeted", 4),
    Column::right("sent", 1),
    Column::right("failed", 2),
    Column::right("ends in", 7),
    Column::right("p99", 8),
];

/// Running pushes, then recent ones, at most so many rows; the rest is a number.
pub fn list(pushes: &Pushes, width: usize, rows_max: usize) -> Vec<Line> {
    let mut table = Table::new(&COLUMNS);
    let all = pushes.running.iter().chain(&pushes.recent);
    for push in all.take(rows_max) {
        table.row(row(push), style(push));
    }
    if table.is_empty() {
        return vec![Line::plain("no push is running, and none is remembered")];
    }
    let mut lines = table.lines(width);
    let more = pushes.running.len() + pushes.recent.len() - table.len();
    if more > 0 {
        lines.push(Line::styled(cut(&format!("… and {more} more"), width), Style::Dim));
    }
    lines
}

fn style(push: &Push) -> Style {
    match push.state {
        State::Cancelled | State::Expired | State::Lost => Style::Warn,
        State::Done => Style::Dim,
        _ => Style::Plain,
    }
}

fn row(push: &Push) -> Vec<String> {
    let or_nothing = |text: Option<String>| text.unwrap_or_else(|| NOTHING.into());
    let pace = if push.is_over() { push.rate } else { push.rate_now.or(push.rate) };
    vec![
        push.id.clone(),
        push.state.word().into(),
        push.audience(),
        or_nothing(push.percent().map(|percent| format!("{} {percent:>3} %", bar(percent, 12)))),
        or_nothing(pace.map(|pace| format!("{}/s", rate(pace)))),
        or_nothing(push.targeted.map(grouped)),
        grouped(push.sent),
        grouped(push.failed_total()),
        or_nothing(push.eta_s.filter(|_| !push.is_over()).map(duration)),
        or_nothing(push.latency_ms.and_then(|latency| latency.p99).map(milliseconds)),
    ]
}

/// A push after somebody changed something about it, in one line.
pub fn steered(push: &Push) -> String {
    let (state, pace) = (push.state.word(), pace(push));
    let line = format!("{}  {state}, {pace}, {} sent", push.id, grouped(push.sent));
    let remaining = push.remaining.filter(|_| !push.is_over());
    printable(&match remaining {
        Some(remaining) => format!("{line}, {} to go", grouped(remaining)),
        None => line,
    })
}

/// A push on its way, in one line.
pub fn progress(push: &Push) -> String {
    let targeted = push.targeted.map_or_else(|| "?".to_owned(), grouped);
    let mut parts = vec![format!("{}/{targeted}", grouped(push.sent))];
    if push.state != State::Running {
        parts.push(push.state.word().to_owned());
    }
    parts.extend(push.rate_now.filter(|_| !push.is_over()).map(|now| format!("{}/s", rate(now))));
    parts.extend(push.eta_s.filter(|_| !push.is_over()).map(|eta| format!("ends in {}", duration(eta))));
    if push.failed_total() > 0 {
        parts.push(format!("failed: {}", push.failures()));
    }
    printable(&parts.join("  "))
}

#[cfg(test)]
mod tests {
    use super::super::views::tests::{RUNNING, push};
    use super::*;

    fn running() -> Push {
        serde_json::from_str(RUNNING).expect("a push")
    }

    fn texts(lines: &[Line]) -> String {
        lines.iter().map(|line| line.text.clone() + "\n").collect()
    }

    #[test]
    fn an_account_adds_up_before_the_readers_eyes() {
        let text = texts(&account(&running()));
        assert_eq!(
            text,
            "push      release-7\n\
             state     running [##########..........] 52 %\n\
             to        news\n\
             what      1 message, 7 B\n\
             pace      500 devices/s\n\
             accepted  2026-11-21T10:00:00.000Z\n\
             targeted  10,000\n\
             sent      5,200\n\
             failed    50\n\
             \u{20}         30 closed\n\
             \u{20}         20 slow\n\
             remaining 4,750\n\
             ends in   9.5 s\n\
             first     1.25 ms\n\
             p50       5.21 s\n\
             p99       10.30 s\n\
             last      10.40 s\n"
        );
    }

    #[test]
    fn what_is_over_has_no_remainder_and_what_is_not_known_is_a_dash() {
        let text = texts(&account(&push("done", 3, 3, "{}")));
        assert!(!text.contains("remaining") && !text.contains("ends in"), "{text}");
        let unknown = Push { targeted: None, ..push("running", 0, 0, "{}") };
        assert!(texts(&account(&unknown)).contains("\ntargeted  -\n"));
    }

    #[test]
    fn a_push_that_was_cut_short_shows_no_more_than_was_served() {
        for (state, reason) in [("cancelled", "cancelled"), ("expired", "expired"), ("done", "shutdown")] {
            let push = push(state, 10_000, 2_500, &format!(r#"{{"{reason}":7500}}"#));
            let text = texts(&account(&push));
            assert!(text.contains(&format!("state     {state}, 25 % were served\n")), "{text}");
            let pushes = Pushes { running: vec![], recent: vec![push.clone()] };
            let row = &list(&pushes, 200, 2)[1].text;
            assert!(row.contains(state) && row.contains("[###.........]  25 %"), "{row}");
            let line = progress(&push);
            assert!(line.starts_with("2,500/10,000  "), "{line}");
            assert!(line.ends_with(&format!("{state}  failed: {reason} 7,500")), "{line}");
        }
    }

    #[test]
    fn a_list_has_running_ones_first_and_says_how_many_it_leaves_out() {
        let pushes = Pushes { running: vec![running()], recent: vec![push("done", 3, 3, "{}"); 3] };
        let lines = list(&pushes, 200, 2);
        assert_eq!(lines.len(), 4);
        assert!(lines[1].text.starts_with("release-7  running  news  [######......]  52 %  500/s    10,000"));
        assert!(lines[2].text.starts_with("x          done"), "{}", lines[2].text);
        assert_eq!(lines[3].text, "… and 2 more");
        assert!(list(&Pushes::default(), 80, 9)[0].text.starts_with("no push"));
    }

    #[test]
    fn a_line_of_progress_says_what_somebody_waits_for() {
        assert_eq!(progress(&running()), "5,200/10,000  500/s  ends in 9.5 s  failed: closed 30, slow 20");
        let paused = Push { eta_s: None, rate_now: None, ..push("paused", 10, 4, "{}") };
        assert_eq!(progress(&paused), "4/10  paused");
    }

    #[test]
    fn what_was_steered_says_how_it_goes_on() {
        assert_eq!(steered(&running()), "release-7  running, 500 devices/s, 5,200 sent, 4,750 to go");
        let cancelled = Push { rate: Some(500.0), ..push("cancelled", 10, 4, r#"{"cancelled":6}"#) };
        assert_eq!(steered(&cancelled), "x  cancelled, 500 devices/s, 4 sent");
    }

    #[test]
    fn the_first_word_of_an_acceptance_is_the_name() {
        let taken =
            |targeted, duplicate| accepted(&Accepted { id: "a-1".into(), accepted: 1, targeted, duplicate });
        assert_eq!(taken(Some(10_000), false), "a-1  1 message for 10,000 devices");
        assert_eq!(taken(None, false), "a-1  1 message, devices not counted");
        assert!(taken(Some(1), true).ends_with("1 device, taken before: nothing is sent again"));
    }
}
