//! Why a request was refused: one closed table from code to status, and what its sender is told.
//!
//! *Not here*: which check refuses what.

use std::borrow::Cow;

use crate::metrics::PublishRefused;

/// What a refused request gets: a status and `{"error":{"code","message"}}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For programs.
    pub code: Code,
    /// For people: one sentence, what is wrong and what would be right.
    pub message: Cow<'static, str>,
}

impl Refusal {
    /// A refusal with a sentence.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Every code that an error can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The request is no HTTP/1.1, or its framing is ambiguous.
    BadRequest,
    /// The body of `/v1/push` is not the object that it must be.
    BadBody,
    /// `items` is missing or no JSON array.
    BadItems,
    /// A message is nested too deep, or has a number that is too large.
    UnreadableMessage,
    /// A topic or room is missing or no topic's name.
    BadTopic,
    /// Host is a name that `api.hosts` does not have.
    ForeignHost,
    /// A web page of another site sent it.
    ForeignOrigin,
    /// No such path.
    NotFound,
    /// The path has other methods.
    MethodNotAllowed,
    /// The request did not arrive whole in time.
    RequestTimeout,
    /// The body is above its bound.
    BodyTooLarge,
    /// A message is above its bound, or there are too many in one request.
    MessageTooLarge,
    /// An `Expect` other than `100-continue`.
    ExpectationFailed,
    /// A change of the configuration that cannot be made.
    BadConfig,
    /// The id of a push that asked for something else.
    IdConflict,
    /// The push is over.
    Finished,
    /// As many pushes as may run.
    TooManyPushes,
    /// A push holds the topic up, and enough waits behind it already.
    TopicHeld,
    /// The queue to the ingest core, or to the main thread, is full.
    QueueFull,
    /// The request's head is above its bound.
    HeadTooLarge,
    /// A transfer coding other than `chunked`.
    NotImplemented,
    /// Redis is configured and does not take publishes now.
    RedisUnavailable,
    /// Redis refuses the publish.
    RedisRefused,
    /// The publish was handed to Redis and is not known to have come back.
    OutcomeUnknown,
    /// The process is stopping.
    ShuttingDown,
    /// The ingest core or a shard did not answer in time.
    NoAnswer,
    /// The process is not ready for traffic.
    NotReady,
    /// As many API connections as there may be.
    TooManyConnections,
    /// As many streams of events as there may be.
    TooManyStreams,
    /// As many bytes of requests as there may be.
    TooBusy,
    /// A version of HTTP other than 1.0 and 1.1.
    HttpVersion,
}

impl Code {
    /// All of them.
    pub const ALL: [Self; 31] = [
        Self::BadRequest,
        Self::BadBody,
        Self::BadItems,
        Self::UnreadableMessage,
        Self::BadTopic,
        Self::ForeignHost,
        Self::ForeignOrigin,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::BodyTooLarge,
        Self::MessageTooLarge,
        Self::ExpectationFailed,
        Self::IdConflict,
        Self::Finished,
        Self::TooManyPushes,
        Self::BadConfig,
        Self::TopicHeld,
        Self::QueueFull,
        Self::HeadTooLarge,
        Self::NotImplemented,
        Self::RedisUnavailable,
        Self::RedisRefused,
        Self::OutcomeUnknown,
        Self::ShuttingDown,
        Self::NoAnswer,
        Self::NotReady,
        Self::TooManyConnections,
        Self::TooManyStreams,
        Self::TooBusy,
        Self::HttpVersion,
    ];

    /// The status and the code's name in the error's body.
    const fn row(self) -> (u16, &'static str) {
        match self {
            Self::BadRequest => (400, "bad_request"),
            Self::BadBody => (400, "bad_body"),
            Self::BadItems => (400, "bad_items"),
            Self::UnreadableMessage => (400, "unreadable_message"),
            Self::BadTopic => (400, "bad_topic"),
            Self::ForeignHost => (403, "host_not_allowed"),
            Self::ForeignOrigin => (403, "origin_not_allowed"),
            Self::NotFound => (404, "not_found"),
            Self::MethodNotAllowed => (405, "method_not_allowed"),
            Self::RequestTimeout => (408, "request_timeout"),
            Self::BodyTooLarge => (413, "body_too_large"),
            Self::MessageTooLarge => (413, "message_too_large"),
            Self::ExpectationFailed => (417, "expectation_failed"),
            Self::IdConflict => (409, "id_conflict"),
            Self::Finished => (409, "finished"),
            Self::BadConfig => (422, "bad_config"),
            Self::TooManyPushes => (429, "too_many_pushes"),
            Self::TopicHeld => (429, "topic_held"),
            Self::QueueFull => (429, "queue_full"),
            Self::HeadTooLarge => (431, "head_too_large"),
            Self::NotImplemented => (501, "not_implemented"),
            Self::RedisUnavailable => (503, "redis_unavailable"),
            Self::RedisRefused => (502, "redis_refused"),
            Self::OutcomeUnknown => (503, "outcome_unknown"),
            Self::ShuttingDown => (503, "shutting_down"),
            Self::NoAnswer => (503, "no_answer"),
            Self::NotReady => (503, "not_ready"),
            Self::TooManyConnections => (503, "too_many_connections"),
            Self::TooManyStreams => (503, "too_many_streams"),
            Self::TooBusy => (503, "too_busy"),
            Self::HttpVersion => (505, "http_version_not_supported"),
        }
    }

    /// The HTTP status.
    pub const fn status(self) -> u16 {
        self.row().0
    }

    /// The code in the error's body.
    pub const fn label(self) -> &'static str {
        self.row().1
    }

    /// Whether the same request may succeed a moment later: such an answer carries `Retry-After`.
    pub const fn passes(self) -> bool {
        matches!(
            self,
            Self::QueueFull
                | Self::TopicHeld
                | Self::TooManyPushes
                | Self::RedisUnavailable
                | Self::OutcomeUnknown
                | Self::NoAnswer
                | Self::NotReady
                | Self::TooManyConnections
                | Self::TooManyStreams
                | Self::TooBusy
        )
    }

    /// The counter of a publish that was refused with this code.
    pub const fn counter(self) -> PublishRefused {
        match self {
            Self::BodyTooLarge | Self::MessageTooLarge => PublishRefused::TooLarge,
            Self::QueueFull | Self::TooManyPushes | Self::TooManyConnections | Self::TooBusy => {
                PublishRefused::QueueFull
            }
            Self::TopicHeld => PublishRefused::Held,
            Self::RedisUnavailable => PublishRefused::RedisUnavailable,
            Self::RedisRefused => PublishRefused::RedisRefused,
            Self::OutcomeUnknown | Self::NoAnswer => PublishRefused::OutcomeUnknown,
            Self::ShuttingDown => PublishRefused::ShuttingDown,
            _ => PublishRefused::Bad,
        }
    }
}
