//! A connection to Redis: what every session of the process shares, whoever holds it and whatever is said on it.
//!
//! ```text
//!        ┌──────────── pause (backoff) ◄────────────┐
//!        ▼                                          │ failure
//!  dial: resolve · connect · TLS · AUTH · greeting ─┴─► link: replies, commands, PING ──► lost
//! ```
//!
//! Pauses, deadlines and remedies are the same for all of them. A session is a task of its thread's monoio runtime and
//! owns what it uses; a failure is a value. *Not here*: the sessions (`ingest::redis`, `events::stream`), the
//! protocol's bytes (`resp`).

pub mod backoff;
mod dial;
mod failure;
mod link;
mod pulse;
mod report;
mod resolve;
pub mod resp;
mod role;
mod timing;
mod tls;

pub use dial::Dialer;
pub(crate) use dial::Greeting;
pub(crate) use failure::passes_by_itself;
pub use failure::{Failure, RefusalKind};
pub(crate) use link::Link;
pub(crate) use pulse::{Due, Pulse};
pub(crate) use report::Report;
pub use resolve::Lookup;
pub(crate) use role::Question;
pub use role::Role;
pub use timing::Timing;
