//! Every push that the gateway knows: those that run, and for a while those that are over.
//!
//! The control thread owns it. A push is noted when it is accepted, *adopted* when the ingest core has made a job of it,
//! and over when no shard has a device left. *Not here*: JSON (`api::pushes`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::id::PushId;
use super::latency::{self, Spread};
use super::pace::Pace;
use super::pacing::{self, Demand};
use super::rate::Rate;
use super::request::Request;
use super::share::{Failed, Standing, UNLIMITED};
use super::terms::Terms;
use super::{Moment, Push, Source};
use crate::batch::Address;
use crate::limits::{PUSH_RECENT_AGE, PUSHES_RECENT_MAX, PUSHES_RUNNING_MAX};

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

impl Facts {
    /// Whether both are the same request, as far as can be seen without its messages.
    fn asks_the_same(&self, other: &Self) -> bool {
        (&self.to, self.terms, self.messages, self.bytes)
            == (&other.to, other.terms, other.messages, other.bytes)
    }
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
    fingerprint: Option<u64>,
    push: Option<Arc<Push>>,
    pace: Pace,
    weight: u32,
    is_paused: bool,
    is_cancelled: bool,
    rate_now_milli: u64,
}

/// What a sender gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is noted; hand it on.
    New,
    /// The same was accepted before.
    Duplicate,
}

/// Why a push, or a change of one, is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// [`PUSHES_RUNNING_MAX`] run already.
    TooMany,
    /// A push of this name asked for something else.
    Conflict,
    /// There is none of this name.
    Unknown,
    /// It is over.
    Over,
}

/// What changes about a push; `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Change {
    /// Another rate (`Some(None)`: no bound), and the time to get there.
    pub rate: Option<(Option<Rate>, Duration)>,
    /// Another weight.
    pub weight: Option<u32>,
    /// To stand still, or to go on.
    pub is_paused: Option<bool>,
}

/// All of them.
#[derive(Debug)]
pub struct Registry {
    shards: usize,
    running: Vec<Running>,
    recent: VecDeque<(u64, Option<u64>, Snapshot)>,
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

    /// Notes a push before it is handed on.
    pub fn accept(&mut self, facts: Facts, request: &Request) -> Result<Admission, Refused> {
        let fingerprint = request.fingerprint();
        let running = self.running.iter().map(|push| (push.fingerprint, &push.facts));
        // One that was lost was sent to nobody: its sender may try again.
        let recent = self.recent.iter().filter(|(_, _, old)| old.state != State::Lost);
        let recent = recent.map(|(_, fingerprint, old)| (*fingerprint, &old.facts));
        match running.chain(recent).find(|(_, known)| known.id == facts.id) {
            Some((Some(known), _)) if known != fingerprint => return Err(Refused::Conflict),
            // It came another way, without its messages: what is known of it has to be the same.
            Some((None, known)) if !known.asks_the_same(&facts) => return Err(Refused::Conflict),
            Some(_) => return Ok(Admission::Duplicate),
            None => {}
        }
        if self.running.len() >= PUSHES_RUNNING_MAX {
            return Err(Refused::TooMany);
        }
        self.running.push(Running::new(facts, Some(fingerprint), None));
        Ok(Admission::New)
    }

    /// Forgets a push that could not be handed on.
    pub fn withdraw(&mut self, id: &str) {
        self.running.retain(|push| push.facts.id.as_str() != id || push.push.is_some());
    }

