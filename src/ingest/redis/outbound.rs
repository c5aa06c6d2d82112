//! Publishes on their way through Redis: which wait, which were sent, which Redis has answered, and which the subscription
//! is known to have got. Pure: replies, losses and times come in, commands and verdicts go out.
//!
//! ```text
//!  offer ─► waiting ─► sent ─► answered ─► passing ─► done
//!              ▲         │ │       │           │
//!              └─ busy ──┘ │       │           └ the subscription is lost, or the time over: unknown
//!                          │       └ Redis refuses: refused
//!                          └ the connection is lost, or the time over: unknown
//! ```
//! A publish is done when Redis has answered every part of it with a number, and a mark that was published behind it on
//! the same connection has come back on the subscription: Redis writes to a subscriber in order, so everything before the
//! mark has been read, and from the server that has the publishes. A mark goes out right behind the publishes that it is
//! for, so that it costs no round trip of its own; it is for all that were sent before it. What Redis cannot do for the
//! moment (a script runs, it loads) is sent again, in order; a part that a later one for the same channel has overtaken
//! is not.
//! *Not here*: the connections (`publish`, `subscribe`), who is told a verdict (`ingest::answers`).

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::ingest::answers::{Failed, How, Verdict};
use crate::ingest::publisher::Tag;
use crate::redis::{passes_by_itself, resp};
use fanfare_core::limits::{PUBLISH_DEADLINE, REDIS_BUSY_PAUSE};
use fanfare_core::model::footprint::{BYTES_SHARED, Footprint, block, table};
use fanfare_core::model::{Address, addresses_bytes};

/// Where a publish goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// The channels of these addresses.
    Addresses(Box<[Address]>),
    /// The channel of pushes.
    Push,
}

/// A place in Redis, as far as order goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Channel {
    Of(Address),
    Push,
}

impl To {
    fn len(&self) -> usize {
        match self {
            Self::Addresses(addresses) => addresses.len(),
            Self::Push => 1,
        }
    }

    fn channel(&self, index: usize) -> Channel {
        match self {
            Self::Addresses(addresses) => Channel::Of(addresses[index].clone()),
            Self::Push => Channel::Push,
        }
    }

    fn write_name(&self, index: usize, name: &mut Vec<u8>) {
        match self {
            Self::Push => name.extend_from_slice(b"push"),
            Self::Addresses(addresses) => match &addresses[index] {
                Address::All => name.extend_from_slice(b"all"),
                Address::Topic(topic) => {
                    name.extend_from_slice(b"topic:");
                    name.extend_from_slice(topic.as_str().as_bytes());
                }
            },
        }
    }

    /// Bytes that the addresses take.
    fn bytes(&self) -> usize {
        match self {
            Self::Push => 0,
            Self::Addresses(addresses) => addresses_bytes(addresses),
        }
    }
}

/// The bytes on their way have reached the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// One message for one channel.
#[derive(Clone, Copy, Debug)]
struct Part {
    job: u64,
    index: u32,
}

#[derive(Debug)]
struct Job {
    tag: Tag,
    to: To,
    payloads: Vec<Bytes>,
    due: Instant,
    bytes: usize,
    /// The subscription that stood when the first part was sent.
    subscription: Option<u64>,
    /// How many parts had been sent in all when the last of its own was.
    sent_by: u64,
    /// Parts that Redis took, that it refused, and that it has not answered.
    taken: u32,
    refused: u32,
    unanswered: u32,
    /// Redis' last words against it.
    words: Option<Box<str>>,
}

impl Job {
    fn parts(&self) -> u32 {
        (self.to.len() * self.payloads.len()) as u32
    }

    fn channel(&self, part: u32) -> Channel {
        self.to.channel(part as usize / self.payloads.len())
    }
}

/// A publish that Redis has answered and that the subscription has yet to show.
#[derive(Debug)]
struct Passing {
    tag: Tag,
    due: Instant,
    parts: u32,
    sent_by: u64,
}

/// A mark that was published and has not come back.
#[derive(Debug)]
struct Mark {
    number: u64,
    /// How many parts had been sent before it.
    covers: u64,
    /// Redis has answered it.
    is_taken: bool,
}

