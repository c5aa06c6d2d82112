//! The addresses that had a message lately, and where their offsets stand.
//!
//! While there are many, an address for which nothing comes is forgotten after one to two minutes, or earlier when there are
//! too many, so that topics which were used once do not hold memory for ever. Addresses begin in the *recent* map, which
//! becomes the *earlier* one as a whole; what is used there moves back, the rest is dropped, some at a time. Only when too
//! many come is the earlier map walked.
//! An address that comes back begins above every offset that was ever given, so none repeats within a process.
//! *Not here*: when a batch closes (`merger`).

use std::collections::{HashMap, hash_map};

use crate::limits::{TOPIC_FORGOTTEN_AFTER, TOPICS_FORGOTTEN_PER_TURN, TOPICS_KEPT, TOPICS_MAX};
use crate::model::{Address, Batch, Epoch, Message, Offset};

/// The log of one address, of which only the open end is kept.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) epoch: Epoch,
    /// Offset of the next message.
    pub(super) next: Offset,
    pub(super) open: Vec<Message>,
    pub(super) open_bytes: usize,
    /// Memory of the open messages.
    pub(super) open_allocated: usize,
    /// When the first message of the open batch came.
    pub(super) opened: u64,
    /// The number of the open batch's entry in `due`; 0: it has none.
    pub(super) entry: u64,
    pub(super) last_sealed: Option<u64>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Logs {
    topics_max: usize,
    recent: HashMap<Address, Log>,
    earlier: HashMap<Address, Log>,
    /// What is being dropped.
    leaving: Option<hash_map::IntoIter<Address, Log>>,
    /// Many have been dropped since that was last asked.
    has_dropped_many: bool,
    /// When `recent` began.
    since: u64,
    next_epoch: u64,
    /// No address was given an offset at or above this.
    highest: Offset,
    /// Where an address begins that is not known.
    floor: Offset,
}

impl Logs {
    /// None. `first_epoch` differs from process to process.
    pub(super) fn new(first_epoch: u64) -> Self {
        Self::bounded(first_epoch, TOPICS_MAX)
    }

    /// The same with a bound of its own.
    pub(super) fn bounded(first_epoch: u64, topics_max: usize) -> Self {
        Self {
            topics_max,
            recent: HashMap::new(),
            earlier: HashMap::new(),
            leaving: None,
            has_dropped_many: false,
            since: 0,
            next_epoch: first_epoch,
            highest: Offset(0),
            floor: Offset(0),
        }
    }

    /// Addresses that are known.
    pub(super) fn len(&self) -> usize {
        self.recent.len() + self.earlier.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Address, &Log)> {
        self.recent.iter().chain(&self.earlier)
    }

    /// A look that does not count as use.
    pub(super) fn get(&self, address: &Address) -> Option<&Log> {
        self.recent.get(address).or_else(|| self.earlier.get(address))
    }

    /// One that was used lately, by one look at the map.
    pub(super) fn recent(&mut self, address: &Address) -> Option<&mut Log> {
        self.recent.get_mut(address)
    }

    /// One that is known.
    pub(super) fn get_mut(&mut self, address: &Address) -> Option<&mut Log> {
        if !self.earlier.is_empty() && !self.recent.contains_key(address) {
            self.bring_back(address);
        }
        self.recent.get_mut(address)
    }

    /// Sees to it that an address is among the recent ones.
    pub(super) fn know(&mut self, address: &Address, now: u64) {
        if !self.bring_back(address) && !self.recent.contains_key(address) {
            self.open(address.clone(), now);
        }
    }

    fn bring_back(&mut self, address: &Address) -> bool {
        let Some((address, log)) = self.earlier.remove_entry(address) else { return false };
        self.recent.insert(address, log);
        true
    }

    fn open(&mut self, address: Address, now: u64) {
        if self.recent.len() >= self.topics_max / 2 {
            // Batches of the earlier addresses may be open: this is in the middle of a turn.
            let open = self.earlier.extract_if(|_, log| !log.open.is_empty());
            let open: Vec<_> = open.collect();
            self.pass(now);
            self.recent.extend(open);
        }
        let log = Log {
            epoch: Epoch(self.next_epoch),
            next: self.floor,
            open: Vec::new(),
            open_bytes: 0,
            open_allocated: 0,
            opened: 0,
            entry: 0,
            last_sealed: None,
        };
        self.next_epoch += 1;
        self.recent.insert(address, log);
    }

    /// An address was given all offsets below this.
    pub(super) fn reached(&mut self, end: Offset) {
        self.highest = self.highest.max(end);
    }

    /// Forgets addresses that nothing came for lately, a bounded number a call. Every batch that is due has been closed: one
    /// that is open still was begun a delay ago at most, and its address is a recent one.
    pub(super) fn forget(&mut self, now: u64) {
        if let Some(leaving) = &mut self.leaving {
            let dropped = leaving.take(TOPICS_FORGOTTEN_PER_TURN).count();
            self.has_dropped_many |= dropped == TOPICS_FORGOTTEN_PER_TURN;
            if dropped < TOPICS_FORGOTTEN_PER_TURN {
                self.leaving = None;
            }
        }
        let is_time = now.saturating_sub(self.since) >= TOPIC_FORGOTTEN_AFTER.as_micros() as u64;
        if is_time && self.leaving.is_none() && self.len() > TOPICS_KEPT {
            self.pass(now);
        }
    }

    /// Whether so many were forgotten that the allocator should give memory back; once for each time.
    pub(super) fn take_dropped_many(&mut self) -> bool {
        self.leaving.is_none() && std::mem::take(&mut self.has_dropped_many)
    }

    /// The recent addresses become the earlier ones, and those are forgotten: none of them has an open batch.
    fn pass(&mut self, now: u64) {
        self.since = now;
        let mut earlier = std::mem::replace(&mut self.earlier, std::mem::take(&mut self.recent));
        self.recent.extend(earlier.remove_entry(&Address::All));
        debug_assert!(earlier.values().all(|log| log.open.is_empty()), "an open batch would be lost");
        self.floor = self.highest;
        self.leaving = (!earlier.is_empty()).then(|| earlier.into_iter());
    }
}

impl Log {
    /// Takes out what is open, as a batch. [`Logs::reached`] is to be told where that ends.
    pub(super) fn close(&mut self, address: &Address, now: u64) -> Batch {
        let messages = std::mem::take(&mut self.open);
        self.open_bytes = 0;
        self.open_allocated = 0;
        self.last_sealed = Some(now);
        let first = self.next;
        self.next = Offset(first.0 + messages.len() as u64);
        let merged_us = now.saturating_sub(self.opened);
        let mut batch = Batch::of(address.clone(), self.epoch, first, messages);
        batch.merged_us = merged_us;
        batch
    }
}
