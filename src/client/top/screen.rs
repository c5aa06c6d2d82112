//! The screen of `fanfare top`, from two samples. Pure.
//!
//! ```text
//!  facts of the process, in as many lines as the width makes of them
//!  a row for each shard      what does not fit below becomes "… and n more"
//!  a row for each push that runs
//! ```

use super::sample::{Redis, Sample, Shard};
use crate::client::ledger::{self, counted};
use crate::client::table::{Column, Line, Style, Table, bytes, cut, duration, flow, milliseconds, rate};
use crate::client::views::Pushes;
use crate::doctor::table::grouped;

const COLUMNS: [Column; 9] = [
    Column::right("shard", 0),
    Column::right("connections", 0),
    Column::right("accepts/s", 3),
    Column::right("deliveries/s", 1),
    Column::right("out/s", 2),
    Column::right("lag", 4),
    Column::right("outboxes", 5),
    Column::right("ring", 6),
    Column::right("topics", 7),
];

/// A shard's turn that takes longer than this holds up its devices for a time that somebody notices.
const LAG_WARN_US: u64 = 100_000;

/// A heading or a note, and an empty line above it.
const SECTION_ROWS: usize = 2;

/// At most so many rows, each at most as wide.
pub fn lines(address: &str, before: &Sample, now: &Sample, width: usize, rows: usize) -> Vec<Line> {
    let change = Compared { before, now };
    let mut lines = flow(&state(address, now), width);
    if let (Some(first), true) = (lines.first_mut(), now.readiness.ready) {
        first.style = Style::Head;
    } else {
        for line in &mut lines {
            line.style = Style::Warn;
        }
    }
    lines.extend(flow(&change.traffic(), width));
    lines.extend(flow(&queues(now), width));

    let left = rows.saturating_sub(lines.len());
    let running = now.pushes.running.len();
    // Pushes get what the shards leave, but not less than half.
    let shards_want = now.shards.len() + SECTION_ROWS;
    let for_pushes = if running == 0 { SECTION_ROWS } else { running + SECTION_ROWS + 1 };
    let for_pushes = for_pushes.min(left.saturating_sub(shards_want).max(left / 2));
    lines.push(Line::plain(""));
    lines.extend(change.shards(width, left.saturating_sub(for_pushes + SECTION_ROWS)));
    lines.push(Line::plain(""));
    lines.extend(pushes(now, width, for_pushes.saturating_sub(SECTION_ROWS + 1)));
    lines.truncate(rows);
    lines
}

fn state(address: &str, now: &Sample) -> Vec<String> {
    let mut facts = vec![format!("fanfare at {address}")];
    facts.push(format!("up {}", duration(now.stats.uptime_seconds as f64)));
    if now.readiness.ready {
        facts.push("ready".into());
    }
    facts.push(match now.redis() {
        Redis::None => "no Redis".into(),
        Redis::Subscribed if now.stats.redis_gaps > 0 => {
            format!("Redis subscribed, {}", counted(now.stats.redis_gaps, "gap"))
        }
        Redis::Subscribed => "Redis subscribed".into(),
        Redis::Gone => "Redis gone".into(),
    });
    facts.extend(now.readiness.missing.iter().map(|missing| format!("not ready: {}", missing.message)));
    facts
}

/// What waits somewhere.
fn queues(now: &Sample) -> Vec<String> {
    let lag_us = now.shards.iter().map(|shard| shard.turn_max_us).max().unwrap_or(0);
    let outboxes = now.sum(|shard| shard.outboxes);
    let outbox_bytes = now.sum(|shard| shard.outbox_bytes);
    vec![
        format!("lag {}", milliseconds(lag_us as f64 / 1e3)),
        format!("outboxes {} ({})", grouped(outboxes), bytes(outbox_bytes as f64)),
        format!("rings {}", bytes(now.sum(|shard| shard.ring_bytes) as f64)),
        format!("backlogs {}", bytes(now.sum(|shard| shard.backlog_bytes) as f64)),
        format!("refused {}", grouped(now.stats.publish_refused)),
        format!("memory {}", bytes(now.stats.resident_bytes as f64)),
    ]
}

