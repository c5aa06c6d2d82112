//! The options that several subcommands share.
//!
//! *Not here*: those of one subcommand (its own `args`), the command line as a whole (`cli`).

use std::path::PathBuf;

use clap::Args;

use crate::number;
use crate::server::{FormatKind, PublisherKind, ServerKind};

/// Which cores this tool's threads have, and what becomes of the results.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Machine {
    /// Cores of the receivers, one thread each at least.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    pub(crate) receiver_core: Vec<usize>,
    /// Congestion control of this tool's sockets (default: the system's, which a gateway inherits too).
    #[arg(long)]
    pub(crate) congestion: Option<String>,
    /// What the run is called, in the results and in the names of their files (default: the subcommand).
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Directory of the results, DATE-NAME.json and DATE-NAME.html (default: results; none when --json is given).
    #[arg(long, value_name = "DIR", conflicts_with = "no_results")]
    pub(crate) results: Option<PathBuf>,
    /// Keep no results, only print them.
    #[arg(long)]
    pub(crate) no_results: bool,
    /// Write the results to this JSON file; "-" is standard output, without the table.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Show no progress.
    #[arg(long)]
    pub(crate) quiet: bool,
}

/// The server under test: one that runs, or one that is started for the run.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServerArgs {
    /// WebSocket URL of a running gateway.
    #[arg(long, default_value = "ws://127.0.0.1:7777/connect", conflicts_with = "gateway")]
    pub(crate) url: String,
    /// HTTP API of a running gateway.
    #[arg(long, default_value = "http://127.0.0.1:7799", conflicts_with = "gateway")]
    pub(crate) api: String,
    /// Process id of a running gateway, to measure its CPU time and memory.
    #[arg(long, conflicts_with = "gateway")]
    pub(crate) gateway_pid: Option<u32>,
    /// Start this binary for the run, on free ports, and end it afterwards.
    #[arg(long, value_name = "PATH")]
    pub(crate) gateway: Option<PathBuf>,
    /// Further argument of the started gateway; may be repeated.
    #[arg(long, allow_hyphen_values = true, requires = "gateway")]
    pub(crate) gateway_arg: Vec<String>,
    /// Where the started gateway's output goes (default: nowhere).
    #[arg(long, value_name = "FILE", requires = "gateway")]
    pub(crate) gateway_log: Option<PathBuf>,
    /// Cores of the started gateway (and of the floor's sender: the first).
    #[arg(long, value_delimiter = ',', default_value = "0")]
    pub(crate) gateway_core: Vec<usize>,
    /// What the started server is.
    #[arg(skip)]
    pub(crate) kind: ServerKind,
    /// Connections that the started server must have room for.
    #[arg(skip)]
    pub(crate) room: u32,
}

/// Who publishes what to whom.
#[derive(Clone, Debug, Args)]
pub(crate) struct LoadArgs {
    /// Connections that stay for the whole run.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=2_000_000))]
    pub(crate) connections: u32,
    /// Bytes of a message.
    #[arg(long, default_value_t = 100)]
    pub(crate) bytes: usize,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 10.0, value_parser = number::seconds)]
    pub(crate) seconds: f64,
    /// Seconds before them whose messages are verified and not measured.
    #[arg(long, default_value_t = 2.0, value_parser = number::seconds)]
    pub(crate) warmup: f64,
    /// Seconds without any progress after which messages that have not come are missing.
    #[arg(long, default_value_t = 10.0, value_parser = number::seconds)]
    pub(crate) drain: f64,
    /// The topic.
    #[arg(long, default_value = "bench")]
    pub(crate) topic: String,
    /// Topics (TOPIC-0, TOPIC-1, … when there are several): connections are spread evenly, messages take turns.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) topics: u32,
    /// The client protocol.
    #[arg(long, value_enum, default_value = "go-push")]
    pub(crate) format: FormatKind,
    /// Path and query to connect to, instead of the format's; {topic} stands for the connection's topic.
    #[arg(long)]
    pub(crate) path: Option<String>,
    /// A text frame that each connection sends first, for servers that join by message.
    #[arg(long)]
    pub(crate) hello: Option<String>,
    /// How messages are published.
    #[arg(long, value_enum, default_value = "http")]
    pub(crate) publisher: PublisherKind,
    /// Path and query to publish to with the publishers array and each, instead of the API URL's.
    #[arg(long)]
    pub(crate) publish_path: Option<String>,
    /// Address of Redis.
    #[arg(long, default_value = "127.0.0.1:6379")]
    pub(crate) redis: String,
    /// Channel to publish to (default: fanfare:topic:{topic}); {topic} stands for the message's topic.
    #[arg(long)]
    pub(crate) redis_channel: Option<String>,
    /// Milliseconds between two publishes; each carries the messages that are due.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub(crate) tick_ms: u64,
    /// Core of the publisher (default: the first of the receivers).
    #[arg(long)]
    pub(crate) publisher_core: Option<usize>,
    /// Seconds between two go-push PINGs of a connection; 0 = none.
    #[arg(long, default_value_t = 20.0, value_parser = number::seconds)]
    pub(crate) ping_every: f64,
}

impl LoadArgs {
    /// The names of the topics.
    pub(crate) fn topic_names(&self) -> Vec<String> {
        match self.topics {
            1 => vec![self.topic.clone()],
            several => (0..several).map(|at| format!("{}-{at}", self.topic)).collect(),
        }
    }
}
