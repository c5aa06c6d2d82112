//! Pushes of a world: how they begin, are steered, and get their turns in virtual time.
//!
//! What the control thread does in `api` is done here with its own registry; what `ingest::pushes` does, with the
//! world's merger. *Not here*: what must come of it (`pushes`, `tempo`).

use std::sync::Arc;
use std::time::Duration;

use crate::ledger::{ALL, To};
use crate::pushes::Job;
use crate::tempo::{Asked, Tempo};
use crate::trail;
use crate::world::World;
use fanfare::downlink::Downlink;
use fanfare_core::ingest::seal;
use fanfare_core::model::charge::Charge;
use fanfare_core::model::{Batch, Epoch, Moment, Offset};
use fanfare_core::push::id::PushId;
use fanfare_core::push::pace::Pace;
use fanfare_core::push::rate::Rate;
use fanfare_core::push::registry::{PushChange, Registry};
use fanfare_core::push::share::Share;
use fanfare_core::push::terms::{Lane, Terms};
use fanfare_core::push::{Push, Source, pacing};

const TICK_EVERY_US: u64 = 20_000;

/// The control thread, as far as pushes go.
pub(crate) struct Control {
    registry: Registry,
    cap: Option<Rate>,
    next_tick: u64,
    /// What the ingest core has made and the registry has not seen.
    births: Vec<Arc<Push>>,
    asked: Vec<Asked>,
    /// Of all pushes together.
    sum: Tempo,
}

impl Control {
    pub(crate) fn new(shards: usize, cap: Option<u32>) -> Self {
        let cap = cap.map(|cap| Rate::per_second(cap.into()).expect("a rate"));
        let sum = Tempo::new(false);
        Self {
            registry: Registry::new(shards),
            cap,
            next_tick: 0,
            births: Vec::new(),
            asked: Vec::new(),
            sum,
        }
    }
}

impl World {
    /// Begins a push, as the ingest core does.
    pub(crate) fn begin_push(&mut self) {
        let topics = self.plan.topics;
        let mut to: Vec<To> = match self.rng.below(4) {
            0 => vec![ALL],
            1 => (0..self.rng.between(2, 3)).map(|_| self.rng.between(1, topics)).collect(),
            _ => vec![self.rng.between(1, topics)],
        };
        to.sort_unstable();
        to.dedup();
        let terms = self.terms();
        let count = self.rng.scale(1, 4);
        let bytes = self.rng.scale(1, self.plan.message_bytes_max);
        let number = self.book.jobs.len();
        let (mut batches, mut parts) = (Vec::new(), Vec::new());
        let addresses: Box<[_]> = to.iter().map(|&to| self.ledger.addresses[to].clone()).collect();
        let holds = self.holds.holds_for(&addresses, terms.lane);
        for (&to, hold) in to.iter().zip(&holds) {
            let log = if terms.lane == Lane::Urgent { self.ledger.urgent(to) } else { to };
            let first = self.ledger.published(log);
            let batch = self.push_batch(to, log, count, bytes);
            parts.push((log, first, first + count as u64));
            batches.push(seal::seal_charged(batch, self.blocks.formats_in_use(), |batch| {
                Some(Charge::new(hold, batch.allocated_bytes()))
            }));
        }
        let begins_at = match self.control.cap {
            None => Pace::new(terms.rate, terms.ramp, self.now).at(self.now),
            Some(_) => 0,
        };
        let push = Arc::new(Push {
            id: PushId::new(&format!("p{number}")).expect("an id"),
            terms,
            source: Source::Http,
            to: addresses,
            holds,
            messages: count as u32,
            bytes: bytes as u64,
            accepted: Moment { us: self.now, unix_ms: 0 },
            shares: pacing::even(begins_at, self.plan.shards).into_iter().map(Share::new).collect(),
        });
        trail::note(|| format!("push {number} to {parts:?}: {terms:?}"));
        let asked = Asked::new(terms.rate, terms.ramp.as_micros() as u64, self.now);
        let mut tempo = Tempo::new(self.plan.lazy_percent == 0);
        tempo.note_asked(self.now, asked.at(self.now));
        let shards = (0..self.plan.shards).map(|_| None).collect();
        self.book.begin(Job { push: Arc::clone(&push), parts, cancelled_us: None, tempo, shards });
        self.control.asked.push(asked);
        self.control.births.push(Arc::clone(&push));
        self.holds.begin(&push);
        self.broadcast.send(Downlink::Push(push, batches.into()));
        self.check_rings();
    }

    fn terms(&mut self) -> Terms {
        let rng = &mut self.rng;
        let rate = rng.percent(75).then(|| Rate::per_second(rng.scale(2, 3_000) as f64).expect("a rate"));
        let ramp = if rate.is_some() && rng.percent(30) { rng.between(1, 2_000) as u64 } else { 0 };
        Terms {
            rate,
            ramp: Duration::from_millis(ramp),
            expires_in: rng.percent(20).then(|| Duration::from_millis(rng.between(1, 1_500) as u64)),
            lane: if rng.percent(25) { Lane::Urgent } else { Lane::Normal },
            weight: rng.between(1, 4) as u32,
        }
    }

    /// The batch of a push for one address. An urgent one stands outside the address's own log.
    fn push_batch(&mut self, to: To, log: To, count: usize, bytes: usize) -> Batch {
        let address = self.ledger.addresses[to].clone();
        let messages: Vec<_> = (0..count).map(|_| self.ledger.publish(log, bytes, &mut self.rng)).collect();
        if log != to {
            return Batch::new(address, Epoch(0), Offset(0), messages.into());
        }
        let mut apart = None;
        self.seal(|merger, now, sealed| apart = Some(merger.push_apart(&address, &messages, now, sealed)));
        let batch = apart.expect("it is returned");
        assert_eq!(batch.first.0, self.sealed[to], "the merger leaves a gap before a push");
        self.sealed[to] = batch.end().0;
        batch
    }

