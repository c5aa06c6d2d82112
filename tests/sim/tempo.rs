//! How fast a push may be: what was ordered over time, and when devices got it.
//!
//! *Not here*: who may get it (`pushes`).

use std::collections::VecDeque;

use fanfare_core::push::rate::Rate;

/// Time within which an order is in force.
const IN_FORCE_US: u64 = 100_000;
const KEPT_US: u64 = 1_300_000;

/// What the sender asked for: a line from one rate to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// Devices a second; infinite: no bound.
    pub(crate) to: f64,
    from: f64,
    since_us: u64,
    ramp_us: u64,
    pub(crate) is_paused: bool,
}

impl Asked {
    pub(crate) fn new(rate: Option<Rate>, ramp_us: u64, now: u64) -> Self {
        let to = rate.map_or(f64::INFINITY, Rate::as_f64);
        Self { to, from: 0.0, since_us: now, ramp_us, is_paused: false }
    }

    pub(crate) fn change(&mut self, rate: Option<Rate>, ramp_us: u64, now: u64) {
        let is_paused = std::mem::take(&mut self.is_paused);
        let from = self.at(now);
        let from = if from.is_finite() { from } else { 0.0 };
        *self = Self { from, is_paused, ..Self::new(rate, ramp_us, now) };
    }

    pub(crate) fn at(&self, now: u64) -> f64 {
        let passed = (now - self.since_us) as f64;
        match () {
            () if self.is_paused => 0.0,
            () if self.to.is_infinite() || passed >= self.ramp_us as f64 => self.to,
            () => self.from + (self.to - self.from) * passed / self.ramp_us as f64,
        }
    }
}

/// What was asked for, and what came.
#[derive(Debug)]
pub(crate) struct Tempo {
    asked: VecDeque<(u64, f64)>,
    sent: VecDeque<u64>,
    /// The shards' threads come when they should.
    pub(crate) is_prompt: bool,
}

impl Tempo {
    pub(crate) fn new(is_prompt: bool) -> Self {
        Self { asked: VecDeque::new(), sent: VecDeque::new(), is_prompt }
    }

    pub(crate) fn note_asked(&mut self, now: u64, rate: f64) {
        self.asked.push_back((now, rate));
        while self.asked.len() > 1 && self.asked[1].0 + KEPT_US < now {
            self.asked.pop_front();
        }
        while self.sent.front().is_some_and(|at| at + KEPT_US < now) {
            self.sent.pop_front();
        }
    }

    pub(crate) fn note_sent(&mut self, now: u64) {
        self.sent.push_back(now);
    }

    pub(crate) fn sent_since(&self, from: u64) -> usize {
        self.sent.len() - self.sent.partition_point(|at| *at < from)
    }

    /// The most that may have been sent since then, and the least when nothing kept it from being: what was asked for at
    /// any time from when an order may be late.
    pub(crate) fn bounds(&self, from: u64, now: u64) -> (f64, f64) {
        let (mut most, mut least) = (0.0, 0.0);
        let mut at = from;
        while at < now {
            let until = (at + 10_000).min(now);
            let seconds = (until - at) as f64 / 1e6;
            let first = self.asked.partition_point(|(when, _)| when + IN_FORCE_US < at).saturating_sub(1);
            let asked =
                self.asked.iter().skip(first).take_while(|(when, _)| *when <= until).map(|(_, rate)| *rate);
            let (high, low) = asked
                .fold((0.0, f64::INFINITY), |(high, low): (f64, f64), rate| (high.max(rate), low.min(rate)));
            most += high * seconds;
            least += if low.is_finite() { low * seconds } else { 0.0 };
            at = until;
        }
        (most, least)
    }

    /// Over the last second, and the last tenth of one, no more was sent than asked for.
    pub(crate) fn check(&self, now: u64, shards: usize, what: &dyn std::fmt::Debug) {
        for (window, band) in [(1_000_000, 1.02), (100_000, 1.10)] {
            let from = now.saturating_sub(window);
            let (most, _) = self.bounds(from, now);
            let sent = self.sent_since(from);
            let may = most * band + 2.0 * shards as f64;
            assert!(sent as f64 <= may, "{what:?}: {sent} sent within {window} µs, at most {may:.1} may be");
        }
    }
}
