//! Every key, in one table: where it goes in [`Config`], what it takes, and how it is written.
//!
//! File, environment, flags, `--print-config` and the tests of `fanfare.toml` all read this table: a new key is a field
//! of [`Config`], a row here and a commented line in `fanfare.toml`.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::api;
use super::events;
use super::given::Given;
use super::problem::Wrong;
use super::values::{address, endpoints, etcd_prefix, log_filter, prefix, redis, subprotocols, templates};
use super::{Config, EventsRedis, LogFormat, REDIS_PREFIX_DEFAULT, RedisUrl, TopicPace, pace};
use crate::secret::{HIDDEN, Secret};
use fanfare_core::limits;
use fanfare_core::model::{LivenessCounts, SubprotocolUnknown};
use fanfare_core::push::rate::Rate;
use fanfare_core::session::bounds::OutboxPolicy;

/// One key.
pub(super) struct Key {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    pub(super) effect: Effect,
    pub(super) kind: Kind,
}

/// When a changed value of a key takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// With the reload that finds it.
    AtOnce,
    /// With the next start: a listener, a thread or a session was made by it.
    AtStart,
}

/// What a key takes, and the way into and out of the draft. A setter sees only what its kind admits.
pub(super) enum Kind {
    /// A whole number within a range, both ends included.
    Whole { min: u64, max: u64, set: fn(&mut Draft, u64), get: fn(&Draft) -> u64 },
    /// A whole number from 1, or "auto".
    AutoOr { max: usize, set: fn(&mut Draft, Option<NonZeroUsize>), get: fn(&Draft) -> Option<NonZeroUsize> },
    /// true or false.
    Switch { set: fn(&mut Draft, bool), get: fn(&Draft) -> bool },
    /// One of a few words, by its position.
    Choice { words: &'static [&'static str], set: fn(&mut Draft, usize), get: fn(&Draft) -> usize },
    /// Text that a parser looks at.
    Text { set: fn(&mut Draft, &str) -> Result<(), Wrong>, get: fn(&Draft) -> String },
    /// Several texts.
    List { set: fn(&mut Draft, &[&str]) -> Result<(), Wrong>, get: fn(&Draft) -> Vec<String> },
    /// Text that is never shown; the empty one is none.
    Secret { set: fn(&mut Draft, Option<Secret>), get: fn(&Draft) -> Option<Secret> },
    /// A URL that is shown without the secret in it.
    Url {
        set: fn(&mut Draft, &str) -> Result<(), Wrong>,
        shown: fn(&Draft) -> String,
        same: fn(&Draft, &Draft) -> bool,
        copy: fn(&Draft, &mut Draft),
    },
    /// Devices per second; 0 is no bound.
    Rate { set: fn(&mut Draft, Option<Rate>), get: fn(&Draft) -> Option<Rate> },
    /// Rules that give topics their pace.
    Paces { set: fn(&mut Draft, Vec<TopicPace>), get: fn(&Draft) -> &[TopicPace] },
}

/// A configuration under construction: the prefix has a place although there may be no Redis.
pub(super) struct Draft {
    pub(super) config: Config,
    redis_prefix: String,
}

impl From<Config> for Draft {
    fn from(config: Config) -> Self {
        let prefix = config.redis.as_ref().map_or(REDIS_PREFIX_DEFAULT, |redis| &redis.prefix);
        Self { redis_prefix: prefix.to_owned(), config }
    }
}

impl Draft {
    fn redis_url(&self) -> Option<&RedisUrl> {
        self.config.redis.as_ref().map(|redis| &redis.url)
    }

    pub(super) fn finish(mut self) -> Config {
        if let Some(redis) = &mut self.config.redis {
            redis.prefix = self.redis_prefix;
        }
        self.config
    }
}

const POLICIES: [OutboxPolicy; 3] = [OutboxPolicy::Close, OutboxPolicy::DropOldest, OutboxPolicy::LatestOnly];
const LIVENESS: [LivenessCounts; 2] = [LivenessCounts::AnyFrame, LivenessCounts::PingOnly];
const SUBPROTOCOL_UNKNOWN: [SubprotocolUnknown; 3] =
    [SubprotocolUnknown::First, SubprotocolUnknown::None, SubprotocolUnknown::Refuse];
