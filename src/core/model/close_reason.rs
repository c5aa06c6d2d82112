//! Why a connection ended: one closed table from reason to what the client is told and what the metrics count.

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CloseReason {
    /// The client sent Close; its code was echoed.
    ClientClose,
    /// The client's end of the TCP stream without a Close frame.
    ClientGone,
    /// The TCP connection was reset or failed.
    Reset,
    /// The client broke RFC 6455 (1002).
    ProtocolError,
    /// Text that is not UTF-8, or not what the format's grammar allows (1007).
    BadText,
    /// A request that the format's grammar allows and its rules do not (1008).
    BadRequest,
    /// A message above the bound (1009).
    TooBig,
    /// Nothing was heard for the liveness interval (1001).
    Silent,
    /// No business message for `clients.idle_after_s`, neither from the client nor to it (4009).
    Idle,
    /// The outbox reached its bound in bytes or age (4008).
    Slow,
    /// A message or a frame did not end within `clients.message_deadline_s` of its first byte (1008).
    Unfinished,
    /// Unfinished messages of all clients together reached their bound, and it had one of the largest (1013).
    PartialTotal,
    /// All outboxes together reached their bound, and its was one of the largest (4008).
    OutboxTotal,
    /// The gateway drains (1001).
    Shutdown,
    /// The client did not finish the closing handshake in time, and was reset.
    CloseTimeout,
}

impl CloseReason {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 15] = [
        Self::ClientClose,
        Self::ClientGone,
        Self::Reset,
        Self::ProtocolError,
        Self::BadText,
        Self::BadRequest,
        Self::TooBig,
        Self::Silent,
        Self::Idle,
        Self::Slow,
        Self::Unfinished,
        Self::PartialTotal,
        Self::OutboxTotal,
        Self::Shutdown,
        Self::CloseTimeout,
    ];

    /// The close code that the client is sent; `None` where it is past telling.
    pub const fn code(self) -> Option<u16> {
        match self {
            Self::ClientClose | Self::ClientGone | Self::Reset | Self::CloseTimeout => None,
            Self::ProtocolError => Some(1002),
            Self::BadText => Some(1007),
            Self::BadRequest | Self::Unfinished => Some(1008),
            Self::TooBig => Some(1009),
            Self::Silent | Self::Shutdown => Some(1001),
            Self::PartialTotal => Some(1013),
            Self::Slow | Self::OutboxTotal => Some(4008),
            Self::Idle => Some(4009),
        }
    }

    /// Whether nothing that the client sends from here on is looked at: no frame of it can be trusted, or waited for.
    pub const fn ends_input(self) -> bool {
        matches!(
            self,
            Self::ProtocolError | Self::BadText | Self::TooBig | Self::Unfinished | Self::PartialTotal
        )
    }

    /// Label in `closed_total{reason}` and in logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::ClientClose => "client_close",
            Self::ClientGone => "client_gone",
            Self::Reset => "reset",
            Self::ProtocolError => "protocol_error",
            Self::BadText => "bad_text",
            Self::BadRequest => "bad_request",
            Self::TooBig => "too_big",
            Self::Silent => "silent",
            Self::Idle => "idle",
            Self::Slow => "slow",
            Self::Unfinished => "unfinished",
            Self::PartialTotal => "partial_total",
            Self::OutboxTotal => "outbox_total",
            Self::Shutdown => "shutdown",
            Self::CloseTimeout => "close_timeout",
        }
    }
}
