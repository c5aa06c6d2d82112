//! How a server is talked to: what devices receive, and how backends publish.
//!
//! *Not here*: which server is talked to how (`super`), the options that choose (`args`).

use clap::ValueEnum;

/// The client protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatKind {
    /// JSON batches, path /connect?join=TOPIC.
    GoPush,
    /// One message a frame, path /topics/TOPIC.
    Raw,
}

/// How messages are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PublisherKind {
    /// POST /push/room, form-encoded, one keep-alive connection.
    Http,
    /// PUBLISH, pipelined.
    Redis,
    /// POST of a JSON array to the API's URL, pipelined.
    Array,
    /// POST of each message to the API's URL, pipelined.
    Each,
}

/// How a server is talked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manner {
    /// What devices receive.
    pub(crate) format: FormatKind,
    /// What devices ask for; `None`: the format's path.
    pub(crate) path: Option<String>,
    /// How backends publish.
    pub(crate) publisher: PublisherKind,
    /// Where they do, behind the API's authority.
    pub(crate) publish_path: Option<String>,
}
