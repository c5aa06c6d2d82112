//! What time does to connections: pings, silence, old outboxes, closes that take too long, and the drain.
//!
//! No connection has a timer. Each tick a share of the table becomes due, and is looked at in turns of bounded length.
//! *Not here*: what is due when (`Connection::check`).

use super::departures::Departure;
use super::state::Shard;
use crate::dataplane::{Plane, Send, Token, Took};
use fanfare_core::delivery::ALL;
use fanfare_core::limits::{SLICE_SENDS, SWEEP_TICKS};
use fanfare_core::model::CloseReason;
use fanfare_core::push::share::Failed;
use fanfare_core::session::outbox::Outbox;
use fanfare_core::session::{Checkup, Phase};

/// A whole Ping frame without payload (RFC 6455 5.5.2).
static PING: [u8; 2] = [0x89, 0];

/// Connections that one turn looks at: about 100 µs.
const LOOKS_PER_TURN: u32 = 16 * 1024;
/// Of those, how many between two times that those leave who have to: a bound on what is noted of them.
const LOOKS_PER_STRETCH: u32 = 1024;

impl<P: Plane> Shard<P> {
    /// A tick passed: another share of the table is due.
    pub(super) fn begin_sweep(&mut self) {
        let span = self.table.span();
        self.sweep.due = (self.sweep.due + span.div_ceil(SWEEP_TICKS)).min(span);
        self.drain_on();
    }

    /// Looks at places that are due, as many as a turn allows. Who has to leave leaves between two stretches.
    pub(super) fn sweep_on(&mut self) {
        if self.sweep.due == 0 {
            return;
        }
        let mut silent: Vec<(Token, i32)> = Vec::new();
        let mut looks = LOOKS_PER_TURN.min(self.sweep.due);
        while looks > 0 && silent.len() < SLICE_SENDS {
            let stretch = looks.min(LOOKS_PER_STRETCH);
            looks -= stretch;
            for _ in 0..stretch {
                if silent.len() == SLICE_SENDS {
                    break;
                }
                self.look_at_next(&mut silent);
            }
            self.depart();
        }
        self.ping(&silent);
    }

    /// Looks at the next place, and notes who has to leave and who is to be pinged.
    fn look_at_next(&mut self, silent: &mut Vec<(Token, i32)>) {
        self.sweep.due -= 1;
        if self.sweep.cursor >= self.table.span() {
            self.sweep.cursor = 0;
        }
        let index = self.sweep.cursor;
        self.sweep.cursor += 1;
        let is_idle = self.is_idle(index);
        let Some((token, connection)) = self.table.at(index) else { return };
        if is_idle {
            self.departures.push(Departure::close(token, CloseReason::Idle));
            return;
        }
        let (fd, before) = (connection.fd, connection.dues());
        match connection.check(&self.clock, &self.rules) {
            Checkup::Well => {}
            Checkup::Ping if before.outboxes > 0 => {
                if self.owe_control(token, &PING) {
                    self.departures.push(Departure::close(token, CloseReason::Slow));
                }
            }
            Checkup::Ping => silent.push((token, fd)),
            Checkup::Dropped(messages) => {
                let after = connection.dues();
                let settled = connection.outbox().map_or_else(Vec::new, Outbox::take_settled);
                self.block().count_dues(before, after);
                self.settle_pushes(settled, Failed::Slow);
                self.block().outbox_dropped[self.rules.drop_counter()].add(u64::from(messages));
            }
            Checkup::Close(reason) => self.departures.push(Departure::close(token, reason)),
            Checkup::Reset => self.departures.push(Departure::remove(token, CloseReason::CloseTimeout)),
        }
    }

    /// Whether the connection at an index has had no business message for too long: none from its client, none to any of
    /// its topics or to everybody since it came. Who is still owed something waits for a message. After a pause of the
    /// shard's own, messages may wait at both ends.
    fn is_idle(&mut self, index: u32) -> bool {
        let Some(idle_after) = self.rules.idle_after else { return false };
        let Some((connection, spoke)) = self.table.spoke_at(index) else { return false };
        if connection.phase() != Phase::Open
            || connection.outbox().is_some()
            || self.clock.waited(spoke, idle_after) < idle_after
        {
            return false;
        }
        let topics = connection.subscriptions.as_slice().iter().map(|place| place.topic);
        let now = self.now;
        let is_quiet = |id| self.delivery.is_quiet_since(id, now, idle_after);
        topics.chain([ALL]).all(is_quiet)
    }

    fn ping(&mut self, silent: &[(Token, i32)]) {
        if silent.is_empty() {
            return;
        }
        let pings: Vec<_> = silent.iter().map(|&(token, fd)| Send { token, fd, bytes: &PING }).collect();
        let mut shorts = Vec::new();
        self.plane.send_slice(&pings, &mut shorts);
        self.block().pings_sent.add(pings.len() as u64);
        for ping in &pings {
            self.table.count_out(ping.token, PING.len());
        }
        for short in shorts {
            let taken = if let Took::Bytes(taken) = short.took { taken } else { 0 };
            self.table.count_out_less(short.token, PING.len().saturating_sub(taken));
            match short.took {
                // A socket that has no room for two bytes has news for its client already.
                Took::Bytes(0 | 2..) => {}
                Took::Bytes(1) => self.reply_rest(short.token, &PING[1..]),
                Took::Gone => self.departures.push(Departure::remove(short.token, CloseReason::Reset)),
            }
        }
        self.depart();
    }

    /// Owes the rest of a frame whose first bytes went out in a slice.
    fn reply_rest(&mut self, token: Token, rest: &'static [u8]) {
        let now = self.now;
        let sent = PING.len() - rest.len();
        self.peers()
            .with_dues(token, |connection| connection.owe(now).push_control_rest(&PING, None, sent, now));
        self.peers().await_room(token);
    }

    /// Closes this tick's share of the connections, once everything that entered before the drain was delivered.
    fn drain_on(&mut self) {
        let Some(mut drain) = self.drain.take() else { return };
        if self.delivery.is_idle() {
            let left = drain.left.unwrap_or(self.table.len());
            let ticks_left = drain.last.since(self.clock.steady()) as usize;
            // At the last tick everybody who is left, however the estimate went.
            let mut quota = if ticks_left == 0 { usize::MAX } else { left.div_ceil(ticks_left + 1) };
            drain.left = Some(left.saturating_sub(quota));
            // Every place is looked at anew, so it does not matter whom else a close takes along.
            while quota > 0 && drain.cursor < self.table.span() {
                if let Some((token, connection)) = self.table.at(drain.cursor)
                    && connection.phase() == Phase::Open
                {
                    self.begin_close(token, CloseReason::Shutdown);
                    quota -= 1;
                }
                drain.cursor += 1;
            }
        }
        self.drain = Some(drain);
    }
}
