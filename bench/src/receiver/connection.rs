//! One device: a socket and where it is in its life.
//!
//! `Connecting ─► Upgrading ─► Open ─► Gone`; without an upgrade request `Connecting ─► Open`.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Instant;

use socket2::{Domain, Protocol, Socket, Type};

use super::plan::Plan;
use crate::sys;
use crate::verify::{Stream, client_frame, opcode};

/// The key of RFC 6455 section 1.3 and its answer: any server must turn one into the other.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// An upgrade response is a few hundred bytes.
const RESPONSE_BYTES_MAX: usize = 16 * 1024;
/// The receive buffer of a trickling device; the kernel doubles it, and takes no less than 2,304.
const TRICKLE_BUFFER_BYTES: usize = 4096;
/// Connections from one source address: a seventh of the default range of local ports (28,232). The kernel looks for a
/// free one port after port, the even ones first; with 20,000 in use and those of the run before in `TIME_WAIT` it looked
/// at ten thousand, and a server could not get more than 1,500 connections a second.
const CONNECTIONS_PER_SOURCE: usize = 4_000;

/// What a connection is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Reads to the end.
    Stays,
    /// Leaves and rejoins.
    Churns,
    /// Joins and reads nothing until the end.
    Stalls,
    /// Joins and reads a few bytes at a time.
    Trickles,
    /// Joins and hears nothing any more.
    Vanishes,
}

impl Role {
    /// Held to every message.
    pub(super) fn reads(self) -> bool {
        matches!(self, Self::Stays | Self::Churns)
    }

    /// Which of the slow kinds it is.
    pub(super) fn slow(self) -> Option<usize> {
        match self {
            Self::Stays | Self::Churns => None,
            Self::Stalls => Some(0),
            Self::Trickles => Some(1),
            Self::Vanishes => Some(2),
        }
    }
}

/// Where a connection is in its life.
#[derive(Debug)]
pub(super) enum State {
    /// Not connected: not yet, or no longer.
    Gone,
    /// The SYN is out.
    Connecting(TcpStream, Instant),
    /// The request is out; what has come of the response.
    Upgrading(TcpStream, Box<Upgrade>),
    /// Messages may come.
    Open(TcpStream),
}

/// An upgrade under way.
#[derive(Debug)]
pub(super) struct Upgrade {
    /// When the SYN went out.
    pub(super) since: Instant,
    /// What has come of the response.
    pub(super) head: Vec<u8>,
    /// Whether room to write is reported, which matters only until the request is out.
    pub(super) watches_room: bool,
}

/// One device.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) role: Role,
    pub(super) state: State,
    pub(super) stream: Stream,
}

impl Connection {
    /// The socket, while there is one.
    pub(super) fn socket(&self) -> Option<&TcpStream> {
        match &self.state {
            State::Gone => None,
            State::Connecting(socket, _) | State::Upgrading(socket, _) | State::Open(socket) => Some(socket),
        }
    }

    /// Its descriptor.
    pub(super) fn fd(&self) -> Option<RawFd> {
        self.socket().map(AsRawFd::as_raw_fd)
    }

