//! The plane of these tests: a queue of clients before the door, and what became of each socket. One that is closed twice,
//! watched while it is closed, or left open without a place fails the test that did it.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use fanfare::config::Config;
use fanfare::dataplane::{Closing, Event, Plane, Received, Token, Took, TurnedAway};
use fanfare::metrics::Blocks;
use fanfare::shard::Shard;
use fanfare_core::limits::TICK;
use fanfare_core::model::Tick;
use fanfare_core::websocket::handshake::HandshakeFailure;

pub(crate) const HEAD: &str = "GET /connect?join=news HTTP/1.1\r\nHost: push.example\r\nUpgrade: websocket\r\n\
                    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                    Sec-WebSocket-Version: 13\r\n\r\n";

/// go-push's PING as a client's frame, with the mask that changes nothing.
pub(crate) fn ping() -> Vec<u8> {
    let text = br#"{"type":"PING"}"#;
    [&[0x81, 0x80 | text.len() as u8, 0, 0, 0, 0], &text[..]].concat()
}

/// What a socket is watched for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Watch {
    #[default]
    Nothing,
    /// The rest of a head, reported once.
    Head(Token),
    /// A connection's frames.
    Frames(Token),
}

/// One client's socket.
#[derive(Default)]
pub(crate) struct Socket {
    pub(crate) inbound: VecDeque<u8>,
    pub(crate) has_ended: bool,
    pub(crate) sent: Vec<u8>,
    pub(crate) watch: Watch,
    pub(crate) is_finished: bool,
    pub(crate) is_closed: bool,
}

#[derive(Default)]
pub(crate) struct Porch {
    pub(crate) waiting: VecDeque<Result<RawFd, i32>>,
    pub(crate) sockets: BTreeMap<RawFd, Socket>,
    pub(crate) is_listener_watched: bool,
    pub(crate) has_stopped: bool,
    /// Where others accept from the same socket: whether one was taken, so that it is their turn.
    pub(crate) has_taken: Option<bool>,
    /// Descriptors for sockets; `None`: as many as are needed.
    pub(crate) descriptors: Option<usize>,
    /// There is one in reserve, by which clients can be turned away.
    pub(crate) has_reserve: bool,
    pub(crate) accepted: u64,
    pub(crate) closed: u64,
    /// Where clients connect from.
    pub(crate) peer: Option<SocketAddr>,
}

impl Porch {
    pub(crate) fn open(&mut self, fd: RawFd) -> &mut Socket {
        let socket = self.sockets.get_mut(&fd).expect("a socket that was accepted");
        assert!(!socket.is_closed, "{fd} is used after it was closed");
        socket
    }

    pub(crate) fn close_one(&mut self, fd: RawFd) {
        let socket = self.open(fd);
        assert_eq!(socket.watch, Watch::Nothing, "the poll of {fd} would hold its file");
        socket.is_closed = true;
        self.closed += 1;
    }

    fn are_descriptors_used_up(&self) -> bool {
        self.descriptors.is_some_and(|descriptors| self.accepted - self.closed >= descriptors as u64)
    }
}

