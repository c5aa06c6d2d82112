//! The answers to a handshake, as whole HTTP responses.
//!
//! *Not here*: when which is given (`super`, `shard::accept`).

use http::StatusCode;
use tungstenite::handshake::derive_accept_key;

use super::failure::HandshakeFailure;
use super::refusal::Refusal;

const CLOSE: &str = "Connection: close\r\n";

/// The answer when there are too many handshakes, or the gateway drains.
pub const fn overload_response() -> &'static [u8] {
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n\
      Content-Type: text/plain; charset=utf-8\r\nContent-Length: 26\r\n\r\nToo many handshakes, wait\n"
}

/// The answer when the gateway has no descriptor for one more connection.
pub const fn no_descriptor_response() -> &'static [u8] {
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\n\
      Content-Type: text/plain; charset=utf-8\r\nContent-Length: 36\r\n\r\nThe gateway has no free descriptors\n"
}

/// The answer when the head was not complete at the deadline.
pub const fn timeout_response() -> &'static [u8] {
    b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\
      Content-Type: text/plain; charset=utf-8\r\nContent-Length: 28\r\n\r\nThe request came too slowly\n"
}

/// The answer to a handshake that succeeds. `subprotocol` is a token.
pub(super) fn switching_protocols(key: &[u8], subprotocol: Option<&str>) -> Vec<u8> {
    let mut answer = Vec::with_capacity(160 + subprotocol.map_or(0, str::len));
    answer.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ",
    );
    answer.extend_from_slice(derive_accept_key(key).as_bytes());
    if let Some(subprotocol) = subprotocol {
        answer.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
        answer.extend_from_slice(subprotocol.as_bytes());
    }
    answer.extend_from_slice(b"\r\n\r\n");
    answer
}

pub(super) fn bad_request(sentence: &str) -> Refusal {
    refuse(HandshakeFailure::BadRequest, StatusCode::BAD_REQUEST, CLOSE, sentence)
}

pub(super) fn bad_version() -> Refusal {
    refuse(
        HandshakeFailure::BadVersion,
        StatusCode::UPGRADE_REQUIRED,
        // RFC 9110 section 15.5.22: "The server MUST send an Upgrade header field in a 426 response".
        "Connection: close, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        "This gateway speaks WebSocket version 13",
    )
}

pub(super) fn not_found() -> Refusal {
    let sentence = "Devices connect to /connect or /topics/<topic>";
    refuse(HandshakeFailure::NotFound, StatusCode::NOT_FOUND, CLOSE, sentence)
}

pub(super) fn method_not_allowed() -> Refusal {
    refuse(
        HandshakeFailure::BadRequest,
        StatusCode::METHOD_NOT_ALLOWED,
        "Connection: close\r\nAllow: GET\r\n",
        "A WebSocket handshake is a GET",
    )
}

pub(super) fn head_too_big() -> Refusal {
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
