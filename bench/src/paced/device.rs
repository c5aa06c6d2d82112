//! One device of a crew: a socket that joined some rooms, and what has come of a frame.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use super::message::{self, Read};
use super::plan::Plan;
use crate::receiver::connection::{check_upgrade, upgrade_request};
use crate::verify::{client_frame, opcode, read_head};

/// A handshake takes no longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a device ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It said goodbye, and read to the end.
    Left,
    /// It reset the connection.
    Killed,
    /// The server ended it: a close code, or what came instead.
    Server(String),
}

/// A device.
#[derive(Debug)]
pub(crate) struct Device {
    socket: TcpStream,
    rest: Vec<u8>,
    is_leaving: bool,
}

impl Device {
    /// Connects and upgrades, waiting for both; with what came behind the upgrade.
    pub(super) fn open(plan: &Plan, rooms: &[u32]) -> Result<(Self, Vec<u8>), String> {
        let failed = |e: io::Error| format!("cannot connect to {}: {e}", plan.target);
        let mut socket = TcpStream::connect_timeout(&plan.target, PATIENCE).map_err(failed)?;
        socket.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        socket.set_nodelay(true).map_err(failed)?;
        let mut path = format!("{}{}v=2", plan.path, if plan.path.contains('?') { '&' } else { '?' });
        for room in rooms {
            let _ = write!(path, "&join={}-{room}", plan.prefix);
        }
        socket.write_all(&upgrade_request(&plan.authority, &path)).map_err(failed)?;
        let (mut head, mut buffer) = (Vec::new(), [0; 1024]);
        loop {
            let read = socket.read(&mut buffer).map_err(failed)?;
            if read == 0 {
                return Err("the server closed the connection instead of upgrading it".into());
            }
            head.extend_from_slice(&buffer[..read]);
            if let Some(answered) = check_upgrade(&mut head) {
                let tail = answered?;
                socket.set_nonblocking(true).map_err(failed)?;
                return Ok((Self { socket, rest: Vec::new(), is_leaving: false }, tail));
            }
        }
    }

    /// The descriptor.
    pub(super) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// The socket, to read from.
    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Whether it has said goodbye.
    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    /// Joins a room, or leaves it.
    pub(super) fn say(&mut self, joins: bool, room: &str) -> io::Result<()> {
        self.socket.write_all(&message::membership(joins, room))
    }

    /// Says goodbye; what the server has still sent is read.
    pub(super) fn say_goodbye(&mut self) -> io::Result<()> {
        self.is_leaving = true;
        self.socket.write_all(&client_frame(opcode::CLOSE, &1000_u16.to_be_bytes()))
    }

    /// Ends the connection with a reset: whatever has not been read is lost.
    pub(super) fn reset(self) {
        let socket = socket2::Socket::from(self.socket);
        if socket.set_linger(Some(Duration::ZERO)).is_err() {
            // Without it the close is orderly, and what was not read still makes it a reset.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Takes bytes; the messages that are whole now, and the end if the server said so.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        plan: &Plan,
        seen: &mut Vec<Read>,
    ) -> Result<Option<End>, String> {
        self.rest.extend_from_slice(bytes);
        let (mut at, mut end) = (0, None);
        let mut outcome = Ok(());
        while let Some(head) = read_head(&self.rest[at..])? {
            let from = at + head.bytes;
            let Some(payload) = self.rest.get(from..from + head.payload as usize) else { break };
            match head.opcode {
                opcode::TEXT => outcome = outcome.and(message::read(payload, &plan.prefix, plan.bytes, seen)),
                opcode::PING => {
                    let pong = client_frame(opcode::PONG, payload);
                    let _ = self.socket.write_all(&pong);
                }
                opcode::CLOSE => {
                    let code = payload.first_chunk::<2>().map_or(1005, |code| u16::from_be_bytes(*code));
                    end = Some(End::Server(code.to_string()));
                }
                _ => {}
            }
            at = from + head.payload as usize;
        }
        self.rest.drain(..at);
        if self.rest.is_empty() {
            self.rest = Vec::new();
        }
        outcome.map(|()| end)
    }
}
