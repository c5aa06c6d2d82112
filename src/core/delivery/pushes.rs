//! The pushes that a shard has something of: their credit, and what it has done for them.
//!
//! *Not here*: their rounds (`line`, `walk`), who orders their rates (`push::registry`).

use std::sync::Arc;

use super::line::RoundNumber;
use super::members::Place;
use crate::limits::{PACE_LOOK, PACE_STEP};
use crate::push::bucket::Bucket;
use crate::push::share::{Failed, Share};
use crate::push::{Push, PushSlot};

/// What the shard has of one push.
#[derive(Debug)]
pub struct Live {
    push: Arc<Push>,
    bucket: Bucket,
    /// Where its rounds are, or were.
    places: Vec<(Place, RoundNumber)>,
    /// Rounds that are not over.
    rounds: usize,
    /// Devices that are neither sent nor failed.
    remaining: u64,
    /// Whether it had somebody to serve when it was last looked at.
    is_servable: bool,
    /// Whether it had a pace or stood still then: its lines are held (`backlog`).
    is_holding: bool,
    /// When to look at its orders next.
    due_us: u64,
}

/// All of them.
#[derive(Debug)]
pub struct Pushes {
    /// Which of a push's shares is this shard's.
    number: usize,
    slots: Vec<Option<Live>>,
    live: usize,
    /// Microseconds of the process's clock.
    now_us: u64,
    /// No orders have to be looked at before this.
    due_us: u64,
}

/// What a look at the orders of a push came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orders {
    /// It may go on.
    Go,
    /// It has no credit now.
    Wait,
    /// It is over for whoever it has not served.
    End(Failed),
}

impl Pushes {
    /// None yet.
    pub fn new(number: usize) -> Self {
        Self { number, slots: Vec::new(), live: 0, now_us: 0, due_us: 0 }
    }

    /// Whether there is none.
    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Sets the clock, microseconds.
    pub fn set_now(&mut self, now_us: u64) {
        self.now_us = self.now_us.max(now_us);
    }

    /// Takes one in, for so many devices, in so many rounds.
    pub fn take(&mut self, push: Arc<Push>, targeted: u64) -> PushSlot {
        let share = &push.shares[self.number];
        share.take(targeted);
        let phase = self.number as f64 / push.shares.len() as f64;
        let bucket = Bucket::new(self.now_us, share.rate_milli(), phase);
        let live = Live {
            is_holding: bucket.is_bounded(),
            push,
            bucket,
            places: Vec::new(),
            rounds: 0,
            remaining: targeted,
            is_servable: true,
            due_us: self.now_us,
        };
        self.live += 1;
        self.due_us = self.now_us;
        let free = self.slots.iter().position(Option::is_none);
        let slot = free.unwrap_or(self.slots.len());
        if slot == self.slots.len() {
            self.slots.push(Some(live));
        } else {
            self.slots[slot] = Some(live);
        }
        PushSlot(slot as u32)
    }

    /// A round of it begins there.
    pub fn begin_round(&mut self, slot: PushSlot, place: Place, number: RoundNumber) {
        if let Some(live) = self.get_mut(slot) {
            live.rounds += 1;
            live.places.push((place, number));
        }
    }

    /// A round of it is over.
    pub fn end_round(&mut self, slot: PushSlot) {
        if let Some(live) = self.get_mut(slot) {
            live.rounds -= 1;
        }
        self.retire(slot);
    }

    fn get_mut(&mut self, slot: PushSlot) -> Option<&mut Live> {
        self.slots.get_mut(slot.0 as usize)?.as_mut()
    }

    fn get(&self, slot: PushSlot) -> Option<&Live> {
        self.slots.get(slot.0 as usize)?.as_ref()
    }

    /// Devices that may be served of it now.
    pub fn credit(&self, slot: PushSlot) -> usize {
        self.get(slot).map_or(0, |live| live.bucket.credit())
    }

    /// Devices were served.
    pub fn spend(&mut self, slot: PushSlot, devices: usize) {
        if let Some(live) = self.get_mut(slot) {
            live.bucket.spend(devices);
        }
    }

    /// The kernel has taken every byte for so many devices. Returns the microseconds since the push entered.
    pub fn sent(&mut self, slot: PushSlot, devices: u64) -> u64 {
        let accepted_us = self.get(slot).map_or(self.now_us, |live| live.push.accepted.us);
        let after_us = self.now_us.saturating_sub(accepted_us);
        self.settle(slot, devices, |_, share| share.sent(devices, after_us));
        after_us
    }

    /// So many devices will not be served.
    pub fn failed(&mut self, slot: PushSlot, why: Failed, devices: u64) {
        self.settle(slot, devices, |_, share| share.failed(why, devices));
    }

