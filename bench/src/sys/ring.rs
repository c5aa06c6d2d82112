//! One buffer to many sockets through a raw io_uring, in slices of SENDs.

use std::io;
use std::os::fd::RawFd;

use io_uring::{IoUring, opcode, squeue, types};

/// SENDs of one submission: the gateway's slice.
pub(crate) const SLICE: usize = 1024;

/// A ring of one thread.
pub(crate) struct SendRing(IoUring);

impl SendRing {
    /// A ring for slices of [`SLICE`]. The thread that makes it is the one that uses it.
    pub(crate) fn new() -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(2 * SLICE as u32)
            .build(SLICE as u32)?;
        Ok(Self(ring))
    }

    /// Sends `bytes` to each of at most [`SLICE`] sockets, without waiting for any. `short` is called with the
    /// position and the result (bytes, or a negative errno) of each send that did not take everything.
    pub(crate) fn send(
        &mut self,
        fds: &[RawFd],
        bytes: &[u8],
        mut short: impl FnMut(usize, i32),
    ) -> io::Result<()> {
        assert!(fds.len() <= SLICE);
        // WAITALL makes a partial send a result of its own instead of a success that SKIP_SUCCESS hides.
        let flags = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        for (at, fd) in fds.iter().enumerate() {
            let entry = opcode::Send::new(types::Fd(*fd), bytes.as_ptr(), bytes.len() as u32)
                .flags(flags)
                .build()
                .flags(squeue::Flags::SKIP_SUCCESS)
                .user_data(at as u64);
            // SAFETY: with MSG_DONTWAIT the kernel is done with the buffer when submit has consumed the entry,
            // which the loop below waits for; `bytes` outlives this call.
            unsafe { self.0.submission().push(&entry) }
                .map_err(|_| io::Error::other("the ring has fewer entries than a slice"))?;
        }
        while !self.0.submission().is_empty() {
            self.0.submit()?;
        }
        // A send that may not wait completes inside submit, so every short one of this slice is visible now.
        for entry in self.0.completion() {
            short(entry.user_data() as usize, entry.result());
        }
        Ok(())
    }
}
