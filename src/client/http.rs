//! Requests to the gateway's API, one after the other, and a push's stream of events. Blocks.
//!
//! No redirect is followed, no proxy of the environment is asked: the API is a private port. *Not here*: what the answers
//! mean (`views`), what is asked for (`request`).

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, Read as _};
use std::time::{Duration, Instant};

use ureq::http::{Method, Request, Response};
use ureq::{Agent, Body, BodyReader};

use super::address::Address;
use super::sse::{Parser, StreamEvent};
use super::table::{cut, printable};
use super::views::ApiError;
use super::{Exit, Failure};
use crate::config::flags::Flags;
use crate::config::problem::Problems;
use crate::config::raw;
use crate::secret::without_user_info;
use fanfare_core::limits::{CLIENT_ANSWER_BYTES_MAX, CLIENT_DEADLINE, CLIENT_LOOK};

/// A sentence of the gateway is shown up to so many characters.
const SENTENCE_CHARS_MAX: usize = 500;

/// The gateway that is asked. Keeps its connection between requests.
#[derive(Debug)]
pub struct Gateway {
    address: Address,
    /// `--api …`, as it was given: a command that is proposed must name the same gateway.
    api: Option<String>,
    /// Time for an answer.
    deadline: Duration,
    agent: Agent,
    /// Reads in short steps, so that who reads can look around between them.
    listener: Agent,
}

