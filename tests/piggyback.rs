//! An answer takes along what a round still has for its device: one send for both, without a kernel.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;

use fanfare::config::Config;
use fanfare::dataplane::{Closing, Event, Plane, Received, Token, Took};
use fanfare::downlink::Downlink;
use fanfare::metrics::{Blocks, ShardBlock};
use fanfare::shard::{Arrival, Shard};
use fanfare_core::counters::Value;
use fanfare_core::limits::SLICE_SENDS;
use fanfare_core::model::{Address, Batch, Epoch, FormatId, Message, Moment, Offset, PayloadKind, Topic};
use fanfare_core::push::id::PushId;
use fanfare_core::push::share::{Failed, Share};
use fanfare_core::push::terms::Terms;
use fanfare_core::push::{Push, Source};

/// Devices of a topic whose round takes three slices.
const DEVICES: RawFd = 2_100;
const _: () = assert!(DEVICES as usize > 2 * SLICE_SENDS);
/// The answer to a ping without payload.
const PONG: &[u8] = &[0x8A, 0];
/// A device's Close without a code.
const CLOSE: &[u8] = &[0x88, 0x80, 0, 0, 0, 0];

/// One device's socket.
#[derive(Default)]
struct Socket {
    token: Option<Token>,
    said: VecDeque<u8>,
    /// What each send brought.
    sends: Vec<Vec<u8>>,
    /// Bytes that the next sends may take; `None`: all.
    room: Option<usize>,
    is_gone: bool,
    has_ended: bool,
    awaits_room: bool,
}

impl Socket {
    fn heard(&self) -> Vec<u8> {
        self.sends.concat()
    }
}

#[derive(Default)]
struct Sockets(BTreeMap<RawFd, Socket>);

impl Sockets {
    fn of(&mut self, fd: RawFd) -> &mut Socket {
        self.0.entry(fd).or_default()
    }
}

impl Plane for Sockets {
    fn watch_listener(&mut self) {}
    fn accept(&mut self) -> io::Result<Option<(RawFd, SocketAddr)>> {
        Ok(None)
    }
    fn stop_listening(&mut self) {}
    fn watch_handshake(&mut self, _token: Token, _fd: RawFd) {}
    fn dismiss(&mut self, _watched: Option<Token>, _fd: RawFd) {}
    fn watch(&mut self, token: Token, fd: RawFd) {
        self.of(fd).token = Some(token);
    }
    fn watch_writable(&mut self, _token: Token, fd: RawFd) {
        self.of(fd).awaits_room = true;
    }
    fn unwatch_writable(&mut self, token: Token) {
        let socket = self.0.values_mut().find(|socket| socket.token == Some(token)).expect("a socket");
        assert!(std::mem::take(&mut socket.awaits_room), "a poll that is not armed is looked for in vain");
    }
    fn send(&mut self, fd: RawFd, bytes: &[u8]) -> Took {
        let socket = self.of(fd);
        if socket.is_gone {
            return Took::Gone;
        }
        let taken = socket.room.map_or(bytes.len(), |room| room.min(bytes.len()));
        socket.room = socket.room.map(|room| room - taken);
        socket.sends.push(bytes[..taken].to_vec());
        Took::Bytes(taken)
    }
    fn receive(&mut self, fd: RawFd, buffer: &mut [u8]) -> Received {
        let said = &mut self.of(fd).said;
        let count = said.len();
        buffer.iter_mut().zip(said.drain(..)).for_each(|(to, byte)| *to = byte);
        match count {
            0 if self.of(fd).has_ended => Received::End,
            0 => Received::Empty,
            _ => Received::Bytes(count),
        }
    }
    fn finish(&mut self, _fd: RawFd) {}
    fn close(&mut self, _token: Token, fd: RawFd, _how: Closing) {
        self.of(fd).token = None;
    }
}

/// A shard with [`DEVICES`] in the topic `fleet`. The walk begins with the last, so device 0 is the last that a round meets.
struct World {
    shard: Shard<Sockets>,
    blocks: Arc<Blocks>,
    offsets: BTreeMap<String, u64>,
}

impl World {
    fn new() -> Self {
        let config = Config::default();
        let blocks = Arc::new(Blocks::new(1));
        let shard = Shard::new(Sockets::default(), 0, Arc::clone(&blocks), &config.clients, config.outbox);
        let mut world = Self { shard, blocks, offsets: BTreeMap::new() };
        (0..DEVICES).for_each(|fd| world.admit(fd));
        world
    }

    fn admit(&mut self, fd: RawFd) {
        self.shard.admit(Arrival {
            fd,
            peer: None,
            format: FormatId::RAW,
            topics: vec![topic()],
            response: Vec::new(),
            tail: Vec::new(),
        });
    }

    fn block(&self) -> &ShardBlock {
        &self.blocks.shards[0]
    }

    fn socket(&mut self, fd: RawFd) -> &mut Socket {
        self.shard.plane().of(fd)
    }

