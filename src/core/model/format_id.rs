//! Which client protocol a connection speaks, as a number.
//!
//! *Not here*: the protocols (`protocols`).

/// A client protocol: an index into the table of them and into per-format counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FormatId(u8);

impl FormatId {
    /// go-push, version 1: byte for byte what a go-push client knows.
    pub const GO_PUSH_V1: Self = Self(0);
    /// go-push, version 2: the client asked for more than version 1 says.
    pub const GO_PUSH_V2: Self = Self(1);
    /// Each message one frame, verbatim.
    pub const RAW: Self = Self(2);
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::GO_PUSH_V1, Self::GO_PUSH_V2, Self::RAW];
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Position in tables of all of them.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}
