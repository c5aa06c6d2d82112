//! What time does to connections: pings, silence, old outboxes, closes that take too long, and the drain.
//!
//! No connection has a timer. Each tick a share of the table becomes due, and is looked at in turns of bounded length.
//! *Not here*: what is due when (`Connection::check`).

use super::members::ALL;
use super::state::Shard;
use super::walks::SHUTTING_DOWN;
use crate::dataplane::{Plane, Send, Token, Took};
use fanfare_core::limits::{SLICE_SENDS, SWEEP_TICKS};
use fanfare_core::model::CloseReason;
use fanfare_core::push::share::Failed;
use fanfare_core::session::outbox::Outbox;
use fanfare_core::session::{Checkup, Phase};

/// A whole Ping frame without payload (RFC 6455 5.5.2).
static PING: [u8; 2] = [0x89, 0];

/// Connections that one turn looks at: about 100 µs.
const LOOKS_PER_TURN: u32 = 16 * 1024;

impl<P: Plane> Shard<P> {
    /// A tick passed: another share of the table is due.
    pub(super) fn begin_sweep(&mut self) {
        let span = self.table.span();
        self.sweep.due = (self.sweep.due + span.div_ceil(SWEEP_TICKS)).min(span);
        self.drain_on();
    }

    /// Looks at places that are due, as many as a turn allows.
    pub(super) fn sweep_on(&mut self) {
        if self.sweep.due == 0 {
            return;
        }
        let mut silent: Vec<(Token, i32)> = Vec::new();
        for _ in 0..LOOKS_PER_TURN.min(self.sweep.due) {
            if silent.len() == SLICE_SENDS {
                break;
            }
            self.sweep.due -= 1;
            if self.sweep.cursor >= self.table.span() {
                self.sweep.cursor = 0;
            }
            let index = self.sweep.cursor;
            self.sweep.cursor += 1;
            if self.is_idle(index) {
                if let Some((token, _)) = self.table.at(index) {
                    self.begin_close(token, CloseReason::Idle, "no messages");
                }
                continue;
            }
            let Some((token, connection)) = self.table.at(index) else { continue };
            let (fd, before) = (connection.fd, connection.dues());
            match connection.check(&self.clock, &self.rules) {
                Checkup::Well => {}
                Checkup::Ping if before.outboxes > 0 => self.reply(token, &PING),
                Checkup::Ping => silent.push((token, fd)),
                Checkup::Dropped(messages) => {
                    let after = connection.dues();
                    let settled = connection.outbox().map_or_else(Vec::new, Outbox::take_settled);
                    self.block().count_dues(before, after);
                    self.settle_pushes(settled, Failed::Slow);
                    self.block().outbox_dropped[self.rules.drop_counter()].add(u64::from(messages));
                }
                Checkup::Close(reason) => {
                    let text = match reason {
                        CloseReason::Silent => "no sign of life",
                        CloseReason::Unfinished => "a message took too long to arrive",
                        _ => "too slow",
                    };
                    self.begin_close(token, reason, text);
                }
                Checkup::Reset => self.remove(token, CloseReason::CloseTimeout),
            }
        }
        self.ping(&silent);
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
        let is_quiet = |id| self.members.entry(id).is_none_or(|entry| entry.is_quiet_since(now, idle_after));
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
        self.count_sends(&pings);
        for short in shorts {
            let taken = if let Took::Bytes(taken) = short.took { taken } else { 0 };
            self.count_out_less(short.token, PING.len().saturating_sub(taken));
            match short.took {
                // A socket that has no room for two bytes has news for its client already.
                Took::Bytes(0 | 2..) => {}
                Took::Bytes(1) => self.reply_rest(short.token, &PING[1..]),
                Took::Gone => self.remove(short.token, CloseReason::Reset),
            }
        }
    }

    /// Owes the rest of a frame whose first bytes went out in a slice.
    fn reply_rest(&mut self, token: Token, rest: &'static [u8]) {
        let now = self.now;
        let sent = PING.len() - rest.len();
        self.with_dues(token, |connection| connection.owe(now).push_control_rest(&PING, None, sent, now));
        self.await_room(token);
    }

    /// Closes this tick's share of the connections, once everything that entered before the drain was delivered.
    fn drain_on(&mut self) {
        let Some(mut drain) = self.drain.take() else { return };
        if self.agenda.is_empty() {
            let left = drain.left.unwrap_or(self.table.len());
            let ticks_left = drain.last.since(self.clock.steady()) as usize;
            // At the last tick everybody who is left, however the estimate went.
            let mut quota = if ticks_left == 0 { usize::MAX } else { left.div_ceil(ticks_left + 1) };
            drain.left = Some(left.saturating_sub(quota));
            while quota > 0 && drain.cursor < self.table.span() {
                if let Some((token, connection)) = self.table.at(drain.cursor)
                    && connection.phase() == Phase::Open
                {
                    self.begin_close(token, CloseReason::Shutdown, SHUTTING_DOWN);
                    quota -= 1;
                }
                drain.cursor += 1;
            }
        }
        self.drain = Some(drain);
    }
}
