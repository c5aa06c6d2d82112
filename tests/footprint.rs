//! Memory that holders count, against what the process has: each is filled with the smallest and the largest items.
//!
//! The allocator is the gateway's. One test, because other threads' memory would count too. *Not here*: the gateway as a
//! whole (`tests/e2e/test_backlog.py`).

use std::hint::black_box;
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare::config::Config;
use fanfare::dataplane::{Closing, Plane, Received, Token, Took};
use fanfare::downlink::Downlink;
use fanfare::metrics::Blocks;
use fanfare::redis::resp::{self, Reply};
use fanfare::shard::{Arrival, Shard};
use fanfare_core::ingest::merger::{Merge, Merger};
use fanfare_core::ingest::seal;
use fanfare_core::model::{Address, Batch, Epoch, FormatId, Message, Moment, Offset, PayloadKind};
use fanfare_core::push::holds::Holds;
use fanfare_core::push::id::PushId;
use fanfare_core::push::share::Share;
use fanfare_core::push::terms::{Lane, Terms};
use fanfare_core::push::{Push, Source, request};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How much each holder is filled with, as it counts.
const FILL: usize = 16 << 20;
/// What the allocator may keep of blocks that were used on the way.
const SLACK: usize = 8 << 20;
/// Payloads from the smallest to the largest.
const LENGTHS: [usize; 4] = [0, 1, 3_000, 1 << 20];

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("it is there");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number") * 4096
}

/// Fills a holder until it counts [`FILL`], and compares that with what the process has got for it.
fn fill<T>(what: &str, length: usize, mut holder: T, mut add: impl FnMut(&mut T) -> usize) {
    // The first items bring the allocator's own structures.
    for _ in 0..8 {
        add(&mut holder);
    }
    let before = resident();
    let start = add(&mut holder);
    let mut counted = start;
    let mut items = 0;
    while counted - start < FILL && items < 2_000_000 {
        counted = add(&mut holder);
        items += 1;
    }
    let (counted, grown) = (counted - start, resident().saturating_sub(before));
    black_box(&holder);
    drop(holder);
    // The next holder gets memory of its own.
    fanfare::sys::memory::collect();
    println!(
        "{what} of {length}: {items} items, {} KiB counted, {} KiB resident",
        counted >> 10,
        grown >> 10
    );
    assert!(
        grown < counted + counted / 8 + SLACK,
        "{what} of {length}: {counted} bytes counted, {grown} resident"
    );
    assert!(grown + (2 << 20) > counted / 2, "{what} of {length}: {counted} bytes counted, {grown} resident");
}

fn message(length: usize) -> Message {
    Message::copied(&vec![b'7'; length], PayloadKind::Unknown)
}

fn batch(first: u64, count: usize, length: usize) -> Batch {
    let messages = (0..count).map(|_| message(length)).collect();
    Batch::new(Address::All, Epoch(1), Offset(first), messages)
}

#[test]
fn what_is_counted_is_what_the_process_has() {
    for length in LENGTHS {
        for count in [1, 100] {
            if length * count <= 4 << 20 {
                batches(count, length, [true; 3]);
                batches(count, length, [false, false, true]);
            }
        }
        open_messages(length);
        requests(length);
        replies(length);
        backlog(length);
    }
}

fn batches(count: usize, length: usize, in_use: [bool; 3]) {
    let mut counted = 0;
    fill(&format!("batches of {count}"), length, Vec::new(), |held: &mut Vec<_>| {
        let batch = seal::seal(batch(0, count, length), in_use);
        counted += batch.allocated_bytes() + 16;
        held.push(batch);
        counted
    });
}

fn open_messages(length: usize) {
    let rules = Merge { messages_max: usize::MAX, bytes_max: usize::MAX, delay: Duration::from_secs(1) };
    let mut topics = 0;
    let held: Vec<Merger> = Vec::new();
    let mut counted = 0;
    // Each of them is within its own bound.
    fill("open messages", length, held, |held| {
        if held.last().is_none_or(|merger| {
            merger.open_bytes() + 2 * length + 256 > fanfare_core::limits::OPEN_BYTES_MAX
        }) {
            counted += held.last().map_or(0, Merger::open_bytes);
            held.push(Merger::new(rules, 1));
            topics += 1;
        }
        let Some(merger) = held.last_mut() else { unreachable!("there is one") };
        merger.push(&Address::All, message(length), topics, &mut |_, _| panic!("nothing closes"));
        counted + merger.open_bytes()
    });
}

