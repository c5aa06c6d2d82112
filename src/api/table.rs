//! Who is connected to the API, who gives way to whom, and what they hold. Pure; the time is an argument.
//!
//! ```text
//!  accepted ─► no place: Head ── whole ─► place ─► a place: Body, Work, Answer ─► Idle ─┐
//!                │   ▲         │                     ▲  └─► Stream                      ├─► Leave ─► gone
//!                │   │         └─ none free: a probe is answered, others are told 503   │
//!                │   └───────────────────────── its next request came while it gave way ┘
//!                └─ the oldest gives way to a newcomer
//! ```
//! A request needs a place from the end of its head on. Whoever is idle, leaves, or takes long over a head gives its place
//! away; a probe needs none. So probes are answered whatever the others do, and silent ones cost publishers nothing.
//! *Not here*: sockets and waking (`slots`), what a probe is (`head`).

use std::time::Instant;

use slab::Slab;

use fanfare_core::limits::{
    API_ANSWERS_BYTES_MAX, API_BODIES_BYTES_MAX, API_BYTES_FREE, API_CONNECTIONS_MAX, API_DESCRIPTORS_SPARE,
    API_HEAD_GRACE, API_HEADS_MAX, API_STREAMS_MAX,
};

/// A connection of a [`Table`]; another one may have it once this one has left.
pub type Id = usize;

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its first or next request's head is on its way.
    Head,
    /// The body is.
    Body,
    /// Its request is answered, or its answer is on its way.
    Work,
    /// Nothing, between two requests.
    Idle,
    /// Its last answer has left.
    Leave,
    /// It is told the progress of a push.
    Stream,
}

/// Why there is no place, or no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Without a place: their first head is on its way.
    pub heads: usize,
    /// With a place.
    pub places: usize,
    /// Streams of events.
    pub streams: usize,
}

impl Bounds {
    /// As many as there may be, or in the same proportions as many as there are descriptors for.
    pub fn within(descriptors: usize) -> Self {
        let wanted = API_HEADS_MAX + API_CONNECTIONS_MAX + API_STREAMS_MAX;
        let have = descriptors.saturating_sub(API_DESCRIPTORS_SPARE).min(wanted);
        let part = |max: usize| (max * have / wanted).max(1);
        Self { heads: part(API_HEADS_MAX), places: part(API_CONNECTIONS_MAX), streams: part(API_STREAMS_MAX) }
    }
}

#[derive(Debug)]
struct Entry {
    phase: Phase,
    since: Instant,
    has_place: bool,
    /// It was told to give way, and counts no more.
    is_displaced: bool,
    /// What its request takes, as allocated.
    body: usize,
    /// What its answer takes.
    answer: usize,
}

/// Every connection of the API.
#[derive(Debug)]
pub struct Table {
    bounds: Bounds,
    entries: Slab<Entry>,
    /// Who was told to give way since they were taken.
    displaced: Vec<Id>,
    heads: usize,
    places: usize,
    streams: usize,
    bodies: usize,
    answers: usize,
}

