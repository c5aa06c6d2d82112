//! After every call of a shard: what it received, sent and closed, and what that means for each client.

use std::sync::Arc;

use fanfare::dataplane::Closing;
use fanfare::downlink::{Downlink, ShardCommand};
use fanfare_core::limits::{BACKLOG_BYTES_MAX, TICK};
use fanfare_core::model::{Batch, CloseReason, FormatId, LivenessCounts};
use fanfare_core::protocols;

use crate::client::{Act, Answer, Client, Span};
use crate::ledger::{ALL, Ledger, To};
use crate::plan::Plan;
use crate::plane::{Closed, Socket};
use crate::pushes::{Book, Taken};
use crate::trail;
use crate::wire::{self, Frame};
use crate::world::{Seat, World};

const PONG: &[u8] = br#"{"type":"PONG","data":{}}"#;

/// What happened at one socket.
struct Look {
    accepted: Vec<u8>,
    shorts: Vec<(u64, u64)>,
    received: u64,
    is_owed: bool,
    is_finished: bool,
}

impl Look {
    fn at(socket: &mut Socket) -> Self {
        Self {
            accepted: std::mem::take(&mut socket.accepted),
            shorts: std::mem::take(&mut socket.shorts),
            received: socket.received,
            is_owed: socket.awaits_room,
            is_finished: socket.is_finished,
        }
    }
}

/// What a batch costs beside its memory while it waits, and a round of a push.
const PLACE_BYTES: usize = 16;
const PUSH_BYTES: usize = 2048;

impl World {
    pub(crate) fn ticks(&self) -> u32 {
        (self.now / TICK.as_micros() as u64) as u32
    }

    /// A client is a member of everybody from here on.
    pub(crate) fn begin_membership(&mut self, number: usize, id: usize) {
        let (seat, client) = (&mut self.seats[number], &mut self.clients[id]);
        seat.join(client, ALL);
        seat.tally.admitted += 1;
        client.heard = (self.now / TICK.as_micros() as u64) as u32;
    }

    /// The shard takes a downlink; who is a member now is entitled to it.
    pub(crate) fn take_one(&mut self, number: usize, downlink: Downlink) {
        let seat = &mut self.seats[number];
        let mut weight = downlink.weight();
        let before = seat.shard.backlog_bytes();
        let moving = before - seat.shard.held_bytes();
        let has_room = moving < BACKLOG_BYTES_MAX || self.drain_takes_all;
        assert!(has_room, "a downlink is taken on top of {moving} bytes");
        // A place in a queue.
        weight += PLACE_BYTES;
        let mut taken_push = None;
        match &downlink {
            Downlink::Batch(batch) => {
                let to = self.ledger.index(&batch.address);
                trail::note(|| format!("{number} takes {to}: {:?}..{:?}", batch.first, batch.end()));
                assert_eq!(batch.first.0, seat.taken[to], "a ring lost or moved a batch of {to}");
                seat.taken[to] = batch.end().0;
                seat.target(to, batch, &mut self.clients, &self.plan, self.is_drain_under_way);
            }
            Downlink::Census(census) => {
                let to = self.ledger.index(&census.address);
                let members = seat.members[to].len();
                let doubtful = seat.members[to].intersection(&seat.doubtful).count();
                let asked = self.censuses.iter_mut().find(|asked| Arc::ptr_eq(&asked.census, census));
                let asked = asked.expect("the world asked");
                asked.least += (members - doubtful) as u64;
                asked.most += members as u64;
            }
            Downlink::Push(push, batches) => {
                let job = self.book.number(push);
                trail::note(|| format!("{number} takes push {job}"));
                let mut taken = Taken::default();
                let parts = self.book.jobs[job].parts.clone();
                for (batch, (log, first, end)) in batches.iter().zip(parts) {
                    weight += PUSH_BYTES;
                    assert_eq!(first, seat.taken[log], "a ring lost or moved a push to {log}");
                    let to = self.ledger.address_of(log);
                    seat.taken[log] = end;
                    seat.target(to, batch, &mut self.clients, &self.plan, self.is_drain_under_way);
                    for &id in &seat.members[to] {
                        self.clients[id].targeted_by_pushes += end - first;
                        taken.add(&self.clients[id], log);
                        weight += 2 * size_of::<fanfare::dataplane::Token>();
                    }
                }
                self.book.jobs[job].shards[number] = Some(taken);
                taken_push = Some(job);
                // It is behind no lull: what it holds may be in no outbox and on no way for long.
                seat.has_pushes = true;
            }
        }
        self.call(number, |shard| shard.take(downlink));
        let backlog = self.seats[number].shard.backlog_bytes();
        assert!(backlog <= before + weight, "backlog of {backlog} bytes");
        if let Some(job) = taken_push.map(|job| &self.book.jobs[job]) {
            let standing = job.standing(number).expect("the shard has it");
            let (least, most) = job.shards[number].as_ref().map_or((0, 0), Taken::targeted);
            let targeted = standing.targeted;
            assert!((least..=most).contains(&targeted), "a push is for {targeted}, not {least} to {most}");
        }
    }

