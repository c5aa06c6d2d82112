//! Who is idle: a connection without business messages for `clients.idle_after_s`, in virtual time and without a kernel.

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use fanfare::config::Config;
use fanfare::dataplane::{Closing, Event, Plane, Received, Token, Took};
use fanfare::downlink::Downlink;
use fanfare::metrics::Blocks;
use fanfare::shard::{Arrival, Shard};
use fanfare_core::limits::{SWEEP_TICKS, TICK};
use fanfare_core::model::{
    Address, Batch, CloseReason, Epoch, FormatId, Message, Offset, PayloadKind, Tick, Topic,
};

/// In seconds and in ticks.
const IDLE_AFTER_S: u64 = 10;
const IDLE_AFTER: u32 = (IDLE_AFTER_S * 1000) as u32 / TICK.as_millis() as u32;

/// What a client says next, for the one connection of a test; takes every byte.
#[derive(Default)]
struct Paper {
    said: Vec<u8>,
    sent: Vec<u8>,
}

impl Plane for Paper {
    fn watch_listener(&mut self) {}
    fn accept(&mut self) -> io::Result<Option<(RawFd, SocketAddr)>> {
        Ok(None)
    }
    fn stop_listening(&mut self) {}
    fn watch_handshake(&mut self, _token: Token, _fd: RawFd) {}
    fn dismiss(&mut self, _watched: Option<Token>, _fd: RawFd) {}
    fn watch(&mut self, _token: Token, _fd: RawFd) {}
    fn watch_writable(&mut self, _token: Token, _fd: RawFd) {}
    fn unwatch_writable(&mut self, _token: Token) {}
    fn send(&mut self, _fd: RawFd, bytes: &[u8]) -> Took {
        self.sent.extend_from_slice(bytes);
        Took::Bytes(bytes.len())
    }
    fn receive(&mut self, _fd: RawFd, buffer: &mut [u8]) -> Received {
        let said = std::mem::take(&mut self.said);
        buffer[..said.len()].copy_from_slice(&said);
        if said.is_empty() { Received::Empty } else { Received::Bytes(said.len()) }
    }
    fn finish(&mut self, _fd: RawFd) {}
    fn close(&mut self, _token: Token, _fd: RawFd, _how: Closing) {}
}

/// A shard with one connection in topic `mine`, and its clock.
struct World {
    shard: Shard<Paper>,
    blocks: Arc<Blocks>,
    tick: u32,
    offset: u64,
}

const DEVICE: Token = Token { index: 0, generation: 1 };

impl World {
    fn new(idle_after: Option<Duration>) -> Self {
        let mut config = Config::default();
        config.clients.idle_after = idle_after;
        config.clients.liveness = Duration::from_secs(86_400);
        let blocks = Arc::new(Blocks::new(1));
        let shard = Shard::new(Paper::default(), 0, Arc::clone(&blocks), &config.clients, config.outbox);
        let mut world = Self { shard, blocks, tick: 0, offset: 0 };
        world.shard.admit(Arrival {
            fd: 7,
            peer: None,
            format: FormatId::GO_PUSH_V1,
            topics: vec![topic("mine")],
            response: Vec::new(),
            tail: Vec::new(),
        });
        world
    }

    fn watched() -> Self {
        Self::new(Some(Duration::from_secs(IDLE_AFTER_S)))
    }

    fn pass(&mut self, ticks: u32) {
        for _ in 0..ticks {
            self.tick += 1;
            self.shard.set_now(Tick(self.tick));
            self.shard.handle(Event::Tick);
            self.shard.turn();
        }
    }

    fn says(&mut self, opcode: u8, payload: &[u8]) {
        let mut frame = vec![0x80 | opcode, 0x80 | payload.len() as u8, 0, 0, 0, 0];
        frame.extend_from_slice(payload);
        self.shard.plane().said = frame;
        self.shard.handle(Event::Readable(DEVICE));
    }

    fn publish(&mut self, address: Address) {
        let message = Message { payload: "{}".into(), kind: PayloadKind::Json };
        let batch = Batch::new(address, Epoch(1), Offset(self.offset), [message].into());
        self.offset += 1;
        self.shard.take(Downlink::Batch(Arc::new(batch)));
        self.shard.turn();
    }