/// In bodies that are much larger.
fn requests(length: usize) {
    // With its quotes a message is within its bound.
    let length = length.min(1 << 19);
    let text = format!("\"{}\"", "x".repeat(length));
    let body = format!(r#"{{"to":{{"all":true}},"messages":[{text}]{}}}"#, " ".repeat(2 * length + 4_000));
    let mut counted = 0;
    fill("requests", length, Vec::new(), |held: &mut Vec<request::Request>| {
        let request = request::parse(&Bytes::from(body.clone().into_bytes())).expect("a request");
        // The structures of a request, which the ring of requests has room for.
        counted += request.allocated_bytes() + size_of::<request::Request>() + 16;
        held.push(request);
        counted
    });
}

/// Of Redis, as they wait in the inbox.
fn replies(length: usize) {
    let payload = vec![b'x'; length];
    let mut stream = bytes::BytesMut::new();
    resp::command(&mut stream, &[b"pmessage", b"fanfare:*", b"fanfare:topic:news", &payload]);
    let mut decoder = resp::Decoder::new(1 << 20);
    let mut counted = 0;
    fill("replies", length, Vec::new(), |held: &mut Vec<(Bytes, Bytes)>| {
        decoder.buffer_mut().reserve(64 << 10);
        decoder.buffer_mut().extend_from_slice(&stream);
        let Ok(Some(Reply::Message { channel, payload })) = decoder.next_reply() else { panic!("a message") };
        let block = fanfare_core::model::footprint::block;
        counted += 2 * size_of::<(Bytes, Bytes)>() + block(channel.len()) + block(payload.len());
        held.push((channel, payload));
        counted
    });
}

/// Takes every byte.
struct Sink;

impl Plane for Sink {
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
        Took::Bytes(bytes.len())
    }
    fn receive(&mut self, _fd: RawFd, _buffer: &mut [u8]) -> Received {
        Received::Empty
    }
    fn finish(&mut self, _fd: RawFd) {}
    fn close(&mut self, _token: Token, _fd: RawFd, _how: Closing) {}
}

/// Behind a push that stands still.
fn backlog(length: usize) {
    let config = Config::default();
    let blocks = Arc::new(Blocks::new(1));
    let mut shard = Shard::new(Sink, 0, Arc::clone(&blocks), &config.clients, config.outbox);
    for (fd, format) in (0..).zip(FormatId::ALL) {
        let (topics, response, tail) = (Vec::new(), Vec::new(), Vec::new());
        shard.admit(Arrival { fd, peer: None, format, topics, response, tail });
    }
    let mut holds = Holds::new(Arc::clone(&blocks.held));
    let push = Arc::new(Push {
        id: PushId::new("slow").expect("an id"),
        terms: Terms::default(),
        source: Source::Http,
        to: [Address::All].into(),
        holds: holds.holds_for(&[Address::All], Lane::Normal),
        messages: 1,
        bytes: 1,
        accepted: Moment::default(),
        shares: [Share::new(0)].into(),
    });
    holds.begin(&push);
    shard.take(Downlink::Push(push, [seal::seal(batch(0, 1, 1), [true; 3])].into()));
    let mut first = 0;
    fill("backlog", length, shard, |shard| {
        first += 1;
        let charge = |batch: &Batch| holds.charge(&batch.address, batch.allocated_bytes());
        shard.take(Downlink::Batch(seal::seal_charged(batch(first, 1, length), [true; 3], charge)));
        shard.turn();
        assert_eq!(shard.backlog_bytes(), shard.held_bytes(), "all of it waits behind the push");
        assert!(shard.has_room(), "what a push holds up does not stop the ring");
        let charged = blocks.held.bytes() as usize;
        assert!(shard.held_bytes() >= charged, "{} held, {charged} charged", shard.held_bytes());
        shard.held_bytes()
    });
    // Everything was charged to the push, and nothing is when it is gone.
    assert_eq!(blocks.held.bytes(), 0);
}
