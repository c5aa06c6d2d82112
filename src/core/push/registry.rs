//! Every push that the gateway knows: those that run, and for a while those that are over.
//!
//! The control thread owns it. A push is noted when it is accepted, *adopted* when the ingest core has made a job of it,
//! and over when no shard has a device left. *Not here*: JSON (`api::pushes`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::id::PushId;
use super::job::{Push, Source};
use super::latency::{self, Spread};
use super::pace::Pace;
use super::pacing::{self, Demand};
use super::rate::Rate;
use super::share::{Failed, Standing, UNLIMITED};
use super::terms::Terms;
use crate::limits::{PUSH_RECENT_AGE, PUSHES_RECENT_MAX, PUSHES_RUNNING_MAX};
use crate::model::{Address, Moment};

/// Time after which a push that was given to Redis and did not come back is given up.
const LOST_AFTER: Duration = Duration::from_secs(60);

/// How far a push is.
///
/// ```text
///  Queued ─► Running ⇄ Paused ─► Done | Cancelled | Expired
///     └────► Lost
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Accepted; not every shard has it.
    Queued,
    /// Every shard has it.
    Running,
    /// It stands still until it is told to go on.
    Paused,
    /// Every device was served or is gone.
    Done,
    /// Ended by its sender; some devices were not served.
    Cancelled,
    /// Its time was over; some devices were not served.
    Expired,
    /// It was given to Redis and never came back.
    Lost,
}

impl State {
    /// Those of a push that is over, in the order of their counters.
    pub const OVER: [Self; 4] = [Self::Done, Self::Cancelled, Self::Expired, Self::Lost];

    /// How it is written.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Lost => "lost",
        }
    }
}

/// What does not change of a push.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Its name.
    pub id: PushId,
    /// To whom.
    pub to: Box<[Address]>,
    /// What its sender asked for.
    pub terms: Terms,
    /// Where it came from.
    pub source: Source,
    /// Messages for each address.
    pub messages: u32,
    /// Their payloads, bytes.
    pub bytes: u64,
    /// When it entered.
    pub accepted: Moment,
}

/// A push as it is at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// What does not change.
    pub facts: Arc<Facts>,
    /// How far it is.
    pub state: State,
    /// Its own pace; `None`: no bound.
    pub rate: Option<Rate>,
    /// What is in force of it, thousandths of a device per second, or [`UNLIMITED`].
    pub rate_now_milli: u64,
    /// Its share of a cap.
    pub weight: u32,
    /// Seconds until the last device is served; `None`: not known, because it stands still or waits for another.
    pub eta_s: Option<f64>,
    /// Seconds until it expires.
    pub expires_in_s: Option<f64>,
    /// Its ledger; `None` while not every shard has it.
    pub standing: Option<Standing>,
    /// How long devices waited.
    pub latency: Option<Spread>,
    /// When it was over, milliseconds after it entered.
    pub finished_after_ms: Option<u64>,
}

/// A push that is not over.
#[derive(Debug)]
struct Running {
    facts: Arc<Facts>,
    push: Option<Arc<Push>>,
    pace: Pace,
    weight: u32,
    is_paused: bool,
    is_cancelled: bool,
    rate_now_milli: u64,
}

/// Why a push, or a change of one, is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistryError {
    /// [`PUSHES_RUNNING_MAX`] run already.
    TooMany,
    /// There is none of this name.
    Unknown,
    /// It is over.
    Over,
}

/// What changes about a push; `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PushChange {
    /// Another rate (`Some(None)`: no bound), and the time to get there.
    pub rate: Option<(Option<Rate>, Duration)>,
    /// Another weight.
    pub weight: Option<u32>,
    /// To stand still, or to go on.
    pub is_paused: Option<bool>,
}

/// A push that is over.
#[derive(Debug)]
struct Recent {
    over_us: u64,
    snapshot: Snapshot,
    /// What is shown of it; it never changes.
    text: Option<Box<[u8]>>,
}

