//! Why messages and publishes are refused, and for whom publishes are: the labels of their counters.
//!
//! *Not here*: the counters (`super`), what a publisher is told (`api::refusal`).

/// Why a message did not enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Refused {
    /// A Redis channel with a suffix that is no address.
    UnknownChannel,
    /// A topic's name that is not one.
    BadTopic,
    /// Above [`fanfare_core::limits::MESSAGE_BYTES_MAX`].
    TooBig,
    /// A uid, which this version does not deliver to.
    Uid,
    /// Options of a push that are not right.
    BadPush,
    /// A push under the id of another.
    IdConflict,
    /// A push holds its topic up, and enough waits already.
    Held,
    /// As many pushes run as may, or for its topic.
    TooManyPushes,
}

impl Refused {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 8] = [
        Self::UnknownChannel,
        Self::BadTopic,
        Self::TooBig,
        Self::Uid,
        Self::BadPush,
        Self::IdConflict,
        Self::Held,
        Self::TooManyPushes,
    ];

    /// Label in `messages_refused_total{reason}`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::UnknownChannel => "unknown_channel",
            Self::BadTopic => "bad_topic",
            Self::TooBig => "too_big",
            Self::Uid => "uid",
            Self::BadPush => "bad_push",
            Self::IdConflict => "id_conflict",
            Self::Held => "held",
            Self::TooManyPushes => "too_many_pushes",
        }
    }
}

/// Why a publish by HTTP was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PublishRefused {
    /// Not the shape that the route asks for (400).
    Bad,
    /// A message or the body above its bound (413).
    TooLarge,
    /// The queue to the ingest core is full (429).
    QueueFull,
    /// A push holds the topic up, and enough waits already (429).
    Held,
    /// Redis is configured and does not take publishes now (503).
    RedisUnavailable,
    /// Redis said no (502).
    RedisRefused,
    /// It was handed to Redis and is not known to have come back (503).
    OutcomeUnknown,
    /// The process is stopping (503).
    ShuttingDown,
}

impl PublishRefused {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 8] = [
        Self::Bad,
        Self::TooLarge,
        Self::QueueFull,
        Self::Held,
        Self::RedisUnavailable,
        Self::RedisRefused,
        Self::OutcomeUnknown,
        Self::ShuttingDown,
    ];

    /// Label in `publish_refused_total{reason}`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::TooLarge => "too_large",
            Self::QueueFull => "queue_full",
            Self::Held => "held",
            Self::RedisUnavailable => "redis_unavailable",
            Self::RedisRefused => "redis_refused",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::ShuttingDown => "shutting_down",
        }
    }
}

/// The two kinds of address that a publish by HTTP can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Audience {
    /// Every connection.
    All,
    /// The members of a topic.
    Topic,
}

impl Audience {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 2] = [Self::All, Self::Topic];

    /// Label in `api_messages_total{audience}`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Topic => "topic",
        }
    }
}
