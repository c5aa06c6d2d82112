//! poll(2) as a future of the thread's monoio runtime, for a descriptor that is no socket.
//!
//! *Not here*: taking what made the descriptor readable; that is the waiter's.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

/// Completes when `fd` is readable, or at once when it is. Costs a duplicate of the descriptor and one POLL request;
/// dropping the future cancels the request. Runs on a thread with a monoio runtime.
pub async fn readable(fd: &impl AsFd) -> io::Result<()> {
    // monoio polls what its own types hold. A stream of the duplicate is one, and a poll asks nothing of a socket.
    let duplicate = UnixStream::from(fd.as_fd().try_clone_to_owned()?);
    monoio::net::UnixStream::from_std(duplicate)?.readable(false).await
}
