//! The pushes that a shard has something of: their credit, and what it has done for them.
//!
//! *Not here*: their rounds (`line`, `fanout`), who orders their rates (`push::registry`).

use std::sync::Arc;

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
    /// Where its rounds are.
    pub places: Vec<Place>,
    /// Rounds that are not over.
    rounds: usize,
    /// Devices that are neither sent nor failed.
    remaining: u64,
    /// Whether it had somebody to serve when it was last looked at.
    is_servable: bool,
    /// When to look at its orders next.
    due_us: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Pushes {
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
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Sets the clock, microseconds.
    pub fn set_now(&mut self, now_us: u64) {
        self.now_us = self.now_us.max(now_us);
    }

    /// Takes one in, for so many devices, in so many rounds.
    pub fn take(&mut self, push: Arc<Push>, number: usize, targeted: u64) -> PushSlot {
        let share = &push.shares[number];
        share.take(targeted);
        let phase = number as f64 / push.shares.len() as f64;
        let bucket = Bucket::new(self.now_us, share.rate_milli(), phase);
        let live = Live {
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
    pub fn begin_round(&mut self, slot: PushSlot, place: Place) {
        if let Some(live) = self.get_mut(slot) {
            live.rounds += 1;
            live.places.push(place);
        }
    }

    /// A round of it is over.
    pub fn end_round(&mut self, slot: PushSlot, number: usize) {
        if let Some(live) = self.get_mut(slot) {
            live.rounds -= 1;
        }
        self.retire(slot, number);
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

    /// The kernel has taken every byte for so many devices.
    pub fn sent(&mut self, slot: PushSlot, number: usize, devices: u64) {
        let now_us = self.now_us;
        self.settle(slot, number, devices, |push, share| {
            share.sent(devices, now_us.saturating_sub(push.accepted.us));
        });
    }

    /// So many devices will not be served.
    pub fn failed(&mut self, slot: PushSlot, number: usize, why: Failed, devices: u64) {
        self.settle(slot, number, devices, |_, share| share.failed(why, devices));
    }

    fn settle(&mut self, slot: PushSlot, number: usize, devices: u64, note: impl FnOnce(&Push, &Share)) {
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
        self.retire(slot, number);
    }

    /// Forgets it once nothing of it is left.
    pub fn retire(&mut self, slot: PushSlot, number: usize) {
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
    pub fn look(&mut self, slot: PushSlot, number: usize, servable: u64) -> Orders {
        let now_us = self.now_us;
        let Some(live) = self.get_mut(slot) else { return Orders::Wait };
        let share = &live.push.shares[number];
        share.set_servable(servable);
        if live.rounds > 0 && share.is_cancelled() {
            return Orders::End(Failed::Cancelled);
        }
        if live.rounds > 0 && live.push.expires_us().is_some_and(|at| now_us >= at) {
            return Orders::End(Failed::Expired);
        }
        live.bucket.advance(now_us, share.rate_milli());
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
    pub fn place(&self, slot: PushSlot, index: usize) -> Option<Place> {
        self.get(slot)?.places.get(index).copied()
    }

    /// Whether it has a bound to its rate.
    pub fn is_paced(&self, slot: PushSlot) -> bool {
        self.get(slot).is_some_and(|live| live.bucket.is_bounded())
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
