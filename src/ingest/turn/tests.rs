//! Turns with everything full, in no time: each works or waits, and what is commanded arrives. *Not here*: threads (e2e).

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::config::Config;
use crate::config::live::Edition;
use crate::ingest::answers::{Ticket, Verdicts, answers};
use crate::ingest::inbox::Inbox;
use crate::ingest::publisher::{NewPush, Publisher};
use crate::ingest::pushes::births;
use crate::ingest::redis::{Incoming, PublishQueue};
use crate::ingest::state::Ends;
use crate::metrics::Blocks;
use crate::ring::broadcast::Broadcast;
use crate::ring::doorbell::Doorbell;
use crate::ring::{self, Receiver};
use crate::sys::clock::Clock;
use crate::sys::eventfd::EventFd;
use fanfare_core::ingest::merger::Merge;
use fanfare_core::limits::{DRAIN_REDIS, MESSAGE_BYTES_MAX, PUBLISH_SLOTS, REDIS_OUTBOX_BYTES_MAX};
use fanfare_core::model::{Moment, PayloadKind, Topic};
use fanfare_core::push::id::PushId;

/// An ingest core between a control thread, a Redis and shards that do only what a test says.
struct World {
    ingest: Ingest,
    publisher: Publisher,
    shards: Vec<Receiver>,
    editions: u64,
    now: u64,
    verdicts: Verdicts,
    tickets: u32,
    _born: rtrb::Consumer<Arc<fanfare_core::push::Push>>,
}

fn doorbell() -> Arc<Doorbell> {
    Arc::new(Doorbell::new(EventFd::new().expect("an eventfd")))
}

impl World {
    fn new(shards: usize, has_redis: bool) -> Self {
        let blocks = Arc::new(Blocks::new(shards));
        let ring = |shard| ring::ring(shard, doorbell(), Arc::clone(&blocks));
        let (senders, shards): (Vec<_>, Vec<_>) = (0..shards).map(ring).unzip();
        let (publisher, requests) = Publisher::new(doorbell());
        let (births, born) = births();
        let (answers, verdicts) = answers(doorbell());
        let config = Config::default();
        let inbox = Inbox::new(8);
        let config = Config { merge: Merge { messages_max: 1, ..config.merge }, ..config };
        let clock = Clock::start();
        let queue =
            || PublishQueue::new("f:", REDIS_OUTBOX_BYTES_MAX, inbox.clone(), "test", clock.instant(0));
        let ends = Ends {
            broadcast: Broadcast::new(senders),
            blocks,
            requests,
            to_redis: has_redis.then(queue),
            inbox: inbox.clone(),
            births,
            answers,
            clock,
        };
        let ingest = Ingest::new(&config, 1, ends);
        Self { ingest, publisher, shards, editions: 1, now: 1, verdicts, tickets: 0, _born: born }
    }

    /// Turns until there is nothing to do. Each turn that says there is more must be followed by one that does something.
    fn turn(&mut self) -> Next {
        let mut promised = false;
        for _ in 0..100_000 {
            let before = self.progress();
            self.ingest.work(self.now);
            let next = self.ingest.finish(self.now);
            assert!(!promised || self.progress() > before, "a turn promised work and there was none");
            if next != Next::Again {
                assert!(!matches!(next, Next::Wait(_, Duration::ZERO)), "a wait of no time is a spin");
                return next;
            }
            promised = true;
        }
        panic!("it turns for ever");
    }

    fn progress(&self) -> u64 {
        self.ingest.blocks.ingest.progress.get()
    }

    /// Publishes by HTTP; whether it found room.
    fn publish(&mut self, topics: usize, bytes: usize) -> bool {
        let topic = |n| Address::Topic(Topic::new(&format!("t{n}")).expect("a topic"));
        let message = Message { payload: vec![b'1'; bytes].into(), kind: PayloadKind::Json };
        let addresses = (0..topics).map(topic).collect();
        self.tickets += 1;
        let ticket = Some(Ticket(self.tickets));
        self.publisher.request(Request::Publish { ticket, addresses, messages: vec![message] }).is_ok()
    }

