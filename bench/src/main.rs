//! fanfare-bench
mod clock;
mod histogram;
mod message;
mod receiver;
mod sys;
mod verify;
fn main() {}
