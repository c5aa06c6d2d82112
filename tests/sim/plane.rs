//! A kernel in memory: sockets with bounded send buffers, edge-triggered readiness, late news of closed sockets.
//!
//! It holds the shard to the contract of [`Plane`]: what it may never do with a file descriptor fails here, at the
//! call. *Not here*: what the bytes mean (`clients`), when clients read and write (`world`).

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;

use fanfare::dataplane::{Closing, Event, Plane, Received, Send, Short, Token, Took};

use crate::rng::Rng;

/// One end of a connection, as the shard's kernel has it.
#[derive(Default)]
pub(crate) struct Socket {
    pub(crate) client: usize,
    fd: RawFd,
    token: Option<Token>,
    is_watched: bool,
    /// News of it waits to be heard.
    is_reported: bool,
    /// A POLLOUT is armed, or has fired and was not delivered yet.
    pub(crate) awaits_room: bool,
    is_room_reported: bool,
    pub(crate) capacity: usize,
    /// Bytes taken from the shard that the client has not read.
    pub(crate) held: usize,
    /// Bytes taken from the shard since the world last looked.
    pub(crate) accepted: Vec<u8>,
    /// All bytes ever taken from the shard.
    pub(crate) accepted_total: u64,
    /// Sends that fell short since the world last looked: where they begin and end in the stream.
    pub(crate) shorts: Vec<(u64, u64)>,
    inbound: VecDeque<u8>,
    /// Bytes that the shard has received.
    pub(crate) received: u64,
    pub(crate) is_eof: bool,
    pub(crate) is_end_received: bool,
    pub(crate) is_reset: bool,
    /// A send met the reset.
    pub(crate) is_gone_reported: bool,
    pub(crate) is_finished: bool,
    last_slice: u64,
    is_touched: bool,
}

/// A socket that the shard has closed.
pub(crate) struct Closed {
    pub(crate) socket: Socket,
    pub(crate) how: Closing,
}

/// The kernel of one shard.
pub(crate) struct SimPlane {
    sockets: Vec<Option<Socket>>,
    free: BTreeSet<RawFd>,
    events: VecDeque<Event>,
    touched: Vec<RawFd>,
    closed: Vec<Closed>,
    rng: Rng,
    /// Sometimes it is short of memory.
    pub(crate) has_whims: bool,
    slices: u64,
    /// The longest send so far.
    pub(crate) send_bytes_max: usize,
}

impl SimPlane {
    pub(crate) fn new(rng: Rng) -> Self {
        Self {
            sockets: Vec::new(),
            free: BTreeSet::new(),
            events: VecDeque::new(),
            touched: Vec::new(),
            closed: Vec::new(),
            rng,
            has_whims: true,
            slices: 0,
            send_bytes_max: 0,
        }
    }

    /// A socket at the lowest free number, as Linux gives them.
    pub(crate) fn open(&mut self, client: usize, capacity: usize) -> RawFd {
        let fd = self.free.pop_first().unwrap_or_else(|| {
            self.sockets.push(None);
            RawFd::try_from(self.sockets.len() - 1).expect("few sockets")
        });
        self.sockets[fd.cast_unsigned() as usize] =
            Some(Socket { client, fd, capacity, ..Socket::default() });
        fd
    }

    pub(crate) fn socket(&mut self, fd: RawFd) -> Option<&mut Socket> {
        self.sockets.get_mut(fd.cast_unsigned() as usize)?.as_mut()
    }

    pub(crate) fn sockets(&self) -> impl Iterator<Item = &Socket> {
        self.sockets.iter().flatten()
    }

    /// Sockets that the shard used since the last call.
    pub(crate) fn take_touched(&mut self) -> Vec<RawFd> {
        let touched = std::mem::take(&mut self.touched);
        for &fd in &touched {
            if let Some(socket) = self.socket(fd) {
                socket.is_touched = false;
            }
        }
        touched
    }

