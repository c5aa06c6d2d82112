//! The head of an HTTP/1.1 request: what it asks for, and where its body ends. Pure; RFC 9112.
//!
//! httparse reads the grammar; here is what the grammar leaves open: which heads are ambiguous and therefore refused.
//! *Not here*: the body (`body`), bounds on bytes that are not here yet (`inbound`).

use crate::api::access::{self, Provenance};
use crate::api::refusal::{Code, Refusal};
use crate::config;
use fanfare_core::limits::{API_HEAD_BYTES_MAX, API_HEADERS_MAX};

/// What the method is, as far as routes care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// GET whose answer has no body.
    Head,
    /// POST
    Post,
    /// PATCH
    Patch,
    /// DELETE
    Delete,
    /// Anything else: no route has it.
    Other,
}

impl Method {
    /// The method as a 405 names it among those that a path has. Who has GET has HEAD.
    pub const fn allowed(self) -> &'static str {
        match self {
            Self::Get => "GET, HEAD",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Other => "",
        }
    }
}

/// How the body's end is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After that many bytes.
    Length(u64),
    /// After the chunk of size 0 and its trailers.
    Chunked,
}

/// A complete head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The method.
    pub method: Method,
    /// The path, percent-encoded as it came; begins with `/` unless the target was not a path.
    pub path: String,
    /// Where the body ends.
    pub framing: Framing,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// Another request may follow on the connection.
    pub keep_alive: bool,
    /// What the client accepts, if it says more than "anything".
    pub accept: Option<String>,
    /// Why it is not answered, if a page of another site may have sent it.
    pub denied: Option<Refusal>,
}

impl Head {
    /// Whether it asks how the process is: for that nobody needs a place among the publishers.
    pub fn is_probe(&self) -> bool {
        let is_read = matches!(self.method, Method::Get | Method::Head) && self.framing == Framing::Length(0);
        is_read && (PROBES.contains(&self.path.as_str()) || self.path == "/metrics")
    }
}

/// Paths that tell whether the process lives and can serve. A probe may call the gateway by any name, and learns nothing
/// that a page could not find out by connecting.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// Reads a head from the beginning of `bytes`: the head and its length, or `None` when its end is not here yet.
pub fn parse(bytes: &[u8], rules: &config::Api) -> Result<Option<(Head, usize)>, Refusal> {
    let mut fields = [httparse::EMPTY_HEADER; API_HEADERS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= API_HEAD_BYTES_MAX => length,
        Ok(httparse::Status::Partial) if bytes.len() <= API_HEAD_BYTES_MAX => return Ok(None),
        Ok(_) => return Err(too_large()),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Refusal::new(
                Code::HeadTooLarge,
                format!("a head has at most {API_HEADERS_MAX} header fields"),
            ));
        }
        Err(httparse::Error::Version) => {
            return Err(Refusal::new(Code::HttpVersion, "this server speaks HTTP/1.1"));
        }
        Err(error) => return Err(bad(format!("not an HTTP/1.1 request: {error}"))),
    };
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(bad("not an HTTP/1.1 request: an incomplete request line"));
    };
    let http_11 = version == 1;
    let fields = Fields::collect(request.headers, http_11)?;
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PATCH" => Method::Patch,
        "DELETE" => Method::Delete,
        _ => Method::Other,
    };
    let (authority, path) = split_target(target);
    let from = Provenance { target: authority.map(str::as_bytes), ..fields.from };
    let is_probe = matches!(method, Method::Get | Method::Head) && PROBES.contains(&path);
    let head = Head {
        method,
        path: path.to_owned(),
        framing: fields.framing,
        expects_continue: fields.expects_continue && http_11,
        keep_alive: http_11 && !fields.close,
        accept: fields.accept,
        denied: access::check(rules, &from, is_probe).err(),
    };
    Ok(Some((head, length)))
}

/// The refusal of a head above its bound.
pub fn too_large() -> Refusal {
    Refusal::new(Code::HeadTooLarge, format!("a head has at most {API_HEAD_BYTES_MAX} bytes"))
}

fn bad(message: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(Code::BadRequest, message)
}

