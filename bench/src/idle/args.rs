//! The command line of `idle`.

use clap::Args;

use crate::args::{LoadArgs, Machine, ServerArgs};
use crate::server::FormatKind;

#[derive(Clone, Debug, Args)]
pub(crate) struct IdleArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// Messages to all connections after the hold, one after the other.
    #[arg(long, default_value_t = 1)]
    pub(crate) broadcasts: u32,
    /// Measure the floor afterwards: as many sends, of as many bytes, on as many sockets, without a gateway.
    #[arg(long)]
    pub(crate) floor: bool,
    #[command(flatten)]
    pub(crate) machine: Machine,
}

impl IdleArgs {
    /// Whether each PING of a connection has an answer that can be told from a message.
    pub(super) fn answers_are_counted(&self) -> bool {
        self.load.format == FormatKind::GoPush && self.load.ping_every > 0.0
    }
}
