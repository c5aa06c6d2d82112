//! Why a handshake failed: one closed table from failure to what the metrics count.

/// Why a handshake did not become a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum HandshakeFailure {
    /// Not an upgrade to WebSocket, or a head that is no HTTP (400).
    BadRequest,
    /// `Sec-WebSocket-Version` other than 13 (426).
    BadVersion,
    /// No such path (404).
    NotFound,
    /// Head above its bound (431).
    HeadTooBig,
    /// The deadline passed (408).
    Timeout,
    /// Too many handshakes at once, too many bytes in them, or draining (503).
    Overload,
    /// No descriptor is free for one more connection (503).
    NoDescriptor,
    /// The client went away.
    Gone,
}

impl HandshakeFailure {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 8] = [
        Self::BadRequest,
        Self::BadVersion,
        Self::NotFound,
        Self::HeadTooBig,
        Self::Timeout,
        Self::Overload,
        Self::NoDescriptor,
        Self::Gone,
    ];

    /// Label in `handshakes_failed_total{reason}`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::BadVersion => "bad_version",
            Self::NotFound => "not_found",
            Self::HeadTooBig => "head_too_big",
            Self::Timeout => "timeout",
            Self::Overload => "overload",
            Self::NoDescriptor => "no_descriptor",
            Self::Gone => "gone",
        }
    }
}
