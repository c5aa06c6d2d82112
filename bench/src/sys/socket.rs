//! Socket options and waits that socket2 does not offer.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

/// `IP_BIND_ADDRESS_NO_PORT`: bind takes the address only, and connect chooses a port that is free for the pair
/// (ip(7)). Without it one port serves one connection, whatever its source address.
pub(crate) fn bind_address_no_port(fd: RawFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: `on` is valid for reads of its size for the whole call.
    let done = unsafe {
        libc::setsockopt(
            fd,
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Waits until the socket takes bytes; false when the time passed first.
pub(crate) fn wait_writable(fd: RawFd, timeout: Duration) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
    let ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: `poll` is one pollfd and lives for the whole call.
    unsafe { libc::poll(&raw mut poll, 1, ms) > 0 }
}