/// Host and port of a request target, if it has them, and its path without the query. RFC 9112, section 3.2.2: "a server
/// MUST accept the absolute-form in requests even though most HTTP/1.1 clients will only send the absolute-form in requests
/// to a proxy".
fn split_target(target: &str) -> (Option<&str>, &str) {
    let is_scheme =
        |scheme: &str| scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let absolute = if target.starts_with('/') { None } else { target.split_once("://") };
    let (authority, target) = match absolute {
        Some((scheme, rest)) if is_scheme(scheme) => {
            let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
            (Some(authority), if rest.starts_with('/') { rest } else { "/" })
        }
        _ => (None, target),
    };
    (authority, target.split_once('?').map_or(target, |(path, _)| path))
}

/// What the header fields say about the connection, the body and the sender.
struct Fields<'a> {
    framing: Framing,
    expects_continue: bool,
    close: bool,
    accept: Option<String>,
    from: Provenance<'a>,
}

impl<'a> Fields<'a> {
    fn collect(headers: &[httparse::Header<'a>], http_11: bool) -> Result<Self, Refusal> {
        let (mut hosts, mut length, mut chunked) = (0, None, false);
        let (mut expects_continue, mut close) = (false, false);
        let (mut accept, mut from): (Option<String>, _) = (None, Provenance::default());
        for header in headers {
            let value = header.value.trim_ascii();
            if header.name.eq_ignore_ascii_case("host") {
                hosts += 1;
                from.host = Some(value);
            } else if header.name.eq_ignore_ascii_case("origin") {
                from.has_several_origins |= from.origin.replace(value).is_some();
            } else if header.name.eq_ignore_ascii_case("sec-fetch-site") {
                if !access::is_own_site(value) {
                    from.other_site = Some(value);
                }
            } else if header.name.eq_ignore_ascii_case("content-length") {
                // RFC 9110, section 8.6 allows a list of equal values; whoever sends one is confused or malicious.
                if length.replace(decimal(value)?).is_some() {
                    return Err(bad("more than one Content-Length"));
                }
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                if chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Refusal::new(
                        Code::NotImplemented,
                        "the one transfer coding here is `chunked`",
                    ));
                }
                chunked = true;
            } else if header.name.eq_ignore_ascii_case("expect") {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    let message = "the one expectation here is `100-continue`";
                    return Err(Refusal::new(Code::ExpectationFailed, message));
                }
                expects_continue = true;
            } else if header.name.eq_ignore_ascii_case("accept") {
                if value != b"*/*" {
                    let accept = accept.get_or_insert_default();
                    accept.extend([&String::from_utf8_lossy(value), ","]);
                }
            } else if header.name.eq_ignore_ascii_case("connection") {
                let mut options = value.split(|byte| *byte == b',');
                close |= options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"));
            }
        }
        // RFC 9112, section 3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request
        // message that lacks a Host header field and to any request message that contains more than one".
        if hosts > 1 || (http_11 && hosts == 0) {
            return Err(bad("an HTTP/1.1 request has exactly one Host"));
        }
        let framing = match (chunked, length) {
            // RFC 9112, section 6.1: a sender that sends both may be smuggling, "a server MAY reject".
            (true, Some(_)) => return Err(bad("both Content-Length and Transfer-Encoding")),
            (true, None) if !http_11 => return Err(bad("Transfer-Encoding in an HTTP/1.0 request")),
            (true, None) => Framing::Chunked,
            (false, length) => Framing::Length(length.unwrap_or(0)),
        };
        Ok(Self { framing, expects_continue, close, accept, from })
    }
}

