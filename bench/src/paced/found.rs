//! What a paced push was found to be. *Not here*: watching it (`super`), judging it (`judge`), showing it (`record`).

use serde::Serialize;

use super::judge::{Course, Judgement};

/// What a run found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Found {
    pub(super) course: Course,
    pub(super) judgement: Judgement,
    /// Copies beyond the first on a device; a push of one message has no order.
    pub(super) duplicates: u64,
    pub(super) malformed: u64,
    pub(super) crew_cpu_percent: f64,
    #[serde(skip)]
    pub(super) arrivals: Vec<u64>,
}