    /// What a sender or an operator does to one of the pushes.
    pub(crate) fn steer(&mut self) {
        let jobs = self.book.jobs.len();
        if jobs == 0 {
            return;
        }
        // The later ones are those that run.
        let number = jobs - 1 - self.rng.below(jobs.min(6));
        let rng = &mut self.rng;
        let mut change = PushChange::default();
        match rng.below(10) {
            0..=1 => change.is_paused = Some(true),
            2..=4 => change.is_paused = Some(false),
            5..=7 => {
                let rate =
                    rng.percent(85).then(|| Rate::per_second(rng.scale(2, 3_000) as f64).expect("a rate"));
                let ramp = if rng.percent(30) { rng.between(1, 500) as u64 } else { 0 };
                change.rate = Some((rate, Duration::from_millis(ramp)));
            }
            8 => change.weight = Some(rng.between(1, 9) as u32),
            _ => return self.cancel(number),
        }
        self.change(number, change);
    }

    fn change(&mut self, number: usize, change: PushChange) {
        let id = self.book.jobs[number].push.id.clone();
        self.adopt();
        let outcome = self.control.registry.change(id.as_str(), change, self.now);
        trail::note(|| format!("push {number}: {change:?}: {outcome:?}"));
        if outcome.is_ok() {
            let asked = &mut self.control.asked[number];
            if let Some((rate, ramp)) = change.rate {
                asked.change(rate, ramp.as_micros() as u64, self.now);
            }
            asked.is_paused = change.is_paused.unwrap_or(asked.is_paused);
        }
        self.allot();
    }

    fn cancel(&mut self, number: usize) {
        self.adopt();
        let id = self.book.jobs[number].push.id.clone();
        let outcome = self.control.registry.cancel(id.as_str());
        trail::note(|| format!("push {number} is cancelled: {outcome:?}"));
        if outcome.is_ok() {
            self.book.jobs[number].cancelled_us.get_or_insert(self.now);
        }
    }

    fn adopt(&mut self) {
        for push in std::mem::take(&mut self.control.births) {
            self.control.registry.adopt(push);
        }
    }

    /// The registry's turn.
    pub(crate) fn allot(&mut self) {
        self.adopt();
        let Control { registry, cap, asked, sum, .. } = &mut self.control;
        registry.tick(*cap, self.now);
        for (job, asked) in self.book.jobs.iter_mut().zip(asked) {
            job.tempo.note_asked(self.now, asked.at(self.now));
        }
        sum.note_asked(self.now, cap.map_or(f64::INFINITY, Rate::as_f64));
    }

    /// When pushes are about, time goes by with their turns in it.
    pub(crate) fn pass_until(&mut self, until: u64) {
        while self.has_pushes() {
            let turns = self.seats.iter().filter_map(|seat| seat.pace_at).min();
            let next = turns.unwrap_or(u64::MAX).min(self.control.next_tick).max(self.now);
            if next > until {
                break;
            }
            self.now = next;
            if self.now >= self.control.next_tick {
                self.control.next_tick = self.now + TICK_EVERY_US;
                self.allot();
                self.check_tempo();
            }
            for number in 0..self.seats.len() {
                if self.seats[number].pace_at.is_some_and(|at| at <= self.now) {
                    if !self.is_settling && self.rng.percent(self.plan.lazy_percent) {
                        self.seats[number].pace_at = Some(self.now + 3_000);
                    } else {
                        self.turn(number, self.ticks());
                    }
                }
            }
        }
        self.now = self.now.max(until);
    }

    /// Whether a push may have something to do, in a ring or on a shard, or what stood behind one.
    fn has_pushes(&self) -> bool {
        let is_busy = || self.seats.iter().any(|seat| seat.pace_at.is_some() && seat.shard.is_busy());
        self.control.registry.running() > 0 || !self.control.births.is_empty() || is_busy()
    }

    fn check_tempo(&self) {
        for (number, job) in self.book.jobs.iter().enumerate() {
            job.tempo.check(self.now, self.plan.shards, &(number, &job.push.terms));
        }
        self.control.sum.check(self.now, self.plan.shards * self.book.jobs.len().max(1), &"all together");
    }

    pub(crate) fn note_push_sent(&mut self) {
        self.control.sum.note_sent(self.now);
    }

    /// Nothing new happens: every push that runs is let go on, or cancelled.
    pub(crate) fn let_pushes_end(&mut self) {
        self.control.cap = None;
        for number in 0..self.book.jobs.len() {
            if self.rng.percent(20) {
                self.cancel(number);
            } else {
                let rate = Some((None, Duration::ZERO));
                self.change(number, PushChange { rate, is_paused: Some(false), weight: None });
            }
        }
    }

    /// Every push is over, and every ledger is closed.
    pub(crate) fn check_pushes_over(&mut self) {
        self.allot();
        assert_eq!(self.control.registry.running(), 0, "{:?}", self.control.registry.all_running(self.now));
        for (number, job) in self.book.jobs.iter().enumerate() {
            let snapshot = self.control.registry.snapshot(job.push.id.as_str(), self.now);
            let standing =
                snapshot.and_then(|snapshot| snapshot.standing).expect("it is over and remembered");
            let whole: u64 = job.shards.iter().flatten().map(|taken| taken.whole).sum();
            assert_eq!((standing.remaining(), standing.sent), (0, whole), "push {number}");
        }
        for seat in &self.seats {
            assert_eq!(seat.shard.turn_in_us(), None, "a shard keeps a push that is over");
        }
    }
}
