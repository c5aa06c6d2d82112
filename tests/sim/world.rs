//! One seeded world: a publisher, a merger, rings, shards, and clients with their own minds, in virtual time.
//!
//! What a shard's thread does in `shard::run` is done here by [`World::turn`], in any order that the real loop allows.
//! *Not here*: what the shard's calls must have led to (`observe`, `checks`), how a world ends (`finale`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fanfare::dataplane::Event;
use fanfare::downlink::{Census, Downlink};
use fanfare::events::journal;
use fanfare::metrics::Blocks;
use fanfare::ring::broadcast::Broadcast;
use fanfare::ring::doorbell::Doorbell;
use fanfare::ring::{Receiver, ring};
use fanfare::shard::{Arrival, Shard};
use fanfare::sys::bell::Bell;
use fanfare_core::ingest::merger::Merger;
use fanfare_core::ingest::seal;
use fanfare_core::limits::{DOWNLINKS_PER_TURN, TICK};
use fanfare_core::model::{Address, Batch, EventKinds, FormatId, Tick};
use fanfare_core::push::holds::Holds;

use crate::client::{Act, Client, Pace};
use crate::ledger::{ALL, Ledger, To};
use crate::lives::Lives;
use crate::plan::{Flood, Plan};
use crate::plane::SimPlane;
use crate::pushes::Book;
use crate::rng::Rng;
use crate::steer::Control;
use crate::trail;

/// An answer to a handshake.
const RESPONSE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// How long a turn takes.
const BUSY_TURN_US: u64 = 20;

const TICK_US: u64 = TICK.as_micros() as u64;

/// A bell that the sleeper looks at.
#[derive(Default)]
pub(crate) struct SimBell(AtomicBool);

impl Bell for SimBell {
    fn strike(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a shard's counters must add up to; see `checks`.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) targeted: u64,
    pub(crate) received: u64,
    /// Bounds of what nobody can know from outside.
    pub(crate) withdrawn_max: u64,
    pub(crate) abandoned_max: u64,
    pub(crate) counted_twice_max: u64,
    pub(crate) gone_max: u64,
    pub(crate) admitted: u64,
    pub(crate) removed: u64,
    pub(crate) memberships: u64,
    /// Messages for clients that may have been closing already.
    pub(crate) unsure: u64,
}

/// A census, and what the shards must have answered.
pub(crate) struct Asked {
    pub(crate) census: Arc<Census>,
    pub(crate) least: u64,
    pub(crate) most: u64,
}

/// A shard's thread.
pub(crate) struct Seat {
    pub(crate) shard: Shard<SimPlane>,
    pub(crate) lives: Lives,
    pub(crate) receiver: Receiver,
    pub(crate) doorbell: Arc<Doorbell<SimBell>>,
    is_asleep: bool,
    arrivals: Vec<(usize, Arrival)>,
    /// The offset after the last batch taken, by address.
    pub(crate) taken: Vec<u64>,
    pub(crate) members: Vec<BTreeSet<usize>>,
    pub(crate) tally: Tally,
    pub(crate) closed_before: Vec<u64>,
    tick: u32,
    /// Counts the moments without backlog.
    pub(crate) lull: u64,
    /// It has a push that is not over.
    pub(crate) has_pushes: bool,
    /// When its thread wakes up for a push.
    pub(crate) pace_at: Option<u64>,
    /// Clients that may be closing.
    pub(crate) doubtful: BTreeSet<usize>,
    pub(crate) calls: u64,
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    pub(crate) now: u64,
    pub(crate) step: usize,
    pub(crate) ledger: Ledger,
    pub(crate) merger: Merger,
    pub(crate) sealed: Vec<u64>,
    pub(crate) broadcast: Broadcast<SimBell>,
    pub(crate) blocks: Arc<Blocks>,
    pub(crate) seats: Vec<Seat>,
    pub(crate) clients: Vec<Client>,
    pub(crate) censuses: Vec<Asked>,
    pub(crate) control: Control,
    pub(crate) holds: Holds,
    pub(crate) book: Book,
    pub(crate) is_drain_under_way: bool,
    /// A shard takes all of its ring, however much waits already.
    pub(crate) drain_takes_all: bool,
    pub(crate) is_settling: bool,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let plan = Plan::new(&mut rng);
        trail::note(|| format!("{plan:?}"));
        let ledger = Ledger::new(plan.topics);
        let addresses = ledger.addresses.len();
        let blocks = Arc::new(Blocks::new(plan.shards));
        let mut senders = Vec::new();
        let mut seats = Vec::new();
        for number in 0..plan.shards {
            let doorbell = Arc::new(Doorbell::new(SimBell::default()));
            let (sender, receiver) = ring(number, Arc::clone(&doorbell), Arc::clone(&blocks));
            senders.push(sender);
            let plane = SimPlane::new(rng.split());
            let mut shard = Shard::new(plane, number, Arc::clone(&blocks), &plan.clients, plan.outbox);
            let (journal, reader) = journal::journal(number, EventKinds::ALL, Arc::clone(&blocks));
            shard.keep_journal(journal);
            seats.push(Seat {
                shard,
                lives: Lives::new(reader),
                receiver,
                doorbell,
                is_asleep: false,
                arrivals: Vec::new(),
                taken: vec![0; 2 * addresses],
                members: vec![BTreeSet::new(); addresses],
                tally: Tally::default(),
                closed_before: vec![0; fanfare_core::model::CloseReason::ALL.len()],
                tick: 0,
                lull: 1,
                has_pushes: false,
                pace_at: None,
                doubtful: BTreeSet::new(),
                calls: 0,
            });
        }
        Self {
            merger: Merger::new(plan.merge, 1 + seed % 1000),
            sealed: vec![0; addresses],
            broadcast: Broadcast::new(senders),
            now: 0,
            step: 0,
            clients: Vec::new(),
            censuses: Vec::new(),
            control: Control::new(plan.shards, plan.cap),
            holds: Holds::new(Arc::clone(&blocks.held)),
            book: Book::new(2 * addresses),
            is_drain_under_way: false,
            drain_takes_all: false,
            is_settling: false,
            plan,
            rng,
            ledger,
            blocks,
            seats,
        }
    }

