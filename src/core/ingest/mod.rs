//! From messages to sealed batches.

pub mod merger;
pub mod seal;
