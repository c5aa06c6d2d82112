//! Pushes: publish requests that are jobs of their own, with a pace and a ledger.
//!
//! ```text
//!  request ─► Push ─┬─ orders: how fast, whether to go on ──► each shard's share ─► bucket ─► rounds
//!  (terms)          └─ accounts: targeted, sent, failed ◄──── each shard's share
//!                           │
//!  registry ◄───────────────┘   what the control thread knows of all of them; `pacing` makes its orders
//! ```
//! A [`Push`] is shared by reference count and has no lock: every value in it has one writer, the control thread or one
//! shard. *Not here*: the walk over the members (`shard::fanout`), HTTP (`api`).

pub mod bucket;
pub mod header;
pub mod holds;
pub mod id;
pub mod latency;
pub mod pace;
pub mod pacing;
pub mod pattern;
pub mod rate;
pub mod registry;
pub mod request;
pub mod seen;
pub mod share;
pub mod terms;

use std::sync::Arc;

use crate::batch::Address;
use crate::batch::charge::Hold;
use id::PushId;
use share::Share;
use terms::Terms;

/// A push's number on one shard, as long as that shard has something of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PushSlot(pub u32);

/// Where a push came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The HTTP API of this gateway.
    Http,
    /// Redis: another gateway's API, or a publisher that wrote the options itself.
    Redis,
    /// Messages without options of their own, to a topic that a rule paces.
    Rule,
}

impl Source {
    /// How it is written.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Redis => "redis",
            Self::Rule => "rule",
        }
    }
}

/// A time, by two clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Microseconds of the process's clock.
    pub us: u64,
    /// Milliseconds since 1970.
    pub unix_ms: u64,
}

/// A publish that is a job of its own.
#[derive(Debug)]
pub struct Push {
    /// Its name.
    pub id: PushId,
    /// What its sender asked for.
    pub terms: Terms,
    /// Where it came from.
    pub source: Source,
    /// To whom; never empty.
    pub to: Box<[Address]>,
    /// What waits for each of those, this push included.
    pub holds: Box<[Arc<Hold>]>,
    /// Messages for each address.
    pub messages: u32,
    /// Their payloads, bytes.
    pub bytes: u64,
    /// When it entered.
    pub accepted: Moment,
    /// One per shard.
    pub shares: Box<[Share]>,
}

impl Push {
    /// When whoever was not served never is, microseconds of the process's clock.
    pub fn expires_us(&self) -> Option<u64> {
        self.terms.expires_in.map(|after| self.accepted.us.saturating_add(after.as_micros() as u64))
    }
}
