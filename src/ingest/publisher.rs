//! What the API holds of the ingest core: one end of a ring of requests, one of a lane of directives, and the doorbell.
//!
//! A directive passes the requests: neither a drain nor a configuration waits for a publish. *Not here*: HTTP (`api`), what ingest does with a request (`ingest`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::live::Edition;
use crate::downlink::Census;
use crate::ingest::answers::Ticket;
use crate::ring::doorbell::Doorbell;
use fanfare_core::limits::{COMMAND_SLOTS, PUBLISH_BYTES_MAX, PUBLISH_SLOTS};
use fanfare_core::model::footprint::Footprint;
use fanfare_core::model::{Address, Message, Moment, addresses_bytes};
use fanfare_core::push;
use fanfare_core::push::id::PushId;

/// What the control thread may ask of the ingest core.
#[derive(Debug)]
pub enum Request {
    /// Publish these messages, in order, to each of the addresses.
    Publish {
        /// Whom to tell what became of it; with Redis there is one.
        ticket: Option<Ticket>,
        /// To whom; never empty.
        addresses: Vec<Address>,
        /// What; never empty, each within [`fanfare_core::limits::MESSAGE_BYTES_MAX`].
        messages: Vec<Message>,
    },
    /// Run this as a push.
    Push(Box<NewPush>),
    /// Where does this address stand? Ingest fills `position` and sends the census on to the shards.
    Inspect {
        /// Receives offset and epoch.
        position: Arc<Position>,
        /// Receives the members.
        census: Arc<Census>,
    },
}

/// What the control thread tells the ingest core on behalf of the main thread.
#[derive(Debug)]
pub enum Directive {
    /// Go by this configuration from here on, and tell every shard to.
    Configure(Arc<Edition>),
    /// The process stops: seal and deliver what has entered, within a time, then tell every shard to drain.
    Drain,
}

/// A push that was accepted, and the name it got.
#[derive(Debug)]
pub struct NewPush {
    /// Its name.
    pub id: PushId,
    /// What it is.
    pub request: push::request::Request,
    /// When it was accepted.
    pub accepted: Moment,
    /// Whom to tell what became of it.
    pub ticket: Ticket,
}

/// Whom a publish on its way through Redis belongs to.
#[derive(Debug, PartialEq, Eq)]
pub enum Tag {
    /// Whoever has this ticket.
    Publish(Ticket),
    /// Those who wait for the push of this id.
    Push(PushId),
}

/// An address's offset and epoch, filled by ingest before it sends the census on.
#[derive(Debug, Default)]
pub struct Position {
    /// Offset that the next message will get.
    pub next_offset: AtomicU64,
    /// Epoch of that offset.
    pub epoch: AtomicU64,
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// [`PUBLISH_SLOTS`] requests or [`PUBLISH_BYTES_MAX`] bytes wait already: try again later.
    Full,
    /// The process is stopping.
    Stopping,
}

impl Request {
    /// Memory of its messages and addresses, for the byte bound.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Publish { addresses, messages, .. } => {
                let messages: usize = messages.iter().map(Message::allocated_bytes).sum();
                (addresses_bytes(addresses) + messages) as u64
            }
            Self::Push(new) => new.request.allocated_bytes() as u64,
            Self::Inspect { .. } => 0,
        }
    }

    /// Messages, each once for every address.
    pub fn copies(&self) -> u64 {
        match self {
            Self::Publish { addresses, messages, .. } => (addresses.len() * messages.len()) as u64,
            Self::Push(new) => (new.request.to.len() * new.request.messages.len()) as u64,
            Self::Inspect { .. } => 0,
        }
    }
}

/// The control thread's end.
pub struct Publisher {
    requests: rtrb::Producer<Request>,
    directives: rtrb::Producer<Directive>,
    doorbell: Arc<Doorbell>,
    stopping: bool,
    /// Payload bytes handed over so far.
    bytes_given: u64,
    /// Payload bytes that ingest has taken so far; ingest writes it.
    bytes_taken: Arc<AtomicU64>,
}

/// The ingest core's end.
pub struct Requests {
    ring: rtrb::Consumer<Request>,
    directives: rtrb::Consumer<Directive>,
    bytes_taken: Arc<AtomicU64>,
}

impl Requests {
    /// The oldest request.
    pub fn pop(&mut self) -> Option<Request> {
        let request = self.ring.pop().ok()?;
        // The only writer: a load and a store are an addition.
        let taken = self.bytes_taken.load(Ordering::Relaxed) + request.bytes();
        self.bytes_taken.store(taken, Ordering::Release);
        Some(request)
    }

    /// The oldest directive: it goes before any request.
    pub fn directive(&mut self) -> Option<Directive> {
        self.directives.pop().ok()
    }

    /// Whether there is no request.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Whether there is a directive.
    pub fn has_directive(&self) -> bool {
        !self.directives.is_empty()
    }
}