    /// Publishes; the walk begins with the next turn.
    fn publish(&mut self, address: Address, payload: &str) {
        self.publish_together(address, &[payload]);
    }

    fn publish_together(&mut self, address: Address, payloads: &[&str]) {
        let batch = self.batch(address, payloads);
        self.shard.take(Downlink::Batch(batch));
    }

    /// A push that stands still until it gets a rate.
    fn push(&mut self, address: Address, payload: &str) {
        let push = Push {
            id: PushId::new("slow").expect("an id"),
            terms: Terms::default(),
            source: Source::Http,
            to: [address.clone()].into(),
            holds: Box::default(),
            messages: 1,
            bytes: payload.len() as u64,
            accepted: Moment::default(),
            shares: vec![Share::new(0)].into(),
        };
        let batches = [self.batch(address, &[payload])].into();
        self.shard.take(Downlink::Push(Arc::new(push), batches));
    }

    fn batch(&mut self, address: Address, payloads: &[&str]) -> Arc<Batch> {
        let offset = self.offsets.entry(format!("{address:?}")).or_default();
        let first = Offset(*offset);
        *offset += payloads.len() as u64;
        let message =
            |text: &&str| Message { payload: (*text).to_owned().into(), kind: PayloadKind::Unknown };
        Arc::new(Batch::new(address, Epoch(1), first, payloads.iter().map(message).collect()))
    }

    fn ping(&mut self, fd: RawFd) {
        self.say(fd, &[0x89, 0x80, 0, 0, 0, 0]);
    }

    /// The device sends bytes, or ends if there are none.
    fn say(&mut self, fd: RawFd, bytes: &[u8]) {
        let socket = self.socket(fd);
        socket.said.extend(bytes);
        socket.has_ended = bytes.is_empty();
        let token = socket.token.expect("it is connected");
        self.shard.handle(Event::Readable(token));
    }

    fn settle(&mut self) {
        while self.shard.is_busy() {
            self.shard.turn();
        }
    }
}

fn topic() -> Topic {
    Topic::new("fleet").expect("a topic")
}

fn fleet() -> Address {
    Address::Topic(topic())
}

/// A text frame of the server.
fn text(payload: &str) -> Vec<u8> {
    let length = payload.len();
    let header = if length < 126 {
        vec![0x81, length as u8]
    } else {
        vec![0x81, 126, (length >> 8) as u8, length as u8]
    };
    [&header, payload.as_bytes()].concat()
}

#[test]
fn whoever_is_answered_before_the_round_comes_gets_both_in_one_send() {
    for address in [fleet(), Address::All] {
        let mut world = World::new();
        world.publish(address, "one");
        world.shard.turn();
        assert_eq!(world.block().sends.get(), SLICE_SENDS as u64, "the round is on its way");
        world.ping(0);
        assert_eq!(world.socket(0).sends, [[PONG, &text("one")].concat()]);
        world.settle();
        for fd in 1..DEVICES {
            assert_eq!(world.socket(fd).sends, [text("one")]);
        }
        assert_eq!(world.socket(0).sends.len(), 1, "the walk passes over who has it");
        let block = world.block();
        let counts = [&block.sends, &block.frames, &block.deliveries].map(Value::get);
        assert_eq!(counts, [DEVICES as u64; 3]);
        assert_eq!(block.send_bytes.get(), DEVICES as u64 * text("one").len() as u64);
    }
}

#[test]
fn whoever_has_the_message_gets_the_answer_alone() {
    let mut world = World::new();
    world.publish(fleet(), "one");
    world.shard.turn();
    world.ping(DEVICES - 1);
    world.settle();
    world.ping(0);
    for fd in [0, DEVICES - 1] {
        assert_eq!(world.socket(fd).sends, [text("one"), PONG.to_vec()]);
    }
}

#[test]
fn what_was_published_later_comes_later() {
    let mut world = World::new();
    world.publish(fleet(), "one");
    world.shard.turn();
    world.publish(fleet(), "two");
    world.publish(fleet(), "three");
    world.ping(0);
    world.settle();
    for fd in 0..DEVICES {
        let pong = if fd == 0 { PONG } else { &[] };
        let stream = [pong, &text("one"), &text("two"), &text("three")].concat();
        assert_eq!(world.socket(fd).heard(), stream, "device {fd}");
    }
}

#[test]
fn a_round_before_its_first_slice_is_taken_along_too() {
    let mut world = World::new();
    world.publish(fleet(), "one");
    world.ping(0);
    assert_eq!(world.socket(0).sends, [[PONG, &text("one")].concat()]);
    world.settle();
    assert_eq!(world.block().deliveries.get(), DEVICES as u64);
}

