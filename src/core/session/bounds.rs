//! What an operator allows outboxes.

use std::time::Duration;

use crate::limits;

/// What a slow connection may owe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxBounds {
    /// Bytes of one connection.
    pub bytes_max: usize,
    /// Bytes of all connections of the process.
    pub total_bytes_max: usize,
    /// Age of the oldest byte.
    pub age_max: Duration,
    /// What happens at either bound.
    pub policy: OutboxPolicy,
}

impl Default for OutboxBounds {
    fn default() -> Self {
        Self {
            bytes_max: limits::OUTBOX_BYTES_DEFAULT,
            total_bytes_max: limits::OUTBOX_TOTAL_BYTES_DEFAULT,
            age_max: limits::OUTBOX_AGE_DEFAULT,
            policy: OutboxPolicy::Close,
        }
    }
}

/// What happens to a connection whose outbox reached a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutboxPolicy {
    /// Close it with 4008.
    Close,
    /// Drop the oldest whole batches that no byte was sent of.
    DropOldest,
    /// Keep only the newest batch of each address.
    LatestOnly,
}
