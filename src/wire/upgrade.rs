//! From the head of an HTTP request to a decision: a WebSocket connection with its format and topics, or a refusal.
//!
//! RFC 6455 section 4.2 says what an opening handshake is; `PROTOCOL.md` says which paths there are. tungstenite
//! parses the head, checks the key and computes the answer; what its checks take too literally (the list headers
//! `Connection` and `Upgrade` on one line only) or leave out (`Host`, repeated headers) is checked here. No
//! subprotocol and no extension is ever negotiated.
//!
//! *Not here*: sockets and the deadline (`shard::accept`), what follows the head (`decoder`).

use std::borrow::Cow;

use http::header::{
    CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{StatusCode, Uri};
use percent_encoding::percent_decode_str;
use tungstenite::error::{CapacityError, Error, ProtocolError};
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, create_response, write_response};

use crate::batch::{BadTopic, Topic};
use crate::config::{Clients, TemplatePart, TopicTemplate};
use crate::formats::FormatId;
use crate::limits::UPGRADE_HEAD_BYTES_MAX;
use crate::metrics::HandshakeFailure;

/// What the bytes so far are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a head: read more.
    Incomplete,
    /// A connection.
    Upgrade(Upgrade),
    /// No connection: send the response, close.
    Refused(Refusal),
}

/// A handshake that succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// From the path and its version parameter.
    pub format: FormatId,
    /// Topics to join, each once, at most [`Clients::topics_max`]: those of the path, then those of the query, then
    /// those of the operator's templates.
    pub topics: Vec<Topic>,
    /// Length of the head. The bytes after it are the client's first frames.
    pub head_bytes: usize,
    /// The whole answer, status 101.
    pub response: Vec<u8>,
}

/// A handshake that fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For the counters.
    pub failure: HandshakeFailure,
    /// The whole answer; its body is a sentence for a person.
    pub response: Vec<u8>,
}

/// The answer when there are too many handshakes, or the gateway drains.
pub const fn overload_response() -> &'static [u8] {
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n\
      Content-Type: text/plain; charset=utf-8\r\nContent-Length: 26\r\n\r\nToo many handshakes, wait\n"
}

/// The answer when the head was not complete at the deadline.
pub const fn timeout_response() -> &'static [u8] {
    b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\
      Content-Type: text/plain; charset=utf-8\r\nContent-Length: 28\r\n\r\nThe request came too slowly\n"
}

/// Decides about the bytes that a client has sent so far.
///
/// However they were cut into reads, the decision is the same, and it is made as soon as it can be: bytes that cannot
/// become a head are refused at once. Each call parses from the beginning; the bound on a head keeps that small.
pub fn parse(bytes: &[u8], clients: &Clients) -> Parsed {
    let bytes = &bytes[..bytes.len().min(UPGRADE_HEAD_BYTES_MAX)];
    match Request::try_parse(bytes) {
        Ok(Some((head_bytes, request))) => match accept(request, clients) {
            Ok((format, topics, response)) => {
                Parsed::Upgrade(Upgrade { format, topics, head_bytes, response })
            }
            Err(refusal) => Parsed::Refused(refusal),
        },
        Ok(None) if bytes.len() < UPGRADE_HEAD_BYTES_MAX => Parsed::Incomplete,
        Ok(None) | Err(Error::Capacity(CapacityError::TooManyHeaders)) => Parsed::Refused(head_too_big()),
        Err(Error::Protocol(ProtocolError::WrongHttpMethod)) => Parsed::Refused(refuse(
            HandshakeFailure::BadRequest,
            StatusCode::METHOD_NOT_ALLOWED,
            "Connection: close\r\nAllow: GET\r\n",
            "A WebSocket handshake is a GET",
        )),
        Err(Error::Protocol(ProtocolError::WrongHttpVersion)) => {
            Parsed::Refused(bad_request("A WebSocket handshake is HTTP/1.1"))
        }
        Err(_) => Parsed::Refused(bad_request("This is not an HTTP request")),
    }
}

/// Decides about a complete head.
fn accept(mut request: Request, clients: &Clients) -> Result<(FormatId, Vec<Topic>, Vec<u8>), Refusal> {
    let target = Target::from_path(request.uri()).ok_or_else(|| {
        let sentence = "Devices connect to /connect or /topics/<topic>";
        refuse(HandshakeFailure::NotFound, StatusCode::NOT_FOUND, CLOSE, sentence)
    })?;
    check_upgrade(request.headers())?;

    let parameters = parameters(request.uri().query().unwrap_or_default());
    let format = target.format(&parameters)?;
    let topics = target.topics(&parameters, clients)?;

    // Both were found somewhere in their lists; tungstenite looks for them in its own way.
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    request.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    let response = create_response(&request)
        .map_err(|_| bad_request("Sec-WebSocket-Key is missing or not 16 bytes in base64"))?;
    let mut answer = Vec::with_capacity(160);
    write_response(&mut answer, &response).expect("an answer of plain headers is written to memory");
    Ok((format, topics, answer))
}

