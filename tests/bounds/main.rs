//! What clients can make a shard do and hold: input in a turn, unfinished messages, what is owed; and what its own pauses
//! are to them. In virtual time and without a kernel.

mod input;
mod outboxes;
mod partials;
mod pauses;

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
use fanfare_core::limits::{EVENTS_PER_TURN, TICK};
use fanfare_core::model::{
    Address, Batch, CloseReason, Epoch, FormatId, Message, Offset, PayloadKind, Tick, Topic,
};

const TEXT: u8 = 0x81;
const PING: u8 = 0x89;
const PONG: u8 = 0x8A;
const APPLICATION_PING: &[u8] = br#"{"type":"PING","data":{}}"#;

/// One device's socket.
#[derive(Default)]
struct Socket {
    token: Option<Token>,
    said: VecDeque<u8>,
    heard: Vec<u8>,
    /// Bytes that it takes before somebody reads; `None`: any number.
    room: Option<usize>,
    has_ended: bool,
    awaits_room: bool,
    reads: usize,
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
        let taken = socket.room.map_or(bytes.len(), |room| room.min(bytes.len()));
        socket.room = socket.room.map(|room| room - taken);
        socket.heard.extend_from_slice(&bytes[..taken]);
        Took::Bytes(taken)
    }
    fn receive(&mut self, fd: RawFd, buffer: &mut [u8]) -> Received {
        let socket = self.of(fd);
        socket.reads += 1;
        let count = socket.said.len().min(buffer.len());
        buffer[..count].copy_from_slice(&socket.said.make_contiguous()[..count]);
        socket.said.drain(..count);
        match count {
            0 if socket.has_ended => Received::End,
            0 => Received::Empty,
            _ => Received::Bytes(count),
        }
    }
    fn finish(&mut self, _fd: RawFd) {}
    fn close(&mut self, _token: Token, fd: RawFd, _how: Closing) {
        self.of(fd).token = None;
    }
}

/// A shard, its devices and its clock.
struct World {
    shard: Shard<Sockets>,
    blocks: Arc<Blocks>,
    tick: u32,
    events: VecDeque<Event>,
    offsets: BTreeMap<Address, u64>,
}

impl World {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        change(&mut config);
        let blocks = Arc::new(Blocks::new(1));
        let shard = Shard::new(Sockets::default(), 0, Arc::clone(&blocks), &config.clients, config.outbox);
        Self { shard, blocks, tick: 0, events: VecDeque::new(), offsets: BTreeMap::new() }
    }

    /// Devices with these descriptors, each in the topic of its name and in `fleet`.
    fn admit(&mut self, fds: std::ops::Range<RawFd>) {
        for fd in fds {
            self.shard.admit(Arrival {
                fd,
                peer: None,
                format: FormatId::GO_PUSH_V1,
                topics: vec![topic("fleet"), topic(&format!("of {fd}"))],
                response: Vec::new(),
                tail: Vec::new(),
            });
        }
    }

    fn block(&self) -> &ShardBlock {
        &self.blocks.shards[0]
    }

    fn closed(&self, reason: CloseReason) -> u64 {
        self.block().closed[reason as usize].get()
    }

    fn socket(&mut self, fd: RawFd) -> &mut Socket {
        self.shard.plane().of(fd)
    }

    /// Bytes of a device reach its socket.
    fn says(&mut self, fd: RawFd, bytes: &[u8]) {
        let socket = self.socket(fd);
        socket.said.extend(bytes);
        if let Some(token) = socket.token {
            self.events.push_back(Event::Readable(token));
        }
    }

    /// A turn of the shard's loop, as its thread has it.
    fn turn(&mut self) {
        for _ in 0..EVENTS_PER_TURN {
            if !self.shard.takes_input() {
                break;
            }
            let Some(event) = self.events.pop_front() else { break };
            self.shard.handle(event);
        }
        self.shard.turn();
    }

    fn settle(&mut self) {
        while self.shard.is_busy() || !self.events.is_empty() {
            self.turn();
        }
    }

    /// So many ticks pass, each with a turn.
    fn pass(&mut self, ticks: u32) {
        for _ in 0..ticks {
            self.tick += 1;
            self.shard.set_now(Tick(self.tick));
            self.events.push_back(Event::Tick);
            self.settle();
        }
    }

    /// So many ticks pass without a turn, and then there is one.
    fn stand_still(&mut self, ticks: u32) {
        self.tick += ticks;
        self.pass(1);
    }

    fn publish(&mut self, to: Address, payload: &str) {
        let first = self.offsets.entry(to.clone()).or_default();
        let message = Message { payload: payload.to_owned().into(), kind: PayloadKind::Json };
        let batch = Batch::new(to, Epoch(1), Offset(*first), [message].into());
        *first += 1;
        self.shard.take(Downlink::Batch(Arc::new(batch)));
        self.settle();
    }
}

fn ticks(seconds: u64) -> u32 {
    (u128::from(seconds) * 1000 / TICK.as_millis()) as u32
}

fn topic(name: &str) -> Topic {
    Topic::new(name).expect("a topic")
}

fn to(name: &str) -> Address {
    Address::Topic(topic(name))
}

/// A client's frame; its key is 0.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        short @ 0..126 => out.push(0x80 | short as u8),
        medium @ 126..0x1_0000 => {
            out.push(0xFE);
            out.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            out.push(0xFF);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
    out
}

/// Code and reason of the Close frame at the end of what a device heard.
fn close_of(heard: &[u8]) -> Option<(u16, &str)> {
    let at = heard.windows(2).rposition(|pair| pair[0] == 0x88 && usize::from(pair[1]) >= 2)?;
    let payload = heard.get(at + 2..)?;
    let code = u16::from_be_bytes([*payload.first()?, *payload.get(1)?]);
    Some((code, std::str::from_utf8(payload.get(2..)?).ok()?))
}
