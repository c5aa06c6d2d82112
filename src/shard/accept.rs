//! From a TCP connection to an upgraded one: the listener, the head of the request, its deadline.
//!
//! Most heads are there by the time their connection is accepted; such a handshake is over in one call and leaves
//! nothing behind. One whose head is still to come waits in the [`Lobby`]: a socket, the bytes so far, and a poll that
//! reports once. No task and no timer for each; a buffer only for what has come of a head.
//! *Not here*: what a head means (`wire::upgrade`), what happens when accept fails (`shortage`), everything after a
//! handshake (`super`).

use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;

use slab::Slab;

use super::shortage::Shortage;
use super::{Arrival, Shard};
use crate::config::Clients;
use crate::connection::Tick;
use crate::dataplane::{Plane, Received, Token};
use crate::limits::{ACCEPTS_PER_TURN, DRAIN_HANDSHAKES, SCRATCH_BYTES, TICK};
use crate::metrics::HandshakeFailure;
use crate::wire::upgrade::{self, Parsed, Progress, Refusal, Upgrade};

/// Guests that one turn tells that they are late: about two milliseconds.
const LATE_PER_TURN: usize = 256;

/// Reads of what a refused client still sends, before its socket is closed.
const LAST_READS: usize = 16;

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
struct Guest {
    /// Owned by whoever holds the guest.
    fd: RawFd,
    peer: SocketAddr,
    since: Tick,
    /// What has come of the head.
    head: Vec<u8>,
    /// What is known of that.
    progress: Progress,
}

impl Guest {
    /// Bytes that it holds while it waits, as allocated.
    fn bytes(&self) -> usize {
        PLACE_BYTES + self.head.capacity()
    }

    /// Keeps more of its head, in twice the room where that is needed, but not in more than the largest head has.
    fn keep(&mut self, bytes: &[u8], head_bytes_max: usize) {
        let len = self.head.len() + bytes.len();
        if len > self.head.capacity() {
            let room = (2 * self.head.capacity()).min(head_bytes_max).max(len);
            self.head.reserve_exact(room - self.head.len());
        }
        self.head.extend_from_slice(bytes);
    }
}

/// A guest who waits for the rest of its head.
#[derive(Debug)]
struct Place {
    /// Tells it from those who had the place before.
    generation: u32,
    guest: Guest,
}

/// Bytes of a place: where places get more room they get twice as much.
const PLACE_BYTES: usize = 2 * size_of::<Place>();

/// Handshakes under way on one shard.
pub(super) struct Lobby {
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

impl Lobby {
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
    fn has_room(&self, guest: &Guest) -> bool {
        self.places.len() < self.clients.handshakes_max
            && self.bytes + guest.bytes() <= self.clients.handshake_bytes_max
    }

    fn sit(&mut self, guest: Guest) -> Token {
        self.bytes += guest.bytes();
        self.next_generation = self.next_generation.wrapping_add(1);
        let generation = self.next_generation;
        let index = self.places.insert(Place { generation, guest }) as u32;
        Token { index, generation }
    }

    /// The guest leaves its place, if it is still there.
    fn rise(&mut self, token: Token) -> Option<Guest> {
        let index = token.index as usize;
        let is_there = self.places.get(index).is_some_and(|place| place.generation == token.generation);
        let guest = is_there.then(|| self.places.remove(index).guest)?;
        self.bytes -= guest.bytes();
        Some(guest)
    }

    /// Everybody for whom `is_meant` holds.
    fn find(&self, is_meant: impl Fn(&Guest) -> bool) -> Vec<Token> {
        let meant = self.places.iter().filter(|(_, place)| is_meant(&place.guest));
        meant.map(|(index, place)| Token { index: index as u32, generation: place.generation }).collect()
    }
}

/// What is known of a head.
enum Heard {
    /// More must come.
    Part,
    Whole(Upgrade, Vec<u8>),
    Refused(Refusal),
    Gone,
}

impl<P: Plane> Shard<P> {
    /// Begins to accept.
    pub fn open_door(&mut self) {
        self.lobby.is_watched = true;
        self.end_pause();
        self.block().at_door.set(1);
        self.plane.watch_listener();
    }

