//! From a TCP connection to an upgraded one: the part of a connection's life that is async and short.
//!
//! A handshake owns its socket and a buffer until it is done, refused or late; then the socket moves to the shard and
//! nothing stays behind. *Not here*: what a head means (`wire::upgrade`), everything after it (`super`).

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::os::fd::IntoRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt, CancelHandle};
use monoio::net::{TcpListener, TcpStream};

use super::Arrival;
use crate::config::Clients;
use crate::limits::UPGRADE_HEAD_BYTES_MAX;
use crate::metrics::{Blocks, HandshakeFailure, ShardBlock};
use crate::ring::doorbell::Doorbell;
use crate::wire::upgrade::{self, Parsed};

/// First size of a head's buffer; devices' heads are smaller.
const HEAD_BYTES_FIRST: usize = 1024;

/// Pause after an accept that failed (EMFILE, ENOMEM, …): trying at once again would only burn the core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Who is let in.
///
/// ```text
///  Open ──► Closing: accept ends, handshakes under way go on ──► Closed: they are answered 503
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Open,
    Closing,
    Closed,
}

/// What accept and the shard's loop share, on one thread.
pub struct Lobby {
    number: usize,
    blocks: Arc<Blocks>,
    clients: RefCell<Clients>,
    doorbell: Arc<Doorbell>,
    /// Done, and not yet fetched by the loop. Bounded by the handshakes in flight.
    arrivals: RefCell<Vec<Arrival>>,
    in_flight: Cell<usize>,
    door: Cell<Door>,
    /// Whether [`accept`] runs: while it does, one more may come in.
    accepting: Cell<bool>,
}

impl Lobby {
    /// An empty one.
    pub fn new(number: usize, blocks: Arc<Blocks>, clients: Clients, doorbell: Arc<Doorbell>) -> Rc<Self> {
        Rc::new(Self {
            number,
            blocks,
            clients: RefCell::new(clients),
            doorbell,
            arrivals: RefCell::default(),
            in_flight: Cell::new(0),
            door: Cell::new(Door::Open),
            accepting: Cell::new(true),
        })
    }

    /// Whether nobody has arrived.
    pub fn is_empty(&self) -> bool {
        self.arrivals.borrow().is_empty()
    }

    /// Everybody who has arrived.
    pub fn take(&self) -> Vec<Arrival> {
        self.arrivals.take()
    }

    /// Goes by these rules from the next handshake on.
    pub fn configure(&self, clients: &Clients) {
        self.clients.replace(clients.clone());
    }

    /// From now on nobody is accepted; the caller makes the pending accept return. Handshakes under way go on.
    pub fn begin_closing(&self) {
        self.door.set(Door::Closing);
    }

    /// From now on every handshake is answered 503.
    pub fn close(&self) {
        self.door.set(Door::Closed);
    }

    /// Whether nobody can arrive any more.
    pub fn is_settled(&self) -> bool {
        let none_under_way = !self.accepting.get() && self.in_flight.get() == 0;
        self.is_empty() && (none_under_way || self.door.get() == Door::Closed)
    }

    fn block(&self) -> &ShardBlock {
        &self.blocks.shards[self.number]
    }

    fn fail(&self, failure: HandshakeFailure) {
        self.block().handshakes_failed[failure as usize].add(1);
    }

    fn is_full(&self) -> bool {
        self.door.get() == Door::Closed || self.in_flight.get() >= self.clients.borrow().handshakes_max
    }

    fn count(&self, change: isize) {
        self.in_flight.set(self.in_flight.get().wrapping_add_signed(change));
        self.block().handshakes.set(self.in_flight.get() as u64);
    }
}

