//! The ingest core's side of both sessions, in a runtime like its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfare::config::{RedisEndpoint, RedisUrl};
use fanfare::ingest::answers::{How, Ticket, Verdict};
use fanfare::ingest::inbox::Inbox;
use fanfare::ingest::publisher::Tag;
use fanfare::ingest::redis::{Incoming, PublishQueue, To, publish, subscribe};
use fanfare::metrics::{Blocks, IngestBlock};
use fanfare::redis::{Dialer, Timing};
use fanfare_core::limits::REDIS_OUTBOX_BYTES_MAX;
use fanfare_core::model::{Address, Topic};

/// The prefix of every test: as hard to match literally as a prefix can be.
pub(crate) const PREFIX: &str = "t[1]*:";

/// Timing short enough for a test of what happens when patience ends.
pub(crate) const IMPATIENT: Timing = Timing {
    ping_after: Duration::from_millis(200),
    pong_within: Duration::from_millis(400),
    connect_deadline: Duration::from_millis(800),
};

/// The ingest core's side of both sessions.
pub(crate) struct Gateway {
    pub(crate) inbox: Inbox<Incoming>,
    pub(crate) queue: PublishQueue,
    pub(crate) blocks: Arc<Blocks>,
}

impl Gateway {
    pub(crate) fn new(inbox_bytes_max: usize) -> Self {
        let inbox = Inbox::new(inbox_bytes_max);
        Self {
            queue: PublishQueue::new(PREFIX, REDIS_OUTBOX_BYTES_MAX, inbox.clone(), "test", Instant::now()),
            inbox,
            blocks: Arc::new(Blocks::new(1)),
        }
    }

    pub(crate) fn count(&self) -> &IngestBlock {
        &self.blocks.ingest
    }

    pub(crate) fn dialer(url: &RedisUrl, timing: Timing) -> Dialer {
        let (dialer, lookup) = Dialer::new(url, timing, 7).unwrap();
        if let Some(lookup) = lookup {
            std::thread::spawn(move || lookup.run());
        }
        dialer
    }

    pub(crate) fn subscribes(&self, url: &RedisUrl, timing: Timing) {
        let dialer = Self::dialer(url, timing);
        let (inbox, queue) = (self.inbox.clone(), self.queue.clone());
        monoio::spawn(subscribe(dialer, PREFIX.into(), inbox, queue, Arc::clone(&self.blocks)));
    }

    pub(crate) fn publishes(&self, url: &RedisUrl, timing: Timing) {
        let (dialer, queue) = (Self::dialer(url, timing), self.queue.clone());
        monoio::spawn(publish(dialer, PREFIX.into(), queue, Arc::clone(&self.blocks)));
    }

    /// Publishes by HTTP, as far as Redis is concerned: to everybody, or to a topic.
    pub(crate) fn offer(&self, topic: Option<&str>, payload: impl Into<Bytes>) {
        let address = topic.map_or(Address::All, |name| Address::Topic(Topic::new(name).expect("a topic")));
        let (tag, to) = (Tag::Publish(Ticket(0)), To::Addresses([address].into()));
        assert!(self.queue.offer(tag, to, vec![payload.into()], Instant::now()).is_ok());
    }

    /// What became of the oldest publish that was not told: `None` is done.
    pub(crate) async fn outcome(&self) -> Option<How> {
        let told = async {
            loop {
                if let Some((_, verdict)) = self.queue.verdict(Instant::now()) {
                    return verdict;
                }
                monoio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        match within("it is known what became of a publish", told).await {
            Verdict::Done => None,
            Verdict::Failed(failed) => Some(failed.how),
            other => panic!("{other:?}"),
        }
    }

    /// Takes everything that comes, as the ingest core does, until a publish is decided.
    pub(crate) async fn outcome_of_one_that_comes_back(&self) -> Option<How> {
        while !self.queue.has_verdict() {
            match self.inbox.try_pop() {
                Some(Incoming::Mark) => self.queue.mark_taken(),
                Some(_) => {}
                None => within("something comes in, or a verdict", self.inbox.wait()).await,
            }
        }
        self.outcome().await
    }

    pub(crate) async fn subscribed(&self) {
        eventually("the subscription stands", || self.count().redis_subscribed.get() == 1).await;
    }

    /// The next thing that comes in.
    pub(crate) async fn next(&self) -> Incoming {
        loop {
            match self.inbox.try_pop() {
                Some(Incoming::Mark) => self.queue.mark_taken(),
                // Of a user that may not open a transaction.
                Some(Incoming::Message { channel, .. }) if channel == "probe" => {}
                Some(incoming) => return incoming,
                None => {}
            }
            within("something comes in", self.inbox.wait()).await;
        }
    }

    pub(crate) async fn next_message(&self) -> (Bytes, Bytes) {
        match self.next().await {
            Incoming::Message { channel, payload } => (channel, payload),
            Incoming::Gap => panic!("a gap"),
            Incoming::Mark => unreachable!("`next` takes them"),
        }
    }
}

pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    let Ok(output) = monoio::time::timeout(Duration::from_secs(20), future).await else {
        panic!("never: {what}")
    };
    output
}

pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let poll = async {
        while !holds() {
            monoio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within(what, poll).await;
}

pub(crate) fn run(test: impl Future<Output = ()>) {
    monoio::RuntimeBuilder::<monoio::IoUringDriver>::new().enable_timer().build().unwrap().block_on(test);
}

pub(crate) fn tcp(port: u16) -> RedisUrl {
    RedisUrl { endpoint: RedisEndpoint::Tcp { host: "127.0.0.1".into(), port }, user: None, password: None }
}

pub(crate) fn channel(suffix: &str) -> Vec<u8> {
    format!("{PREFIX}{suffix}").into_bytes()
}