impl Plane for Porch {
    fn watch_listener(&mut self) {
        assert!(!self.is_listener_watched, "the listener is watched twice");
        assert!(!self.has_stopped, "nobody listens any more");
        self.is_listener_watched = true;
    }
    fn accept(&mut self) -> io::Result<Option<(RawFd, SocketAddr)>> {
        let peer = self.peer.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 4000)));
        if self.are_descriptors_used_up() {
            // As Linux does, also when nobody waits.
            return Err(io::Error::from_raw_os_error(24)); // EMFILE
        }
        if self.has_taken == Some(true) {
            self.has_taken = Some(false);
            return Ok(None);
        }
        let takes = matches!(self.waiting.front(), Some(Ok(_)));
        self.has_taken = self.has_taken.map(|_| takes);
        match self.waiting.pop_front() {
            Some(Ok(fd)) => {
                self.accepted += 1;
                Ok(Some((fd, peer)))
            }
            Some(Err(code)) => Err(io::Error::from_raw_os_error(code)),
            None => Ok(None),
        }
    }
    fn turn_away(&mut self, _scratch: &mut [u8], response: &[u8]) -> io::Result<Option<TurnedAway>> {
        if !self.has_reserve {
            return Err(io::Error::from_raw_os_error(23)); // ENFILE
        }
        let Some(Ok(fd)) = self.waiting.pop_front() else { return Ok(None) };
        let socket = self.open(fd);
        let is_there = !socket.inbound.is_empty() || !socket.has_ended;
        if is_there {
            socket.inbound.clear();
            socket.sent.extend_from_slice(response);
            socket.is_finished = true;
        }
        socket.is_closed = true;
        Ok(Some(if is_there { TurnedAway::Told } else { TurnedAway::Gone }))
    }
    fn closed(&self) -> u64 {
        self.closed
    }
    fn waiting(&self) -> u32 {
        self.waiting.len() as u32
    }
    fn stop_listening(&mut self) {
        (self.is_listener_watched, self.has_stopped) = (false, true);
    }
    fn watch_handshake(&mut self, token: Token, fd: RawFd) {
        let known = std::mem::replace(&mut self.open(fd).watch, Watch::Head(token));
        assert_eq!(known, Watch::Nothing, "{fd} is watched twice");
    }
    fn dismiss(&mut self, watched: Option<Token>, fd: RawFd) {
        let known = std::mem::take(&mut self.open(fd).watch);
        assert_eq!(
            known,
            watched.map_or(Watch::Nothing, Watch::Head),
            "the poll that is removed is the one that is armed"
        );
        self.close_one(fd);
    }
    fn watch(&mut self, token: Token, fd: RawFd) {
        let known = std::mem::replace(&mut self.open(fd).watch, Watch::Frames(token));
        assert_eq!(known, Watch::Nothing, "{fd} is watched twice");
    }
    fn watch_writable(&mut self, _token: Token, _fd: RawFd) {}
    fn unwatch_writable(&mut self, _token: Token) {}
    fn send(&mut self, fd: RawFd, bytes: &[u8]) -> Took {
        self.open(fd).sent.extend_from_slice(bytes);
        Took::Bytes(bytes.len())
    }
    fn receive(&mut self, fd: RawFd, buffer: &mut [u8]) -> Received {
        let socket = self.open(fd);
        if socket.inbound.is_empty() {
            return if socket.has_ended { Received::End } else { Received::Empty };
        }
        let count = buffer.len().min(socket.inbound.len());
        buffer.iter_mut().zip(socket.inbound.drain(..count)).for_each(|(to, byte)| *to = byte);
        Received::Bytes(count)
    }
    fn finish(&mut self, fd: RawFd) {
        self.open(fd).is_finished = true;
    }
    fn close(&mut self, _token: Token, fd: RawFd, _how: Closing) {
        self.open(fd).watch = Watch::Nothing;
        self.close_one(fd);
    }
}

pub(crate) struct World {
    pub(crate) shard: Shard<Porch>,
    pub(crate) blocks: Arc<Blocks>,
    pub(crate) tick: u32,
    pub(crate) next_fd: RawFd,
}

impl World {
    pub(crate) fn new(configure: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        configure(&mut config);
        let blocks = Arc::new(Blocks::new(2));
        let mut shard = Shard::new(Porch::default(), 0, Arc::clone(&blocks), &config.clients, config.outbox);
        shard.open_door();
        Self { shard, blocks, tick: 0, next_fd: 10 }
    }

    /// Another shard accepts from the same socket, and has so many devices.
    pub(crate) fn beside(devices: u64) -> Self {
        let mut world = Self::new(|_| {});
        world.shard.share_door(vec![1]);
        world.shard.plane().has_taken = Some(false);
        world.blocks.shards[1].at_door.set(1);
        world.blocks.shards[1].connections[0].set(devices);
        world
    }

