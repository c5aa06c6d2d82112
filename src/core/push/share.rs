//! One shard's part of a push: orders down, accounts up, each value with one writer.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use super::latency::Latencies;
use crate::counters::Value;
use crate::model::CloseReason;

/// A share of a rate that is no bound.
pub const UNLIMITED: u64 = u64::MAX;

/// Why a device that was targeted was not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Failed {
    /// It left the topic or the gateway before its turn, or while it was owed.
    Closed,
    /// It did not take what it was owed within the outbox's bounds.
    Slow,
    /// The push's time was over.
    Expired,
    /// The push was cancelled.
    Cancelled,
    /// The gateway stopped.
    Shutdown,
}

impl Failed {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 5] = [Self::Closed, Self::Slow, Self::Expired, Self::Cancelled, Self::Shutdown];

    /// Label in `push_devices_failed_total{reason}`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Slow => "slow",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Shutdown => "shutdown",
        }
    }

    /// Why a push did not reach a connection that ended for this reason while it was owed.
    pub fn of_close(reason: CloseReason) -> Self {
        match reason {
            CloseReason::Slow | CloseReason::OutboxTotal => Self::Slow,
            CloseReason::Shutdown => Self::Shutdown,
            _ => Self::Closed,
        }
    }
}

/// What the control thread wants of one shard.
#[derive(Debug)]
#[repr(align(128))]
struct Orders {
    rate_milli: AtomicU64,
    /// 0, or the reason for the end plus 1.
    end: AtomicU8,
}

/// What one shard has done.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Account {
    taken: AtomicBool,
    targeted: Value,
    sent: Value,
    failed: [Value; Failed::ALL.len()],
    servable: Value,
    latencies: Latencies,
}

/// One shard's part.
#[derive(Debug)]
pub struct Share {
    orders: Orders,
    account: Account,
}

/// An account as it was at one moment: `targeted = sent + failed + remaining`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Devices that the push was for when the shard took it.
    pub targeted: u64,
    /// Devices for which the kernel has taken every byte.
    pub sent: u64,
    /// Devices that will not be served, by [`Failed`].
    pub failed: [u64; Failed::ALL.len()],
    /// Devices that it could serve now, were there credit: not held up behind an earlier message.
    pub servable: u64,
}

impl Standing {
    /// Devices that are neither.
    pub fn remaining(&self) -> u64 {
        self.targeted - self.sent - self.failed.iter().sum::<u64>()
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            targeted: self.targeted + other.targeted,
            sent: self.sent + other.sent,
            failed: std::array::from_fn(|reason| self.failed[reason] + other.failed[reason]),
            servable: self.servable + other.servable,
        }
    }
}

impl Share {
    /// A share that begins with this part of the rate, thousandths of a device per second.
    pub fn new(rate_milli: u64) -> Self {
        Self {
            orders: Orders { rate_milli: AtomicU64::new(rate_milli), end: AtomicU8::new(0) },
            account: Account::default(),
        }
    }

    /// Orders a rate: thousandths of a device per second, [`UNLIMITED`], or 0 to stand still. The control thread calls
    /// this.
    pub fn order_rate(&self, milli: u64) {
        self.orders.rate_milli.store(milli, Ordering::Relaxed);
    }

    /// Orders the end, for this reason; the first one counts. The control thread calls this.
    pub fn order_end(&self, why: Failed) {
        if self.ordered_end().is_none() {
            self.orders.end.store(why as u8 + 1, Ordering::Relaxed);
        }
    }

    /// The rate in force.
    pub fn rate_milli(&self) -> u64 {
        self.orders.rate_milli.load(Ordering::Relaxed)
    }

    /// Why its end was ordered, if it was.
    pub fn ordered_end(&self) -> Option<Failed> {
        let end = usize::from(self.orders.end.load(Ordering::Relaxed));
        end.checked_sub(1).map(|why| Failed::ALL[why])
    }

    /// The shard has it, for that many devices; once. Only the shard calls this and what follows.
    pub fn take(&self, targeted: u64) {
        self.account.targeted.set(targeted);
        self.account.servable.set(targeted);
        self.account.taken.store(true, Ordering::Release);
    }

    /// Devices served, that long after the push entered.
    pub fn sent(&self, devices: u64, after_us: u64) {
        // First the latencies: a reader that sees a device sent finds it there.
        self.account.latencies.record(after_us, devices);
        self.account.sent.add(devices);
    }

    /// Devices that will not be served.
    pub fn failed(&self, why: Failed, devices: u64) {
        self.account.failed[why as usize].add(devices);
    }

    /// Devices that credit alone is missing for.
    pub fn set_servable(&self, devices: u64) {
        self.account.servable.set(devices);
    }

    /// Where it stands; `None`: the shard does not have it yet.
    pub fn standing(&self) -> Option<Standing> {
        // What was targeted never changes once it is known, and whatever is read of the others was part of it.
        self.account.taken.load(Ordering::Acquire).then(|| Standing {
            targeted: self.account.targeted.get(),
            sent: self.account.sent.get(),
            failed: std::array::from_fn(|reason| self.account.failed[reason].get()),
            servable: self.account.servable.get(),
        })
    }

    /// How long devices waited.
    pub fn latencies(&self) -> &Latencies {
        &self.account.latencies
    }
}
