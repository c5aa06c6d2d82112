//! The ways in which a request is answered: with a whole response, or as it becomes known.
//!
//! *Not here*: what is answered (`routes`), who waits and writes (`connection`).

use super::outcome::Later;
use super::response::Response;

/// An answer that is there, or one that is told as it becomes known.
pub enum Answer {
    /// All of it.
    Whole(Response),
    /// The progress of the push of this id.
    Progress(String),
    /// That of a publish, once it is known what became of it.
    Later(Later),
}
