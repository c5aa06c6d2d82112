//! What a waiting person sees while a run lasts, and the curve of it that the results keep.
//!
//! On a terminal [`Progress`] is a bar (indicatif) on standard error; elsewhere a line every two seconds, so that a
//! log shows where a run was; with `--quiet` nothing. [`Sampler`] turns the same readings into series.
//! *Not here*: what is read (`receiver`, `gateway`).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::args::Machine;
use crate::histogram::Coarse;
use crate::results::Series;
use crate::units::{count, duration};

/// A terminal is drawn at most this often.
const DRAW_EVERY: Duration = Duration::from_millis(100);
/// A log gets a line this often.
const LINE_EVERY: Duration = Duration::from_secs(2);
/// The rate that is shown is the one over this time.
const RATE_OVER: Duration = Duration::from_secs(2);
/// How often a sample is taken, at first.
const SAMPLE_EVERY: Duration = Duration::from_millis(200);
/// Samples that are kept. A run that has more keeps every second one and samples half as often from then on.
const SAMPLES_MAX: usize = 2_048;

/// What a stage works towards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// So many of something.
    Count(u64),
    /// To last so long.
    Time(Duration),
    /// Nobody knows.
    Open,
}

/// Where the person looks.
enum Screen {
    Silent,
    Lines,
    Bar(ProgressBar),
}

/// The progress of one run: one stage after the other.
pub(crate) struct Progress {
    screen: Screen,
    stage: RefCell<Stage>,
}

struct Stage {
    what: String,
    goal: Goal,
    begin: Instant,
    shown: Option<Instant>,
    /// When the position was what, within the last [`RATE_OVER`].
    recent: VecDeque<(Instant, u64)>,
}

impl Stage {
    fn new(what: &str, goal: Goal) -> Self {
        Self { what: what.into(), goal, begin: Instant::now(), shown: None, recent: VecDeque::new() }
    }

    /// Units a second, now.
    fn rate(&mut self, now: Instant, position: u64) -> f64 {
        self.recent.push_back((now, position));
        while self.recent.len() > 2 && now.duration_since(self.recent[0].0) > RATE_OVER {
            self.recent.pop_front();
        }
        let (since, was) = self.recent[0];
        let (since, was) = if self.recent.len() == 1 { (self.begin, 0) } else { (since, was) };
        position.saturating_sub(was) as f64 / now.duration_since(since).as_secs_f64().max(1e-3)
    }
}

impl Progress {
    /// As the command line wants it.
    pub(crate) fn new(machine: &Machine) -> Self {
        let screen = if machine.quiet {
            Screen::Silent
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            Screen::Bar(bar)
        } else {
            Screen::Lines
        };
        Self { screen, stage: RefCell::new(Stage::new("", Goal::Open)) }
    }