#[test]
fn wherever_the_kernel_stops_the_rest_follows_in_order() {
    let whole = [PONG, &text("one"), &text("two")].concat();
    for room in 0..whole.len() {
        let mut world = World::new();
        world.publish(fleet(), "one");
        world.shard.turn();
        world.socket(0).room = Some(room);
        world.ping(0);
        world.publish(fleet(), "two");
        world.settle();
        assert!(world.socket(0).awaits_room, "{room} bytes of room");
        assert_eq!((world.block().outboxes.get(), world.block().sends_short.get()), (1, 1));
        assert_eq!(
            world.block().outbox_owed_bytes.get(),
            (whole.len() - room) as u64,
            "{room} bytes of room"
        );
        let socket = world.socket(0);
        socket.room = None;
        let token = socket.token.expect("it is connected");
        world.shard.handle(Event::Writable(token));
        assert_eq!(world.socket(0).heard(), whole, "{room} bytes of room");
        assert_eq!((world.block().outboxes.get(), world.block().outbox_owed_bytes.get()), (0, 0));
        assert_eq!(world.block().deliveries.get(), 2 * DEVICES as u64);
    }
}

#[test]
fn what_is_given_up_of_a_laden_answer_counts_as_not_delivered() {
    let mut world = World::new();
    world.publish_together(fleet(), &["one", "two", "three"]);
    world.shard.turn();
    world.socket(0).room = Some(PONG.len());
    world.ping(0);
    // The device closes: what it was owed has nobody to go to.
    world.say(0, CLOSE);
    world.settle();
    let failed = world.block().deliveries_failed[Failed::Closed as usize].get();
    assert_eq!((failed, world.block().sends_short.get()), (3, 1));
    assert_eq!(world.block().deliveries.get(), 3 * DEVICES as u64);
}

#[test]
fn nothing_goes_behind_a_close() {
    let mut world = World::new();
    world.publish(fleet(), "one");
    world.shard.turn();
    world.say(0, &[&[0x89, 0x80, 0, 0, 0, 0], CLOSE].concat());
    world.settle();
    assert_eq!(world.socket(0).sends, [[PONG, &[0x88, 0]].concat()]);
}

#[test]
fn a_round_is_loaded_up_to_four_kibibytes_with_the_answer() {
    // Two bytes of the answer, four of the frame's header.
    for (length, is_loaded) in [(4090, true), (4091, false)] {
        let mut world = World::new();
        let payload = "x".repeat(length);
        world.publish(fleet(), &payload);
        world.shard.turn();
        world.ping(0);
        world.settle();
        assert_eq!(world.socket(0).heard(), [PONG, &text(&payload)].concat());
        assert_eq!(world.socket(0).sends.len() == 1, is_loaded, "{length} bytes");
    }
}

#[test]
fn a_device_that_was_moved_in_the_list_is_found_there() {
    let mut world = World::new();
    world.say(1, &[]);
    world.publish(fleet(), "one");
    world.shard.turn();
    // The last took the place of the one that left.
    world.ping(DEVICES - 1);
    world.settle();
    assert_eq!(world.socket(DEVICES - 1).sends, [[PONG, &text("one")].concat()]);
    for fd in (0..DEVICES - 1).filter(|&fd| fd != 1) {
        assert_eq!(world.socket(fd).sends, [text("one")], "device {fd}");
    }
}

#[test]
fn who_joined_between_two_batches_of_a_round_gets_the_second() {
    let mut world = World::new();
    world.publish(fleet(), "zero");
    world.shard.turn();
    world.publish(fleet(), "one");
    world.admit(DEVICES);
    world.publish_together(fleet(), &["two", "three"]);
    while world.block().deliveries.get() < DEVICES as u64 {
        world.shard.turn();
    }
    world.ping(DEVICES);
    assert_eq!(world.socket(DEVICES).sends, [[PONG, &text("two"), &text("three")].concat()]);
    assert_eq!(world.block().deliveries.get(), DEVICES as u64 + 2);
    assert_eq!(world.block().frames.get(), DEVICES as u64 + 2);
    world.settle();
    assert_eq!(world.block().deliveries.get(), 4 * DEVICES as u64 + 2);
    assert_eq!(world.socket(0).heard(), ["zero", "one", "two", "three"].map(text).concat());
}

#[test]
fn a_push_goes_by_its_pace_and_what_is_behind_it_waits() {
    for (of_push, other) in [(fleet(), Address::All), (Address::All, fleet())] {
        let mut world = World::new();
        world.push(of_push.clone(), "slow");
        world.publish(of_push, "behind it");
        world.settle();
        world.ping(0);
        assert_eq!(world.socket(0).sends, [PONG]);
        world.publish(other, "in another order");
        world.ping(0);
        world.settle();
        assert_eq!(world.socket(0).sends[1..], [[PONG, &text("in another order")].concat()]);
        assert_eq!(world.block().deliveries.get(), DEVICES as u64);
    }
}

#[test]
fn whoever_is_gone_is_counted_once() {
    let mut world = World::new();
    world.publish(fleet(), "one");
    world.shard.turn();
    world.socket(0).is_gone = true;
    world.ping(0);
    world.settle();
    assert_eq!(world.block().sends_failed.get(), 1);
    assert_eq!(world.shard.connections(), DEVICES as usize - 1);
    assert_eq!(world.block().sends.get(), DEVICES as u64);
}
