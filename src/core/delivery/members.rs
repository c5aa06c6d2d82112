//! Who is in which topic on this shard, and what each topic has to deliver.
//!
//! A member list is walked from its end while joins append and leaves swap-remove: a walk can meet a member twice but
//! never miss one, and the member's `delivered` turns the second meeting into nothing. *Not here*: the walk (`walk`).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::line::Line;
use crate::model::{Address, Batch, Offset, Tick, Topic};
use crate::push::terms::Lane;
use crate::session::subscriptions::TopicId;

/// The list of every connection: the members of [`Address::All`].
pub const ALL: TopicId = TopicId(0);

/// Member lists below this many places are not worth shrinking.
const SHRINK_FLOOR: usize = 64;

/// One connection's place in a topic. 16 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Index in the shard's table; a member is removed before its connection is.
    pub connection: u32,
    /// It has, or never was to have, every message below this offset.
    pub delivered: Offset,
}

const _: () = assert!(size_of::<Member>() <= 16);

/// A topic that has members here.
#[derive(Debug, Default)]
pub struct Entry {
    name: Option<Topic>,
    /// The members, in no order.
    pub members: Vec<Member>,
    /// The offset after the last batch that this shard took: where a new member begins.
    pub tail: Offset,
    /// Batches that no round carries yet.
    pub waiting: VecDeque<Arc<Batch>>,
    /// When a batch for it last came or was on its way: every member is then one that messages go to. One stamp here
    /// instead of one in each connection keeps the walk free of a write a member.
    pub active: Tick,
    /// The walks that are under way.
    pub line: Line,
    /// Those of urgent pushes.
    pub urgent: Option<Box<Line>>,
}

/// One of a topic's lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The topic.
    pub topic: TopicId,
    /// Which of its lines.
    pub lane: Lane,
}

impl Entry {
    /// Whether no message was on its way to the members for so many ticks. One that waits for its pace is on its way.
    pub fn is_quiet_since(&self, now: Tick, ticks: u32) -> bool {
        self.line.is_empty()
            && self.urgent.is_none()
            && self.waiting.is_empty()
            && now.since(self.active) >= ticks
    }

    /// A line of it.
    pub fn line(&mut self, lane: Lane) -> Option<&mut Line> {
        match lane {
            Lane::Normal => Some(&mut self.line),
            Lane::Urgent => self.urgent.as_deref_mut(),
        }
    }
}

/// Every topic with members on this shard.
#[derive(Debug)]
pub struct Members {
    entries: Vec<Option<Box<Entry>>>,
    free: Vec<TopicId>,
    by_name: HashMap<Topic, TopicId>,
}

impl Default for Members {
    fn default() -> Self {
        Self { entries: vec![Some(Box::default())], free: Vec::new(), by_name: HashMap::new() }
    }
}

impl Members {
    /// Topics with members, without the list of everybody.
    pub fn topics(&self) -> usize {
        self.by_name.len()
    }

    /// The topic of an address, if it has members here.
    pub fn find(&self, address: &Address) -> Option<TopicId> {
        match address {
            Address::All => Some(ALL),
            Address::Topic(topic) => self.by_name.get(topic).copied(),
        }
    }

    /// A topic by name, if it has members here.
    pub fn find_name(&self, name: &str) -> Option<TopicId> {
        self.by_name.get(name).copied()
    }

    /// The topic's entry. The id comes from this table and the topic has not been [`Members::prune`]d.
    pub fn entry(&mut self, id: TopicId) -> Option<&mut Entry> {
        self.entries.get_mut(id.0 as usize)?.as_deref_mut()
    }

    /// The name of a topic that has members here; the list of everybody has none.
    pub fn name(&self, id: TopicId) -> Option<&Topic> {
        self.entries.get(id.0 as usize)?.as_ref()?.name.as_ref()
    }

    /// The topic's number, made now if it has none.
    pub fn open(&mut self, name: Topic) -> TopicId {
        if let Some(&id) = self.by_name.get(&name) {
            return id;
        }
        let entry = Box::new(Entry { name: Some(name.clone()), ..Entry::default() });
        let id = self.free.pop().unwrap_or(TopicId(self.entries.len() as u32));
        if id.0 as usize == self.entries.len() {
            self.entries.push(Some(entry));
        } else {
            self.entries[id.0 as usize] = Some(entry);
        }
        self.by_name.insert(name, id);
        id
    }

    /// Appends a member that gets what is published from now on; returns its position.
    pub fn join(&mut self, id: TopicId, connection: u32) -> u32 {
        let Some(entry) = self.entry(id) else { unreachable!("joined topics are open") };
        entry.members.push(Member { connection, delivered: entry.tail });
        entry.members.len() as u32 - 1
    }

    /// Removes the member at a position; returns it, and the connection that takes its place there.
    pub fn leave(&mut self, id: TopicId, position: u32) -> Option<(Member, Option<u32>)> {
        let members = &mut self.entry(id)?.members;
        let gone = members.swap_remove(position as usize);
        if members.is_empty() {
            *members = Vec::new();
        } else if members.capacity() > SHRINK_FLOOR && members.len() < members.capacity() / 4 {
            members.shrink_to(members.len() * 2);
        }
        Some((gone, members.get(position as usize).map(|moved| moved.connection)))
    }

    /// Forgets a topic that has no members.
    pub fn prune(&mut self, id: TopicId) {
        debug_assert!(id != ALL);
        let Some(entry) = self.entries[id.0 as usize].take() else { return };
        if let Some(name) = &entry.name {
            self.by_name.remove(name);
        }
        self.free.push(id);
        if self.by_name.is_empty() {
            self.by_name.shrink_to_fit();
            self.entries.truncate(1);
            self.entries.shrink_to_fit();
            self.free = Vec::new();
        }
    }
}