    /// The next stage begins: "connecting", "publishing".
    pub(crate) fn stage(&self, what: &str, goal: Goal) {
        *self.stage.borrow_mut() = Stage::new(what, goal);
        if let Screen::Bar(bar) = &self.screen {
            // The templates are constants; one that indicatif does not take shows as its default bar.
            let template = if goal == Goal::Open { "{spinner} {wide_msg}" } else { "{bar:24} {wide_msg}" };
            bar.set_style(
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar.reset();
        }
        self.update(0, String::new);
    }

    /// How far the stage is (for [`Goal::Time`] the clock knows, and `position` is not shown), and what else there is
    /// to say; `more` is asked only when something is drawn. Costs a clock reading when nothing is.
    pub(crate) fn update(&self, position: u64, more: impl FnOnce() -> String) {
        let every = match &self.screen {
            Screen::Silent => return,
            Screen::Bar(_) => DRAW_EVERY,
            Screen::Lines => LINE_EVERY,
        };
        let now = Instant::now();
        let mut stage = self.stage.borrow_mut();
        if stage.shown.is_some_and(|shown| now.duration_since(shown) < every) {
            return;
        }
        // A log gets no line for the very begin of a stage: most are over in less than two seconds.
        if stage.shown.is_none() && matches!(self.screen, Screen::Lines) && position == 0 {
            stage.shown = Some(now);
            return;
        }
        stage.shown = Some(now);
        let rate = stage.rate(now, position);
        let elapsed = now.duration_since(stage.begin);
        let line = line(&stage.what, stage.goal, position, rate, elapsed, &more());
        match &self.screen {
            Screen::Silent => {}
            Screen::Lines => tell(&line),
            Screen::Bar(bar) => {
                let (done, of) = match stage.goal {
                    Goal::Count(total) => (position, total),
                    Goal::Time(total) => (elapsed.as_millis() as u64, total.as_millis() as u64),
                    Goal::Open => (0, 1),
                };
                bar.set_length(of);
                bar.set_position(done.min(of));
                bar.set_message(line);
                bar.tick();
            }
        }
    }

    /// Nothing is left on the terminal: what follows is the result.
    pub(crate) fn clear(&self) {
        if let Screen::Bar(bar) = &self.screen {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// "connecting: 12,000 of 15,000 · 9,800/s · 0.3 s left · …"
fn line(what: &str, goal: Goal, position: u64, rate: f64, elapsed: Duration, more: &str) -> String {
    let mut parts = Vec::new();
    match goal {
        Goal::Count(total) => {
            parts.push(format!("{what}: {} of {}", count(position as f64), count(total as f64)));
            let left = total.saturating_sub(position) as f64;
            if position > 0 {
                parts.push(format!("{}/s", count(rate)));
            }
            if rate > 0.0 && left > 0.0 {
                parts.push(format!("{} left", duration(left / rate)));
            }
        }
        Goal::Time(total) if elapsed <= total => {
            let left = total.saturating_sub(elapsed);
            parts.push(format!(
                "{what}: {} of {}",
                duration(elapsed.as_secs_f64()),
                duration(total.as_secs_f64())
            ));
            parts.push(format!("{} left", duration(left.as_secs_f64())));
        }
        // What takes longer than was thought says no more when it ends.
        Goal::Time(_) | Goal::Open => parts.push(format!("{what}: {}", duration(elapsed.as_secs_f64()))),
    }
    if !more.is_empty() {
        parts.push(more.into());
    }
    parts.join(" · ")
}

/// What is read at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    /// Deliveries since the begin.
    pub(crate) deliveries: u64,
    /// Connections that are open.
    pub(crate) open: u64,
    /// The gateway's memory, bytes; `None` when the process is not known.
    pub(crate) memory: Option<u64>,
    /// Latencies since the begin.
    pub(crate) latency: Option<Coarse>,
}

/// Readings over time, at most [`SAMPLES_MAX`].
pub(crate) struct Sampler {
    begin: Instant,
    every: Duration,
    next: Duration,
    samples: Vec<(f64, Reading)>,
}

impl Sampler {
    /// Time 0 is now.
    pub(crate) fn new() -> Self {
        Self { begin: Instant::now(), every: SAMPLE_EVERY, next: Duration::ZERO, samples: Vec::new() }
    }

    /// Takes a sample when one is due; `read` is asked only then.
    pub(crate) fn sample(&mut self, read: impl FnOnce() -> Reading) {
        let at = self.begin.elapsed();
        if at >= self.next {
            self.take(at, read());
        }
    }

    /// Deliveries a second over the last samples, about a second of them.
    pub(crate) fn deliveries_per_s(&self) -> f64 {
        let recent = &self.samples[self.samples.len().saturating_sub(6)..];
        let [(from, first), .., (to, last)] = recent else { return 0.0 };
        last.deliveries.saturating_sub(first.deliveries) as f64 / (to - from).max(1e-3)
    }

    fn take(&mut self, at: Duration, reading: Reading) {
        self.next = at + self.every;
        self.samples.push(((at.as_secs_f64() * 1000.0).round() / 1000.0, reading));
        if self.samples.len() >= SAMPLES_MAX {
            let mut keep = false;
            self.samples.retain(|_| {
                keep = !keep;
                keep
            });
            self.every *= 2;
        }
    }

    /// The curves: deliveries, latency, connections and memory over time, memory over connections. What never was
    /// anything but zero, or was not known, is left out.
    pub(crate) fn series(&self) -> Vec<Series> {
        let mut all = Vec::new();
        let pairs = || self.samples.windows(2).filter(|pair| pair[1].0 > pair[0].0);
        let rates = pairs().map(|pair| {
            let grown = pair[1].1.deliveries.saturating_sub(pair[0].1.deliveries) as f64;
            (pair[1].0, (grown / (pair[1].0 - pair[0].0)).round())
        });
        add(&mut all, "deliveries over time", "deliveries", ("s", "/s"), rates.collect());
        for (name, quantile) in [("p50", 0.5), ("p99", 0.99)] {
            let points = pairs().filter_map(|pair| {
                let (was, is) = (pair[0].1.latency.as_ref(), pair[1].1.latency.as_ref()?);
                Some((pair[1].0, is.since(was).quantile_ms(quantile)?))
            });
            add(&mut all, "latency over time", name, ("s", "ms"), points.collect());
        }
        let open = self.samples.iter().map(|(at, reading)| (*at, reading.open as f64));
        add(&mut all, "connections over time", "open", ("s", ""), open.collect());
        let memory = self.samples.iter().filter_map(|(at, reading)| Some((*at, reading.memory? as f64)));
        add(&mut all, "gateway memory over time", "anonymous", ("s", "B"), memory.collect());
        add(
            &mut all,
            "gateway memory over connections",
            "anonymous",
            ("connections", "B"),
            self.by_connections(),
        );
        all
    }

    /// Memory while connections come: readings with more connections than any before.
    fn by_connections(&self) -> Vec<(f64, f64)> {
        let mut most = None;
        let growing = self.samples.iter().filter_map(|(_, reading)| {
            let more = most.is_none_or(|most| reading.open > most);
            most = if more { Some(reading.open) } else { most };
            Some((reading.open as f64, reading.memory? as f64)).filter(|_| more)
        });
        growing.collect()
    }
}

fn add(all: &mut Vec<Series>, plot: &str, name: &str, units: (&str, &str), points: Vec<(f64, f64)>) {
    if points.len() > 1 && points.iter().any(|point| point.1 != 0.0) {
        let (x_unit, y_unit) = (units.0.into(), units.1.into());
        all.push(Series { name: name.into(), plot: plot.into(), x_unit, y_unit, points, bound: None });
    }
}

/// A line on standard error. What cannot be written there is nobody's, and no reason to end a run.
pub(crate) fn tell(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_line_says_how_far_how_fast_and_how_long_still() {
        let text = line("connecting", Goal::Count(15_000), 12_000, 9_800.0, ms(1_200), "p99 1.20 ms");
        assert_eq!(text, "connecting: 12,000 of 15,000 · 9,800/s · 0.3 s left · p99 1.20 ms");
        let text = line("holding", Goal::Time(ms(60_000)), 0, 0.0, ms(20_000), "");
        assert_eq!(text, "holding: 20 s of 60 s · 40 s left");
        let text = line("measuring", Goal::Time(ms(4_000)), 0, 0.0, ms(6_000), "");
        assert_eq!(text, "measuring: 6.0 s", "who is late makes no promise");
        assert_eq!(line("waiting", Goal::Open, 7, 3.0, ms(1_000), ""), "waiting: 1.0 s");
        assert_eq!(line("connecting", Goal::Count(5), 0, 0.0, ms(0), ""), "connecting: 0 of 5");
    }

    #[test]
    fn the_rate_is_the_one_of_the_last_seconds() {
        let mut stage = Stage::new("x", Goal::Count(100_000));
        let begin = stage.begin;
        let mut rate = 0.0;
        for at in 1..=100_u64 {
            // 1,000/s for 5 s, then 100/s.
            let position = if at <= 50 { at * 100 } else { 5_000 + (at - 50) * 10 };
            rate = stage.rate(begin + ms(at * 100), position);
        }
        assert!((rate - 100.0).abs() < 1.0, "{rate}");
    }

    #[test]
    fn a_long_run_keeps_a_bounded_number_of_samples_over_its_whole_length() {
        let mut sampler = Sampler::new();
        for second in 0..100_000_u64 {
            let at = ms(second * 200);
            if at >= sampler.next {
                let memory = Some(1_000_000 + second);
                sampler.take(at, Reading { deliveries: second * 20, open: second, memory, latency: None });
            }
        }
        assert!((sampler.deliveries_per_s() - 100.0).abs() < 1.0);
        let series = sampler.series();
        let rate = series.iter().find(|series| series.plot == "deliveries over time").unwrap();
        assert!((500..SAMPLES_MAX).contains(&rate.points.len()), "{}", rate.points.len());
        assert!(rate.points.last().unwrap().0 > 19_000.0);
        assert!(rate.points.iter().all(|point| (point.1 - 100.0).abs() < 1.5), "{:?}", rate.points);
        let memory = series.iter().find(|series| series.x_unit == "connections").unwrap();
        assert!(memory.points.windows(2).all(|pair| pair[1].0 > pair[0].0));
    }

    #[test]
    fn what_was_not_known_is_no_curve() {
        let mut sampler = Sampler::new();
        (0..5).for_each(|at| sampler.take(ms(at * 200), Reading { open: 3, ..Reading::default() }));
        let series = sampler.series();
        let plots: Vec<_> = series.iter().map(|series| series.plot.as_str()).collect();
        assert_eq!(plots, ["connections over time"]);
    }
}
