//! One buffer to every socket, in a loop: what a gateway's sending costs when everything else is free.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use socket2::SockRef;

use super::args::SenderKind;
use crate::sys::ring::{SLICE, SendRing};
use crate::sys::socket::wait_writable;

/// Receivers that drain at all make room within it.
const BLOCKED_AT_MOST: Duration = Duration::from_secs(10);

/// The sender of a floor.
pub(super) struct Sender {
    sockets: Vec<TcpStream>,
    fds: Vec<RawFd>,
    ring: Option<SendRing>,
    /// Sends that found a full socket: the receivers, not the sender, were the limit.
    pub(super) blocked: u64,
}

impl Sender {
    /// Takes the accepted sockets.
    pub(super) fn new(kind: SenderKind, sockets: Vec<TcpStream>) -> Result<Self, String> {
        let ring = match kind {
            SenderKind::Send => None,
            SenderKind::Uring => Some(SendRing::new().map_err(|e| format!("cannot make an io_uring: {e}"))?),
        };
        let fds = sockets.iter().map(AsRawFd::as_raw_fd).collect();
        Ok(Self { sockets, fds, ring, blocked: 0 })
    }

    /// One pass: all of `bytes` to every socket.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Result<(), String> {
        let result = if self.ring.is_some() { self.pass_by_ring(bytes) } else { self.pass_by_send(bytes) };
        result.map_err(|e| format!("sending failed: {e}"))
    }

    fn pass_by_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        for at in 0..self.sockets.len() {
            match send(&self.sockets[at], bytes) {
                Ok(n) if n == bytes.len() => {}
                Ok(n) => self.finish(at, &bytes[n..])?,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.finish(at, bytes)?,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn pass_by_ring(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut short = Vec::new();
        for first in (0..self.fds.len()).step_by(SLICE) {
            let slice = &self.fds[first..self.fds.len().min(first + SLICE)];
            let Some(ring) = &mut self.ring else { return Ok(()) };
            ring.send(slice, bytes, |at, result| short.push((first + at, result)))?;
            for (at, result) in std::mem::take(&mut short) {
                match usize::try_from(result) {
                    Ok(sent) if sent < bytes.len() => self.finish(at, &bytes[sent..])?,
                    Ok(_) => {}
                    Err(_) if -result == libc::EAGAIN => self.finish(at, bytes)?,
                    Err(_) => return Err(io::Error::from_raw_os_error(-result)),
                }
            }
        }
        Ok(())
    }

    /// The rest for a socket that was full.
    #[cold]
    fn finish(&mut self, at: usize, mut rest: &[u8]) -> io::Result<()> {
        self.blocked += 1;
        while !rest.is_empty() {
            if !wait_writable(self.fds[at], BLOCKED_AT_MOST) {
                return Err(io::Error::other("a receiver does not read"));
            }
            match send(&self.sockets[at], rest) {
                Ok(n) => rest = &rest[n..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

fn send(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    SockRef::from(socket).send_with_flags(bytes, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
}
