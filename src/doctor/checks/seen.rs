//! What one look brings: what is wanted, what was found, how good that is, and the command that mends it.
//!
//! *Not here*: the looks (`limits`, `machine`, `network`, `system`), how commands are put together (`command`).

use crate::doctor::finding::Verdict;
use crate::doctor::host::{Fact, Unread};
use crate::doctor::table::grouped;

/// What one look brought.
pub(super) struct Seen {
    pub(super) wanted: String,
    pub(super) found: String,
    pub(super) verdict: Verdict,
    pub(super) mend: Option<String>,
}

impl Seen {
    pub(super) fn new(wanted: impl Into<String>, found: impl Into<String>, verdict: Verdict) -> Self {
        Self { wanted: wanted.into(), found: found.into(), verdict, mend: None }
    }

    /// With the command, unless there is nothing to mend.
    pub(super) fn mend(mut self, command: impl FnOnce() -> String) -> Self {
        if matches!(self.verdict, Verdict::Warn | Verdict::Bad) {
            self.mend = Some(command());
        }
        self
    }

    pub(super) fn unknown(wanted: impl Into<String>, why: &Unread) -> Self {
        Self::new(wanted, why.to_string(), Verdict::Unknown)
    }

    pub(super) fn not_applicable(wanted: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(wanted, why, Verdict::NotApplicable)
    }
}

/// A number that should not be below `wanted`; below `needed` it is bad. `set` is the command when it is.
pub(super) fn at_least(fact: &Fact<u64>, needed: u64, wanted: u64, set: impl FnOnce() -> String) -> Seen {
    let text = format!("{} or more", grouped(wanted));
    let found = match fact {
        Ok(found) => *found,
        Err(unread) => return Seen::unknown(text, unread),
    };
    let verdict = match found {
        _ if found < needed => Verdict::Bad,
        _ if found < wanted => Verdict::Warn,
        _ => Verdict::Ok,
    };
    Seen::new(text, number(found), verdict).mend(set)
}

/// A number; what no machine can have is "no limit".
pub(super) fn number(found: u64) -> String {
    if found >= i64::MAX as u64 { "no limit".into() } else { grouped(found) }
}
