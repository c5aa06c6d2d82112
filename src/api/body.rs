//! The body of an HTTP/1.1 request, taken out of the bytes that follow the head. Pure; RFC 9112, sections 6 and 7.
//!
//! ```text
//!  Length ──── left = 0 ───────────────────────────────────────────────► Done
//!  ChunkLine ── size > 0 ─► ChunkData ── left = 0 ─► ChunkEnd ─► ChunkLine
//!      └─────── size = 0 ─► Trailers ─────────────── empty line ────────► Done
//! ```

use bytes::{Buf, BytesMut};

use crate::api::head::Framing;
use crate::api::refusal::{Code, Refusal};
use fanfare_core::limits::{API_CHUNK_LINE_BYTES_MAX, API_HEAD_BYTES_MAX};

/// A body on its way.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    bytes: Vec<u8>,
    /// Bytes that it can have at most: the announced length, if there is one.
    bytes_max: usize,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Length { left: u64 },
    ChunkLine,
    ChunkData { left: u64 },
    ChunkEnd,
    Trailers { taken: usize },
    Done,
}

/// Whether a body is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More bytes must come.
    Partial,
    /// Its end was taken; [`Decoder::into_bytes`] has it.
    Whole,
}

impl Decoder {
    /// A body that ends where `framing` says and has at most `bytes_max` bytes; a longer length is refused at once.
    pub fn new(framing: Framing, bytes_max: usize) -> Result<Self, Refusal> {
        let state = match framing {
            Framing::Length(left) if left > bytes_max as u64 => return Err(too_large(bytes_max)),
            Framing::Length(left) => State::Length { left },
            Framing::Chunked => State::ChunkLine,
        };
        let bytes_max = match framing {
            Framing::Length(length) => length as usize,
            Framing::Chunked => bytes_max,
        };
        Ok(Self { state, bytes: Vec::new(), bytes_max })
    }

    /// Bytes that are allocated for it once `more` have come: nothing for what is only announced, then by doubling.
    pub fn capacity_with(&self, more: usize) -> usize {
        let needed = self.bytes.len() + more;
        let capacity = self.bytes.capacity();
        if needed <= capacity { capacity } else { needed.max(2 * capacity).min(self.bytes_max).max(capacity) }
    }

    /// Takes what belongs to the body from the front of `input`; what follows the body stays.
    pub fn take(&mut self, input: &mut BytesMut) -> Result<Progress, Refusal> {
        loop {
            let next = match self.state {
                State::Length { left: 0 } => State::Done,
                State::Length { left } => match self.take_data(left, input) {
                    0 => return Ok(Progress::Partial),
                    taken => State::Length { left: left - taken },
                },
                State::ChunkLine => match self.take_chunk_line(input)? {
                    None => return Ok(Progress::Partial),
                    Some(0) => State::Trailers { taken: 0 },
                    Some(left) => State::ChunkData { left },
                },
                State::ChunkData { left: 0 } => State::ChunkEnd,
                State::ChunkData { left } => match self.take_data(left, input) {
                    0 => return Ok(Progress::Partial),
                    taken => State::ChunkData { left: left - taken },
                },
                State::ChunkEnd if input.len() < 2 => return Ok(Progress::Partial),
                State::ChunkEnd if input.starts_with(b"\r\n") => {
                    input.advance(2);
                    State::ChunkLine
                }
                State::ChunkEnd => return Err(bad_chunk()),
                State::Trailers { taken } => match take_trailer(taken, input)? {
                    Trailer::Partial => return Ok(Progress::Partial),
                    Trailer::Field(bytes) => State::Trailers { taken: taken + bytes },
                    Trailer::End => State::Done,
                },
                State::Done => return Ok(Progress::Whole),
            };
            self.state = next;
        }
    }

    /// The body; all of it after [`Progress::Whole`].
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn take_data(&mut self, left: u64, input: &mut BytesMut) -> u64 {
        let here = left.min(input.len() as u64);
        self.bytes.reserve_exact(self.capacity_with(here as usize) - self.bytes.len());
        self.bytes.extend_from_slice(&input[..here as usize]);
        input.advance(here as usize);
        here
    }

    /// The size that the next chunk announces.
    fn take_chunk_line(&mut self, input: &mut BytesMut) -> Result<Option<u64>, Refusal> {
        let line = &input[..input.len().min(API_CHUNK_LINE_BYTES_MAX)];
        // httparse takes a line without a digit for the size 0.
        if line.first().is_some_and(|byte| !byte.is_ascii_hexdigit()) {
            return Err(bad_chunk());
        }
        match httparse::parse_chunk_size(line) {
            Ok(httparse::Status::Complete((length, size))) => {
                if size > (self.bytes_max - self.bytes.len()) as u64 {
                    return Err(too_large(self.bytes_max));
                }
                input.advance(length);
                Ok(Some(size))
            }
            Ok(httparse::Status::Partial) if line.len() < API_CHUNK_LINE_BYTES_MAX => Ok(None),
            _ => Err(bad_chunk()),
        }
    }
}

enum Trailer {
    Partial,
    /// A line was dropped: nothing here reads trailers.
    Field(usize),
    End,
}