    /// The ingest core has made a job of a push.
    pub fn adopt(&mut self, push: Arc<Push>) {
        if let Some(running) = self.running.iter_mut().find(|running| running.facts.id == push.id) {
            if running.is_cancelled {
                push.shares.iter().for_each(|share| share.order_end(Failed::Cancelled));
            }
            running.push.get_or_insert(push);
            return;
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
        self.running.push(Running::new(facts, None, Some(push)));
    }

    /// Allots rates, and puts those that are over aside.
    pub fn tick(&mut self, cap: Option<Rate>, now_us: u64) {
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
        let mut at = 0;
        while at < self.running.len() {
            if let Some(state) = self.running[at].outcome(now_us) {
                let over = self.running.remove(at);
                self.put_aside(&over, state, now_us);
            } else {
                at += 1;
            }
        }
        let oldest = now_us.saturating_sub(PUSH_RECENT_AGE.as_micros() as u64);
        while self.recent.len() > PUSHES_RECENT_MAX
            || self.recent.back().is_some_and(|(at, _, _)| *at < oldest)
        {
            self.recent.pop_back();
        }
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
        self.recent.push_front((now_us, over.fingerprint, snapshot));
    }

    /// Changes a push that runs. In force with the next [`Registry::tick`].
    pub fn change(&mut self, id: &str, change: Change, now_us: u64) -> Result<(), Refused> {
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
    pub fn cancel(&mut self, id: &str) -> Result<(), Refused> {
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

    fn find(&mut self, id: &str) -> Result<&mut Running, Refused> {
        let is_over = self.recent.iter().any(|(_, _, old)| old.facts.id.as_str() == id);
        let running = self.running.iter_mut().find(|running| running.facts.id.as_str() == id);
        running.ok_or(if is_over { Refused::Over } else { Refused::Unknown })
    }

    /// A push as it is now.
    pub fn snapshot(&self, id: &str, now_us: u64) -> Option<Snapshot> {
        let running = self.running.iter().find(|running| running.facts.id.as_str() == id);
        running.map(|running| running.snapshot(now_us)).or_else(|| {
            let recent = self.recent.iter().find(|(_, _, old)| old.facts.id.as_str() == id);
            recent.map(|(_, _, snapshot)| snapshot.clone())
        })
    }

    /// Those that run, the newest first.
    pub fn all_running(&self, now_us: u64) -> Vec<Snapshot> {
        self.running.iter().rev().map(|running| running.snapshot(now_us)).collect()
    }

    /// Those that are over, the newest first.
    pub fn all_recent(&self) -> impl Iterator<Item = &Snapshot> {
        self.recent.iter().map(|(_, _, snapshot)| snapshot)
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
    fn new(facts: Facts, fingerprint: Option<u64>, push: Option<Arc<Push>>) -> Self {
        let terms = facts.terms;
        Self {
            pace: Pace::new(terms.rate, terms.ramp, facts.accepted.us),
            facts: Arc::new(facts),
            fingerprint,
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
mod tests {
    use super::*;
    use crate::push::request;
    use crate::push::share::Share;
    use bytes::Bytes;

    const MINUTE_US: u64 = 60_000_000;

    fn request(id: &str, message: u32) -> (Facts, Request) {
        let body = format!(r#"{{"to":{{"topic":"t"}},"messages":[{message}],"rate":100,"id":"{id}"}}"#);
        let request = request::parse(&Bytes::from(body)).expect("a request");
        let facts = Facts {
            id: request.id.clone().expect("it has one"),
            to: request.to.clone().into(),
            terms: request.terms,
            source: Source::Http,
            messages: 1,
            bytes: request.bytes(),
            accepted: Moment::default(),
        };
        (facts, request)
    }

    fn accept(registry: &mut Registry, id: &str, message: u32) -> Result<Admission, Refused> {
        let (facts, request) = request(id, message);
        registry.accept(facts, &request)
    }

    /// What the ingest core makes of it, for two shards.
    fn made(id: &str, accepted_us: u64) -> Arc<Push> {
        let (facts, _) = request(id, 1);
        let Facts { id, to, terms, source, messages, bytes, .. } = facts;
        let shares = [Share::new(0), Share::new(0)].into();
        let accepted = Moment { us: accepted_us, unix_ms: 0 };
        Arc::new(Push { id, terms, source, to, messages, bytes, accepted, shares })
    }

    /// One that every shard has, for so many devices each.
    fn running(registry: &mut Registry, id: &str, devices: u64) -> Arc<Push> {
        let push = made(id, 0);
        push.shares.iter().for_each(|share| share.take(devices));
        registry.adopt(Arc::clone(&push));
        push
    }

    fn state(registry: &Registry, id: &str) -> Option<State> {
        registry.snapshot(id, 0).map(|snapshot| snapshot.state)
    }

    #[test]
    fn the_same_request_again_is_one_push_and_another_of_its_name_is_refused() {
        let mut registry = Registry::new(2);
        assert_eq!(accept(&mut registry, "a", 1), Ok(Admission::New));
        for _ in 0..2 {
            assert_eq!(accept(&mut registry, "a", 1), Ok(Admission::Duplicate));
            assert_eq!(accept(&mut registry, "a", 2), Err(Refused::Conflict));
            running(&mut registry, "a", 0);
            registry.tick(None, 0);
            assert_eq!(registry.running(), 0, "the second time around it is over");
        }
    }

    #[test]
    fn a_name_that_came_by_redis_is_compared_as_far_as_it_is_known() {
        let mut registry = Registry::new(2);
        running(&mut registry, "a", 1);
        assert_eq!(accept(&mut registry, "a", 1), Ok(Admission::Duplicate));
        assert_eq!(accept(&mut registry, "a", 10), Err(Refused::Conflict), "it has more bytes");
    }

    #[test]
    fn a_push_that_never_comes_back_is_lost_and_may_be_asked_for_again() {
        let mut registry = Registry::new(2);
        assert_eq!(accept(&mut registry, "a", 1), Ok(Admission::New));
        registry.tick(None, MINUTE_US - 1);
        assert_eq!(state(&registry, "a"), Some(State::Queued));
        registry.tick(None, MINUTE_US);
        assert_eq!((state(&registry, "a"), registry.running()), (Some(State::Lost), 0));
        assert_eq!(accept(&mut registry, "a", 1), Ok(Admission::New));
        assert_eq!((state(&registry, "a"), registry.made_over()), (Some(State::Queued), 0));
    }

    #[test]
    fn a_push_for_nobody_is_over_at_once_and_one_that_a_shard_does_not_have_is_not() {
        let mut registry = Registry::new(2);
        running(&mut registry, "nobody", 0);
        let half = made("half", 0);
        half.shares[0].take(0);
        registry.adopt(half);
        registry.tick(None, 0);
        assert_eq!(state(&registry, "nobody"), Some(State::Done));
        assert_eq!(state(&registry, "half"), Some(State::Queued));
    }

    #[test]
    fn how_a_push_ended_is_what_its_devices_were_told() {
        for (why, ended) in [
            (Failed::Closed, State::Done),
            (Failed::Expired, State::Expired),
            (Failed::Cancelled, State::Cancelled),
        ] {
            let mut registry = Registry::new(2);
            let push = running(&mut registry, "a", 1);
            push.shares[0].sent(1, 10);
            registry.tick(None, 0);
            assert_eq!(state(&registry, "a"), Some(State::Running));
            push.shares[1].failed(why, 1);
            registry.tick(None, 0);
            assert_eq!(state(&registry, "a"), Some(ended));
            assert_eq!(registry.change("a", Change::default(), 0), Err(Refused::Over));
            assert_eq!(
                (registry.cancel("a"), registry.cancel("b")),
                (Err(Refused::Over), Err(Refused::Unknown))
            );
            let total = registry.total();
            assert_eq!((total.sent, total.failed[why as usize]), (1, 1));
        }
    }

    #[test]
    fn an_order_given_before_the_push_was_made_is_its_order() {
        let mut registry = Registry::new(2);
        for id in ["paused", "cancelled"] {
            assert_eq!(accept(&mut registry, id, 1), Ok(Admission::New));
        }
        let change = Change { is_paused: Some(true), ..Change::default() };
        assert_eq!((registry.change("paused", change, 0), registry.cancel("cancelled")), (Ok(()), Ok(())));
        let paused = running(&mut registry, "paused", 5);
        let cancelled = running(&mut registry, "cancelled", 5);
        registry.tick(None, 0);
        assert!(paused.shares.iter().all(|share| share.rate_milli() == 0));
        assert!(cancelled.shares.iter().all(|share| share.ordered_end() == Some(Failed::Cancelled)));
        assert_eq!((state(&registry, "paused"), registry.paused()), (Some(State::Paused), 1));
    }

    #[test]
    fn those_that_are_over_are_remembered_within_a_count_and_an_age() {
        let mut registry = Registry::new(2);
        for n in 0..PUSHES_RECENT_MAX + 5 {
            running(&mut registry, &format!("p{n}"), 0);
            registry.tick(None, n as u64);
        }
        assert_eq!(registry.all_recent().count(), PUSHES_RECENT_MAX);
        assert_eq!((state(&registry, "p4"), state(&registry, "p5")), (None, Some(State::Done)));
        assert_eq!(registry.over()[0], PUSHES_RECENT_MAX as u64 + 5, "counted all the same");
        registry.tick(None, PUSH_RECENT_AGE.as_micros() as u64 + 8);
        assert_eq!((state(&registry, "p7"), state(&registry, "p8")), (None, Some(State::Done)));
    }

    #[test]
    fn no_more_than_so_many_run_and_one_that_was_withdrawn_leaves_its_place() {
        let mut registry = Registry::new(2);
        for n in 0..PUSHES_RUNNING_MAX {
            assert_eq!(accept(&mut registry, &format!("p{n}"), 1), Ok(Admission::New));
        }
        assert_eq!(accept(&mut registry, "more", 1), Err(Refused::TooMany));
        registry.withdraw("p0");
        assert_eq!(accept(&mut registry, "more", 1), Ok(Admission::New));
    }
}
