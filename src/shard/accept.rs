//! From a TCP connection to an upgraded one: the listener, the head of the request, its deadline.
//!
//! Most heads are there by the time their connection is accepted; such a handshake is over in one call and leaves
//! nothing behind. One whose head is still to come waits in the [`super::handshakes`]: a socket, the bytes so far, and a poll that
//! reports once. No task and no timer for each; a buffer only for what has come of a head.
//! *Not here*: what a head means (`websocket::handshake`), what happens when accept fails (`accept_failure`), everything after a
//! handshake (`super`).

use std::net::{IpAddr, SocketAddr};

use super::arrival::Arrival;
use super::handshakes::Handshake;
use super::state::Shard;
use crate::dataplane::{Plane, Received, Token};
use fanfare_core::limits::{ACCEPTS_PER_TURN, SCRATCH_BYTES};
use fanfare_core::websocket::handshake::{self, HandshakeFailure, Parsed, Progress, Refusal, Upgrade};

/// Handshakes that one turn tells that they are late: about two milliseconds.
const LATE_PER_TURN: usize = 256;

/// Reads of what a refused client still sends, before its socket is closed.
const LAST_READS: usize = 16;

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
        self.handshakes.watch();
        self.end_pause();
        self.block().at_door.set(1);
        self.plane.watch_listener();
    }

    /// Somebody waits at the listener: takes them in, and has the next ones reported, unless others shall be first.
    pub(super) fn answer_door(&mut self) {
        self.handshakes.note_knock();
        self.block().at_door.set(0);
        if self.handshakes.is_open() && self.take_in() && !self.leave_door() {
            self.open_door();
        }
    }

    /// Has those who come reported again, once others had the time to be first. Before the turn, so that it is told in it.
    pub fn return_to_door(&mut self) {
        if self.may_return_to_door() && self.handshakes.is_unwatched() {
            self.open_door();
        }
    }

    /// Takes in those who wait at the listener without being told of them: in a turn that did not get through its events,
    /// the report may be behind those of a crowd that leaves.
    pub fn look_outside(&mut self) {
        if self.handshakes.is_open() && self.may_accept() {
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
                    self.greet_pending(Handshake {
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
        if self.handshakes.is_unwatched() {
            self.open_door();
        }
    }

    /// A pending who waited has said more, or left.
    pub(super) fn hear_pending(&mut self, token: Token) {
        if let Some(pending) = self.handshakes.rise(token) {
            self.greet_pending(pending);
        }
    }

    /// Reads what has come of a head and decides. The pending has no place, and its socket is not watched.
    fn greet_pending(&mut self, mut pending: Handshake) {
        match self.hear(&mut pending) {
            Heard::Whole(upgrade, tail) if !self.handshakes.is_closed() => {
                let Upgrade { format, topics, response, .. } = upgrade;
                self.admit(Arrival {
                    fd: pending.fd,
                    peer: Some(pending.peer),
                    format,
                    topics,
                    response,
                    tail,
                });
            }
            Heard::Part if self.handshakes.has_room(&pending) => {
                let fd = pending.fd;
                let token = self.handshakes.sit(pending);
                self.plane.watch_handshake(token, fd);
            }
            Heard::Whole(..) | Heard::Part => {
                self.refuse(&pending, None, HandshakeFailure::Overload, handshake::overload_response());
            }
            Heard::Refused(refusal) => self.refuse(&pending, None, refusal.failure, &refusal.response),
            Heard::Gone => {
                self.block().handshakes_failed[HandshakeFailure::Gone as usize].add(1);
                self.plane.dismiss(None, pending.fd);
            }
        }
        self.count_pending();
    }

    /// Reads on as long as a read fills the buffer: a head may be larger.
    fn hear(&mut self, pending: &mut Handshake) -> Heard {
        self.make_scratch();
        loop {
            let count = match self.plane.receive(pending.fd, &mut self.scratch) {
                Received::Bytes(count) => count,
                Received::Empty => return Heard::Part,
                Received::End | Received::Gone => return Heard::Gone,
            };
            let (clients, said) = (self.handshakes.clients(), &self.scratch[..count]);
            let is_first = pending.head.is_empty();
            if !is_first {
                pending.keep(said, clients.head_bytes_max);
            }
            let bytes = if is_first { said } else { &pending.head };
            match handshake::resume(bytes, &mut pending.progress, clients) {
                Parsed::Upgrade(upgrade) => {
                    let tail = bytes[upgrade.head_bytes..].to_vec();
                    return Heard::Whole(upgrade, tail);
                }
                Parsed::Refused(refusal) => return Heard::Refused(refusal),
                Parsed::Incomplete if is_first => pending.keep(said, clients.head_bytes_max),
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
    fn refuse(
        &mut self,
        pending: &Handshake,
        watched: Option<Token>,
        failure: HandshakeFailure,
        response: &[u8],
    ) {
        self.block().handshakes_failed[failure as usize].add(1);
        self.plane.send(pending.fd, response);
        self.plane.finish(pending.fd);
        self.make_scratch();
        for _ in 0..LAST_READS {
            if !matches!(self.plane.receive(pending.fd, &mut self.scratch), Received::Bytes(_)) {
                break;
            }
        }
        self.plane.dismiss(watched, pending.fd);
    }

    /// A tick passed: who waits for too long is told so, and accept is tried again if it had failed.
    pub(super) fn look_at_pending(&mut self) {
        self.handshakes.look(&self.clock);
        if self.handshakes.is_open() && self.is_short() {
            self.accept_at_tick();
        } else if self.handshakes.is_unwatched() {
            self.open_door();
        } else if self.shares_door() && self.plane.waiting() > 0 {
            // The kernel may have told another shard alone of who waits, and that could not accept.
            self.look_outside();
        }
    }

    /// Tells those who are late so, as many as a turn allows.
    pub(super) fn turn_late_away(&mut self) {
        for _ in 0..LATE_PER_TURN {
            let Some(token) = self.handshakes.next_late() else { return };
            self.turn_away(token, HandshakeFailure::Timeout, handshake::timeout_response());
        }
    }

    /// Ends the handshake of a pending who waits.
    fn turn_away(&mut self, token: Token, failure: HandshakeFailure, response: &[u8]) {
        if let Some(pending) = self.handshakes.rise(token) {
            self.refuse(&pending, Some(token), failure, response);
            self.count_pending();
        }
    }

    /// Nobody is accepted from here on; handshakes under way have some time.
    pub(super) fn close_door(&mut self) {
        self.handshakes.close(self.now);
        self.block().at_door.set(0);
        self.block().accept_blocked.set(0);
        self.plane.stop_listening();
    }

    /// Ends every handshake at once.
    pub(super) fn dismiss_pending(&mut self) {
        for token in self.handshakes.all() {
            self.turn_away(token, HandshakeFailure::Overload, handshake::overload_response());
        }
    }

    fn count_pending(&self) {
        self.block().handshakes.set(self.handshakes.len() as u64);
        self.block().handshake_bytes.set(self.handshakes.bytes() as u64);
    }
}

/// A listener at `[::]` tells IPv4 peers as IPv6 addresses (RFC 4291 section 2.5.5.2).
pub(super) fn as_ipv4(peer: SocketAddr) -> SocketAddr {
    match peer.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, peer.port())),
        IpAddr::V6(_) => peer,
    }
}