/// Accepts until the lobby closes and the pending accept returns: because its listener was shut down, or because `stop`
/// cancels it. The future of a cancelled accept is still awaited: a connection that it has taken by then is served.
pub async fn accept(listener: TcpListener, lobby: Rc<Lobby>, stop: CancelHandle) {
    while lobby.door.get() == Door::Open {
        match listener.cancelable_accept(stop.clone()).await {
            Ok((stream, _)) if lobby.is_full() => {
                lobby.block().accepted.add(1);
                lobby.fail(HandshakeFailure::Overload);
                // A new socket has room for a short answer: this does not wait.
                answer(stream, upgrade::overload_response().to_vec()).await;
            }
            Ok((stream, peer)) => {
                lobby.block().accepted.add(1);
                lobby.count(1);
                // Boxed for its size, and so are its parts: a task as large as the runtime's own state lies in
                // the same pages of the allocator, and that state would keep what a crowd of handshakes touched.
                monoio::spawn(Box::pin(handshake(stream, peer, Rc::clone(&lobby))));
            }
            Err(_) if lobby.door.get() != Door::Open => break,
            Err(error) => {
                lobby.block().accept_errors.add(1);
                tracing::warn!(shard = lobby.number, %error, "accept failed");
                monoio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    lobby.accepting.set(false);
    lobby.doorbell.ring();
}

async fn handshake(mut stream: TcpStream, peer: SocketAddr, lobby: Rc<Lobby>) {
    let deadline = lobby.clients.borrow().upgrade_deadline;
    let head = monoio::time::timeout(deadline, Box::pin(read_head(&mut stream, &lobby))).await;
    match head {
        Ok(Ok(Head::Upgrade { upgrade, tail })) if lobby.door.get() != Door::Closed => {
            let upgrade::Upgrade { format, topics, response, .. } = upgrade;
            let fd = stream.into_raw_fd();
            let arrival = Arrival { fd, peer: Some(peer), format, topics, response, tail };
            lobby.arrivals.borrow_mut().push(arrival);
            lobby.doorbell.ring();
        }
        Ok(Ok(Head::Upgrade { .. })) => {
            lobby.fail(HandshakeFailure::Overload);
            Box::pin(answer(stream, upgrade::overload_response().to_vec())).await;
        }
        Ok(Ok(Head::Refused(refusal))) => {
            lobby.fail(refusal.failure);
            Box::pin(answer(stream, refusal.response)).await;
        }
        Ok(Err(_)) => lobby.fail(HandshakeFailure::Gone),
        Err(_late) => {
            lobby.fail(HandshakeFailure::Timeout);
            Box::pin(answer(stream, upgrade::timeout_response().to_vec())).await;
        }
    }
    lobby.count(-1);
    if lobby.door.get() != Door::Open {
        lobby.doorbell.ring();
    }
}

enum Head {
    Upgrade { upgrade: upgrade::Upgrade, tail: Vec<u8> },
    Refused(upgrade::Refusal),
}

/// Reads until the head is whole or hopeless.
async fn read_head(stream: &mut TcpStream, lobby: &Lobby) -> io::Result<Head> {
    let mut head: Vec<u8> = Vec::new();
    let mut buffer = Vec::with_capacity(HEAD_BYTES_FIRST);
    loop {
        let (read, filled) = stream.read(buffer).await;
        if read? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer = filled;
        head.append(&mut buffer);
        match upgrade::parse(&head, &lobby.clients.borrow()) {
            Parsed::Upgrade(upgrade) => {
                let tail = head.split_off(upgrade.head_bytes);
                return Ok(Head::Upgrade { upgrade, tail });
            }
            Parsed::Refused(refusal) => return Ok(Head::Refused(refusal)),
            Parsed::Incomplete => buffer.reserve(UPGRADE_HEAD_BYTES_MAX),
        }
    }
}

/// Sends a last answer. FIN goes behind it, so that a client that still talks can read it first.
async fn answer(mut stream: TcpStream, response: Vec<u8>) {
    let (written, _) = stream.write_all(response).await;
    if written.is_ok() {
        let _ = stream.shutdown().await;
    }
}