    /// The whole life of a world.
    pub(crate) fn run(mut self) {
        for _ in 0..self.plan.clients_at_first {
            self.arrive();
        }
        while self.step < self.plan.steps {
            if self.rng.percent(self.plan.pause_percent) {
                self.stand_still();
            }
            let pause = if self.rng.percent(3) { 1_000_000 } else { 6_000 };
            let pause = if self.plan.push_percent > 0 { pause.min(200_000) } else { pause };
            let until = self.now + self.rng.below(pause) as u64;
            self.pass_until(until);
            self.publish();
            if self.rng.percent(self.plan.push_percent) && !self.broadcast.is_waiting() {
                self.begin_push();
            }
            if self.rng.percent(self.plan.steer_percent) {
                self.steer();
            }
            self.advance();
            if self.rng.percent(40) && self.clients.len() < self.plan.clients_max {
                self.arrive();
            }
            if self.plan.flood != Flood::None && self.step == self.plan.steps / 2 {
                self.flood();
            }
        }
        self.end();
    }

    /// No shard has a turn for some time, as when the process is stopped. It is nobody's silence.
    pub(crate) fn stand_still(&mut self) {
        let ticks = self.rng.between(8, 400) as u32;
        trail::note(|| format!("the shards stand still for {ticks} ticks"));
        self.now += u64::from(ticks) * TICK_US;
        for client in &mut self.clients {
            // What they count of it is a tick or two.
            client.heard += ticks - 2;
        }
    }

    /// Clients and shards live through one step.
    pub(crate) fn advance(&mut self) {
        self.step += 1;
        for id in 0..self.clients.len() {
            if !self.clients[id].is_removed && self.clients[id].shard < self.seats.len() {
                self.live(id);
            }
        }
        for number in 0..self.seats.len() {
            self.wake(number);
        }
    }

    /// The publisher's share of a step. While a ring is full it takes nothing.
    fn publish(&mut self) {
        if self.broadcast.flush().is_some() {
            return;
        }
        let burst = match self.rng.below(10) {
            0 => self.rng.below(60),
            1..=4 => self.rng.below(4),
            _ => 0,
        };
        for _ in 0..burst {
            if self.broadcast.is_waiting() {
                break;
            }
            let to = self.rng.below(self.ledger.addresses.len());
            let bytes = self.rng.scale(1, self.plan.message_bytes_max);
            self.publish_one(to, bytes);
        }
        self.seal(|merger, now, sealed| merger.end_turn(now, sealed));
        if self.rng.percent(5) {
            let address = self.rng.pick(&self.ledger.addresses).clone();
            let census = Arc::new(Census::new(address, self.plan.shards));
            self.censuses.push(Asked { census: Arc::clone(&census), least: 0, most: 0 });
            self.broadcast.send(Downlink::Census(census));
        }
    }

