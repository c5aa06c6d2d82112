//! A crowd of devices that take everything at once, threads that wake up a little late, and pushes with a pace: whether
//! each second and each tenth of one has what was asked for, and no more.
//!
//! *Not here*: what goes wrong with devices (`world`).

use std::sync::Arc;
use std::time::Duration;

use fanfare::config::Config;
use fanfare::downlink::Downlink;
use fanfare::metrics::Blocks;
use fanfare::shard::{Arrival, Shard};
use fanfare_core::ingest::merger::Merger;
use fanfare_core::ingest::seal;
use fanfare_core::model::{Address, FormatId, Message, Moment, PayloadKind, Topic};
use fanfare_core::push::id::PushId;
use fanfare_core::push::pace::Pace;
use fanfare_core::push::rate::Rate;
use fanfare_core::push::registry::{PushChange, Registry};
use fanfare_core::push::share::Share;
use fanfare_core::push::terms::Terms;
use fanfare_core::push::{Push, Source, pacing};

use crate::plane::SimPlane;
use crate::rng::Rng;
use crate::tempo::{Asked, Tempo};
use crate::trail;

const TICK_EVERY_US: usize = 20_000;
/// Time that a change may take to be in force, and what the bands begin behind.
const IN_FORCE_US: u64 = 150_000;

struct Race {
    push: Arc<Push>,
    topics: Vec<usize>,
    asked: Asked,
    tempo: Tempo,
    sent: u64,
    /// When it was last kept from its pace, or told another.
    steady_since: u64,
    /// When it would end by what it said once, and when it said so.
    eta: Option<(u64, f64)>,
    is_steered: bool,
}

pub(crate) struct Stadium {
    rng: Rng,
    now: u64,
    shards: Vec<(Shard<SimPlane>, u64)>,
    topics: Vec<Address>,
    merger: Merger,
    registry: Registry,
    cap: Option<Rate>,
    races: Vec<Race>,
    all: Tempo,
    cap_steady_since: u64,
}