/// All of them.
#[derive(Debug)]
pub struct Outbound {
    prefix: Box<[u8]>,
    bytes_max: usize,
    bytes: usize,
    /// In the order in which they came; `None`: its verdict is given.
    jobs: VecDeque<Option<Job>>,
    /// Number of the first job.
    first: u64,
    /// The next part that was never sent.
    next: Part,
    /// Parts to be sent again, before any other.
    again: VecDeque<Part>,
    /// Parts that Redis could not take for the moment, and their channels.
    busy: VecDeque<Part>,
    busy_channels: HashSet<Channel>,
    busy_until: Instant,
    /// What Redis will answer, oldest first, with its bytes.
    sent: VecDeque<(Part, u32)>,
    sent_bytes: usize,
    /// The subscription that stands, by its number.
    subscription: Option<u64>,
    subscriptions: u64,
    passing: Vec<Passing>,
    /// Parts that were ever sent, and how many of them the last mark covers that was sent and not refused.
    sent_parts: u64,
    marked_parts: u64,
    /// Marks on their way, oldest first; what those cover that wait in the inbox; and what the last one covered that was
    /// taken from there.
    marks: VecDeque<Mark>,
    arrived: VecDeque<u64>,
    shown_parts: u64,
    /// The number of the last mark.
    mark: u64,
    finished: VecDeque<(Tag, Verdict)>,
    /// When deadlines are looked at next.
    look_at: Instant,
}

/// Marks on their way at once. What is sent behind one waits for the next; with more of them publishes are sent in smaller
/// groups, and each mark costs every gateway a message.
const MARKS_MAX: usize = 1;

