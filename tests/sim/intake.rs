//! The ingest core itself, between publishers, a Redis that does everything but behave, and shards that take what they like.
//!
//! What runs is `ingest::Ingest`, the loop of the program, turn by turn in virtual time; the world only imitates who stands
//! around it. After each turn: it worked or it waits for something that is not there; whoever published has one verdict
//! in time; what was said to be done reaches every shard in order; memory is within its bounds. *Not here*: who publishes
//! (`publishers`), what must come of it (`verdicts`), the Redis (`redis`), the bounds (`bounds`), devices (`world`).

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use fanfare::config::Config;
use fanfare::config::live::Edition;
use fanfare::downlink::ShardCommand;
use fanfare::ingest::answers::{Verdicts, answers};
use fanfare::ingest::inbox::Inbox;
use fanfare::ingest::publisher::{Directive, Publisher};
use fanfare::ingest::pushes::births;
use fanfare::ingest::redis::{Incoming, PublishQueue};
use fanfare::ingest::{Ends, Ingest, Lack, Next};
use fanfare::metrics::Blocks;
use fanfare::ring::broadcast::Broadcast;
use fanfare::ring::doorbell::Doorbell;
use fanfare::ring::{Receiver, ring};
use fanfare::sys::clock::Clock;
use fanfare::sys::eventfd::EventFd;
use fanfare_core::ingest::merger::Merge;
use fanfare_core::limits::{REDIS_INBOX_BYTES_MAX, REDIS_OUTBOX_BYTES_MAX, TICK};
use fanfare_core::model::{Address, Topic};
use fanfare_core::push::Push;

use crate::redis::{Mood, PREFIX, SimRedis};
use crate::rng::Rng;
use crate::trail;
use crate::world::SimBell;

/// Turns in a row that may say that there is more. A turn takes up to 1,024 items, or seals a batch at least.
const AGAIN_MAX: usize = 100_000;

/// A request that waits for its verdict.
pub(crate) struct Asked {
    /// Payloads, and the logs that each goes to.
    pub(crate) payloads: Vec<Bytes>,
    pub(crate) to: Vec<usize>,
    /// The push that it is.
    pub(crate) push: Option<String>,
    /// When the ingest core had taken it, microseconds.
    pub(crate) taken_at: Option<u64>,
}

/// A shard that takes downlinks and does nothing with them.
pub(crate) struct Shard {
    pub(crate) receiver: Receiver,
    /// Messages of each log that it has.
    pub(crate) has: Vec<u64>,
    /// The offset behind the last one, by log.
    pub(crate) next: Vec<Option<u64>>,
    pub(crate) editions: u64,
    pub(crate) is_drained: bool,
}

pub(crate) struct Intake {
    pub(crate) rng: Rng,
    pub(crate) now: u64,
    pub(crate) clock: Clock,
    pub(crate) ingest: Ingest<SimBell>,
    pub(crate) publisher: Publisher,
    pub(crate) inbox: Inbox<Incoming>,
    pub(crate) redis: Option<SimRedis>,
    pub(crate) verdicts: Verdicts,
    pub(crate) born: rtrb::Consumer<Arc<Push>>,
    pub(crate) blocks: Arc<Blocks>,
    pub(crate) shards: Vec<Shard>,
    pub(crate) config: Config,
    pub(crate) addresses: Vec<Address>,
    pub(crate) by_address: HashMap<Address, usize>,
    /// By address: what the ingest core was given for it, in that order.
    pub(crate) logs: Vec<Vec<Bytes>>,
    /// Where a payload stands in its log, and the number that it had in the inbox, for those that are told apart.
    pub(crate) places: HashMap<(usize, u64), (usize, u64)>,
    pub(crate) asked: HashMap<u32, Asked>,
    pub(crate) tickets: u32,
    pub(crate) made: u64,
    /// Pushes that were given to the ingest core, by their ids.
    pub(crate) pushes: HashMap<String, u64>,
    pub(crate) editions: u64,
    /// Logs, places, and since when the publisher was told that they are done.
    pub(crate) done: Vec<(usize, usize, u64)>,
    /// What the last turn said, and when.
    pub(crate) next: Option<(Next, u64)>,
    pub(crate) is_over: bool,
    /// The largest publish, message and push so far, as allocated.
    pub(crate) largest: usize,
}

