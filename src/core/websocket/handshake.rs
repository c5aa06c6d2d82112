//! From the head of an HTTP request to a decision: a WebSocket connection with its format and topics, or a refusal.
//!
//! RFC 6455 section 4.2 says what an opening handshake is; `PROTOCOL.md` says which paths there are. `httparse` parses
//! the head, tungstenite computes the answer to its key, and what a handshake needs is checked here. No extension is
//! ever negotiated; a subprotocol is selected if the client offers one (`subprotocol`).
//!
//! *Not here*: sockets and the deadline (`shard::accept`), paths and topics (`target`), the wording of answers
//! (`answer`), what follows the head (`decoder`).

mod answer;
mod failure;
mod progress;
mod refusal;
mod subprotocol;
mod target;

use http::Uri;
use httparse::{EMPTY_HEADER, Header, Status};

use crate::limits::UPGRADE_HEADERS_MAX;
use crate::model::{Clients, FormatId, Topic};
use answer::{bad_request, bad_version, head_too_big, method_not_allowed, not_found, switching_protocols};
pub use answer::{no_descriptor_response, overload_response, timeout_response};
pub use failure::HandshakeFailure;
pub use progress::Progress;
pub use refusal::Refusal;
use target::{Parameters, Target};

/// Header fields of a usual head. One with more is parsed again, with room for [`UPGRADE_HEADERS_MAX`] on the heap.
const USUAL_HEADERS: usize = 64;

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

/// Decides about the bytes that a client has sent so far.
///
/// However they were cut into reads, the decision is the same, and it is made as soon as it can be: bytes that cannot
/// become a head are refused at once. Each call parses from the beginning; [`resume`] is for heads in pieces.
pub fn parse(bytes: &[u8], clients: &Clients) -> Parsed {
    resume(bytes, &mut Progress::default(), clients)
}

/// The same for a head that comes in pieces: `bytes` is all of it so far, `progress` what the calls before it found.
///
/// All calls for one head together cost as much as a few for the whole head, even if it comes byte by byte. Where
/// [`parse`] refuses at once, this may read on until the head has twice as many bytes.
pub fn resume(bytes: &[u8], progress: &mut Progress, clients: &Clients) -> Parsed {
    let bytes_max = clients.head_bytes_max;
    let bytes = &bytes[..bytes.len().min(bytes_max)];
    let is_at_bound = bytes.len() == bytes_max;
    if !is_at_bound && !progress.must_parse(bytes) {
        return Parsed::Incomplete;
    }
    match decide(bytes, clients) {
        Ok(Some(upgrade)) => Parsed::Upgrade(upgrade),
        Ok(None) if is_at_bound => Parsed::Refused(head_too_big()),
        Ok(None) => Parsed::Incomplete,
        Err(refusal) => Parsed::Refused(refusal),
    }
}

/// `None`: the head is not complete.
fn decide(bytes: &[u8], clients: &Clients) -> Result<Option<Upgrade>, Refusal> {
    let mut fields = [EMPTY_HEADER; USUAL_HEADERS];
    match decide_with(&mut fields, bytes, clients) {
        Err(Undecided::TooManyFields) => decide_about_many_fields(bytes, clients),
        Err(Undecided::Refused(refusal)) => Err(refusal),
        Ok(decision) => Ok(decision),
    }
}

/// Apart from [`decide`], so that a usual head does not need the room.
#[cold]
fn decide_about_many_fields(bytes: &[u8], clients: &Clients) -> Result<Option<Upgrade>, Refusal> {
    let mut fields = vec![EMPTY_HEADER; UPGRADE_HEADERS_MAX];
    decide_with(&mut fields, bytes, clients).map_err(|undecided| match undecided {
        Undecided::TooManyFields => head_too_big(),
        Undecided::Refused(refusal) => refusal,
    })
}

/// Why [`decide_with`] has no upgrade.
enum Undecided {
    /// The fields have no room.
    TooManyFields,
    Refused(Refusal),
}

impl From<Refusal> for Undecided {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

fn decide_with<'b>(
    fields: &mut [Header<'b>],
    bytes: &'b [u8],
    clients: &Clients,
) -> Result<Option<Upgrade>, Undecided> {
    let mut request = httparse::Request::new(fields);
    let head_bytes = match request.parse(bytes) {
        Ok(Status::Complete(head_bytes)) => head_bytes,
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Undecided::TooManyFields),
        Err(_) => return Err(bad_request("This is not an HTTP request").into()),
    };
    if request.method != Some("GET") {
        return Err(method_not_allowed().into());
    }
    if request.version != Some(1) {
        return Err(bad_request("A WebSocket handshake is HTTP/1.1").into());
    }
    let uri = request.path.and_then(|path| path.parse::<Uri>().ok());
    let uri = uri.ok_or_else(|| bad_request("This is not an HTTP request"))?;
    let target = Target::from_path(uri.path())?.ok_or_else(not_found)?;
    let fields = Fields::collect(request.headers);
    let key = fields.check()?;
    let subprotocol = fields.offers.select(clients)?;

