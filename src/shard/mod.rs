//! A shard: the connections of one thread, the topics they joined, and what is on its way to them.
//!
//! The shard owns everything it touches; what crosses to it comes as a [`Downlink`], what leaves it are counters. This
//! file is its state and the two ends of a connection's life; `run` is the thread's loop, the other files are what the
//! loop calls. All of it is synchronous and generic over [`Plane`], so that a simulation can drive it in virtual time.
//! *Not here*: system calls (`dataplane`), protocol (`connection`, `wire`).

mod accept;
mod ages;
mod backlog;
mod budget;
mod fanout;
mod input;
mod lifecycle;
mod line;
mod members;
mod neighbours;
mod outboxes;
mod pace;
mod piggyback;
mod pushes;
mod round;
pub mod run;
mod shortage;
mod sweep;
mod table;

use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::batch::Topic;
use crate::config::{Clients, Outbox};
use crate::connection::clock::Clock;
use crate::connection::outbox::Dues;
use crate::connection::reason::CloseReason;
use crate::connection::subscriptions::{Membership, Subscriptions};
use crate::connection::{Connection, Rules, Tick};
use crate::dataplane::{Closing, Plane, Short, Token};
use crate::downlink::{Downlink, ShardCommand};
use crate::events::journal::Journal;
use crate::formats::FormatId;
use crate::limits;
use crate::log::throttle::Throttle;
use crate::metrics::{Blocks, ShardBlock};
use crate::push::share::Failed;
use accept::Lobby;
use ages::Ages;
use backlog::Backlog;
use budget::Budget;
use fanout::Agenda;
use lifecycle::Closes;
use members::{ALL, Members};
use neighbours::Neighbours;
use pushes::Pushes;
use sweep::{Drain, SHUTTING_DOWN, Sweep};
use table::Table;

/// A socket whose handshake is done.
#[derive(Debug)]
pub struct Arrival {
    /// The socket; owned by whoever holds the arrival.
    pub fd: RawFd,
    /// The other end of its TCP connection, where that is known.
    pub peer: Option<SocketAddr>,
    /// The protocol it asked for.
    pub format: FormatId,
    /// Topics to join at once.
    pub topics: Vec<Topic>,
    /// The answer to the handshake. It is sent by the shard, once the connection is a member of its topics: whoever has
    /// seen it misses nothing that is published from then on.
    pub response: Vec<u8>,
    /// Bytes that came behind the head: the client's first frames.
    pub tail: Vec<u8>,
}

/// The state of one shard.
pub struct Shard<P: Plane> {
    plane: P,
    number: usize,
    blocks: Arc<Blocks>,
    rules: Rules,
    topics_max: usize,
    /// The log's lines about JOINs beyond that.
    joins_refused: Throttle,
    clock: Clock,
    /// What the clock says, pauses left out.
    now: Tick,
    /// Microseconds of the process's clock.
    now_us: u64,
    lobby: Lobby,
    neighbours: Neighbours,
    table: Table,
    ages: Ages,
    members: Members,
    agenda: Agenda,
    pushes: Pushes,
    backlog: Backlog,
    sweep: Sweep,
    drain: Option<Drain>,
    /// What happens to connections is noted here, if anybody wants to know.
    journal: Option<Journal>,
    closes: Closes,
    /// What this turn's input has cost, and who is held back for it.
    input: Budget,
    /// Where input is received; empty until the first, and after [`Shard::shrink`].
    scratch: Box<[u8]>,
    replies: Vec<u8>,
    /// Reused by every slice.
    shorts: Vec<Short>,
    slow: Vec<Token>,
}

