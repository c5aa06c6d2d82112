//! A control thread with the test in the place of the ingest core, and a client of plain TCP.
//!
//! Every answer that a [`Client`] reads is held against the description: its status must be there for the path and
//! method, and an error must have a known code whose status it is.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use fanfare::api::head::Method;
use fanfare::api::orders::{Orders, orders};
use fanfare::api::proposals::{Inbox, proposals};
use fanfare::api::refusal::Code;
use fanfare::api::routes::{OPENAPI, ROUTES};
use fanfare::api::{Control, Deadlines, serve_within};
use fanfare::config::live::Edition;
use fanfare::config::{Config, Redis, RedisEndpoint, RedisUrl};
use fanfare::ingest::answers::{Answers, answers};
use fanfare::ingest::publisher::{Publisher, Request, Requests};
use fanfare::ingest::pushes::births;
use fanfare::metrics::Blocks;
use fanfare::ring::doorbell::Doorbell;
use fanfare::sys::clock::Clock;
use fanfare::sys::eventfd::EventFd;
use saphyr::{LoadableYamlNode, Yaml};
use serde_json::Value;

/// No answer takes longer than this, on whatever machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The API of a process that is only the API.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) blocks: Arc<Blocks>,
    pub(crate) orders: Orders,
    /// The main thread's end of what the API asks of it.
    pub(crate) asked: Inbox,
    /// The ingest core's end.
    pub(crate) requests: Requests,
    /// Its way back.
    pub(crate) answers: Answers,
}

impl Gateway {
    /// With two shards, no Redis, and the program's deadlines.
    pub(crate) fn start() -> Self {
        Self::start_with(Config::default(), Deadlines::default())
    }

    pub(crate) fn start_with(config: Config, deadlines: Deadlines) -> Self {
        let blocks = Arc::new(Blocks::new(2));
        let (orders, inbox) = orders().expect("an eventfd");
        let (proposals, asked) = proposals(|| {});
        let doorbell = Arc::new(Doorbell::new(EventFd::new().expect("an eventfd")));
        let (publisher, requests) = Publisher::new(doorbell);
        let bell = Arc::new(Doorbell::new(EventFd::new().expect("an eventfd")));
        let (answers, verdicts) = answers(bell);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let control = Control {
            edition: Arc::new(Edition::first(config)),
            publisher,
            blocks: blocks.clone(),
            listener,
            orders: inbox,
            proposals,
            clock: Clock::start(),
            births: births().1,
            verdicts,
        };
        std::thread::spawn(move || {
            monoio::RuntimeBuilder::<monoio::IoUringDriver>::new()
                .enable_timer()
                .build()
                .expect("io_uring")
                .block_on(serve_within(control, deadlines));
        });
        Self { address, blocks, orders, asked, requests, answers }
    }

    pub(crate) fn client(&self) -> Client {
        let stream = TcpStream::connect(self.address).expect("the API accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket option");
        Client { stream, rest: Vec::new() }
    }

    /// The one answer to one request on a connection of its own.
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.client().exchange("GET", path, "", b"")
    }

    pub(crate) fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.client().exchange("POST", path, "", body.as_ref())
    }

    /// The request that the ingest core would take next. The answer to it was read before, so it is here.
    pub(crate) fn taken(&mut self) -> Request {
        self.requests.pop().expect("a request for the ingest core")
    }
}

/// A configuration with Redis in it; nothing connects to it here.
pub(crate) fn with_redis() -> Config {
    let endpoint = RedisEndpoint::Tcp { host: "127.0.0.1".into(), port: 6379 };
    let url = RedisUrl { endpoint, user: None, password: None };
    Config { redis: Some(Redis { url, prefix: "fanfare:".into() }), ..Config::default() }
}

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    rest: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("UTF-8")
    }

    /// A header field's value.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (field, value) = line.split_once(": ")?;
            field.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// Status and code of an error.
    pub(crate) fn error(&self) -> (u16, String) {
        let error = &self.json()["error"];
        assert!(error["message"].as_str().is_some_and(|message| message.len() > 5), "{error}");
        (self.status, error["code"].as_str().expect("a code").to_owned())
    }
}