    /// A shard obeys a command.
    pub(crate) fn obey(&mut self, number: usize, command: ShardCommand) {
        if let ShardCommand::Drain(_) = command {
            self.drain_takes_all = true;
            while let Some(downlink) = self.seats[number].receiver.pop() {
                self.take_one(number, downlink);
            }
            self.drain_takes_all = false;
            self.is_drain_under_way = true;
            self.book.drain_us.get_or_insert(self.now);
            let seat = &mut self.seats[number];
            for id in seat.members[ALL].clone() {
                let client = &mut self.clients[id];
                seat.doubt(client, client.may_be_closing(&self.plan, true));
            }
        }
        self.call(number, |shard| shard.obey(command));
    }

    pub(crate) fn observe(&mut self, number: usize) {
        let plane = self.seats[number].shard.plane();
        let (touched, closed) = (plane.take_touched(), plane.take_closed());
        for fd in touched {
            if let Some(socket) = self.seats[number].shard.plane().socket(fd) {
                let (id, look) = (socket.client, Look::at(socket));
                self.look(id, look, false);
            }
        }
        let mut allowed = Vec::new();
        for Closed { mut socket, how } in closed {
            let id = socket.client;
            let look = Look::at(&mut socket);
            self.look(id, look, true);
            allowed.push(self.reasons(id, &socket, how));
            self.remove(id, &socket);
        }
        self.check_reasons(number, &allowed);
    }

    fn look(&mut self, id: usize, look: Look, is_closed: bool) {
        let tick = self.ticks();
        let now = self.now;
        let Self { clients, seats, plan, ledger, book, is_drain_under_way, .. } = self;
        let mut pushes_sent = 0;
        let client = &mut clients[id];
        let seat = &mut seats[client.shard];
        let silence_ms = u128::from(tick - client.heard) * TICK.as_millis();
        client.was_silent |= silence_ms >= plan.clients.liveness.as_millis();
        while let Some(&(begin, end, act)) = client.acts.front() {
            let is_heard = client.last_act.is_none() && client.close.is_none();
            if act.is_last() && begin < look.received && client.last_act.is_none() {
                client.last_act = Some(act);
            }
            if end > look.received {
                break;
            }
            client.acts.pop_front();
            if is_heard {
                seat.hear(client, act, plan.clients.topics_max);
                if plan.clients.liveness_counts == LivenessCounts::AnyFrame || act == Act::Ping {
                    client.heard = tick;
                }
            }
        }
        client.note_owed(plan.outbox.bytes_max);

        let codes = close_codes(client, *is_drain_under_way);
        let was_owed = client.is_owed;
        let before = client.received;
        let may_skip = !plan.keeps_all() && client.was_short;
        let (mut rest, mut from) = (&look.accepted[..], client.stream_at);
        let mut on_frame = |client: &mut Client, frame: Frame| {
            pushes_sent +=
                on_frame(client, &frame, ledger, (book, now), may_skip, plan.clients.server_ping, &codes);
        };
        for (begin, end) in look.shorts {
            let (piece, after) = rest.split_at((begin - from) as usize);
            client.take_stream(piece, &mut on_frame);
            client.note_short(end);
            (rest, from) = (after, begin);
        }
        client.take_stream(rest, &mut on_frame);
        seat.tally.received += client.received - before;
        client.is_owed = look.is_owed;
        client.was_owed_at_close |= (client.close.is_some() || is_closed) && (was_owed || look.is_owed);
        client.was_over &= look.is_owed;
        if client.close.is_some() {
            seat.retire(client);
        }
        seat.doubt(client, client.may_be_closing(plan, *is_drain_under_way));
        if look.is_finished {
            assert_eq!(client.begun(), 0, "FIN goes out in the middle of a frame to {id}");
            assert!(client.close.is_some(), "FIN goes out to {id} without a Close frame");
        }
        for _ in 0..pushes_sent {
            self.note_push_sent();
        }
    }

