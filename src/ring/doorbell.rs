//! What wakes a sleeping thread: a flag that says it sleeps, and an eventfd.
//!
//! The sleeper: [`Doorbell::prepare_sleep`], look at its queues once more, sleep on the eventfd, [`Doorbell::awake`].
//! The waker: put something in the queue, then [`Doorbell::ring`], which writes the eventfd only when the flag says
//! that somebody sleeps. Both sides put a sequentially consistent fence between their write and their read, so that
//! at least one of them sees the other: no wake-up is lost (loom checks this).

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering, fence};

use crate::sys::bell::Bell;
use crate::sys::eventfd::EventFd;

/// One per sleeping thread; shared with those who wake it.
pub struct Doorbell<B: Bell = EventFd> {
    asleep: AtomicBool,
    bell: B,
}

impl<B: Bell> Doorbell<B> {
    /// A doorbell whose owner is awake.
    pub fn new(bell: B) -> Self {
        Self { asleep: AtomicBool::new(false), bell }
    }

    /// The bell, for the sleeper to wait on.
    pub fn bell(&self) -> &B {
        &self.bell
    }

    /// The owner will sleep unless its queues, looked at after this call, have something.
    pub fn prepare_sleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The owner is awake again.
    pub fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Wakes the owner if it sleeps; called after the queue was written. Costs a fence when it does not.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.swap(false, Ordering::Relaxed) {
            self.bell.strike();
        }
    }
}

impl<B: Bell> std::fmt::Debug for Doorbell<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doorbell").finish_non_exhaustive()
    }
}
