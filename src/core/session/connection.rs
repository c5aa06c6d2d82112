//! One client's connection after its upgrade: what it is, what its bytes mean, what it still owes.
//!
//! Pure: bytes and ticks come in, replies and a verdict go out. The shard owns every connection and does the I/O.
//! *Not here*: sockets (`dataplane`), who else is in a topic (`delivery::members`).
//!
//! ```text
//!            client's Close ──────────────► Finishing ── end of stream ──► (removed)
//!          ┌──────────────────────────────►    ▲    └─ grace is over ────► (reset)
//!   Open ──┤                                   │ client's Close
//!          └─ a CloseReason of ours ──► Closing ── grace is over ────────► (reset)
//! ```

use std::ops::ControlFlow;

use super::bounds::{OutboxBounds, OutboxPolicy};
use super::clock::Clock;
use super::outbox::{Dues, Outbox};
use super::subscriptions::Subscriptions;
use crate::model::{Clients, CloseReason, FormatId, LivenessCounts, Tick};
use crate::protocols::{Command, Format};
use crate::websocket::close::NO_STATUS;
use crate::websocket::decoder::{self, FrameEvent, Partial};
use crate::websocket::frame::{self, Opcode};

/// A position that no list has: a table holds fewer connections.
const NOWHERE: u32 = u32::MAX;
const _: () = assert!(crate::limits::CONNECTIONS_PER_SHARD_MAX < NOWHERE as usize);

/// Where a connection stands; see the diagram above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Messages flow.
    Open,
    /// Our Close frame is on its way; only the client's own is still of interest.
    Closing,
    /// Both sides have closed the WebSocket; FIN goes out behind the last byte, and the client's end is awaited.
    Finishing,
}

/// The state of one client: 48 bytes, and nothing on the heap while it is idle in one topic.
#[derive(Debug)]
pub struct Connection {
    /// The socket.
    pub fd: i32,
    /// When a frame that counts for liveness last came; from [`Phase::Closing`] on: when that began.
    pub last_seen: Tick,
    /// Position in the list of everybody; [`NOWHERE`] before and after (an `Option` would cost 8 bytes a connection).
    position_in_all: u32,
    /// The protocol it speaks.
    pub format: FormatId,
    phase: Phase,
    marks: Marks,
    reason: Option<CloseReason>,
    /// What it joined.
    pub subscriptions: Subscriptions,
    partial: Option<Box<Partial>>,
    outbox: Option<Box<Outbox>>,
}

const _: () = assert!(size_of::<Connection>() <= 48, "an idle connection's bytes are the memory contract");

/// Two facts about a connection in one byte.
#[derive(Clone, Copy, Debug, Default)]
struct Marks(u8);

impl Marks {
    /// The server has pinged it, and has heard nothing since.
    const PINGED: u8 = 1;
    /// Its input waits for a later turn; kept by the shard.
    const HELD_BACK: u8 = 2;

    fn has(self, mark: u8) -> bool {
        self.0 & mark != 0
    }

    fn set(&mut self, mark: u8, to: bool) {
        self.0 = if to { self.0 | mark } else { self.0 & !mark };
    }
}

/// The rules that every connection of a shard follows.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Bounds of the decoder.
    pub decoder: decoder::Limits,
    /// What ends a silence.
    pub liveness_counts: LivenessCounts,
    /// Silence after which a connection is closed.
    pub liveness: u32,
    /// Ticks without a business message after which a connection is closed; `None`: it never is for that.
    pub idle_after: Option<u32>,
    /// Whether half of that silence is answered with a ping.
    pub server_ping: bool,
    /// Bounds of an outbox.
    pub outbox: OutboxBounds,
    /// The outbox's age bound in ticks.
    pub outbox_age: u32,
    /// Bytes of all outboxes of the shard.
    pub outbox_total: usize,
    /// Ticks from the first byte of a client's message to its last.
    pub message_deadline: u32,
    /// Bytes of all unfinished messages of the shard.
    pub partial_total: usize,
    /// How long a close may take, in ticks.
    pub close_grace: u32,
    /// How long a client may take to end its side once everything is sent, in ticks.
    pub finish_grace: u32,
}

