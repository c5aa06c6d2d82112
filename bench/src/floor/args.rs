//! The command line of `floor`.

use clap::{Args, ValueEnum};

use crate::args::Machine;
use crate::number;

/// How the bytes of a floor are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SenderKind {
    /// send(2) per socket.
    Send,
    /// Raw `io_uring`, slices of 1,024 SENDs.
    Uring,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct FloorArgs {
    /// Sockets.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    pub(crate) sockets: u32,
    /// Bytes of one send (with --frames: of one message); several sizes are measured one after the other.
    #[arg(long, value_delimiter = ',', default_value = "128")]
    pub(crate) bytes: Vec<usize>,
    /// Duration of each measurement.
    #[arg(long, default_value_t = 3.0, value_parser = number::seconds)]
    pub(crate) seconds: f64,
    /// Passes a second of the paced measurement.
    #[arg(long, default_value_t = 5.0, value_parser = number::rate)]
    pub(crate) rate: f64,
    /// How the bytes are sent.
    #[arg(long, value_enum, default_value = "send")]
    pub(crate) sender: SenderKind,
    /// Core of the sender.
    #[arg(long, default_value_t = 0)]
    pub(crate) sender_core: usize,
    /// Send go-push batches instead of bare bytes: measures what the receivers can verify.
    #[arg(long)]
    pub(crate) frames: bool,
    /// Messages of one batch (with --frames).
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) items: u32,
    #[command(flatten)]
    pub(crate) machine: Machine,
}
