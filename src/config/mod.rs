//! The configuration that the program runs with: typed, complete, checked.
//!
//! [`raw::load`] reads file, environment and flags; what changes while the process runs comes through [`settings`];
//! [`Config`] is what every other module sees. No field here is an option that means a default. *Not here*: precedence
//! (`layers`), parsing (`file`, `environment`, `flags`, `snapshot`, `patch`), ranges (`keys`), messages about mistakes
//! (`problem`).

mod api;
mod environment;
mod events;
mod file;
pub mod flags;
mod given;
mod keys;
pub mod layers;
pub mod live;
mod open;
mod pace;
pub mod patch;
pub mod print;
pub mod problem;
pub mod raw;
pub mod redis_url;
pub mod settings;
pub mod snapshot;
mod values;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use crate::secret::{Secret, SecretUrl};
use fanfare_core::ingest::merger::Merge;
use fanfare_core::limits;
use fanfare_core::model::{Address, Clients, EventKinds};
use fanfare_core::push::pattern;
use fanfare_core::push::rate::Rate;
use fanfare_core::push::terms::Terms;
use fanfare_core::session::bounds::OutboxBounds;

/// Prefix of the Redis channels unless told otherwise.
pub const REDIS_PREFIX_DEFAULT: &str = "fanfare:";

/// Channel or stream of events unless told otherwise. Not under [`REDIS_PREFIX_DEFAULT`], where every gateway listens.
pub const EVENTS_NAME_DEFAULT: &str = "fanfare-events";
/// Prefix of etcd's keys unless told otherwise.
pub const ETCD_PREFIX_DEFAULT: &str = "/fanfare/";

/// Everything the operator decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[api]`
    pub api: Api,
    /// `[redis]`; `None`: publishes enter by HTTP only.
    pub redis: Option<Redis>,
    /// `[merge]`
    pub merge: Merge,
    /// `[clients]`
    pub clients: Clients,
    /// `[outbox]`
    pub outbox: OutboxBounds,
    /// `[pacing]`
    pub pacing: Pacing,
    /// `[events]`
    pub events: Events,
    /// `[log]`
    pub log: Log,
    /// `[etcd]`
    pub etcd: Etcd,
}

/// The device side of the process.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Where devices connect.
    pub listen: SocketAddr,
    /// Number of shards; `None`: from the CPUs that the process may use.
    pub shards: Option<NonZeroUsize>,
    /// Pin threads to cores.
    pub pin: bool,
    /// How long a shard with a core to itself spins before it sleeps.
    pub spin: Duration,
    /// Time over which a drain spreads its closes.
    pub drain: Duration,
}

/// The HTTP API.
#[derive(Clone, Debug, PartialEq)]
pub struct Api {
    /// Where backends and operators connect; a private address.
    pub listen: SocketAddr,
    /// Names besides `localhost` by which it may be called, in lower case; `*` is any.
    pub hosts: Vec<String>,
    /// Origins of web pages, besides its own, that may use it; as browsers write them.
    pub origins: Vec<String>,
    /// Largest body.
    pub body_bytes_max: usize,
}

impl Api {
    /// What to tell an operator whose API listens where others than this host reach it.
    pub fn exposed(listen: SocketAddr) -> Option<String> {
        (!listen.ip().to_canonical().is_loopback()).then(|| {
            format!(
                "the API listens on {listen}, which is not a loopback address: whoever reaches it may publish and change the \
                 configuration"
            )
        })
    }
}

/// The Redis source.
#[derive(Clone, Debug, PartialEq)]
pub struct Redis {
    /// Where and as whom.
    pub url: RedisUrl,
    /// Prefix of the channels, default [`REDIS_PREFIX_DEFAULT`].
    pub prefix: String,
}

/// A parsed `redis://`, `rediss://` or `unix://` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisUrl {
    /// How to reach the server.
    pub endpoint: RedisEndpoint,
    /// ACL user; `None` with a password: the default user.
    pub user: Option<String>,
    /// Password.
    pub password: Option<Secret>,
}

/// Where a Redis server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisEndpoint {
    /// `redis://host:port`
    Tcp {
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// `rediss://host:port`: TLS, certificate checked against the system's roots.
    Tls {
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// `unix:///path`
    Unix(std::path::PathBuf),
}

/// Pace of pushes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pacing {
    /// What all paced pushes of the gateway share, by weight; `None`: no cap.
    pub rate: Option<Rate>,
    /// What a message gets that does not say its own pace. The first rule that matches its topic counts.
    pub topics: Vec<TopicPace>,
}