impl Rules {
    /// Which counter of `outbox_dropped` a dropped message belongs to.
    pub fn drop_counter(&self) -> usize {
        usize::from(self.outbox.policy == OutboxPolicy::LatestOnly)
    }

    /// The rules of a configuration for one of so many shards, which share the bounds of the process evenly.
    pub fn new(clients: &Clients, outbox: OutboxBounds, shards: usize) -> Self {
        let ticks = |d: std::time::Duration| {
            (d.as_millis() / crate::limits::TICK.as_millis()).clamp(1, u128::from(u32::MAX)) as u32
        };
        Self {
            decoder: decoder::Limits { message_bytes_max: clients.message_bytes_max },
            liveness_counts: clients.liveness_counts,
            liveness: ticks(clients.liveness),
            idle_after: clients.idle_after.map(ticks),
            server_ping: clients.server_ping,
            outbox,
            outbox_age: ticks(outbox.age_max),
            outbox_total: outbox.total_bytes_max / shards,
            message_deadline: ticks(clients.message_deadline),
            partial_total: clients.partial_bytes_max / shards,
            close_grace: ticks(crate::limits::CLOSE_GRACE),
            finish_grace: ticks(crate::limits::FINISH_GRACE),
        }
    }
}

/// A change of membership that a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MembershipChange<'a> {
    /// Join this topic.
    Join(&'a str),
    /// Leave this topic.
    Leave(&'a str),
}

/// What came of a client's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// Complete frames.
    pub frames: u32,
    /// Data frames that the format ignores.
    pub ignored: u32,
    /// Messages that the format looked at.
    pub messages: u32,
    /// Payload bytes of them.
    pub message_bytes: usize,
    /// Whether a data frame was a command other than the format's PING: a business message.
    pub is_business: bool,
    /// The code of the client's Close frame, if one came: 1005 for a Close without a code (RFC 6455 section 7.1.5).
    pub client_code: Option<u16>,
    /// The closing handshake moved on: what is in `replies` is the last thing to send.
    pub ended: bool,
}

/// What the sweep found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checkup {
    /// Nothing to do.
    Well,
    /// Silent for half of the interval: send a ping.
    Ping,
    /// So many messages in its outbox were too old, and the policy is to drop them.
    Dropped(u32),
    /// Silent for all of it, or its outbox or an unfinished message is too old: begin to close.
    Close(CloseReason),
    /// The close took too long: reset.
    Reset,
}

impl Connection {
    /// A connection that has just been upgraded.
    pub fn new(fd: i32, format: FormatId, now: Tick) -> Self {
        Self {
            fd,
            last_seen: now,
            position_in_all: NOWHERE,
            format,
            phase: Phase::Open,
            marks: Marks::default(),
            reason: None,
            subscriptions: Subscriptions::default(),
            partial: None,
            outbox: None,
        }
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether its input waits for a later turn.
    pub fn is_held_back(&self) -> bool {
        self.marks.has(Marks::HELD_BACK)
    }

    /// Notes whether its input waits for a later turn.
    pub fn hold_back(&mut self, is_held_back: bool) {
        self.marks.set(Marks::HELD_BACK, is_held_back);
    }

    /// Why it ends, once that is known.
    pub fn reason(&self) -> Option<CloseReason> {
        self.reason
    }

    /// Gives up its place in the list of everybody and in every topic.
    pub fn take_places(&mut self) -> (Option<u32>, Subscriptions) {
        let position = self.position_in_all();
        self.position_in_all = NOWHERE;
        (position, std::mem::take(&mut self.subscriptions))
    }

    /// Its place in the list of everybody, while it has one.
    pub fn position_in_all(&self) -> Option<u32> {
        (self.position_in_all != NOWHERE).then_some(self.position_in_all)
    }

    /// Notes its place in the list of everybody.
    pub fn place_in_all(&mut self, position: u32) {
        self.position_in_all = position;
    }

    /// What it still owes its client.
    pub fn outbox(&mut self) -> Option<&mut Outbox> {
        self.outbox.as_deref_mut()
    }

    /// What it owes comes to.
    pub fn dues(&mut self) -> Dues {
        self.outbox().map_or_else(Dues::default, |outbox| outbox.dues())
    }

    /// Begins to owe. Everything that is sent from here on goes behind it.
    pub fn owe(&mut self, now: Tick) -> &mut Outbox {
        self.outbox.get_or_insert_with(|| Box::new(Outbox::new(now)))
    }

    /// Bytes allocated for what is unfinished of its input.
    pub fn partial_bytes(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| partial.bytes())
    }

