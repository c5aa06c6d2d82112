//! What can happen to a connection that receivers of events are told, and sets of that.

/// What can happen to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EventKind {
    /// The handshake is done.
    Open,
    /// It became a member of a topic, at its own wish or by what it connected with.
    Join,
    /// It left a topic and stays connected.
    Leave,
    /// It is nobody's member any more. Its socket may still say goodbye.
    Close,
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Open, Self::Join, Self::Leave, Self::Close];

    /// Its word in the configuration and in an event.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Join => "join",
            Self::Leave => "leave",
            Self::Close => "close",
        }
    }
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventKinds(u8);

impl EventKinds {
    /// Every kind.
    pub const ALL: Self = Self(0b1111);

    /// Whether a kind is in it.
    pub const fn has(self, kind: EventKind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }

    /// With a kind in it.
    #[must_use]
    pub const fn with(self, kind: EventKind) -> Self {
        Self(self.0 | 1 << kind as u8)
    }
}
