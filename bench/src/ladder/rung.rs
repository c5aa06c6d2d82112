//! Was a rung held? What a run at one rate found, against the bounds.

use serde::Serialize;

use crate::fanout::Report;
use crate::units::{count, human, plain};

/// Share of rate × connections × seconds that must have arrived.
const DELIVERED_MIN: f64 = 0.99;
/// The publisher's own lag, as a share of the latency that is allowed: above it the rate was not what was asked for.
const LAG_SHARE_MAX: f64 = 0.1;
/// Share of a core above which a publisher is what limits.
const PUBLISHER_BUSY_PERCENT: f64 = 90.0;

/// One rung.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Rung {
    /// Messages a second.
    pub(crate) rate: f64,
    /// Why it was not held.
    pub(crate) failed: Option<String>,
    /// What of this tool was, or may have been, what limited it.
    pub(crate) bottleneck: Option<&'static str>,
    /// Everything that the run found.
    pub(crate) report: Report,
}

/// What a rung is held to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Connections that receive a message, on average over the topics.
    pub(crate) receivers: f64,
    /// Seconds that are measured.
    pub(crate) seconds: f64,
    /// The highest p99 of latency.
    pub(crate) p99_max_ms: f64,
}

impl Rung {
    /// Judges a run.
    pub(crate) fn new(rate: f64, report: Report, bounds: &Bounds) -> Self {
        let bottleneck = bottleneck(&report);
        let failed = why_failed(rate, &report, bounds).map(|why| match bottleneck {
            Some(what) => format!("{why}; {what}"),
            None => why,
        });
        Self { rate, failed, bottleneck, report }
    }

    /// Nothing speaks against it.
    pub(crate) fn held(&self) -> bool {
        self.failed.is_none()
    }
}

fn bottleneck(report: &Report) -> Option<&'static str> {
    if report.receivers.bottleneck {
        Some("the receivers were (or may have been) the bottleneck")
    } else if report.publisher_cpu_percent > PUBLISHER_BUSY_PERCENT {
        Some("the publisher was (or may have been) the bottleneck")
    } else {
        None
    }
}

/// The first bound that was crossed, in the order in which they explain one another.
fn why_failed(rate: f64, report: &Report, bounds: &Bounds) -> Option<String> {
    let n = |value: u64| count(value as f64);
    if let Some(why) = &report.publish_error {
        return Some(why.clone());
    }
    if !report.closed_by_server.is_empty() {
        let parts = report.closed_by_server.iter().map(|(how, count)| format!("{how}: {}", n(*count)));
        return Some(format!("the server closed connections ({})", parts.collect::<Vec<_>>().join(", ")));
    }
    let faults = [
        (report.faults.gaps, "gaps"),
        (report.faults.duplicates, "duplicates"),
        (report.faults.reorders, "reorders"),
        (report.faults.malformed, "malformed"),
    ];
    if !report.faults.none() {
        let parts = faults.iter().filter(|(count, _)| *count > 0);
        return Some(
            parts.map(|(count, what)| format!("{} {what}", n(*count))).collect::<Vec<_>>().join(", "),
        );
    }
    if report.refused > 0 {
        return Some(format!("{} of {} messages refused", n(report.refused), n(report.published)));
    }
    let p99 = report.latency.p99_ms;
    if p99 > bounds.p99_max_ms {
        return Some(format!("p99 {} > {}", ms(p99), ms(bounds.p99_max_ms)));
    }
    if report.behind > 0 {
        return Some(format!("{} connections were still behind when the wait ended", n(report.behind)));
    }
    let lag = report.publish_lag.p99_ms;
    let lag_max = bounds.p99_max_ms * LAG_SHARE_MAX;
    if lag > lag_max {
        let answer = human(report.publish_answer.p99_ms, "ms");
        return Some(format!(
            "publishing did not keep up: lag p99 {} > {}, an answer took up to {answer} (p99)",
            ms(lag),
            ms(lag_max)
        ));
    }
    let wanted = rate * bounds.seconds * bounds.receivers;
    let share = report.deliveries as f64 / wanted.max(1.0);
    if share < DELIVERED_MIN {
        return Some(format!("{} % of the deliveries came", plain((share * 1000.0).floor() / 10.0)));
    }
    None
}

fn ms(value: f64) -> String {
    if value >= 100.0 { format!("{} ms", count(value)) } else { human(value, "ms") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const BOUNDS: Bounds = Bounds { receivers: 10.0, seconds: 2.0, p99_max_ms: 1_000.0 };

    fn judged(change: impl FnOnce(&mut Report)) -> Rung {
        let mut report = Report { deliveries: 2_000, published: 300, ..Report::default() };
        change(&mut report);
        Rung::new(100.0, report, &BOUNDS)
    }

    #[test]
    fn a_run_within_its_bounds_is_held_though_the_receivers_were_busy() {
        assert!(judged(|_| {}).held());
        let busy = judged(|report| report.receivers.bottleneck = true);
        assert!(busy.held() && busy.bottleneck.is_some());
    }

    #[test]
    fn each_bound_fails_a_rung_with_a_sentence_of_its_own() {
        type Change = fn(&mut Report);
        let cases: [(Change, &str); 8] = [
            (|report| report.latency.p99_ms = 3_012.4, "p99 3,012 ms > 1,000 ms"),
            (|report| report.faults.gaps = 1_234, "1,234 gaps"),
            (|report| report.faults.reorders = 2, "2 reorders"),
            (|report| report.refused = 7, "7 of 300 messages refused"),
            (|report| report.behind = 3, "3 connections were still behind"),
            (
                |report| report.publish_lag.p99_ms = 101.0,
                "publishing did not keep up: lag p99 101 ms > 100 ms",
            ),
            (|report| report.deliveries = 1_979, "98.9 % of the deliveries"),
            (
                |report| report.closed_by_server = BTreeMap::from([("4008".into(), 2)]),
                "closed connections (4008: 2)",
            ),
        ];
        for (change, sentence) in cases {
            let why = judged(change).failed.unwrap();
            assert!(why.contains(sentence), "{why}");
        }
    }

    #[test]
    fn a_rung_that_this_tool_limited_says_so() {
        let why = judged(|report| {
            report.latency.p99_ms = 2_000.0;
            report.receivers.bottleneck = true;
        });
        assert!(why.failed.unwrap().ends_with("; the receivers were (or may have been) the bottleneck"));
    }
}