    /// So many connect one after the other, for as long as the shard is at the door.
    pub(crate) fn come_one_by_one(&mut self, devices: usize) {
        for _ in 0..devices {
            self.arrives(HEAD.as_bytes());
            self.knock();
        }
    }

    pub(crate) fn is_later(&mut self, now_us: u64) {
        self.shard.set_clock(now_us);
        self.shard.return_to_door();
        self.shard.turn();
    }

    /// A client connects, and says this at once.
    pub(crate) fn arrives(&mut self, bytes: &[u8]) -> RawFd {
        let fd = self.next_fd;
        self.next_fd += 1;
        let socket = Socket { inbound: bytes.iter().copied().collect(), ..Socket::default() };
        self.shard.plane().sockets.insert(fd, socket);
        self.shard.plane().waiting.push_back(Ok(fd));
        fd
    }

    /// A client connected and left without a word before it was accepted.
    pub(crate) fn arrives_and_leaves(&mut self) -> RawFd {
        let fd = self.arrives(b"");
        self.shard.plane().open(fd).has_ended = true;
        fd
    }

    /// A connection's client has said more.
    pub(crate) fn readable(&mut self, fd: RawFd) {
        let Watch::Frames(token) = self.shard.plane().open(fd).watch else {
            panic!("its frames are awaited")
        };
        self.shard.handle(Event::Readable(token));
    }

    /// A connection ends, as the kernel reports it.
    pub(crate) fn leaves(&mut self, fd: RawFd) {
        let socket = self.shard.plane().open(fd);
        socket.has_ended = true;
        let Watch::Frames(token) = socket.watch else { panic!("its frames are awaited") };
        self.shard.handle(Event::Ending(token));
    }

    /// Turns of the loop, for as long as the kernel reports somebody or the shard has something to do, and without a tick;
    /// how many.
    pub(crate) fn settles(&mut self) -> usize {
        for turn in 0..100_000 {
            let has_news = self.shard.plane().is_listener_watched && !self.shard.plane().waiting.is_empty();
            if !has_news && !self.shard.is_busy() {
                return turn;
            }
            self.shard.accept_again();
            self.knock();
            self.shard.turn();
        }
        panic!("the shard never comes to rest");
    }

    /// What the kernel would report of the listener.
    pub(crate) fn knock(&mut self) {
        let porch = self.shard.plane();
        if !porch.waiting.is_empty() && std::mem::take(&mut porch.is_listener_watched) {
            self.shard.handle(Event::Knock);
        }
    }

    /// A client whose head is awaited says more; the token under which that was reported.
    pub(crate) fn says(&mut self, fd: RawFd, bytes: &[u8]) -> Token {
        let socket = self.shard.plane().open(fd);
        socket.inbound.extend(bytes);
        let Watch::Head(token) = std::mem::take(&mut socket.watch) else { panic!("its head is awaited") };
        self.shard.handle(Event::Head(token));
        token
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        for _ in 0..time.as_millis() / TICK.as_millis() {
            self.tick += 1;
            self.shard.set_now(Tick(self.tick));
            self.shard.handle(Event::Tick);
            self.shard.turn();
        }
    }

    pub(crate) fn sent(&mut self, fd: RawFd) -> String {
        String::from_utf8_lossy(&self.shard.plane().sockets[&fd].sent).into_owned()
    }

    pub(crate) fn is_closed(&mut self, fd: RawFd) -> bool {
        self.shard.plane().sockets[&fd].is_closed
    }

    pub(crate) fn is_refused(&mut self, fd: RawFd, status: &str) -> bool {
        let is_finished = self.shard.plane().sockets[&fd].is_finished;
        self.sent(fd).starts_with(&format!("HTTP/1.1 {status} ")) && is_finished && self.is_closed(fd)
    }

    pub(crate) fn failures(&self, failure: HandshakeFailure) -> u64 {
        self.blocks.shards[0].handshakes_failed[failure as usize].get()
    }

    pub(crate) fn waiting(&self) -> u64 {
        self.blocks.shards[0].handshakes.get()
    }
}
