//! The client's side of RFC 6455: masked frames out, and a reader of server frames that forgives nothing.
//!
//! Written from the RFC alone, so that it does not share a mistake with `websocket`.

use crate::rng::Rng;

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// One masked frame.
pub(crate) fn push_masked(out: &mut Vec<u8>, fin: bool, opcode: u8, payload: &[u8], rng: &mut Rng) {
    out.push(u8::from(fin) << 7 | opcode);
    match payload.len() {
        short @ 0..=125 => out.push(0x80 | short as u8),
        medium @ 126..=0xFFFF => {
            out.push(0xFE);
            out.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            out.push(0xFF);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    let key = (rng.next() as u32).to_be_bytes();
    out.extend_from_slice(&key);
    out.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]));
}

/// A text message: one frame, or fragments with a pong between them.
pub(crate) fn push_text(out: &mut Vec<u8>, text: &str, rng: &mut Rng) {
    let payload = text.as_bytes();
    if !rng.percent(15) {
        return push_masked(out, true, TEXT, payload, rng);
    }
    let cut = rng.below(payload.len());
    push_masked(out, false, TEXT, &payload[..cut], rng);
    if rng.percent(50) {
        push_masked(out, true, PONG, b"between", rng);
    }
    push_masked(out, true, 0, &payload[cut..], rng);
}

/// A whole frame of the server.
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

/// Cuts the server's bytes into frames.
#[derive(Default)]
pub(crate) struct Reader {
    rest: Vec<u8>,
    at: usize,
    is_closed: bool,
}

impl Reader {
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.rest.drain(..self.at);
        self.at = 0;
        self.rest.extend_from_slice(bytes);
    }

    /// Bytes of a frame that is not whole.
    pub(crate) fn begun(&self) -> usize {
        self.rest.len() - self.at
    }

    /// The next whole frame; panics at the first bit that a server may not send.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let rest = &self.rest[self.at..];
        let &first = rest.first()?;
        assert!(!self.is_closed, "bytes after the Close frame: {:02x?}", &rest[..rest.len().min(16)]);
        assert!(first & 0xF0 == 0x80, "first byte {first:02x}: fragment or reserved bit, not at a boundary?");
        let opcode = first & 15;
        assert!(matches!(opcode, TEXT | BINARY | CLOSE | PING | PONG), "reserved opcode {opcode}");
        let &second = rest.get(1)?;
        assert!(second & 0x80 == 0, "a server's frame is masked");
        let (length, head) = match second {
            126 => (usize::from(u16::from_be_bytes(*rest[2..].first_chunk()?)), 4),
            127 => (u64::from_be_bytes(*rest[2..].first_chunk()?) as usize, 10),
            short => (usize::from(short), 2),
        };
        assert!(head == 2 || length > 125, "length {length} is not in its shortest form");
        assert!(head != 10 || length > 0xFFFF, "length {length} is not in its shortest form");
        assert!(length <= 64 << 20, "a frame of {length} bytes: no header");
        assert!(opcode < CLOSE || length <= 125, "control frame of {length} bytes");
        let payload = rest.get(head..head + length)?.to_vec();
        self.at += head + length;
        self.is_closed = opcode == CLOSE;
        Some(Frame { opcode, payload })
    }
}
