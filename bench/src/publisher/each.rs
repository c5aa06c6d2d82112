//! One message in the body of each POST, pipelined: the server's answer to one is not waited for before the next.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::time::Duration;

use crate::http::{Url, take_response, write_post};
use crate::message::MessageSpec;

/// Messages without an answer; above it the publisher waits for the server. Their answers fit the socket's buffers, so
/// that neither end waits for the other.
const UNANSWERED_MAX: usize = 256;
/// A server that answers nothing for so long has stopped.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// One keep-alive connection.
pub(crate) struct EachTarget {
    url: Url,
    socket: TcpStream,
    requests: Vec<u8>,
    message: Vec<u8>,
    answers: Vec<u8>,
    unanswered: VecDeque<u64>,
}

impl EachTarget {
    /// Connects; publishes to this URL.
    pub(crate) fn connect(url: &Url) -> Result<Self, String> {
        let failed = |e: io::Error| format!("cannot connect to {} to publish: {e}", url.authority);
        let socket = TcpStream::connect_timeout(&url.address, ANSWER_WITHIN).map_err(failed)?;
        socket.set_nodelay(true).map_err(failed)?;
        socket.set_read_timeout(Some(ANSWER_WITHIN)).map_err(failed)?;
        socket.set_write_timeout(Some(ANSWER_WITHIN)).map_err(failed)?;
        Ok(Self {
            url: url.clone(),
            socket,
            requests: Vec::new(),
            message: Vec::new(),
            answers: Vec::new(),
            unanswered: VecDeque::new(),
        })
    }

    pub(super) fn publish(
        &mut self,
        spec: &MessageSpec,
        messages: Range<u64>,
        refused: &mut dyn FnMut(Range<u64>),
    ) -> io::Result<()> {
        self.requests.clear();
        for sequence in messages {
            self.message.clear();
            spec.write(sequence, &mut self.message);
            let Url { authority, path, .. } = &self.url;
            write_post(authority, path, "application/json", &self.message, &mut self.requests);
            self.unanswered.push_back(sequence);
        }
        self.socket.write_all(&self.requests)?;
        self.take_answers(UNANSWERED_MAX, refused)
    }

    pub(super) fn finish(&mut self, refused: &mut dyn FnMut(Range<u64>)) -> io::Result<()> {
        self.take_answers(0, refused)
    }

    /// Takes the answers that are there, and waits while more than `most` are out.
    fn take_answers(&mut self, most: usize, refused: &mut dyn FnMut(Range<u64>)) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        while !self.unanswered.is_empty() {
            let wait = self.unanswered.len() > most;
            self.socket.set_nonblocking(!wait)?;
            let read = self.socket.read(&mut buffer);
            self.socket.set_nonblocking(false)?;
            match read {
                Ok(0) => return Err(io::Error::other("the server closed the publisher's connection")),
                Ok(n) => self.answers.extend_from_slice(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && !wait => return Ok(()),
                Err(e) => return Err(e),
            }
            let mut taken = 0;
            while let Some(answer) = take_response(&self.answers[taken..])? {
                let took = (200..300).contains(&answer.response.status);
                if let Some(sequence) = self.unanswered.pop_front().filter(|_| !took) {
                    refused(sequence..sequence + 1);
                }
                taken += answer.bytes;
            }
            self.answers.drain(..taken);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    #[test]
    fn answers_that_come_late_and_in_pieces_belong_to_their_messages() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse(&format!("http://{}/p?id=x", listener.local_addr().unwrap()), "http").unwrap();
        let server = std::thread::spawn(move || {
            let mut reader = BufReader::new(listener.accept().unwrap().0);
            let mut seen = Vec::new();
            for at in 0..600 {
                let mut line = String::new();
                while line != "\r\n" {
                    line.clear();
                    reader.read_line(&mut line).unwrap();
                }
                let mut body = vec![0; 64];
                reader.read_exact(&mut body).unwrap();
                seen.push(body);
                let status = if at % 3 == 2 { "429 Slow" } else { "202 Accepted" };
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok");
                let (head, rest) = answer.as_bytes().split_at(at % answer.len());
                reader.get_mut().write_all(head).unwrap();
                reader.get_mut().write_all(rest).unwrap();
            }
            seen
        });
        let spec = MessageSpec::new(64, 1_000.0, 600);
        let mut target = EachTarget::connect(&url).unwrap();
        let mut refusals = Vec::new();
        for first in (0..600).step_by(100) {
            target.publish(&spec, first..first + 100, &mut |range| refusals.extend(range)).unwrap();
        }
        target.finish(&mut |range| refusals.extend(range)).unwrap();
        assert_eq!(refusals, (0..600).filter(|at| at % 3 == 2).collect::<Vec<u64>>());
        let seen = server.join().unwrap();
        assert!(seen.iter().enumerate().all(|(at, body)| spec.read(body) == Some(at as u64)));
    }
}