/// An answer, read whole.
#[derive(Clone, Debug)]
pub struct HttpResponse {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Gateway {
    /// The one that `--api` names, otherwise the one that runs with this configuration.
    pub fn find(
        flags: &Flags,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Failure> {
        let address = if let Some(api) = &flags.api {
            let wrong =
                |why| Failure::operator(format!("--api {}: {why}", printable(&without_user_info(api))));
            Address::parse(api).map_err(wrong)?
        } else {
            let wrong = |problems: Problems| Failure::operator(problems.to_string());
            Address::of_listener(raw::load(flags, environment).map_err(wrong)?.config.api.listen)
        };
        Ok(Self::new(address, flags.api.clone(), CLIENT_DEADLINE))
    }

    /// The same one, asked with another patience.
    #[must_use]
    pub fn within(&self, deadline: Duration) -> Self {
        Self::new(self.address.clone(), self.api.clone(), deadline)
    }

    fn new(address: Address, api: Option<String>, deadline: Duration) -> Self {
        let agent = || {
            Agent::config_builder()
                .http_status_as_error(false)
                .max_redirects(0)
                .proxy(None)
                .user_agent(concat!("fanfare/", env!("CARGO_PKG_VERSION")))
                .timeout_connect(Some(deadline))
        };
        Self {
            address,
            api,
            deadline,
            agent: agent().timeout_global(Some(deadline)).build().into(),
            listener: agent().timeout_per_read(Some(CLIENT_LOOK)).build().into(),
        }
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// A command about a push of this gateway, for somebody to type.
    pub fn command(&self, verb: &str, id: &str) -> String {
        let api = self.api.as_ref().map_or(String::new(), |api| format!(" --api {api}"));
        format!("fanfare pushes {verb} {id}{api}")
    }

    /// Asks for a path. Whatever the gateway answers is an answer.
    pub fn get(&self, path: &str) -> Result<HttpResponse, Failure> {
        self.send(&Method::GET, path, None)
    }

    /// Asks for a path; an answer that refuses is a failure.
    pub fn fetch(&self, path: &str) -> Result<Vec<u8>, Failure> {
        self.accepted(self.get(path)?)
    }

    /// `POST`s JSON; an answer that refuses is a failure.
    pub fn post(&self, path: &str, json: String) -> Result<Vec<u8>, Failure> {
        self.accepted(self.send(&Method::POST, path, Some(json))?)
    }

    /// `PATCH`es with JSON; an answer that refuses is a failure.
    pub fn patch(&self, path: &str, json: String) -> Result<Vec<u8>, Failure> {
        self.accepted(self.send(&Method::PATCH, path, Some(json))?)
    }

    /// `DELETE`s; an answer that refuses is a failure.
    pub fn delete(&self, path: &str) -> Result<Vec<u8>, Failure> {
        self.accepted(self.send(&Method::DELETE, path, None)?)
    }

    /// Opens a stream of events.
    pub fn events(&self, path: &str) -> Result<Events, Failure> {
        let asked = Instant::now();
        let mut response = loop {
            let request = Request::get(self.address.url(path)).header("Accept", "text/event-stream").body(());
            match self.listener.run(request.map_err(|error| self.broken(&error.into()))?) {
                // The head takes longer than one step: asking again changes nothing.
                Err(ureq::Error::Timeout(ureq::Timeout::PerRead)) if asked.elapsed() < CLIENT_DEADLINE => {}
                Err(error) => return Err(self.broken(&error)),
                Ok(response) => break response,
            }
        };
        if !response.status().is_success() {
            let answer = self.read(&mut response)?;
            return Err(self.refused(&answer));
        }
        Ok(Events {
            from: self.address.clone(),
            reader: response.into_body().into_reader(),
            parser: Parser::default(),
            waiting: VecDeque::new(),
            heard: Instant::now(),
        })
    }

    fn send(&self, method: &Method, path: &str, json: Option<String>) -> Result<HttpResponse, Failure> {
        let request = Request::builder().method(method).uri(self.address.url(path));
        let answered = match json {
            Some(json) => {
                let request = request.header("Content-Type", "application/json").body(json);
                request.map_err(ureq::Error::from).and_then(|request| self.agent.run(request))
            }
            None => request.body(()).map_err(ureq::Error::from).and_then(|request| self.agent.run(request)),
        };
        self.read(&mut answered.map_err(|error| self.broken(&error))?)
    }

    fn read(&self, response: &mut Response<Body>) -> Result<HttpResponse, Failure> {
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(CLIENT_ANSWER_BYTES_MAX).read_to_vec();
        Ok(HttpResponse { status, body: body.map_err(|error| self.broken(&error))? })
    }

    fn accepted(&self, answer: HttpResponse) -> Result<Vec<u8>, Failure> {
        if (200..300).contains(&answer.status) { Ok(answer.body) } else { Err(self.refused(&answer)) }
    }

    fn refused(&self, answer: &HttpResponse) -> Failure {
        let exit = match answer.status {
            429 | 503 => Exit::Later,
            400..500 => Exit::Operator,
            _ => Exit::Unreachable,
        };
        let sentence = match serde_json::from_slice::<ApiError>(&answer.body) {
            Ok(ApiError { error }) => cut(&printable(&error.message), SENTENCE_CHARS_MAX),
            Err(_) => format!(
                "what answers at {} with status {} is not a gateway's API: say with --api where that is",
                self.address, answer.status
            ),
        };
        Failure { sentence, exit }
    }

    /// The sentence about a request that got no answer.
    fn broken(&self, error: &ureq::Error) -> Failure {
        let address = &self.address;
        Failure::unreachable(match error {
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                format!("no gateway listens at {address}: start it, or say with --api where its HTTP API is")
            }
            ureq::Error::HostNotFound => {
                format!("the host of {address} is not known: say with --api where the gateway is")
            }
            ureq::Error::Timeout(_) => {
                format!("the gateway at {address} does not answer within {} s", self.deadline.as_secs())
            }
            ureq::Error::Protocol(_) => {
                format!(
                    "what answers at {address} does not speak HTTP: say with --api where the gateway's API is"
                )
            }
            error => format!("the gateway at {address} cannot be asked: {error}"),
        })
    }
}

/// The JSON of an answer as the type that the caller reads.
pub fn read<T: serde::de::DeserializeOwned>(json: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(json).map_err(|error| {
        Failure::unreachable(format!(
            "the answer is not what this version of fanfare understands ({error}): is the gateway of another version?"
        ))
    })
}

/// A stream of events.
pub struct Events {
    from: Address,
    reader: BodyReader<'static>,
    parser: Parser,
    /// Complete events of the last read.
    waiting: VecDeque<StreamEvent>,
    heard: Instant,
}

/// What a look at a stream brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// An event.
    Event(StreamEvent),
    /// Nothing for now; a chance to look around.
    Nothing,
    /// The stream is over.
    End,
}

impl Events {
    /// The next event, or nothing after [`CLIENT_LOOK`]. A stream that says nothing for [`CLIENT_DEADLINE`] is an error.
    pub fn look(&mut self) -> Result<Next, Failure> {
        if let Some(event) = self.waiting.pop_front() {
            return Ok(Next::Event(event));
        }
        let mut piece = [0; 16 * 1024];
        match self.reader.read(&mut piece) {
            Ok(0) => return Ok(Next::End),
            Ok(length) => {
                self.heard = Instant::now();
                let mut events = Vec::new();
                let taken = self.parser.take(&piece[..length], &mut events);
                self.waiting.extend(events);
                if taken.is_err() {
                    let from = &self.from;
                    return Err(Failure::unreachable(format!("{from} sends an event that never ends")));
                }
            }
            Err(error) => match ureq::Error::from(error) {
                ureq::Error::Timeout(_) if self.heard.elapsed() < CLIENT_DEADLINE => {}
                ureq::Error::Timeout(_) => return Err(self.silent()),
                // The gateway was killed in mid-stream.
                _ => return Ok(Next::End),
            },
        }
        Ok(self.waiting.pop_front().map_or(Next::Nothing, Next::Event))
    }

    fn silent(&self) -> Failure {
        let silence: Duration = CLIENT_DEADLINE;
        Failure::unreachable(format!(
            "the gateway at {} has been silent for {} s",
            self.from,
            silence.as_secs()
        ))
    }
}