/// Takes one line of the trailer section, of which `taken` bytes are gone.
fn take_trailer(taken: usize, input: &mut BytesMut) -> Result<Trailer, Refusal> {
    let end = input.iter().position(|byte| *byte == b'\n');
    if taken + end.unwrap_or(input.len()) > API_HEAD_BYTES_MAX {
        return Err(super::head::too_large());
    }
    let Some(end) = end else { return Ok(Trailer::Partial) };
    let line = input.split_to(end + 1);
    Ok(if line[..] == *b"\r\n" || line[..] == *b"\n" { Trailer::End } else { Trailer::Field(line.len()) })
}

fn bad_chunk() -> Refusal {
    Refusal::new(Code::BadRequest, "the body breaks the chunked coding")
}

fn too_large(bytes_max: usize) -> Refusal {
    Refusal::new(Code::BodyTooLarge, format!("a body has at most {bytes_max} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `bytes` in pieces of `step`; the outcome and what is left over.
    fn decode(framing: Framing, bytes: &[u8], step: usize) -> Result<(Progress, Vec<u8>, usize), Code> {
        let mut decoder = Decoder::new(framing, 100).map_err(|refusal| refusal.code)?;
        let mut input = BytesMut::new();
        let mut progress = Progress::Partial;
        for piece in bytes.chunks(step.max(1)) {
            input.extend_from_slice(piece);
            progress = decoder.take(&mut input).map_err(|refusal| refusal.code)?;
        }
        Ok((progress, decoder.into_bytes(), input.len()))
    }

    #[test]
    fn a_chunked_body_is_the_same_in_any_pieces() {
        let bytes = b"3\r\nabc\r\n00B;name=value\r\n0123456789a\r\n0\r\nDigest: x\r\n\r\nGET /";
        for step in 1..=bytes.len() {
            let decoded = decode(Framing::Chunked, bytes, step).expect("well-formed");
            assert_eq!(decoded, (Progress::Whole, b"abc0123456789a".to_vec(), 5), "in pieces of {step}");
        }
    }

    #[test]
    fn a_body_of_known_length_ends_there() {
        assert_eq!(decode(Framing::Length(4), b"bodyrest", 3), Ok((Progress::Whole, b"body".to_vec(), 4)));
        assert_eq!(decode(Framing::Length(4), b"bod", 1), Ok((Progress::Partial, b"bod".to_vec(), 0)));
        assert_eq!(decode(Framing::Length(101), b"", 1), Err(Code::BodyTooLarge));
        assert_eq!(decode(Framing::Length(u64::MAX), b"", 1), Err(Code::BodyTooLarge));
    }

    #[test]
    fn chunks_add_up_to_the_bound_and_not_past_it() {
        let fits = format!("32\r\n{0}\r\n32\r\n{0}\r\n0\r\n\r\n", "x".repeat(50));
        assert_eq!(decode(Framing::Chunked, fits.as_bytes(), 7).expect("fits").1.len(), 100);
        let past = format!("32\r\n{0}\r\n33\r\n{0}", "x".repeat(50));
        assert_eq!(decode(Framing::Chunked, past.as_bytes(), 7), Err(Code::BodyTooLarge));
        assert_eq!(decode(Framing::Chunked, b"ffffffffffffffff\r\n", 3), Err(Code::BodyTooLarge));
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        let endless = format!("1;{}", "x".repeat(API_CHUNK_LINE_BYTES_MAX));
        for bytes in
            ["\r\n", ";x\r\n", "g\r\n", "1\nx", "-1\r\n", "1\r\nab\r\n", "10000000000000000\r\n", &endless]
        {
            assert_eq!(decode(Framing::Chunked, bytes.as_bytes(), 2), Err(Code::BadRequest), "{bytes:?}");
        }
        let trailers = format!("0\r\n{}", "a: b\r\n".repeat(API_HEAD_BYTES_MAX / 6 + 1));
        assert_eq!(decode(Framing::Chunked, trailers.as_bytes(), 1000), Err(Code::HeadTooLarge));
    }

    #[test]
    fn what_is_allocated_is_what_was_foretold_and_nothing_for_what_is_only_announced() {
        for framing in [Framing::Length(1 << 20), Framing::Chunked] {
            let mut decoder = Decoder::new(framing, 1 << 20).expect("it fits");
            assert_eq!((decoder.capacity_with(0), decoder.bytes.capacity()), (0, 0));
            let mut input = BytesMut::new();
            if framing == Framing::Chunked {
                input.extend_from_slice(b"100000\r\n");
            }
            while decoder.bytes.len() < 1 << 20 {
                input.extend_from_slice(&[b'x'; 16 * 1024]);
                let foretold = decoder.capacity_with(input.len());
                let _ = decoder.take(&mut input).expect("well-formed");
                assert!(decoder.bytes.capacity() <= foretold, "{} of {foretold}", decoder.bytes.capacity());
                assert!(foretold <= (2 * decoder.bytes.len()).clamp(17 * 1024, 1 << 20));
            }
            assert_eq!(decoder.bytes.capacity(), 1 << 20);
        }
    }
}