const EVENTS_REDIS: [EventsRedis; 3] = [EventsRedis::Off, EventsRedis::Channel, EventsRedis::Stream];
const FORMATS: [LogFormat; 2] = [LogFormat::Text, LogFormat::Json];

/// A row of [`KEYS`] that a reload applies.
const fn at_once(section: &'static str, name: &'static str, kind: Kind) -> Key {
    Key { section, name, effect: Effect::AtOnce, kind }
}

/// A row of [`KEYS`] that is read at start only.
const fn at_start(section: &'static str, name: &'static str, kind: Kind) -> Key {
    Key { section, name, effect: Effect::AtStart, kind }
}

/// The rows, in the order of `fanfare.toml`.
#[rustfmt::skip]
pub(super) static KEYS: [Key; 51] = [
    at_start("server", "listen", Kind::Text {
        set: |d, text| address(text).map(|it| d.config.server.listen = it),
        get: |d| d.config.server.listen.to_string(),
    }),
    at_start("server", "shards", Kind::AutoOr {
        max: limits::SHARDS_MAX,
        set: |d, n| d.config.server.shards = n,
        get: |d| d.config.server.shards,
    }),
    at_start("server", "pin", Kind::Switch {
        set: |d, on| d.config.server.pin = on,
        get: |d| d.config.server.pin,
    }),
    at_start("server", "spin_us", Kind::Whole {
        min: 0, max: 1_000,
        set: |d, n| d.config.server.spin = Duration::from_micros(n),
        get: |d| d.config.server.spin.as_micros() as u64,
    }),
    at_once("server", "drain_s", Kind::Whole {
        min: 0, max: 3_600,
        set: |d, n| d.config.server.drain = Duration::from_secs(n),
        get: |d| d.config.server.drain.as_secs(),
    }),
    at_start("api", "listen", Kind::Text {
        set: |d, text| address(text).map(|it| d.config.api.listen = it),
        get: |d| d.config.api.listen.to_string(),
    }),
    at_once("api", "hosts", Kind::List {
        set: |d, texts| api::hosts(texts).map(|it| d.config.api.hosts = it),
        get: |d| d.config.api.hosts.clone(),
    }),
    at_once("api", "origins", Kind::List {
        set: |d, texts| api::origins(texts).map(|it| d.config.api.origins = it),
        get: |d| d.config.api.origins.clone(),
    }),
    at_once("api", "body_bytes_max", Kind::Whole {
        min: 1_024, max: 64 * 1024 * 1024,
        set: |d, n| d.config.api.body_bytes_max = n as usize,
        get: |d| d.config.api.body_bytes_max as u64,
    }),
    at_start("redis", "url", Kind::Url {
        set: |d, text| redis(text).map(|it| d.config.redis = it),
        shown: |d| d.config.redis.as_ref().map_or_else(String::new, |redis| redis.url.to_string()),
        same: |a, b| a.redis_url() == b.redis_url(),
        copy: |from, to| from.config.redis.clone_into(&mut to.config.redis),
    }),
    at_start("redis", "prefix", Kind::Text {
        set: |d, text| prefix(text).map(|it| d.redis_prefix = it),
        get: |d| d.redis_prefix.clone(),
    }),
    at_once("merge", "messages_max", Kind::Whole {
        min: 1, max: 10_000,
        set: |d, n| d.config.merge.messages_max = n as usize,
        get: |d| d.config.merge.messages_max as u64,
    }),
    at_once("merge", "bytes_max", Kind::Whole {
        min: 1, max: limits::ROUND_BYTES_MAX as u64,
        set: |d, n| d.config.merge.bytes_max = n as usize,
        get: |d| d.config.merge.bytes_max as u64,
    }),
    at_once("merge", "delay_ms", Kind::Whole {
        min: 0, max: limits::MERGE_DELAY_MAX.as_millis() as u64,
        set: |d, n| d.config.merge.delay = Duration::from_millis(n),
        get: |d| d.config.merge.delay.as_millis() as u64,
    }),
    at_once("clients", "message_bytes_max", Kind::Whole {
        min: 125, max: limits::MESSAGE_BYTES_MAX as u64,
        set: |d, n| d.config.clients.message_bytes_max = n as usize,
        get: |d| d.config.clients.message_bytes_max as u64,
    }),
    at_once("clients", "message_deadline_s", Kind::Whole {
        min: 1, max: 3_600,
        set: |d, n| d.config.clients.message_deadline = Duration::from_secs(n),
        get: |d| d.config.clients.message_deadline.as_secs(),
    }),
    at_once("clients", "partial_bytes_max", Kind::Whole {
        min: 1024 * 1024, max: 1 << 40,
        set: |d, n| d.config.clients.partial_bytes_max = n as usize,
        get: |d| d.config.clients.partial_bytes_max as u64,
    }),
    at_once("clients", "upgrade_deadline_s", Kind::Whole {
        min: 1, max: 300,
        set: |d, n| d.config.clients.upgrade_deadline = Duration::from_secs(n),
        get: |d| d.config.clients.upgrade_deadline.as_secs(),
    }),
    at_once("clients", "handshakes_max", Kind::Whole {
        min: 1, max: 65_536,
        set: |d, n| d.config.clients.handshakes_max = n as usize,
        get: |d| d.config.clients.handshakes_max as u64,
    }),
    at_once("clients", "handshake_bytes_max", Kind::Whole {
        min: *limits::HANDSHAKE_BYTES.start() as u64, max: *limits::HANDSHAKE_BYTES.end() as u64,
        set: |d, n| d.config.clients.handshake_bytes_max = n as usize,
        get: |d| d.config.clients.handshake_bytes_max as u64,
    }),
    at_once("clients", "head_bytes_max", Kind::Whole {
        min: *limits::UPGRADE_HEAD_BYTES.start() as u64, max: *limits::UPGRADE_HEAD_BYTES.end() as u64,
        set: |d, n| d.config.clients.head_bytes_max = n as usize,
        get: |d| d.config.clients.head_bytes_max as u64,
    }),
    at_once("clients", "subprotocols", Kind::List {
        set: |d, texts| subprotocols(texts).map(|it| d.config.clients.subprotocols = it),
        get: |d| d.config.clients.subprotocols.clone(),
    }),
    at_once("clients", "subprotocol_unknown", Kind::Choice {
        words: &["first", "none", "refuse"],
        set: |d, n| d.config.clients.subprotocol_unknown = SUBPROTOCOL_UNKNOWN[n],
        get: |d| d.config.clients.subprotocol_unknown as usize,
    }),
    at_once("clients", "topics_max", Kind::Whole {
        min: 1, max: limits::TOPICS_PER_CONNECTION_MAX as u64,
        set: |d, n| d.config.clients.topics_max = n as usize,
        get: |d| d.config.clients.topics_max as u64,
    }),
    at_once("clients", "auto_join", Kind::List {
        set: |d, texts| templates(texts).map(|it| d.config.clients.auto_join = it),
        get: |d| d.config.clients.auto_join.iter().map(ToString::to_string).collect(),
    }),
    at_once("clients", "liveness_s", Kind::Whole {
        min: 2, max: 86_400,
        set: |d, n| d.config.clients.liveness = Duration::from_secs(n),
        get: |d| d.config.clients.liveness.as_secs(),
    }),
    at_once("clients", "liveness", Kind::Choice {
        words: &["any-frame", "ping-only"],
        set: |d, n| d.config.clients.liveness_counts = LIVENESS[n],
        get: |d| d.config.clients.liveness_counts as usize,
    }),
    at_once("clients", "server_ping", Kind::Switch {
        set: |d, on| d.config.clients.server_ping = on,
        get: |d| d.config.clients.server_ping,
    }),
    at_once("clients", "idle_after_s", Kind::Whole {
        min: 0, max: 604_800,
        set: |d, n| d.config.clients.idle_after = (n > 0).then(|| Duration::from_secs(n)),
        get: |d| d.config.clients.idle_after.map_or(0, |after| after.as_secs()),
    }),
    at_once("outbox", "bytes_max", Kind::Whole {
        min: limits::ROUND_BYTES_MAX as u64 + 1, max: 64 * 1024 * 1024,
        set: |d, n| d.config.outbox.bytes_max = n as usize,
        get: |d| d.config.outbox.bytes_max as u64,
    }),
    at_once("outbox", "total_bytes_max", Kind::Whole {
        min: 4 * 1024 * 1024, max: 1 << 40,
        set: |d, n| d.config.outbox.total_bytes_max = n as usize,
        get: |d| d.config.outbox.total_bytes_max as u64,
    }),
    at_once("outbox", "age_max_s", Kind::Whole {
        min: 1, max: 3_600,
        set: |d, n| d.config.outbox.age_max = Duration::from_secs(n),
        get: |d| d.config.outbox.age_max.as_secs(),
    }),
    at_once("outbox", "policy", Kind::Choice {
        words: &["close", "drop-oldest", "latest-only"],
        set: |d, n| d.config.outbox.policy = POLICIES[n],
        get: |d| d.config.outbox.policy as usize,
    }),
    at_start("events", "redis", Kind::Choice {
        words: &["off", "channel", "stream"],
        set: |d, n| d.config.events.redis = EVENTS_REDIS[n],
        get: |d| d.config.events.redis as usize,
    }),
    at_start("events", "name", Kind::Text {
        set: |d, text| events::name(text).map(|it| d.config.events.name = it),
        get: |d| d.config.events.name.clone(),
    }),
    at_start("events", "stream_length_max", Kind::Whole {
        min: 1, max: 100_000_000,
        set: |d, n| d.config.events.stream_length_max = n,
        get: |d| d.config.events.stream_length_max,
    }),
    at_start("events", "webhook", Kind::Url {
        set: |d, text| events::webhook(text).map(|it| d.config.events.webhook = it),
        shown: |d| d.config.events.webhook.as_ref().map_or_else(String::new, ToString::to_string),
        same: |a, b| a.config.events.webhook == b.config.events.webhook,
        copy: |from, to| from.config.events.webhook.clone_into(&mut to.config.events.webhook),
    }),
    at_start("events", "webhook_timeout_s", Kind::Whole {
        min: 1, max: 60,
        set: |d, n| d.config.events.webhook_timeout = Duration::from_secs(n),
        get: |d| d.config.events.webhook_timeout.as_secs(),
    }),
    at_once("events", "kinds", Kind::List {
        set: |d, texts| events::kinds(texts).map(|it| d.config.events.kinds = it),
        get: |d| events::words(d.config.events.kinds),
    }),
    at_start("events", "batch_events_max", Kind::Whole {
        min: 1, max: 10_000,
        set: |d, n| d.config.events.batch_events_max = n as usize,
        get: |d| d.config.events.batch_events_max as u64,
    }),
    at_start("events", "batch_bytes_max", Kind::Whole {
        min: 1_024, max: 16 * 1024 * 1024,
        set: |d, n| d.config.events.batch_bytes_max = n as usize,
        get: |d| d.config.events.batch_bytes_max as u64,
    }),
    at_start("events", "delay_ms", Kind::Whole {
        min: 0, max: 10_000,
        set: |d, n| d.config.events.delay = Duration::from_millis(n),
        get: |d| d.config.events.delay.as_millis() as u64,
    }),
    at_start("events", "queue_bytes_max", Kind::Whole {
        min: 65_536, max: 1024 * 1024 * 1024,
        set: |d, n| d.config.events.queue_bytes_max = n as usize,
        get: |d| d.config.events.queue_bytes_max as u64,
    }),
    at_once("pacing", "rate", Kind::Rate {
        set: |d, rate| d.config.pacing.rate = rate,
        get: |d| d.config.pacing.rate,
    }),
    at_once("pacing", "topic", Kind::Paces {
        set: |d, paces| d.config.pacing.topics = paces,
        get: |d| &d.config.pacing.topics,
    }),
    at_once("log", "level", Kind::Text {
        set: |d, text| log_filter(text).map(|it| d.config.log.level = it),
        get: |d| d.config.log.level.clone(),
    }),
    at_start("log", "format", Kind::Choice {
        words: &["text", "json"],
        set: |d, n| d.config.log.format = FORMATS[n],
        get: |d| d.config.log.format as usize,
    }),
    at_start("etcd", "endpoints", Kind::List {
        set: |d, texts| endpoints(texts).map(|it| d.config.etcd.endpoints = it),
        get: |d| d.config.etcd.endpoints.clone(),
    }),
    at_start("etcd", "prefix", Kind::Text {
        set: |d, text| etcd_prefix(text).map(|it| d.config.etcd.prefix = it),
        get: |d| d.config.etcd.prefix.clone(),
    }),
    at_start("etcd", "user", Kind::Text {
        set: |d, text| { text.clone_into(&mut d.config.etcd.user); Ok(()) },
        get: |d| d.config.etcd.user.clone(),
    }),
    at_start("etcd", "password", Kind::Secret {
        set: |d, text| d.config.etcd.password = text,
        get: |d| d.config.etcd.password.clone(),
    }),
];