impl Table {
    /// An empty one.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            entries: Slab::new(),
            displaced: Vec::new(),
            heads: 0,
            places: 0,
            streams: 0,
            bodies: 0,
            answers: 0,
        }
    }

    /// A new connection, which is never refused: beyond the bound the one that has gone longest without a place gives way.
    pub fn enter(&mut self, now: Instant) -> Id {
        self.make_room_for_a_head();
        self.heads += 1;
        self.entries.insert(Entry {
            phase: Phase::Head,
            since: now,
            has_place: false,
            is_displaced: false,
            body: 0,
            answer: 0,
        })
    }

    /// One that gave way, but whose next request was already here: it begins anew.
    pub fn enter_again(&mut self, id: Id, now: Instant) {
        debug_assert!(self.entries[id].is_displaced);
        self.make_room_for_a_head();
        self.heads += 1;
        let entry = &mut self.entries[id];
        (entry.phase, entry.since, entry.is_displaced) = (Phase::Head, now, false);
    }

    /// Gives a place to a connection whose head is whole; keeps the one that it has.
    pub fn place(&mut self, id: Id, now: Instant) -> Result<(), Full> {
        match &self.entries[id] {
            Entry { has_place: true, .. } => return Ok(()),
            // A stream ends with its connection.
            Entry { is_displaced: true, .. } | Entry { phase: Phase::Stream, .. } => return Err(Full),
            _ => {}
        }
        if self.places >= self.bounds.places {
            let gives_way = self.longest(|entry| {
                let rank = match entry.phase {
                    Phase::Leave => 0,
                    Phase::Idle => 1,
                    Phase::Head if now.saturating_duration_since(entry.since) >= API_HEAD_GRACE => 2,
                    _ => return None,
                };
                entry.has_place.then_some(rank)
            });
            self.displace(gives_way.ok_or(Full)?);
        }
        self.entries[id].has_place = true;
        self.heads -= 1;
        self.places += 1;
        Ok(())
    }

    /// Lets a connection go on as a stream, and another have its place.
    pub fn stream(&mut self, id: Id, now: Instant) -> Result<(), Full> {
        let entry = &self.entries[id];
        if entry.is_displaced || entry.phase == Phase::Stream || self.streams >= self.bounds.streams {
            return Err(Full);
        }
        self.uncount(id);
        self.streams += 1;
        let entry = &mut self.entries[id];
        (entry.phase, entry.since, entry.has_place) = (Phase::Stream, now, false);
        Ok(())
    }

    /// Notes what a connection does from now on; a stream stays one until it has left.
    pub fn turn(&mut self, id: Id, phase: Phase, now: Instant) {
        let entry = &mut self.entries[id];
        if entry.phase != phase && entry.phase != Phase::Stream {
            (entry.phase, entry.since) = (phase, now);
        }
    }

    /// What the request of a connection takes from now on. It gets no more than there is, though each has
    /// [`API_BYTES_FREE`] in any case; `largest` is the largest body that is taken.
    pub fn hold_body(&mut self, id: Id, bytes: usize, largest: usize) -> Result<(), Full> {
        let entry = &mut self.entries[id];
        if entry.is_displaced {
            return Err(Full);
        }
        let others = self.bodies - entry.body;
        // The largest body fits beside another one whatever the bound.
        let bound = API_BODIES_BYTES_MAX.max(largest.saturating_mul(2));
        if bytes > entry.body.max(API_BYTES_FREE) && others + bytes > bound {
            return Err(Full);
        }
        entry.body = bytes;
        self.bodies = others + bytes;
        Ok(())
    }

    /// What the answer to a connection takes from now on. A new answer always has room: those that have gone unread longest
    /// give way.
    pub fn hold_answer(&mut self, id: Id, bytes: usize) {
        if self.entries[id].is_displaced {
            return;
        }
        self.answers = self.answers - self.entries[id].answer + bytes;
        self.entries[id].answer = bytes;
        while bytes > API_BYTES_FREE && self.answers > API_ANSWERS_BYTES_MAX {
            let others = self.entries.iter().filter(|(other, _)| *other != id);
            let unread = others.filter(|(_, entry)| entry.answer > API_BYTES_FREE && !entry.is_displaced);
            let Some(unread) = unread.min_by_key(|(_, entry)| entry.since).map(|(id, _)| id) else { return };
            self.displace(unread);
        }
    }

    /// Makes a connection give way for its descriptor, if there is one that may.
    pub fn free_a_descriptor(&mut self) {
        let gives_way = self.longest(|entry| match entry.phase {
            Phase::Leave => Some(0),
            Phase::Idle => Some(1),
            Phase::Head => Some(2),
            _ => None,
        });
        if let Some(id) = gives_way {
            self.displace(id);
        }
    }

    /// Forgets a connection.
    pub fn leave(&mut self, id: Id) {
        if !self.entries[id].is_displaced {
            self.uncount(id);
        }
        self.entries.remove(id);
    }

    /// Whether a connection has a place.
    pub fn has_place(&self, id: Id) -> bool {
        self.entries[id].has_place
    }

    /// Whether a connection was told to give way.
    pub fn is_displaced(&self, id: Id) -> bool {
        self.entries[id].is_displaced
    }

    /// Who was told to give way since the last call.
    pub fn take_displaced(&mut self) -> Vec<Id> {
        std::mem::take(&mut self.displaced)
    }

    /// Connections, those included that are giving way.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Streams of events.
    pub fn streams(&self) -> usize {
        self.streams
    }

    /// Bytes of requests and of answers.
    pub fn held(&self) -> [usize; 2] {
        [self.bodies, self.answers]
    }

    fn make_room_for_a_head(&mut self) {
        if self.heads >= self.bounds.heads {
            let oldest =
                self.longest(|entry| (!entry.has_place && entry.phase != Phase::Stream).then_some(0));
            self.displace(oldest.expect("as many as may be have no place"));
        }
    }

    /// Of those with the lowest rank the one that has done the same for longest.
    fn longest(&self, rank: impl Fn(&Entry) -> Option<u8>) -> Option<Id> {
        let ranked = self.entries.iter().filter(|(_, entry)| !entry.is_displaced);
        let ranked = ranked.filter_map(|(id, entry)| Some((rank(entry)?, entry.since, id)));
        ranked.min().map(|(.., id)| id)
    }

    fn displace(&mut self, id: Id) {
        self.uncount(id);
        let entry = &mut self.entries[id];
        (entry.is_displaced, entry.has_place) = (true, false);
        self.displaced.push(id);
    }

    /// Takes a connection and what it holds out of the sums.
    fn uncount(&mut self, id: Id) {
        let entry = &mut self.entries[id];
        self.bodies -= std::mem::take(&mut entry.body);
        self.answers -= std::mem::take(&mut entry.answer);
        *match entry {
            Entry { phase: Phase::Stream, .. } => &mut self.streams,
            Entry { has_place: true, .. } => &mut self.places,
            _ => &mut self.heads,
        } -= 1;
    }
}

#[cfg(test)]
mod tests;