/// All of them.
#[derive(Debug)]
pub struct Registry {
    shards: usize,
    running: Vec<Running>,
    recent: VecDeque<Recent>,
    over: [u64; State::OVER.len()],
    /// Of pushes that are over: devices sent, and not, by [`Failed`].
    past: Standing,
}

impl Registry {
    /// Of a gateway with so many shards.
    pub fn new(shards: usize) -> Self {
        Self {
            shards,
            running: Vec::new(),
            recent: VecDeque::new(),
            over: [0; State::OVER.len()],
            past: Standing::default(),
        }
    }

    /// Pushes that are not over.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Pushes that are over since the start, by [`State::OVER`].
    pub fn over(&self) -> [u64; State::OVER.len()] {
        self.over
    }

    /// Pushes that the ingest core made and that are over: all but those that never came back.
    pub fn made_over(&self) -> u64 {
        self.over.iter().sum::<u64>() - self.over[3]
    }

    /// Pushes that run and stand still.
    pub fn paused(&self) -> usize {
        self.running.iter().filter(|push| push.is_paused).count()
    }

    /// Devices sent and failed by all pushes since the start.
    pub fn total(&self) -> Standing {
        let standings = self.running.iter().filter_map(|running| running.push.as_deref().map(known));
        standings.fold(self.past, Standing::and)
    }

    /// Notes a push before it is handed on; `false`: one of its name runs, and stays as it is.
    pub fn note(&mut self, facts: Facts) -> Result<bool, RegistryError> {
        if self.running.iter().any(|running| running.facts.id == facts.id) {
            return Ok(false);
        }
        if self.running.len() >= PUSHES_RUNNING_MAX {
            return Err(RegistryError::TooMany);
        }
        self.running.push(Running::new(facts, None));
        Ok(true)
    }

    /// Puts a push aside that was handed on and is not known to have come back, unless it has.
    pub fn lose(&mut self, id: &str, now_us: u64) {
        let is_it = |push: &Running| push.facts.id.as_str() == id && push.push.is_none();
        if let Some(at) = self.running.iter().position(is_it) {
            let lost = self.running.remove(at);
            self.put_aside(&lost, State::Lost, now_us);
        }
    }

    /// Forgets a push that could not be handed on.
    pub fn withdraw(&mut self, id: &str) {
        self.running.retain(|push| push.facts.id.as_str() != id || push.push.is_some());
    }

    /// The ingest core has made a job of a push; the facts, if it was not known.
    pub fn adopt(&mut self, push: Arc<Push>) -> Option<&Facts> {
        if let Some(running) = self.running.iter_mut().find(|running| running.facts.id == push.id) {
            if running.is_cancelled {
                push.shares.iter().for_each(|share| share.order_end(Failed::Cancelled));
            }
            running.push.get_or_insert(push);
            return None;
        }
        let facts = Facts {
            id: push.id.clone(),
            to: push.to.clone(),
            terms: push.terms,
            source: push.source,
            messages: push.messages,
            bytes: push.bytes,
            accepted: push.accepted,
        };
        self.running.push(Running::new(facts, Some(push)));
        self.running.last().map(|running| &*running.facts)
    }

    /// Allots rates, and puts those that are over aside; how many these are, the first of [`Registry::all_recent`].
    pub fn tick(&mut self, cap: Option<Rate>, now_us: u64) -> usize {
        let shards = self.shards;
        let demands: Vec<Demand> =
            self.running.iter().map(|running| running.demand(now_us, shards)).collect();
        let rates = pacing::rates(cap.map(Rate::milli), &demands);
        for ((running, demand), rate) in self.running.iter_mut().zip(&demands).zip(rates) {
            running.rate_now_milli = rate;
            let Some(push) = &running.push else { continue };
            let parts = if is_taken(push) {
                pacing::split(rate, &demand.servable)
            } else {
                pacing::even(rate, shards)
            };
            for (share, milli) in push.shares.iter().zip(parts) {
                share.order_rate(milli);
            }
        }
        let (mut at, mut ended) = (0, 0);
        while at < self.running.len() {
            if let Some(state) = self.running[at].outcome(now_us) {
                let over = self.running.remove(at);
                self.put_aside(&over, state, now_us);
                ended += 1;
            } else {
                at += 1;
            }
        }
        let oldest = now_us.saturating_sub(PUSH_RECENT_AGE.as_micros() as u64);
        while self.recent.len() > PUSHES_RECENT_MAX
            || self.recent.back().is_some_and(|push| push.over_us < oldest)
        {
            self.recent.pop_back();
        }
        ended
    }

