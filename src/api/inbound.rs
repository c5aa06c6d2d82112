//! Requests out of the bytes of one API connection. Pure: bytes in, requests or a refusal out.
//!
//! ```text
//!  Head ── head whole ─► Body ── body whole ─► Head (the next request; bytes may be here already)
//!    │       (admitted)    │
//!    └──── refused ────────┴───── refused ───► Refused (nothing more is read from this client)
//! ```
//! *Not here*: sockets and deadlines (`connection`), what a request means (`routes`).

use bytes::{Bytes, BytesMut};

use crate::api::body::{Decoder, Progress};
use crate::api::head::{self, Head, Method};
use crate::api::refusal::Refusal;
use crate::config;

/// A whole request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path, percent-encoded, without the query.
    pub path: String,
    /// What the client accepts, if it says more than "anything".
    pub accept: Option<String>,
    /// The body; empty when there was none.
    pub body: Bytes,
    /// Another request may follow on the connection.
    pub keep_alive: bool,
}

/// What the connection must do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Read more.
    Read,
    /// Tell the client to go on (100), then read more.
    Continue,
    /// A head is whole: give the connection a place, unless it is a probe's, or refuse it.
    Admit {
        /// Its method.
        method: Method,
        /// It asks how the process is.
        is_probe: bool,
    },
    /// Answer.
    Answer(Request),
    /// Answer that, then close: where the next request begins is not known. The method is there when the head was.
    Refuse(Refusal, Option<Method>),
}

/// Requests on their way in. Holds at most a head's bytes, one read's bytes and one body.
#[derive(Debug, Default)]
pub struct Inbound {
    state: State,
    bytes: BytesMut,
    /// Up to here there is no head's end.
    searched: usize,
    /// The client waits for a 100 before it sends the body.
    is_awaited: bool,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Head,
    Body {
        head: Head,
        decoder: Decoder,
    },
    Refused,
}

