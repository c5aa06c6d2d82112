//! poll(2) inside a monoio runtime, for a descriptor that is no socket.
//!
//! monoio polls what its own types hold. A stream over a duplicate of the descriptor is one, and a poll asks nothing of
//! a socket. *Not here*: taking what made the descriptor readable; that is the waiter's.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

/// The runtime's view of a descriptor, for one who waits again and again.
pub struct Readiness(monoio::net::UnixStream);

impl Readiness {
    /// A view for the calling thread's runtime. Costs a duplicate of the descriptor.
    pub fn of(fd: &impl AsFd) -> io::Result<Self> {
        let duplicate = UnixStream::from(fd.as_fd().try_clone_to_owned()?);
        Ok(Self(monoio::net::UnixStream::from_std(duplicate)?))
    }

    /// Returns once the descriptor is readable, or at once when it is. Costs one POLL request; dropping the future
    /// cancels the request and consumes nothing.
    pub async fn ready(&self) -> io::Result<()> {
        self.0.readable(false).await
    }
}