/// RFC 6455 section 4.2.1, as far as tungstenite does not check it.
fn check_upgrade(headers: &HeaderMap) -> Result<(), Refusal> {
    let lines = |name: HeaderName| headers.get_all(name).iter();
    let lists = |name: HeaderName, token: &str| {
        let mut tokens = lines(name).flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
        tokens.any(|found| found.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    };
    if lines(HOST).count() != 1 {
        // RFC 9112 section 3.2: 400 to a request "that lacks a Host header field and to any request message that
        // contains more than one Host header field line".
        return Err(bad_request("The Host header is missing or repeated"));
    }
    if !lists(UPGRADE, "websocket") || !lists(CONNECTION, "upgrade") {
        return Err(bad_request(
            "This path is for WebSocket: Connection: Upgrade and Upgrade: websocket are missing",
        ));
    }
    // Section 11.3.5: a client states one version, once.
    let mut versions = lines(SEC_WEBSOCKET_VERSION);
    if versions.next().is_none_or(|version| version != "13") || versions.next().is_some() {
        return Err(refuse(
            HandshakeFailure::BadVersion,
            StatusCode::UPGRADE_REQUIRED,
            // RFC 9110 section 15.5.22: "The server MUST send an Upgrade header field in a 426 response".
            "Connection: close, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            "This gateway speaks WebSocket version 13",
        ));
    }
    if lines(SEC_WEBSOCKET_KEY).count() != 1 {
        // Section 11.3.1: "MUST NOT appear more than once in an HTTP request".
        return Err(bad_request("Sec-WebSocket-Key is missing or repeated"));
    }
    Ok(())
}

/// What a path selects.
enum Target<'r> {
    /// `/connect`: go-push's JSON.
    GoPush,
    /// `/topics` and below: raw frames. The name is still percent-encoded.
    Raw { topic: Option<&'r str> },
}

/// A query parameter, decoded; the value is `None` if it is not UTF-8.
type Parameter = (String, Option<String>);

impl<'r> Target<'r> {
    fn from_path(uri: &'r Uri) -> Option<Target<'r>> {
        match uri.path() {
            "/connect" => Some(Self::GoPush),
            "/topics" | "/topics/" => Some(Self::Raw { topic: None }),
            path => path.strip_prefix("/topics/").map(|topic| Self::Raw { topic: Some(topic) }),
        }
    }

    fn format(&self, parameters: &[Parameter]) -> Result<FormatId, Refusal> {
        match self {
            Self::Raw { .. } => Ok(FormatId::RAW),
            Self::GoPush => match parameters.iter().find(|(name, _)| name == "v") {
                None => Ok(FormatId::GO_PUSH_V1),
                Some((_, Some(version))) if version == "1" => Ok(FormatId::GO_PUSH_V1),
                Some((_, Some(version))) if version == "2" => Ok(FormatId::GO_PUSH_V2),
                Some(_) => Err(bad_request("The parameter v is 1 or 2")),
            },
        }
    }

    fn topics(&self, parameters: &[Parameter], clients: &Clients) -> Result<Vec<Topic>, Refusal> {
        let mut topics = Vec::new();
        // A client that names more than it may join gets the first ones, as a sixth JOIN is ignored later.
        let mut join = |topic: Topic| {
            if topics.len() < clients.topics_max && !topics.contains(&topic) {
                topics.push(topic);
            }
        };
        let refuse_topic =
            |bad: BadTopic| bad_request(&format!("The request names a topic that cannot be: {bad}"));
        let key = match self {
            Self::GoPush => "join",
            Self::Raw { topic } => {
                if let Some(topic) = topic {
                    let name = percent_decode_str(topic).decode_utf8().map_err(|_| BadTopic::NotText);
                    join(name.and_then(|name| Topic::new(&name)).map_err(refuse_topic)?);
                }
                "topic"
            }
        };
        for (_, value) in parameters.iter().filter(|(name, _)| name == key) {
            let name = value.as_deref().ok_or(BadTopic::NotText);
            join(name.and_then(Topic::new).map_err(refuse_topic)?);
        }
        // A template that the request does not fill is no mistake of the client, which does not know of it.
        clients.auto_join.iter().filter_map(|template| fill(template, parameters)).for_each(join);
        Ok(topics)
    }
}

/// The topic that the template makes of the parameters; `None` if one is missing or the name cannot be a topic's.
fn fill(template: &TopicTemplate, parameters: &[Parameter]) -> Option<Topic> {
    let mut name = String::new();
    for part in &template.parts {
        match part {
            TemplatePart::Literal(text) => name.push_str(text),
            TemplatePart::Parameter(wanted) => {
                let (_, value) = parameters.iter().find(|(name, _)| name == wanted)?;
                name.push_str(value.as_deref()?);
            }
        }
    }
    Topic::new(&name).ok()
}

/// The parameters of a query, in order. One whose name is not UTF-8 is no parameter that anybody asks for.
fn parameters(query: &str) -> Vec<Parameter> {
    let decode = |text: &str| {
        let text: Cow<'_, str> = if text.contains('+') { text.replace('+', " ").into() } else { text.into() };
        percent_decode_str(&text).decode_utf8().ok().map(Cow::into_owned)
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.filter_map(|(name, value)| Some((decode(name)?, decode(value)))).collect()
}

const CLOSE: &str = "Connection: close\r\n";

fn bad_request(sentence: &str) -> Refusal {
    refuse(HandshakeFailure::BadRequest, StatusCode::BAD_REQUEST, CLOSE, sentence)
}

fn head_too_big() -> Refusal {
    let sentence = "The request's head is too large";
    refuse(HandshakeFailure::HeadTooBig, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, CLOSE, sentence)
}

fn refuse(failure: HandshakeFailure, status: StatusCode, headers: &str, sentence: &str) -> Refusal {
    let len = sentence.len() + 1;
    let response = format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {len}\r\n\r\n{sentence}\n"
    );
    Refusal { failure, response: response.into_bytes() }
}

#[cfg(test)]
mod tests;