    fn remove(&mut self, id: usize, socket: &Socket) {
        let client = &mut self.clients[id];
        let seat = &mut self.seats[client.shard];
        trail::note(|| format!("{id} is removed"));
        client.is_removed = true;
        seat.tally.removed += 1;
        let (abandoned, twice) = client.slack();
        seat.retire(client);
        seat.doubt(client, false);
        seat.tally.abandoned_max += abandoned;
        seat.tally.counted_twice_max += twice;
        if socket.is_gone_reported {
            seat.tally.gone_max += client.targeted - client.received;
        }
    }

    /// Reasons that can have ended this client.
    fn reasons(&self, id: usize, socket: &Socket, how: Closing) -> Vec<CloseReason> {
        let client = &self.clients[id];
        let mut allowed = Vec::new();
        match (client.close, client.last_act) {
            (Some(code), Some(Act::Close(said))) if code == said => allowed.push(CloseReason::ClientClose),
            (None, Some(Act::Close(_))) => allowed.push(CloseReason::ClientClose),
            (None, Some(Act::Bad(code))) => allowed.extend(reasons_of(code)),
            _ => {}
        }
        allowed.extend(client.close.flatten().into_iter().flat_map(reasons_of));
        if client.close.is_none() {
            if client.was_short {
                allowed.extend([CloseReason::Slow, CloseReason::Silent, CloseReason::Shutdown]);
            }
            if socket.is_end_received {
                allowed.push(CloseReason::ClientGone);
            }
            if socket.is_reset {
                allowed.push(CloseReason::Reset);
            }
            if self.is_drain_under_way && how == Closing::Reset {
                allowed.push(CloseReason::CloseTimeout);
            }
        }
        allowed
    }

    /// `closed_total` moved by one for each that was removed, for a reason that it can have had.
    fn check_reasons(&mut self, number: usize, allowed: &[Vec<CloseReason>]) {
        let block = &self.blocks.shards[number];
        let before = &mut self.seats[number].closed_before;
        let mut moved = 0;
        for reason in CloseReason::ALL {
            let now = block.closed[reason as usize].get();
            let by = now - std::mem::replace(&mut before[reason as usize], now);
            let can = allowed.iter().filter(|allowed| allowed.contains(&reason)).count() as u64;
            assert!(by <= can, "{by} closed as {reason:?}, but allowed is {allowed:?}");
            moved += by;
        }
        assert_eq!(moved, allowed.len() as u64, "a removal without a reason");
    }
}

impl Seat {
    /// Who is a member now is to get a batch.
    fn target(&mut self, to: To, batch: &Batch, clients: &mut [Client], plan: &Plan, is_draining: bool) {
        let messages = batch.len() as u64;
        let mut doubted = Vec::new();
        for &id in &self.members[to] {
            let client = &mut clients[id];
            let bytes = protocols::encoded(batch, client.format).bytes.len() as u64;
            client.target(messages, bytes, self.lull, plan.outbox.bytes_max);
            if client.may_be_closing(plan, is_draining) {
                doubted.push(id);
            }
            let account = if client.is_doubtful { &mut self.tally.unsure } else { &mut self.tally.targeted };
            *account += messages;
        }
        for id in doubted {
            self.doubt(&mut clients[id], true);
        }
    }