    /// Somebody waits at the listener: takes them in, and has the next ones reported, unless others shall be first.
    pub(super) fn answer_door(&mut self) {
        self.lobby.is_watched = false;
        self.block().at_door.set(0);
        if self.lobby.door == Door::Open && self.take_in() && !self.leave_door() {
            self.open_door();
        }
    }

    /// Has those who come reported again, once others had the time to be first. Before the turn, so that it is told in it.
    pub fn return_to_door(&mut self) {
        if self.may_return_to_door() && self.lobby.door == Door::Open && !self.lobby.is_watched {
            self.open_door();
        }
    }

    /// Takes in those who wait at the listener without being told of them: in a turn that did not get through its events,
    /// the report may be behind those of a crowd that leaves.
    pub fn look_outside(&mut self) {
        if self.lobby.door == Door::Open && self.may_accept() {
            self.take_in();
        }
    }

    /// Accepts as many as a turn allows; `false` if accept has failed, so that who waits would be reported at once again.
    pub(super) fn take_in(&mut self) -> bool {
        // The first frames of newcomers cost what all input costs.
        let bound = self.input.bound_of_held();
        for _ in 0..ACCEPTS_PER_TURN {
            if !self.input.is_below(bound) {
                break;
            }
            match self.plane.accept() {
                Ok(Some((fd, peer))) => {
                    self.accept_works();
                    self.block().accepted.add(1);
                    let (peer, head) = (as_ipv4(peer), Vec::new());
                    self.greet_guest(Guest {
                        fd,
                        peer,
                        since: self.now,
                        head,
                        progress: Progress::default(),
                    });
                }
                Ok(None) => {
                    self.accept_works();
                    break;
                }
                Err(error) => return self.accept_fails(&error),
            }
        }
        true
    }

    /// Has those who come reported, unless they are.
    pub(super) fn watch_door(&mut self) {
        if self.lobby.door == Door::Open && !self.lobby.is_watched {
            self.open_door();
        }
    }

    /// A guest who waited has said more, or left.
    pub(super) fn hear_guest(&mut self, token: Token) {
        if let Some(guest) = self.lobby.rise(token) {
            self.greet_guest(guest);
        }
    }

    /// Reads what has come of a head and decides. The guest has no place, and its socket is not watched.
    fn greet_guest(&mut self, mut guest: Guest) {
        match self.hear(&mut guest) {
            Heard::Whole(upgrade, tail) if self.lobby.door != Door::Closed => {
                let Upgrade { format, topics, response, .. } = upgrade;
                self.admit(Arrival { fd: guest.fd, peer: Some(guest.peer), format, topics, response, tail });
            }
            Heard::Part if self.lobby.has_room(&guest) => {
                let fd = guest.fd;
                let token = self.lobby.sit(guest);
                self.plane.watch_handshake(token, fd);
            }
            Heard::Whole(..) | Heard::Part => {
                self.refuse(&guest, None, HandshakeFailure::Overload, upgrade::overload_response());
            }
            Heard::Refused(refusal) => self.refuse(&guest, None, refusal.failure, &refusal.response),
            Heard::Gone => {
                self.block().handshakes_failed[HandshakeFailure::Gone as usize].add(1);
                self.plane.dismiss(None, guest.fd);
            }
        }
        self.count_guests();
    }

    /// Reads on as long as a read fills the buffer: a head may be larger.
    fn hear(&mut self, guest: &mut Guest) -> Heard {
        self.make_scratch();
        loop {
            let count = match self.plane.receive(guest.fd, &mut self.scratch) {
                Received::Bytes(count) => count,
                Received::Empty => return Heard::Part,
                Received::End | Received::Gone => return Heard::Gone,
            };
            let (clients, said) = (&self.lobby.clients, &self.scratch[..count]);
            let is_first = guest.head.is_empty();
            if !is_first {
                guest.keep(said, clients.head_bytes_max);
            }
            let bytes = if is_first { said } else { &guest.head };
            match upgrade::resume(bytes, &mut guest.progress, clients) {
                Parsed::Upgrade(upgrade) => {
                    let tail = bytes[upgrade.head_bytes..].to_vec();
                    return Heard::Whole(upgrade, tail);
                }
                Parsed::Refused(refusal) => return Heard::Refused(refusal),
                Parsed::Incomplete if is_first => guest.keep(said, clients.head_bytes_max),
                Parsed::Incomplete => {}
            }
            if count < self.scratch.len() {
                return Heard::Part;
            }
        }
    }