impl Client {
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the API reads");
    }

    /// A whole request with extra header fields, each with its line's end.
    pub(crate) fn request(&mut self, method: &str, path: &str, fields: &str, body: &[u8]) {
        let length = body.len();
        let mut bytes = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{fields}\r\n"
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        self.send(bytes);
    }

    pub(crate) fn exchange(&mut self, method: &str, path: &str, fields: &str, body: &[u8]) -> Answer {
        self.request(method, path, fields, body);
        let answer = self.answer_to(method);
        assert_described(method, path, &answer);
        answer
    }

    /// The next answer; its request had a body in return unless it was HEAD.
    pub(crate) fn answer_to(&mut self, method: &str) -> Answer {
        let head_end = loop {
            if let Some(end) = self.rest.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            assert!(self.fill(), "the connection ended in a head: {:?}", String::from_utf8_lossy(&self.rest));
        };
        let head = String::from_utf8(self.rest.drain(..head_end).collect()).expect("UTF-8");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line");
        let mut answer = Answer { status, head, body: Vec::new() };
        if method != "HEAD" && status != 100 {
            let length: usize = answer.field("Content-Length").expect("a length").parse().expect("a number");
            while self.rest.len() < length {
                assert!(self.fill(), "the connection ended in a body");
            }
            answer.body = self.rest.drain(..length).collect();
            if status >= 400 {
                let (_, code) = answer.error();
                let known = Code::ALL.iter().find(|known| known.label() == code).expect("a known code");
                assert_eq!(known.status(), status);
                assert_eq!(known.passes(), answer.field("Retry-After").is_some(), "{code}");
            }
        }
        answer
    }

    /// Whether the gateway ends the connection now, with nothing more said.
    pub(crate) fn is_ended(&mut self) -> bool {
        self.rest.is_empty() && !self.fill()
    }

    fn fill(&mut self) -> bool {
        let mut bytes = [0; 16 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(0) => false,
            Ok(n) => {
                self.rest.extend_from_slice(&bytes[..n]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                panic!("reset: an answer may be lost")
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// The description as a document.
pub(crate) fn description() -> &'static Yaml<'static> {
    static DOCUMENT: LazyLock<Yaml<'static>> =
        LazyLock::new(|| Yaml::load_from_str(OPENAPI).expect("YAML").remove(0));
    &DOCUMENT
}

/// Method (as the description writes it) and path of every route.
pub(crate) fn routes() -> Vec<(&'static str, &'static str)> {
    let method = |method| match method {
        Method::Post => "post",
        Method::Patch => "patch",
        Method::Delete => "delete",
        _ => "get",
    };
    ROUTES.iter().map(|route| (method(route.method), route.path)).collect()
}

fn assert_described(method: &str, path: &str, answer: &Answer) {
    let method = method.to_lowercase().replace("head", "get");
    let prefix = |template: &str| template.split('{').next().expect("a prefix").to_owned();
    let route = routes().into_iter().find(|(m, template)| {
        *m == method
            && if template.contains('{') { path.starts_with(&prefix(template)) } else { path == *template }
    });
    let Some((method, template)) = route else {
        assert!(matches!(answer.status, 400..=505), "{method} {path} is nowhere described");
        return;
    };
    let document = description();
    let responses = &document["paths"][template][method]["responses"];
    let key = answer.status.to_string();
    let (key, fits) = match responses.as_mapping_get(&key) {
        Some(_) => (key.as_str(), true),
        None => ("default", answer.status >= 400),
    };
    assert!(
        fits && responses.as_mapping_get(key).is_some(),
        "{method} {path} → {} is not described",
        answer.status
    );
    let media =
        answer.field("Content-Type").map(|media| media.split("; charset").next().expect("a type").to_owned());
    if answer.status < 300 && !answer.body.is_empty() {
        let media = media.expect("a body has a type");
        let content = responses[key]["content"].as_mapping().expect("a described body");
        let mut types = content.keys().map(|name| name.as_str().expect("a media type"));
        assert!(types.any(|name| name.starts_with(&media)), "{media} is not described for {path}");
    }
}

/// Waits for what another thread will make true.
pub(crate) fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < PATIENCE, "never came: {what}");
        std::thread::yield_now();
    }
}
