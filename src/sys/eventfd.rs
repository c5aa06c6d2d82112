//! eventfd(2): a counter that a thread can sleep on.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::bell::Bell;

/// A non-blocking eventfd.
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// A new one, count 0, close-on-exec.
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just made and nobody else has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Adds one to the count.
    pub fn signal(&self) {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: `one` is valid for its length for the whole call.
        let _ = unsafe { libc::write(self.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        // The only failure is a full counter (EAGAIN), and a full counter wakes as well.
    }

    /// Takes the whole count; 0 when there was none.
    pub fn drain(&self) -> u64 {
        let mut count = [0_u8; 8];
        // SAFETY: `count` is valid for writes of its length for the whole call.
        let n = unsafe { libc::read(self.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
        if n == 8 { u64::from_ne_bytes(count) } else { 0 }
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Bell for EventFd {
    fn strike(&self) {
        self.signal();
    }
}
