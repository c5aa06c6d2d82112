//! Devices that are slow, each kind in its own way, and until when the server holds them.
//!
//! * *stalled*: reads nothing and says nothing, with the system's receive buffer; its kernel still acknowledges.
//! * *trickling*: reads a few bytes at a time through the smallest receive buffer, answers and pings like a device.
//! * *vanished*: a socket filter drops every segment before TCP sees it (`SO_ATTACH_FILTER`), so nothing is
//!   acknowledged, nothing is refused and no FIN is sent: a device that lost its network. The server can only time out.
//!
//! The server has given a connection up when its kernel no longer has it as established, which `sock_diag` says once a
//! second though the device itself reads nothing. *Not here*: reading and verifying (`thread`).

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::Instant;

use socket2::{SockFilter, SockRef};

use super::churn::Pace;
use super::connection::{Connection, Role};
use super::plan::Plan;
use crate::histogram::Recorder;
use crate::sys::diag::Diag;
use crate::verify::Tally;

/// Reads of a trickling device a second.
const TRICKLE_READS_PER_S: u32 = 10;
/// Looks and reads of one turn of the loop.
const DUE_PER_TURN: u64 = 256;

/// What one thread saw of one kind.
#[derive(Clone, Default)]
pub(crate) struct SlowSeen {
    /// What they read, at their own pace or at the end, and how they were closed as far as they could read it.
    pub(crate) tally: Tally,
    /// From the load's begin until the server had given the connection up, microseconds, to the second.
    pub(crate) given_up: Recorder,
    /// Connections that the server still held when everybody left.
    pub(crate) held: u64,
    /// Connections whose end at the server cannot be seen: it is not on this machine.
    pub(crate) unseen: u64,
}

/// What is known of the server's end of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Not asked for yet.
    Unknown,
    /// The kernel knows no such socket: another machine, or another network namespace.
    Unseen,
    Held,
    GivenUp,
}

/// The slow connections of one thread: the last ones of its list.
pub(super) struct Slow {
    /// The first one's place in the list.
    first: usize,
    ends: Vec<End>,
    trickling: Range<usize>,
    diag: Option<Diag>,
    looks: Pace,
    look_next: usize,
    reads: Pace,
    read_next: usize,
    read_bytes: usize,
}

impl Slow {
    pub(super) fn new(plan: &Plan) -> Self {
        let first = plan.staying + plan.churning;
        let trickling = first + plan.slow.stalled..first + plan.slow.stalled + plan.slow.trickling;
        let slow = plan.slow.total();
        Self {
            first,
            ends: vec![End::Unknown; slow],
            diag: if slow > 0 { Diag::new().ok() } else { None },
            looks: Pace::new(slow as f64),
            look_next: 0,
            reads: Pace::new(trickling.len() as f64 * f64::from(TRICKLE_READS_PER_S)),
            read_next: trickling.start,
            read_bytes: (plan.slow.trickle_bytes_per_s / TRICKLE_READS_PER_S).max(1) as usize,
            trickling,
        }
    }

    /// A slow connection is open: from now on it is what it is.
    pub(super) fn opened(&mut self, at: usize, role: Role, socket: &TcpStream) -> io::Result<()> {
        self.ends[at - self.first] = match self.is_held(socket) {
            Some(true) => End::Held,
            _ => End::Unseen,
        };
        if role == Role::Vanishes {
            // BPF_RET | BPF_K 0: keep no byte of any segment.
            SockRef::from(socket).attach_filter(&[SockFilter::new(6, 0, 0, 0)])?;
        }
        Ok(())
    }

    /// `None`: it cannot be known.
    fn is_held(&mut self, socket: &TcpStream) -> Option<bool> {
        let (SocketAddr::V4(server), SocketAddr::V4(device)) =
            (socket.peer_addr().ok()?, socket.local_addr().ok()?)
        else {
            return None;
        };
        self.diag.as_mut()?.is_established(server, device).ok()
    }

    /// The next trickling connection whose read is due, and how much it may read.
    pub(super) fn reads_due(&mut self, now: Instant) -> (u64, usize) {
        if self.trickling.is_empty() {
            return (0, 0);
        }
        (self.reads.take_due(now, DUE_PER_TURN), self.read_bytes)
    }

    /// The connection of the next such read.
    pub(super) fn next_read(&mut self) -> usize {
        let at = self.read_next;
        self.read_next = if at + 1 == self.trickling.end { self.trickling.start } else { at + 1 };
        at
    }

    /// Asks for the server's end of those that are due; each is once a second.
    pub(super) fn look(
        &mut self,
        now: Instant,
        now_us: u64,
        connections: &[Connection],
        seen: &mut [SlowSeen; 3],
    ) {
        if self.ends.is_empty() {
            return;
        }
        for _ in 0..self.looks.take_due(now, DUE_PER_TURN) {
            let at = self.look_next;
            self.look_next = (at + 1) % self.ends.len();
            let connection = &connections[self.first + at];
            if self.ends[at] == End::Held
                && let Some(socket) = connection.socket()
                && self.is_held(socket) == Some(false)
            {
                self.given_up(self.first + at, now_us, connection.role, seen);
            }
        }
    }

    /// The server gave it up, which a look or the connection itself found out.
    pub(super) fn given_up(&mut self, at: usize, now_us: u64, role: Role, seen: &mut [SlowSeen; 3]) {
        let end = &mut self.ends[at - self.first];
        if let (End::Held | End::Unseen, Some(kind)) = (*end, role.slow()) {
            *end = End::GivenUp;
            seen[kind].given_up.record(now_us);
        }
    }

    /// Slow connections that the server holds, as far as it can be seen.
    pub(super) fn held(&self) -> usize {
        self.ends.iter().filter(|end| **end == End::Held).count()
    }

    /// The end.
    pub(super) fn leave(&self, connections: &[Connection], seen: &mut [SlowSeen; 3]) {
        for (end, connection) in self.ends.iter().zip(&connections[self.first..]) {
            let Some(kind) = connection.role.slow() else { continue };
            seen[kind].held += u64::from(*end == End::Held);
            seen[kind].unseen += u64::from(matches!(end, End::Unseen | End::Unknown));
            if connection.role == Role::Vanishes
                && let Some(socket) = connection.socket()
            {
                // A FIN that nobody can acknowledge would keep the socket for minutes; a reset frees both ends now.
                let _ = SockRef::from(socket).set_linger(Some(std::time::Duration::ZERO));
            }
        }
    }
}