impl<P: Plane> Shard<P> {
    /// A shard without connections. `number` is its place in `blocks`.
    pub fn new(plane: P, number: usize, blocks: Arc<Blocks>, clients: &Clients, outbox: Outbox) -> Self {
        let rules = Rules::new(clients, outbox, blocks.shards.len());
        Self {
            plane,
            number,
            blocks,
            rules,
            topics_max: clients.topics_max,
            joins_refused: Throttle::default(),
            clock: Clock::default(),
            now: Tick(0),
            now_us: 0,
            lobby: Lobby::new(clients),
            neighbours: Neighbours::default(),
            table: Table::default(),
            ages: Ages::default(),
            members: Members::default(),
            agenda: Agenda::default(),
            pushes: Pushes::default(),
            backlog: Backlog::default(),
            sweep: Sweep::default(),
            drain: None,
            journal: None,
            closes: Closes::default(),
            input: Budget::default(),
            scratch: Box::default(),
            replies: Vec::new(),
            shorts: Vec::new(),
            slow: Vec::new(),
        }
    }

    /// Its way to the kernel.
    pub fn plane(&mut self) -> &mut P {
        &mut self.plane
    }

    /// Connections now.
    pub fn connections(&self) -> usize {
        self.table.len()
    }

    /// Memory of batches taken from the ring and not finished.
    pub fn backlog_bytes(&self) -> usize {
        self.backlog.bytes()
    }

    /// The part of it that pushes hold up.
    pub fn held_bytes(&self) -> usize {
        self.backlog.held()
    }

    /// Whether the next downlink may be taken from the ring. What pushes hold up has a bound where it enters.
    pub fn has_room(&self) -> bool {
        self.backlog.moving() < limits::BACKLOG_BYTES_MAX
    }

    /// Whether the next turn has something to do without news from outside.
    pub fn is_busy(&self) -> bool {
        !self.agenda.is_empty()
            || self.input.held() > 0
            || self.sweep.is_under_way()
            || self.lobby.is_busy()
            || self.must_accept_again()
    }

    /// Whether the drain is over: nobody arrives any more, and every connection is gone, or had its time.
    pub fn is_drained(&self) -> bool {
        let is_left = || self.lobby.is_settled() && self.table.is_empty();
        self.drain.as_ref().is_some_and(|drain| is_left() || drain.is_over(self.clock.steady()))
    }

    /// Sets the coarse clock, from a steady one; it never goes back. Time in which the shard had no turn is its own, and
    /// counts as nobody's silence.
    pub fn set_now(&mut self, steady: Tick) {
        let has_paused = self.clock.advance(steady);
        self.now = self.clock.now();
        if has_paused {
            self.block().pauses.add(1);
            if let Some(drain) = &mut self.drain {
                drain.resume(steady);
            }
        }
    }

    /// Sets the fine clock, microseconds of the process's clock; it never goes back.
    pub fn set_clock(&mut self, now_us: u64) {
        self.now_us = self.now_us.max(now_us);
        self.pushes.set_now(now_us);
    }

    /// Microseconds after which a turn is needed, whatever else happens; `None`: after none.
    pub fn turn_in_us(&self) -> Option<u64> {
        self.pushes.wait_us().into_iter().chain(self.door_in_us()).min()
    }

    /// Takes one downlink.
    pub fn take(&mut self, downlink: Downlink) {
        self.block().downlinks.add(1);
        self.block().downlink_bytes_released.add(downlink.weight() as u64);
        match downlink {
            Downlink::Batch(batch) => self.enqueue(batch),
            Downlink::Push(push, batches) => self.take_push(push, &batches),
            Downlink::Census(census) => {
                let members = self
                    .members
                    .find(&census.address)
                    .and_then(|id| self.members.entry(id))
                    .map_or(0, |entry| entry.members.len());
                census.answer(members as u64);
            }
        }
    }