/// The position of a key in [`KEYS`].
pub(super) fn position(section: &str, name: &str) -> Option<usize> {
    KEYS.iter().position(|key| key.section == section && key.name == name)
}

/// The sections, each once.
pub(super) fn sections() -> impl Iterator<Item = &'static str> {
    KEYS.chunk_by(|a, b| a.section == b.section).map(|keys| keys[0].section)
}

impl Key {
    /// `section.name`
    pub(super) fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// `FANFARE_SECTION_NAME`
    pub(super) fn variable(&self) -> String {
        format!("FANFARE_{}_{}", self.section, self.name).to_ascii_uppercase()
    }

    /// Checks a value and puts it into the draft, or leaves the draft as it is.
    pub(super) fn set(&self, given: &Given, draft: &mut Draft) -> Result<(), Wrong> {
        let wrong =
            || Wrong { what: format!("{given} is not {}", self.kind.noun()), remedy: self.kind.remedy() };
        match &self.kind {
            Kind::Whole { min, max, set, .. } => {
                let number = given.whole().ok_or_else(wrong)?;
                let number = in_range(number, *min, *max).map_err(|what| Wrong { what, ..wrong() })?;
                set(draft, number);
            }
            Kind::AutoOr { set, .. } if given.text() == Some("auto") => set(draft, None),
            Kind::AutoOr { max, set, .. } => {
                let number = given.whole().ok_or_else(wrong)?;
                let number = in_range(number, 1, *max as u64).map_err(|what| Wrong { what, ..wrong() })?;
                set(draft, NonZeroUsize::new(number as usize));
            }
            Kind::Switch { set, .. } => set(draft, given.switch().ok_or_else(wrong)?),
            Kind::Choice { words, set, .. } => {
                let word = given.text().ok_or_else(wrong)?;
                set(draft, words.iter().position(|known| *known == word).ok_or_else(wrong)?);
            }
            Kind::Text { set, .. } => set(draft, given.text().ok_or_else(wrong)?)?,
            Kind::List { set, .. } => set(draft, &given.list().ok_or_else(wrong)?)?,
            Kind::Secret { set, .. } => set(draft, self.secret(given)?),
            Kind::Url { set, .. } => set(draft, given.text().ok_or_else(|| self.not_text())?)?,
            Kind::Rate { set, .. } => match given.number().ok_or_else(wrong)? {
                0.0 => set(draft, None),
                devices => set(draft, Some(Rate::per_second(devices).map_err(|_| wrong())?)),
            },
            Kind::Paces { set, .. } => set(draft, pace::read(given)?),
        }
        Ok(())
    }

