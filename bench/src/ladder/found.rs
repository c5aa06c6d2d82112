//! What a climb found. *Not here*: the climb (`super`), whether a rung was held (`rung`), showing it (`table`).

use serde::Serialize;

use super::rung::Rung;

/// What the rungs found.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Ladder {
    /// In the order in which they were tried.
    pub(crate) rungs: Vec<Rung>,
    /// The highest rate that held; `None`: not even the first.
    pub(crate) held: Option<f64>,
    /// The lowest rate that failed; `None`: the last rung held, or Ctrl-C came before.
    pub(crate) failed: Option<f64>,
    /// Why it failed.
    pub(crate) why: Option<String>,
    /// A rung could not be run to its end, so that the answer is not known; `None`: all could.
    pub(crate) broken_off: Option<BrokenOff>,
    /// Ctrl-C.
    pub(crate) interrupted: bool,
}

/// Where a climb ended before its answer.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BrokenOff {
    /// Neither held nor not.
    pub(crate) rate: f64,
    /// A gateway that ended, a server that takes nobody any more.
    pub(crate) why: String,
}

impl Ladder {
    /// The rung that says what the server can do.
    pub(crate) fn best(&self) -> Option<&Rung> {
        let held = self.held?;
        self.rungs.iter().rev().find(|rung| rung.held() && rung.rate.to_bits() == held.to_bits())
    }
}