    /// Obeys a command. What was in the ring when a drain was commanded is to be taken first.
    pub fn obey(&mut self, command: ShardCommand) {
        match command {
            ShardCommand::Configure(edition) => {
                let shards = self.blocks.shards.len();
                self.rules = Rules::new(&edition.config.clients, edition.config.outbox, shards);
                self.topics_max = edition.config.clients.topics_max;
                self.lobby.configure(&edition.config.clients);
                if let Some(journal) = &mut self.journal {
                    journal.set_kinds(edition.config.events.kinds);
                }
                self.block().edition.set(edition.number);
            }
            ShardCommand::Drain(over) => self.begin_drain(over),
        }
    }

    /// One turn: input that was held back, a share of the fanout, a share of the sweep.
    pub fn turn(&mut self) {
        self.read_on();
        self.pace();
        self.fan_out();
        self.sweep_on();
        self.turn_late_away();
        self.relieve_outboxes();
        self.relieve_partials();
        self.block().backlog_bytes.set(self.backlog.bytes() as u64);
        self.block().held_bytes.set(self.backlog.held() as u64);
        self.block().turns.add(1);
    }

    /// Gives back what queues grew to in a rush and do not need now. An allocator frees a page when everything in it is
    /// free: one long vector that stays behind would hold the memory of a crowd that left.
    pub fn shrink(&mut self) {
        self.table.shrink();
        if self.table.is_empty() {
            self.ages.forget();
        }
        self.lobby.shrink();
        self.agenda.shrink();
        self.input.shrink();
        // The lists of a crowd grow through blocks of this size, beside it.
        self.scratch = Box::default();
        self.replies.shrink_to_fit();
        self.shorts.shrink_to_fit();
        self.slow.shrink_to_fit();
        self.closes.shrink();
    }

    /// Takes a connection in.
    pub fn admit(&mut self, arrival: Arrival) {
        let Arrival { fd, peer, format, topics, response, mut tail } = arrival;
        let Ok(token) = self.table.insert(Connection::new(fd, format, self.now), self.now) else {
            self.plane.close(Token { index: 0, generation: 0 }, fd, Closing::Reset);
            return;
        };
        self.ages.note(self.now);
        let position = self.members.join(ALL, token.index);
        if let Some(connection) = self.table.get(token) {
            connection.place_in_all(position);
        }
        self.record_open(token, peer);
        for topic in topics {
            self.join(token, topic);
        }
        self.block().connections[format.index()].add(1);
        self.block().upgraded.add(1);
        self.plane.watch(token, fd);
        self.greet(token, &response);
        if !tail.is_empty() {
            let cost = self.handle_input(token, &mut tail);
            self.input.spend(cost);
        }
        if self.drain.as_ref().is_some_and(|drain| drain.has_passed(token.index)) {
            self.begin_close(token, CloseReason::Shutdown, SHUTTING_DOWN);
        }
    }

    /// Joins a topic; a repeat, or one more than the bound, is ignored as go-push does. The latter is counted.
    fn join(&mut self, token: Token, topic: Topic) {
        let Some(connection) = self.table.get(token) else { return };
        if connection.subscriptions.len() >= self.topics_max {
            let known = self.members.find_name(topic.as_str());
            if !known.is_some_and(|id| connection.subscriptions.contains(id)) {
                self.refuse_join();
            }
            return;
        }
        let id = self.members.open(topic);
        if connection.subscriptions.contains(id) {
            return;
        }
        let position = self.members.join(id, token.index);
        connection.subscriptions.add(Membership { topic: id, position });
        self.record_join(token, id);
        self.count_memberships(1);
    }

    /// Takes note of a JOIN that is ignored, which its client is not told in this version of the protocol.
    fn refuse_join(&mut self) {
        self.block().joins_refused.add(1);
        if let Some(joins) = self.joins_refused.event(Instant::now()) {
            tracing::info!(
                shard = self.number,
                joins,
                topics_max = self.topics_max,
                "ignored JOINs of devices that are in clients.topics_max topics already: raise it if they need more"
            );
        }
    }

