//! Merger: gathers messages of one address into batches and gives each message its offset.
//!
//! A batch closes at a count, at a size, or a delay after its first message. An address that was quiet for the delay is
//! *idle*: what comes for it leaves with the turn in which it came, so a lone message pays nothing; the delay applies
//! to what follows. Time is an argument, in microseconds of any steady clock. *Not here*: encoding (`seal`), which addresses
//! are known (`logs`), rings.

use std::collections::VecDeque;
use std::time::Duration;

use super::logs::{Log, Logs};
use crate::limits::{self, OPEN_BYTES_MAX};
use crate::model::footprint::{Footprint, block};
use crate::model::{Address, Batch, Epoch, Message, Offset};

/// When a batch closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merge {
    /// At this many messages.
    pub messages_max: usize,
    /// At this many payload bytes.
    pub bytes_max: usize,
    /// This long after its first message.
    pub delay: Duration,
}

impl Default for Merge {
    fn default() -> Self {
        Self {
            messages_max: limits::MERGE_MESSAGES_DEFAULT,
            bytes_max: limits::MERGE_BYTES_DEFAULT,
            delay: limits::MERGE_DELAY_DEFAULT,
        }
    }
}

/// Why a batch closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SealReason {
    /// It had as many messages as a batch may have.
    Messages,
    /// It had as many bytes.
    Bytes,
    /// Its first message had waited long enough.
    Delay,
    /// Its address had been idle.
    Idle,
    /// The gateway drains.
    Drain,
    /// A push came behind it.
    Push,
}

impl SealReason {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 6] =
        [Self::Messages, Self::Bytes, Self::Delay, Self::Idle, Self::Drain, Self::Push];

    /// Label in `batches_sealed_total{reason}`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Bytes => "bytes",
            Self::Delay => "delay",
            Self::Idle => "idle",
            Self::Drain => "drain",
            Self::Push => "push",
        }
    }
}

/// Entries of closed batches below this are not worth a walk over all.
const STALE_MIN: usize = 64;

/// Every address that had a message lately.
#[derive(Debug)]
pub struct Merger {
    rules: Merge,
    logs: Logs,
    /// Open batches by due time, in order: the delay is one value, and a shorter one shortens these. One that closed
    /// early leaves its entry behind; there are never more of those than there are open batches.
    due: VecDeque<Due>,
    /// Entries of `due` whose batch has closed.
    stale: usize,
    entries_made: u64,
    /// Addresses that were idle when this turn's messages came.
    idle: Vec<Address>,
    open_messages: usize,
    /// Memory of all open messages.
    open_allocated: usize,
}

impl Footprint for Merger {
    /// The open messages, and the lists that open batches have; not the logs, which [`crate::limits::TOPICS_MAX`] bounds.
    fn allocated_bytes(&self) -> usize {
        let open = |log: &Log| block(log.open.capacity() * size_of::<Message>());
        let payloads = |log: &Log| {
            log.open.iter().map(|message| message.allocated_bytes() - size_of::<Message>()).sum::<usize>()
        };
        self.logs.iter().map(|(_, log)| open(log) + payloads(log)).sum::<usize>()
    }
}

/// An open batch that waits for its time.
#[derive(Debug)]
struct Due {
    at: u64,
    number: u64,
    address: Address,
}

impl Merger {
    /// An empty merger. `first_epoch` differs from process to process.
    pub fn new(rules: Merge, first_epoch: u64) -> Self {
        Self {
            rules,
            logs: Logs::new(first_epoch),
            due: VecDeque::new(),
            stale: 0,
            entries_made: 0,
            idle: Vec::new(),
            open_messages: 0,
            open_allocated: 0,
        }
    }

    /// Goes by other rules from here on. A batch that is open waits no longer than the new delay, so that `due` stays in
    /// order.
    pub fn configure(&mut self, rules: Merge, now: u64) {
        self.rules = rules;
        let latest = now + rules.delay.as_micros() as u64;
        for due in &mut self.due {
            due.at = due.at.min(latest);
        }
    }

