//! An answer takes along what a round still has for its device: one send for both, without a kernel.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;

use fanfare::batch::{Address, Batch, Epoch, Message, Offset, PayloadKind, Topic};
use fanfare::config::Config;
use fanfare::dataplane::{Closing, Event, Plane, Received, Token, Took};
use fanfare::downlink::Downlink;
use fanfare::formats::FormatId;
use fanfare::limits::SLICE_SENDS;
use fanfare::metrics::{Blocks, ShardBlock, Value};
use fanfare::push::id::PushId;
use fanfare::push::share::Share;
use fanfare::push::terms::Terms;
use fanfare::push::{Moment, Push, Source};
use fanfare::shard::{Arrival, Shard};

/// Devices of a topic whose round takes three slices.
const DEVICES: RawFd = 2_100;
const _: () = assert!(DEVICES as usize > 2 * SLICE_SENDS);
/// The answer to a ping without payload.
const PONG: &[u8] = &[0x8A, 0];

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
        if count == 0 { Received::Empty } else { Received::Bytes(count) }
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
        for fd in 0..DEVICES {
            world.shard.admit(Arrival {
                fd,
                peer: None,
                format: FormatId::RAW,
                topics: vec![topic()],
                response: Vec::new(),
                tail: Vec::new(),
            });
        }
        world
    }

    fn block(&self) -> &ShardBlock {
        &self.blocks.shards[0]
    }

    fn socket(&mut self, fd: RawFd) -> &mut Socket {
        self.shard.plane().of(fd)
    }

    /// Publishes; the walk begins with the next turn.
    fn publish(&mut self, address: Address, payload: &str) {
        let batch = self.batch(address, payload);
        self.shard.take(Downlink::Batch(batch));
    }

    /// A push that stands still until it gets a rate.
    fn push(&mut self, payload: &str) {
        let push = Push {
            id: PushId::new("slow").expect("an id"),
            terms: Terms::default(),
            source: Source::Http,
            to: [fleet()].into(),
            messages: 1,
            bytes: payload.len() as u64,
            accepted: Moment::default(),
            shares: vec![Share::new(0)].into(),
        };
        let batches = [self.batch(fleet(), payload)].into();
        self.shard.take(Downlink::Push(Arc::new(push), batches));
    }

    fn batch(&mut self, address: Address, payload: &str) -> Arc<Batch> {
        let offset = self.offsets.entry(format!("{address:?}")).or_default();
        let message = Message { payload: payload.to_owned().into(), kind: PayloadKind::Unknown };
        let batch = Batch::new(address, Epoch(1), Offset(*offset), [message].into());
        *offset += 1;
        Arc::new(batch)
    }

    fn ping(&mut self, fd: RawFd) {
        let socket = self.socket(fd);
        socket.said.extend([0x89, 0x80, 0, 0, 0, 0]);
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
        assert_eq!(world.block().outboxes.get(), 1);
        assert_eq!(world.block().outbox_bytes.get(), (whole.len() - room) as u64, "{room} bytes of room");
        let socket = world.socket(0);
        socket.room = None;
        let token = socket.token.expect("it is connected");
        world.shard.handle(Event::Writable(token));
        assert_eq!(world.socket(0).heard(), whole, "{room} bytes of room");
        assert_eq!((world.block().outboxes.get(), world.block().outbox_bytes.get()), (0, 0));
        assert_eq!(world.block().deliveries.get(), 2 * DEVICES as u64);
    }
}

#[test]
fn a_large_round_is_not_copied() {
    let mut world = World::new();
    let payload = "x".repeat(5000);
    world.publish(fleet(), &payload);
    world.shard.turn();
    world.ping(0);
    world.settle();
    assert_eq!(world.socket(0).sends, [PONG.to_vec(), text(&payload)]);
}

#[test]
fn a_push_goes_by_its_pace_and_what_is_behind_it_waits() {
    let mut world = World::new();
    world.push("slow");
    world.publish(fleet(), "behind it");
    world.settle();
    world.ping(0);
    assert_eq!(world.socket(0).sends, [PONG]);
    world.publish(Address::All, "in another order");
    world.ping(0);
    assert_eq!(world.socket(0).sends[1..], [[PONG, &text("in another order")].concat()]);
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
