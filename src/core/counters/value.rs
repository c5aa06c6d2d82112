//! A counter or a gauge with one writer and any number of readers.
//!
//! A write is a plain load and store (no locked instruction): the owner is the only writer.

use std::sync::atomic::{AtomicU64, Ordering};

/// A value with one writer and any number of readers.
#[derive(Debug, Default)]
pub struct Value(AtomicU64);

impl Value {
    /// Adds to a counter. Only the block's owner calls this.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Takes from a gauge. Only the block's owner calls this.
    #[inline]
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(n), Ordering::Relaxed);
    }

    /// Sets a gauge. Only the block's owner calls this.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// Reads; any thread.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Values added up.
pub fn total(values: &[Value]) -> u64 {
    values.iter().map(Value::get).sum()
}
