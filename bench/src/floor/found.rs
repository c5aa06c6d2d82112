//! What a floor was measured to be. *Not here*: measuring it (`super`), showing it (`record`).

use serde::Serialize;

use crate::histogram::{Percentiles, Recorder};
use crate::lag::Lag;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Floor {
    /// Sockets.
    pub(crate) sockets: usize,
    /// How the bytes were sent.
    pub(crate) sender: String,
    /// Bytes of one send.
    pub(crate) bytes_per_send: usize,
    /// Messages of one send.
    pub(crate) messages_per_send: u64,
    /// Passes back to back.
    pub(crate) passes: u64,
    /// Time of a pass over all sockets, back to back.
    pub(crate) pass: Percentiles,
    /// Time from a pass's first send to the last receiver's last byte, back to back.
    pub(crate) last_back_to_back: Percentiles,
    /// The same when passes are apart.
    pub(crate) last_paced: Percentiles,
    /// Time of a pass when passes are apart.
    pub(crate) pass_paced: Percentiles,
    /// Sends a second, back to back, until the last byte arrived.
    pub(crate) sends_per_s: f64,
    /// Bytes a second, likewise, in millions.
    pub(crate) mb_per_s: f64,
    /// Messages a second that the receivers verified.
    pub(crate) messages_per_s: f64,
    /// Sends that found a full socket.
    pub(crate) blocked: u64,
    /// The sender's CPU time per send.
    pub(crate) sender_ns_per_send: f64,
    /// The receivers, back to back.
    pub(crate) receivers: Lag,
    /// The four distributions above, whole.
    #[serde(skip)]
    pub(crate) distributions: Vec<(&'static str, Recorder)>,
}
