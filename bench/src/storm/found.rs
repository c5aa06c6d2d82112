//! What a storm found. *Not here*: making it (`super`), showing it (`record`).

use serde::Serialize;

use crate::fanout::Report;
use crate::gateway::Memory;
use crate::histogram::Percentiles;
use crate::results::{Distribution, Series};

/// Memory is back when it is at most this much of what it was.
pub(super) const BACK: f64 = 1.1;

/// What a run found.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Found {
    pub(crate) connections: u64,
    pub(crate) connect_seconds: f64,
    pub(crate) connects_per_s: f64,
    /// What closing took on this side.
    pub(crate) leave_seconds: f64,
    /// From the first close until the server counted nobody but a newcomer; `None`: it does not say, or it did not get
    /// there.
    pub(crate) empty_after_seconds: Option<f64>,
    /// From the first close until resident memory was back; `None`: not known, or not within the watch.
    pub(crate) memory_back_after_seconds: Option<f64>,
    /// Memory before, with all connected, at the end of the watch, after the return; shorter where that did not happen,
    /// empty where it is not known.
    pub(crate) memory: Vec<Memory>,
    /// Handshakes of newcomers, one after the other, while the others left.
    pub(crate) newcomers: Percentiles,
    pub(crate) newcomers_failed: u64,
    pub(crate) first_failure: Option<String>,
    pub(crate) watched_seconds: f64,
    pub(crate) returning: u64,
    /// Those who returned; `None`: the run was interrupted before.
    pub(crate) back: Option<Report>,
    #[serde(skip)]
    pub(crate) series: Vec<Series>,
    #[serde(skip)]
    pub(crate) distributions: Vec<Distribution>,
}
