//! What a shard does while accept fails, mostly because no descriptor is free (EMFILE).
//!
//! ```text
//!           fails                           still fails two ticks later
//!  accepts ───────► waits for a descriptor ─────────────────────────────► blocked: /readyz says so, who waits is told 503
//!     ▲                       │ accept works                                 │ accept works
//!     └───────────────────────┴──────────────────────────────────────────────┘
//! ```
//!
//! Trying again at once would only burn the core, so accept is tried when a socket of this shard has been closed, and at
//! each tick. Who waits at a blocked shard is told by means of one descriptor that the plane holds in reserve, so that
//! the queue before the listener is empty when there is room again. *Not here*: accepting (`accept`).

use std::io;

use super::state::Shard;
use crate::dataplane::{Plane, TurnedAway};
use fanfare_core::counters::total;
use fanfare_core::limits::ACCEPTS_PER_TURN;
use fanfare_core::websocket::handshake::{self, HandshakeFailure};

impl<P: Plane> Shard<P> {
    /// Whether accept fails.
    pub(super) fn is_short(&self) -> bool {
        self.handshakes.shortage.is_on()
    }

    /// Whether accept works, or a descriptor may have become free since it failed.
    pub(super) fn may_accept(&self) -> bool {
        self.handshakes.shortage.may_be_over(self.plane.closed())
    }

    /// Whether the next turn has to try again.
    pub(super) fn must_accept_again(&self) -> bool {
        self.is_short() && self.may_accept() && self.handshakes.is_open()
    }

    /// Tries again if a socket has been closed since accept failed. After the plane's turn, which closes.
    pub fn accept_again(&mut self) {
        if self.must_accept_again() && self.take_in() {
            self.watch_door();
        }
    }

    /// Tries again at a tick: descriptors of the whole machine become free without a socket of this shard being closed.
    pub(super) fn accept_at_tick(&mut self) {
        if self.take_in() {
            self.watch_door();
        }
        self.block().accept_blocked.set(u64::from(self.is_blocked()));
    }

    fn is_blocked(&self) -> bool {
        self.handshakes.shortage.is_long(self.now)
    }

    pub(super) fn accept_works(&mut self) {
        if self.handshakes.shortage.end() {
            self.block().accept_blocked.set(0);
        }
    }

    /// Takes note of a failure. `true`: who waited was told so, and the next one may be reported.
    pub(super) fn accept_fails(&mut self, error: &io::Error) -> bool {
        self.block().accept_errors.add(1);
        if let Some(failures) = self.handshakes.shortage.begin(self.now, self.plane.closed()) {
            let connections = total(&self.block().connections);
            let limit = self.plane.descriptors_max();
            tracing::warn!(
                shard = self.number,
                %error,
                failures,
                connections,
                limit,
                "accept failed: new devices wait, and are told 503 if it lasts; {}",
                remedy(error)
            );
        }
        self.is_blocked() && self.turn_waiting_away()
    }

    /// Tells those who wait at the listener that there is no room, as many as a turn allows. `false`: that is not possible,
    /// or another shard of the same socket has room for them.
    fn turn_waiting_away(&mut self) -> bool {
        if self.do_others_accept() {
            return false;
        }
        self.make_scratch();
        for _ in 0..ACCEPTS_PER_TURN {
            let response = handshake::no_descriptor_response();
            let failure = match self.plane.turn_away(&mut self.scratch, response) {
                Ok(Some(TurnedAway::Told)) => HandshakeFailure::NoDescriptor,
                Ok(Some(TurnedAway::Gone)) => HandshakeFailure::Gone,
                Ok(None) => return true,
                Err(_) => return false,
            };
            self.block().accepted.add(1);
            self.block().handshakes_failed[failure as usize].add(1);
        }
        true
    }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EMFILE) => {
            "a shard may have `limit` files open: raise LimitNOFILE= in the unit or `ulimit -n`; `fanfare doctor` says what \
             this machine allows"
        }
        Some(libc::ENFILE) => {
            "the machine may have no more files open: raise fs.file-max; see `fanfare doctor`"
        }
        _ => "the kernel has no memory for another socket: see net.ipv4.tcp_mem and `fanfare doctor`",
    }
}