    /// A password. No sentence quotes what was given.
    fn secret(&self, given: &Given) -> Result<Option<Secret>, Wrong> {
        match given.text() {
            None => Err(self.not_text()),
            Some(HIDDEN) => {
                let remedy = format!("put the real one there, or give it in {}", self.variable());
                Err(Wrong { what: "the value is the *** of a printed configuration".into(), remedy })
            }
            Some(text) => Ok((!text.is_empty()).then(|| text.into())),
        }
    }

    /// What is said of a secret of another type: a number may be the password.
    fn not_text(&self) -> Wrong {
        Wrong { what: "the value is not text".into(), remedy: self.kind.remedy() }
    }

    /// Whether both drafts have the same value.
    pub(super) fn is_same(&self, a: &Draft, b: &Draft) -> bool {
        match &self.kind {
            Kind::Secret { get, .. } => get(a) == get(b),
            Kind::Url { same, .. } => same(a, b),
            _ => self.show(a) == self.show(b),
        }
    }

    /// Takes the value over from another draft, where it was checked.
    pub(super) fn copy(&self, from: &Draft, to: &mut Draft) {
        let known = "the value of a draft was checked when it was set";
        match &self.kind {
            Kind::Whole { set, get, .. } => set(to, get(from)),
            Kind::AutoOr { set, get, .. } => set(to, get(from)),
            Kind::Switch { set, get } => set(to, get(from)),
            Kind::Choice { set, get, .. } => set(to, get(from)),
            Kind::Text { set, get } => set(to, &get(from)).expect(known),
            Kind::Secret { set, get } => set(to, get(from)),
            Kind::Url { copy, .. } => copy(from, to),
            Kind::Rate { set, get } => set(to, get(from)),
            Kind::Paces { set, get } => set(to, get(from).to_vec()),
            Kind::List { set, get } => {
                let texts = get(from);
                set(to, &texts.iter().map(String::as_str).collect::<Vec<_>>()).expect(known);
            }
        }
    }