    fn settle(&mut self, slot: PushSlot, devices: u64, note: impl FnOnce(&Push, &Share)) {
        let number = self.number;
        let Some(live) = self.get_mut(slot) else {
            debug_assert!(devices == 0, "a push that is over owes nobody");
            return;
        };
        if devices == 0 {
            return;
        }
        let share = &live.push.shares[number];
        note(&live.push, share);
        live.remaining -= devices;
        debug_assert_eq!(
            share.standing().map(|s| s.remaining()),
            Some(live.remaining),
            "targeted = sent + failed + remaining"
        );
        self.retire(slot);
    }

    /// Forgets it once nothing of it is left.
    pub fn retire(&mut self, slot: PushSlot) {
        let number = self.number;
        let Some(live) = self.get_mut(slot) else { return };
        if live.remaining == 0 && live.rounds == 0 {
            live.push.shares[number].set_servable(0);
            self.slots[slot.0 as usize] = None;
            self.live -= 1;
            if self.live == 0 {
                self.slots = Vec::new();
            }
        }
    }

    /// The next slot whose orders are due; `from` is where to begin to look.
    pub fn next_due(&self, from: u32) -> Option<PushSlot> {
        if self.live == 0 || self.now_us < self.due_us {
            return None;
        }
        let slots = self.slots.iter().enumerate().skip(from as usize);
        let mut due = slots.filter(|(_, live)| live.as_ref().is_some_and(|live| live.due_us <= self.now_us));
        due.next().map(|(slot, _)| PushSlot(slot as u32))
    }

    /// Notes when orders are due again, once [`Pushes::next_due`] has none.
    pub fn end_look(&mut self) {
        self.due_us = self.slots.iter().flatten().map(|live| live.due_us).min().unwrap_or(0);
    }

    /// Looks at the orders of one; `servable`: devices that it could serve now.
    pub fn look(&mut self, slot: PushSlot, servable: u64) -> Orders {
        let (number, now_us) = (self.number, self.now_us);
        let Some(live) = self.get_mut(slot) else { return Orders::Wait };
        let share = &live.push.shares[number];
        share.set_servable(servable);
        if live.rounds > 0
            && let Some(why) = share.ordered_end()
        {
            return Orders::End(why);
        }
        if live.rounds > 0 && live.push.expires_us().is_some_and(|at| now_us >= at) {
            return Orders::End(Failed::Expired);
        }
        live.bucket.advance(now_us, share.rate_milli());
        live.is_holding = live.bucket.is_bounded();
        live.is_servable = servable > 0;
        if !live.is_servable {
            live.bucket.idle();
        }
        let (step, look) = (PACE_STEP.as_micros() as u64, PACE_LOOK.as_micros() as u64);
        let wait = live.bucket.wait_us().filter(|_| live.is_servable).unwrap_or(u64::MAX);
        live.due_us = now_us + wait.clamp(step, look);
        if live.bucket.credit() > 0 && live.is_servable { Orders::Go } else { Orders::Wait }
    }

    /// Where a round of one is, or was.
    pub fn place(&self, slot: PushSlot, index: usize) -> Option<(Place, RoundNumber)> {
        self.get(slot)?.places.get(index).copied()
    }

    /// Whether it has a bound to its rate.
    pub fn is_paced(&self, slot: PushSlot) -> bool {
        self.get(slot).is_some_and(|live| live.bucket.is_bounded())
    }

    /// Whether it had a pace or stood still when its orders were last looked at.
    pub fn is_holding(&self, slot: PushSlot) -> bool {
        self.get(slot).is_some_and(|live| live.is_holding)
    }

    /// Every slot in use.
    pub fn all(&self) -> Vec<PushSlot> {
        let used = self.slots.iter().enumerate().filter(|(_, live)| live.is_some());
        used.map(|(slot, _)| PushSlot(slot as u32)).collect()
    }