    /// Takes the outbox away: it is empty, or the connection is.
    pub fn take_outbox(&mut self) -> Option<Box<Outbox>> {
        self.outbox.take()
    }

    /// Decodes what a client sent and lets `format` say what it asks for. Answers are appended to `replies` as complete
    /// frames, in order.
    ///
    /// `input` is unmasked in place. Costs no allocation unless a frame is incomplete.
    pub fn handle_bytes(
        &mut self,
        input: &mut [u8],
        format: &dyn Format,
        now: Tick,
        rules: &Rules,
        replies: &mut Vec<u8>,
        changes: &mut dyn FnMut(MembershipChange<'_>),
    ) -> Input {
        let mut result = Input::default();
        if self.phase == Phase::Finishing {
            return result;
        }
        let mut reader = Reader {
            format,
            open: self.phase == Phase::Open,
            replies,
            changes,
            alive: false,
            is_business: false,
            ignored: 0,
            messages: 0,
            message_bytes: 0,
            client_code: None,
            ending: None,
        };
        let decoded =
            decoder::decode(&mut self.partial, input, &rules.decoder, &mut |event: FrameEvent<'_>| {
                reader.event(event)
            });
        let (alive, ending) = (reader.alive, reader.ending);
        result.ignored = reader.ignored;
        result.messages = reader.messages;
        result.message_bytes = reader.message_bytes;
        result.is_business = reader.is_business;
        result.client_code = reader.client_code;
        match decoded {
            Ok(frames) => {
                result.frames = frames as u32;
                if alive || (frames > 0 && rules.liveness_counts == LivenessCounts::AnyFrame) {
                    self.hear(now);
                }
                match ending {
                    None => {}
                    Some(Ending::ClientClose) => {
                        self.finish(CloseReason::ClientClose, now);
                        result.ended = true;
                    }
                    Some(Ending::Refused(reason, text)) => {
                        result.ended = self.close(reason, text, now, replies);
                    }
                }
            }
            Err(violation) => result.ended = self.close(violation.reason, violation.text, now, replies),
        }
        if let Some(partial) = &mut self.partial {
            partial.note_since(now);
        }
        result
    }

    fn hear(&mut self, now: Tick) {
        if self.phase == Phase::Open {
            self.last_seen = now;
            self.marks.set(Marks::PINGED, false);
        }
    }

    /// Begins to close for a reason of ours: appends the Close frame, forgets what input was unfinished. `false` if it
    /// was closing already. A client that broke the protocol, or does not end what it began, is not asked to answer.
    pub fn close(&mut self, reason: CloseReason, text: &str, now: Tick, replies: &mut Vec<u8>) -> bool {
        if self.phase != Phase::Open {
            if reason.ends_input() {
                self.partial = None;
                self.phase = Phase::Finishing;
                return true;
            }
            return false;
        }
        if let Some(code) = reason.code() {
            frame::push_close(replies, code, text);
        }
        self.reason = Some(reason);
        self.last_seen = now;
        self.phase = if reason.ends_input() { Phase::Finishing } else { Phase::Closing };
        if self.phase == Phase::Finishing {
            self.partial = None;
        }
        true
    }

    /// Both sides have closed.
    fn finish(&mut self, reason: CloseReason, now: Tick) {
        self.partial = None;
        self.reason = self.reason.or(Some(reason));
        self.last_seen = now;
        self.phase = Phase::Finishing;
    }

