//! fanfare
fn main() {}