    pub(crate) fn publish_one(&mut self, to: To, bytes: usize) {
        // As much waits behind a push as may: the publisher is refused.
        if self.holds.refuses(&self.ledger.addresses[to], bytes, 0, 0).is_some() {
            return;
        }
        let message = self.ledger.publish(to, bytes, &mut self.rng);
        let address = self.ledger.addresses[to].clone();
        trail::note(|| format!("publish {} bytes to {to}", message.payload.len()));
        self.seal(|merger, now, sealed| merger.push(&address, message, now, sealed));
    }

    /// Lets the merger close batches, checks them, and sends them to every shard.
    pub(crate) fn seal(
        &mut self,
        act: impl FnOnce(&mut Merger, u64, &mut dyn FnMut(Batch, fanfare_core::ingest::merger::SealReason)),
    ) {
        let mut batches = Vec::new();
        act(&mut self.merger, self.now, &mut |batch, _| batches.push(batch));
        // A drain closes in the order of a hash map; a seed must not depend on it.
        batches.sort_by_key(|batch| (self.ledger.index(&batch.address), batch.first));
        for batch in batches {
            let to = self.ledger.index(&batch.address);
            assert_eq!(batch.first.0, self.sealed[to], "the merger leaves a gap in {to}");
            for (message, at) in batch.messages().zip(batch.first.0..) {
                assert_eq!(message.payload, self.ledger.payload((to, at)), "the merger mixes messages up");
            }
            self.sealed[to] = batch.end().0;
            let charge = |batch: &Batch| self.holds.charge(&batch.address, batch.allocated_bytes());
            let batch = seal::seal_charged(batch, self.blocks.formats_in_use(), charge);
            self.broadcast.send(Downlink::Batch(batch));
            self.check_rings();
        }
    }

    /// A client connects; its handshake is done.
    fn arrive(&mut self) {
        let rng = &mut self.rng;
        let number = rng.below(self.plan.shards);
        let format = *rng.pick(&FormatId::ALL);
        let seat = &mut self.seats[number];
        let capacity = rng.scale(40.min(self.plan.capacity_max), self.plan.capacity_max);
        let id = self.clients.len();
        let fd = seat.shard.plane().open(id, capacity);
        let mut client =
            Client::new(id, number, fd, format, self.ledger.addresses.len(), (self.now / TICK_US) as u32);
        client.is_polite = rng.percent(85);
        if rng.percent(self.plan.slow_percent) {
            client.pace = match rng.below(100) {
                n if n < self.plan.stalled_percent => Pace::Stalled,
                n if n % 2 == 0 => Pace::Slow(rng.scale(1, 4000)),
                _ => Pace::StalledUntil(self.step + rng.between(1, 100)),
            };
        }
        let topics = rng.below(self.plan.clients.topics_max + 2);
        let joins: Vec<To> = (0..topics).map(|_| rng.between(1, self.plan.topics)).collect();
        let topics = joins.iter().map(|&to| match &self.ledger.addresses[to] {
            Address::Topic(topic) => topic.clone(),
            Address::All => unreachable!("0 is not among them"),
        });
        let response = if rng.percent(80) { RESPONSE.to_vec() } else { Vec::new() };
        client.greeting.clone_from(&response);
        client.answer_bytes = response.len() as u64;
        let arrival =
            Arrival { fd, peer: None, format, topics: topics.collect(), response, tail: Vec::new() };
        trail::note(|| {
            format!("{id} arrives at {number}: {format:?} {joins:?} {capacity} {:?}", client.pace)
        });
        for to in joins {
            client.say(Act::Join(to), &[]);
        }
        self.clients.push(client);
        self.seats[number].arrivals.push((id, arrival));
        if self.rng.percent(20) {
            self.speak(id);
        }
    }

    /// A shard's thread: asleep until something rings, or on its way through a turn.
    fn wake(&mut self, number: usize) {
        let seat = &mut self.seats[number];
        let tick = (self.now / TICK_US) as u32;
        let is_rung = seat.doorbell.bell().0.swap(false, Ordering::Relaxed);
        let is_due = seat.pace_at.is_some_and(|at| at <= self.now);
        let has_news =
            seat.shard.plane().has_events() || !seat.arrivals.is_empty() || tick > seat.tick || is_due;
        if seat.is_asleep && !is_rung && !has_news {
            assert!(seat.receiver.is_empty(), "shard {number} sleeps on a downlink and nobody rang");
            return;
        }
        if std::mem::take(&mut seat.is_asleep) {
            seat.doorbell.awake();
        }
        if !self.is_settling && self.rng.percent(self.plan.lazy_percent) {
            return;
        }
        self.turn(number, tick);
        let seat = &mut self.seats[number];
        if !seat.shard.is_busy() && self.rng.percent(70) {
            seat.doorbell.prepare_sleep();
            seat.is_asleep = seat.receiver.is_empty() && !seat.receiver.has_command();
            if !seat.is_asleep {
                seat.doorbell.awake();
            }
        }
    }

