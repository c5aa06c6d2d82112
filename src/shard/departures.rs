//! Who has to leave, as a walk found it.
//!
//! What walks over members or over the table removes nobody and closes nobody: it notes departures, and when it is over
//! `Shard::depart` carries them out. *Not here*: how a connection ends (`connections`, `input`).

use crate::dataplane::Token;
use fanfare_core::model::CloseReason;

/// One connection that has to leave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Departure {
    pub(super) token: Token,
    pub(super) reason: CloseReason,
    /// It is told why, and has time to answer.
    pub(super) is_told: bool,
}

const _: () = assert!(size_of::<Departure>() <= 12);

impl Departure {
    /// It is told why, and has time to answer.
    pub(super) fn close(token: Token, reason: CloseReason) -> Self {
        Self { token, reason, is_told: true }
    }

    /// Nothing reaches it any more, or it had its time.
    pub(super) fn remove(token: Token, reason: CloseReason) -> Self {
        Self { token, reason, is_told: false }
    }
}