    /// The draft's value as TOML. A password in it is hidden.
    pub(super) fn show(&self, draft: &Draft) -> String {
        let quoted = |text: String| toml::Value::String(text).to_string();
        match &self.kind {
            Kind::Whole { get, .. } => get(draft).to_string(),
            Kind::AutoOr { get, .. } => get(draft).map_or_else(|| quoted("auto".into()), |n| n.to_string()),
            Kind::Switch { get, .. } => get(draft).to_string(),
            Kind::Choice { words, get, .. } => quoted(words[get(draft)].into()),
            Kind::Text { get, .. } | Kind::Url { shown: get, .. } => quoted(get(draft)),
            Kind::List { get, .. } => {
                format!("[{}]", get(draft).into_iter().map(quoted).collect::<Vec<_>>().join(", "))
            }
            Kind::Secret { get, .. } => quoted(get(draft).map_or("", |_| HIDDEN).into()),
            Kind::Rate { get, .. } => get(draft).map_or_else(|| "0".into(), |rate| rate.to_string()),
            Kind::Paces { get, .. } => pace::to_toml(get(draft)),
        }
    }

    /// The draft's value as JSON. A password in it is hidden.
    pub(super) fn json(&self, draft: &Draft) -> serde_json::Value {
        match &self.kind {
            Kind::Whole { get, .. } => get(draft).into(),
            Kind::AutoOr { get, .. } => get(draft).map_or_else(|| "auto".into(), |n| n.get().into()),
            Kind::Switch { get, .. } => get(draft).into(),
            Kind::Choice { words, get, .. } => words[get(draft)].into(),
            Kind::Text { get, .. } | Kind::Url { shown: get, .. } => get(draft).into(),
            Kind::List { get, .. } => get(draft).into(),
            Kind::Secret { get, .. } => get(draft).map_or("", |_| HIDDEN).into(),
            Kind::Rate { get, .. } => get(draft).map_or_else(|| 0.into(), pace::json_of_rate),
            Kind::Paces { get, .. } => get(draft).iter().map(pace::to_json).collect(),
        }
    }
}

