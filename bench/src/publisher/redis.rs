//! Redis: PUBLISH, pipelined. As much RESP as that needs.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::ops::Range;
use std::time::Duration;

use crate::message::MessageSpec;

/// Publishes without an answer; above it the publisher waits for Redis.
const UNANSWERED_MAX: usize = 4096;

/// One connection to Redis.
pub(crate) struct RedisTarget {
    socket: TcpStream,
    /// By topic.
    channels: Vec<String>,
    commands: Vec<u8>,
    message: Vec<u8>,
    answers: Vec<u8>,
    unanswered: VecDeque<u64>,
}

impl RedisTarget {
    /// Connects; publishes to these channels, one for each topic.
    pub(crate) fn connect(address: &str, channels: Vec<String>) -> Result<Self, String> {
        let failed = |e: io::Error| format!("cannot connect to Redis at {address}: {e}");
        let resolved = address.to_socket_addrs().map_err(failed)?.next();
        let resolved = resolved.ok_or_else(|| format!("{address} has no address"))?;
        let socket = TcpStream::connect_timeout(&resolved, Duration::from_secs(5)).map_err(failed)?;
        socket.set_nodelay(true).map_err(failed)?;
        socket.set_read_timeout(Some(Duration::from_secs(10))).map_err(failed)?;
        Ok(Self {
            socket,
            channels,
            commands: Vec::new(),
            message: Vec::new(),
            answers: Vec::new(),
            unanswered: VecDeque::new(),
        })
    }

    pub(super) fn publish(
        &mut self,
        topic: usize,
        spec: &MessageSpec,
        messages: Range<u64>,
        refused: &mut dyn FnMut(Range<u64>),
    ) -> io::Result<()> {
        self.commands.clear();
        for sequence in messages {
            self.message.clear();
            spec.write(sequence, &mut self.message);
            let (channel, bytes) = (&self.channels[topic], self.message.len());
            write!(self.commands, "*3\r\n$7\r\nPUBLISH\r\n${}\r\n{channel}\r\n${bytes}\r\n", channel.len())?;
            self.commands.extend_from_slice(&self.message);
            self.commands.extend_from_slice(b"\r\n");
            self.unanswered.push_back(spec.number(sequence));
        }
        self.socket.write_all(&self.commands)?;
        self.take_answers(UNANSWERED_MAX, refused)
    }

    pub(super) fn finish(&mut self, refused: &mut dyn FnMut(Range<u64>)) -> io::Result<()> {
        self.take_answers(0, refused)
    }

    /// Takes the answers that are there, and waits while more than `most` are out.
    fn take_answers(&mut self, most: usize, refused: &mut dyn FnMut(Range<u64>)) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        loop {
            let wait = self.unanswered.len() > most;
            self.socket.set_nonblocking(!wait)?;
            let read = self.socket.read(&mut buffer);
            self.socket.set_nonblocking(false)?;
            match read {
                Ok(0) => return Err(io::Error::other("Redis closed the connection")),
                Ok(n) => self.answers.extend_from_slice(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && !wait => return Ok(()),
                Err(e) => return Err(e),
            }
            let mut taken = 0;
            while let Some(end) = self.answers[taken..].windows(2).position(|window| window == b"\r\n") {
                let line = &self.answers[taken..taken + end];
                // An integer is the number of subscribers: with none, nobody will ever get the message.
                let took = line.first() == Some(&b':') && line != b":0";
                if let Some(sequence) = self.unanswered.pop_front().filter(|_| !took) {
                    refused(sequence..sequence + 1);
                }
                taken += end + 2;
            }
            self.answers.drain(..taken);
            if self.unanswered.is_empty() {
                return Ok(());
            }
        }
    }
}