impl Pacing {
    /// The first rule for an address. All connections together are no topic.
    pub fn rule_for(&self, address: &Address) -> Option<&TopicPace> {
        let Address::Topic(topic) = address else { return None };
        self.topics.iter().find(|rule| pattern::matches(&rule.pattern, topic.as_str()))
    }

    /// The terms with what the rules add: who names no rate gets the lowest that a rule has for one of the addresses.
    pub fn complete(&self, terms: Terms, to: &[Address]) -> Terms {
        if terms.rate.is_some() {
            return terms;
        }
        let slowest = to.iter().filter_map(|address| self.rule_for(address)).min_by_key(|rule| rule.rate);
        slowest.map_or(terms, |rule| Terms {
            rate: Some(rule.rate),
            weight: if terms.weight == Terms::default().weight { rule.weight } else { terms.weight },
            ..terms
        })
    }
}

/// `[[pacing.topic]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPace {
    /// Topics that it is for: a name, in which each `*` stands for any text.
    pub pattern: String,
    /// Their pace.
    pub rate: Rate,
    /// Their share of what pushes have together, from 1.
    pub weight: u32,
}

/// Who is told what happens to connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    /// How Redis is told.
    pub redis: EventsRedis,
    /// The channel's or stream's name.
    pub name: String,
    /// Entries that the stream keeps, about.
    pub stream_length_max: u64,
    /// Where batches are posted, an `http` or `https` URL.
    pub webhook: Option<SecretUrl>,
    /// Time for one request.
    pub webhook_timeout: Duration,
    /// What is told.
    pub kinds: EventKinds,
    /// Events of a batch.
    pub batch_events_max: usize,
    /// Bytes of a batch.
    pub batch_bytes_max: usize,
    /// Age of the oldest event at which a batch leaves.
    pub delay: Duration,
    /// Bytes that wait for one receiver.
    pub queue_bytes_max: usize,
}

impl Events {
    /// Whether anybody is told anything.
    pub fn is_on(&self) -> bool {
        self.redis != EventsRedis::Off || self.webhook.is_some()
    }
}

/// How Redis is told of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventsRedis {
    /// Not at all.
    Off,
    /// `PUBLISH`: a batch is one message.
    Channel,
    /// `XADD`: an event is one entry.
    Stream,
}

/// Logging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A tracing filter: `info`, `fanfare=debug`, …
    pub level: String,
    /// Text for people or JSON for machines.
    pub format: LogFormat,
}

/// Where live configuration is looked for besides the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Etcd {
    /// Servers of one cluster, `http://host:port` or all with `https`; none: etcd is not asked.
    pub endpoints: Vec<String>,
    /// What the names of its keys begin with, default [`ETCD_PREFIX_DEFAULT`].
    pub prefix: String,
    /// As whom; empty: nobody.
    pub user: String,
    /// That user's password.
    pub password: Option<Secret>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: Server {
                listen: SocketAddr::from(([0, 0, 0, 0], 7777)),
                shards: None,
                pin: true,
                spin: Duration::from_micros(50),
                drain: limits::DRAIN_DEFAULT,
            },
            api: Api {
                listen: SocketAddr::from(([127, 0, 0, 1], 7799)),
                hosts: Vec::new(),
                origins: Vec::new(),
                body_bytes_max: limits::API_BODY_BYTES_DEFAULT,
            },
            redis: None,
            merge: Merge::default(),
            clients: Clients::default(),
            outbox: OutboxBounds::default(),
            pacing: Pacing::default(),
            events: Events {
                redis: EventsRedis::Off,
                name: EVENTS_NAME_DEFAULT.into(),
                stream_length_max: limits::EVENTS_STREAM_DEFAULT,
                webhook: None,
                webhook_timeout: limits::EVENTS_WEBHOOK_TIMEOUT_DEFAULT,
                kinds: EventKinds::ALL,
                batch_events_max: limits::EVENTS_BATCH_DEFAULT,
                batch_bytes_max: limits::EVENTS_BATCH_BYTES_DEFAULT,
                delay: limits::EVENTS_DELAY_DEFAULT,
                queue_bytes_max: limits::EVENTS_QUEUE_BYTES_DEFAULT,
            },
            log: Log { level: "info".into(), format: LogFormat::Text },
            etcd: Etcd {
                endpoints: Vec::new(),
                prefix: ETCD_PREFIX_DEFAULT.into(),
                user: String::new(),
                password: None,
            },
        }
    }
}
