//! As much HTTP/1.1 client as publishing and looking at metrics needs: one keep-alive connection, one request at a
//! time, bodies with a length or chunked.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// No answer of an API that is asked here takes longer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Metrics of a large gateway are a few hundred KiB.
const RESPONSE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Scheme, authority and path of an http or ws URL; the authority resolved.
#[derive(Clone, Debug)]
pub(crate) struct Url {
    /// `host:port`.
    pub(crate) authority: String,
    /// Where that is.
    pub(crate) address: SocketAddr,
    /// From the first slash on; may be empty.
    pub(crate) path: String,
}

impl Url {
    /// `scheme://host:port/path`; a sentence when it is something else.
    pub(crate) fn parse(text: &str, scheme: &str) -> Result<Self, String> {
        let wrong = || format!("{text} is not a URL of the form {scheme}://HOST:PORT/PATH");
        let rest = text.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://")).ok_or_else(wrong)?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let with_port =
            if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
        let (host, port) = with_port.rsplit_once(':').ok_or_else(wrong)?;
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(wrong());
        }
        let unknown =
            |why: &dyn std::fmt::Display| format!("{text}: no address of {authority} is known: {why}");
        let mut all = with_port.to_socket_addrs().map_err(|e| unknown(&e))?;
        let address = all.next().ok_or_else(|| unknown(&"none"))?;
        Ok(Self { authority: authority.to_owned(), address, path: path.to_owned() })
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Response {
    /// The status code.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: String,
}

/// A connection to an API.
#[derive(Debug)]
pub(crate) struct Client {
    url: Url,
    socket: Option<TcpStream>,
}

impl Client {
    /// A client that connects when it is first used.
    pub(crate) fn new(url: &Url) -> Self {
        Self { url: url.clone(), socket: None }
    }

    /// GET.
    pub(crate) fn get(&mut self, path: &str) -> io::Result<Response> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.url.authority);
        self.exchange(request.as_bytes())
    }

    /// POST of a form; `body` is form-encoded already.
    pub(crate) fn post_form(&mut self, path: &str, body: &[u8]) -> io::Result<Response> {
        self.post(path, "application/x-www-form-urlencoded", body)
    }

    /// POST.
    pub(crate) fn post(&mut self, path: &str, content_type: &str, body: &[u8]) -> io::Result<Response> {
        let mut request = Vec::with_capacity(256 + body.len());
        write_post(&self.url.authority, path, content_type, body, &mut request);
        self.exchange(&request)
    }

    /// Any method with a JSON body.
    pub(crate) fn send_json(&mut self, method: &str, path: &str, body: &[u8]) -> io::Result<Response> {
        let mut request = Vec::with_capacity(256 + body.len());
        write_request(method, &self.url.authority, path, "application/json", body, &mut request);
        self.exchange(&request)
    }

    /// Sends and waits for the answer. An error closes the connection; the next request opens a new one.
    fn exchange(&mut self, request: &[u8]) -> io::Result<Response> {
        let mut socket = if let Some(socket) = self.socket.take() {
            socket
        } else {
            let socket = TcpStream::connect_timeout(&self.url.address, TIMEOUT)?;
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(TIMEOUT))?;
            socket.set_write_timeout(Some(TIMEOUT))?;
            socket
        };
        socket.write_all(request)?;
        let (response, keep) = read_response(&mut socket)?;
        if keep {
            self.socket = Some(socket);
        }
        Ok(response)
    }
}

/// Appends a POST.
pub(crate) fn write_post(authority: &str, path: &str, content_type: &str, body: &[u8], out: &mut Vec<u8>) {
    write_request("POST", authority, path, content_type, body, out);
}

fn write_request(
    method: &str,
    authority: &str,
    path: &str,
    content_type: &str,
    body: &[u8],
    out: &mut Vec<u8>,
) {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(body);
}

/// The response, and whether the connection may be used again.
fn read_response(socket: &mut impl Read) -> io::Result<(Response, bool)> {
    let mut bytes = Vec::new();
    loop {
        more(socket, &mut bytes)?;
        if let Some(taken) = take_response(&bytes)? {
            return Ok((taken.response, taken.keep));
        }
    }
}

