//! From messages to sealed batches.

mod logs;
pub mod merger;
pub mod seal;