    /// Sends a small frame. Such a frame fits any socket buffer whose peer reads; one that takes only a part of it
    /// would corrupt the stream, so that is an error.
    pub(super) fn send(&self, frame: &[u8]) -> io::Result<()> {
        let Some(mut socket) = self.socket() else { return Ok(()) };
        match socket.write(frame)? {
            n if n == frame.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    /// Says goodbye and closes the socket.
    pub(super) fn leave(&mut self) {
        if matches!(self.state, State::Open(_)) {
            let _ = self.send(&client_frame(opcode::CLOSE, &1000_u16.to_be_bytes()));
        }
        self.state = State::Gone;
    }
}

/// Begins to connect. `index` counts all connections of the run and chooses the source address.
pub(crate) fn connect(plan: &Plan, index: usize, role: Role) -> io::Result<TcpStream> {
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(plan.target), kind, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    if let Some(name) = &plan.congestion {
        socket.set_tcp_congestion(name.as_bytes())?;
    }
    if role == Role::Trickles {
        socket.set_recv_buffer_size(TRICKLE_BUFFER_BYTES)?;
    }
    let source = index / CONNECTIONS_PER_SOURCE;
    if source > 0 && plan.target.ip().is_loopback() && plan.target.is_ipv4() {
        sys::socket::bind_address_no_port(socket.as_raw_fd())?;
        let address = Ipv4Addr::new(127, 0, (source / 250) as u8, (1 + source % 250) as u8);
        socket.bind(&SocketAddr::new(IpAddr::V4(address), 0).into())?;
    }
    match socket.connect(&plan.target.into()) {
        Err(e) if e.raw_os_error() != Some(libc::EINPROGRESS) => Err(e),
        _ => Ok(socket.into()),
    }
}

/// Whether a connect has succeeded; false: not yet. For sockets without a request, whose sending would tell.
pub(super) fn stands(socket: &TcpStream) -> io::Result<bool> {
    match socket.take_error()? {
        Some(error) => Err(error),
        None => Ok(socket.peer_addr().is_ok()),
    }
}

/// Sends the upgrade request; false: the connect has not succeeded yet.
pub(crate) fn ask(mut socket: &TcpStream, request: &[u8]) -> io::Result<bool> {
    match socket.write(request) {
        Ok(n) if n == request.len() => Ok(true),
        Ok(_) => Err(io::ErrorKind::WriteZero.into()),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(e) => Err(e),
    }
}

/// The upgrade request for a path (RFC 6455 section 4.1).
pub(crate) fn upgrade_request(host: &str, path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    .into_bytes()
}

/// A response that is complete and right.
pub(crate) struct Answered {
    /// What came behind it.
    pub(crate) tail: Vec<u8>,
    /// Whether the socket was empty then; what comes later is reported.
    pub(crate) is_drained: bool,
}

/// Reads the upgrade's response; `Ok(None)` when more must come.
pub(crate) fn read_response(mut socket: &TcpStream, head: &mut Vec<u8>) -> Result<Option<Answered>, String> {
    let mut buffer = [0; 4096];
    loop {
        let is_drained = match socket.read(&mut buffer) {
            Ok(0) => return Err("the server closed the connection instead of upgrading it".into()),
            Ok(n) => {
                head.extend_from_slice(&buffer[..n]);
                n < buffer.len()
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(e) => return Err(format!("the upgrade failed: {e}")),
        };
        if let Some(answered) = check_upgrade(head) {
            return answered.map(|tail| Some(Answered { tail, is_drained }));
        }
    }
}

/// Judges the upgrade's response as far as it has come: the bytes behind it when it is complete and right.
pub(crate) fn check_upgrade(head: &mut Vec<u8>) -> Option<Result<Vec<u8>, String>> {
    if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
        let tail = head.split_off(end + 4);
        return Some(check_response(&String::from_utf8_lossy(head)).map(|()| tail));
    }
    let hopeless = head.len() > RESPONSE_BYTES_MAX;
    hopeless.then(|| Err("the server's answer to the upgrade is no HTTP response".into()))
}

fn check_response(head: &str) -> Result<(), String> {
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("101") {
        return Err(format!("the server answered the upgrade with: {status}"));
    }
    let accept = lines
        .filter_map(|line| line.split_once(':'))
        .find_map(|(name, value)| name.eq_ignore_ascii_case("sec-websocket-accept").then_some(value.trim()));
    if accept == Some(ACCEPT) {
        return Ok(());
    }
    Err("the server's Sec-WebSocket-Accept is wrong".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_101_with_the_right_accept_is_an_upgrade() {
        let right = format!("HTTP/1.1 101 Switching Protocols\r\nsec-websocket-ACCEPT: {ACCEPT}\r\n\r\n");
        assert_eq!(check_response(&right), Ok(()));
        assert!(check_response(&right.replace("s3pP", "s3pQ")).unwrap_err().contains("Accept"));
        assert!(check_response("HTTP/1.1 503 Busy\r\n\r\n").unwrap_err().contains("503 Busy"));
    }
}
