//! Publishes on their way to Redis: those that wait for the session, and those that it sent and has no answer for.
//!
//! Both halves hold bytes of one bound, so a server that stops answering fills it as surely as one that is away, and
//! an empty queue means that Redis has everything. *Not here*: the connection (`publish`).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use crate::ingest::inbox::Bell;
use crate::limits::REDIS_PUBLISH_BYTES;
use crate::wire::resp;

/// The queue's end that everybody in ingest may hold; the session holds another.
#[derive(Clone)]
pub struct PublishQueue(Rc<Inner>);

/// The bytes on their way have reached the bound: try again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

struct Inner {
    prefix: Box<[u8]>,
    bytes_max: usize,
    /// Bytes of both halves.
    bytes: Cell<usize>,
    waiting: RefCell<VecDeque<Publish>>,
    /// Bytes of each publish that was sent, in the order in which Redis answers.
    sent: RefCell<VecDeque<usize>>,
    sent_bytes: Cell<usize>,
    arrived: Bell,
    emptied: Bell,
}

struct Publish {
    channel: Box<[u8]>,
    payload: Bytes,
}

impl Publish {
    fn bytes(&self) -> usize {
        REDIS_PUBLISH_BYTES + self.channel.len() + self.payload.len()
    }
}

impl PublishQueue {
    /// An empty queue for channels under `prefix`.
    pub fn new(prefix: &str, bytes_max: usize) -> Self {
        Self(Rc::new(Inner {
            prefix: prefix.as_bytes().into(),
            bytes_max,
            bytes: Cell::default(),
            waiting: RefCell::default(),
            sent: RefCell::default(),
            sent_bytes: Cell::default(),
            arrived: Bell::default(),
            emptied: Bell::default(),
        }))
    }

    /// Takes a publish to `prefix` + `channel`, or says that it has no space. Never waits.
    pub fn try_publish(&self, channel: &[u8], payload: Bytes) -> Result<(), Full> {
        let publish = Publish { channel: [&self.0.prefix, channel].concat().into(), payload };
        let bytes = self.0.bytes.get() + publish.bytes();
        if bytes > self.0.bytes_max {
            return Err(Full);
        }
        self.0.bytes.set(bytes);
        self.0.waiting.borrow_mut().push_back(publish);
        self.0.arrived.ring();
        Ok(())
    }

    /// Bytes on their way: payloads, channels, and [`REDIS_PUBLISH_BYTES`] for each publish.
    pub fn bytes(&self) -> usize {
        self.0.bytes.get()
    }

    /// Publishes on their way.
    pub fn len(&self) -> usize {
        self.0.waiting.borrow().len() + self.0.sent.borrow().len()
    }

    /// Whether every publish was answered by Redis, or given up.
    pub fn is_empty(&self) -> bool {
        self.0.bytes.get() == 0
    }

    /// Waits until the queue is empty: while Redis is away that is not before its return, so give it a deadline.
    /// Cancel-safe. One task waits at a time, or it panics.
    pub async fn flushed(&self) {
        self.0.emptied.until(|| self.is_empty()).await;
    }

    /// Waits until something waits to be sent. Cancel-safe.
    pub(super) async fn arrived(&self) {
        self.0.arrived.until(|| !self.0.waiting.borrow().is_empty()).await;
    }

    /// Moves the oldest publishes from waiting to sent; returns them as commands, about `bytes` of them, or nothing.
    pub(in crate::ingest) fn send(&self, bytes: usize) -> BytesMut {
        let mut out = BytesMut::new();
        let (mut waiting, mut sent) = (self.0.waiting.borrow_mut(), self.0.sent.borrow_mut());
        while out.len() < bytes {
            let Some(publish) = waiting.pop_front() else { break };
            resp::command(&mut out, &[b"PUBLISH", &publish.channel, &publish.payload]);
            self.0.sent_bytes.set(self.0.sent_bytes.get() + publish.bytes());
            sent.push_back(publish.bytes());
        }
        out
    }

    /// Bytes that were sent and not answered.
    pub(super) fn sent_bytes(&self) -> usize {
        self.0.sent_bytes.get()
    }

    /// The oldest publish that was sent is answered; `false`: there is none.
    pub(in crate::ingest) fn answered(&self) -> bool {
        let Some(bytes) = self.0.sent.borrow_mut().pop_front() else { return false };
        self.release(bytes);
        true
    }

    /// Gives up what was sent and not answered; how many.
    pub(super) fn lost(&self) -> usize {
        let lost = std::mem::take(&mut *self.0.sent.borrow_mut());
        self.release(lost.iter().sum());
        lost.len()
    }

    fn release(&self, sent_bytes: usize) {
        self.0.sent_bytes.set(self.0.sent_bytes.get() - sent_bytes);
        self.0.bytes.set(self.0.bytes.get() - sent_bytes);
        if self.is_empty() {
            self.0.emptied.ring();
        }
    }
}

impl std::fmt::Debug for PublishQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublishQueue").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(bytes: usize) -> Bytes {
        vec![b'x'; bytes].into()
    }

    #[test]
    fn a_publish_counts_until_it_is_answered() {
        let queue = PublishQueue::new("p:", 2 * (REDIS_PUBLISH_BYTES + 5 + 100));
        queue.try_publish(b"all", payload(100)).unwrap();
        queue.try_publish(b"all", payload(100)).unwrap();
        assert_eq!(queue.try_publish(b"", Bytes::new()), Err(Full));
        assert!(!queue.send(1 << 20).is_empty());
        assert_eq!(queue.try_publish(b"", Bytes::new()), Err(Full), "sent is not answered");
        assert!(queue.answered());
        queue.try_publish(b"all", payload(100)).unwrap();
        assert!(queue.answered() && !queue.answered());
        assert_eq!((queue.sent_bytes(), queue.bytes()), (0, REDIS_PUBLISH_BYTES + 5 + 100));
    }

    #[test]
    fn what_was_sent_is_given_up_with_its_session_and_what_waits_is_kept() {
        let queue = PublishQueue::new("p:", 1 << 20);
        for n in 0..10 {
            queue.try_publish(format!("{n}").as_bytes(), payload(1000)).unwrap();
        }
        let first = queue.send(3000);
        assert!(first.starts_with(b"*3\r\n$7\r\nPUBLISH\r\n$3\r\np:0\r\n$1000\r\n"));
        assert_eq!(queue.lost(), 3);
        assert!(queue.send(1).starts_with(b"*3\r\n$7\r\nPUBLISH\r\n$3\r\np:3\r\n"));
        assert_eq!((queue.lost(), queue.lost()), (1, 0));
        queue.send(1 << 20);
        assert_eq!(queue.lost(), 6);
        assert!(queue.is_empty());
    }
}
