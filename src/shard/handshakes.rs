//! Handshakes under way on one shard: a socket, the bytes so far, and when they began; and who is let in.
//!
//! All of it changes here alone. *Not here*: accepting and answering (`accept`), the plane (`dataplane`).

use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::time::Instant;

use slab::Slab;

use crate::dataplane::Token;
use crate::log::throttle::Throttle;
use fanfare_core::limits::{DRAIN_HANDSHAKES, TICK};
use fanfare_core::model::{Clients, Tick};
use fanfare_core::session::clock::Clock;
use fanfare_core::websocket::handshake::Progress;

/// Who is let in.
///
/// ```text
///  Open ──► Closing: nobody is accepted, handshakes under way go on ──► Closed: they are answered 503
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Open,
    /// Closed from that tick on.
    Closing(Tick),
    Closed,
}

/// A socket whose handshake is not done.
#[derive(Debug)]
pub(super) struct Handshake {
    /// Owned by whoever holds the pending.
    pub(super) fd: RawFd,
    pub(super) peer: SocketAddr,
    pub(super) since: Tick,
    /// What has come of the head.
    pub(super) head: Vec<u8>,
    /// What is known of that.
    pub(super) progress: Progress,
}

impl Handshake {
    /// Bytes that it holds while it waits, as allocated.
    pub(super) fn bytes(&self) -> usize {
        PLACE_BYTES + self.head.capacity()
    }

    /// Keeps more of its head, in twice the room where that is needed, but not in more than the largest head has.
    pub(super) fn keep(&mut self, bytes: &[u8], head_bytes_max: usize) {
        let len = self.head.len() + bytes.len();
        if len > self.head.capacity() {
            let room = (2 * self.head.capacity()).min(head_bytes_max).max(len);
            self.head.reserve_exact(room - self.head.len());
        }
        self.head.extend_from_slice(bytes);
    }
}

/// A pending who waits for the rest of its head.
#[derive(Debug)]
struct Place {
    /// Tells it from those who had the place before.
    generation: u32,
    pending: Handshake,
}

/// Ticks after which a shard that cannot accept is blocked: a crowd that leaves and comes back is served before that.
const BLOCKED_AFTER: u32 = 2;

/// Bytes of a place: where places get more room they get twice as much.
const PLACE_BYTES: usize = 2 * size_of::<Place>();

/// Handshakes under way on one shard.
pub(super) struct Handshakes {
    clients: Clients,
    door: Door,
    /// Bounded by `clients.handshakes_max`.
    places: Slab<Place>,
    /// What those who have a place hold, as allocated. Bounded by `clients.handshake_bytes_max`.
    bytes: usize,
    next_generation: u32,
    /// Those whose deadline has passed; some of them may have left since.
    late: Vec<Token>,
    /// Whether the plane will report who waits at the listener.
    is_watched: bool,
    pub(super) shortage: Shortage,
}

impl Handshakes {
    pub(super) fn new(clients: &Clients) -> Self {
        Self {
            clients: clients.clone(),
            door: Door::Open,
            places: Slab::new(),
            bytes: 0,
            next_generation: 0,
            late: Vec::new(),
            is_watched: false,
            shortage: Shortage::default(),
        }
    }

    /// Goes by these rules from the next head on.
    pub(super) fn configure(&mut self, clients: &Clients) {
        self.clients = clients.clone();
    }

    /// What a head is judged by.
    pub(super) fn clients(&self) -> &Clients {
        &self.clients
    }

    /// How many have a place.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Bytes that those hold, as allocated.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The plane reports who waits at the listener, from now until it has done so once.
    pub(super) fn watch(&mut self) {
        self.is_watched = true;
    }

    /// It has reported that somebody waits.
    pub(super) fn note_knock(&mut self) {
        self.is_watched = false;
    }

    /// Whether somebody may come whom nobody would report.
    pub(super) fn is_unwatched(&self) -> bool {
        self.is_open() && !self.is_watched
    }

    /// Nobody is accepted from here on; handshakes under way have some time.
    pub(super) fn close(&mut self, now: Tick) {
        let ticks = (DRAIN_HANDSHAKES.as_millis() / TICK.as_millis()) as u32;
        self.door = Door::Closing(Tick(now.0 + ticks));
    }

