//! What runs once per frame, per batch, per send or per connection, without a kernel under it.
//!
//! ```text
//! cargo bench --bench hot_paths              all
//! cargo bench --bench hot_paths -- decode    one
//! ```
//!
//! Each row has the time and the allocations of one call. These are for comparing two versions of a function; what the
//! gateway does with a kernel under it is measured by the load tool.

use std::collections::VecDeque;
use std::hint::black_box;
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;

use bytes::Bytes;
use divan::counter::{BytesCount, ItemsCount};
use divan::{AllocProfiler, Bencher};
use fanfare::config::Config;
use fanfare::dataplane::{Closing, Event, Plane, Received, Token, Took};
use fanfare::downlink::Downlink;
use fanfare::metrics::Blocks;
use fanfare::shard::{Arrival, Shard};
use fanfare_core::ingest::merger::Merger;
use fanfare_core::limits::{MERGE_BYTES_DEFAULT, MERGE_DELAY_DEFAULT, MERGE_MESSAGES_DEFAULT};
use fanfare_core::model::{Address, Batch, Epoch, FormatId, Message, Offset, PayloadKind};
use fanfare_core::protocols;
use fanfare_core::websocket::{decoder, handshake};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

fn messages(count: usize) -> Box<[Message]> {
    let payload = Bytes::from(format!("{{\"id\":7,\"text\":\"{}\"}}", "x".repeat(80)));
    (0..count).map(|_| Message { payload: payload.clone(), kind: PayloadKind::Json }).collect()
}

fn batch(first: u64, count: usize) -> Batch {
    Batch::new(Address::All, Epoch(1), Offset(first), messages(count))
}

/// A masked text frame below 126 bytes.
fn masked(text: &[u8]) -> Vec<u8> {
    let key = [7, 11, 13, 17];
    let mut frame = vec![0x81, 0x80 | text.len() as u8];
    frame.extend_from_slice(&key);
    frame.extend(text.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]));
    frame
}

#[divan::bench]
fn decode_100_small_frames(bencher: Bencher<'_, '_>) {
    let frames = masked(br#"{"type":"PING","data":{}}"#).repeat(100);
    let limits = decoder::Limits { message_bytes_max: 64 * 1024 };
    bencher.counter(ItemsCount::new(100_usize)).with_inputs(|| frames.clone()).bench_values(|mut frames| {
        decoder::decode(&mut None, &mut frames, &limits, |event| {
            black_box(event);
            std::ops::ControlFlow::Continue(())
        })
    });
}

#[divan::bench(args = [FormatId::GO_PUSH_V1, FormatId::GO_PUSH_V2, FormatId::RAW])]
fn encode_100_messages_of_100_bytes(bencher: Bencher<'_, '_>, format: FormatId) {
    let batch = batch(0, 100);
    let bytes = BytesCount::new(batch.payload_bytes());
    bencher.counter(bytes).bench_local(|| protocols::format(format).encode(black_box(&batch)));
}

#[divan::bench]
fn merge_100_messages(bencher: Bencher<'_, '_>) {
    let rules = fanfare_core::ingest::merger::Merge {
        messages_max: MERGE_MESSAGES_DEFAULT,
        bytes_max: MERGE_BYTES_DEFAULT,
        delay: MERGE_DELAY_DEFAULT,
    };
    let mut merger = Merger::new(rules, 1);
    let messages = messages(100);
    bencher.counter(ItemsCount::new(100_usize)).bench_local(|| {
        for message in &messages {
            merger.push(&Address::All, message.clone(), 1, &mut |batch, _| drop(black_box(batch)));
        }
    });
}

#[divan::bench]
fn parse_an_upgrade(bencher: Bencher<'_, '_>) {
    let head = "GET /connect?v=2&join=news HTTP/1.1\r\nHost: push.example\r\nUpgrade: websocket\r\n\
                Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                Sec-WebSocket-Version: 13\r\nUser-Agent: device/1\r\n\r\n";
    let clients = Config::default().clients;
    bencher.bench_local(|| handshake::parse(black_box(head.as_bytes()), &clients));
}

/// Takes every byte, or half of each send; gives `input` to whoever receives, or reports an end of stream.
#[derive(Default)]
struct Sink {
    is_full: bool,
    input: Vec<u8>,
}

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
        let length = black_box(bytes).len();
        Took::Bytes(if self.is_full { length / 2 } else { length })
    }
    fn receive(&mut self, _fd: RawFd, buffer: &mut [u8]) -> Received {
        if self.input.is_empty() {
            return Received::End;
        }
        buffer[..self.input.len()].copy_from_slice(&self.input);
        Received::Bytes(self.input.len())
    }
    fn finish(&mut self, _fd: RawFd) {}
    fn close(&mut self, _token: Token, _fd: RawFd, _how: Closing) {}
}

