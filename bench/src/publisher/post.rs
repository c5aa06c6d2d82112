//! Messages in the bodies of POSTs, pipelined: the server's answer to one is not waited for before the next, so that a
//! server which is busy with one publish is not spared the next.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::time::Duration;

use crate::http::{Url, take_response, write_post};
use crate::message::MessageSpec;

/// Requests without an answer; above it the publisher waits for the server. Their answers fit the socket's buffers, so
/// that neither end waits for the other.
const UNANSWERED_MAX: usize = 256;
/// A server that answers nothing for so long has stopped.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// One message.
    Each,
    /// A JSON array of all messages of a publish.
    Array,
}

/// One keep-alive connection.
pub(crate) struct PostTarget {
    url: Url,
    holds: Body,
    socket: TcpStream,
    requests: Vec<u8>,
    body: Vec<u8>,
    answers: Vec<u8>,
    unanswered: VecDeque<Range<u64>>,
}

impl PostTarget {
    /// Connects; publishes to this URL.
    pub(crate) fn connect(url: &Url, holds: Body) -> Result<Self, String> {
        let failed = |e: io::Error| format!("cannot connect to {} to publish: {e}", url.authority);
        let socket = TcpStream::connect_timeout(&url.address, ANSWER_WITHIN).map_err(failed)?;
        socket.set_nodelay(true).map_err(failed)?;
        socket.set_read_timeout(Some(ANSWER_WITHIN)).map_err(failed)?;
        socket.set_write_timeout(Some(ANSWER_WITHIN)).map_err(failed)?;
        Ok(Self {
            url: url.clone(),
            holds,
            socket,
            requests: Vec::new(),
            body: Vec::new(),
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
        match self.holds {
            Body::Array => {
                self.body.clear();
                for sequence in messages.clone() {
                    self.body.push(if sequence == messages.start { b'[' } else { b',' });
                    spec.write(sequence, &mut self.body);
                }
                self.body.push(b']');
                self.request(messages);
            }
            Body::Each => {
                for sequence in messages {
                    self.body.clear();
                    spec.write(sequence, &mut self.body);
                    self.request(sequence..sequence + 1);
                }
            }
        }
        self.socket.write_all(&self.requests).map_err(|e| in_words(e, "nothing was taken"))?;
        self.take_answers(UNANSWERED_MAX, refused)
    }

    /// The body, which has these messages.
    fn request(&mut self, messages: Range<u64>) {
        let Url { authority, path, .. } = &self.url;
        write_post(authority, path, "application/json", &self.body, &mut self.requests);
        self.unanswered.push_back(messages);
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
                Err(e) => return Err(in_words(e, "no answer")),
            }
            let mut taken = 0;
            while let Some(answer) = take_response(&self.answers[taken..])? {
                if answer.response.status == 403 {
                    return Err(super::http::forbidden(&answer.response));
                }
                let took = (200..300).contains(&answer.response.status);
                if let Some(messages) = self.unanswered.pop_front().filter(|_| !took) {
                    refused(messages);
                }
                taken += answer.bytes;
            }
            self.answers.drain(..taken);
        }
        Ok(())
    }
}

/// The kernel's word for a timeout of a socket is that the resource is temporarily unavailable.
fn in_words(e: io::Error, what: &str) -> io::Error {
    match e.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            let within = ANSWER_WITHIN.as_secs();
            io::Error::new(io::ErrorKind::TimedOut, format!("{what} within {within} s"))
        }
        _ => e,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    /// Answers every third of so many requests with 429, in two pieces; returns their bodies.
    fn server(listener: &TcpListener, requests: usize) -> Vec<Vec<u8>> {
        let mut reader = BufReader::new(listener.accept().unwrap().0);
        let mut seen = Vec::new();
        for at in 0..requests {
            let (mut line, mut length) = (String::new(), 0);
            while line != "\r\n" {
                line.clear();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.strip_prefix("Content-Length: ") {
                    length = value.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            seen.push(body);
            let status = if at % 3 == 2 { "429 Slow" } else { "202 Accepted" };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok");
            let (head, rest) = answer.as_bytes().split_at(at % answer.len());
            reader.get_mut().write_all(head).unwrap();
            reader.get_mut().write_all(rest).unwrap();
        }
        seen
    }

    /// Publishes 600 messages, 100 at once: what was refused, and the bodies.
    fn publish(holds: Body, requests: usize) -> (MessageSpec, Vec<u64>, Vec<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse(&format!("http://{}/p?id=x", listener.local_addr().unwrap()), "http").unwrap();
        let server = std::thread::spawn(move || server(&listener, requests));
        let spec = MessageSpec::new(64, 1_000.0, 600);
        let mut target = PostTarget::connect(&url, holds).unwrap();
        let mut refusals = Vec::new();
        for first in (0..600).step_by(100) {
            target.publish(&spec, first..first + 100, &mut |range| refusals.extend(range)).unwrap();
        }
        target.finish(&mut |range| refusals.extend(range)).unwrap();
        (spec, refusals, server.join().unwrap())
    }

    #[test]
    fn answers_that_come_late_and_in_pieces_belong_to_their_messages() {
        let (spec, refusals, seen) = publish(Body::Each, 600);
        assert_eq!(refusals, (0..600).filter(|at| at % 3 == 2).collect::<Vec<u64>>());
        assert!(seen.iter().enumerate().all(|(at, body)| spec.read(body) == Some(at as u64)));
    }

    #[test]
    fn a_server_that_never_answers_is_told_with_the_time_that_it_had() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse(&format!("http://{}/p", listener.local_addr().unwrap()), "http").unwrap();
        let mut target = PostTarget::connect(&url, Body::Each).unwrap();
        target.socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        target.socket.set_write_timeout(Some(Duration::from_millis(20))).unwrap();
        let spec = MessageSpec::new(64, 1_000.0, 600);
        target.publish(&spec, 0..1, &mut |_| {}).unwrap();
        assert_eq!(target.finish(&mut |_| {}).unwrap_err().to_string(), "no answer within 10 s");
        let large = MessageSpec::new(60_000, 1_000.0, 600);
        let why = target.publish(&large, 0..400, &mut |_| {}).unwrap_err().to_string();
        assert_eq!(why, "nothing was taken within 10 s");
    }

    #[test]
    fn an_array_is_one_request_and_refused_as_a_whole() {
        let (spec, refusals, seen) = publish(Body::Array, 6);
        assert_eq!(refusals, (200..300).chain(500..600).collect::<Vec<u64>>());
        for (at, body) in seen.iter().enumerate() {
            let items: Vec<&serde_json::value::RawValue> = serde_json::from_slice(body).unwrap();
            let read = items.iter().map(|item| spec.read(item.get().as_bytes()).unwrap());
            assert!(read.eq(at as u64 * 100..at as u64 * 100 + 100));
        }
    }
}
