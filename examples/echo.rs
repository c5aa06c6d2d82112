//! An echo server on the gateway's own upgrade, decoder and connection: for a WebSocket conformance suite to aim at.
//!
//! ```text
//! cargo run --release --example echo -- 127.0.0.1:9001      then: ws://127.0.0.1:9001/connect
//! ```
//!
//! A thread per connection and blocking sockets, because a suite has one connection at a time; everything between the
//! socket's bytes is what the gateway runs.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use fanfare::config::Config;
use fanfare_core::model::{Batch, Encoded, FormatId, Tick};
use fanfare_core::protocols::{Command, Format};
use fanfare_core::session::{Connection, Phase, Rules};
use fanfare_core::websocket::frame::Opcode;
use fanfare_core::websocket::handshake::{self, Parsed};

/// Suites send messages of 16 MiB.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Sends every message back.
struct Echo;

impl Format for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn encode(&self, _: &Batch) -> Encoded {
        Encoded::default()
    }

    fn command<'a>(&self, text: &'a str) -> Command<'a> {
        Command::Answer { opcode: Opcode::Text, payload: text.as_bytes() }
    }

    fn binary<'a>(&self, bytes: &'a [u8]) -> Command<'a> {
        Command::Answer { opcode: Opcode::Binary, payload: bytes }
    }
}

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".to_owned());
    let listener = TcpListener::bind(&address)?;
    println!("echo at ws://{}/connect", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::spawn(move || {
            // What a client does to its connection is its own affair.
            let _ = serve(stream);
        });
    }
    Ok(())
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut config = Config::default();
    config.clients.message_bytes_max = MESSAGE_BYTES_MAX;
    let rules = Rules::new(&config.clients, config.outbox, 1);

    let mut input = vec![0; 64 * 1024];
    let mut head = Vec::new();
    let mut tail = loop {
        let count = stream.read(&mut input)?;
        if count == 0 {
            return Ok(());
        }
        head.extend_from_slice(&input[..count]);
        match handshake::parse(&head, &config.clients) {
            Parsed::Incomplete => {}
            Parsed::Refused(refusal) => return stream.write_all(&refusal.response),
            Parsed::Upgrade(upgrade) => {
                stream.write_all(&upgrade.response)?;
                break head.split_off(upgrade.head_bytes);
            }
        }
    };

    let mut connection = Connection::new(-1, FormatId::RAW, Tick(0));
    let mut replies = Vec::new();
    let mut received = tail.len();
    loop {
        let bytes = if tail.is_empty() { &mut input[..received] } else { &mut tail[..] };
        connection.handle_bytes(bytes, &Echo, Tick(0), &rules, &mut replies, &mut |_| {});
        tail.clear();
        stream.write_all(&replies)?;
        replies.clear();
        if connection.phase() == Phase::Finishing {
            stream.shutdown(Shutdown::Write)?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            while stream.read(&mut input).is_ok_and(|count| count > 0) {}
            return Ok(());
        }
        received = stream.read(&mut input)?;
        if received == 0 {
            return Ok(());
        }
    }
}
