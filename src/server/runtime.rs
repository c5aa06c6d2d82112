//! The monoio runtime of a thread.
//!
//! *Not here*: which threads there are (`threads`), what runs on each (`super`).

use std::future::Future;
use std::io;

use monoio::{IoUringDriver, RuntimeBuilder};

/// Entries of a monoio ring with sockets: sessions with Redis, or connections of the API.
pub(super) const RUNTIME_ENTRIES: u32 = 1024;

/// Runs a future on a runtime that is built on the calling thread.
pub(super) fn block_on<F: Future<Output = io::Result<()>>>(
    entries: u32,
    future: impl FnOnce() -> F,
) -> Result<(), String> {
    let mut ring = io_uring_06::IoUring::builder();
    ring.setup_single_issuer().setup_defer_taskrun();
    let runtime = RuntimeBuilder::<IoUringDriver>::new()
        .uring_builder(ring)
        .with_entries(entries)
        .enable_timer()
        .build();
    let mut runtime = runtime.map_err(|error| format!("cannot create an io_uring: {error}"))?;
    runtime.block_on(async { future().await }).map_err(|error| error.to_string())
}
