//! The command line of the comparison.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::args::Machine;
use crate::number;
use crate::server::FormatKind;

/// A server that others can install.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PeerKind {
    /// nginx with nchan: apt-get install nginx-light libnginx-mod-nchan.
    Nchan,
    /// bench/peers/tokio-broadcast.
    Tokio,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CompareArgs {
    /// fanfare's binary (default: the one beside this tool).
    #[arg(long, value_name = "PATH")]
    pub(crate) gateway: Option<PathBuf>,
    /// Further argument of fanfare; may be repeated.
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) gateway_arg: Vec<String>,
    /// Peers to start; none without a value.
    #[arg(long, value_enum, value_delimiter = ',', num_args = 0.., default_values = ["nchan", "tokio"])]
    pub(crate) peers: Vec<PeerKind>,
    /// nginx (default: where the system keeps it).
    #[arg(long, value_name = "PATH")]
    pub(crate) nginx: Option<PathBuf>,
    /// The tokio broadcaster (default: the one beside this tool).
    #[arg(long, value_name = "PATH")]
    pub(crate) tokio_broadcast: Option<PathBuf>,
    /// WebSocket URL of a further server, which runs already.
    #[arg(long, requires = "publish")]
    pub(crate) url: Option<String>,
    /// What it sends to devices.
    #[arg(long, value_enum, default_value = "raw", requires = "url")]
    pub(crate) framing: FormatKind,
    /// Where one publishes to it: the API's address (http), or the URL that takes the POSTs (array, each).
    #[arg(long, value_name = "URL", requires = "url")]
    pub(crate) publish: Option<String>,
    /// How one publishes to it.
    #[arg(long, value_enum, default_value = "each", requires = "url")]
    pub(crate) publish_as: HttpPublisher,
    /// Its process id, to measure its memory and CPU time.
    #[arg(long, value_name = "PID", requires = "url")]
    pub(crate) url_pid: Option<u32>,
    /// Core of each server in turn.
    #[arg(long, default_value_t = 0)]
    pub(crate) gateway_core: usize,
    /// Connections, all in one topic.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) connections: u32,
    /// Bytes of a message.
    #[arg(long, default_value_t = 100)]
    pub(crate) bytes: usize,
    /// Messages a second at which latency is compared.
    #[arg(long, default_value_t = 5.0, value_parser = number::rate)]
    pub(crate) rate: f64,
    /// Seconds of it that are measured.
    #[arg(long, default_value_t = 10.0, value_parser = number::seconds)]
    pub(crate) seconds: f64,
    /// Seconds before them whose messages are verified and not measured.
    #[arg(long, default_value_t = 2.0, value_parser = number::seconds)]
    pub(crate) warmup: f64,
    /// Seconds without any progress after which messages that have not come are missing.
    #[arg(long, default_value_t = 10.0, value_parser = number::seconds)]
    pub(crate) drain: f64,
    /// Messages a second of the climb's first rung; each further one has twice the rate.
    #[arg(long, default_value_t = 5.0, value_parser = number::rate)]
    pub(crate) climb_from: f64,
    /// Messages a second above which nobody climbs.
    #[arg(long, default_value_t = 100_000.0, value_parser = number::rate)]
    pub(crate) climb_to: f64,
    /// Seconds of a rung that are measured, behind one that is not.
    #[arg(long, default_value_t = 4.0, value_parser = number::seconds)]
    pub(crate) climb_seconds: f64,
    /// A rung whose 99th percentile of latency is above it is not held.
    #[arg(long, default_value_t = 1_000.0, value_parser = number::milliseconds)]
    pub(crate) p99_max_ms: f64,
    /// How often memory, accepts and latency are measured, the servers taking turns; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    #[command(flatten)]
    pub(crate) machine: Machine,
}

impl CompareArgs {
    /// A sentence when nobody could climb. What one run needs is checked where a run is.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.climb_to < self.climb_from {
            return Err("--climb-to must not be below --climb-from".into());
        }
        if self.climb_seconds <= 0.0 || self.p99_max_ms <= 0.0 {
            return Err("--climb-seconds and --p99-max-ms must be above zero".into());
        }
        Ok(())
    }
}

/// How one publishes over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HttpPublisher {
    /// go-push's form, to /push/room.
    Form,
    /// A JSON array a POST, pipelined.
    Array,
    /// A message a POST, pipelined.
    Each,
}
