//! Ways between threads: single-producer rings with byte bounds, and what wakes a sleeper.

pub mod doorbell;
