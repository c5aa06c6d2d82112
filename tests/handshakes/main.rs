//! From the listener to the table: who is let in, who waits, who is turned away, in virtual time and without a kernel.
//!
//! The plane of these tests has a queue of clients before the door and remembers what became of each socket: one that is
//! closed twice, watched while it is closed, or left open without a place fails the test that did it.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use fanfare::config::Config;
use fanfare::connection::Tick;
use fanfare::dataplane::{Closing, Event, Plane, Received, Token, Took};
use fanfare::downlink::Downlink;
use fanfare::limits::{
    ACCEPTS_PER_TURN, DOOR_AHEAD, DOOR_AHEAD_IN_CROWD, DOOR_CROWD, DOOR_FULL, DOOR_PAUSE, DRAIN_HANDSHAKES,
    TICK, UPGRADE_HEAD_BYTES_MAX,
};
use fanfare::metrics::{Blocks, HandshakeFailure};
use fanfare::shard::Shard;

const HEAD: &str = "GET /connect?join=news HTTP/1.1\r\nHost: push.example\r\nUpgrade: websocket\r\n\
                    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                    Sec-WebSocket-Version: 13\r\n\r\n";

/// go-push's PING as a client's frame, with the mask that changes nothing.
fn ping() -> Vec<u8> {
    let text = br#"{"type":"PING"}"#;
    [&[0x81, 0x80 | text.len() as u8, 0, 0, 0, 0], &text[..]].concat()
}

/// What a socket is watched for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Watch {
    #[default]
    Nothing,
    /// The rest of a head, reported once.
    Head(Token),
    /// A connection's frames.
    Frames,
}

/// One client's socket.
#[derive(Default)]
struct Socket {
    inbound: VecDeque<u8>,
    has_ended: bool,
    sent: Vec<u8>,
    watch: Watch,
    is_finished: bool,
    is_closed: bool,
}

#[derive(Default)]
struct Porch {
    waiting: VecDeque<Result<RawFd, i32>>,
    sockets: BTreeMap<RawFd, Socket>,
    is_listener_watched: bool,
    has_stopped: bool,
    /// Where others accept from the same socket: whether one was taken, so that it is their turn.
    has_taken: Option<bool>,
}

impl Porch {
    fn open(&mut self, fd: RawFd) -> &mut Socket {
        let socket = self.sockets.get_mut(&fd).expect("a socket that was accepted");
        assert!(!socket.is_closed, "{fd} is used after it was closed");
        socket
    }

    fn close_one(&mut self, fd: RawFd) {
        let socket = self.open(fd);
        assert_eq!(socket.watch, Watch::Nothing, "the poll of {fd} would hold its file");
        socket.is_closed = true;
    }
}

