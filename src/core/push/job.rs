//! A push as everybody shares it: what it is, and a share of it for each shard.

use std::sync::Arc;

use super::id::PushId;
use super::share::Share;
use super::terms::Terms;
use crate::model::charge::Hold;
use crate::model::{Address, Moment};

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