    /// Messages in open batches.
    pub fn open_messages(&self) -> usize {
        self.open_messages
    }

    /// Memory of the messages in open batches.
    pub fn open_bytes(&self) -> usize {
        self.open_allocated
    }

    /// Addresses with state.
    pub fn len(&self) -> usize {
        self.logs.len()
    }

    /// Whether no address has state.
    pub fn is_empty(&self) -> bool {
        self.logs.is_empty()
    }

    /// Where an address stands: the offset of its next message, and its epoch. `None`: nothing is known of it.
    pub fn position(&self, address: &Address) -> Option<(Offset, Epoch)> {
        self.logs.get(address).map(|log| (Offset(log.next.0 + log.open.len() as u64), log.epoch))
    }

    /// Takes a message. Batches that it fills are handed to `sealed`.
    pub fn push(
        &mut self,
        address: &Address,
        message: Message,
        now: u64,
        sealed: &mut dyn FnMut(Batch, SealReason),
    ) {
        let length = message.payload.len();
        // One look at the map for nearly every message.
        let Some(log) = self.logs.recent(address) else {
            self.logs.know(address, now);
            return self.push(address, message, now, sealed);
        };
        if !log.open.is_empty() && log.open_bytes + length > self.rules.bytes_max {
            self.close(address, now, SealReason::Bytes, sealed);
            return self.push(address, message, now, sealed);
        }
        let is_first = log.open.is_empty();
        // The vector that it goes to grows by doubling.
        let allocated = message.allocated_bytes() + size_of::<Message>();
        log.open.push(message);
        log.open_bytes += length;
        log.open_allocated += allocated;
        self.open_messages += 1;
        self.open_allocated += allocated;
        if is_first {
            log.opened = now;
        }
        if log.open.len() >= self.rules.messages_max {
            self.close(address, now, SealReason::Messages, sealed);
        } else if log.open_bytes >= self.rules.bytes_max {
            self.close(address, now, SealReason::Bytes, sealed);
        } else if is_first {
            self.await_due(address, now);
        }
        if self.open_allocated > OPEN_BYTES_MAX {
            self.make_room(now, sealed);
        }
    }

    /// Notes when the batch that was just opened closes.
    fn await_due(&mut self, address: &Address, now: u64) {
        let Some(log) = self.logs.get_mut(address) else { return };
        let delay = self.rules.delay.as_micros() as u64;
        if log.last_sealed.is_none_or(|sealed| now.saturating_sub(sealed) >= delay) {
            self.idle.push(address.clone());
            return;
        }
        self.entries_made += 1;
        log.entry = self.entries_made;
        self.due.push_back(Due { at: now + delay, number: log.entry, address: address.clone() });
    }

    /// Closes what is open, the oldest first, until half of the bound is free.
    fn make_room(&mut self, now: u64, sealed: &mut dyn FnMut(Batch, SealReason)) {
        while self.open_allocated > OPEN_BYTES_MAX / 2 {
            let next = self.due.pop_front().map(|due| (self.is_live(&due), due.address));
            let Some((is_live, address)) = next.or_else(|| self.idle.pop().map(|address| (true, address)))
            else {
                break;
            };
            if is_live {
                self.forget_entry(&address);
                self.close(&address, now, SealReason::Bytes, sealed);
            } else {
                self.stale -= 1;
            }
        }
    }

    /// Whether the batch that an entry was made for is still open.
    fn is_live(&self, due: &Due) -> bool {
        self.logs.get(&due.address).is_some_and(|log| log.entry == due.number)
    }

    /// An entry was taken out of `due`.
    fn forget_entry(&mut self, address: &Address) {
        if let Some(log) = self.logs.get_mut(address) {
            log.entry = 0;
        }
    }

