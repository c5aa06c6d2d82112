//! What comes for a topic, the rounds that it becomes, and who joins and leaves.
//!
//! Batches that came during a round ride together in the next: their frames are joined into one buffer, once per
//! format, and each member gets them in one send. *Not here*: the walk (`walk`), pushes (`pace`).

use std::sync::Arc;

use super::members::{ALL, Place};
use super::round::{Round, waiting_bytes};
use super::state::Delivery;
use crate::model::{Batch, Tick, Topic};
use crate::push::share::Failed;
use crate::push::terms::Lane;
use crate::session::subscriptions::{Membership, TopicId};

impl Delivery {
    /// Queues a batch for the members of its address.
    pub fn enqueue(&mut self, batch: Arc<Batch>, now: Tick) {
        let Some(id) = self.members.find(&batch.address) else { return };
        let Some(entry) = self.members.entry(id) else { return };
        debug_assert!(batch.first >= entry.tail, "offsets of an address only grow");
        entry.tail = batch.end();
        entry.active = now;
        if entry.members.is_empty() {
            return;
        }
        self.backlog.add(&mut entry.line, waiting_bytes(&batch));
        entry.waiting.push_back(batch);
        self.begin_rounds(id);
    }

    /// The topic's number, made now if it has none.
    pub fn open(&mut self, name: Topic) -> TopicId {
        self.members.open(name)
    }

    /// Appends a member that gets what is published from now on; returns its position.
    pub fn join(&mut self, id: TopicId, connection: u32) -> u32 {
        self.members.join(id, connection)
    }

    /// Gives up a place that the connection itself has forgotten already. Returns whoever has that place now: its
    /// connection has to be told.
    pub fn leave(&mut self, place: Membership) -> Option<u32> {
        let Membership { topic, position } = place;
        let (gone, moved) = self.members.leave(topic, position)?;
        self.note_leave(topic, gone.delivered);
        self.forget_if_empty(topic);
        moved
    }

    /// Makes rounds of what waits, as far as the line takes more, and sees to it that they go on.
    pub(super) fn begin_rounds(&mut self, id: TopicId) {
        let Some(entry) = self.members.entry(id) else { return };
        let members = entry.members.len();
        while !entry.waiting.is_empty() && entry.line.takes_more() {
            entry.line.append(Round::take(&mut entry.waiting, members), members);
            self.begun += 1;
        }
        self.enroll(Place { topic: id, lane: Lane::Normal });
    }

    /// Puts a line that has rounds on the agenda, unless it is there.
    pub(super) fn enroll(&mut self, place: Place) {
        let Some(entry) = self.members.entry(place.topic) else { return };
        let members = entry.members.len();
        let Some(line) = entry.line(place.lane) else { return };
        if !line.is_empty() && !std::mem::replace(&mut line.is_on_agenda, true) {
            self.agenda.add(place, members);
        }
    }

    /// A slice of a line is over, and who left because of it has left: what waits gets its turn.
    pub fn go_on(&mut self, place: Place) {
        let Some(entry) = self.members.entry(place.topic) else { return };
        if entry.urgent.as_ref().is_some_and(|line| line.is_empty()) {
            entry.urgent = None;
        }
        if let Some(line) = entry.line(place.lane) {
            line.is_on_agenda = false;
        }
        match place.lane {
            Lane::Normal => self.begin_rounds(place.topic),
            Lane::Urgent => self.enroll(place),
        }
    }

    /// Lets go of a round that left its line; whom its push has not served, it does not serve for this reason.
    pub(super) fn end_round(&mut self, place: Place, round: &Round, why: Failed) {
        if let Some(line) = self.members.entry(place.topic).and_then(|entry| entry.line(place.lane)) {
            self.backlog.sub(line, round.allocated_bytes());
            if round.push.is_some_and(|slot| self.pushes.is_holding(slot)) {
                self.backlog.release(line);
            }
        }
        self.settle_round(round, why);
    }

    /// The same of a round whose line is gone.
    fn settle_round(&mut self, round: &Round, why: Failed) {
        if let Some(slot) = round.push {
            self.pushes.failed(slot, why, u64::from(round.unserved));
            self.pushes.end_round(slot);
        }
    }

    /// Forgets a topic whose last member left. What it had to deliver has nobody to go to.
    fn forget_if_empty(&mut self, id: TopicId) {
        let Some(entry) = self.members.entry(id) else { return };
        if !entry.members.is_empty() {
            return;
        }
        let mut ended = Vec::new();
        if id == ALL {
            // Its line outlives its members.
            let waiting = std::mem::take(&mut entry.waiting);
            self.backlog.sub(&mut entry.line, waiting.iter().map(|batch| waiting_bytes(batch)).sum());
            for round in entry.line.take_all() {
                self.end_round(Place { topic: id, lane: Lane::Normal }, &round, Failed::Closed);
            }
        } else {
            self.backlog.drop_line(&mut entry.line);
            ended = entry.line.take_all();
        }
        if let Some(mut line) = self.members.entry(id).and_then(|entry| entry.urgent.take()) {
            self.backlog.drop_line(&mut line);
            ended.extend(line.take_all());
        }
        for round in ended {
            self.settle_round(&round, Failed::Closed);
        }
        if id != ALL {
            self.members.prune(id);
        }
    }
}