    pub(crate) fn take_closed(&mut self) -> Vec<Closed> {
        std::mem::take(&mut self.closed)
    }

    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    pub(crate) fn next_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        if let Event::Readable(token) | Event::Ending(token) | Event::PollEnded(token) = event
            && let Some(socket) = self.sockets.iter_mut().flatten().find(|s| s.token == Some(token))
        {
            socket.is_reported = false;
        }
        if let Event::Writable(token) = event
            && let Some(socket) = self.sockets.iter_mut().flatten().find(|s| s.token == Some(token))
            && socket.is_room_reported
        {
            (socket.awaits_room, socket.is_room_reported) = (false, false);
            if !std::mem::replace(&mut socket.is_touched, true) {
                let fd = socket.fd;
                self.touched.push(fd);
            }
        }
        Some(event)
    }

    /// The client sends bytes.
    pub(crate) fn client_sends(&mut self, fd: RawFd, bytes: &[u8]) {
        let socket = self.live(fd);
        socket.inbound.extend(bytes);
        self.report_readable(fd);
    }

    /// The client sends nothing more.
    pub(crate) fn client_ends(&mut self, fd: RawFd) {
        self.live(fd).is_eof = true;
        self.report_readable(fd);
    }

    /// The client's host resets the connection.
    pub(crate) fn client_resets(&mut self, fd: RawFd) {
        let socket = self.live(fd);
        socket.is_reset = true;
        socket.inbound.clear();
        self.report_readable(fd);
        self.report_writable(fd);
    }

    /// The client reads up to so many bytes.
    pub(crate) fn client_reads(&mut self, fd: RawFd, bytes: usize) {
        let socket = self.live(fd);
        socket.held -= bytes.min(socket.held);
        self.report_writable(fd);
    }

    fn live(&mut self, fd: RawFd) -> &mut Socket {
        let socket = self.sockets.get_mut(fd.cast_unsigned() as usize).and_then(Option::as_mut);
        socket.unwrap_or_else(|| panic!("fd {fd} is used after it was closed"))
    }

    fn touch(&mut self, fd: RawFd) -> &mut Socket {
        if !std::mem::replace(&mut self.live(fd).is_touched, true) {
            self.touched.push(fd);
        }
        self.live(fd)
    }

    fn report_readable(&mut self, fd: RawFd) {
        let (ends, merges) = (self.rng.percent(3), self.rng.percent(50));
        let socket = self.live(fd);
        let Some(token) = socket.token.filter(|_| socket.is_watched) else { return };
        let is_last = socket.is_eof || socket.is_reset;
        let event = match is_last {
            _ if ends => Event::PollEnded(token),
            true => Event::Ending(token),
            false => Event::Readable(token),
        };
        socket.is_watched = !ends;
        let known = std::mem::replace(&mut socket.is_reported, true) && merges;
        // News of a socket whose news was not fetched yet becomes one with it, as in the kernel's poll.
        if let Some(waiting) = self.events.iter_mut().rfind(|waiting| known && is_news_of(**waiting, token)) {
            *waiting = event;
        } else {
            self.events.push_back(event);
        }
    }

    fn report_writable(&mut self, fd: RawFd) {
        let socket = self.live(fd);
        if socket.awaits_room && !socket.is_room_reported && socket.is_writable() {
            socket.is_room_reported = true;
            let token = socket.token.expect("a socket is watched before it awaits room");
            self.events.push_back(Event::Writable(token));
        }
    }

    fn transmit(&mut self, fd: RawFd, bytes: &[u8]) -> Took {
        let has_whim = self.has_whims && self.rng.below(64) == 0;
        let socket = self.touch(fd);
        assert!(!socket.is_finished, "bytes are sent behind FIN");
        assert!(!bytes.is_empty(), "a send without bytes");
        assert!(!socket.awaits_room, "a send overtakes what the connection owes");
        if socket.is_reset {
            socket.is_gone_reported = true;
            return Took::Gone;
        }
        let room = socket.capacity - socket.held;
        // Sometimes the kernel is short of memory rather than of room.
        let taken = if has_whim { bytes.len().min(room) / 2 } else { bytes.len().min(room) };
        if taken < bytes.len() {
            socket.shorts.push((socket.accepted_total, socket.accepted_total + bytes.len() as u64));
        }
        socket.held += taken;
        self.send_bytes_max = self.send_bytes_max.max(bytes.len());
        let socket = self.live(fd);
        socket.accepted.extend_from_slice(&bytes[..taken]);
        socket.accepted_total += taken as u64;
        Took::Bytes(taken)
    }
}