impl Kind {
    /// What a value of the wrong type is not.
    fn noun(&self) -> &'static str {
        match self {
            Self::Whole { .. } => "a whole number",
            Self::AutoOr { .. } => "\"auto\" or a whole number",
            Self::Switch { .. } => "true or false",
            Self::Choice { .. } => "a word that is known here",
            Self::Text { .. } | Self::Secret { .. } | Self::Url { .. } => "text",
            Self::List { .. } => "a list of texts",
            Self::Rate { .. } => "a rate",
            Self::Paces { .. } => "a list of rules",
        }
    }

    /// What to give instead; for numbers and words, the range as `fanfare.toml` states it.
    pub(super) fn remedy(&self) -> String {
        match self {
            Self::Whole { min, max, .. } => format!("give a whole number from {min} to {max}"),
            Self::AutoOr { max, .. } => format!("give \"auto\" or a whole number from 1 to {max}"),
            Self::Switch { .. } => "give true or false".into(),
            Self::Choice { words, .. } => format!("give \"{}\"", words.join("\" or \"")),
            Self::Text { .. } | Self::Secret { .. } | Self::Url { .. } => "put it in quotes".into(),
            Self::Rate { .. } => {
                format!("give 0 for no cap, or devices per second from {} to {}", Rate::MIN, Rate::MAX)
            }
            Self::Paces { .. } => pace::REMEDY.into(),
            Self::List { .. } => "give texts in quotes, such as [\"a\", \"b\"]".into(),
        }
    }
}