    /// Whether a Close frame with 4009 was sent.
    fn is_closed(&mut self) -> bool {
        let close = [0x88, 2 + "no messages".len() as u8, 0x0f, 0xa9];
        self.shard.plane().sent.windows(4).any(|bytes| bytes == close)
    }
}

fn topic(name: &str) -> Topic {
    Topic::new(name).expect("a topic")
}

/// What the client does once in every half of the time that makes it idle.
fn stays_with(mut act: impl FnMut(&mut World)) -> bool {
    let mut world = World::watched();
    for _ in 0..6 {
        world.pass(IDLE_AFTER / 2);
        act(&mut world);
    }
    !world.is_closed()
}

#[test]
fn a_connection_is_closed_within_a_sweep_of_its_time_and_not_before() {
    let mut world = World::watched();
    world.pass(IDLE_AFTER - 1);
    assert!(!world.is_closed());
    world.pass(1 + SWEEP_TICKS);
    assert!(world.is_closed());
    assert_eq!(CloseReason::Idle.code(), Some(4009));
}

#[test]
fn without_the_key_nobody_is_idle() {
    let mut world = World::new(None);
    world.pass(10 * IDLE_AFTER);
    assert!(!world.is_closed());
}

#[test]
fn pings_of_both_kinds_pongs_and_words_without_meaning_are_no_business() {
    assert!(!stays_with(|world| world.says(0x9, b"x")), "a WebSocket ping");
    assert!(!stays_with(|world| world.says(0xA, b"")), "a pong");
    assert!(!stays_with(|world| world.says(0x1, br#"{"type":"PING","data":{}}"#)), "the format's PING");
    assert!(!stays_with(|world| world.says(0x1, br#"{"type":"HELLO","data":{}}"#)), "an unknown word");
}

#[test]
fn a_command_is_business() {
    assert!(stays_with(|world| world.says(0x1, br#"{"type":"JOIN","data":{"room":"mine"}}"#)));
    assert!(stays_with(|world| world.says(0x1, br#"{"type":"LEAVE","data":{"room":"other"}}"#)));
}

#[test]
fn a_message_to_its_topic_or_to_everybody_is_business_and_one_to_others_is_not() {
    assert!(stays_with(|world| world.publish(Address::Topic(topic("mine")))));
    assert!(stays_with(|world| world.publish(Address::All)));
    assert!(!stays_with(|world| world.publish(Address::Topic(topic("other")))));
}

#[test]
fn a_topic_that_was_left_keeps_nobody() {
    let mut world = World::watched();
    world.says(0x1, br#"{"type":"LEAVE","data":{"room":"mine"}}"#);
    for _ in 0..4 {
        world.pass(IDLE_AFTER / 2);
        world.publish(Address::Topic(topic("mine")));
    }
    assert!(world.is_closed());
}

#[test]
fn turns_and_reports_without_work_are_no_progress_and_each_kind_of_work_is() {
    let mut world = World::watched();
    let before = world.blocks.shards[0].pulse();
    for _ in 0..1_000 {
        // Reports that lead to nothing, as a loop that spins on one would have them.
        world.shard.handle(Event::Readable(DEVICE));
        world.shard.handle(Event::Writable(DEVICE));
        world.shard.turn();
    }
    let mut last = world.blocks.shards[0].pulse();
    assert_eq!((last.turns - before.turns, last.progress), (1_000, before.progress));
    let mut moves = |what: &str, act: &mut dyn FnMut(&mut World)| {
        act(&mut world);
        let now = world.blocks.shards[0].pulse();
        assert!(now.progress > last.progress, "{what}");
        last = now;
    };
    moves("a word of a client", &mut |world| world.says(0x1, b"{}"));
    moves("a message to it", &mut |world| world.publish(Address::All));
    moves("a message to nobody", &mut |world| world.publish(Address::Topic(topic("other"))));
    moves("its end", &mut |world| world.shard.abort());
}
