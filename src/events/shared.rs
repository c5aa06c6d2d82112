//! An outlet between the thread that fills it and the one that empties it.
//!
//! The lock is held for as long as it takes to move some references, never while anything is sent. Shards do not know
//! of it. *Not here*: what an outlet does (`outlet`).

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::outlet::{Batch, Outlet};

/// An [`Outlet`] that two threads use.
pub struct Shared {
    outlet: Mutex<Outlet>,
    closed: Condvar,
}

impl Shared {
    /// Around this one.
    pub fn new(outlet: Outlet) -> Self {
        Self { outlet: Mutex::new(outlet), closed: Condvar::new() }
    }

    /// The outlet, for a moment. A panic elsewhere ends the process, so what it left is as good as anything.
    pub fn lock(&self) -> MutexGuard<'_, Outlet> {
        self.outlet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next batch, if one is due.
    pub fn batch(&self) -> Option<Batch> {
        self.lock().batch(Instant::now())
    }

    /// Nothing more will come: what waits is due, and whoever sleeps here is woken.
    pub fn close(&self) {
        self.lock().close();
        self.closed.notify_all();
    }

    /// Whether nothing will come and nothing is left.
    pub fn is_over(&self) -> bool {
        let outlet = self.lock();
        outlet.is_closed() && outlet.is_empty()
    }

    /// Sleeps; not for long once it is closed. Blocks.
    pub fn sleep(&self, pause: Duration, once_closed: Duration) {
        let outlet = self.lock();
        let pause = if outlet.is_closed() { pause.min(once_closed) } else { pause };
        drop(self.closed.wait_timeout(outlet, pause).unwrap_or_else(PoisonError::into_inner));
    }
}
