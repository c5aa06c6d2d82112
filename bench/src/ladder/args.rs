//! The command line of `ladder`.

use clap::Args;

use crate::args::{LoadArgs, Machine, ServerArgs};
use crate::fanout::FanoutArgs;
use crate::number;

#[derive(Clone, Debug, Args)]
pub(crate) struct LadderArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// Messages a second of the first rung.
    #[arg(long, default_value_t = 50.0, value_parser = number::rate)]
    pub(crate) from: f64,
    /// Messages a second of the last rung, unless one before it fails.
    #[arg(long, default_value_t = 100_000.0, value_parser = number::rate)]
    pub(crate) to: f64,
    /// Each rung has this many times the rate of the one before, until one fails.
    #[arg(long, default_value_t = 1.5, value_parser = number::factor)]
    pub(crate) factor: f64,
    /// Then the rates between held and failed are halved until they are this many percent apart.
    #[arg(long, default_value_t = 5.0, value_parser = number::precision)]
    pub(crate) precision: f64,
    /// A rung whose 99th percentile of latency is above it is not held.
    #[arg(long, default_value_t = 1_000.0, value_parser = number::milliseconds)]
    pub(crate) p99_max_ms: f64,
    /// A rate fails when it failed this many times in a row: one hiccup of the machine is no limit.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=10))]
    pub(crate) tries: u32,
    #[command(flatten)]
    pub(crate) machine: Machine,
}

impl LadderArgs {
    /// Connections that receive a message, on average over the topics.
    pub(crate) fn receivers(&self) -> f64 {
        f64::from(self.load.connections) / f64::from(self.load.topics)
    }

    /// A run at a rate.
    pub(crate) fn rung(&self, rate: f64) -> FanoutArgs {
        FanoutArgs::of(&self.server, &self.load, rate, &self.machine)
    }
}