    /// Leaves a topic; one that was not joined is ignored.
    fn leave(&mut self, token: Token, topic: &str) {
        let Some(id) = self.members.find_name(topic) else { return };
        let Some(position) = self.table.get(token).and_then(|c| c.subscriptions.remove(id)) else { return };
        self.record_leave(token, id);
        self.vacate(Membership { topic: id, position });
    }

    /// Gives up every place of a connection that closes: it is nobody's member while it says goodbye.
    /// `client_code` is what the client's own Close said.
    fn retire(&mut self, token: Token, client_code: Option<u16>) {
        self.record_close(token, CloseReason::ClientClose, client_code);
        if let Some(places) = self.table.get(token).map(Connection::take_places) {
            // Its place among everybody is given up once: when it begins to close.
            self.block().closing.add(u64::from(places.0.is_some()));
            self.vacate_all(places);
        }
    }

    fn vacate_all(&mut self, (in_all, places): (Option<u32>, Subscriptions)) {
        if let Some(position) = in_all {
            self.vacate(Membership { topic: ALL, position });
        }
        for place in places.as_slice() {
            self.vacate(*place);
        }
    }

    /// Gives up a place in a topic that the connection itself has forgotten already.
    fn vacate(&mut self, place: Membership) {
        let Membership { topic, position } = place;
        let Some((gone, moved)) = self.members.leave(topic, position) else { return };
        if let Some(moved) = moved
            && let Some((_, connection)) = self.table.at(moved)
        {
            if topic == ALL {
                connection.place_in_all(position);
            } else {
                connection.subscriptions.moved(topic, position);
            }
        }
        self.note_leave(topic, gone.delivered);
        self.forget_if_empty(topic);
        if topic != ALL {
            self.count_memberships(-1);
        }
    }

    fn count_memberships(&self, change: i64) {
        let block = self.block();
        block.memberships.add(change.cast_unsigned());
        block.topics.set(self.members.topics() as u64);
    }

    /// Ends a connection: its places, its socket, its memory. `reason` counts unless one was known before.
    fn remove(&mut self, token: Token, reason: CloseReason) {
        self.record_close(token, reason, None);
        let Some(mut connection) = self.table.remove(token) else { return };
        let mut how = if reason == CloseReason::CloseTimeout { Closing::Reset } else { Closing::Orderly };
        if let Some(mut outbox) = connection.take_outbox() {
            // What the kernel still holds is not worth its memory to a client that did not even take that.
            how = Closing::Reset;
            if outbox.awaits_room {
                self.plane.unwatch_writable(token);
            }
            outboxes::count_dues(self.block(), outbox.dues(), Dues::default());
            let why = Failed::of_close(connection.reason().unwrap_or(reason));
            self.block().deliveries_failed[why as usize].add(u64::from(outbox.give_up()));
            self.settle_pushes(outbox.take_settled(), why);
        }
        self.count_partial(connection.partial_bytes(), 0);
        self.plane.close(token, connection.fd, how);
        let places = connection.take_places();
        let was_closing = places.0.is_none();
        self.vacate_all(places);
        let age = self.ages.age(self.table.came_after(token), self.now);
        let block = self.block();
        block.closing.sub(u64::from(was_closing));
        block.lifetime_ms.record(u64::from(age) * limits::TICK.as_millis() as u64);
        block.connections[connection.format.index()].sub(1);
        block.closed[connection.reason().unwrap_or(reason) as usize].add(1);
    }

    /// Ends every connection and every handshake at once: the drain is over.
    pub fn abort(&mut self) {
        self.dismiss_guests();
        for index in 0..self.table.span() {
            if let Some((token, _)) = self.table.at(index) {
                self.remove(token, CloseReason::CloseTimeout);
            }
        }
    }

    fn begin_drain(&mut self, over: Duration) {
        if self.drain.is_none() {
            self.drain = Some(Drain::new(self.clock.steady(), over));
            self.close_door();
            self.cut_paced();
        }
    }

    fn block(&self) -> &ShardBlock {
        &self.blocks.shards[self.number]
    }
}