    fn put_aside(&mut self, over: &Running, state: State, now_us: u64) {
        if let Some(index) = State::OVER.iter().position(|known| *known == state) {
            self.over[index] += 1;
        }
        if let Some(push) = &over.push {
            self.past = self.past.and(Standing { servable: 0, ..known(push) });
        }
        let mut snapshot = over.snapshot(now_us);
        snapshot.state = state;
        snapshot.finished_after_ms = Some(now_us.saturating_sub(over.facts.accepted.us) / 1000);
        snapshot.eta_s = None;
        snapshot.expires_in_s = None;
        snapshot.rate_now_milli = 0;
        self.recent.push_front(Recent { over_us: now_us, snapshot, text: None });
    }

    /// Changes a push that runs. In force with the next [`Registry::tick`].
    pub fn change(&mut self, id: &str, change: PushChange, now_us: u64) -> Result<(), RegistryError> {
        let running = self.find(id)?;
        if let Some((rate, ramp)) = change.rate {
            running.pace.change(rate, ramp, now_us);
        }
        if let Some(weight) = change.weight {
            running.weight = weight;
        }
        if let Some(is_paused) = change.is_paused {
            running.is_paused = is_paused;
        }
        Ok(())
    }

    /// Ends a push that runs: whoever was not served is not.
    pub fn cancel(&mut self, id: &str) -> Result<(), RegistryError> {
        let running = self.find(id)?;
        running.is_cancelled = true;
        if let Some(push) = &running.push {
            push.shares.iter().for_each(|share| share.order_end(Failed::Cancelled));
        }
        Ok(())
    }

    /// Ends every push that has a pace, or stands still: the gateway stops. What they hold up may be more than a shard
    /// takes, and its last downlink would never be taken.
    pub fn end_paced(&mut self) {
        for running in &self.running {
            let Some(push) = &running.push else { continue };
            if running.is_paused || running.rate_now_milli != UNLIMITED {
                push.shares.iter().for_each(|share| share.order_end(Failed::Shutdown));
            }
        }
    }

    fn find(&mut self, id: &str) -> Result<&mut Running, RegistryError> {
        let is_over = self.recent.iter().any(|old| old.snapshot.facts.id.as_str() == id);
        let running = self.running.iter_mut().find(|running| running.facts.id.as_str() == id);
        running.ok_or(if is_over { RegistryError::Over } else { RegistryError::Unknown })
    }

    /// A push as it is now.
    pub fn snapshot(&self, id: &str, now_us: u64) -> Option<Snapshot> {
        let running = self.running.iter().find(|running| running.facts.id.as_str() == id);
        running.map(|running| running.snapshot(now_us)).or_else(|| {
            let recent = self.recent.iter().find(|old| old.snapshot.facts.id.as_str() == id);
            recent.map(|recent| recent.snapshot.clone())
        })
    }

    /// Those that run, the newest first.
    pub fn all_running(&self, now_us: u64) -> Vec<Snapshot> {
        self.running.iter().rev().map(|running| running.snapshot(now_us)).collect()
    }

    /// Those that are over, the newest first.
    pub fn all_recent(&self) -> impl Iterator<Item = &Snapshot> {
        self.recent.iter().map(|recent| &recent.snapshot)
    }

