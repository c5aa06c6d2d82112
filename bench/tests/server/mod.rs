//! A push server of plain threads, as small as it can be, that can be told to make one mistake.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;

/// Over what the rate of publishing is taken.
const RECENT: Duration = Duration::from_millis(250);

/// What the server does wrong, at the message with this position in the order of publishing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// Nothing.
    None,
    /// Leaves a message out, for one connection.
    Drops(usize),
    /// Sends a message twice, to one connection.
    Repeats(usize),
    /// Sends a message behind the one after it, to one connection.
    Swaps(usize),
    /// Changes a byte, for one connection.
    Corrupts(usize),
    /// Answers this request with 429 and delivers nothing of it.
    RefusesRequest(usize),
    /// Answers this request with 500 and delivers all of it.
    RefusesAndDelivers(usize),
    /// Closes one connection with 4008.
    Closes(usize),
    /// Closes all connections with 4008.
    ClosesAll(usize),
    /// Closes connections with 4001 behind their upgrade, the first so many.
    ClosesUpgraded(usize),
    /// Sends the messages of a request to the devices of every topic.
    Misroutes(usize),
    /// Answers upgrades with 503, from this one on.
    RefusesUpgrades(usize),
    /// Leaves a message out, for everybody, whenever more than this many a second are published.
    DropsAbove(usize),
    /// Closes all connections once more than this many a second are published, and takes nobody any more.
    LeavesAbove(usize),
}

/// How messages are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// go-push batches.
    GoPush,
    /// A frame each.
    Raw,
}

pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) api: String,
    pub(crate) pongs: Arc<AtomicUsize>,
    /// Upgrades so far.
    pub(crate) devices: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct World {
    wire: Wire,
    mistake: Mistake,
    devices: Arc<Mutex<Vec<(String, TcpStream)>>>,
    pongs: Arc<AtomicUsize>,
    upgrades: Arc<AtomicUsize>,
    has_left: Arc<AtomicBool>,
}

impl Server {
    pub(crate) fn start(wire: Wire, mistake: Mistake) -> Self {
        let (devices, api) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let server = Self {
            url: format!("ws://{}/connect", devices.local_addr().unwrap()),
            api: format!("http://{}", api.local_addr().unwrap()),
            pongs: Arc::default(),
            devices: Arc::default(),
        };
        let world = World {
            wire,
            mistake,
            devices: Arc::default(),
            pongs: Arc::clone(&server.pongs),
            upgrades: Arc::clone(&server.devices),
            has_left: Arc::default(),
        };
        let world_of_api = world.clone();
        thread::spawn(move || {
            for socket in devices.incoming() {
                let world = world.clone();
                thread::spawn(move || device(&world, socket.unwrap()));
            }
        });
        thread::spawn(move || {
            for socket in api.incoming() {
                let world = world_of_api.clone();
                thread::spawn(move || backend(&world, &socket.unwrap()));
            }
        });
        server
    }
}

/// Reads a request's head: the request line and the length of the body.
fn head(reader: &mut impl BufRead) -> Option<(String, usize)> {
    let (mut request, mut length) = (String::new(), 0);
    reader.read_line(&mut request).ok().filter(|n| *n > 0)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        if line == "\r\n" {
            return Some((request, length));
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
}

fn device(world: &World, mut socket: TcpStream) {
    socket.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(socket.try_clone().unwrap());
    let Some((request, _)) = head(&mut reader) else { return };
    let path = match world.wire {
        Wire::GoPush => "GET /connect?join=",
        Wire::Raw => "GET /topics/",
    };
    let Some((topic, _)) = request.strip_prefix(path).and_then(|rest| rest.split_once(' ')) else {
        socket.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").unwrap();
        return;
    };
    let mut devices = world.devices.lock().unwrap();
    let is_full = matches!(world.mistake, Mistake::RefusesUpgrades(from) if devices.len() >= from);
    if is_full || world.has_left.load(Ordering::SeqCst) {
        drop(devices);
        socket.write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n").unwrap();
        return;
    }
    // The answer to the key of RFC 6455 section 1.3, and a ping in the same packet.
    socket
        .write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x89\x02hi",
        )
        .unwrap();
    world.upgrades.fetch_add(1, Ordering::SeqCst);
    if matches!(world.mistake, Mistake::ClosesUpgraded(first) if devices.len() < first) {
        socket.write_all(b"\x88\x02\x0f\xa1").unwrap();
    }
    devices.push((topic.to_owned(), socket));
    drop(devices);
    let mut frame = [0; 8];
    // A masked pong with the ping's two bytes.
    if reader.read_exact(&mut frame).is_ok() && frame[..2] == [0x8a, 0x82] {
        let hi = [frame[6] ^ frame[2], frame[7] ^ frame[3]];
        if hi == *b"hi" {
            world.pongs.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn backend(world: &World, mut socket: &TcpStream) {
    let mut reader = BufReader::new(socket.try_clone().unwrap());
    let (mut published, mut requests) = (0, 0);
    let mut recent = VecDeque::new();
    while let Some((request, length)) = head(&mut reader) {
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        if !request.starts_with("POST /push/room ") {
            socket.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").unwrap();
            continue;
        }
        requests += 1;
        if world.mistake == Mistake::RefusesRequest(requests) {
            socket.write_all(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\n\r\n{}").unwrap();
            continue;
        }
        let form = form_decode(&body);
        let form = form.strip_prefix("room=").and_then(|rest| rest.split_once("&items="));
        let (topic, items) = form.expect("the form of /push/room");
        let items: Vec<Box<RawValue>> = serde_json::from_str(items).unwrap();
        let items: Vec<String> = items.iter().map(|item| item.get().to_owned()).collect();
        recent.extend(items.iter().map(|_| Instant::now()));
        while recent.front().is_some_and(|at| at.elapsed() > RECENT) {
            recent.pop_front();
        }
        let rate = recent.len() as f64 / RECENT.as_secs_f64();
        let above = matches!(world.mistake, Mistake::DropsAbove(most) if rate > most as f64);
        if matches!(world.mistake, Mistake::LeavesAbove(most) if rate > most as f64) {
            world.has_left.store(true, Ordering::SeqCst);
        }
        deliver(world, topic, published, &items[usize::from(above)..]);
        published += items.len();
        let is_denied = world.mistake == Mistake::RefusesAndDelivers(requests);
        let status = if is_denied { "500 Oops" } else { "200 OK" };
        socket.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes()).unwrap();
    }
}

fn form_decode(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [*rest.next().unwrap(), *rest.next().unwrap()];
                out.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
            }
            b'+' => out.push(b' '),
            byte => out.push(*byte),
        }
    }
    String::from_utf8(out).unwrap()
}

