//! What a shard needs of the kernel, and what the kernel reports.
//!
//! *Not here*: the real one (`uring`).

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::RawFd;

use fanfare_core::delivery::Send;
use fanfare_core::session::Token;

/// What the kernel reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Bytes, the end of the stream or an error can be received.
    Readable(Token),
    /// The same, and the peer's end of the stream is behind the bytes, or an error: nothing more will be reported, so
    /// receive until that is seen.
    Ending(Token),
    /// The connection's multishot poll ended by itself; it has to be armed again, and the socket looked at.
    PollEnded(Token),
    /// The socket takes bytes again.
    Writable(Token),
    /// Somebody waits at the listener.
    Knock,
    /// A socket that was watched for the head of its request has bytes, or its end.
    Head(Token),
    /// [`fanfare_core::limits::TICK`] passed.
    Tick,
}

/// What became of a send that was not taken whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Took {
    /// The kernel took this many bytes, from none to all of them.
    Bytes(usize),
    /// The connection is gone.
    Gone,
}

/// A send of a slice that fell short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short {
    /// Whose.
    pub token: Token,
    /// How far it came.
    pub took: Took,
}

/// What a receive returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// That many bytes; more may wait only if the buffer is full.
    Bytes(usize),
    /// Nothing now.
    Empty,
    /// The peer sends no more.
    End,
    /// The connection is gone.
    Gone,
}

/// What became of a connection that was accepted to be told that there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnedAway {
    /// It was told.
    Told,
    /// Its client had left.
    Gone,
}

/// How a socket is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// What the kernel holds is still sent.
    Orderly,
    /// The peer is reset and the kernel's memory is free at once.
    Reset,
}

/// A listening socket, by how it ends.
#[derive(Debug)]
pub enum Listener {
    /// The shard's own: it is shut down, so that nobody waits in a queue that dies with the process.
    Own(TcpListener),
    /// The service manager's: it stays as it is, and who comes now waits in it for the next process.
    Inherited(TcpListener),
}

impl Listener {
    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket().local_addr()
    }

    pub(super) fn socket(&self) -> &TcpListener {
        let (Self::Own(socket) | Self::Inherited(socket)) = self;
        socket
    }
}

/// What a shard needs of the kernel.
pub trait Plane {
    /// Reports once when somebody waits at the listener.
    fn watch_listener(&mut self);

    /// Takes who waits there first; `None`: nobody does, it is the turn of others who share the listener, or there is none
    /// any more.
    fn accept(&mut self) -> io::Result<Option<(RawFd, SocketAddr)>>;

    /// Accepts who waits there first by means of a descriptor held in reserve, reads what it has sent, answers `response`
    /// and closes. `None`: nobody waits.
    fn turn_away(&mut self, scratch: &mut [u8], response: &[u8]) -> io::Result<Option<TurnedAway>> {
        let _ = (scratch, response);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Sockets closed so far. When this has grown, descriptors are free that were not.
    fn closed(&self) -> u64 {
        0
    }

    /// Descriptors that the shard may have open.
    fn descriptors_max(&self) -> u64 {
        0
    }

    /// How many wait at the listener; 0 where there is none.
    fn waiting(&self) -> u32 {
        0
    }

    /// Ends listening.
    fn stop_listening(&mut self);

    /// Reports once when a socket that is nobody's connection yet has bytes, or its end. The token is of a numbering of its
    /// own.
    fn watch_handshake(&mut self, token: Token, fd: RawFd);

    /// Closes such a socket. `watched`: under which token, unless that was reported.
    fn dismiss(&mut self, watched: Option<Token>, fd: RawFd);

    /// Reports readiness of this socket until it is closed.
    fn watch(&mut self, token: Token, fd: RawFd);

    /// Reports once when this socket takes bytes again.
    fn watch_writable(&mut self, token: Token, fd: RawFd);

    /// Takes [`Plane::watch_writable`] back, whose report has not been handled; before the socket is closed.
    fn unwatch_writable(&mut self, token: Token);

    /// Sends each of the slice, at most one per connection; those that fell short are appended to `shorts`, in the order of
    /// the sends.
    fn send_slice(&mut self, sends: &[Send<'_>], shorts: &mut Vec<Short>) {
        for send in sends {
            match self.send(send.fd, send.bytes) {
                Took::Bytes(count) if count == send.bytes.len() => {}
                took => shorts.push(Short { token: send.token, took }),
            }
        }
    }

    /// Sends as much as the socket takes now, without waiting.
    fn send(&mut self, fd: RawFd, bytes: &[u8]) -> Took;

    /// Receives what waits, up to the buffer's length.
    fn receive(&mut self, fd: RawFd, buffer: &mut [u8]) -> Received;

    /// The other end of a socket's connection, for the log; `None` where it is gone already.
    fn peer(&self, _fd: RawFd) -> Option<SocketAddr> {
        None
    }

    /// Sends FIN once everything before it is sent.
    fn finish(&mut self, fd: RawFd);

    /// Ends [`Plane::watch`] and closes.
    fn close(&mut self, token: Token, fd: RawFd, how: Closing);
}
