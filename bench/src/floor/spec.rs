//! One measurement of a floor as it is asked for. *Not here*: making it (`super`), the options (`args`).

use std::time::Duration;

use super::args::SenderKind;

/// What was begun goes on within it, or the run is broken.
pub(super) const ARRIVES_WITHIN: Duration = Duration::from_secs(20);

/// One measurement to make.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    /// Sockets.
    pub(crate) sockets: usize,
    /// Bytes of a message.
    pub(crate) bytes: usize,
    /// Messages of a batch; `None`: one bare message a pass.
    pub(crate) items: Option<u64>,
    /// Duration of each part.
    pub(crate) seconds: f64,
    /// Passes a second of the paced part.
    pub(crate) rate: f64,
    /// How to send.
    pub(crate) sender: SenderKind,
    /// Core of the sender.
    pub(crate) sender_core: usize,
    /// Cores of the receivers.
    pub(crate) receiver_cores: Vec<usize>,
    /// Congestion control of both ends.
    pub(crate) congestion: Option<String>,
}

impl Spec {
    /// Sequence of a pass's first message.
    pub(super) fn sequence(&self, pass: usize) -> u64 {
        pass as u64 * self.items.unwrap_or(1)
    }
}
