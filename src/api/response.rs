//! Answers, and their bytes. Pure; the time of the `Date` field is an argument.
//!
//! *Not here*: what to answer (`routes`).

use std::fmt::Write as _;
use std::time::SystemTime;

use bytes::Bytes;
use serde::Serialize;

use crate::api::refusal::{Code, Refusal};

/// The interim answer that lets a client send its body.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Media type; `None` when the body is empty.
    pub content_type: Option<&'static str>,
    /// The body.
    pub body: Bytes,
    /// `Allow`, of a 405.
    pub allow: Option<String>,
    /// `Location`, of what a 202 has begun.
    pub location: Option<String>,
    /// `Retry-After`, seconds.
    pub retry_after_s: Option<u32>,
}

/// What follows an answer on its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The next request.
    KeepAlive,
    /// The end.
    Close,
}

impl Response {
    /// 200 with nothing in it: go-push's answer to a push.
    pub fn empty() -> Self {
        Self {
            status: 200,
            content_type: None,
            body: Bytes::new(),
            allow: None,
            location: None,
            retry_after_s: None,
        }
    }

    /// Text of some type.
    pub fn text(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self { content_type: Some(content_type), body: body.into(), ..Self::empty() }
    }

    /// A JSON value.
    pub fn json(status: u16, value: &impl Serialize) -> Self {
        let body = serde_json::to_vec(value).expect("the API's own types have string keys only");
        let body = body.into_boxed_slice();
        Self { status, ..Self::text("application/json", body) }
    }

    /// An error. A refusal that may pass carries `Retry-After`: one second, the time in which queues move.
    pub fn refusal(refusal: &Refusal) -> Self {
        let error = serde_json::json!({"error": error_object(refusal)});
        Self {
            retry_after_s: refusal.code.passes().then_some(1),
            ..Self::json(refusal.code.status(), &error)
        }
    }

    /// 405 for a path that has other methods.
    pub fn method_not_allowed(allow: String) -> Self {
        let refusal = Refusal::new(Code::MethodNotAllowed, format!("this path has {allow}"));
        Self { allow: Some(allow), ..Self::refusal(&refusal) }
    }

    /// The answer as it goes on the wire. `head_only` leaves the body out and says how long it would be (HEAD).
    pub fn encode(&self, after: After, head_only: bool, now: SystemTime) -> Vec<u8> {
        let mut bytes = self.encode_head(after, now);
        if !head_only {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }

    /// The head of it alone: a large body is sent as it is.
    pub fn encode_head(&self, after: After, now: SystemTime) -> Vec<u8> {
        let mut head = String::with_capacity(256);
        let reason = http::StatusCode::from_u16(self.status).ok().and_then(|s| s.canonical_reason());
        // A String takes every write.
        let _ = write!(head, "HTTP/1.1 {} {}\r\n", self.status, reason.unwrap_or(""));
        let _ = write!(
            head,
            "Date: {}\r\nContent-Length: {}\r\n",
            httpdate::HttpDate::from(now),
            self.body.len()
        );
        if let Some(content_type) = self.content_type {
            let _ = write!(head, "Content-Type: {content_type}\r\n");
        }
        if let Some(allow) = &self.allow {
            let _ = write!(head, "Allow: {allow}\r\n");
        }
        if let Some(location) = &self.location {
            let _ = write!(head, "Location: {location}\r\n");
        }
        if let Some(seconds) = self.retry_after_s {
            let _ = write!(head, "Retry-After: {seconds}\r\n");
        }
        if after == After::Close {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}

/// The head of a stream of server-sent events, which ends with its connection.
pub fn stream_head(now: SystemTime) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nDate: {}\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\
         Connection: close\r\n\r\n",
        httpdate::HttpDate::from(now)
    )
    .into_bytes()
}

/// `{"code","message"}`.
pub fn error_object(refusal: &Refusal) -> serde_json::Value {
    serde_json::json!({"code": refusal.code.label(), "message": refusal.message})
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn an_answer_says_its_length_and_what_follows() {
        let bytes = Response::text("text/plain", "ok\n").encode(After::Close, false, UNIX_EPOCH);
        let text = "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 3\r\n\
                    Content-Type: text/plain\r\nConnection: close\r\n\r\nok\n";
        assert_eq!(String::from_utf8_lossy(&bytes), text);
        let head = Response::text("text/plain", "ok\n").encode(After::Close, true, UNIX_EPOCH);
        assert_eq!(head, &bytes[..bytes.len() - 3]);
    }

    #[test]
    fn a_refusal_that_may_pass_says_when_to_retry() {
        for code in Code::ALL {
            let response = Response::refusal(&Refusal::new(code, "why"));
            assert_eq!(response.status, code.status());
            assert_eq!(response.retry_after_s.is_some(), code.passes());
            let body: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
            assert_eq!(body, serde_json::json!({"error": {"code": code.label(), "message": "why"}}));
        }
    }
}