/// Sends to everybody; the third device is the one that the mistake happens to.
fn deliver(world: &World, topic: &str, first: usize, items: &[String]) {
    let mut devices = world.devices.lock().unwrap();
    let last = first + items.len();
    if world.has_left.load(Ordering::SeqCst) {
        devices.iter().for_each(|(_, socket)| drop(socket.shutdown(Shutdown::Both)));
        return;
    }
    for (at, (joined, socket)) in devices.iter_mut().enumerate() {
        let misrouted =
            matches!(world.mistake, Mistake::Misroutes(position) if (first..last).contains(&position));
        if joined != topic && !misrouted {
            continue;
        }
        let mut theirs = items.to_vec();
        let hit = |position: usize| (at == 2 && (first..last).contains(&position)).then(|| position - first);
        match world.mistake {
            Mistake::Drops(position) => {
                if let Some(at) = hit(position) {
                    theirs.remove(at);
                }
            }
            Mistake::Repeats(position) => {
                if let Some(at) = hit(position) {
                    theirs.insert(at, theirs[at].clone());
                }
            }
            Mistake::Swaps(position) => {
                if let Some(at) = hit(position) {
                    assert!(at + 1 < theirs.len(), "the tick has more than one message");
                    theirs.swap(at, at + 1);
                }
            }
            Mistake::Corrupts(position) => {
                if let Some(at) = hit(position) {
                    theirs[at] = theirs[at].replacen("xx", "xy", 1);
                }
            }
            Mistake::Closes(position) => {
                if hit(position).is_some() {
                    let _ = socket.write_all(&[0x88, 2, 0x0f, 0xa8]);
                }
            }
            Mistake::ClosesAll(position) => {
                if (first..last).contains(&position) {
                    let _ = socket.write_all(&[0x88, 2, 0x0f, 0xa8]);
                    let _ = socket.shutdown(Shutdown::Both);
                }
            }
            Mistake::None
            | Mistake::RefusesUpgrades(_)
            | Mistake::ClosesUpgraded(_)
            | Mistake::RefusesRequest(_)
            | Mistake::RefusesAndDelivers(_)
            | Mistake::DropsAbove(_)
            | Mistake::LeavesAbove(_)
            | Mistake::Misroutes(_) => {}
        }
        let bytes = encode(world.wire, &theirs);
        // In two pieces, cut anywhere, so that frames are split across reads.
        let cut = bytes.len() * (at % 10) / 10;
        for piece in [&bytes[..cut], &bytes[cut..]] {
            let _ = socket.write_all(piece);
        }
    }
}

fn encode(wire: Wire, items: &[String]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut frame = |payload: String| {
        out.push(0x81);
        match payload.len() {
            short @ 0..126 => out.push(u8::try_from(short).unwrap()),
            long => {
                out.push(126);
                out.extend_from_slice(&u16::try_from(long).unwrap().to_be_bytes());
            }
        }
        out.extend_from_slice(payload.as_bytes());
    };
    match wire {
        Wire::Raw => items.iter().for_each(|item| frame(item.clone())),
        Wire::GoPush if items.is_empty() => {}
        Wire::GoPush => frame(format!(r#"{{"type":"PUSH","data":{{"items":[{}]}}}}"#, items.join(","))),
    }
    out
}
