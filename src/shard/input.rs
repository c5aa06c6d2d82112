//! What sockets report: bytes to decode, room for what is owed, the end.
//!
//! *Not here*: what the bytes mean (`session`).

use super::budget::{cost_of, next_read};
use super::closes;
use super::state::Shard;
use crate::dataplane::{Event, Plane, Received, Token, Took};
use fanfare_core::limits::{
    COST_HANDSHAKE, FIRST_READ_BYTES, INPUT_CONNECTION_COST, INPUT_LIGHT_COST, SCRATCH_BYTES,
};
use fanfare_core::model::{CloseReason, Topic};
use fanfare_core::protocols;
use fanfare_core::push::share::Failed;
use fanfare_core::session::{Connection, MembershipChange, Phase};

/// How far a socket is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// To the first read that does not fill the buffer.
    ShortRead,
    /// Until the socket itself says that nothing, or the end, is left.
    Empty,
}

/// A [`MembershipChange`] that outlives the input it came from.
enum Wish {
    Join(Topic),
    Leave(Box<str>),
}

impl<P: Plane> Shard<P> {
    /// Handles one event of the plane.
    pub fn handle(&mut self, event: Event) {
        match event {
            Event::Readable(token) => self.receive(token, Until::ShortRead),
            Event::Ending(token) => self.receive(token, Until::Empty),
            Event::PollEnded(token) => {
                if let Some(connection) = self.table.get(token) {
                    self.plane.watch(token, connection.fd);
                    self.receive(token, Until::Empty);
                }
            }
            Event::Writable(token) => self.send_owed(token),
            Event::Knock => self.answer_door(),
            Event::Head(token) => {
                self.input.spend(COST_HANDSHAKE);
                self.hear_pending(token);
            }
            Event::Tick => {
                self.look_at_pending();
                self.begin_sweep();
            }
        }
    }

    /// Whether this turn takes more input of connections that were not held back.
    pub fn takes_input(&self) -> bool {
        self.input.has_room()
    }

    /// Goes on with connections that were held back, the longest first, each at most once a turn.
    pub(super) fn read_on(&mut self) {
        let bound = self.input.bound_of_held();
        for _ in 0..self.input.held() {
            if !self.input.is_below(bound) {
                break;
            }
            let Some(token) = self.input.next_held() else { break };
            let Some(connection) = self.table.get(token) else { continue };
            connection.hold_back(false);
            // What was reported meanwhile, the end of the stream among it, was not looked at.
            self.serve(token, Until::Empty, INPUT_CONNECTION_COST);
        }
        self.input.renew();
    }

    /// A socket has news. Those of a connection that is held back wait with it; of the others one read is looked at.
    fn receive(&mut self, token: Token, until: Until) {
        if self.table.get(token).is_some_and(|connection| !connection.is_held_back()) {
            self.serve(token, until, 0);
        }
    }

    /// Reads a socket until that has cost so much, at least once, and holds it back if that was not all or much.
    fn serve(&mut self, token: Token, until: Until, most: u32) {
        let mut scratch = std::mem::take(&mut self.scratch);
        if scratch.is_empty() {
            scratch = vec![0; SCRATCH_BYTES].into();
        }
        let (cost, has_more) = self.read(token, until, most, &mut scratch);
        self.scratch = scratch;
        self.input.spend(cost);
        if (has_more || cost > INPUT_LIGHT_COST)
            && let Some(connection) = self.table.get(token)
        {
            connection.hold_back(true);
            self.input.hold(token);
            self.block().input_held_back.add(1);
        }
    }

    /// What the reads of a socket cost, and whether it has more.
    fn read(&mut self, token: Token, until: Until, most: u32, scratch: &mut [u8]) -> (u32, bool) {
        let (mut cost, mut size) = (0, FIRST_READ_BYTES);
        while let Some(connection) = self.table.get(token) {
            if cost > most {
                return (cost, true);
            }
            match self.plane.receive(connection.fd, &mut scratch[..size]) {
                Received::Bytes(count) => {
                    self.block().bytes_in.add(count as u64);
                    let read = self.handle_input(token, &mut scratch[..count]);
                    cost += read;
                    // The poll reports an edge. A read that does not fill the buffer has taken all of it, but one edge
                    // can stand for bytes and for the end behind them.
                    if count < size && until == Until::ShortRead {
                        break;
                    }
                    size = next_read(cost, read, count);
                }
                Received::Empty => break,
                Received::End => self.remove(token, CloseReason::ClientGone),
                Received::Gone => self.remove(token, CloseReason::Reset),
            }
        }
        (cost, false)
    }

