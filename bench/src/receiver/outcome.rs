//! What one thread saw of a round.
//!
//! *Not here*: what its counts mean (`verify::tally`), what a run makes of them (`fanout::account`, `floor`).

use std::collections::BTreeMap;
use std::time::Duration;

use super::connection::Role;
use super::slow::SlowSeen;
use crate::histogram::Recorder;
use crate::verify::Tally;

/// What one thread saw.
pub(crate) struct Outcome {
    /// Of the connections that read.
    pub(crate) tally: Tally,
    /// Of the slow ones: stalled, trickling, vanished.
    pub(crate) slow: [SlowSeen; 3],
    /// Connections that missed a message.
    pub(crate) connections_with_gaps: u64,
    /// Connections that left and joined again.
    pub(crate) rejoined: u64,
    /// Rejoins that failed.
    pub(crate) rejoins_failed: u64,
    /// CPU time in the measured window.
    pub(crate) cpu: Duration,
    /// Time in that window that the thread could run and was not let.
    pub(crate) run_delay: Duration,
    /// Length of that window.
    pub(crate) window: Duration,
    /// From connect to the end of the upgrade, microseconds.
    pub(crate) handshakes: Recorder,
    /// Connects and upgrades that failed, by what the server or the kernel said.
    pub(crate) refusals: BTreeMap<String, u64>,
    /// Go-push PINGs sent.
    pub(crate) pings_sent: u64,
    /// How long a turn of the loop took: a ready socket waits no longer than that.
    pub(crate) turns: Recorder,
}

impl Outcome {
    /// Nothing seen yet.
    pub(super) fn measuring_from(sequence: u64) -> Self {
        Self {
            tally: Tally::measuring_from(sequence),
            slow: std::array::from_fn(|_| SlowSeen {
                tally: Tally::measuring_from(u64::MAX),
                ..SlowSeen::default()
            }),
            connections_with_gaps: 0,
            rejoined: 0,
            rejoins_failed: 0,
            cpu: Duration::ZERO,
            run_delay: Duration::ZERO,
            window: Duration::ZERO,
            handshakes: Recorder::default(),
            refusals: BTreeMap::new(),
            pings_sent: 0,
            turns: Recorder::default(),
        }
    }

    /// The counts of connections with this role.
    pub(super) fn tally_of(&mut self, role: Role) -> &mut Tally {
        match role.slow() {
            None => &mut self.tally,
            Some(kind) => &mut self.slow[kind].tally,
        }
    }
}