    /// Takes messages that go together and with nothing else: closes what is open for the address, and returns them as
    /// the batch behind it. `messages` is not empty.
    pub fn push_apart(
        &mut self,
        address: &Address,
        messages: &[Message],
        now: u64,
        sealed: &mut dyn FnMut(Batch, SealReason),
    ) -> Batch {
        self.close(address, now, SealReason::Push, sealed);
        self.logs.know(address, now);
        let Some(log) = self.logs.recent(address) else { unreachable!("it is known now") };
        log.open.extend_from_slice(messages);
        log.opened = now;
        let batch = log.close(address, now);
        self.logs.reached(batch.end());
        batch
    }

    /// Ends a turn: closes what came for idle addresses, and what is due, and forgets some of what nothing came for lately.
    pub fn end_turn(&mut self, now: u64, sealed: &mut dyn FnMut(Batch, SealReason)) {
        for address in std::mem::take(&mut self.idle) {
            self.close(&address, now, SealReason::Idle, sealed);
        }
        while self.due.front().is_some_and(|due| due.at <= now) {
            let Some(due) = self.due.pop_front() else { break };
            if self.is_live(&due) {
                self.forget_entry(&due.address);
                self.close(&due.address, now, SealReason::Delay, sealed);
            } else {
                self.stale -= 1;
            }
        }
        // Last: what is due has no open batch now.
        self.logs.forget(now);
    }

    /// Whether so many addresses were forgotten that the allocator should give memory back; once for each time.
    pub fn take_dropped_many(&mut self) -> bool {
        self.logs.take_dropped_many()
    }

    /// When [`Merger::end_turn`] has something to do next.
    pub fn next_due(&self) -> Option<u64> {
        self.due.front().map(|due| due.at)
    }

    /// Closes every open batch.
    pub fn drain(&mut self, now: u64, sealed: &mut dyn FnMut(Batch, SealReason)) {
        let open: Vec<_> =
            self.logs.iter().filter(|(_, log)| !log.open.is_empty()).map(|(a, _)| a.clone()).collect();
        for address in open {
            self.close(&address, now, SealReason::Drain, sealed);
        }
        self.idle.clear();
        self.due.clear();
        self.stale = 0;
    }

