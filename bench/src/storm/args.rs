//! The command line of `storm`.

use clap::Args;

use crate::args::{LoadArgs, Machine, ServerArgs};
use crate::number;

#[derive(Clone, Debug, Args)]
pub(crate) struct StormArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// Connections that return at once (default: all of them).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    pub(crate) returning: Option<u32>,
    /// Seconds from the leave to the return, in which memory and newcomers are watched.
    #[arg(long, default_value_t = 10.0, value_parser = number::seconds)]
    pub(crate) watch: f64,
    #[command(flatten)]
    pub(crate) machine: Machine,
}
