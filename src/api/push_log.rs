//! What the log tells of pushes: begun, steered, ended, refused, and by whom.
//!
//! Each is a line at info while there are few. Where publishers make a push of each message, the lines are some of many, and
//! each says how many it stands for; the ledger of each push is in `GET /v1/pushes/{id}`. *Not here*: the pushes
//! (`push::registry`).

use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use crate::log::throttle::Throttle;
use fanfare_core::push::Source;
use fanfare_core::push::id::PushId;
use fanfare_core::push::rate::Rate;
use fanfare_core::push::registry::{Facts, PushChange, Snapshot};

/// Lines of one kind in ten seconds.
const LINES: u32 = 50;

/// Who wants something of a push.
#[derive(Clone, Copy, Debug)]
pub enum By {
    /// A request to the API, from this address.
    Api(Option<SocketAddr>),
    /// A message of Redis that asked for it.
    Redis,
    /// A rule of the configuration for its topic.
    Rule,
}

impl From<Source> for By {
    fn from(source: Source) -> Self {
        match source {
            Source::Http => Self::Api(None),
            Source::Redis => Self::Redis,
            Source::Rule => Self::Rule,
        }
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Api(Some(peer)) => write!(f, "the API from {peer}"),
            Self::Api(None) => f.write_str("the API"),
            Self::Redis => f.write_str("Redis"),
            Self::Rule => f.write_str("a rule in pacing.topic"),
        }
    }
}

/// What a push is, as far as its first line tells.
#[derive(Clone, Debug)]
pub struct Begun {
    id: PushId,
    messages: u32,
    bytes: u64,
    addresses: usize,
    rate: Option<Rate>,
}

impl From<&Facts> for Begun {
    fn from(facts: &Facts) -> Self {
        Self {
            id: facts.id.clone(),
            messages: facts.messages,
            bytes: facts.bytes,
            addresses: facts.to.len(),
            rate: facts.terms.rate,
        }
    }
}

/// The lines, each kind with a throttle of its own.
#[derive(Debug)]
pub struct PushLog {
    begun: Throttle,
    steered: Throttle,
    ended: Throttle,
    refused: Throttle,
}

impl Default for PushLog {
    fn default() -> Self {
        Self {
            begun: Throttle::letting(LINES),
            steered: Throttle::letting(LINES),
            ended: Throttle::letting(LINES),
            refused: Throttle::letting(LINES / 10),
        }
    }
}

impl PushLog {
    /// A push was accepted here, or was made of what came by Redis or fits a rule.
    pub fn begun(&mut self, push: &Begun, by: By) {
        if let Some(times) = self.begun.event(Instant::now()) {
            let Begun { id, messages, bytes, addresses, .. } = push;
            let rate = rate(push.rate);
            tracing::info!(times, %id, messages, bytes, addresses, "a push begins by {by}: {rate}");
        }
    }

    /// A push that runs was given another rate or weight, or was halted, or goes on.
    pub fn steered(&mut self, id: &str, change: &PushChange, by: By) {
        if let Some(times) = self.steered.event(Instant::now()) {
            let mut what = Vec::new();
            if let Some((new, ramp)) = change.rate {
                let over =
                    if ramp.is_zero() { String::new() } else { format!(" over {} s", ramp.as_secs_f64()) };
                what.push(rate(new) + &over);
            }
            what.extend(change.weight.map(|weight| format!("weight {weight}")));
            what.extend(
                change.is_paused.map(|is_paused| if is_paused { "paused" } else { "running" }.to_owned()),
            );
            tracing::info!(times, id, "a push is steered by {by}: {}", what.join(", "));
        }
    }

    /// A push was cancelled; its end follows.
    pub fn cancelled(&mut self, id: &str, by: By) {
        if let Some(times) = self.steered.event(Instant::now()) {
            tracing::info!(times, id, "a push is cancelled by {by}");
        }
    }

    /// A push is over.
    pub fn ended(&mut self, push: &Snapshot) {
        if let Some(times) = self.ended.event(Instant::now()) {
            let standing = push.standing.unwrap_or_default();
            let (id, state) = (&push.facts.id, push.state.label());
            let (targeted, sent) = (standing.targeted, standing.sent);
            let failed: u64 = standing.failed.iter().sum();
            let seconds = push.finished_after_ms.unwrap_or(0) as f64 / 1000.0;
            tracing::info!(times, %id, state, targeted, sent, failed, seconds, "a push has ended");
        }
    }

    /// A push was not accepted.
    pub fn refused(&mut self, why: &str, by: By) {
        if let Some(times) = self.refused.event(Instant::now()) {
            tracing::info!(times, "a push by {by} is refused: {why}");
        }
    }
}

/// A rate in words.
fn rate(rate: Option<Rate>) -> String {
    rate.map_or_else(|| "as fast as it goes".to_owned(), |rate| format!("{} devices a second", rate.as_f64()))
}