    /// Whether even handshakes under way come too late.
    pub(super) fn is_closed(&self) -> bool {
        self.door == Door::Closed
    }

    /// A tick passed: notes who is late, and whether the time of those under way is over.
    pub(super) fn look(&mut self, clock: &Clock) {
        if let Door::Closing(until) = self.door
            && clock.now() >= until
        {
            self.door = Door::Closed;
        }
        let deadline = (self.clients.upgrade_deadline.as_millis() / TICK.as_millis()) as u32;
        // Within the tick in which it came, it had less than a tick.
        self.late = self.find(|pending| clock.waited(pending.since, deadline) > deadline);
    }

    /// One who is late and has not been told so.
    pub(super) fn next_late(&mut self) -> Option<Token> {
        self.late.pop()
    }

    /// Everybody who has a place.
    pub(super) fn all(&self) -> Vec<Token> {
        self.find(|_| true)
    }

    /// Whether nobody can arrive any more.
    pub(super) fn is_settled(&self) -> bool {
        match self.door {
            Door::Open => false,
            Door::Closing(_) => self.places.is_empty(),
            Door::Closed => true,
        }
    }

    /// Gives back room that nobody needs now.
    pub(super) fn shrink(&mut self) {
        self.places.shrink_to_fit();
        self.late.shrink_to_fit();
    }

    /// Whether the next turn has something to do here.
    pub(super) fn is_busy(&self) -> bool {
        !self.late.is_empty()
    }

    /// Whether connections are accepted.
    pub(super) fn is_open(&self) -> bool {
        self.door == Door::Open
    }

    /// Whether there is a place for one more, and memory for what has come of its head.
    pub(super) fn has_room(&self, pending: &Handshake) -> bool {
        self.places.len() < self.clients.handshakes_max
            && self.bytes + pending.bytes() <= self.clients.handshake_bytes_max
    }

    pub(super) fn sit(&mut self, pending: Handshake) -> Token {
        self.bytes += pending.bytes();
        self.next_generation = self.next_generation.wrapping_add(1);
        let generation = self.next_generation;
        let index = self.places.insert(Place { generation, pending }) as u32;
        Token { index, generation }
    }

    /// The pending leaves its place, if it is still there.
    pub(super) fn rise(&mut self, token: Token) -> Option<Handshake> {
        let index = token.index as usize;
        let is_there = self.places.get(index).is_some_and(|place| place.generation == token.generation);
        let pending = is_there.then(|| self.places.remove(index).pending)?;
        self.bytes -= pending.bytes();
        Some(pending)
    }

    /// Everybody for whom `is_meant` holds.
    fn find(&self, is_meant: impl Fn(&Handshake) -> bool) -> Vec<Token> {
        let meant = self.places.iter().filter(|(_, place)| is_meant(&place.pending));
        meant.map(|(index, place)| Token { index: index as u32, generation: place.generation }).collect()
    }
}

/// Since when accept fails.
#[derive(Default)]
pub(super) struct Shortage {
    since: Option<Tick>,
    /// Sockets that the plane had closed when accept last failed.
    closed: u64,
    lines: Throttle,
}

impl Shortage {
    /// Accept has failed, after the plane had closed so many sockets. How often it has, if the log shall tell.
    pub(super) fn begin(&mut self, now: Tick, closed: u64) -> Option<u64> {
        self.since.get_or_insert(now);
        self.closed = closed;
        self.lines.event(Instant::now())
    }

    /// Accept works. Whether it did not before.
    pub(super) fn end(&mut self) -> bool {
        self.since.take().is_some()
    }

    /// Whether accept fails.
    pub(super) fn is_on(&self) -> bool {
        self.since.is_some()
    }

    /// Whether accept works, or a descriptor may have become free since it failed: the plane has closed so many sockets.
    pub(super) fn may_be_over(&self, closed: u64) -> bool {
        !self.is_on() || self.closed != closed
    }

    /// Whether it has failed for so long that those who wait are told.
    pub(super) fn is_long(&self, now: Tick) -> bool {
        self.since.is_some_and(|since| now.since(since) >= BLOCKED_AFTER)
    }
}