    /// A whole act of a client that is not closing.
    fn hear(&mut self, client: &mut Client, act: Act, topics_max: usize) {
        match act {
            Act::Ping => client.expect(Answer::Pong, 2 + PONG.len()),
            Act::WebSocketPing(length, number) => {
                client.expect(Answer::WebSocketPong(length, number), 2 + length);
            }
            Act::Join(to) if client.topics() < topics_max && !client.is_member(to) => {
                self.join(client, to);
            }
            Act::Leave(to) if client.is_member(to) => {
                self.leave(client, to);
            }
            _ => {}
        }
    }

    /// Nobody can say from outside whether this client is closing. Whoever is owed nothing and has no Close frame is
    /// not, and never was.
    fn doubt(&mut self, client: &mut Client, is_doubtful: bool) {
        if is_doubtful && !client.is_doubtful {
            self.doubtful.insert(client.id);
            self.withdraw(client);
        } else if !is_doubtful {
            self.doubtful.remove(&client.id);
        }
        client.is_doubtful = is_doubtful;
    }

    /// Some of what was taken for it may have been on its way, which ends here.
    fn withdraw(&mut self, client: &mut Client) {
        if client.recent.0 == self.lull {
            self.tally.withdrawn_max += std::mem::take(&mut client.recent.1);
            client.has_withdrawn = true;
        }
    }

    /// A client that closes is nobody's member.
    fn retire(&mut self, client: &mut Client) {
        for to in ALL..self.members.len() {
            if client.is_member(to) {
                self.leave(client, to);
            }
        }
    }

    fn join(&mut self, client: &mut Client, to: To) {
        for log in [to, to + self.members.len()] {
            client.spans[log].push(Span { from: self.taken[log], to: None });
        }
        self.members[to].insert(client.id);
        self.tally.memberships += u64::from(to != ALL);
    }

    fn leave(&mut self, client: &mut Client, to: To) {
        for log in [to, to + self.members.len()] {
            if let Some(span) = client.spans[log].last_mut() {
                span.to = Some(self.taken[log]);
            }
        }
        self.members[to].remove(&client.id);
        self.tally.memberships -= u64::from(to != ALL);
        self.withdraw(client);
    }
}

/// A frame of the server is one that this client may get now. How many pushes it ends.
fn on_frame(
    client: &mut Client,
    frame: &Frame,
    ledger: &mut Ledger,
    (book, now): (&mut Book, u64),
    may_skip: bool,
    may_ping: bool,
    codes: &[Option<u16>],
) -> usize {
    let mut sent = 0;
    match frame.opcode {
        wire::PING => {
            assert!(may_ping && frame.payload.is_empty(), "an unexpected ping");
            client.pings += 1;
        }
        wire::PONG => {
            let number = u32::from_be_bytes(*frame.payload.first_chunk().expect("pings have a number"));
            client.answered(Answer::WebSocketPong(frame.payload.len(), number));
        }
        wire::CLOSE => {
            let code = frame.payload.first_chunk().map(|code| u16::from_be_bytes(*code));
            assert!(codes.contains(&code), "{} is closed with {code:?}, allowed: {codes:?}", client.id);
            client.close = Some(code);
        }
        _ if frame.payload == PONG && client.format != FormatId::RAW => client.answered(Answer::Pong),
        _ => {
            let urgent = ledger.urgent(ALL);
            for &item in ledger.read(client.format, &frame.payload) {
                client.receive(item, |missing| may_skip || missing.0 >= urgent || book.is_cut(missing, now));
                if book.receive(client, item, now) {
                    client.received_of_pushes += 1;
                    sent += usize::from(book.is_last(item) && !client.was_short);
                }
            }
        }
    }
    sent
}

/// Codes with which the server may close this client now.
fn close_codes(client: &Client, is_draining: bool) -> Vec<Option<u16>> {
    let mut codes = Vec::new();
    match client.last_act {
        Some(Act::Bad(code)) => codes.push(Some(code)),
        Some(Act::Close(code)) => codes.push(code),
        _ => {}
    }
    if client.was_short || client.is_owed {
        codes.push(Some(4008));
    }
    if is_draining || client.was_silent {
        codes.push(Some(1001));
    }
    codes
}

fn reasons_of(code: u16) -> Vec<CloseReason> {
    CloseReason::ALL.into_iter().filter(|reason| reason.code() == Some(code)).collect()
}
