//! How a turn ends, and what it lacks when that is a wait.
//!
//! *Not here*: the turn (`turn`), the wait (`super`).

use std::time::Duration;

/// How a turn ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// There is more that can be done at once.
    Again,
    /// Nothing can be done before this is there, or so much time is over.
    Wait(Lack, Duration),
    /// Every shard has its last command.
    Over,
}

/// What a turn lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Room in a shard's ring.
    Ring,
    /// The rest of what entered before the drain.
    Rest,
    /// An item: of Redis or of the API.
    Item,
}
