//! The command line of `paced`.

use clap::Args;

use crate::args::{Machine, ServerArgs};
use crate::number;

/// One paced push.
#[derive(Clone, Debug, Args)]
pub(crate) struct PacedArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Devices, all in one topic.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(crate) connections: u32,
    /// The topic's name is this with -0 behind it.
    #[arg(long, default_value = "paced")]
    pub(crate) topic: String,
    /// Bytes of the message.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(40..=60_000))]
    pub(crate) bytes: u32,
    /// Devices a second.
    #[arg(long, default_value_t = 500.0, value_parser = number::rate)]
    pub(crate) rate: f64,
    /// Devices a second from the change on.
    #[arg(long, default_value_t = 2_000.0, value_parser = number::rate)]
    pub(crate) change_to: f64,
    /// Seconds from the begin to the change (default: half of the time that all devices take at --rate).
    #[arg(long, value_parser = number::seconds)]
    pub(crate) change_after: Option<f64>,
    /// No change.
    #[arg(long, conflicts_with_all = ["change_to", "change_after"])]
    pub(crate) steady: bool,
    /// Percent that any second may be off the rate.
    #[arg(long, default_value_t = 2.0, value_parser = number::percent)]
    pub(crate) second_percent: f64,
    /// Percent that any tenth of a second may be off the rate.
    #[arg(long, default_value_t = 10.0, value_parser = number::percent)]
    pub(crate) tenth_percent: f64,
    /// Milliseconds after the answer to a change within which it is in force.
    #[arg(long, default_value_t = 100.0, value_parser = number::milliseconds)]
    pub(crate) in_force_ms: f64,
    /// Percent of the time that is left that an ETA may be off.
    #[arg(long, default_value_t = 5.0, value_parser = number::percent)]
    pub(crate) eta_percent: f64,
    /// Seconds of the push from which on ETAs are judged.
    #[arg(long, default_value_t = 10.0, value_parser = number::seconds)]
    pub(crate) eta_from: f64,
    /// Milliseconds between two looks at the push.
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub(crate) poll_ms: u64,
    /// Instead: messages to small topics, alone and beside the paced push, in turns.
    #[arg(long)]
    pub(crate) beside: bool,
    /// With --beside: small topics.
    #[arg(long, default_value_t = 1_000, requires = "beside")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) side_topics: u32,
    /// With --beside: devices of the small topics, spread evenly.
    #[arg(long, default_value_t = 3_000, requires = "beside")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    pub(crate) side_connections: u32,
    /// With --beside: messages a second to the small topics, which take turns.
    #[arg(long, default_value_t = 500.0, requires = "beside", value_parser = number::rate)]
    pub(crate) side_rate: f64,
    /// With --beside: seconds of each measurement.
    #[arg(long, default_value_t = 10.0, requires = "beside", value_parser = number::seconds)]
    pub(crate) side_seconds: f64,
    /// With --beside: measurements of each kind.
    #[arg(long, default_value_t = 3, requires = "beside", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) side_rounds: u32,
    /// With --beside: how many times the p99 may be what it is alone.
    #[arg(long, default_value_t = 1.2, requires = "beside", value_parser = number::ratio)]
    pub(crate) side_ratio: f64,
    #[command(flatten)]
    pub(crate) machine: Machine,
}

impl PacedArgs {
    /// Seconds from the begin to the change; `None`: there is none.
    pub(crate) fn change_at(&self) -> Option<f64> {
        let half = f64::from(self.connections) / self.rate / 2.0;
        (!self.steady).then(|| self.change_after.unwrap_or(half))
    }

    /// A sentence when no run can be made of it.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.beside && self.side_seconds <= 0.0 {
            return Err("--side-seconds must be above zero".into());
        }
        if self.change_at().is_some_and(|at| at * self.rate >= f64::from(self.connections) || at <= 0.0) {
            return Err(
                "--change-after: the push is over by then; give more --connections, or --steady".into()
            );
        }
        Ok(())
    }
}