fn in_range(number: i128, min: u64, max: u64) -> Result<u64, String> {
    match u64::try_from(number) {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ if number < i128::from(min) => Err(format!("{number} is less than {min}")),
        _ => Err(format!("{number} is more than {max}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(path: (&str, &str), given: &Given) -> Result<Config, Wrong> {
        let mut draft = Draft::from(Config::default());
        KEYS[position(path.0, path.1).expect("a key")].set(given, &mut draft)?;
        Ok(draft.finish())
    }

    #[test]
    fn no_two_keys_share_a_path_or_a_variable() {
        for (n, key) in KEYS.iter().enumerate() {
            assert_eq!(position(key.section, key.name), Some(n));
            assert!(KEYS[..n].iter().all(|other| other.variable() != key.variable()));
        }
        assert_eq!(
            sections().collect::<Vec<_>>(),
            ["server", "api", "redis", "merge", "clients", "outbox", "events", "pacing", "log", "etcd"]
        );
    }

    #[test]
    fn a_number_at_either_end_of_its_range_is_taken_and_one_beyond_is_not() {
        for key in &KEYS {
            let Kind::Whole { min, max, get, .. } = key.kind else { continue };
            for (number, taken) in [(min, true), (max, true), (max + 1, false)] {
                let mut draft = Draft::from(Config::default());
                let outcome = key.set(&Given::Whole(number.into()), &mut draft);
                assert_eq!(outcome.is_ok(), taken, "{} = {number}", key.path());
                assert!(!taken || get(&draft) == number, "{} reads back", key.path());
            }
            assert!(
                key.set(&Given::Whole(i128::from(min) - 1), &mut Draft::from(Config::default())).is_err()
            );
        }
    }

    #[test]
    fn every_word_and_switch_reads_back_as_it_was_set() {
        for key in &KEYS {
            let mut draft = Draft::from(Config::default());
            match key.kind {
                Kind::Choice { words, get, .. } => {
                    for (n, word) in words.iter().enumerate() {
                        key.set(&Given::Text((*word).into()), &mut draft).expect("a known word");
                        assert_eq!(get(&draft), n, "{} = {word}", key.path());
                    }
                }
                Kind::Switch { get, .. } => {
                    for on in [true, false] {
                        key.set(&Given::Switch(on), &mut draft).expect("a switch");
                        assert_eq!(get(&draft), on, "{}", key.path());
                    }
                }
                _ => {}
            }
        }
    }

    #[test]
    fn shards_are_auto_or_a_number() {
        let shards = |given| set(("server", "shards"), &given).map(|config| config.server.shards);
        assert_eq!(shards(Given::Text("auto".into())).expect("auto"), None);
        assert_eq!(shards(Given::Plain("3".into())).expect("a number"), NonZeroUsize::new(3));
        assert!(shards(Given::Whole(0)).is_err());
        assert!(shards(Given::Whole(limits::SHARDS_MAX as i128 + 1)).is_err());
        assert!(shards(Given::Plain("many".into())).is_err());
    }

    #[test]
    fn a_bad_redis_url_does_not_appear_in_its_message() {
        let wrong =
            set(("redis", "url"), &Given::Plain("redis://:hunter2@host:port".into())).expect_err("no port");
        assert!(!format!("{wrong:?}").contains("hunter2"));
    }
}