/// `1*DIGIT`: no sign, no blanks, no empty value.
fn decimal(value: &[u8]) -> Result<u64, Refusal> {
    let digits =
        std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| bad("Content-Length is no number of bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Refusal> {
        super::parse(bytes, &Config::default().api)
    }

    fn head(fields: &str) -> Result<Head, Code> {
        let text = format!("POST /push/all HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
        parse(text.as_bytes()).map(|head| head.expect("complete").0).map_err(|refusal| refusal.code)
    }

    #[test]
    fn a_head_is_whole_or_not_at_every_split() {
        let text =
            b"GET /v1/topics/a%2Fb?x=1 HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Close\r\n\r\nrest";
        let end = text.len() - 4;
        for split in 0..end {
            assert_eq!(parse(&text[..split]), Ok(None), "at {split}");
        }
        let (head, length) = parse(text).expect("a good head").expect("a whole head");
        assert_eq!(length, end);
        assert_eq!((head.method, head.path.as_str()), (Method::Get, "/v1/topics/a%2Fb"));
        assert_eq!((head.framing, head.keep_alive), (Framing::Length(0), false));
    }

    #[test]
    fn ambiguous_framing_is_refused() {
        for fields in [
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length: \r\n",
            "Content-Length: 0x10\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length : 1\r\n",
            "Host: y\r\n",
            " folded: x\r\n",
        ] {
            assert_eq!(head(fields), Err(Code::BadRequest), "{fields}");
        }
    }

    #[test]
    fn one_transfer_coding_is_understood() {
        assert_eq!(head("Transfer-Encoding: Chunked\r\n").expect("good").framing, Framing::Chunked);
        for coding in ["gzip, chunked", "identity", "chunked, chunked", "", "xchunked"] {
            let fields = format!("Transfer-Encoding: {coding}\r\n");
            assert_eq!(head(&fields), Err(Code::NotImplemented), "{coding}");
        }
        let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
        assert_eq!(head(twice), Err(Code::NotImplemented));
    }

    #[test]
    fn an_expectation_is_100_continue_or_refused() {
        assert!(head("Expect: 100-Continue\r\n").expect("good").expects_continue);
        assert_eq!(head("Expect: tea\r\n"), Err(Code::ExpectationFailed));
    }

    #[test]
    fn http_1_0_has_no_keep_alive_no_chunks_and_needs_no_host() {
        let (head, _) = parse(b"GET / HTTP/1.0\r\n\r\n").expect("good").expect("whole");
        assert!(!head.keep_alive);
        let chunked = parse(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(chunked.expect_err("refused").code, Code::BadRequest);
        assert_eq!(parse(b"GET / HTTP/1.1\r\n\r\n").expect_err("no Host").code, Code::BadRequest);
        assert_eq!(parse(b"PRI * HTTP/2.0\r\n\r\n").expect_err("version").code, Code::HttpVersion);
    }

    #[test]
    fn an_absolute_target_is_its_path() {
        assert_eq!(split_target("http://host:1/stats?x"), (Some("host:1"), "/stats"));
        assert_eq!(split_target("HTTP://host"), (Some("host"), "/"));
        assert_eq!(split_target("https://u@host?/push/all"), (Some("u@host"), "/"));
        assert_eq!(split_target("/stats?a=/b"), (None, "/stats"));
        assert_eq!(split_target("/http://host/stats"), (None, "/http://host/stats"));
        assert_eq!(split_target("*"), (None, "*"));
    }

    #[test]
    fn a_probe_may_use_any_host_and_nothing_else_may() {
        let code = |text: &str| {
            let head = parse(text.as_bytes()).expect("well-formed").expect("whole").0;
            head.denied.map(|refusal| refusal.code)
        };
        for (line, denied) in [
            ("GET /healthz", None),
            ("HEAD /readyz?x", None),
            ("GET http://other.example/healthz", None),
            ("POST /healthz", Some(Code::ForeignHost)),
            ("GET /healthz/", Some(Code::ForeignHost)),
            ("GET /metrics", Some(Code::ForeignHost)),
            ("GET /nowhere", Some(Code::ForeignHost)),
            ("OPTIONS /v1/config", Some(Code::ForeignHost)),
            ("PATCH http://127.0.0.1/v1/config", Some(Code::ForeignHost)),
        ] {
            assert_eq!(code(&format!("{line} HTTP/1.1\r\nHost: gateway.example\r\n\r\n")), denied, "{line}");
        }
        let rebound = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nOrigin: http://localhost\r\n\r\n";
        assert_eq!(code(rebound), Some(Code::ForeignOrigin));
        let sites = "GET /stats HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-site\r\nSec-Fetch-Site: none\r\n\r\n";
        assert_eq!(code(sites), Some(Code::ForeignOrigin));
    }

    #[test]
    fn a_head_above_its_bounds_is_refused_whether_whole_or_not() {
        let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nA: {}", "b".repeat(API_HEAD_BYTES_MAX));
        assert_eq!(parse(long.as_bytes()).expect_err("partial").code, Code::HeadTooLarge);
        let whole = format!("{long}\r\n\r\n");
        assert_eq!(parse(whole.as_bytes()).expect_err("whole").code, Code::HeadTooLarge);
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(API_HEADERS_MAX + 1));
        assert_eq!(parse(many.as_bytes()).expect_err("many").code, Code::HeadTooLarge);
    }
}