    /// Decodes bytes of a client and does what they ask for; returns what that cost.
    pub(super) fn handle_input(&mut self, token: Token, input: &mut [u8]) -> u32 {
        let Some(connection) = self.table.get(token) else { return 0 };
        let was_open = connection.phase() == Phase::Open;
        let partial_before = connection.partial_bytes();
        let length = input.len();
        let mut replies = std::mem::take(&mut self.replies);
        let mut wishes = Vec::new();
        let format = protocols::format(connection.format);
        let mut wish = |change: MembershipChange<'_>| {
            wishes.extend(match change {
                MembershipChange::Join(topic) => Topic::new(topic).ok().map(Wish::Join),
                MembershipChange::Leave(topic) => Some(Wish::Leave(topic.into())),
            });
        };
        let result = connection.handle_bytes(input, format, self.now, &self.rules, &mut replies, &mut wish);
        let partial_after = connection.partial_bytes();
        if partial_before != partial_after {
            self.count_partial(partial_before, partial_after);
        }
        self.table.count_in(token, length);
        self.block().frames_in.add(u64::from(result.frames));
        self.block().frames_ignored.add(u64::from(result.ignored));
        if result.is_business {
            self.table.note_business(token, self.now);
        }
        let cost = cost_of(length, &result, wishes.len(), !replies.is_empty());
        for wish in wishes {
            match wish {
                Wish::Join(topic) => self.join(token, topic),
                Wish::Leave(topic) => self.leave(token, &topic),
            }
        }
        if result.ended {
            self.retire(token, result.client_code);
            // Our Close may be among what is owed already, and a drain delivers what came before it.
            if was_open {
                self.abandon(token, Failed::Closed);
            }
        }
        self.reply(token, &replies);
        if result.ended {
            self.finish_if_done(token);
        }
        replies.clear();
        self.replies = replies;
        cost
    }

    /// Begins to close a connection for a reason of ours. What it owed is given up, except in a drain, which delivers.
    pub(super) fn begin_close(&mut self, token: Token, reason: CloseReason) {
        let Some(connection) = self.table.get(token) else { return };
        let mut close = Vec::new();
        let partial = connection.partial_bytes();
        if !connection.close(reason, closes::text(reason), self.now, &mut close) {
            return;
        }
        let partial_after = connection.partial_bytes();
        self.count_partial(partial, partial_after);
        self.retire(token, None);
        if reason != CloseReason::Shutdown {
            self.abandon(token, Failed::of_close(reason));
        }
        self.reply(token, &close);
        self.finish_if_done(token);
    }

    /// Counts that a connection's unfinished input came to `before` bytes and comes to `after`.
    pub(super) fn count_partial(&self, before: usize, after: usize) {
        self.block().partial_bytes.add(after as u64);
        self.block().partial_bytes.sub(before as u64);
    }

    /// When the unfinished input of all connections is over its bound, those that hold most are closed until an eighth is
    /// free.
    pub(super) fn relieve_partials(&mut self) {
        let max = self.rules.partial_total;
        if self.block().partial_bytes.get() <= max as u64 {
            return;
        }
        let goal = (max - max / 8) as u64;
        for token in self.heaviest(|connection| connection.partial_bytes()) {
            if self.block().partial_bytes.get() <= goal {
                break;
            }
            self.begin_close(token, CloseReason::PartialTotal);
        }
    }

    /// Gives up what a connection owes, except the rest of the frame that has begun.
    fn abandon(&mut self, token: Token, why: Failed) {
        let abandon = |connection: &mut Connection| {
            connection.outbox().map(|outbox| (outbox.abandon(), outbox.take_settled()))
        };
        // An empty outbox stays until the socket has room: it knows that a poll is armed.
        let Some(Some((messages, settled))) = self.peers().with_dues(token, abandon) else { return };
        self.block().deliveries_failed[why as usize].add(u64::from(messages));
        self.settle_pushes(settled, why);
    }

    /// Sends control frames or answers, behind whatever is owed, and with them what a round still has for their client.
    pub(super) fn reply(&mut self, token: Token, frames: &[u8]) {
        if frames.is_empty() {
            return;
        }
        let now = self.now;
        let Some(connection) = self.table.get(token) else { return };
        if connection.outbox().is_some() {
            if self.owe_control(token, frames) {
                self.begin_close(token, CloseReason::Slow);
            }
            return;
        }
        let fd = connection.fd;
        let laden = self.load(token, frames);
        let bytes = laden.as_ref().map_or(frames, |laden| &laden.bytes);
        let took = self.plane.send(fd, bytes);
        let is_short = took != Took::Bytes(bytes.len());
        self.block().sends_short.add(u64::from(laden.is_some() && is_short));
        match took {
            Took::Bytes(sent) => {
                self.table.count_out(token, sent);
                if is_short {
                    let batch = laden.map(|laden| (laden.bytes[frames.len()..].to_vec(), laden.cargo));
                    self.peers().with_dues(token, |connection| {
                        connection.owe(now).push_control_rest(frames, batch, sent, now);
                    });
                    self.peers().await_room(token);
                }
            }
            Took::Gone => {
                self.block().sends_failed.add(u64::from(laden.is_some()));
                self.remove(token, CloseReason::Reset);
            }
        }
    }

    /// Puts control frames or answers behind whatever a connection owes. Whether that is more than it may.
    pub(super) fn owe_control(&mut self, token: Token, frames: &[u8]) -> bool {
        let (now, bounds) = (self.now, self.rules.outbox);
        let is_over = self.peers().with_dues(token, |connection| {
            let outbox = connection.owe(now);
            outbox.push_control(frames, now);
            outbox.is_over(&bounds)
        });
        is_over == Some(true)
    }

    /// Sends the answer to the handshake, which is no frame: what does not fit waits, whatever else is given up.
    pub(super) fn greet(&mut self, token: Token, response: &[u8]) {
        let now = self.now;
        let Some(connection) = self.table.get(token) else { return };
        if response.is_empty() {
            return;
        }
        match self.plane.send(connection.fd, response) {
            Took::Bytes(sent) if sent == response.len() => self.table.count_out(token, sent),
            Took::Bytes(sent) => {
                let rest = response[sent..].to_vec();
                self.peers().with_dues(token, |connection| connection.owe(now).push_whole(rest, now));
                self.table.count_out(token, sent);
                self.peers().await_room(token);
            }
            Took::Gone => self.remove(token, CloseReason::Reset),
        }
    }

    /// The socket takes bytes again.
    fn send_owed(&mut self, token: Token) {
        loop {
            let Some(connection) = self.table.get(token) else { return };
            let fd = connection.fd;
            let Some(outbox) = connection.outbox() else { return };
            outbox.awaits_room = false;
            let Some(front) = outbox.front() else { break };
            let wanted = front.len();
            match self.plane.send(fd, front) {
                Took::Bytes(sent) => {
                    let advance = |connection: &mut Connection| {
                        connection.outbox().map_or_else(Vec::new, |outbox| {
                            outbox.advance(sent);
                            outbox.take_settled()
                        })
                    };
                    let settled = self.peers().with_dues(token, advance).unwrap_or_default();
                    self.settle_pushes(settled, Failed::Closed);
                    self.table.count_out(token, sent);
                    if sent < wanted {
                        self.peers().await_room(token);
                        return;
                    }
                }
                Took::Gone => {
                    self.remove(token, CloseReason::Reset);
                    return;
                }
            }
        }
        self.drop_outbox_if_empty(token);
        self.finish_if_done(token);
    }

    fn drop_outbox_if_empty(&mut self, token: Token) {
        self.peers().with_dues(token, |connection| {
            if connection.outbox().is_some_and(|outbox| outbox.is_empty()) {
                connection.take_outbox();
            }
        });
    }

    /// Sends FIN once both sides have closed and nothing is owed.
    fn finish_if_done(&mut self, token: Token) {
        let Some(connection) = self.table.get(token) else { return };
        if connection.phase() == Phase::Finishing && connection.outbox().is_none() {
            self.plane.finish(connection.fd);
        }
    }
}
