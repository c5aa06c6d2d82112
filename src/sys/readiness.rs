//! Waiting for an eventfd inside a monoio runtime.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use monoio::net::UnixStream;

use super::eventfd::EventFd;

/// The runtime's view of an eventfd: a duplicate of it, which the runtime can poll.
///
/// monoio polls streams only; a poll looks at no more of a stream than its descriptor.
pub struct Readiness(UnixStream);

impl Readiness {
    /// A view of `eventfd` for the calling thread's runtime.
    pub fn of(eventfd: &EventFd) -> io::Result<Self> {
        // SAFETY: fcntl with F_DUPFD_CLOEXEC takes no pointers.
        let fd = unsafe { libc::fcntl(eventfd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just made and nobody else has it.
        let owned = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self(UnixStream::from_std(owned.into())?))
    }

    /// Returns once the eventfd's count is above zero. Cancel-safe: nothing is consumed.
    pub async fn ready(&self) {
        // A poll of a descriptor that we own fails only when the runtime is going away, and then nobody waits.
        let _ = self.0.readable(false).await;
    }
}