impl Stadium {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let count = rng.between(1, 4);
        let blocks = Arc::new(Blocks::new(count));
        let topics: Vec<Address> = (0..rng.between(1, 4))
            .map(|n| Address::Topic(Topic::new(&format!("t{n}")).expect("a topic")))
            .collect();
        let Config { clients, outbox, merge, .. } = Config::default();
        let mut shards = Vec::new();
        for number in 0..count {
            let mut plane = SimPlane::new(rng.split());
            plane.has_whims = false;
            let mut shard = Shard::new(plane, number, Arc::clone(&blocks), &clients, outbox);
            for client in 0..rng.scale(50, 2_000) {
                let fd = shard.plane().open(client, usize::MAX);
                let joins = (0..rng.between(1, 2)).map(|_| match rng.pick(&topics) {
                    Address::Topic(topic) => topic.clone(),
                    Address::All => unreachable!("it is no topic"),
                });
                let topics = joins.collect();
                let (response, tail) = (Vec::new(), Vec::new());
                shard.admit(Arrival { fd, peer: None, format: FormatId::RAW, topics, response, tail });
            }
            shards.push((shard, u64::MAX));
        }
        let cap = rng.percent(30).then(|| rate(&mut rng));
        trail::note(|| format!("{count} shards, {} topics, cap {cap:?}", topics.len()));
        Self {
            rng,
            now: 1_000_000,
            shards,
            topics,
            merger: Merger::new(merge, 1),
            registry: Registry::new(count),
            cap,
            races: Vec::new(),
            all: Tempo::new(true),
            cap_steady_since: 0,
        }
    }

    pub(crate) fn run(mut self) {
        let end = self.now + 4_000_000;
        let (mut next_tick, mut next_act) = (self.now, self.now);
        while self.now < end {
            let turns = self.shards.iter().map(|(_, at)| *at).min().unwrap_or(u64::MAX);
            self.now = turns.min(next_tick).min(next_act).max(self.now);
            if self.now >= next_act {
                next_act = self.now + self.rng.scale(20_000, 2_500_000) as u64;
                self.act();
            }
            if self.now >= next_tick {
                next_tick = self.now + (TICK_EVERY_US + self.rng.below(2_000)) as u64;
                self.tick();
                self.check();
            }
            for number in 0..self.shards.len() {
                if self.shards[number].1 <= self.now {
                    self.turn(number);
                }
            }
        }
        self.finish();
    }

    /// One turn of a shard's thread, which the runtime's timers wake up to a millisecond and a half late.
    fn turn(&mut self, number: usize) {
        let (shard, at) = &mut self.shards[number];
        shard.set_clock(self.now);
        shard.turn();
        for fd in shard.plane().take_touched() {
            if let Some(socket) = shard.plane().socket(fd) {
                socket.accepted.clear();
                socket.held = 0;
            }
        }
        let late = self.rng.below(1_500) as u64;
        *at = match shard.turn_in_us() {
            _ if shard.is_busy() => self.now + 1 + late / 50,
            Some(wait) => self.now + wait.max(1) + late,
            None => u64::MAX,
        };
        for race in &mut self.races {
            let sent = sent(&race.push);
            for _ in race.sent..sent {
                race.tempo.note_sent(self.now);
                self.all.note_sent(self.now);
            }
            race.sent = sent;
        }
    }

    fn act(&mut self) {
        self.cap_steady_since = self.now;
        let number = self.rng.below(self.races.len().max(1));
        match self.rng.below(10) {
            _ if self.races.is_empty() => self.begin(),
            0..=3 if self.races.len() < 6 => self.begin(),
            4..=6 => {
                let ramp = if self.rng.percent(30) { self.rng.between(1, 800) as u64 } else { 0 };
                let change = (Some(rate(&mut self.rng)), Duration::from_millis(ramp));
                self.change(number, PushChange { rate: Some(change), ..PushChange::default() });
            }
            7 => self.change(number, PushChange { is_paused: Some(true), ..PushChange::default() }),
            8 => self.change(number, PushChange { is_paused: Some(false), ..PushChange::default() }),
            _ => {
                self.cap = self.rng.percent(50).then(|| rate(&mut self.rng));
                trail::note(|| format!("at {} the cap is {:?}", self.now, self.cap));
                self.races.iter_mut().for_each(|race| race.is_steered = true);
            }
        }
    }

    fn begin(&mut self) {
        let mut topics: Vec<usize> =
            (0..self.rng.between(1, 2)).map(|_| self.rng.below(self.topics.len())).collect();
        topics.sort_unstable();
        topics.dedup();
        let ramp = if self.rng.percent(20) { self.rng.between(1, 800) as u64 } else { 0 };
        let terms =
            Terms { rate: Some(rate(&mut self.rng)), ramp: Duration::from_millis(ramp), ..Terms::default() };
        let message = Message { payload: b"{}"[..].into(), kind: PayloadKind::Json };
        let batch = |topic: &usize| {
            let none = &mut |_, _| unreachable!("nothing is open");
            seal::seal(
                self.merger.push_apart(&self.topics[*topic], std::slice::from_ref(&message), self.now, none),
                [true; 3],
            )
        };
        let batches: Arc<[_]> = topics.iter().map(batch).collect();
        let begins_at = match self.cap {
            None => Pace::new(terms.rate, terms.ramp, self.now).at(self.now),
            Some(_) => 0,
        };
        let push = Arc::new(Push {
            id: PushId::new(&format!("p{}", self.races.len())).expect("an id"),
            terms,
            source: Source::Http,
            to: topics.iter().map(|topic| self.topics[*topic].clone()).collect(),
            holds: Box::default(),
            messages: 1,
            bytes: 2,
            accepted: Moment { us: self.now, unix_ms: 0 },
            shares: pacing::even(begins_at, self.shards.len()).into_iter().map(Share::new).collect(),
        });
        trail::note(|| format!("at {} push {} to {topics:?}: {terms:?}", self.now, self.races.len()));
        for (shard, at) in &mut self.shards {
            shard.set_clock(self.now);
            shard.take(Downlink::Push(Arc::clone(&push), Arc::clone(&batches)));
            *at = self.now;
        }
        self.registry.adopt(Arc::clone(&push));
        let asked = Asked::new(terms.rate, ramp * 1000, self.now);
        let mut tempo = Tempo::new(true);
        tempo.note_asked(self.now, asked.at(self.now));
        let (steady_since, is_steered) = (self.now, self.cap.is_some() || ramp > 0 || !self.races.is_empty());
        self.races.push(Race { push, topics, asked, tempo, sent: 0, steady_since, eta: None, is_steered });
    }

    fn change(&mut self, number: usize, change: PushChange) {
        let race = &mut self.races[number];
        let outcome = self.registry.change(race.push.id.as_str(), change, self.now);
        trail::note(|| format!("at {} push {number}: {change:?}: {outcome:?}", self.now));
        if outcome.is_err() {
            return;
        }
        if let Some((rate, ramp)) = change.rate {
            race.asked.change(rate, ramp.as_micros() as u64, self.now);
        }
        race.asked.is_paused = change.is_paused.unwrap_or(race.asked.is_paused);
        self.races.iter_mut().for_each(|race| race.is_steered = true);
    }

    fn tick(&mut self) {
        self.registry.tick(self.cap, self.now);
        let cap = self.cap.map_or(f64::INFINITY, Rate::as_f64);
        self.all.note_asked(self.now, cap);
        let mut busy = vec![false; self.topics.len()];
        let (mut demand, mut is_ending) = (0.0, false);
        for race in &mut self.races {
            let asked = race.asked.at(self.now);
            race.tempo.note_asked(self.now, asked);
            let left = remaining(&race.push);
            let is_behind = race.topics.iter().any(|topic| busy[*topic]);
            race.topics.iter().for_each(|topic| busy[*topic] |= left > 0);
            // With a tenth left some shards may have none.
            let is_steady = asked > 0.0 && (race.asked.to - asked).abs() < 1e-9;
            let is_kept = is_behind || !is_steady || self.cap.is_some();
            if is_kept || left * 10 <= targeted(&race.push) || left < 100 {
                race.steady_since = self.now;
            }
            if left > 0 {
                is_ending |= is_behind || left * 10 <= targeted(&race.push) || left < 100;
                demand += asked;
            }
            let snapshot = self.registry.snapshot(race.push.id.as_str(), self.now).expect("it is known");
            if left * 4 <= targeted(&race.push) * 3 && race.eta.is_none() {
                race.eta = snapshot.eta_s.map(|eta| (self.now, eta));
            }
            if let (Some(after), Some((at, eta))) =
                (snapshot.finished_after_ms, race.eta.take_if(|_| !race.is_steered))
            {
                let took = (race.push.accepted.us + after * 1000 - at) as f64 / 1e6;
                assert!((took - eta).abs() <= eta * 0.05 + 0.1, "it took {took} s and not {eta} s");
            }
            if left == 0 {
                race.is_steered = true;
            }
        }
        if is_ending || demand < cap * 1.05 {
            self.cap_steady_since = self.now;
        }
    }

    fn check(&self) {
        let shards = self.shards.len();
        for (number, race) in self.races.iter().enumerate() {
            race.tempo.check(self.now, shards, &number);
            self.check_least(&race.tempo, race.steady_since, &number);
        }
        let several = self.races.len().max(1) * shards;
        self.all.check(self.now, several, &"all");
        if self.cap.is_some() {
            self.check_least(&self.all, self.cap_steady_since, &"all");
        }
    }

    /// Whoever could have been served was.
    fn check_least(&self, tempo: &Tempo, steady_since: u64, what: &dyn std::fmt::Debug) {
        for (window, band) in [(1_000_000, 0.98), (100_000, 0.90)] {
            if self.now < steady_since + window + IN_FORCE_US {
                continue;
            }
            let from = self.now - window;
            let (_, least) = tempo.bounds(from, self.now);
            let (sent, must) = (tempo.sent_since(from), least * band - 2.0 * self.shards.len() as f64);
            assert!(
                sent as f64 >= must,
                "{what:?}: {sent} sent within {window} µs, at least {must:.1} must be"
            );
        }
    }

    /// Let go, every push reaches everybody.
    fn finish(&mut self) {
        self.cap = None;
        for number in 0..self.races.len() {
            let rate = Some((None, Duration::ZERO));
            self.change(number, PushChange { rate, is_paused: Some(false), weight: None });
        }
        for _ in 0..1_000 {
            self.now += 5_000;
            self.registry.tick(self.cap, self.now);
            for number in 0..self.shards.len() {
                self.turn(number);
            }
        }
        for race in &self.races {
            assert_eq!((race.sent, remaining(&race.push)), (targeted(&race.push), 0));
        }
        assert_eq!(self.registry.running(), 0);
        for (shard, _) in &self.shards {
            assert_eq!((shard.turn_in_us(), shard.backlog_bytes()), (None, 0));
        }
    }
}

fn rate(rng: &mut Rng) -> Rate {
    Rate::per_second(rng.scale(20, 4_000) as f64).expect("a rate")
}

fn sum(push: &Push, of: impl Fn(fanfare_core::push::share::Standing) -> u64) -> u64 {
    push.shares.iter().filter_map(Share::standing).map(of).sum()
}

fn sent(push: &Push) -> u64 {
    sum(push, |standing| standing.sent)
}

fn targeted(push: &Push) -> u64 {
    sum(push, |standing| standing.targeted)
}

fn remaining(push: &Push) -> u64 {
    sum(push, |standing| standing.remaining())
}
