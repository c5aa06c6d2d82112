//! A queue between the thread that fills it and the one that empties it.
//!
//! The lock is held for as long as it takes to move some references, never while anything is sent. Shards do not know
//! of it. *Not here*: what a queue does (`sink_queue`).

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::sink_queue::{Batch, SinkQueue};

/// A [`SinkQueue`] that two threads use.
pub struct Shared {
    queue: Mutex<SinkQueue>,
    closed: Condvar,
}

impl Shared {
    /// Around this one.
    pub fn new(queue: SinkQueue) -> Self {
        Self { queue: Mutex::new(queue), closed: Condvar::new() }
    }

    /// The queue, for a moment. A panic elsewhere ends the process, so what it left is as good as anything.
    pub fn lock(&self) -> MutexGuard<'_, SinkQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
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
        let queue = self.lock();
        queue.is_closed() && queue.is_empty()
    }

    /// Sleeps; not for long once it is closed. Blocks.
    pub fn sleep(&self, pause: Duration, once_closed: Duration) {
        let queue = self.lock();
        let pause = if queue.is_closed() { pause.min(once_closed) } else { pause };
        drop(self.closed.wait_timeout(queue, pause).unwrap_or_else(PoisonError::into_inner));
    }
}