/// How often deadlines are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Outbound {
    /// Nothing, for channels under `prefix`.
    pub fn new(prefix: &str, bytes_max: usize, now: Instant) -> Self {
        Self {
            prefix: prefix.as_bytes().into(),
            bytes_max,
            bytes: 0,
            jobs: VecDeque::new(),
            first: 0,
            next: Part { job: 0, index: 0 },
            again: VecDeque::new(),
            busy: VecDeque::new(),
            busy_channels: HashSet::new(),
            busy_until: now,
            sent: VecDeque::new(),
            sent_bytes: 0,
            subscription: None,
            subscriptions: 0,
            passing: Vec::new(),
            sent_parts: 0,
            marked_parts: 0,
            marks: VecDeque::new(),
            arrived: VecDeque::new(),
            shown_parts: 0,
            mark: 0,
            finished: VecDeque::new(),
            look_at: now,
        }
    }

    /// Takes a publish, or gives its tag back when its bytes have no room. Alone it has room whatever its size.
    pub fn offer(&mut self, tag: Tag, to: To, payloads: Vec<Bytes>, now: Instant) -> Result<(), Tag> {
        let due = now + PUBLISH_DEADLINE;
        let (bytes, subscription, words) = (0, None, None);
        let (sent_by, taken, refused, unanswered) = (0, 0, 0, 0);
        let mut job =
            Job { tag, to, payloads, due, bytes, subscription, sent_by, taken, refused, unanswered, words };
        // A list grows by doubling. A payload counts once, however many channels it goes to.
        job.bytes = 2 * size_of::<Option<Job>>() + job.allocated_bytes();
        if self.bytes > 0 && self.bytes + job.bytes > self.bytes_max {
            return Err(job.tag);
        }
        self.bytes += job.bytes;
        self.jobs.push_back(Some(job));
        Ok(())
    }

    /// Bytes of publishes that have no verdict.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether every publish has its verdict.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0 && self.passing.is_empty()
    }

    /// Bytes that were sent and not answered.
    pub fn sent_bytes(&self) -> usize {
        self.sent_bytes
    }

    /// Whether [`Self::send`] has something now.
    pub fn can_send(&self, now: Instant) -> bool {
        if self.subscription.is_none() {
            return false;
        }
        if !self.busy.is_empty() {
            return self.sent.is_empty() && now >= self.busy_until;
        }
        !self.again.is_empty() || self.has_unsent()
    }

    /// Whether a part was never sent. A session that is told so for nothing would turn for ever.
    fn has_unsent(&self) -> bool {
        let at = self.next.job.saturating_sub(self.first) as usize;
        let mut rest = self.jobs.iter().skip(at);
        let is_unsent = |job: &Job| self.next.index < job.parts();
        rest.next().is_some_and(|job| job.as_ref().is_some_and(is_unsent)) || rest.any(Option::is_some)
    }

    /// When [`Self::can_send`] changes by time alone. Without a subscription it does not.
    pub fn sends_at(&self) -> Option<Instant> {
        let waits = self.subscription.is_some() && !self.busy.is_empty() && self.sent.is_empty();
        waits.then_some(self.busy_until)
    }

    /// The next commands, about `bytes` of them, and how many.
    pub fn send(&mut self, bytes: usize, now: Instant) -> (BytesMut, usize) {
        let (mut out, mut count) = (BytesMut::new(), 0);
        if !self.can_send(now) {
            return (out, 0);
        }
        // What Redis was too busy for was sent before what is left to be sent again.
        self.busy.append(&mut self.again);
        std::mem::swap(&mut self.busy, &mut self.again);
        self.busy_channels.clear();
        let (prefix, subscription) = (self.prefix.len(), self.subscription);
        let mut name = self.prefix.to_vec();
        while out.len() < bytes {
            let Some(part) = self.again.pop_front().or_else(|| self.never_sent()) else { break };
            let sent_by = self.sent_parts + 1;
            let Some(job) = self.job(part.job) else { continue };
            let each = job.payloads.len();
            job.subscription = job.subscription.or(subscription);
            job.sent_by = sent_by;
            job.unanswered += 1;
            let before = out.len();
            name.truncate(prefix);
            job.to.write_name(part.index as usize / each, &mut name);
            resp::command(&mut out, &[b"PUBLISH", &name, &job.payloads[part.index as usize % each]]);
            let length = (out.len() - before) as u32;
            self.sent.push_back((part, length));
            self.sent_bytes += length as usize;
            self.sent_parts = sent_by;
            count += 1;
        }
        (out, count)
    }

    /// The next part that was never sent; it counts as sent from here on.
    fn never_sent(&mut self) -> Option<Part> {
        loop {
            let at = self.next.job.checked_sub(self.first)? as usize;
            match self.jobs.get(at)? {
                Some(job) if self.next.index < job.parts() => {
                    let part = self.next;
                    self.next.index += 1;
                    return Some(part);
                }
                _ => self.next = Part { job: self.next.job + 1, index: 0 },
            }
        }
    }

    fn job(&mut self, number: u64) -> Option<&mut Job> {
        let at = number.checked_sub(self.first)? as usize;
        self.jobs.get_mut(at)?.as_mut()
    }

    /// Redis has answered the oldest part that was sent: with the number of its subscribers, or an error. `false`: there is
    /// none.
    pub fn answered(&mut self, answer: Result<i64, String>, now: Instant) -> bool {
        let Some((part, length)) = self.sent.pop_front() else { return false };
        self.sent_bytes -= length as usize;
        let Some(job) = self.job(part.job) else { return true };
        job.unanswered -= 1;
        match answer {
            // How many it went to says nothing: a server of a cluster does not count subscribers at the others. The mark
            // shows whether this gateway is one of them.
            Ok(_) => {
                job.taken += 1;
                let channel = job.channel(part.index);
                self.overtake(&channel);
            }
            Err(words) if passes_by_itself(&words) => {
                job.words = Some(words.into());
                let channel = job.channel(part.index);
                self.busy.push_back(part);
                self.busy_channels.insert(channel);
                self.busy_until = now + REDIS_BUSY_PAUSE;
                return true;
            }
            Err(words) => {
                job.refused += 1;
                job.words = Some(words.into());
            }
        }
        self.conclude(part.job);
        true
    }

    /// A part for this channel went through, or may have: those before it that were to be sent again would come after it.
    fn overtake(&mut self, channel: &Channel) {
        if !self.busy_channels.remove(channel) {
            return;
        }
        let mut overtaken = Vec::new();
        let busy = std::mem::take(&mut self.busy);
        for part in busy {
            match self.job(part.job) {
                Some(job) if job.channel(part.index) == *channel => overtaken.push(part),
                _ => self.busy.push_back(part),
            }
        }
        for part in overtaken {
            if let Some(job) = self.job(part.job) {
                job.refused += 1;
            }
            self.conclude(part.job);
        }
    }

    /// Gives a job its verdict once every part of it is answered, or lets the subscription show it.
    fn conclude(&mut self, number: u64) {
        let (subscription, shown) = (self.subscription, self.shown_parts);
        let Some(job) = self.job(number) else { return };
        let parts = job.parts();
        if job.taken + job.refused < parts {
            return;
        }
        if job.refused > 0 {
            self.fail(number, How::Refused, "");
        } else if job.subscription != subscription || subscription.is_none() {
            self.fail(number, How::Unknown, "the subscription was lost before it showed the publish");
        } else if let Some(Job { tag, due, sent_by, .. }) = self.remove(number) {
            if sent_by <= shown {
                self.finished.push_back((tag, Verdict::Done));
            } else {
                self.passing.push(Passing { tag, due, parts, sent_by });
            }
        }
    }

    fn remove(&mut self, number: u64) -> Option<Job> {
        let at = number.checked_sub(self.first)? as usize;
        let job = self.jobs.get_mut(at)?.take()?;
        self.bytes -= job.bytes;
        while let Some(None) = self.jobs.front() {
            self.jobs.pop_front();
            self.first += 1;
        }
        if self.next.job < self.first {
            self.next = Part { job: self.first, index: 0 };
        }
        Some(job)
    }

    /// Gives a job a verdict other than done. Redis' words go before `why`.
    fn fail(&mut self, number: u64, how: How, why: &str) {
        let Some(job) = self.remove(number) else { return };
        let why = job.words.clone().unwrap_or_else(|| why.into());
        let failed = Failed { how, taken: job.taken, of: job.parts(), why };
        self.finished.push_back((job.tag, Verdict::Failed(Box::new(failed))));
    }

    /// The publishing connection is lost: what was sent on it and not answered is unknown, the rest waits. How many parts.
    pub fn connection_lost(&mut self) -> usize {
        self.sent_bytes = 0;
        let sent = std::mem::take(&mut self.sent);
        // Redis may have carried out any of them.
        for (part, _) in &sent {
            if let Some(channel) = self.job(part.job).map(|job| job.channel(part.index)) {
                self.overtake(&channel);
            }
        }
        for (part, _) in &sent {
            if let Some(job) = self.job(part.job) {
                job.words = None;
            }
            self.fail(part.job, How::Unknown, "the connection to Redis was lost before it answered");
        }
        // The next connection may lead to another server, and a mark there would prove nothing of these.
        self.unmark("the connection to Redis was lost before the subscription showed the publish");
        sent.len()
    }

    /// No mark will show what none has shown yet.
    fn unmark(&mut self, why: &str) {
        self.marks.clear();
        self.marked_parts = self.arrived.back().copied().unwrap_or(self.shown_parts);
        let shown = self.marked_parts;
        let lost: Vec<_> = self.passing.extract_if(.., |passing| passing.sent_by > shown).collect();
        for passing in lost {
            self.unknown(passing, why);
        }
    }

    /// Everything that was never sent fails for this reason.
    pub fn refuse_unsent(&mut self, why: &str) {
        for number in self.first..self.first + self.jobs.len() as u64 {
            if self.job(number).is_some_and(|job| job.unanswered == 0) {
                self.fail(number, How::Unavailable, why);
            }
        }
    }

    /// A subscription stands from here on.
    pub fn subscription_stands(&mut self) {
        self.subscriptions += 1;
        self.subscription = Some(self.subscriptions);
    }

    /// It is lost: what it has not shown is unknown.
    pub fn subscription_lost(&mut self) {
        self.subscription = None;
        self.unmark("the subscription was lost before it showed the publish");
    }

    fn unknown(&mut self, passing: Passing, why: &str) {
        let Passing { tag, parts, .. } = passing;
        let failed = Failed { how: How::Unknown, taken: parts, of: parts, why: why.into() };
        self.finished.push_back((tag, Verdict::Failed(Box::new(failed))));
    }

    /// Whether a mark is to be published now, behind everything that was sent.
    pub fn wants_mark(&self) -> bool {
        self.subscription.is_some()
            && self.sent_parts > self.marked_parts
            && self.marks.len() < MARKS_MAX
            && !(self.sent.is_empty() && self.passing.is_empty())
    }

    /// A mark is being published; its number. It covers everything that was sent by now.
    pub fn mark_sent(&mut self) -> u64 {
        self.mark += 1;
        self.marked_parts = self.sent_parts;
        self.marks.push_back(Mark { number: self.mark, covers: self.sent_parts, is_taken: false });
        self.mark
    }

    /// Redis has answered the oldest mark that it had not; without `is_taken` it did not take it, and another is wanted.
    pub fn mark_answered(&mut self, is_taken: bool) {
        let Some(at) = self.marks.iter().position(|mark| !mark.is_taken) else { return };
        if is_taken {
            self.marks[at].is_taken = true;
            return;
        }
        self.marks.remove(at);
        if at == self.marks.len() {
            let before = self.marks.back().map(|mark| mark.covers).or(self.arrived.back().copied());
            self.marked_parts = before.unwrap_or(self.shown_parts);
        }
    }

    /// The number of the oldest mark that Redis has taken and that has not come back.
    pub fn mark_awaited(&self) -> Option<u64> {
        self.marks.front().filter(|mark| mark.is_taken).map(|mark| mark.number)
    }

    /// A mark has come back, and what came before it is in the inbox. `false`: it is none that is awaited.
    pub fn mark_arrived(&mut self, number: u64) -> bool {
        let Some(at) = self.marks.iter().position(|mark| mark.number == number) else { return false };
        let covers = self.marks[at].covers;
        self.marks.drain(..=at);
        self.arrived.push_back(covers);
        true
    }

    /// The ingest core has taken everything that came before a mark, and the mark.
    pub fn mark_taken(&mut self) {
        let Some(covers) = self.arrived.pop_front() else { return };
        self.shown_parts = covers;
        let shown = self.passing.extract_if(.., |passing| passing.sent_by <= covers);
        self.finished.extend(shown.map(|passing| (passing.tag, Verdict::Done)));
    }

    /// Gives what is too late its verdict.
    pub fn look(&mut self, now: Instant) {
        if now < self.look_at {
            return;
        }
        self.look_at = now + LOOK_EVERY;
        let late = |job: &&Option<Job>| job.as_ref().is_none_or(|job| job.due <= now);
        for number in self.first..self.first + self.jobs.iter().take_while(late).count() as u64 {
            let Some(job) = self.job(number) else { continue };
            if job.unanswered > 0 {
                job.words = None;
                self.fail(number, How::Unknown, "Redis has not answered in time");
            } else {
                self.fail(number, How::Unavailable, "Redis could not be given it in time");
            }
        }
        let late: Vec<_> = self.passing.extract_if(.., |passing| passing.due <= now).collect();
        for passing in late {
            self.unknown(passing, "the subscription has not shown the publish in time");
        }
    }

    /// Gives everything up: the process ends. Returns how many messages Redis is not known to have, each once for
    /// every channel.
    pub fn give_up(&mut self, why: &str) -> usize {
        let left = self.jobs.iter().flatten().map(|job| (job.parts() - job.taken) as usize).sum();
        self.connection_lost();
        for number in self.first..self.first + self.jobs.len() as u64 {
            self.fail(number, How::Stopping, why);
        }
        self.subscription_lost();
        for passing in std::mem::take(&mut self.passing) {
            self.unknown(passing, why);
        }
        left
    }

    /// The oldest verdict that was not told.
    pub fn verdict(&mut self) -> Option<(Tag, Verdict)> {
        self.finished.pop_front()
    }

    /// Whether there is one.
    pub fn has_verdict(&self) -> bool {
        !self.finished.is_empty()
    }
}

impl Footprint for Outbound {
    fn allocated_bytes(&self) -> usize {
        let parts = [&self.again, &self.busy].map(|parts| block(parts.capacity() * size_of::<Part>()));
        let lists = block(self.jobs.capacity() * size_of::<Option<Job>>())
            + block(self.sent.capacity() * size_of::<(Part, u32)>())
            + block(self.passing.capacity() * size_of::<Passing>())
            + block(self.finished.capacity() * size_of::<(Tag, Verdict)>())
            + table(self.busy_channels.capacity(), size_of::<Channel>());
        let jobs: usize = self.jobs.iter().flatten().map(Footprint::allocated_bytes).sum();
        parts.iter().sum::<usize>() + lists + jobs
    }
}

impl Footprint for Job {
    /// Without its place in the list.
    fn allocated_bytes(&self) -> usize {
        let payload =
            |payload: &Bytes| if payload.is_empty() { 0 } else { block(payload.len()) + BYTES_SHARED };
        self.to.bytes()
            + block(self.payloads.capacity() * size_of::<Bytes>())
            + self.payloads.iter().map(payload).sum::<usize>()
            + self.words.as_ref().map_or(0, |words| block(words.len()))
    }
}

#[cfg(test)]
mod tests;
