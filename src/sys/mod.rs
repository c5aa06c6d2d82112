//! Linux calls behind safe functions, one file a subject.
//!
//! Nobody owns anything here: each call acts on the calling thread, on the process, or on the descriptor it returns.
//! *Not here*: when and why they are called (`main`, `server`, `shard`).

pub mod activation;
pub mod affinity;
pub mod bell;
pub mod clock;
pub mod cpu;
pub mod eventfd;
pub mod files;
pub mod memory;
pub mod notify;
pub mod probe;
pub mod readiness;
pub mod signals;
pub mod sockopt;
pub mod terminal;