impl Publisher {
    /// The two ends: the control thread keeps the publisher, the ingest core the requests.
    pub fn new(doorbell: Arc<Doorbell>) -> (Self, Requests) {
        let (requests, consumer) = rtrb::RingBuffer::new(PUBLISH_SLOTS);
        let (directives, obeyer) = rtrb::RingBuffer::new(COMMAND_SLOTS);
        let bytes_taken = Arc::new(AtomicU64::new(0));
        let taken_too = Arc::clone(&bytes_taken);
        let publisher = Self { requests, directives, doorbell, stopping: false, bytes_given: 0, bytes_taken };
        (publisher, Requests { ring: consumer, directives: obeyer, bytes_taken: taken_too })
    }

    /// Hands a request over, or says why not; never waits.
    pub fn request(&mut self, request: Request) -> Result<(), NotTaken> {
        if self.stopping {
            return Err(NotTaken::Stopping);
        }
        let bytes = request.bytes();
        let waiting = self.bytes_given - self.bytes_taken.load(Ordering::Acquire);
        if waiting > 0 && waiting + bytes > PUBLISH_BYTES_MAX {
            return Err(NotTaken::Full);
        }
        self.requests.push(request).map_err(|_| NotTaken::Full)?;
        self.bytes_given += bytes;
        self.doorbell.ring();
        Ok(())
    }

    /// Gives a directive; it comes back when the ingest core has not taken those before, which means that it is stuck.
    pub fn direct(&mut self, directive: Directive) -> Result<(), Directive> {
        let drains = matches!(directive, Directive::Drain);
        self.directives.push(directive).map_err(|rtrb::PushError::Full(directive)| directive)?;
        self.stopping |= drains;
        self.doorbell.ring();
        Ok(())
    }

    /// Memory of requests that ingest has not taken yet.
    pub fn waiting_bytes(&self) -> u64 {
        self.bytes_given - self.bytes_taken.load(Ordering::Acquire)
    }

    /// Whether [`Directive::Drain`] was given.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }
}

impl Footprint for Publisher {
    /// What the requests bring that ingest has not taken yet.
    fn allocated_bytes(&self) -> usize {
        self.waiting_bytes() as usize
    }
}

impl Position {
    /// Written by ingest before the census leaves it; the census's release makes it visible.
    pub fn fill(&self, next_offset: u64, epoch: u64) {
        self.next_offset.store(next_offset, Ordering::Relaxed);
        self.epoch.store(epoch, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::eventfd::EventFd;
    use fanfare_core::model::{PayloadKind, Topic};

    fn publish(bytes: usize) -> Request {
        let message = Message { payload: vec![b'1'; bytes].into(), kind: PayloadKind::Json };
        Request::Publish { ticket: None, addresses: vec![Address::All], messages: vec![message] }
    }

    #[test]
    fn requests_are_bounded_in_bytes_and_a_large_one_alone_is_taken() {
        let (mut publisher, mut requests) =
            Publisher::new(Arc::new(Doorbell::new(EventFd::new().expect("an eventfd"))));
        let half = PUBLISH_BYTES_MAX as usize / 2 - 4096;
        assert_eq!(publisher.request(publish(half)), Ok(()));
        assert_eq!(publisher.request(publish(half)), Ok(()));
        assert_eq!(publisher.request(publish(8192)), Err(NotTaken::Full));
        assert!(requests.pop().is_some());
        assert_eq!(publisher.request(publish(8192)), Ok(()));
        while requests.pop().is_some() {}
        assert_eq!(publisher.request(publish(3 * half)), Ok(()));
        assert_eq!(publisher.request(publish(8192)), Err(NotTaken::Full));
    }

    #[test]
    fn the_addresses_of_a_request_count_as_its_messages_do() {
        let (mut publisher, mut requests) =
            Publisher::new(Arc::new(Doorbell::new(EventFd::new().expect("an eventfd"))));
        let name = |n: usize| Address::Topic(Topic::new(&format!("{n:0256}")).expect("a topic"));
        let addresses: Vec<Address> = (0..100).map(name).collect();
        let message = || Message { payload: vec![b'1'].into(), kind: PayloadKind::Json };
        let request = Request::Publish { ticket: None, addresses, messages: vec![message()] };
        assert_eq!(publisher.request(request), Ok(()));
        assert!(publisher.waiting_bytes() > 100 * 256, "{}", publisher.waiting_bytes());
        let to = (0..100).map(name).collect();
        let push = push::request::Request {
            to,
            messages: vec![message()],
            terms: push::terms::Terms::default(),
            id: None,
            is_job: true,
        };
        assert!(push.allocated_bytes() > 100 * 256);
        while requests.pop().is_some() {}
        assert_eq!(publisher.waiting_bytes(), 0);
    }

    #[test]
    fn requests_are_bounded_in_number_and_a_directive_passes_them_all() {
        let (mut publisher, mut requests) =
            Publisher::new(Arc::new(Doorbell::new(EventFd::new().expect("an eventfd"))));
        for _ in 0..PUBLISH_SLOTS {
            assert_eq!(publisher.request(publish(1)), Ok(()));
        }
        assert_eq!(publisher.request(publish(1)), Err(NotTaken::Full));
        assert!(!requests.has_directive() && !publisher.is_stopping());
        assert!(publisher.direct(Directive::Drain).is_ok());
        assert!(publisher.is_stopping() && requests.has_directive());
        assert!(matches!(requests.directive(), Some(Directive::Drain)));
        assert_eq!(publisher.request(publish(1)), Err(NotTaken::Stopping));
    }
}
