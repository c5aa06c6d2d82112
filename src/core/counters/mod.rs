//! What threads count: each value is written by one thread and read by any.
//!
//! *Not here*: which values there are, their names and help texts (`metrics` of the program).

pub mod histogram;
mod value;

pub use value::{Value, total};
