//! The publishes on their way through Redis, for the three tasks that share them: the loop that offers, the session that
//! sends, the session that is subscribed. Each is woken by what concerns it.
//!
//! *Not here*: the states of a publish (`outbound`), the connections (`publish`, `subscribe`).

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::incoming::Incoming;
use super::outbound::{Full, Outbound, To};
use crate::ingest::answers::Verdict;
use crate::ingest::inbox::{Bell, Inbox};
use crate::ingest::publisher::Tag;
use fanfare_core::model::footprint::Footprint;

/// One of the ends; all are alike.
#[derive(Clone)]
pub struct PublishQueue(Rc<Inner>);

struct Inner {
    outbound: RefCell<Outbound>,
    /// For the publishing session: something can be sent.
    sendable: Bell,
    /// For the subscription: a mark was published, or the publishing session has moved.
    wanted: Bell,
    /// Tells the marks of this gateway from those of others.
    name: Box<str>,
    /// The loop's: it is notified of verdicts.
    inbox: Inbox<Incoming>,
    /// The server that the publishing session is connected to.
    publishing_at: Cell<Option<SocketAddr>>,
}

impl PublishQueue {
    /// An empty queue for channels under `prefix`; `inbox` is that of the loop that takes the verdicts.
    /// `name` differs from that of every other gateway.
    pub fn new(prefix: &str, bytes_max: usize, inbox: Inbox<Incoming>, name: &str, now: Instant) -> Self {
        Self(Rc::new(Inner {
            outbound: RefCell::new(Outbound::new(prefix, bytes_max, now)),
            sendable: Bell::default(),
            wanted: Bell::default(),
            name: name.into(),
            inbox,
            publishing_at: Cell::default(),
        }))
    }

    /// Takes a publish, or gives its tag back because it has no room. Never waits.
    pub fn offer(&self, tag: Tag, to: To, payloads: Vec<Bytes>, now: Instant) -> Result<(), (Tag, Full)> {
        let offered = self.0.outbound.borrow_mut().offer(tag, to, payloads, now);
        self.0.sendable.ring();
        offered.map_err(|tag| (tag, Full))
    }

    /// Bytes of publishes without a verdict.
    pub fn bytes(&self) -> usize {
        self.0.outbound.borrow().bytes()
    }

    /// Whether every publish has its verdict.
    pub fn is_empty(&self) -> bool {
        self.0.outbound.borrow().is_empty()
    }

    /// The oldest verdict that was not told. What is too late has one.
    pub fn verdict(&self, now: Instant) -> Option<(Tag, Verdict)> {
        let mut outbound = self.0.outbound.borrow_mut();
        outbound.look(now);
        outbound.verdict()
    }

    /// Whether a verdict waits to be told.
    pub fn has_verdict(&self) -> bool {
        self.0.outbound.borrow().has_verdict()
    }

    /// The loop has taken [`Incoming::Mark`] from the inbox, and all that came before.
    pub fn mark_taken(&self) {
        self.0.outbound.borrow_mut().mark_taken();
    }

    /// Gives every publish up; how many messages Redis is not known to have, each once for every channel.
    pub fn give_up(&self, why: &str) -> usize {
        self.0.outbound.borrow_mut().give_up(why)
    }

    // --- for the publishing session

    /// Waits until something can be sent: a publish, or a mark if `marks`. Cancel-safe. One task waits at a time, or it
    /// panics.
    pub async fn sendable(&self, marks: bool) {
        let can_send =
            |outbound: &Outbound| outbound.can_send(Instant::now()) || (marks && outbound.wants_mark());
        self.0.sendable.until(|| can_send(&self.0.outbound.borrow())).await;
    }

    /// Whether a mark is to be published now.
    pub fn wants_mark(&self) -> bool {
        self.0.outbound.borrow().wants_mark()
    }

    /// The payload of the mark that is being published.
    pub fn mark_sent(&self) -> String {
        let number = self.0.outbound.borrow_mut().mark_sent();
        format!("{} {number}", self.0.name)
    }

