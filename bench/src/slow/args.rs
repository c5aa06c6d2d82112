//! The command line of `slow`.

use clap::Args;

use crate::args::{LoadArgs, Machine, ServerArgs};
use crate::fanout::FanoutArgs;
use crate::number;
use crate::receiver::SlowKinds;

#[derive(Clone, Debug, Args)]
pub(crate) struct SlowArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// Messages a second.
    #[arg(long, default_value_t = 50.0, value_parser = number::rate)]
    pub(crate) rate: f64,
    /// Additional connections that join and then read nothing.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(..=2_000_000))]
    pub(crate) stalled: u32,
    /// Additional connections that join and then read --trickle-bytes-per-s, with the smallest receive buffer.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(..=2_000_000))]
    pub(crate) trickling: u32,
    /// Bytes a second that each of them reads.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    pub(crate) trickle_bytes_per_s: u32,
    /// Additional connections that join and then drop every packet unanswered, as a device that lost its network.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(..=2_000_000))]
    pub(crate) vanishing: u32,
    /// Seconds after the load, at most, in which the server is watched giving the slow ones up.
    #[arg(long, default_value_t = 75.0, value_parser = number::seconds)]
    pub(crate) watch: f64,
    #[command(flatten)]
    pub(crate) machine: Machine,
}

impl SlowArgs {
    /// The load without slow ones.
    pub(crate) fn without(&self) -> FanoutArgs {
        FanoutArgs::of(&self.server, &self.load, self.rate, &self.machine)
    }

    /// The load with them.
    pub(crate) fn with(&self) -> FanoutArgs {
        FanoutArgs {
            stalled: self.stalled,
            slow: SlowKinds {
                stalled: 0,
                trickling: self.trickling as usize,
                trickle_bytes_per_s: self.trickle_bytes_per_s,
                vanishing: self.vanishing as usize,
            },
            ..self.without()
        }
    }
}
