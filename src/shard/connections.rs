//! The two ends of a connection's life on a shard, and its places in topics in between.
//!
//! *Not here*: its handshake (`accept`), what it says (`input`), who is told of its end (`lifecycle`).

use std::time::Instant;

use super::arrival::Arrival;
use super::departures::Departure;
use super::state::Shard;
use crate::dataplane::{Closing, Plane, Token};
use fanfare_core::delivery::ALL;
use fanfare_core::limits;
use fanfare_core::model::{CloseReason, Topic};
use fanfare_core::push::share::Failed;
use fanfare_core::session::Connection;
use fanfare_core::session::outbox::Dues;
use fanfare_core::session::subscriptions::{Membership, Subscriptions};

impl<P: Plane> Shard<P> {
    /// Takes a connection in.
    pub fn admit(&mut self, arrival: Arrival) {
        let Arrival { fd, peer, format, topics, response, mut tail } = arrival;
        let Ok(token) = self.table.insert(Connection::new(fd, format, self.now), self.now) else {
            self.plane.close(Token { index: 0, generation: 0 }, fd, Closing::Reset);
            return;
        };
        self.ages.note(self.now);
        let position = self.delivery.join(ALL, token.index);
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
            self.begin_close(token, CloseReason::Shutdown);
        }
    }

    /// Joins a topic; a repeat, or one more than the bound, is ignored as go-push does. The latter is counted.
    pub(super) fn join(&mut self, token: Token, topic: Topic) {
        let Some(connection) = self.table.get(token) else { return };
        if connection.subscriptions.len() >= self.topics_max {
            let known = self.delivery.find_name(topic.as_str());
            if !known.is_some_and(|id| connection.subscriptions.contains(id)) {
                self.refuse_join();
            }
            return;
        }
        let id = self.delivery.open(topic);
        if connection.subscriptions.contains(id) {
            return;
        }
        let position = self.delivery.join(id, token.index);
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
    pub(super) fn leave(&mut self, token: Token, topic: &str) {
        let Some(id) = self.delivery.find_name(topic) else { return };
        let Some(position) = self.table.get(token).and_then(|c| c.subscriptions.remove(id)) else { return };
        self.record_leave(token, id);
        self.vacate(Membership { topic: id, position });
    }

    /// Gives up every place of a connection that closes: it is nobody's member while it says goodbye.
    /// `client_code` is what the client's own Close said.
    pub(super) fn retire(&mut self, token: Token, client_code: Option<u16>) {
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
    pub(super) fn vacate(&mut self, place: Membership) {
        let Membership { topic, position } = place;
        if let Some(moved) = self.delivery.leave(place)
            && let Some((_, connection)) = self.table.at(moved)
        {
            if topic == ALL {
                connection.place_in_all(position);
            } else {
                connection.subscriptions.moved(topic, position);
            }
        }
        if topic != ALL {
            self.count_memberships(-1);
        }
    }

    fn count_memberships(&self, change: i64) {
        let block = self.block();
        block.memberships.add(change.cast_unsigned());
        block.topics.set(self.delivery.topics() as u64);
    }

    /// Ends a connection: its places, its socket, its memory. `reason` counts unless one was known before.
    pub(super) fn remove(&mut self, token: Token, reason: CloseReason) {
        self.record_close(token, reason, None);
        let Some(mut connection) = self.table.remove(token) else { return };
        let mut how = if reason == CloseReason::CloseTimeout { Closing::Reset } else { Closing::Orderly };
        if let Some(mut outbox) = connection.take_outbox() {
            // What the kernel still holds is not worth its memory to a client that did not even take that.
            how = Closing::Reset;
            if outbox.awaits_room {
                self.plane.unwatch_writable(token);
            }
            self.block().count_dues(outbox.dues(), Dues::default());
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

    /// Carries out the departures that a walk has noted, when it is over. Those of whoever left meanwhile come to nothing.
    pub(super) fn depart(&mut self) {
        let mut departures = std::mem::take(&mut self.departures);
        for Departure { token, reason, is_told } in departures.drain(..) {
            if is_told {
                self.begin_close(token, reason);
            } else {
                self.remove(token, reason);
            }
        }
        debug_assert!(self.departures.is_empty(), "who departs takes nobody along");
        self.departures = departures;
    }

    /// Ends every connection and every handshake at once: the drain is over.
    pub fn abort(&mut self) {
        self.dismiss_pending();
        // Every place is looked at anew, so it does not matter whom else a removal takes along.
        for index in 0..self.table.span() {
            if let Some((token, _)) = self.table.at(index) {
                self.remove(token, CloseReason::CloseTimeout);
            }
        }
    }
}