    /// A message from Redis; whether the inbox had room.
    fn comes(&mut self, bytes: usize) -> bool {
        self.brings(b"topic:t0", vec![b'1'; bytes])
    }

    /// The same of any channel and payload.
    fn brings(&mut self, channel: &'static [u8], payload: Vec<u8>) -> bool {
        let message = Incoming::Message { channel: Bytes::from_static(channel), payload: payload.into() };
        let mut push = pin!(self.ingest.inbox.push(message));
        push.as_mut().poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    fn configure(&mut self) -> u64 {
        self.editions += 1;
        let edition = Edition { number: self.editions, config: Config::default() };
        self.publisher.direct(Directive::Configure(Arc::new(edition))).expect("its lane has room");
        self.editions
    }

    /// The commands that a shard has now.
    fn commands(&mut self, shard: usize) -> Vec<ShardCommand> {
        std::iter::from_fn(|| self.shards[shard].command()).collect()
    }

    /// A shard takes so many downlinks.
    fn take(&mut self, shard: usize, count: usize) -> usize {
        let mut taken = 0;
        while taken < count
            && let Some(downlink) = self.shards[shard].pop()
        {
            let block = &self.ingest.blocks.shards[shard];
            block.downlink_bytes_released.add(downlink.weight() as u64);
            taken += 1;
        }
        taken
    }

    /// Verdicts that have come.
    fn verdicts(&mut self) -> Vec<Verdict> {
        std::iter::from_fn(|| self.verdicts.pop()).map(|(_, verdict)| verdict).collect()
    }

    /// Fills a shard's ring, and the ingest core behind it.
    fn fill_rings(&mut self) {
        while self.turn() != Next::Wait(Lack::Ring, STALL_RETRY) {
            assert!(self.publish(1, MESSAGE_BYTES_MAX));
        }
    }
}

#[test]
fn what_has_no_room_on_its_way_to_redis_is_refused_at_once_and_holds_up_nothing() {
    // One publish that is larger than the queue has room alone, whatever its size; one behind it has not.
    let mut world = World::new(1, true);
    assert!(world.publish(1, 2 * REDIS_OUTBOX_BYTES_MAX) && world.publish(1, 1));
    assert_eq!(world.turn(), Next::Wait(Lack::Item, TICK));
    assert_eq!(world.verdicts(), [Verdict::Full]);
    // A payload counts once however many channels it is for, so 50 such publishes fit where each part of them would not.
    let mut world = World::new(1, true);
    for _ in 0..50 {
        assert!(world.publish(100, 100_000));
    }
    world.turn();
    assert_eq!(world.verdicts(), []);
    // As many of the smallest as there may be, and more: what has no room is told, and the rest waits.
    let mut world = World::new(1, true);
    let mut refused = 0;
    for _ in 0..40 {
        while world.publish(100, 1) {}
        assert_eq!(world.turn(), Next::Wait(Lack::Item, TICK));
        refused += world.verdicts().iter().filter(|verdict| **verdict == Verdict::Full).count();
    }
    assert!(refused > 0, "the queue has a bound for small ones");
    assert!(world.ingest.to_redis.as_ref().is_some_and(|queue| queue.bytes() <= REDIS_OUTBOX_BYTES_MAX));
}

/// A world with a push that stands still on `t0`, behind which as much waits as others may publish; and what waits.
fn filled() -> (World, Vec<Downlink>) {
    let (mut world, mut waiting) = (World::new(1, true), Vec::new());
    let refused = |world: &World| world.ingest.blocks.ingest.messages_refused[Refused::Held as usize].get();
    assert!(world.brings(b"topic:t0", b"@push rate=0.1 ramp_s=3600\n1".to_vec()));
    for _ in 0..200 {
        world.turn();
        while let Some(downlink) = world.shards[0].pop() {
            let block = &world.ingest.blocks.shards[0];
            block.downlink_bytes_released.add(downlink.weight() as u64);
            waiting.push(downlink);
        }
        if refused(&world) > 0 {
            return (world, waiting);
        }
        assert!(world.comes(500_000));
    }
    panic!("there is no bound");
}

#[test]
fn what_this_gateway_published_is_not_dropped_when_it_comes_back_and_what_others_did_is() {
    let (mut world, _waiting) = filled();
    let count = |world: &World| {
        let counters = &world.ingest.blocks.ingest;
        (counters.messages_redis.get(), counters.messages_refused[Refused::Held as usize].get())
    };
    let (taken, refused) = count(&world);
    // They were accepted before the bound was reached.
    for _ in 0..8 {
        assert!(world.publish(1, 900_000));
    }
    world.turn();
    assert_eq!(world.verdicts(), []);
    for returned in 1..=8 {
        assert!(world.comes(900_000));
        world.turn();
        assert_eq!(count(&world), (taken + returned, refused));
    }
    assert!(world.comes(900_000));
    world.turn();
    assert_eq!(count(&world), (taken + 8, refused + 1), "a ninth is somebody else's");
}

#[test]
fn a_push_that_this_gateway_accepted_is_not_dropped_when_it_comes_back() {
    let (mut world, _waiting) = filled();
    let text = "x".repeat(900_000);
    let json =
        |id| format!(r#"{{"to":{{"topic":"t0"}},"messages":["{text}"],"id":"{id}","rate":1}}"#).into_bytes();
    let request = fanfare_core::push::request::parse(&json("ours").into()).expect("a push");
    let (id, accepted) = (PushId::new("ours").expect("an id"), Moment::default());
    let new = NewPush { id, request, accepted, ticket: Ticket(1) };
    assert!(world.publisher.request(Request::Push(Box::new(new))).is_ok());
    world.turn();
    let begun = world.ingest.blocks.ingest.pushes_begun.get();
    for id in ["other", "ours"] {
        assert!(world.brings(b"push", json(id)));
        world.turn();
        assert_eq!(world.ingest.blocks.ingest.pushes_begun.get() - begun, u64::from(id == "ours"), "{id}");
    }
}

#[test]
fn a_configuration_and_a_drain_pass_everything_that_waits() {
    for has_redis in [false, true] {
        let mut world = World::new(2, has_redis);
        if has_redis {
            while world.publish(100, 100_000) {}
            assert_eq!(world.turn(), Next::Wait(Lack::Item, TICK));
        } else {
            world.fill_rings();
            while world.publish(1, 100_000) {}
        }
        let number = world.configure();
        world.turn();
        for shard in 0..2 {
            let commands = world.commands(shard);
            assert!(
                matches!(&commands[..], [ShardCommand::Configure(edition)] if edition.number == number),
                "{commands:?}"
            );
        }
        world.publisher.direct(Directive::Drain).expect("its lane has room");
        assert!(matches!(world.turn(), Next::Wait(..)), "what entered before has its time");
        world.now += DRAIN_REDIS.as_micros() as u64;
        assert_eq!(world.turn(), Next::Over);
        for shard in 0..2 {
            assert!(matches!(&world.commands(shard)[..], [ShardCommand::Drain(_)]));
        }
        let left: u64 =
            world.ingest.blocks.ingest.drain_left.iter().map(fanfare_core::counters::Value::get).sum();
        assert!(left > 0, "what was left behind is counted");
        let tickets = world.tickets as usize;
        assert!(!has_redis || world.verdicts().len() + PUBLISH_SLOTS >= tickets, "whoever waits is told");
    }
}

#[test]
fn a_drain_counts_what_of_an_answered_publish_is_not_merged() {
    let mut world = World::new(1, false);
    assert!(world.publish(100, MESSAGE_BYTES_MAX));
    assert_eq!(world.turn(), Next::Wait(Lack::Ring, STALL_RETRY));
    assert_eq!(world.verdicts(), [Verdict::Done]);
    assert!(world.ingest.merging.is_some(), "the rings have no room for all of it");
    world.publisher.direct(Directive::Drain).expect("its lane has room");
    world.turn();
    world.now += DRAIN_REDIS.as_micros() as u64;
    assert_eq!(world.turn(), Next::Over);
    let left: u64 =
        world.ingest.blocks.ingest.drain_left.iter().map(fanfare_core::counters::Value::get).sum();
    let sent = world.take(0, usize::MAX) as u64;
    assert_eq!((left + sent, sent > 0), (100, true));
}

#[test]
fn a_drain_that_finds_room_leaves_nothing() {
    let mut world = World::new(1, false);
    world.fill_rings();
    let mut published = 0;
    while world.publish(1, 10_000) && published < 100 {
        published += 1;
    }
    world.publisher.direct(Directive::Drain).expect("its lane has room");
    while world.turn() != Next::Over {
        assert!(world.take(0, 1) == 1, "a full ring is all that it waits for");
        world.now += 1000;
    }
    assert!(world.ingest.blocks.ingest.drain_left.iter().all(|left| left.get() == 0));
    assert!(!world.ingest.broadcast.is_waiting());
}

#[derive(Clone, Debug)]
enum Act {
    Publish { topics: usize, bytes: usize },
    Comes { bytes: usize },
    Configure,
    Take { shard: usize, count: usize },
    Pass { us: u64 },
    Drain,
}

fn act() -> impl Strategy<Value = Act> {
    let bytes = prop_oneof![Just(0), Just(1), Just(2000), Just(200_000), Just(MESSAGE_BYTES_MAX)];
    let topics = prop_oneof![Just(1_usize), Just(100)];
    prop_oneof![
        6 => (topics, bytes.clone()).prop_map(|(topics, bytes)| Act::Publish { topics, bytes }),
        4 => bytes.prop_map(|bytes| Act::Comes { bytes }),
        1 => Just(Act::Configure),
        2 => (0..2_usize, 0..200_usize).prop_map(|(shard, count)| Act::Take { shard, count }),
        1 => (0..500_000_u64).prop_map(|us| Act::Pass { us }),
        1 => Just(Act::Drain),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_full_a_turn_works_or_waits_and_commands_arrive(
        has_redis in any::<bool>(),
        acts in prop::collection::vec(act(), 1..120),
    ) {
        let mut world = World::new(2, has_redis);
        let mut drains_at = None;
        for act in acts {
            match act {
                Act::Publish { topics, bytes } => drop(world.publish(topics, bytes)),
                Act::Comes { bytes } => drop(world.comes(bytes)),
                Act::Configure if drains_at.is_none() => {
                    let number = world.configure();
                    world.turn();
                    for shard in 0..2 {
                        let commands = world.commands(shard);
                        let has_come =
                            matches!(&commands[..], [ShardCommand::Configure(edition)] if edition.number == number);
                        prop_assert!(has_come, "{:?}", commands);
                    }
                }
                Act::Configure => {}
                Act::Take { shard, count } => drop(world.take(shard, count)),
                Act::Pass { us } => world.now += us,
                Act::Drain => {
                    if drains_at.is_none() {
                        world.publisher.direct(Directive::Drain).expect("its lane has room");
                        drains_at = Some(world.now);
                    }
                }
            }
            let next = world.turn();
            world.verdicts();
            if let Some(at) = drains_at {
                let is_late = world.now >= at + DRAIN_REDIS.as_micros() as u64;
                prop_assert!(next == Next::Over || !is_late, "{:?}", next);
                if next == Next::Over {
                    for shard in 0..2 {
                        prop_assert!(matches!(&world.commands(shard)[..], [ShardCommand::Drain(_)]));
                    }
                    return Ok(());
                }
            }
        }
    }
}