fn shard(connections: RawFd) -> Shard<Sink> {
    let config = Config::default();
    let mut shard = Shard::new(Sink::default(), 0, Arc::new(Blocks::new(1)), &config.clients, config.outbox);
    (0..connections).for_each(|fd| shard.admit(arrival(fd)));
    shard
}

fn arrival(fd: RawFd) -> Arrival {
    Arrival {
        fd,
        peer: None,
        format: FormatId::GO_PUSH_V1,
        topics: Vec::new(),
        response: Vec::new(),
        tail: Vec::new(),
    }
}

/// The first batch is a round of its own, the others wait meanwhile and are joined.
#[divan::bench(args = [1, 2, 9])]
fn fan_batches_out_to_10_000_members(bencher: Bencher<'_, '_>, batches: u64) {
    const MEMBERS: RawFd = 10_000;
    let mut shard = shard(MEMBERS);
    let mut first = 0;
    let counter = ItemsCount::new(10_000 * batches.min(2));
    bencher.counter(counter).bench_local(|| {
        for _ in 0..batches {
            shard.take(Downlink::Batch(Arc::new(batch(first, 10))));
            first += 10;
        }
        while shard.is_busy() {
            shard.turn();
        }
    });
}

/// Indices and generations follow from the order of arrivals, so the tokens are known without a plane that keeps them.
#[divan::bench]
fn a_connection_comes_and_goes(bencher: Bencher<'_, '_>) {
    let mut shard = shard(1000);
    let mut present: VecDeque<Token> =
        (0..1000).map(|index| Token { index, generation: index + 1 }).collect();
    let mut generation = 1000;
    bencher.bench_local(|| {
        let gone = present.pop_front().expect("a thousand are present");
        shard.handle(Event::Readable(gone));
        shard.admit(arrival(0));
        generation += 1;
        present.push_back(Token { index: gone.index, generation });
        assert_eq!(shard.connections(), 1000);
    });
}

/// Each member takes half of its send, and the rest from its outbox once it has room.
#[divan::bench]
fn a_batch_falls_short_at_1_000_members(bencher: Bencher<'_, '_>) {
    const MEMBERS: u32 = 1_000;
    let mut shard = shard(MEMBERS.cast_signed());
    let mut first = 0;
    bencher.counter(ItemsCount::new(MEMBERS as usize)).bench_local(|| {
        shard.plane().is_full = true;
        shard.take(Downlink::Batch(Arc::new(batch(first, 10))));
        first += 10;
        while shard.is_busy() {
            shard.turn();
        }
        shard.plane().is_full = false;
        for index in 0..MEMBERS {
            shard.handle(Event::Writable(Token { index, generation: index + 1 }));
        }
    });
}

#[divan::bench]
fn a_client_pings(bencher: Bencher<'_, '_>) {
    let mut shard = shard(1);
    shard.plane().input = masked(br#"{"type":"PING","data":{}}"#);
    bencher.bench_local(|| {
        shard.handle(Event::Readable(Token { index: 0, generation: 1 }));
        shard.turn();
    });
}