    /// Looks at liveness, at the outbox's age, and at a close that takes too long.
    pub fn check(&mut self, clock: &Clock, rules: &Rules) -> Checkup {
        if self.phase != Phase::Open {
            let finished = self.phase == Phase::Finishing && self.outbox.is_none();
            let grace = if finished { rules.finish_grace } else { rules.close_grace };
            let is_over = clock.waited(self.last_seen, grace) >= grace;
            return if is_over { Checkup::Reset } else { Checkup::Well };
        }
        if let Some(outbox) = &mut self.outbox
            && clock.waited(outbox.since(), rules.outbox_age) >= rules.outbox_age
        {
            if rules.outbox.policy == OutboxPolicy::Close {
                return Checkup::Close(CloseReason::Slow);
            }
            let dropped = outbox.drop_older(clock.now(), rules.outbox_age);
            if dropped > 0 {
                return Checkup::Dropped(dropped);
            }
        }
        if let Some(since) = self.partial.as_ref().and_then(|partial| partial.since())
            && clock.waited(since, rules.message_deadline) >= rules.message_deadline
        {
            return Checkup::Close(CloseReason::Unfinished);
        }
        let silence = clock.waited(self.last_seen, rules.liveness);
        if silence >= rules.liveness {
            return Checkup::Close(CloseReason::Silent);
        }
        if rules.server_ping && !self.marks.has(Marks::PINGED) && silence >= rules.liveness / 2 {
            self.marks.set(Marks::PINGED, true);
            return Checkup::Ping;
        }
        Checkup::Well
    }
}

enum Ending {
    /// The client sent Close; the answer is in the replies.
    ClientClose,
    Refused(CloseReason, &'static str),
}

/// Turns the decoder's events into replies and changes.
struct Reader<'r> {
    format: &'r dyn Format,
    open: bool,
    replies: &'r mut Vec<u8>,
    changes: &'r mut dyn FnMut(MembershipChange<'_>),
    alive: bool,
    is_business: bool,
    ignored: u32,
    messages: u32,
    message_bytes: usize,
    client_code: Option<u16>,
    ending: Option<Ending>,
}

impl Reader<'_> {
    fn event(&mut self, event: FrameEvent<'_>) -> ControlFlow<()> {
        match event {
            FrameEvent::Close(close) => {
                if self.open {
                    // RFC 6455 5.5.1: the endpoint that answers typically echoes the status code it received.
                    match close {
                        Some((code, _)) => frame::push_close(self.replies, code, ""),
                        None => frame::push_frame(self.replies, Opcode::Close, &[]),
                    }
                }
                self.client_code = Some(close.map_or(NO_STATUS, |(code, _)| code));
                self.ending = Some(Ending::ClientClose);
                ControlFlow::Break(())
            }
            _ if !self.open => ControlFlow::Continue(()),
            FrameEvent::Ping(payload) => {
                frame::push_frame(self.replies, Opcode::Pong, payload);
                ControlFlow::Continue(())
            }
            FrameEvent::Pong(_) => ControlFlow::Continue(()),
            FrameEvent::Binary(bytes) => {
                self.messages += 1;
                self.message_bytes += bytes.len();
                self.command(self.format.binary(bytes))
            }
            FrameEvent::Text(text) => {
                self.messages += 1;
                self.message_bytes += text.len();
                self.command(self.format.command(text))
            }
        }
    }

    fn command(&mut self, command: Command<'_>) -> ControlFlow<()> {
        self.is_business |= matches!(command, Command::Join(_) | Command::Leave(_) | Command::Answer { .. });
        match command {
            Command::Ping { pong } => {
                self.replies.extend_from_slice(pong);
                self.alive = true;
            }
            Command::Join(topic) => (self.changes)(MembershipChange::Join(&topic)),
            Command::Leave(topic) => (self.changes)(MembershipChange::Leave(&topic)),
            Command::Answer { opcode, payload } => frame::push_frame(self.replies, opcode, payload),
            Command::Ignore => self.ignored += 1,
            Command::BadText(text) => {
                self.ending = Some(Ending::Refused(CloseReason::BadText, text));
                return ControlFlow::Break(());
            }
            Command::BadRequest(text) => {
                self.ending = Some(Ending::Refused(CloseReason::BadRequest, text));
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }
}