fn is_news_of(event: Event, token: Token) -> bool {
    matches!(event, Event::Readable(of) | Event::Ending(of) if of == token)
}

impl Socket {
    /// As Linux decides it: some share of the buffer is free again.
    fn is_writable(&self) -> bool {
        self.is_reset || self.held * 3 <= self.capacity * 2
    }

    /// What the shard may learn from a receive.
    fn has_news(&self) -> bool {
        !self.inbound.is_empty() || self.is_eof || self.is_reset
    }
}

impl Plane for SimPlane {
    fn watch_listener(&mut self) {}
    fn accept(&mut self) -> io::Result<Option<(RawFd, SocketAddr)>> {
        Ok(None)
    }
    fn stop_listening(&mut self) {}
    fn watch_handshake(&mut self, _token: Token, _fd: RawFd) {}
    fn dismiss(&mut self, _watched: Option<Token>, _fd: RawFd) {}
    fn watch(&mut self, token: Token, fd: RawFd) {
        let socket = self.touch(fd);
        assert!(socket.token.is_none_or(|known| known == token), "fd {fd} belongs to another token");
        assert!(!socket.is_watched, "fd {fd} is watched twice: closing would remove one poll of the two");
        socket.token = Some(token);
        socket.is_watched = true;
        if socket.has_news() {
            self.report_readable(fd);
        }
    }

    fn watch_writable(&mut self, token: Token, fd: RawFd) {
        let socket = self.touch(fd);
        assert_eq!(socket.token, Some(token), "fd {fd} belongs to another token");
        assert!(!socket.awaits_room, "fd {fd} awaits room twice: closing would remove one poll of the two");
        socket.awaits_room = true;
        self.report_writable(fd);
    }

    fn unwatch_writable(&mut self, token: Token) {
        let socket = self.sockets.iter_mut().flatten().find(|socket| socket.token == Some(token));
        let socket = socket.expect("a socket that is watched");
        assert!(socket.awaits_room, "a poll that is not armed is looked for in vain");
        (socket.awaits_room, socket.is_room_reported) = (false, false);
    }

    fn send_slice(&mut self, sends: &[Send<'_>], shorts: &mut Vec<Short>) {
        self.slices += 1;
        for send in sends {
            let slices = self.slices;
            let socket = self.live(send.fd);
            assert_eq!(socket.token, Some(send.token), "fd {} belongs to another token", send.fd);
            assert!(socket.last_slice < slices, "two sends for one connection in one slice");
            socket.last_slice = slices;
            let took = self.transmit(send.fd, send.bytes);
            if took != Took::Bytes(send.bytes.len()) {
                shorts.push(Short { token: send.token, took });
            }
        }
    }

    fn send(&mut self, fd: RawFd, bytes: &[u8]) -> Took {
        self.transmit(fd, bytes)
    }

    fn receive(&mut self, fd: RawFd, buffer: &mut [u8]) -> Received {
        let socket = self.touch(fd);
        if socket.is_reset {
            return Received::Gone;
        }
        let count = buffer.len().min(socket.inbound.len());
        if count == 0 {
            socket.is_end_received = socket.is_eof;
            return if socket.is_eof { Received::End } else { Received::Empty };
        }
        for (to, byte) in buffer.iter_mut().zip(socket.inbound.drain(..count)) {
            *to = byte;
        }
        socket.received += count as u64;
        Received::Bytes(count)
    }

    fn finish(&mut self, fd: RawFd) {
        self.touch(fd).is_finished = true;
    }

    fn close(&mut self, token: Token, fd: RawFd, how: Closing) {
        let socket = self.live(fd);
        assert_eq!(socket.token, Some(token), "fd {fd} belongs to another token");
        assert!(!socket.awaits_room, "the poll for room would hold the file of {fd}");
        let socket = self.sockets[fd.cast_unsigned() as usize].take().expect("it is live");
        self.closed.push(Closed { socket, how });
        self.free.insert(fd);
        let late =
            [Event::Readable(token), Event::Ending(token), Event::Writable(token), Event::PollEnded(token)];
        if self.rng.percent(40) {
            self.events.push_back(*self.rng.pick(&late));
        }
    }
}
