//! What doctor says: a finding for each check, and all of them.
//!
//! *Not here*: how a finding is made (`checks`), how it is written (`table`).

use serde::Serialize;

/// How good what was found is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing to do.
    Ok,
    /// The host does not have what this is about.
    NotApplicable,
    /// It could not be found out.
    Unknown,
    /// So many devices can be connected; something is slower, or fails under load, or at the edge.
    Warn,
    /// The gateway does not run, or does not hold so many.
    Bad,
}

/// What one check says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check's name: of a sysctl its key.
    pub name: &'static str,
    /// What so many connections want.
    pub wanted: String,
    /// What the host has; for [`Verdict::Unknown`] the reason why that is not known.
    pub found: String,
    /// How good that is.
    pub verdict: Verdict,
    /// What it is for, and what happens without it.
    pub why: String,
    /// A command for a shell as root; always there when the verdict is [`Verdict::Bad`].
    pub mend: Option<String>,
}

/// All that doctor has to say.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    /// Devices at once.
    pub connections: u64,
    /// Number of shards.
    pub shards: u64,
    /// Number of findings that are bad.
    pub bad: usize,
    /// Number of findings that are a warning.
    pub warn: usize,
    /// Number of findings that could not be made.
    pub unknown: usize,
    /// One for each check, in the order of [`CHECKS`](super::checks::CHECKS).
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    /// Whether every check was made, and none is bad.
    pub fn is_good(&self) -> bool {
        self.bad == 0 && self.unknown == 0
    }
}
