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
pub mod secret;
pub mod settings;
pub mod snapshot;
pub mod template;
mod values;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use crate::batch::Address;
use crate::events::record::Kinds;
use crate::limits;
use crate::push::pattern;
use crate::push::rate::Rate;
use crate::push::terms::Terms;
use secret::{Secret, SecretUrl};

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
    pub outbox: Outbox,
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

/// When a batch closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merge {
    /// At this many messages.
    pub messages_max: usize,
    /// At this many payload bytes.
    pub bytes_max: usize,
    /// This long after its first message.
    pub delay: Duration,
}

/// What a connection may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients {
    /// Largest message, fragments joined.
    pub message_bytes_max: usize,
    /// Time from a message's first byte to its last.
    pub message_deadline: Duration,
    /// Bytes allocated for the unfinished messages of all connections of the process.
    pub partial_bytes_max: usize,
    /// Time from accept to the complete upgrade head.
    pub upgrade_deadline: Duration,
    /// Connections per shard that wait for the rest of their request's head.
    pub handshakes_max: usize,
    /// Bytes per shard that those hold together.
    pub handshake_bytes_max: usize,
    /// Largest head of an upgrade request.
    pub head_bytes_max: usize,
    /// Subprotocols that are selected before others.
    pub subprotocols: Vec<String>,
    /// What becomes of an offer without one of those.
    pub subprotocol_unknown: SubprotocolUnknown,
    /// Topics per connection.
    pub topics_max: usize,
    /// Topics joined at connect, from query parameters: `{product_id}:{alias_key}`.
    pub auto_join: Vec<TopicTemplate>,
    /// Silence after which a connection is closed.
    pub liveness: Duration,
    /// What ends a silence.
    pub liveness_counts: LivenessCounts,
    /// Send a WebSocket ping once at half of `liveness`.
    pub server_ping: bool,
    /// Time without a business message after which a connection is closed; `None`: never for that.
    pub idle_after: Option<Duration>,
}

/// A topic's name with parameters of the connect query in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicTemplate {
    /// Literal text and parameter names, in order.
    pub parts: Vec<TemplatePart>,
}

/// A piece of a [`TopicTemplate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplatePart {
    /// Text taken as it is.
    Literal(String),
    /// The value of a query parameter.
    Parameter(String),
}

/// What becomes of a client that offers only subprotocols which are not configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubprotocolUnknown {
    /// The first that it offers is selected.
    First,
    /// None is selected; most clients then close.
    None,
    /// The handshake is refused.
    Refuse,
}

/// What ends a silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LivenessCounts {
    /// Any complete frame, a WebSocket ping or pong included.
    AnyFrame,
    /// Only the format's own PING (go-push's rule).
    PingOnly,
}

/// What a slow connection may owe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outbox {
    /// Bytes of one connection.
    pub bytes_max: usize,
    /// Bytes of all connections of the process.
    pub total_bytes_max: usize,
    /// Age of the oldest byte.
    pub age_max: Duration,
    /// What happens at either bound.
    pub policy: OutboxPolicy,
}

/// What happens to a connection whose outbox reached a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutboxPolicy {
    /// Close it with 4008.
    Close,
    /// Drop the oldest whole batches that no byte was sent of.
    DropOldest,
    /// Keep only the newest batch of each address.
    LatestOnly,
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
    pub kinds: Kinds,
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
            merge: Merge {
                messages_max: limits::MERGE_MESSAGES_DEFAULT,
                bytes_max: limits::MERGE_BYTES_DEFAULT,
                delay: limits::MERGE_DELAY_DEFAULT,
            },
            clients: Clients {
                message_bytes_max: limits::CLIENT_MESSAGE_BYTES_DEFAULT,
                message_deadline: limits::CLIENT_MESSAGE_DEADLINE_DEFAULT,
                partial_bytes_max: limits::PARTIAL_BYTES_DEFAULT,
                upgrade_deadline: limits::UPGRADE_DEADLINE_DEFAULT,
                handshakes_max: limits::HANDSHAKES_DEFAULT,
                handshake_bytes_max: limits::HANDSHAKE_BYTES_DEFAULT,
                head_bytes_max: limits::UPGRADE_HEAD_BYTES_DEFAULT,
                subprotocols: Vec::new(),
                subprotocol_unknown: SubprotocolUnknown::First,
                topics_max: limits::TOPICS_PER_CONNECTION_DEFAULT,
                auto_join: Vec::new(),
                liveness: limits::LIVENESS_DEFAULT,
                liveness_counts: LivenessCounts::AnyFrame,
                server_ping: true,
                idle_after: None,
            },
            outbox: Outbox {
                bytes_max: limits::OUTBOX_BYTES_DEFAULT,
                total_bytes_max: limits::OUTBOX_TOTAL_BYTES_DEFAULT,
                age_max: limits::OUTBOX_AGE_DEFAULT,
                policy: OutboxPolicy::Close,
            },
            pacing: Pacing::default(),
            events: Events {
                redis: EventsRedis::Off,
                name: EVENTS_NAME_DEFAULT.into(),
                stream_length_max: limits::EVENTS_STREAM_DEFAULT,
                webhook: None,
                webhook_timeout: limits::EVENTS_WEBHOOK_TIMEOUT_DEFAULT,
                kinds: Kinds::ALL,
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
