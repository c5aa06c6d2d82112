//! Pushes on a shard: how one begins, what becomes of its orders, how it ends before its time.
//!
//! *Not here*: the walk (`walk`), credit and accounts (`pushes`).

use std::sync::Arc;

use super::line::RoundNumber;
use super::members::Place;
use super::pushes::Orders;
use super::round::Round;
use super::state::Delivery;
use crate::model::{Batch, Offset};
use crate::push::share::Failed;
use crate::push::terms::Lane;
use crate::push::{Push, PushSlot};
use crate::session::Token;
use crate::session::subscriptions::TopicId;
use crate::session::table::Table;

impl Delivery {
    /// Takes a push: a round for each of its batches whose address has members here.
    pub fn take_push(&mut self, push: Arc<Push>, batches: &[Arc<Batch>], table: &mut Table) {
        let lane = push.terms.lane;
        let mut parts = Vec::with_capacity(batches.len());
        let mut targeted = 0;
        for batch in batches {
            let Some(topic) = self.members.find(&batch.address) else { continue };
            let Some(entry) = self.members.entry(topic) else { continue };
            if lane == Lane::Normal {
                debug_assert!(batch.first >= entry.tail, "offsets of an address only grow");
                entry.tail = batch.end();
            }
            if !entry.members.is_empty() {
                targeted += entry.members.len() as u64;
                parts.push((topic, batch));
            }
        }
        let slot = self.pushes.take(push, targeted);
        for (topic, batch) in &parts {
            let place = Place { topic: *topic, lane };
            let number = match lane {
                Lane::Normal => self.append_push(*topic, slot, batch),
                Lane::Urgent => self.append_urgent_push(*topic, slot, batch, table),
            };
            self.pushes.begin_round(slot, place, number);
            self.begun += 1;
            self.enroll(place);
        }
        if parts.is_empty() {
            self.pushes.retire(slot);
        }
    }

    /// Behind everything that its topic has waiting.
    fn append_push(&mut self, topic: TopicId, slot: PushSlot, batch: &Arc<Batch>) -> RoundNumber {
        let Some(entry) = self.members.entry(topic) else { unreachable!("it has members") };
        let members = entry.members.len();
        while !entry.waiting.is_empty() {
            entry.line.append(Round::take(&mut entry.waiting, members), members);
        }
        let round = Round::of_push(Arc::clone(batch), slot, members);
        self.backlog.add(&mut entry.line, round.allocated_bytes());
        if self.pushes.is_holding(slot) {
            self.backlog.hold(&mut entry.line);
        }
        entry.line.append(round, members)
    }

    fn append_urgent_push(
        &mut self,
        topic: TopicId,
        slot: PushSlot,
        batch: &Arc<Batch>,
        table: &mut Table,
    ) -> RoundNumber {
        let Some(entry) = self.members.entry(topic) else { unreachable!("it has members") };
        let members = entry.members.len();
        let targets: Box<[Token]> = entry
            .members
            .iter()
            .map(|member| table.at(member.connection).map_or(NOBODY, |(token, _)| token))
            .collect();
        let round = Round::of_urgent_push(Arc::clone(batch), slot, targets);
        let line = entry.urgent.get_or_insert_default();
        self.backlog.add(line, round.allocated_bytes());
        if self.pushes.is_holding(slot) {
            self.backlog.hold(line);
        }
        line.append(round, members)
    }

    /// Looks at the orders of pushes, and lets those go on that have credit.
    pub fn pace(&mut self) {
        let mut from = 0;
        let mut looked = false;
        while let Some(slot) = self.pushes.next_due(from) {
            from = slot.0 + 1;
            looked = true;
            let mut servable = 0;
            for index in 0.. {
                let Some((place, number)) = self.pushes.place(slot, index) else { break };
                let Some(entry) = self.members.entry(place.topic) else { continue };
                let members = entry.members.len();
                servable += entry.line(place.lane).map_or(0, |line| line.servable(number, slot, members));
            }
            let was_holding = self.pushes.is_holding(slot);
            let orders = self.pushes.look(slot, servable);
            if self.pushes.is_holding(slot) != was_holding {
                self.hold_or_release(slot, !was_holding);
            }
            match orders {
                Orders::Wait => {}
                Orders::Go => {
                    for index in 0.. {
                        let Some((place, _)) = self.pushes.place(slot, index) else { break };
                        self.enroll(place);
                    }
                }
                Orders::End(why) => self.cut(slot, why),
            }
        }
        if looked {
            self.pushes.end_look();
        }
    }

    /// A push has a pace now or stands still, or does so no more: what is behind it is held, or moves.
    fn hold_or_release(&mut self, slot: PushSlot, is_holding: bool) {
        for index in 0.. {
            let Some((place, number)) = self.pushes.place(slot, index) else { break };
            let line = self.members.entry(place.topic).and_then(|entry| entry.line(place.lane));
            if let Some(line) = line.filter(|line| line.of_push(number, slot).is_some()) {
                if is_holding { self.backlog.hold(line) } else { self.backlog.release(line) }
            }
        }
    }

    /// Ends a push for everybody whom it has not served. What stood behind it goes on.
    fn cut(&mut self, slot: PushSlot, why: Failed) {
        let mut places = Vec::new();
        while let Some(place) = self.pushes.place(slot, places.len()) {
            places.push(place);
        }
        for (place, number) in places {
            let line = self.members.entry(place.topic).and_then(|entry| entry.line(place.lane));
            if let Some(round) = line.and_then(|line| line.take_push(number, slot)) {
                self.end_round(place, &round, why);
                self.release(place);
            }
        }
    }

    /// Ends every push that has a pace: a drain does not wait for them, and does not rush them either.
    pub fn cut_paced(&mut self) {
        for slot in self.pushes.all() {
            if self.pushes.is_paced(slot) {
                self.cut(slot, Failed::Shutdown);
            }
        }
    }

    /// A round left a line by itself: what stood behind it may go on.
    fn release(&mut self, place: Place) {
        let Some(entry) = self.members.entry(place.topic) else { return };
        if entry.urgent.as_ref().is_some_and(|line| line.is_empty() && !line.is_on_agenda) {
            entry.urgent = None;
        }
        match place.lane {
            Lane::Normal => self.begin_rounds(place.topic),
            Lane::Urgent => self.enroll(place),
        }
    }

    /// A member left a topic that had everything below `delivered`: pushes that were on their way to it have failed.
    pub(super) fn note_leave(&mut self, topic: TopicId, delivered: Offset) {
        let Some(entry) = self.members.entry(topic) else { return };
        if !entry.line.has_push() {
            return;
        }
        let mut missed = Vec::new();
        let served = entry.line.note_leave(delivered, |slot| missed.push(slot));
        for slot in missed {
            self.pushes.failed(slot, Failed::Closed, 1);
        }
        if served.is_empty() {
            return;
        }
        let place = Place { topic, lane: Lane::Normal };
        for round in served {
            self.end_round(place, &round, Failed::Closed);
        }
        self.release(place);
    }
}

/// A place in a list of targets that nobody has.
const NOBODY: Token = Token { index: u32::MAX, generation: 0 };