    pub(super) fn make_scratch(&mut self) {
        if self.scratch.is_empty() {
            self.scratch = vec![0; SCRATCH_BYTES].into();
        }
    }

    /// Sends a last answer and closes. FIN goes behind it, so that a client that still talks can read it first, and what
    /// it has sent is read, because closing with bytes unread resets the connection. A new socket has room for a short
    /// answer. `watched`: under which name, if the socket still is.
    fn refuse(&mut self, guest: &Guest, watched: Option<Token>, failure: HandshakeFailure, response: &[u8]) {
        self.block().handshakes_failed[failure as usize].add(1);
        self.plane.send(guest.fd, response);
        self.plane.finish(guest.fd);
        self.make_scratch();
        for _ in 0..LAST_READS {
            if !matches!(self.plane.receive(guest.fd, &mut self.scratch), Received::Bytes(_)) {
                break;
            }
        }
        self.plane.dismiss(watched, guest.fd);
    }

    /// A tick passed: who waits for too long is told so, and accept is tried again if it had failed.
    pub(super) fn look_at_guests(&mut self) {
        if let Door::Closing(until) = self.lobby.door
            && self.now >= until
        {
            self.lobby.door = Door::Closed;
        }
        let deadline = (self.lobby.clients.upgrade_deadline.as_millis() / TICK.as_millis()) as u32;
        let clock = self.clock;
        // Within the tick in which it came, it had less than a tick.
        self.lobby.late = self.lobby.find(|guest| clock.waited(guest.since, deadline) > deadline);
        if self.lobby.door == Door::Open && self.is_short() {
            self.accept_at_tick();
        } else if self.lobby.door == Door::Open && !self.lobby.is_watched {
            self.open_door();
        } else if self.shares_door() && self.plane.waiting() > 0 {
            // The kernel may have told another shard alone of who waits, and that could not accept.
            self.look_outside();
        }
    }

    /// Tells those who are late so, as many as a turn allows.
    pub(super) fn turn_late_away(&mut self) {
        for _ in 0..LATE_PER_TURN {
            let Some(token) = self.lobby.late.pop() else { return };
            self.turn_away(token, HandshakeFailure::Timeout, upgrade::timeout_response());
        }
    }

    /// Ends the handshake of a guest who waits.
    fn turn_away(&mut self, token: Token, failure: HandshakeFailure, response: &[u8]) {
        if let Some(guest) = self.lobby.rise(token) {
            self.refuse(&guest, Some(token), failure, response);
            self.count_guests();
        }
    }

    /// Nobody is accepted from here on; handshakes under way have some time.
    pub(super) fn close_door(&mut self) {
        let ticks = (DRAIN_HANDSHAKES.as_millis() / TICK.as_millis()) as u32;
        self.lobby.door = Door::Closing(Tick(self.now.0 + ticks));
        self.block().at_door.set(0);
        self.block().accept_blocked.set(0);
        self.plane.stop_listening();
    }

    /// Ends every handshake at once.
    pub(super) fn dismiss_guests(&mut self) {
        for token in self.lobby.find(|_| true) {
            self.turn_away(token, HandshakeFailure::Overload, upgrade::overload_response());
        }
    }

    fn count_guests(&self) {
        self.block().handshakes.set(self.lobby.places.len() as u64);
        self.block().handshake_bytes.set(self.lobby.bytes as u64);
    }
}

/// A listener at `[::]` tells IPv4 peers as IPv6 addresses (RFC 4291 section 2.5.5.2).
pub(super) fn as_ipv4(peer: SocketAddr) -> SocketAddr {
    match peer.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, peer.port())),
        IpAddr::V6(_) => peer,
    }
}
