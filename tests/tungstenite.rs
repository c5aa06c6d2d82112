//! The program as tungstenite's client sees it: upgrade, commands, a push by HTTP, both closes, the drain.
//!
//! *Not here*: other clients and Redis (`tests/e2e`).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

/// A gateway on free ports; killed when the test ends without having stopped it.
struct Gateway {
    process: Child,
    devices: String,
    api: String,
}

impl Gateway {
    fn start() -> Self {
        let process = Command::new(env!("CARGO_BIN_EXE_fanfare"))
            .args(["--listen", "127.0.0.1:0", "--api", "127.0.0.1:0", "--shards", "2"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("the gateway starts");
        let mut gateway = Self { process, devices: String::new(), api: String::new() };
        let mut log = BufReader::new(gateway.process.stderr.take().expect("a log"));
        loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).expect("a line") > 0, "the gateway ended before it served");
            if let Some((_, rest)) = line.split_once("devices connect to ") {
                let (devices, api) =
                    rest.trim().split_once(", the API is at http://").expect("both addresses");
                (gateway.devices, gateway.api) = (devices.to_owned(), api.to_owned());
                std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
                return gateway;
            }
        }
    }

    fn connect(&self, path: &str) -> WebSocket<TcpStream> {
        let stream = TcpStream::connect(&self.devices).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a deadline");
        let (socket, _) =
            tungstenite::client(format!("ws://{}{path}", self.devices), stream).expect("an upgrade");
        socket
    }

    fn push(&self, topic: &str, items: &str) {
        let body = format!("room={topic}&items={items}");
        let mut stream = TcpStream::connect(&self.api).expect("the API");
        write!(
            stream,
            "POST /push/room HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}",
            body.len()
        )
        .expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn text(socket: &mut WebSocket<TcpStream>) -> String {
    match socket.read().expect("a message") {
        Message::Text(text) => text.to_string(),
        other => panic!("a text message was due: {other:?}"),
    }
}

#[test]
fn a_tungstenite_client_joins_receives_and_says_goodbye() {
    let gateway = Gateway::start();
    let mut socket = gateway.connect("/connect");
    socket.send(Message::text(r#"{"type":"JOIN","data":{"room":"news"}}"#)).expect("sent");
    socket.send(Message::text(r#"{"type":"PING","data":{}}"#)).expect("sent");
    assert_eq!(text(&mut socket), r#"{"type":"PONG","data":{}}"#);
    gateway.push("news", r#"[{"id":7},{"id":8}]"#);
    assert_eq!(text(&mut socket), r#"{"type":"PUSH","data":{"items":[{"id":7},{"id":8}]}}"#);
    socket.send(Message::Ping(b"are you there"[..].into())).expect("sent");
    assert_eq!(socket.read().expect("a pong"), Message::Pong(b"are you there"[..].into()));
    socket.close(None).expect("a close");
    assert!(matches!(socket.read().expect("the answer"), Message::Close(_)));
    assert!(matches!(socket.read(), Err(tungstenite::Error::ConnectionClosed)));
}

#[test]
fn a_drain_delivers_what_entered_and_says_1001() {
    let mut gateway = Gateway::start();
    let mut socket = gateway.connect("/topics/news");
    for n in 0..100 {
        gateway.push("news", &format!("[{n}]"));
    }
    let pid = gateway.process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
    for n in 0..100 {
        assert_eq!(text(&mut socket), n.to_string());
    }
    match socket.read().expect("a close") {
        Message::Close(Some(close)) => assert_eq!(close.code, CloseCode::Away),
        other => panic!("a close was due: {other:?}"),
    }
    let _ = socket.flush();
    drop(socket);
    assert_eq!(gateway.process.wait().expect("the end").code(), Some(0));
}
