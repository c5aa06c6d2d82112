//! Whether the receivers themselves were what limited a run.
//!
//! *Not here*: what each of them counts (`receiver`).

use std::time::Duration;

use serde::Serialize;

use crate::histogram::{Percentiles, Recorder};
use crate::receiver::Outcome;
use crate::results::{Better, Record};
use crate::units::decimals;

/// Share of its core above which a receiver may have been what limited the run.
const BUSY_PERCENT: f64 = 90.0;
/// Share of the window that a receiver could run and was not let, likewise.
const DELAYED_PERCENT: f64 = 10.0;
/// Below it a share of the window is chance.
const WINDOW_MIN: Duration = Duration::from_millis(50);

/// What the receivers themselves used and added.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Lag {
    /// CPU time of the busiest receiver thread in the measured window, of the window.
    pub(crate) cpu_percent: f64,
    /// CPU time of all, seconds.
    pub(crate) cpu_seconds: f64,
    /// Time that a thread could run and was not let, of the window; the highest.
    pub(crate) run_delay_percent: f64,
    /// Turns of the loops: how long a ready socket waits at most.
    pub(crate) turns: Percentiles,
    /// One of the bounds was crossed.
    pub(crate) bottleneck: bool,
}

impl Lag {
    /// Over all threads.
    pub(crate) fn of(outcomes: &[Outcome]) -> Self {
        let percent = |part: Duration, outcome: &Outcome| {
            // A run that was interrupted before its window has none, or one that says nothing.
            let window = outcome.window;
            if window < WINDOW_MIN { 0.0 } else { 100.0 * part.as_secs_f64() / window.as_secs_f64() }
        };
        let mut turns = Recorder::default();
        for outcome in outcomes {
            turns.merge(&outcome.turns);
        }
        let cpu = outcomes.iter().map(|outcome| percent(outcome.cpu, outcome)).fold(0.0, f64::max);
        let delay = outcomes.iter().map(|outcome| percent(outcome.run_delay, outcome)).fold(0.0, f64::max);
        // Threads that share a core are one receiver: what one uses, the other waits for.
        let bottleneck = cpu > BUSY_PERCENT || delay > DELAYED_PERCENT;
        Self {
            cpu_percent: cpu,
            cpu_seconds: outcomes.iter().map(|outcome| outcome.cpu.as_secs_f64()).sum(),
            run_delay_percent: delay,
            turns: turns.percentiles(),
            bottleneck,
        }
    }

    /// The statement that makes a run's other numbers mean something: figures, and a warning when it is bad.
    pub(crate) fn into_record(self, record: &mut Record, group: &str) {
        let bottleneck = f64::from(u8::from(self.bottleneck));
        record.figure(group, "were the bottleneck", bottleneck, "yes/no", Better::Lower);
        record.figure(group, "of a core", self.cpu_percent, "%", Better::Neutral);
        record.figure(group, "waiting for it", self.run_delay_percent, "%", Better::Lower);
        record.figure(group, "longest turn", self.turns.max_ms, "ms", Better::Neutral);
        if self.bottleneck {
            record.warn(format!(
                "{group} WERE (or may have been) the bottleneck: {} % of a core, {} % of the time waiting for it",
                decimals(self.cpu_percent, 0),
                decimals(self.run_delay_percent, 1)
            ));
        }
    }
}
