//! epoll(7), edge-triggered: a socket is registered once and reported when something new happens to it.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Sockets reported by one wait. Large enough that a wait costs little per socket, small enough that the loop looks
/// at its clock every few milliseconds.
const EVENTS: i32 = 512;

/// An epoll instance and the buffer of its last wait.
pub(crate) struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
    /// Reports of the last wait.
    reported: usize,
}

/// What one socket reported.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    /// The number under which the socket was registered.
    pub(crate) token: u64,
    /// Bytes, an end or an error can be read.
    pub(crate) readable: bool,
    /// The peer's end, or an error, is among what can be read.
    pub(crate) ended: bool,
}

impl Epoll {
    /// A new one, close-on-exec.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: epoll_create1 takes no pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just made and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let events = vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS.unsigned_abs() as usize];
        Ok(Self { fd, events, reported: 0 })
    }

    /// Reports input, an end, and if wanted the moments at which the socket becomes writable.
    pub(crate) fn add(&self, fd: RawFd, token: u64, watches_room: bool) -> io::Result<()> {
        let room = if watches_room { libc::EPOLLOUT } else { 0 };
        let interest = libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET | room;
        self.control(libc::EPOLL_CTL_ADD, fd, interest, token)
    }

    /// From now on only input and an end: a writable edge per sent ping would be noise.
    pub(crate) fn read_only(&self, fd: RawFd, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET, token)
    }

    /// No reports any more; the socket stays open.
    pub(crate) fn remove(&self, fd: RawFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, 0)
    }

    fn control(&self, operation: i32, fd: RawFd, interest: i32, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest.cast_unsigned(), u64: token };
        // SAFETY: `event` lives for the whole call.
        let done = unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), operation, fd, &raw mut event) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Waits for at least one report, at most `timeout` (rounded up to milliseconds); returns how many there are.
    /// A signal counts as a wait without reports.
    pub(crate) fn wait(&mut self, timeout: Duration) -> io::Result<usize> {
        let ms = i32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
        // SAFETY: the buffer has room for EVENTS events and lives for the whole call.
        let n = unsafe { libc::epoll_wait(self.fd.as_raw_fd(), self.events.as_mut_ptr(), EVENTS, ms) };
        self.reported = match usize::try_from(n) {
            Ok(n) => n,
            Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => 0,
            Err(_) => return Err(io::Error::last_os_error()),
        };
        Ok(self.reported)
    }

    /// Whether the last wait filled its buffer: there may be more.
    pub(crate) fn was_full(&self) -> bool {
        self.reported == self.events.len()
    }

    /// Report `index` of the last wait.
    pub(crate) fn ready(&self, index: usize) -> Ready {
        let event = self.events[index];
        let bits = event.events.cast_signed();
        let ends = libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR;
        Ready { token: event.u64, readable: bits & (libc::EPOLLIN | ends) != 0, ended: bits & ends != 0 }
    }
}
