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
        let address = with_port.to_socket_addrs().ok().and_then(|mut all| all.next()).ok_or_else(wrong)?;
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
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n",
            self.url.authority,
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
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

/// The response, and whether the connection may be used again.
fn read_response(socket: &mut impl Read) -> io::Result<(Response, bool)> {
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        more(socket, &mut bytes)?;
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
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
    let mut body = Vec::new();
    let mut at = head_end;
    loop {
        let part = if chunked { read_chunk_size(socket, &mut bytes, &mut at)? } else { length };
        while bytes.len() < at + part {
            more(socket, &mut bytes)?;
        }
        body.extend_from_slice(&bytes[at..at + part]);
        at += part;
        if chunked {
            while bytes.len() < at + 2 {
                more(socket, &mut bytes)?;
            }
            at += 2;
        }
        if !chunked || part == 0 {
            break;
        }
    }
    Ok((Response { status, body: String::from_utf8_lossy(&body).into_owned() }, keep))
}

fn read_chunk_size(socket: &mut impl Read, bytes: &mut Vec<u8>, at: &mut usize) -> io::Result<usize> {
    loop {
        if let Some(end) = bytes[*at..].windows(2).position(|window| window == b"\r\n") {
            let line = String::from_utf8_lossy(&bytes[*at..*at + end]).into_owned();
            *at += end + 2;
            let size = line.split(';').next().unwrap_or_default().trim();
            return usize::from_str_radix(size, 16)
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a chunk's size is no number"));
        }
        more(socket, bytes)?;
    }
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
