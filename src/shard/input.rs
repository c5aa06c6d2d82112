//! What sockets report: bytes to decode, room for what is owed, the end.
//!
//! *Not here*: what the bytes mean (`connection`).

use bytes::Bytes;

use super::Shard;
use crate::batch::Topic;
use crate::connection::reason::CloseReason;
use crate::connection::{Change, Phase};
use crate::dataplane::{Event, Plane, Received, Token, Took};
use crate::limits::SCRATCH_BYTES;
use crate::push::share::Failed;

/// Full scratch buffers that one connection may fill in one turn.
const READS_PER_TURN: usize = 2;

/// How far a socket is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// To the first read that does not fill the buffer.
    ShortRead,
    /// Until the socket itself says that nothing, or the end, is left.
    Empty,
}

/// A [`Change`] that outlives the input it came from.
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
            Event::Head(token) => self.hear_guest(token),
            Event::Tick => {
                self.look_at_guests();
                self.begin_sweep();
            }
        }
    }

    /// Goes on with connections whose input did not fit the last turn.
    pub(super) fn read_on(&mut self) {
        for (token, until) in std::mem::take(&mut self.unread) {
            self.receive(token, until);
        }
    }

    fn receive(&mut self, token: Token, until: Until) {
        let mut scratch = std::mem::take(&mut self.scratch);
        if scratch.is_empty() {
            scratch = vec![0; SCRATCH_BYTES].into();
        }
        for turn in 0.. {
            let Some(connection) = self.table.get(token) else { break };
            if turn == READS_PER_TURN {
                self.unread.push((token, until));
                break;
            }
            match self.plane.receive(connection.fd, &mut scratch) {
                Received::Bytes(count) => {
                    self.block().bytes_in.add(count as u64);
                    self.handle_input(token, &mut scratch[..count]);
                    // The poll reports an edge. A read that does not fill the buffer has taken all of it, but one edge
                    // can stand for bytes and for the end behind them.
                    if count < scratch.len() && until == Until::ShortRead {
                        break;
                    }
                }
                Received::Empty => break,
                Received::End => self.remove(token, CloseReason::ClientGone),
                Received::Gone => self.remove(token, CloseReason::Reset),
            }
        }
        self.scratch = scratch;
    }

    /// Decodes bytes of a client and does what they ask for.
    pub(super) fn handle_input(&mut self, token: Token, input: &mut [u8]) {
        let Some(connection) = self.table.get(token) else { return };
        let was_open = connection.phase() == Phase::Open;
        let length = input.len();
        let mut replies = std::mem::take(&mut self.replies);
        let mut wishes = Vec::new();
        let format = connection.format.format();
        let mut wish = |change: Change<'_>| {
            wishes.extend(match change {
                Change::Join(topic) => Topic::new(topic).ok().map(Wish::Join),
                Change::Leave(topic) => Some(Wish::Leave(topic.into())),
            });
        };
        let result = connection.handle_bytes(input, format, self.now, &self.rules, &mut replies, &mut wish);
        self.count_in(token, length);
        self.block().frames_in.add(u64::from(result.frames));
        self.block().frames_ignored.add(u64::from(result.ignored));
        if result.is_business {
            self.table.note_business(token, self.now);
        }
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
    }

    /// Begins to close a connection for a reason of ours. What it owed is given up, except in a drain, which delivers.
    pub(super) fn begin_close(&mut self, token: Token, reason: CloseReason, text: &str) {
        let Some(connection) = self.table.get(token) else { return };
        let mut close = Vec::new();
        if !connection.close(reason, text, self.now, &mut close) {
            return;
        }
        self.retire(token, None);
        if reason != CloseReason::Shutdown {
            self.abandon(token, Failed::of_close(reason));
        }
        self.reply(token, &close);
        self.finish_if_done(token);
    }

    /// Gives up what a connection owes, except the rest of the frame that has begun.
    fn abandon(&mut self, token: Token, why: Failed) {
        let Some(outbox) = self.table.get(token).and_then(|c| c.outbox()) else { return };
        let before = outbox.bytes();
        let messages = outbox.abandon();
        let after = outbox.bytes();
        let settled = outbox.take_settled();
        self.block().outbox_bytes.sub((before - after) as u64);
        // An empty outbox stays until the socket has room: it knows that a poll is armed.
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
        if let Some(outbox) = connection.outbox() {
            outbox.push_control(Bytes::copy_from_slice(frames), now);
            let over = outbox.is_over(&self.rules.outbox);
            self.block().outbox_bytes.add(frames.len() as u64);
            if over {
                self.begin_close(token, CloseReason::Slow, "too slow");
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
                self.count_out(token, sent);
                if is_short {
                    let owed = bytes.len() - sent;
                    let batch = laden.map(|laden| (laden.batch, laden.cargo));
                    let Some(connection) = self.table.get(token) else { return };
                    connection.owe(now).push_control_rest(Bytes::copy_from_slice(frames), batch, sent, now);
                    self.block().outbox_bytes.add(owed as u64);
                    self.block().outboxes.add(1);
                    self.await_room(token);
                }
            }
            Took::Gone => {
                self.block().sends_failed.add(u64::from(laden.is_some()));
                self.remove(token, CloseReason::Reset);
            }
        }
    }

    /// Sends the answer to the handshake, which is no frame: what does not fit waits, whatever else is given up.
    pub(super) fn greet(&mut self, token: Token, response: Vec<u8>) {
        let now = self.now;
        let Some(connection) = self.table.get(token) else { return };
        if response.is_empty() {
            return;
        }
        match self.plane.send(connection.fd, &response) {
            Took::Bytes(sent) if sent == response.len() => self.count_out(token, sent),
            Took::Bytes(sent) => {
                let rest = Bytes::from(response).slice(sent..);
                let owed = rest.len();
                connection.owe(now).push_whole(rest, now);
                self.block().outbox_bytes.add(owed as u64);
                self.block().outboxes.add(1);
                self.count_out(token, sent);
                self.await_room(token);
            }
            Took::Gone => self.remove(token, CloseReason::Reset),
        }
    }

    /// Watches for room in the socket of a connection that owes, unless that is done already.
    pub(super) fn await_room(&mut self, token: Token) {
        let Some(connection) = self.table.get(token) else { return };
        let fd = connection.fd;
        if let Some(outbox) = connection.outbox()
            && !std::mem::replace(&mut outbox.awaits_room, true)
        {
            self.plane.watch_writable(token, fd);
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
                    outbox.advance(sent);
                    let settled = outbox.take_settled();
                    self.settle_pushes(settled, Failed::Closed);
                    self.block().outbox_bytes.sub(sent as u64);
                    self.count_out(token, sent);
                    if sent < wanted {
                        self.await_room(token);
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
        let Some(connection) = self.table.get(token) else { return };
        if connection.outbox().is_some_and(|outbox| outbox.is_empty()) {
            connection.take_outbox();
            self.block().outboxes.sub(1);
        }
    }

    /// Sends FIN once both sides have closed and nothing is owed.
    fn finish_if_done(&mut self, token: Token) {
        let Some(connection) = self.table.get(token) else { return };
        if connection.phase() == Phase::Finishing && connection.outbox().is_none() {
            self.plane.finish(connection.fd);
        }
    }
}