    /// One turn of a shard's loop, its parts in any order and amount.
    pub(crate) fn turn(&mut self, number: usize, tick: u32) {
        self.seats[number].shard.set_now(Tick(tick));
        self.seats[number].shard.set_clock(self.now);
        let mut parts = [0, 1, 2, 3];
        for i in (1..parts.len()).rev() {
            parts.swap(i, self.rng.below(i + 1));
        }
        for part in parts {
            // In a calm world nobody comes, goes or speaks while something is on its way.
            let is_on_its_way = self.plan.is_calm && self.seats[number].shard.backlog_bytes() > 0;
            match part {
                0 | 2 if is_on_its_way => {}
                0 => self.hear(number),
                1 => self.take(number),
                2 => self.admit(number),
                _ => self.tick(number, tick),
            }
        }
        trail::note(|| format!("turn of {number}"));
        self.call(number, Shard::turn);
        let seat = &mut self.seats[number];
        let wait = seat.shard.turn_in_us().map(|us| us.max(1));
        // A thread that is busy has its next turn soon.
        seat.pace_at = if seat.shard.is_busy() && self.plan.push_percent > 0 {
            Some(self.now + BUSY_TURN_US)
        } else {
            wait.map(|us| self.now + us)
        };
    }

    fn hear(&mut self, number: usize) {
        let most = if self.is_settling { 4096 } else { self.rng.scale(1, 2048) };
        for _ in 0..most {
            let Some(event) = self.seats[number].shard.plane().next_event() else { break };
            trail::note(|| format!("{number} hears {event:?}"));
            self.call(number, |shard| shard.handle(event));
        }
    }

    fn take(&mut self, number: usize) {
        while let Some(command) = self.seats[number].receiver.command() {
            self.obey(number, command);
        }
        let most = if self.is_settling { DOWNLINKS_PER_TURN } else { self.rng.scale(1, DOWNLINKS_PER_TURN) };
        for _ in 0..most {
            if !self.seats[number].shard.has_room() {
                break;
            }
            let Some(downlink) = self.seats[number].receiver.pop() else { break };
            self.take_one(number, downlink);
        }
    }

    fn admit(&mut self, number: usize) {
        for (id, mut arrival) in std::mem::take(&mut self.seats[number].arrivals) {
            let client = &mut self.clients[id];
            let cut = self.rng.below(client.out.len() + 1);
            arrival.tail = client.out.drain(..cut).collect();
            if let Some(socket) = self.seats[number].shard.plane().socket(client.fd) {
                socket.received = cut as u64;
            }
            trail::note(|| format!("{number} admits {id}, {cut} bytes behind the head"));
            self.begin_membership(number, id);
            self.call(number, |shard| shard.admit(arrival));
        }
    }

    fn tick(&mut self, number: usize, tick: u32) {
        if tick > self.seats[number].tick {
            trail::note(|| format!("{number} ticks: {tick}"));
            self.seats[number].tick = tick;
            self.call(number, |shard| shard.handle(Event::Tick));
        }
    }

    /// Calls the shard, and looks at what it did.
    pub(crate) fn call(&mut self, number: usize, call: impl FnOnce(&mut Shard<SimPlane>)) {
        let seat = &mut self.seats[number];
        call(&mut seat.shard);
        seat.lives.check(&self.blocks.shards[number]);
        self.observe(number);
        self.check(number);
    }

    /// More than the rings hold, while the shards do nothing; then the publisher has to stop by itself.
    fn flood(&mut self) {
        let (bytes, limit) = if self.plan.flood == Flood::Large { (700_000, 40) } else { (1, 6_000) };
        let mut published = 0;
        while !self.broadcast.is_waiting() {
            let to = if self.plan.flood == Flood::Large { self.rng.below(2) } else { ALL };
            self.publish_one(to, bytes);
            self.seal(|merger, now, sealed| merger.drain(now, sealed));
            published += 1;
            assert!(published <= limit, "{published} messages of {bytes} bytes went into rings nobody reads");
        }
        trail::note(|| format!("flood: the rings are full after {published}"));
    }
}