    /// Microseconds after which orders are due; `None`: there is no push.
    pub fn wait_us(&self) -> Option<u64> {
        (self.live > 0).then(|| self.due_us.saturating_sub(self.now_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::members::ALL;
    use crate::model::{Address, Moment};
    use crate::push::Source;
    use crate::push::id::PushId;
    use crate::push::rate::Rate;
    use crate::push::share::UNLIMITED;
    use crate::push::terms::Terms;
    use std::time::Duration;

    const PLACE: Place = Place { topic: ALL, lane: crate::push::terms::Lane::Normal };

    fn push(rate_milli: u64, expires_in: Option<Duration>) -> Arc<Push> {
        Arc::new(Push {
            id: PushId::new("p").expect("an id"),
            terms: Terms { rate: Rate::per_second(1000.0).ok(), expires_in, ..Terms::default() },
            source: Source::Http,
            to: [Address::All].into(),
            holds: Box::default(),
            messages: 1,
            bytes: 1,
            accepted: Moment::default(),
            shares: [Share::new(rate_milli)].into(),
        })
    }

    /// A push for so many devices, in one round.
    fn begun(pushes: &mut Pushes, push: &Arc<Push>, targeted: u64) -> PushSlot {
        let slot = pushes.take(Arc::clone(push), targeted);
        pushes.begin_round(slot, PLACE, RoundNumber::default());
        slot
    }

    #[test]
    fn a_push_for_nobody_is_over_at_once() {
        let (mut pushes, push) = (Pushes::new(0), push(UNLIMITED, None));
        let slot = pushes.take(Arc::clone(&push), 0);
        pushes.retire(slot);
        assert!(pushes.is_empty() && pushes.wait_us().is_none() && pushes.next_due(0).is_none());
        assert_eq!(push.shares[0].standing().map(|standing| standing.remaining()), Some(0));
    }

    #[test]
    fn a_slot_is_kept_until_the_last_round_and_the_last_outbox_have_let_go() {
        let (mut pushes, push) = (Pushes::new(0), push(UNLIMITED, None));
        let slot = begun(&mut pushes, &push, 3);
        pushes.sent(slot, 2);
        pushes.end_round(slot);
        assert!(!pushes.is_empty(), "an outbox has one");
        let other = begun(&mut pushes, &self::push(UNLIMITED, None), 1);
        assert_ne!(slot, other);
        pushes.failed(other, Failed::Closed, 1);
        pushes.end_round(other);
        pushes.failed(slot, Failed::Slow, 1);
        assert!(pushes.is_empty() && pushes.all().is_empty());
    }

    #[test]
    fn a_push_ends_by_order_or_by_time_and_by_neither_once_its_rounds_are_over() {
        let mut pushes = Pushes::new(0);
        let (cancelled, expiring) = (push(0, None), push(0, Some(Duration::from_millis(5))));
        let slots = [begun(&mut pushes, &cancelled, 1), begun(&mut pushes, &expiring, 1)];
        assert_eq!(slots.map(|slot| pushes.look(slot, 1)), [Orders::Wait; 2]);
        cancelled.shares[0].order_end(Failed::Cancelled);
        pushes.set_now(5_000);
        let ends = [Orders::End(Failed::Cancelled), Orders::End(Failed::Expired)];
        assert_eq!(slots.map(|slot| pushes.look(slot, 1)), ends);
        pushes.end_round(slots[0]);
        assert_eq!(pushes.look(slots[0], 0), Orders::Wait, "what an outbox has of it is on its way");
    }

    #[test]
    fn a_push_is_looked_at_when_its_next_device_is_due_and_its_orders_before_long() {
        let (mut pushes, push) = (Pushes::new(0), push(250_000, None));
        let slot = begun(&mut pushes, &push, 100);
        assert_eq!(pushes.wait_us(), Some(0), "a new one at once");
        assert_eq!(pushes.next_due(0), Some(slot));
        assert_eq!(pushes.look(slot, 100), Orders::Wait);
        pushes.end_look();
        assert_eq!((pushes.wait_us(), pushes.next_due(0)), (Some(4_000), None));
        pushes.set_now(4_000);
        assert_eq!((pushes.look(slot, 100), pushes.credit(slot)), (Orders::Go, 1));
        pushes.spend(slot, 1);
        push.shares[0].order_rate(0);
        pushes.look(slot, 99);
        pushes.end_look();
        assert_eq!(
            pushes.wait_us(),
            Some(PACE_LOOK.as_micros() as u64),
            "it stands still and may be told to go on"
        );
    }

    #[test]
    fn slots_that_become_free_during_a_look_do_not_end_it() {
        let mut pushes = Pushes::new(0);
        let all = [0; 3].map(|_| push(0, None));
        let slots = all.each_ref().map(|push| begun(&mut pushes, push, 1));
        let (mut from, mut seen) = (0, Vec::new());
        while let Some(slot) = pushes.next_due(from) {
            from = slot.0 + 1;
            seen.push(slot);
            pushes.failed(slot, Failed::Cancelled, 1);
            pushes.end_round(slot);
        }
        pushes.end_look();
        assert_eq!(seen, slots);
        assert!(pushes.is_empty());
        begun(&mut pushes, &all[0], 1);
        assert_eq!(pushes.wait_us(), Some(0));
    }
}
