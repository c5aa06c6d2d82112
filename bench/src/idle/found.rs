//! What a hold found. *Not here*: holding (`super`), showing it (`record`).

use serde::Serialize;

use crate::fanout::Report;
use crate::gateway::Memory;
use crate::slab::KernelUse;

/// What a run found.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Found {
    pub(crate) held_seconds: f64,
    /// Of the gateway while it held them.
    pub(crate) held_cpu_percent: Option<f64>,
    /// The gateway's memory before the first connection, and at the end of the hold.
    pub(crate) memory: Option<(Memory, Memory)>,
    pub(crate) kernel: Option<KernelUse>,
    /// The connections, and the broadcasts if there were any.
    pub(crate) report: Report,
}

impl Found {
    /// Bytes a connection that a kind of memory grew by until the end of the hold.
    pub(crate) fn per_connection(&self, of: impl Fn(&Memory) -> u64) -> Option<f64> {
        let (before, held) = self.memory?;
        Some(of(&held).saturating_sub(of(&before)) as f64 / self.report.connections.max(1) as f64)
    }
}