impl Plane for Porch {
    fn watch_listener(&mut self) {
        assert!(!self.is_listener_watched, "the listener is watched twice");
        assert!(!self.has_stopped, "nobody listens any more");
        self.is_listener_watched = true;
    }
    fn accept(&mut self) -> io::Result<Option<(RawFd, SocketAddr)>> {
        let peer = SocketAddr::from(([127, 0, 0, 1], 4000));
        if self.has_taken == Some(true) {
            self.has_taken = Some(false);
            return Ok(None);
        }
        let takes = matches!(self.waiting.front(), Some(Ok(_)));
        self.has_taken = self.has_taken.map(|_| takes);
        match self.waiting.pop_front() {
            Some(Ok(fd)) => Ok(Some((fd, peer))),
            Some(Err(code)) => Err(io::Error::from_raw_os_error(code)),
            None => Ok(None),
        }
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
    fn watch(&mut self, _token: Token, fd: RawFd) {
        let known = std::mem::replace(&mut self.open(fd).watch, Watch::Frames);
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

struct World {
    shard: Shard<Porch>,
    blocks: Arc<Blocks>,
    tick: u32,
    next_fd: RawFd,
}

impl World {
    fn new(configure: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        configure(&mut config);
        let blocks = Arc::new(Blocks::new(2));
        let mut shard = Shard::new(Porch::default(), 0, Arc::clone(&blocks), &config.clients, config.outbox);
        shard.open_door();
        Self { shard, blocks, tick: 0, next_fd: 10 }
    }

    /// Another shard accepts from the same socket, and has so many devices.
    fn beside(devices: u64) -> Self {
        let mut world = Self::new(|_| {});
        world.shard.share_door(vec![1]);
        world.shard.plane().has_taken = Some(false);
        world.blocks.shards[1].at_door.set(1);
        world.blocks.shards[1].connections[0].set(devices);
        world
    }

    /// So many connect one after the other, for as long as the shard is at the door.
    fn come_one_by_one(&mut self, devices: usize) {
        for _ in 0..devices {
            self.arrives(HEAD.as_bytes());
            self.knock();
        }
    }

    fn is_later(&mut self, now_us: u64) {
        self.shard.set_clock(now_us);
        self.shard.return_to_door();
        self.shard.turn();
    }

    /// A client connects, and says this at once.
    fn arrives(&mut self, bytes: &[u8]) -> RawFd {
        let fd = self.next_fd;
        self.next_fd += 1;
        let socket = Socket { inbound: bytes.iter().copied().collect(), ..Socket::default() };
        self.shard.plane().sockets.insert(fd, socket);
        self.shard.plane().waiting.push_back(Ok(fd));
        fd
    }

    /// What the kernel would report of the listener.
    fn knock(&mut self) {
        let porch = self.shard.plane();
        if !porch.waiting.is_empty() && std::mem::take(&mut porch.is_listener_watched) {
            self.shard.handle(Event::Knock);
        }
    }

    /// A client whose head is awaited says more; the token under which that was reported.
    fn says(&mut self, fd: RawFd, bytes: &[u8]) -> Token {
        let socket = self.shard.plane().open(fd);
        socket.inbound.extend(bytes);
        let Watch::Head(token) = std::mem::take(&mut socket.watch) else { panic!("its head is awaited") };
        self.shard.handle(Event::Head(token));
        token
    }

    fn pass(&mut self, time: Duration) {
        for _ in 0..time.as_millis() / TICK.as_millis() {
            self.tick += 1;
            self.shard.set_now(Tick(self.tick));
            self.shard.handle(Event::Tick);
            self.shard.turn();
        }
    }

    fn sent(&mut self, fd: RawFd) -> String {
        String::from_utf8_lossy(&self.shard.plane().sockets[&fd].sent).into_owned()
    }

    fn is_closed(&mut self, fd: RawFd) -> bool {
        self.shard.plane().sockets[&fd].is_closed
    }

    fn is_refused(&mut self, fd: RawFd, status: &str) -> bool {
        let is_finished = self.shard.plane().sockets[&fd].is_finished;
        self.sent(fd).starts_with(&format!("HTTP/1.1 {status} ")) && is_finished && self.is_closed(fd)
    }

    fn failures(&self, failure: HandshakeFailure) -> u64 {
        self.blocks.shards[0].handshakes_failed[failure as usize].get()
    }

    fn waiting(&self) -> u64 {
        self.blocks.shards[0].handshakes.get()
    }
}

#[test]
fn a_head_that_is_there_makes_a_connection_at_once() {
    let mut world = World::new(|_| {});
    let fd = world.arrives(HEAD.as_bytes());
    world.knock();
    assert!(world.sent(fd).starts_with("HTTP/1.1 101 "));
    assert_eq!((world.shard.connections(), world.waiting()), (1, 0));
    assert_eq!(world.shard.plane().open(fd).watch, Watch::Frames, "they are reported");
    assert!(world.shard.plane().is_listener_watched, "the next one is reported too");
    let block = &world.blocks.shards[0];
    assert_eq!((block.accepted.get(), block.upgraded.get()), (1, 1));
}

#[test]
fn a_head_in_pieces_is_the_same_connection_and_no_byte_behind_it_is_lost() {
    for piece in [1, 7, 100] {
        let mut world = World::new(|_| {});
        let bytes = [HEAD.as_bytes(), &ping()].concat();
        let cut = HEAD.len() - 1;
        let fd = world.arrives(&bytes[..piece]);
        world.knock();
        for said in bytes[piece..cut].chunks(piece) {
            world.says(fd, said);
            assert_eq!((world.shard.connections(), world.waiting()), (0, 1));
        }
        world.says(fd, &bytes[cut..]);
        assert_eq!((world.shard.connections(), world.waiting()), (1, 0));
        assert!(
            world.sent(fd).ends_with(r#"{"type":"PONG","data":{}}"#),
            "the frame behind the head was read"
        );
    }
}

#[test]
fn who_does_not_finish_its_head_is_told_408_at_the_deadline_and_not_before() {
    let deadline = Duration::from_secs(2);
    let mut world = World::new(|config| config.clients.upgrade_deadline = deadline);
    world.pass(Duration::from_secs(5));
    let (silent, halfway) = (world.arrives(b""), world.arrives(&HEAD.as_bytes()[..40]));
    world.knock();
    world.pass(deadline);
    assert!(!world.is_closed(silent) && !world.is_closed(halfway), "they have all of it");
    world.pass(TICK);
    assert!(world.is_refused(silent, "408") && world.is_refused(halfway, "408"));
    assert_eq!((world.failures(HandshakeFailure::Timeout), world.waiting()), (2, 0));
}

#[test]
fn a_crowd_that_is_late_is_turned_away_over_several_turns() {
    let (crowd, deadline) = (5 * ACCEPTS_PER_TURN, Duration::from_secs(2));
    let mut world = World::new(|config| {
        config.clients.upgrade_deadline = deadline;
        config.clients.handshakes_max = crowd;
    });
    (0..crowd).for_each(|_| _ = world.arrives(b"GET /"));
    (0..5).for_each(|_| world.knock());
    assert_eq!(world.waiting(), crowd as u64);
    world.pass(deadline + TICK);
    let of_first_turn = world.failures(HandshakeFailure::Timeout);
    assert!(0 < of_first_turn && of_first_turn < crowd as u64, "one turn told {of_first_turn} of {crowd}");
    assert!(world.shard.is_busy(), "the others need no event to be told");
    (0..5).for_each(|_| world.shard.turn());
    assert_eq!((world.failures(HandshakeFailure::Timeout), world.waiting()), (crowd as u64, 0));
    assert!(!world.shard.is_busy());
}

#[test]
fn more_who_wait_than_the_bound_are_told_503_and_whoever_does_not_wait_is_served() {
    let mut world = World::new(|config| config.clients.handshakes_max = 2);
    let guests: Vec<_> = (0..3).map(|_| world.arrives(b"GET /")).collect();
    let whole = world.arrives(HEAD.as_bytes());
    world.knock();
    assert!(world.is_refused(guests[2], "503"), "there is no place for a third");
    assert_eq!((world.failures(HandshakeFailure::Overload), world.waiting()), (1, 2));
    assert!(world.sent(whole).starts_with("HTTP/1.1 101 "));
    world.says(guests[0], &HEAD.as_bytes()[5..]);
    assert_eq!((world.shard.connections(), world.waiting()), (2, 1));
}

#[test]
fn whoever_leaves_or_talks_nonsense_leaves_nothing_behind() {
    let mut world = World::new(|_| {});
    let (gone, bad, long) =
        (world.arrives(b"GET /con"), world.arrives(b"\x16\x03\x01"), world.arrives(b"GET /"));
    world.knock();
    assert!(world.is_refused(bad, "400"));
    world.shard.plane().open(gone).has_ended = true;
    world.says(gone, b"");
    assert!(world.is_closed(gone) && world.sent(gone).is_empty());
    world.says(long, &vec![b'x'; UPGRADE_HEAD_BYTES_MAX]);
    assert!(world.is_refused(long, "431"));
    assert_eq!(
        (world.failures(HandshakeFailure::Gone), world.shard.connections(), world.waiting()),
        (1, 0, 0)
    );
}

#[test]
fn late_news_of_one_who_has_left_is_nobody_elses() {
    let mut world = World::new(|_| {});
    let first = world.arrives(b"GET /");
    world.knock();
    let token = world.says(first, &HEAD.as_bytes()[5..]);
    let second = world.arrives(b"GET /");
    world.knock();
    let Watch::Head(other) = world.shard.plane().open(second).watch else { panic!("its head is awaited") };
    assert_eq!(other.index, token.index, "the same place");
    world.shard.handle(Event::Head(token));
    assert!(!world.is_closed(second) && world.waiting() == 1);
    world.says(second, &HEAD.as_bytes()[5..]);
    assert_eq!(world.shard.connections(), 2);
}

#[test]
fn a_crowd_is_taken_in_turns() {
    let mut world = World::new(|_| {});
    let crowd = 3 * ACCEPTS_PER_TURN;
    for _ in 0..crowd {
        world.arrives(HEAD.as_bytes());
    }
    for turn in 1..=3 {
        world.knock();
        assert_eq!(world.shard.connections(), turn * ACCEPTS_PER_TURN);
    }
    assert!(world.shard.plane().is_listener_watched);
}

#[test]
fn an_accept_that_fails_is_tried_again_at_the_next_tick() {
    let mut world = World::new(|_| {});
    world.shard.plane().waiting.push_back(Err(24)); // EMFILE
    world.arrives(HEAD.as_bytes());
    world.knock();
    assert!(
        !world.shard.plane().is_listener_watched,
        "the listener would be reported at once, again and again"
    );
    assert_eq!(world.blocks.shards[0].accept_errors.get(), 1);
    world.pass(TICK);
    world.knock();
    assert_eq!(world.shard.connections(), 1);
}

#[test]
fn who_waits_is_taken_in_without_a_report_and_watched_once_all_the_same() {
    let mut world = World::new(|_| {});
    world.arrives(HEAD.as_bytes());
    world.shard.look_outside();
    assert_eq!(world.shard.connections(), 1, "the report is behind those of a crowd that leaves");
    world.shard.plane().is_listener_watched = false;
    world.shard.handle(Event::Knock);
    assert!(world.shard.plane().is_listener_watched, "the late report finds nobody, and is armed again");
    world.shard.plane().waiting.push_back(Err(24));
    world.arrives(HEAD.as_bytes());
    world.shard.look_outside();
    world.shard.look_outside();
    assert_eq!(world.blocks.shards[0].accept_errors.get(), 1, "it is not tried again before the next tick");
    world.pass(TICK);
    world.shard.look_outside();
    assert_eq!(world.shard.connections(), 2);
}

#[test]
fn a_drain_accepts_nobody_and_gives_those_who_wait_a_moment() {
    let mut world = World::new(|_| {});
    let (quick, late, mute) = (world.arrives(b"GET /"), world.arrives(b"GET /"), world.arrives(b"GET /"));
    world.knock();
    world.shard.take(Downlink::Drain(Duration::from_millis(500)));
    assert!(world.shard.plane().has_stopped);
    assert!(!world.shard.is_drained(), "three may still come");
    world.says(quick, &HEAD.as_bytes()[5..]);
    assert!(world.sent(quick).starts_with("HTTP/1.1 101 "));
    world.pass(DRAIN_HANDSHAKES);
    assert!(world.sent(quick).contains("the gateway is shutting down"));
    world.says(late, &HEAD.as_bytes()[5..]);
    assert!(world.is_refused(late, "503"));
    world.pass(Duration::from_secs(2));
    assert!(world.shard.is_drained());
    world.shard.abort();
    assert!(world.is_refused(mute, "503") && world.is_closed(quick));
    assert_eq!((world.shard.connections(), world.waiting()), (0, 0));
}

#[test]
fn a_shard_that_is_ahead_leaves_the_door_to_the_other_for_a_moment() {
    let mut world = World::beside(0);
    let ahead = DOOR_AHEAD.1 as usize;
    world.come_one_by_one(ahead);
    assert!(world.shard.plane().is_listener_watched, "so many may come in any order");
    world.come_one_by_one(1);
    assert!(!world.shard.plane().is_listener_watched);
    assert_eq!((world.shard.connections(), world.blocks.shards[0].at_door.get()), (ahead + 1, 0));
    let pause_us = DOOR_PAUSE.as_micros() as u64;
    assert_eq!(world.shard.turn_in_us(), Some(pause_us));
    world.is_later(pause_us - 1);
    assert!(!world.shard.plane().is_listener_watched);
    world.is_later(pause_us);
    assert!(world.shard.plane().is_listener_watched && world.blocks.shards[0].at_door.get() == 1);
    assert_eq!(world.shard.turn_in_us(), None);
}

#[test]
fn a_shard_stays_at_the_door_where_the_other_is_not_or_has_as_many() {
    let mut world = World::beside(0);
    world.blocks.shards[1].at_door.set(0);
    world.come_one_by_one(100);
    assert!(world.shard.plane().is_listener_watched && world.shard.connections() == 100);
    let mut world = World::beside(100);
    world.come_one_by_one(100);
    assert!(world.shard.plane().is_listener_watched && world.shard.connections() == 100);
}

/// How many are taken, one by one, until the shard leaves the door to the other, with so many waiting throughout; `None`: it
/// never does.
fn taken_with(waiting: u32) -> Option<u64> {
    let mut world = World::beside(0);
    (0..waiting).for_each(|_| _ = world.arrives(HEAD.as_bytes()));
    for taken in 1..=3_000 {
        world.come_one_by_one(1);
        if !world.shard.plane().is_listener_watched {
            return Some(taken);
        }
    }
    None
}

#[test]
fn the_more_wait_the_further_ahead_a_shard_may_get() {
    assert_eq!([0, DOOR_CROWD - 1].map(taken_with), [Some(DOOR_AHEAD.1 + 1); 2]);
    assert_eq!([DOOR_CROWD, DOOR_FULL - 1].map(taken_with), [Some(DOOR_AHEAD_IN_CROWD.1 + 1); 2]);
    assert_eq!(taken_with(DOOR_FULL), None);
}

#[test]
fn who_waits_is_not_left_to_a_shard_that_does_not_come() {
    let mut world = World::beside(0);
    (0..10).for_each(|_| _ = world.arrives(HEAD.as_bytes()));
    world.come_one_by_one(DOOR_AHEAD.1 as usize + 1);
    assert!(!world.shard.plane().is_listener_watched);
    world.is_later(1_000);
    world.come_one_by_one(20);
    assert!(world.shard.plane().is_listener_watched, "the other has taken nobody");
    world.blocks.shards[1].accepted.add(1);
    world.come_one_by_one(1);
    assert!(!world.shard.plane().is_listener_watched);
}

#[test]
fn who_was_announced_to_a_shard_that_cannot_accept_is_found_at_the_next_tick() {
    let mut world = World::beside(0);
    world.arrives(HEAD.as_bytes());
    world.pass(TICK);
    assert_eq!(world.shard.connections(), 1);
    let mut alone = World::new(|_| {});
    alone.arrives(HEAD.as_bytes());
    alone.pass(TICK);
    assert_eq!(alone.shard.connections(), 0, "it will be told");
}

#[test]
fn a_tick_and_a_drain_end_the_pause() {
    for drains in [false, true] {
        let mut world = World::beside(0);
        world.come_one_by_one(DOOR_AHEAD.1 as usize + 1);
        if drains {
            world.shard.take(Downlink::Drain(Duration::from_millis(500)));
        } else {
            world.pass(TICK);
        }
        assert_eq!(world.shard.plane().is_listener_watched, !drains);
        world.is_later(2_000);
        assert_eq!(world.shard.plane().is_listener_watched, !drains);
        assert_eq!(world.shard.turn_in_us(), None);
    }
}