impl Inbound {
    /// Takes what was read.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether no byte of a next request is here.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Head) && self.bytes.is_empty()
    }

    /// Whether a head was whole and its body is not.
    pub fn is_in_body(&self) -> bool {
        matches!(self.state, State::Body { .. })
    }

    /// Bytes that are allocated for a request once `more` have come.
    pub fn capacity_with(&self, more: usize) -> usize {
        let body = match &self.state {
            State::Body { decoder, .. } => decoder.capacity_with(self.bytes.len() + more),
            State::Head | State::Refused => 0,
        };
        body + self.bytes.capacity().max(self.bytes.len() + more)
    }

    /// What to do next by these rules. Call again after [`Step::Answer`]: the next request may be here.
    pub fn poll_step(&mut self, rules: &config::Api) -> Step {
        match std::mem::replace(&mut self.state, State::Refused) {
            State::Refused => Step::Read,
            State::Head => match self.take_head(rules) {
                Ok(None) => {
                    self.state = State::Head;
                    Step::Read
                }
                Ok(Some(Head { denied: Some(refusal), method, .. })) => Step::Refuse(refusal, Some(method)),
                Ok(Some(head)) => match Decoder::new(head.framing, rules.body_bytes_max) {
                    Ok(decoder) => {
                        // RFC 9110, section 10.1.1: no 100 when some of the body is here, and none without a body.
                        let waits = head.expects_continue
                            && self.bytes.is_empty()
                            && head.framing != head::Framing::Length(0);
                        let (method, is_probe) = (head.method, head.is_probe());
                        self.state = State::Body { head, decoder };
                        self.is_awaited = waits;
                        Step::Admit { method, is_probe }
                    }
                    Err(refusal) => Step::Refuse(refusal, Some(head.method)),
                },
                Err(refusal) => Step::Refuse(refusal, None),
            },
            State::Body { head, decoder } if std::mem::take(&mut self.is_awaited) => {
                self.state = State::Body { head, decoder };
                Step::Continue
            }
            State::Body { head, mut decoder } => match decoder.take(&mut self.bytes) {
                Ok(Progress::Partial) => {
                    self.state = State::Body { head, decoder };
                    Step::Read
                }
                Ok(Progress::Whole) => {
                    self.state = State::Head;
                    Step::Answer(Request {
                        method: head.method,
                        path: head.path,
                        accept: head.accept,
                        body: decoder.into_bytes().into(),
                        keep_alive: head.keep_alive,
                    })
                }
                Err(refusal) => Step::Refuse(refusal, Some(head.method)),
            },
        }
    }

    fn take_head(&mut self, rules: &config::Api) -> Result<Option<Head>, Refusal> {
        // A head ends with a line's end. Without a new one there is nothing to parse again: a client that sends
        // single bytes does not make each of them cost a whole head.
        let fresh = &self.bytes[self.searched.min(self.bytes.len())..];
        if !fresh.contains(&b'\n') && self.bytes.len() <= fanfare_core::limits::API_HEAD_BYTES_MAX {
            self.searched = self.bytes.len();
            return Ok(None);
        }
        self.searched = self.bytes.len();
        let Some((head, length)) = head::parse(&self.bytes, rules)? else { return Ok(None) };
        let _ = self.bytes.split_to(length);
        self.searched = 0;
        Ok(Some(head))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::refusal::Code;
    use crate::config::Config;
    use fanfare_core::limits::API_HEAD_BYTES_MAX;

    const THREE: &[u8] = b"POST /push/all HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7\r\n\r\nitems=1\
        POST /v1/push HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n\
        GET /stats HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

    fn rules() -> config::Api {
        config::Api { body_bytes_max: 100, ..Config::default().api }
    }

    fn requests(inbound: &mut Inbound) -> Vec<(String, Vec<u8>, bool)> {
        let mut requests = Vec::new();
        loop {
            match inbound.poll_step(&rules()) {
                Step::Answer(request) => {
                    requests.push((request.path, request.body.to_vec(), request.keep_alive));
                }
                Step::Read => return requests,
                Step::Admit { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn the_three() -> Vec<(String, Vec<u8>, bool)> {
        vec![
            ("/push/all".into(), b"items=1".to_vec(), true),
            ("/v1/push".into(), b"{}".to_vec(), true),
            ("/stats".into(), Vec::new(), false),
        ]
    }

    #[test]
    fn pipelined_requests_come_out_one_by_one() {
        let mut inbound = Inbound::default();
        inbound.handle_bytes(THREE);
        assert_eq!(requests(&mut inbound), the_three());
        assert!(inbound.is_idle());
    }

    proptest! {
        #[test]
        fn requests_are_the_same_however_the_bytes_are_cut(cuts in prop::collection::vec(1_usize..40, 1..40)) {
            let (mut inbound, mut rest, mut got) = (Inbound::default(), THREE, Vec::new());
            for cut in cuts.iter().cycle() {
                let (piece, tail) = rest.split_at((*cut).min(rest.len()));
                inbound.handle_bytes(piece);
                got.extend(requests(&mut inbound));
                rest = tail;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(got, the_three());
        }

        #[test]
        fn any_bytes_end_in_a_step(bytes in prop::collection::vec(any::<u8>(), 0..2000), cut in 1_usize..300) {
            let mut inbound = Inbound::default();
            'bytes: for piece in bytes.chunks(cut) {
                inbound.handle_bytes(piece);
                loop {
                    match inbound.poll_step(&rules()) {
                        Step::Read | Step::Continue => break,
                        Step::Answer(_) | Step::Admit { .. } => {}
                        Step::Refuse(refusal, _) => {
                            prop_assert!((400..=505).contains(&refusal.code.status()));
                            break 'bytes;
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_client_that_waits_is_told_once_and_one_that_does_not_is_not() {
        let head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
        let mut inbound = Inbound::default();
        inbound.handle_bytes(head);
        assert_eq!(
            inbound.poll_step(&rules()),
            Step::Admit { method: Method::Post, is_probe: false },
            "a refusal comes before a 100"
        );
        assert_eq!(inbound.poll_step(&rules()), Step::Continue);
        assert_eq!(inbound.poll_step(&rules()), Step::Read);
        inbound.handle_bytes(b"ab");
        assert!(matches!(inbound.poll_step(&rules()), Step::Answer(request) if request.body == "ab"));
        inbound.handle_bytes(head);
        inbound.handle_bytes(b"cd");
        assert_eq!(inbound.poll_step(&rules()), Step::Admit { method: Method::Post, is_probe: false });
        assert!(matches!(inbound.poll_step(&rules()), Step::Answer(request) if request.body == "cd"));
    }

    #[test]
    fn a_body_above_its_bound_is_refused_before_it_comes() {
        let mut inbound = Inbound::default();
        inbound.handle_bytes(
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 101\r\nExpect: 100-continue\r\n\r\n",
        );
        assert!(matches!(
            inbound.poll_step(&rules()),
            Step::Refuse(Refusal { code: Code::BodyTooLarge, .. }, Some(Method::Post))
        ));
        assert_eq!(inbound.poll_step(&rules()), Step::Read, "nothing follows a refusal");
    }

    #[test]
    fn an_endless_head_is_refused_at_its_bound_with_and_without_lines() {
        for filler in ["a", "\r\n"] {
            let mut inbound = Inbound::default();
            let mut fed = 0;
            let code = loop {
                inbound.handle_bytes(filler.as_bytes());
                fed += filler.len();
                match inbound.poll_step(&rules()) {
                    Step::Read => assert!(fed <= API_HEAD_BYTES_MAX + filler.len()),
                    Step::Refuse(refusal, None) => break refusal.code,
                    other => panic!("{other:?}"),
                }
            };
            assert!(matches!(code, Code::HeadTooLarge | Code::BadRequest), "{code:?}");
        }
    }

    #[test]
    fn what_a_page_of_another_site_sends_is_refused_before_its_body_comes() {
        for fields in ["Origin: https://evil.example", "Sec-Fetch-Site: cross-site", "Origin: null"] {
            let mut inbound = Inbound::default();
            let head =
                format!("POST /v1/push HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n{fields}\r\n\r\n");
            inbound.handle_bytes(head.as_bytes());
            let step = inbound.poll_step(&rules());
            assert!(
                matches!(step, Step::Refuse(Refusal { code: Code::ForeignOrigin, .. }, Some(Method::Post))),
                "{step:?}"
            );
            inbound.handle_bytes(b"{\"to\":1}");
            assert_eq!(inbound.poll_step(&rules()), Step::Read, "nothing follows a refusal");
        }
    }

    #[test]
    fn a_probe_is_a_read_without_a_body_of_one_of_three_paths() {
        for (head, is_probe) in [
            ("GET /healthz", true),
            ("HEAD /readyz?verbose", true),
            ("GET /metrics", true),
            ("POST /healthz", false),
            ("GET /stats", false),
            ("GET /metrics\r\nContent-Length: 1", false),
            ("GET /healthz\r\nTransfer-Encoding: chunked", false),
        ] {
            let (line, field) =
                head.split_once("\r\n").map_or((head, String::new()), |(a, b)| (a, format!("{b}\r\n")));
            let mut inbound = Inbound::default();
            inbound.handle_bytes(format!("{line} HTTP/1.1\r\nHost: localhost\r\n{field}\r\n").as_bytes());
            let step = inbound.poll_step(&rules());
            assert!(
                matches!(step, Step::Admit { is_probe: found, .. } if found == is_probe),
                "{head}: {step:?}"
            );
        }
    }
}