impl Intake {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let count = rng.between(1, 3);
        let blocks = Arc::new(Blocks::new(count));
        let topics = *rng.pick(&[1, 3, 100]);
        let topic = |n| Address::Topic(Topic::new(&format!("t{n}")).expect("a topic"));
        let addresses: Vec<Address> = std::iter::once(Address::All).chain((0..topics).map(topic)).collect();
        let way = |n| ring(n, Arc::new(Doorbell::new(SimBell::default())), Arc::clone(&blocks));
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..count).map(way).unzip();
        let bell = || Arc::new(Doorbell::new(EventFd::new().expect("an eventfd")));
        let (publisher, requests) = Publisher::new(bell());
        let ((births, born), (answers, verdicts)) = (births(), answers(bell()));
        let merge = Merge {
            messages_max: rng.scale(1, 100),
            bytes_max: rng.scale(100, 256 * 1024),
            delay: Duration::from_micros(rng.below(20_000) as u64),
        };
        let config = Config { merge, ..Config::default() };
        let (inbox, clock) = (Inbox::new(REDIS_INBOX_BYTES_MAX), Clock::start());
        let redis = rng.percent(75).then(|| {
            let queue =
                PublishQueue::new(PREFIX, REDIS_OUTBOX_BYTES_MAX, inbox.clone(), "me", clock.instant(0));
            SimRedis::new(queue, inbox.clone())
        });
        let to_redis = redis.as_ref().map(|redis| redis.queue.clone());
        let (broadcast, inbox_too) = (Broadcast::new(senders), inbox.clone());
        let of = Arc::clone(&blocks);
        let ends =
            Ends { requests, inbox: inbox_too, to_redis, broadcast, answers, births, blocks: of, clock };
        let shard = |receiver| Shard {
            receiver,
            has: vec![0; addresses.len()],
            next: vec![None; addresses.len()],
            editions: 1,
            is_drained: false,
        };
        trail::note(|| format!("{count} shards, {topics} topics, Redis {}, {merge:?}", redis.is_some()));
        Self {
            ingest: Ingest::new(&config, 1, ends),
            shards: receivers.into_iter().map(shard).collect(),
            now: 1_000_000,
            by_address: addresses.iter().cloned().enumerate().map(|(n, address)| (address, n)).collect(),
            logs: vec![Vec::new(); addresses.len()],
            places: HashMap::new(),
            asked: HashMap::new(),
            tickets: 0,
            made: 0,
            pushes: HashMap::new(),
            editions: 1,
            done: Vec::new(),
            next: None,
            is_over: false,
            largest: 0,
            rng,
            clock,
            publisher,
            inbox,
            redis,
            verdicts,
            born,
            blocks,
            config,
            addresses,
        }
    }

    /// The whole life of a world.
    pub(crate) fn run(mut self) {
        let steps = self.rng.between(50, 250);
        let (publishes, takes) = (*self.rng.pick(&[10, 40, 80]), *self.rng.pick(&[0, 10, 80]));
        for _ in 0..steps {
            let pause = *self.rng.pick(&[100, 3_000, 100_000, 1_500_000]);
            self.now += self.rng.below(pause) as u64;
            if self.rng.percent(publishes) {
                self.publish();
            }
            if self.rng.percent(5) {
                self.configure();
            }
            self.stir();
            self.sessions(false);
            for shard in 0..self.shards.len() {
                if self.rng.percent(takes) {
                    let most = self.rng.scale(1, 5_000);
                    self.take(shard, most);
                }
            }
            self.wake();
        }
        self.settle();
        self.drain();
    }

    pub(crate) fn configure(&mut self) {
        let edition = Edition { number: self.editions + 1, config: self.config.clone() };
        if self.publisher.direct(Directive::Configure(Arc::new(edition))).is_ok() {
            self.editions += 1;
            self.turn();
            for shard in &mut self.shards {
                if let Some(ShardCommand::Configure(edition)) = shard.receiver.command() {
                    shard.editions = edition.number;
                }
                assert_eq!(shard.editions, self.editions, "a configuration waits for messages");
            }
        }
    }

    /// Something goes wrong in Redis or gets better.
    pub(crate) fn stir(&mut self) {
        let (rng, now) = (&mut self.rng, self.now);
        let Some(redis) = &mut self.redis else { return };
        match rng.below(40) {
            0 if redis.is_publishing => redis.disconnect(rng, now),
            1 if redis.is_subscribed => redis.unsubscribe(),
            2 => redis.hangs_until = now + rng.scale(1_000, 8_000_000) as u64,
            3 => redis.mood = *rng.pick(&[Mood::Busy, Mood::Refuses]),
            13 => redis.is_cut = true,
            4..=9 => redis.mood = Mood::Well,
            12 if redis.is_cut => redis.unsubscribe(),
            10 => redis.lose_marks(),
            11 if !redis.is_publishing => redis.queue.refuse_unsent("the Redis server is a replica"),
            14..=24 if !redis.is_publishing => redis.connect(),
            14..=24 if !redis.is_subscribed => redis.subscribe(),
            _ => {}
        }
    }

    /// The sessions and Redis do some of what they have to do.
    pub(crate) fn sessions(&mut self, is_prompt: bool) {
        let instant = self.clock.instant(self.now);
        let rng = &mut self.rng;
        let mut some = || if is_prompt { usize::MAX } else { rng.scale(1, 20_000) };
        let Some(redis) = &mut self.redis else { return };
        redis.send(instant);
        redis.carry_out(some(), self.now);
        redis.read_answers(some(), instant);
        let read = redis.read_stream(some());
        for (channel, payload, number) in read {
            self.came(&channel, &payload, number);
        }
    }

    /// The loop wakes up if what it waits for has come, or the time is over.
    pub(crate) fn wake(&mut self) {
        if self.is_over {
            return;
        }
        let is_due = match self.next {
            None => true,
            Some((Next::Wait(lack, at_most), since)) => {
                let is_late = self.now >= since + at_most.as_micros() as u64;
                is_late || self.ingest.has_come(lack) || self.has_news(lack)
            }
            Some((next, _)) => panic!("{next:?} is no wait"),
        };
        if is_due {
            self.turn();
        }
    }

    pub(crate) fn has_news(&self, lack: Lack) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        match lack {
            Lack::Item => pin!(self.inbox.wait()).as_mut().poll(&mut context).is_ready(),
            _ => pin!(self.inbox.notified()).as_mut().poll(&mut context).is_ready(),
        }
    }

    /// Turns until there is nothing to do. A turn that says that there is more is followed by one that does something.
    pub(crate) fn turn(&mut self) {
        let mut promised = false;
        for _ in 0..AGAIN_MAX {
            let before = self.blocks.ingest.progress.get();
            self.ingest.work(self.now);
            let next = self.ingest.finish(self.now);
            let worked = self.blocks.ingest.progress.get() > before;
            assert!(!promised || worked, "a turn said that there is more, and the next one did nothing");
            while let Ok(push) = self.born.pop() {
                drop(push);
            }
            self.hear();
            self.check_memory();
            promised = next == Next::Again;
            if !promised {
                self.check_wait(next);
                self.next = Some((next, self.now));
                self.is_over = next == Next::Over;
                return;
            }
        }
        panic!("it turns for ever");
    }

    /// It waits for something that is not there.
    pub(crate) fn check_wait(&self, next: Next) {
        let (is_full, has_items) =
            (self.ingest.holders().has_waiting, !self.inbox.is_empty() || self.publisher.waiting_bytes() > 0);
        match next {
            Next::Wait(_, Duration::ZERO) => panic!("a wait of no time is a spin"),
            Next::Wait(Lack::Ring, _) => assert!(is_full, "it waits for rings that have room"),
            Next::Wait(Lack::Item | Lack::Rest, at_most) => {
                assert!(!has_items && !is_full, "it waits for items, and has some");
                assert!(at_most <= TICK, "nobody could tell it from one that stands still");
            }
            Next::Over | Next::Again => {}
        }
    }
}