    fn close(
        &mut self,
        address: &Address,
        now: u64,
        reason: SealReason,
        sealed: &mut dyn FnMut(Batch, SealReason),
    ) {
        let Some(log) = self.logs.get_mut(address).filter(|log| !log.open.is_empty()) else { return };
        self.open_messages -= log.open.len();
        self.open_allocated -= log.open_allocated;
        if std::mem::take(&mut log.entry) > 0 {
            self.stale += 1;
        }
        let batch = log.close(address, now);
        self.logs.reached(batch.end());
        sealed(batch, reason);
        if self.stale > STALE_MIN && self.stale > self.due.len() / 2 {
            let logs = &self.logs;
            self.due.retain(|due| logs.get(&due.address).is_some_and(|log| log.entry == due.number));
            self.stale = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{TOPIC_FORGOTTEN_AFTER, TOPICS_KEPT};
    use crate::model::{PayloadKind, Topic};
    use bytes::Bytes;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::time::Duration;

    const RULES: Merge = Merge { messages_max: 4, bytes_max: 100, delay: Duration::from_millis(10) };

    fn topic(name: &str) -> Address {
        Address::Topic(Topic::new(name).expect("a topic"))
    }

    fn message(length: usize) -> Message {
        Message { payload: Bytes::from(vec![b'1'; length]), kind: PayloadKind::Unknown }
    }

    #[derive(Default)]
    struct Sealed(Vec<(Batch, SealReason)>);

    impl Sealed {
        fn reasons(&mut self) -> Vec<(usize, SealReason)> {
            self.0.drain(..).map(|(batch, reason)| (batch.len(), reason)).collect()
        }
    }

    #[test]
    fn a_lone_message_leaves_with_its_turn() {
        let mut merger = Merger::new(RULES, 1);
        let mut sealed = Sealed::default();
        merger.push(&topic("t"), message(1), 0, &mut |b, r| sealed.0.push((b, r)));
        merger.push(&topic("t"), message(1), 0, &mut |b, r| sealed.0.push((b, r)));
        merger.end_turn(0, &mut |b, r| sealed.0.push((b, r)));
        assert_eq!(sealed.reasons(), [(2, SealReason::Idle)]);
        assert_eq!(merger.open_messages(), 0);
    }

    #[test]
    fn what_follows_waits_for_the_delay() {
        let mut merger = Merger::new(RULES, 1);
        let mut sealed = Sealed::default();
        for now in [0, 2_000, 5_000] {
            merger.push(&topic("t"), message(1), now, &mut |b, r| sealed.0.push((b, r)));
            merger.end_turn(now, &mut |b, r| sealed.0.push((b, r)));
        }
        assert_eq!(sealed.reasons(), [(1, SealReason::Idle)]);
        assert_eq!(merger.next_due(), Some(12_000));
        merger.end_turn(11_999, &mut |b, r| sealed.0.push((b, r)));
        assert!(sealed.0.is_empty());
        merger.end_turn(12_000, &mut |b, r| sealed.0.push((b, r)));
        assert_eq!(sealed.reasons(), [(2, SealReason::Delay)]);
        assert_eq!(merger.next_due(), None);
    }

    #[test]
    fn a_shorter_delay_holds_for_batches_that_are_open_and_for_those_behind_them() {
        let mut merger = Merger::new(RULES, 1);
        let mut sealed = Sealed::default();
        for address in ["a", "b"] {
            merger.push(&topic(address), message(1), 0, &mut |b, r| sealed.0.push((b, r)));
        }
        merger.end_turn(0, &mut |b, r| sealed.0.push((b, r)));
        merger.push(&topic("a"), message(1), 1_000, &mut |b, r| sealed.0.push((b, r)));
        merger.configure(Merge { delay: Duration::from_millis(1), ..RULES }, 2_000);
        merger.push(&topic("b"), message(1), 2_500, &mut |b, r| sealed.0.push((b, r)));
        assert_eq!(merger.next_due(), Some(3_000));
        merger.end_turn(3_000, &mut |b, r| sealed.0.push((b, r)));
        assert_eq!(sealed.reasons().last(), Some(&(1, SealReason::Delay)));
        assert!(merger.open_messages() <= 1);
        merger.end_turn(3_500, &mut |b, r| sealed.0.push((b, r)));
        assert_eq!(merger.open_messages(), 0);
    }

    #[test]
    fn a_batch_closes_at_its_count_and_before_its_size_is_passed() {
        let mut merger = Merger::new(RULES, 1);
        let mut sealed = Sealed::default();
        for _ in 0..4 {
            merger.push(&topic("t"), message(1), 0, &mut |b, r| sealed.0.push((b, r)));
        }
        assert_eq!(sealed.reasons(), [(4, SealReason::Messages)]);
        for length in [60, 60, 500] {
            merger.push(&topic("t"), message(length), 1, &mut |b, r| sealed.0.push((b, r)));
        }
        assert_eq!(
            sealed.reasons(),
            [(1, SealReason::Bytes), (1, SealReason::Bytes), (1, SealReason::Bytes)]
        );
    }

    #[test]
    fn forgotten_topics_never_get_an_offset_again() {
        let mut merger = Merger::new(RULES, 1);
        merger.logs = Logs::bounded(1, 4);
        let mut highest = HashMap::<Address, (Offset, Epoch)>::new();
        for round in 0..50_u64 {
            let address = topic(&format!("t{}", round * 7 % 9));
            let mut batches = Vec::new();
            merger.push(&address, message(1), round * 20_000, &mut |b, _| batches.push(b));
            merger.end_turn(round * 20_000, &mut |b, _| batches.push(b));
            for batch in batches {
                if let Some((end, epoch)) = highest.get(&batch.address) {
                    assert!(batch.first >= *end);
                    assert!(
                        batch.first == *end || batch.epoch != *epoch,
                        "a break in a history is a new epoch"
                    );
                }
                highest.insert(batch.address.clone(), (batch.end(), batch.epoch));
            }
            assert!(merger.len() <= 4);
        }
    }

    /// Ends turns until so many microseconds have passed, one each second.
    fn pass(merger: &mut Merger, from: u64, seconds: u64) -> u64 {
        (1..=seconds).for_each(|second| merger.end_turn(from + second * 1_000_000, &mut |_, _| {}));
        from + seconds * 1_000_000
    }

    #[test]
    fn topics_that_were_used_once_are_forgotten_and_those_in_use_go_on() {
        let mut merger = Merger::new(RULES, 1);
        let mut now = 0;
        let (busy, after_s) = (topic("busy"), TOPIC_FORGOTTEN_AFTER.as_secs());
        let mut histories = Vec::new();
        for minute in 0..5_u32 {
            for name in 0..20_000 {
                merger.push(&topic(&format!("{minute}-{name}")), message(1), now, &mut |_, _| {});
            }
            merger.push(&busy, message(1), now, &mut |_, _| {});
            merger.end_turn(now, &mut |batch, _| {
                histories.extend((batch.address == busy).then_some((batch.first, batch.epoch)));
            });
            now = pass(&mut merger, now, after_s);
        }
        assert!(merger.len() <= 2 * 20_001, "{}", merger.len());
        let (offsets, epochs): (Vec<_>, Vec<_>) = histories.into_iter().unzip();
        assert_eq!(offsets, (0..5).map(Offset).collect::<Vec<_>>());
        assert!(epochs.iter().all(|epoch| *epoch == epochs[0]), "one history");
        merger.take_dropped_many();
        pass(&mut merger, now, 3 * after_s);
        assert_eq!(merger.len(), 0);
        assert!(merger.take_dropped_many() && !merger.take_dropped_many());
        // A few are not worth it.
        merger.push(&busy, message(1), now, &mut |_, _| {});
        let now = pass(&mut merger, now, 10 * after_s);
        merger.push(&busy, message(1), now, &mut |_, _| {});
        assert_eq!((merger.len(), merger.position(&busy).map(|(next, _)| next)), (1, Some(Offset(7))));
    }

    #[test]
    fn an_open_batch_outlives_any_number_of_new_topics() {
        let mut merger = Merger::new(RULES, 1);
        merger.logs = Logs::bounded(1, 8);
        let mut batches = Vec::new();
        // Not idle, so that the next one waits for the delay.
        merger.push(&topic("a"), message(1), 0, &mut |b, _| batches.push(b));
        merger.end_turn(0, &mut |b, _| batches.push(b));
        merger.push(&topic("a"), message(1), 1, &mut |b, _| batches.push(b));
        for name in 0..100 {
            merger.push(&topic(&name.to_string()), message(1), 2, &mut |b, _| batches.push(b));
            merger.end_turn(2, &mut |b, _| batches.push(b));
        }
        assert!(merger.len() <= 8 + 1, "{}", merger.len());
        assert_eq!(batches.iter().filter(|batch| batch.address == topic("a")).count(), 1);
        merger.end_turn(20_000, &mut |b, _| batches.push(b));
        let of_a: Vec<_> =
            batches.iter().filter(|batch| batch.address == topic("a")).map(|b| b.first).collect();
        assert_eq!(of_a, [Offset(0), Offset(1)]);
    }

    #[test]
    fn an_open_batch_outlives_a_pause_of_the_process() {
        let mut merger = Merger::new(RULES, 1);
        for name in 0..=TOPICS_KEPT {
            merger.push(&topic(&name.to_string()), message(1), 0, &mut |_, _| {});
        }
        merger.end_turn(0, &mut |_, _| {});
        // It waits for the delay when the recent topics become the earlier ones, and then the process stands still.
        let before = TOPIC_FORGOTTEN_AFTER.as_micros() as u64;
        merger.push(&topic("a"), message(1), before - 2, &mut |_, _| {});
        merger.end_turn(before - 2, &mut |_, _| {});
        merger.push(&topic("a"), message(1), before - 1, &mut |_, _| {});
        merger.end_turn(before, &mut |_, _| {});
        let mut batches = Vec::new();
        merger.end_turn(3 * before, &mut |batch, _| batches.push((batch.address.clone(), batch.len())));
        assert_eq!(batches, [(topic("a"), 1)]);
        assert_eq!((merger.open_messages(), merger.open_bytes()), (0, 0));
    }

    /// A thousand batches that are full at once, within the delay of the first.
    #[test]
    fn batches_that_close_early_leave_no_more_behind_than_there_are_open_ones() {
        let mut merger = Merger::new(RULES, 1);
        let mut sealed = 0;
        for n in 0..40_000_u64 {
            merger.push(&topic(&format!("{}", n / 4 % 10)), message(1), n / 100, &mut |_, _| sealed += 1);
            assert!(merger.due.len() <= 2 * STALE_MIN + 20, "{} entries", merger.due.len());
        }
        assert!(sealed >= 9_990);
        merger.end_turn(100_000, &mut |_, _| sealed += 1);
        assert_eq!((merger.open_messages(), merger.open_bytes(), merger.due.len()), (0, 0, 0));
        assert_eq!(merger.stale, 0);
    }

    #[test]
    fn all_open_batches_together_are_bounded_the_oldest_close_first() {
        let rules = Merge { messages_max: 1_000_000, bytes_max: 1 << 30, ..RULES };
        let mut merger = Merger::new(rules, 1);
        let mut sealed = Vec::new();
        for n in 0..60_u64 {
            for size in [0, OPEN_BYTES_MAX / 50] {
                merger
                    .push(&topic(&n.to_string()), message(size), n, &mut |b, r| sealed.push((b.address, r)));
                assert!(merger.open_bytes() <= OPEN_BYTES_MAX);
            }
            merger.end_turn(n, &mut |_, _| {});
            merger.push(&topic(&n.to_string()), message(OPEN_BYTES_MAX / 30), n, &mut |b, r| {
                sealed.push((b.address, r));
            });
        }
        assert!(sealed.iter().all(|(_, reason)| *reason == SealReason::Bytes));
        assert_eq!(sealed.first().map(|(address, _)| address.clone()), Some(topic("0")));
    }

    proptest! {
        #[test]
        fn every_message_leaves_once_in_order_within_the_bounds(
            steps in prop::collection::vec((0_usize..3, 1_usize..150, 0_u64..15_000), 1..200)
        ) {
            let mut merger = Merger::new(RULES, 1);
            let mut sealed = Vec::new();
            let (mut now, mut pushed) = (0, [0_u64; 3]);
            for (to, length, pause) in steps {
                now += pause;
                let address = topic(&to.to_string());
                let mut payload = pushed[to].to_string().into_bytes();
                payload.resize(payload.len().max(length), b' ');
                pushed[to] += 1;
                let message = Message { payload: payload.into(), kind: PayloadKind::Unknown };
                merger.push(&address, message, now, &mut |b, _| sealed.push(b));
                merger.end_turn(now, &mut |b, _| sealed.push(b));
                prop_assert!(merger.next_due().is_none_or(|due| due > now && due <= now + 10_000));
            }
            merger.drain(now, &mut |b, _| sealed.push(b));
            prop_assert_eq!(merger.open_messages(), 0);
            let mut seen = [0_u64; 3];
            for batch in sealed {
                let Address::Topic(name) = &batch.address else { panic!("no broadcast was sent") };
                let to: usize = name.as_str().parse().unwrap();
                prop_assert!(batch.len() <= 4);
                prop_assert!(batch.payload_bytes() <= 100 || batch.len() == 1);
                for (i, message) in batch.messages().enumerate() {
                    prop_assert_eq!(batch.first.0 + i as u64, seen[to]);
                    let text = std::str::from_utf8(message.payload).unwrap().trim();
                    prop_assert_eq!(text.parse::<u64>().unwrap(), seen[to]);
                    seen[to] += 1;
                }
            }
            prop_assert_eq!(seen, pushed);
        }
    }
}