    /// Redis has published the oldest mark that it had not answered, or has not.
    pub fn mark_answered(&self, is_taken: bool) {
        self.0.outbound.borrow_mut().mark_answered(is_taken);
        self.0.wanted.ring();
    }

    /// When something can be sent by time alone.
    pub fn sends_at(&self) -> Option<Instant> {
        self.0.outbound.borrow().sends_at()
    }

    /// The next commands, and how many.
    pub fn send(&self, bytes: usize, now: Instant) -> (BytesMut, usize) {
        self.0.outbound.borrow_mut().send(bytes, now)
    }

    /// Bytes that were sent and not answered.
    pub fn sent_bytes(&self) -> usize {
        self.0.outbound.borrow().sent_bytes()
    }

    /// Redis has answered the oldest publish that was sent; `false`: there is none.
    pub fn answered(&self, answer: Result<i64, String>, now: Instant) -> bool {
        let is_one = self.0.outbound.borrow_mut().answered(answer, now);
        self.tell();
        is_one
    }

    /// The publishing connection stands, to this server.
    pub fn connected(&self, server: Option<SocketAddr>) {
        self.0.publishing_at.set(server);
        self.0.wanted.ring();
    }

    /// It is lost; parts whose fate is not known.
    pub fn connection_lost(&self) -> usize {
        let lost = self.0.outbound.borrow_mut().connection_lost();
        self.tell();
        lost
    }

    /// Nothing can be published for now, for this reason.
    pub fn refuse_unsent(&self, why: &str) {
        self.0.outbound.borrow_mut().refuse_unsent(why);
        self.tell();
    }

    // --- for the subscription

    /// It stands.
    pub fn subscription_stands(&self) {
        self.0.outbound.borrow_mut().subscription_stands();
        self.0.sendable.ring();
    }

    /// It is lost.
    pub fn subscription_lost(&self) {
        self.0.outbound.borrow_mut().subscription_lost();
        self.tell();
    }

    /// Where the publishing session is, if that is another server than these: the subscription's own, and one that it could
    /// not follow to.
    pub fn publishes_elsewhere(&self, here: [Option<SocketAddr>; 2]) -> Option<SocketAddr> {
        let there = self.0.publishing_at.get();
        there.filter(|_| here[0].is_some() && !here.contains(&there))
    }

    /// The server that the publishing session is connected to.
    pub fn publishing_at(&self) -> Option<SocketAddr> {
        self.0.publishing_at.get()
    }

    /// Waits until Redis has taken another mark than `looked_for`, or the publishing session is elsewhere. Cancel-safe, as
    /// [`Self::sendable`].
    pub async fn wanted(&self, here: [Option<SocketAddr>; 2], looked_for: Option<u64>) {
        let is_wanted = || {
            let awaited = self.mark_to_look_for();
            (awaited.is_some() && awaited != looked_for) || self.publishes_elsewhere(here).is_some()
        };
        self.0.wanted.until(is_wanted).await;
    }

    /// The oldest mark that Redis has taken and that has not come back.
    pub fn mark_to_look_for(&self) -> Option<u64> {
        self.0.outbound.borrow().mark_awaited()
    }

    /// A message came on the channel of marks; whether it is the mark that is awaited.
    pub fn mark_arrived(&self, payload: &[u8]) -> bool {
        let number = std::str::from_utf8(payload).ok().and_then(|text| {
            let (name, number) = text.split_once(' ')?;
            number.parse().ok().filter(|_| *name == *self.0.name)
        });
        let is_awaited = number.is_some_and(|number| self.0.outbound.borrow_mut().mark_arrived(number));
        if is_awaited {
            self.0.sendable.ring();
        }
        is_awaited
    }

    /// Wakes whoever has something to do by what has changed.
    fn tell(&self) {
        let outbound = self.0.outbound.borrow();
        let has_verdict = outbound.has_verdict();
        drop(outbound);
        if has_verdict {
            self.0.inbox.notify();
        }
        self.0.sendable.ring();
    }
}

impl Footprint for PublishQueue {
    fn allocated_bytes(&self) -> usize {
        self.0.outbound.borrow().allocated_bytes()
    }
}

impl std::fmt::Debug for PublishQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublishQueue").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}
