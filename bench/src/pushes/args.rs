//! The command line of `pushes`.

use clap::Args;

use crate::args::{Machine, ServerArgs};
use crate::number;

/// Many pushes at once.
#[derive(Clone, Debug, Args)]
pub(crate) struct PushesArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// What is drawn is the same for the same seed (default: the time).
    #[arg(long, default_value_t = now(), hide_default_value = true)]
    pub(crate) seed: u64,
    /// Pushes; four of five begin at once.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) pushes: u32,
    /// Devices that are there at first, each in up to four topics.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=15_000))]
    pub(crate) connections: u32,
    /// Topics.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) topics: u32,
    /// Topics are called this, with a number behind it.
    #[arg(long, default_value = "pushes")]
    pub(crate) topic: String,
    /// Bytes of a message.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(40..=60_000))]
    pub(crate) bytes: u32,
    /// Seconds over which what happens is spread.
    #[arg(long, default_value_t = 8.0, value_parser = number::seconds)]
    pub(crate) seconds: f64,
    /// Joins and leaves of devices that stay connected.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub(crate) joins_leaves: u32,
    /// Devices that close their connection and read to its end.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub(crate) goodbyes: u32,
    /// Devices that reset their connection.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub(crate) kills: u32,
    /// Devices that come meanwhile.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(..=10_000))]
    pub(crate) newcomers: u32,
    /// Devices a second of all pushes together, by the server's PATCH /v1/config; taken away again at the end.
    #[arg(long, value_parser = number::rate)]
    pub(crate) cap: Option<f64>,
    /// Seconds without any progress after which pushes that are not over are given up.
    #[arg(long, default_value_t = 20.0, value_parser = number::seconds)]
    pub(crate) drain: f64,
    #[command(flatten)]
    pub(crate) machine: Machine,
}

fn now() -> u64 {
    jiff::Timestamp::now().as_millisecond().unsigned_abs()
}
