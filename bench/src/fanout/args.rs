//! The command line of `fanout`, which is also the load of every subcommand that makes such a run.
//!
//! *Not here*: what receivers and publisher make of it (`plan`).

use clap::Args;

use crate::args::{LoadArgs, Machine, ServerArgs};
use crate::number;
use crate::receiver::SlowKinds;

/// How connections come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// A bounded number in flight; one that fails ends the run.
    #[default]
    Orderly,
    /// The same, and those that fail are counted.
    Counted,
    /// All at once, and those that fail are counted.
    AtOnce,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct FanoutArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// Messages a second.
    #[arg(long, default_value_t = 50.0, value_parser = number::rate)]
    pub(crate) rate: f64,
    /// Connections that leave and rejoin each second.
    #[arg(long, default_value_t = 0.0, value_parser = number::rate_or_none)]
    pub(crate) joins_leaves: f64,
    /// Additional connections that join and then never read.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=2_000_000))]
    pub(crate) stalled: u32,
    /// `slow` sets the other slow kinds.
    #[arg(skip)]
    pub(crate) slow: SlowKinds,
    /// How the connections come.
    #[arg(skip)]
    pub(crate) arrival: Arrival,
    /// Only connect and hold for the given seconds; report memory.
    #[arg(long)]
    pub(crate) idle: bool,
    /// Measure the floor afterwards, at the bytes a send that the gateway turned out to use, and compare.
    #[arg(long)]
    pub(crate) floor: bool,
    #[command(flatten)]
    pub(crate) machine: Machine,
}

impl FanoutArgs {
    /// A load at a rate and nothing else.
    pub(crate) fn of(server: &ServerArgs, load: &LoadArgs, rate: f64, machine: &Machine) -> Self {
        Self {
            server: server.clone(),
            load: load.clone(),
            rate,
            joins_leaves: 0.0,
            stalled: 0,
            slow: SlowKinds::default(),
            arrival: Arrival::default(),
            idle: false,
            floor: false,
            machine: machine.clone(),
        }
    }
}