/// An answer at the beginning of some bytes.
#[derive(Debug)]
pub(crate) struct Taken {
    /// It.
    pub(crate) response: Response,
    /// The connection may be used again.
    pub(crate) keep: bool,
    /// Bytes that it has.
    pub(crate) bytes: usize,
}

/// The answer that the bytes begin with; `None` when it is not whole yet.
pub(crate) fn take_response(bytes: &[u8]) -> io::Result<Option<Taken>> {
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let Some(head_end) = find(bytes, b"\r\n\r\n").map(|at| at + 4) else { return Ok(None) };
    let head = String::from_utf8_lossy(&bytes[..head_end]);
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| invalid("the answer is not HTTP"))?;
    let (mut length, mut chunked, mut keep) = (0, false, true);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                length = value.trim().parse().map_err(|_| invalid("a length is no number"))?;
            }
            "transfer-encoding" => chunked = value.trim().eq_ignore_ascii_case("chunked"),
            "connection" => keep = !value.trim().eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    if length > RESPONSE_BYTES_MAX {
        return Err(invalid("the answer is too long"));
    }
    let rest = &bytes[head_end..];
    let body =
        if chunked { take_chunks(rest)? } else { rest.get(..length).map(|body| (body.to_vec(), length)) };
    Ok(body.map(|(body, taken)| {
        let response = Response { status, body: String::from_utf8_lossy(&body).into_owned() };
        Taken { response, keep, bytes: head_end + taken }
    }))
}

/// A body in chunks, and the bytes that it took; `None` when it is not whole yet.
fn take_chunks(bytes: &[u8]) -> io::Result<Option<(Vec<u8>, usize)>> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let size = String::from_utf8_lossy(&bytes[at..at + line]);
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)
            .ok()
            .filter(|size| *size <= RESPONSE_BYTES_MAX)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a chunk's size is no number"))?;
        at += line + 2;
        let Some(chunk) = bytes.get(at..at + size + 2) else { return Ok(None) };
        body.extend_from_slice(&chunk[..size]);
        at += size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn more(socket: &mut impl Read, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    let n = socket.read(&mut buffer)?;
    if n == 0 || bytes.len() > RESPONSE_BYTES_MAX {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    bytes.extend_from_slice(&buffer[..n]);
    Ok(())
}

/// Appends the form encoding of `bytes`.
pub(crate) fn form_encode(bytes: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => out.push(*byte),
            b' ' => out.push(b'+'),
            _ => out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_with_a_length_and_in_chunks_are_read_whole() {
        let plain = b"HTTP/1.1 429 Slow down\r\nContent-Length: 5\r\n\r\nhello";
        let (response, keep) = read_response(&mut &plain[..]).unwrap();
        assert_eq!((response.status, response.body.as_str(), keep), (429, "hello", true));
        let chunked =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n";
        let (response, keep) = read_response(&mut &chunked[..]).unwrap();
        assert_eq!((response.status, response.body.as_str(), keep), (200, "abcde", false));
    }

    #[test]
    fn an_answer_is_taken_when_its_last_byte_is_there_and_not_a_byte_of_the_next() {
        for one in [
            &b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\n\r\n",
        ] {
            let two = [one, one].concat();
            for end in 0..two.len() {
                let taken = take_response(&two[..end]).unwrap().map(|taken| taken.bytes);
                assert_eq!(taken, (end >= one.len()).then_some(one.len()), "{end}");
            }
        }
        assert!(take_response(b"nonsense\r\n\r\n").is_err());
    }

    #[test]
    fn a_url_is_taken_apart_and_a_wrong_one_is_named() {
        let url = Url::parse("ws://127.0.0.1:7777/connect?a=b", "ws").unwrap();
        assert_eq!((url.address.port(), url.path.as_str()), (7777, "/connect?a=b"));
        assert!(Url::parse("http://127.0.0.1:1", "ws").unwrap_err().contains("ws://HOST:PORT"));
    }

    #[test]
    fn form_encoding_leaves_nothing_with_a_meaning_in_forms() {
        let mut out = Vec::new();
        form_encode(br#"[{"a b":1}]&=+%"#, &mut out);
        assert_eq!(out, b"%5B%7B%22a+b%22%3A1%7D%5D%26%3D%2B%25");
    }
}