    let parameters = Parameters::of(uri.query().unwrap_or_default());
    let format = target.format(&parameters)?;
    let topics = target.topics(&parameters, clients)?;
    let response = switching_protocols(key, subprotocol);
    Ok(Some(Upgrade { format, topics, head_bytes, response }))
}

/// The header fields that a handshake looks at.
#[derive(Default)]
struct Fields<'b> {
    hosts: usize,
    /// `Upgrade` has `websocket` in its list.
    asks_for_websocket: bool,
    /// `Connection` has `upgrade` in its list.
    asks_for_upgrade: bool,
    versions: Once<'b>,
    keys: Once<'b>,
    has_body: bool,
    offers: subprotocol::Offers<'b>,
}

/// A field that must occur once.
#[derive(Default)]
enum Once<'b> {
    #[default]
    Missing,
    Found(&'b [u8]),
    Repeated,
}

impl<'b> Once<'b> {
    fn add(&mut self, value: &'b [u8]) {
        *self = if matches!(self, Self::Missing) { Self::Found(value) } else { Self::Repeated };
    }
}

impl<'b> Fields<'b> {
    fn collect(headers: &[Header<'b>]) -> Self {
        let mut fields = Self::default();
        for header in headers {
            fields.add(header.name, header.value);
        }
        fields
    }

    fn add(&mut self, name: &str, value: &'b [u8]) {
        // By its length first: of a usual request's fields most are not compared at all.
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is("Host") => self.hosts += 1,
            7 if is("Upgrade") => self.asks_for_websocket |= lists(value, "websocket"),
            10 if is("Connection") => self.asks_for_upgrade |= lists(value, "upgrade"),
            14 if is("Content-Length") => self.has_body |= value.is_empty() || value != b"0",
            17 if is("Sec-WebSocket-Key") => self.keys.add(value),
            17 if is("Transfer-Encoding") => self.has_body = true,
            21 if is("Sec-WebSocket-Version") => self.versions.add(value),
            22 if is("Sec-WebSocket-Protocol") => self.offers.add(value),
            _ => {}
        }
    }

    /// RFC 6455 section 4.2.1, and what RFC 9112 says of every request. Returns the key.
    fn check(&self) -> Result<&'b [u8], Refusal> {
        if self.hosts != 1 {
            // RFC 9112 section 3.2: 400 to a request "that lacks a Host header field and to any request message that
            // contains more than one Host header field line".
            return Err(bad_request("The Host header is missing or repeated"));
        }
        if self.has_body {
            // RFC 9110 section 9.3.1: a body of a GET "might lead some implementations to reject the request and close
            // the connection because of its potential as a request smuggling attack". Behind this head a proxy would
            // see a body where this end sees frames.
            return Err(bad_request(
                "A WebSocket handshake has no body: Content-Length other than 0, or Transfer-Encoding, is refused",
            ));
        }
        if !self.asks_for_websocket || !self.asks_for_upgrade {
            return Err(bad_request(
                "This path is for WebSocket: Connection: Upgrade and Upgrade: websocket are missing",
            ));
        }
        // Section 11.3.5: a client states one version, once.
        if !matches!(self.versions, Once::Found(b"13")) {
            return Err(bad_version());
        }
        match self.keys {
            Once::Found(key) if is_key(key) => Ok(key),
            Once::Found(_) | Once::Missing => {
                Err(bad_request("Sec-WebSocket-Key is missing or not 16 bytes in base64"))
            }
            // Section 11.3.1: "MUST NOT appear more than once in an HTTP request".
            Once::Repeated => Err(bad_request("Sec-WebSocket-Key is repeated")),
        }
    }
}

/// Whether a comma-separated list has this token, in any case.
fn lists(list: &[u8], token: &str) -> bool {
    list.split(|byte| *byte == b',').any(|found| found.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Whether this is base64 of 16 bytes: 22 digits and the padding.
///
/// The last digit has 4 bits that belong to no byte. RFC 4648 section 3.5 wants them zero from encoders and lets
/// decoders accept others; RFC 6455 section 4.1 has an example where they are not.
fn is_key(key: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    matches!(key, [digits @ .., b'=', b'='] if digits.len() == 22 && digits.iter().all(is_digit))
}

#[cfg(test)]
mod tests;