    /// What is shown of them, the newest first. The text of each is made once.
    pub fn recent_texts(&mut self, make: impl Fn(&Snapshot) -> Box<[u8]>) -> impl Iterator<Item = &[u8]> {
        self.recent.iter_mut().map(move |recent| {
            let Recent { snapshot, text, .. } = recent;
            &**text.get_or_insert_with(|| make(snapshot))
        })
    }
}

/// Whether every shard has it.
fn is_taken(push: &Push) -> bool {
    push.shares.iter().all(|share| share.standing().is_some())
}

/// What is known of all shards together.
fn known(push: &Push) -> Standing {
    push.shares.iter().filter_map(super::share::Share::standing).fold(Standing::default(), Standing::and)
}

impl Running {
    fn new(facts: Facts, push: Option<Arc<Push>>) -> Self {
        let terms = facts.terms;
        Self {
            pace: Pace::new(terms.rate, terms.ramp, facts.accepted.us),
            facts: Arc::new(facts),
            push,
            weight: terms.weight,
            is_paused: false,
            is_cancelled: false,
            rate_now_milli: 0,
        }
    }

    fn demand(&self, now_us: u64, shards: usize) -> Demand {
        let servable = match &self.push {
            Some(push) => {
                push.shares.iter().map(|share| share.standing().map_or(0, |s| s.servable)).collect()
            }
            None => vec![0; shards],
        };
        let rate_milli = if self.is_paused { 0 } else { self.pace.at(now_us) };
        Demand { rate_milli, weight: self.weight, servable }
    }

    /// How it ended, if it is over.
    fn outcome(&self, now_us: u64) -> Option<State> {
        let Some(push) = &self.push else {
            let waited = now_us.saturating_sub(self.facts.accepted.us);
            return (waited >= LOST_AFTER.as_micros() as u64).then_some(State::Lost);
        };
        if !is_taken(push) {
            return None;
        }
        let standing = known(push);
        if standing.remaining() > 0 {
            return None;
        }
        Some(if standing.failed[Failed::Cancelled as usize] > 0 {
            State::Cancelled
        } else if standing.failed[Failed::Expired as usize] > 0 {
            State::Expired
        } else {
            State::Done
        })
    }

    fn snapshot(&self, now_us: u64) -> Snapshot {
        let taken = self.push.as_deref().filter(|push| is_taken(push));
        let standing = taken.map(known);
        let state = match (taken, self.is_paused) {
            (None, _) => State::Queued,
            (_, true) => State::Paused,
            _ => State::Running,
        };
        let expires_us =
            self.facts.terms.expires_in.map(|after| self.facts.accepted.us + after.as_micros() as u64);
        Snapshot {
            facts: Arc::clone(&self.facts),
            state,
            rate: self.pace.target(),
            rate_now_milli: self.rate_now_milli,
            weight: self.weight,
            eta_s: standing.and_then(|standing| self.eta_s(&standing, now_us)),
            expires_in_s: expires_us.map(|at| at.saturating_sub(now_us) as f64 / 1e6),
            standing,
            latency: self
                .push
                .as_deref()
                .and_then(|push| latency::spread(push.shares.iter().map(super::share::Share::latencies))),
            finished_after_ms: None,
        }
    }

    fn eta_s(&self, standing: &Standing, now_us: u64) -> Option<f64> {
        let remaining = standing.remaining();
        if self.is_paused || (standing.servable == 0 && remaining > 0) {
            return None;
        }
        match (self.rate_now_milli, self.pace.at(now_us)) {
            (UNLIMITED, _) => Some(0.0),
            // Without a pace of its own it has what the cap leaves it.
            (0, UNLIMITED) => None,
            (now, UNLIMITED) => Some(remaining as f64 * 1000.0 / now as f64),
            (now, own) if own > 0 => self.pace.eta_s(remaining, (now as f64 / own as f64).min(1.0), now_us),
            _ => self.pace.eta_s(remaining, 1.0, now_us),
        }
    }
}

#[cfg(test)]
mod tests;
