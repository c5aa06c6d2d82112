//! What a run of many pushes found. *Not here*: making it (`super`), the audit (`audit`), showing it (`record`).

use super::audit::Audit;

/// What a run found.
pub(super) struct Found {
    pub(super) audit: Audit,
    pub(super) polls: u64,
    pub(super) steered: u64,
    /// Steps that came when their push was over.
    pub(super) too_late: u64,
    /// Sent by all ledgers over time.
    pub(super) sent: Vec<(f64, f64)>,
}