fn pushes(now: &Sample, width: usize, rows: usize) -> Vec<Line> {
    if now.pushes.running.is_empty() {
        return vec![Line::styled(cut("no push is running", width), Style::Dim)];
    }
    let running = Pushes { running: now.pushes.running.clone(), recent: Vec::new() };
    ledger::list(&running, width, rows.max(1))
}

/// Two samples, the earlier one first.
struct Compared<'a> {
    before: &'a Sample,
    now: &'a Sample,
}

impl Compared<'_> {
    /// Of a counter that only grows; one that fell belongs to a gateway that has started again since.
    fn per_second(&self, before: u64, now: u64) -> f64 {
        let seconds = self.now.at.saturating_duration_since(self.before.at).as_secs_f64();
        if seconds > 0.0 { now.saturating_sub(before) as f64 / seconds } else { 0.0 }
    }

    fn sum(&self, read: impl Fn(&Sample) -> u64) -> f64 {
        self.per_second(read(self.before), read(self.now))
    }

    fn traffic(&self) -> Vec<String> {
        let connections = grouped(self.now.sum(|shard| shard.connections));
        let formats: Vec<String> =
            self.now.formats().iter().map(|(name, number)| format!("{name} {}", grouped(*number))).collect();
        let connections = match &formats[..] {
            [] => format!("connections {connections}"),
            formats => format!("connections {connections} ({})", formats.join(", ")),
        };
        let messages = |sample: &Sample| sample.stats.messages_from_redis + sample.stats.messages_from_http;
        vec![
            connections,
            format!("accepts {}/s", rate(self.sum(|sample| sample.accepted.values().sum()))),
            format!("messages in {}/s", rate(self.sum(messages))),
            format!("deliveries {}/s", rate(self.sum(|sample| sample.sum(|shard| shard.deliveries)))),
            format!("out {}/s", bytes(self.sum(|sample| sample.sum(|shard| shard.send_bytes)))),
        ]
    }

    fn shards(&self, width: usize, rows_max: usize) -> Vec<Line> {
        let mut table = Table::new(&COLUMNS);
        let all = self.now.shards.len();
        // The line about those that are left out takes a row too.
        let shown = if all > rows_max { rows_max.saturating_sub(1) } else { all };
        for shard in &self.now.shards[..shown] {
            let well = shard.listening && shard.turn_max_us < LAG_WARN_US;
            let style = if well { Style::Plain } else { Style::Warn };
            table.row(self.row(shard), style);
        }
        let mut lines = table.lines(width);
        if shown < all {
            let more = format!("… and {} more shards", all - shown);
            lines.push(Line::styled(cut(&more, width), Style::Dim));
        }
        lines
    }

    fn row(&self, shard: &Shard) -> Vec<String> {
        let was = self.before.shards.iter().find(|was| was.shard == shard.shard);
        let was = was.unwrap_or(shard);
        let accepted = |sample: &Sample| sample.accepted.get(&shard.shard).copied().unwrap_or(0);
        vec![
            shard.shard.to_string(),
            grouped(shard.connections),
            rate(self.sum(accepted)),
            rate(self.per_second(was.deliveries, shard.deliveries)),
            bytes(self.per_second(was.send_bytes, shard.send_bytes)),
            milliseconds(shard.turn_max_us as f64 / 1e3),
            grouped(shard.outboxes),
            bytes(shard.ring_bytes as f64),
            grouped(shard.topics),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::sample::tests::{NO_PUSHES, sample};
    use super::*;
    use crate::client::views::tests::RUNNING;
    use crate::metrics::Blocks;

    /// Two samples two seconds apart; in between each shard took 10 devices and delivered 1,000 messages of 100 bytes.
    fn samples(shards: usize, pushes: usize) -> (Sample, Sample) {
        let blocks = Arc::new(Blocks::new(shards));
        blocks.shards.iter().for_each(|shard| shard.listening.set(1));
        let pushes = format!(r#"{{"running":[{}],"recent":[]}}"#, vec![RUNNING; pushes].join(","));
        let before = sample(&blocks, Duration::ZERO, NO_PUSHES);
        for shard in &blocks.shards {
            shard.accepted.add(10);
            shard.connections[0].set(10);
            shard.deliveries.add(1_000);
            shard.send_bytes.add(100_000);
            shard.turn_max_us.set(1_500);
        }
        blocks.ingest.messages_http.add(50);
        (before, sample(&blocks, Duration::from_secs(2), &pushes))
    }

    fn drawn(shards: usize, pushes: usize, width: usize, rows: usize) -> Vec<String> {
        let (before, now) = samples(shards, pushes);
        let mut now = now;
        now.at = before.at + Duration::from_secs(2);
        lines("127.0.0.1:7799", &before, &now, width, rows).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn rates_are_what_happened_between_two_looks() {
        let text = drawn(2, 1, 200, 50).join("\n");
        assert!(text.starts_with("fanfare at 127.0.0.1:7799   up 0.0 s   ready   no Redis\n"), "{text}");
        for fact in
            ["connections 20 (", "accepts 10/s", "messages in 25/s", "deliveries 1,000/s", "out 100 kB/s"]
        {
            assert!(text.contains(fact), "{fact} in\n{text}");
        }
        assert!(
            text.contains("    0           10          5           500  50.0 kB  1.50 ms         0   0 B"),
            "{text}"
        );
        assert!(text.contains("release-7  running  news  [######......]  52 %"), "{text}");
    }

    #[test]
    fn a_small_terminal_shows_of_everything_something() {
        let lines = drawn(64, 30, 60, 20);
        assert!(lines.len() <= 20);
        let text = lines.join("\n");
        assert!(text.contains(" more shards\n"), "{text}");
        assert!(text.contains("release-7"), "{text}");
        assert!(lines.last().is_some_and(|line| line.starts_with("… and ")), "{text}");
    }

    #[test]
    fn without_bounds_everything_is_there() {
        let lines = drawn(64, 30, usize::MAX, usize::MAX);
        assert_eq!(lines.iter().filter(|line| line.starts_with("release-7")).count(), 30);
        assert!(lines.iter().any(|line| line.starts_with("   63 ")), "{lines:?}");
        assert!(!lines.iter().any(|line| line.contains(" more")), "{lines:?}");
        assert_eq!(drawn(1, 0, 80, 24).last().map(String::as_str), Some("no push is running"));
    }

    #[test]
    fn a_gateway_that_started_again_has_no_negative_rates() {
        let (before, now) = samples(1, 0);
        let text: String = lines("x", &now, &before, 200, 50).into_iter().map(|line| line.text).collect();
        assert!(text.contains("deliveries 0/s"), "{text}");
    }

    #[test]
    fn what_is_not_ready_is_said_where_it_is_seen() {
        let blocks = Arc::new(Blocks::new(1));
        let now = sample(&blocks, Duration::ZERO, NO_PUSHES);
        let lines = lines("x", &now, &now, 200, 50);
        assert!(lines[0].text.contains("not ready: 1 of 1 shards do not listen: shard 0"), "{:?}", lines[0]);
        assert_eq!(lines[0].style, Style::Warn);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn a_screen_fits_its_terminal(
            shards in 1_usize..40, pushes in 0_usize..20, width in 0_usize..150, rows in 0_usize..60,
        ) {
            let lines = drawn(shards, pushes, width, rows);
            prop_assert!(lines.len() <= rows);
            for line in lines {
                prop_assert!(line.chars().count() <= width, "{line:?}");
            }
        }
    }
}
