//! RESP2, Redis' protocol: replies out of a growing buffer, commands into one. <https://redis.io/docs/latest/develop/reference/protocol-spec/>
//!
//! The server is trusted to be Redis and not trusted to be well: whatever arrives, memory stays within the bounds
//! below, no byte is looked at more than a few times, and nothing recurses. A walk over the heads of a reply finds
//! its end; only a whole reply is given to `redis-protocol`, whose own decoder bounds neither counts nor nesting and
//! does not look at the CRLF after a bulk string. *Not here*: sockets, TLS, what a reply means for a session
//! (`redis`).

mod error;
mod walk;

use std::fmt::Write as _;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use redis_protocol::resp2::decode::decode_range;
use redis_protocol::resp2::types::RangeFrame;

use error::CRLF;
pub use error::RespError;
use fanfare_core::limits::RESP_COPY_BELOW;
use walk::{Walk, Walked};

/// One reply, as far as the sessions tell replies apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+…`, except `+PONG`.
    Simple(Bytes),
    /// `-…`: Redis refuses. Its text, bytes that are not UTF-8 replaced.
    Error(String),
    /// `:…`
    Integer(i64),
    /// `$…`
    Bulk(Bytes),
    /// A message of a pattern subscription.
    Message {
        /// The channel, with its prefix.
        channel: Bytes,
        /// The payload.
        payload: Bytes,
    },
    /// `PSUBSCRIBE` took effect.
    Subscribed {
        /// The pattern.
        pattern: Bytes,
    },
    /// `+PONG`, or `["pong", …]` while subscribed.
    Pong,
    /// A reply with a bulk string above the decoder's bound. Its bytes were dropped as they came.
    TooBig {
        /// Length of the bulk string.
        bytes: u64,
    },
    /// Another array: its strings, `None` for what is none.
    Array(Vec<Option<Bytes>>),
    /// A null.
    Other,
}

/// Turns a byte stream into replies. Owns the buffer that the stream is read into.
///
/// It holds at most one incomplete reply (eight bulk strings of the bound, and lines) and what one read brought. After an error it is of no further use.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    /// Bytes of the buffer's block that were passed, and where the block ends.
    passed: usize,
    block_end: usize,
    bulk_bytes_max: usize,
    walk: Walk,
    /// The reply has a bulk string of this length, above the bound: its elements are walked and dropped.
    too_big: Option<u64>,
    /// Bytes of that bulk string that did not come yet; its CRLF follows them.
    skip: Option<u64>,
}

impl Decoder {
    /// A decoder at the start of a stream. Replies with a bulk string above `bulk_bytes_max` become
    /// [`Reply::TooBig`].
    pub fn new(bulk_bytes_max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            passed: 0,
            block_end: 0,
            bulk_bytes_max,
            walk: Walk::default(),
            too_big: None,
            skip: None,
        }
    }

    /// The buffer, for a reader to append to. Nothing else may be done to it.
    pub fn buffer_mut(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Bytes that [`Self::next_reply`] is known to lack. A reader that reserves this many takes a large reply in one
    /// allocation.
    pub fn missing(&self) -> usize {
        self.walk.needs.saturating_sub(self.buffer.len())
    }

    /// The next reply; `None`: more bytes have to come.
    pub fn next_reply(&mut self) -> Result<Option<Reply>, RespError> {
        loop {
            if self.skip.is_some() && !self.skip()? {
                return Ok(None);
            }
            if self.buffer.len() < self.walk.needs {
                return Ok(None);
            }
            match self.walk.on(&self.buffer, self.bulk_bytes_max)? {
                Walked::Short => return Ok(None),
                Walked::TooBig(bytes) => {
                    self.pass(self.walk.offset);
                    self.walk.offset = 0;
                    self.walk.needs = 0;
                    self.too_big.get_or_insert(bytes);
                    self.skip = Some(bytes);
                }
                Walked::Whole => {
                    let extent = std::mem::take(&mut self.walk).offset;
                    let Some(bytes) = self.too_big.take() else { return self.decode(extent).map(Some) };
                    self.pass(extent);
                    return Ok(Some(Reply::TooBig { bytes }));
                }
            }
        }
    }

    /// Drops what has come of a bulk string above the bound; whether it and its CRLF are past.
    fn skip(&mut self) -> Result<bool, RespError> {
        let Some(left) = self.skip else { return Ok(true) };
        let dropped = left.min(self.buffer.len() as u64);
        self.skip = Some(left - dropped);
        self.pass(dropped as usize);
        if left > dropped || self.buffer.len() < CRLF.len() {
            return Ok(false);
        }
        if !self.buffer.starts_with(CRLF) {
            return Err(RespError::NoCrlf);
        }
        self.pass(CRLF.len());
        self.skip = None;
        self.walk.pass(0);
        Ok(true)
    }

    /// Decodes the reply that is the buffer's first `extent` bytes.
    fn decode(&mut self, extent: usize) -> Result<Reply, RespError> {
        let decoded = decode_range(&self.buffer[..extent]);
        let Ok(Some((frame, consumed))) = decoded else {
            // The walk has checked everything but the digits of integers.
            return Err(RespError::BadInteger);
        };
        debug_assert_eq!(consumed, extent);
        if let Some(reply) = self.reply(&frame, extent) {
            return Ok(reply);
        }
        self.pass(extent);
        Ok(match frame {
            RangeFrame::Integer(n) => Reply::Integer(n),
            _ => Reply::Other,
        })
    }

    /// A reply that keeps bytes of the buffer, or `None` with the buffer untouched.
    fn reply(&mut self, frame: &RangeFrame, extent: usize) -> Option<Reply> {
        let text = |(from, to): (usize, usize)| &self.buffer[from..to];
        match frame {
            RangeFrame::SimpleString(range) if text(*range) == b"PONG" => {
                self.pass(extent);
                Some(Reply::Pong)
            }
            RangeFrame::Error(range) => {
                let error = String::from_utf8_lossy(text(*range)).into_owned();
                self.pass(extent);
                Some(Reply::Error(error))
            }
            RangeFrame::SimpleString(range) => Some(Reply::Simple(self.take(extent, *range))),
            RangeFrame::BulkString(range) => Some(Reply::Bulk(self.take(extent, *range))),
            RangeFrame::Array(elements) => Some(self.array(elements, extent)),
            RangeFrame::Integer(_) | RangeFrame::Null => None,
        }
    }

    fn array(&mut self, elements: &[RangeFrame], extent: usize) -> Reply {
        use RangeFrame::BulkString;
        let Some(BulkString((from, to))) = elements.first() else {
            return self.strings(elements, extent);
        };
        match (&self.buffer[*from..*to], &elements[1..]) {
            (b"pmessage", [BulkString(_), BulkString((from, to)), BulkString(payload)]) => {
                let channel = Bytes::copy_from_slice(&self.buffer[*from..*to]);
                Reply::Message { channel, payload: self.take(extent, *payload) }
            }
            (b"psubscribe", [BulkString(pattern), RangeFrame::Integer(_)]) => {
                Reply::Subscribed { pattern: self.take(extent, *pattern) }
            }
            (b"pong", [BulkString(_)]) => {
                self.pass(extent);
                Reply::Pong
            }
            _ => self.strings(elements, extent),
        }
    }

    /// The strings of an array, as they are: they are few and short.
    fn strings(&mut self, elements: &[RangeFrame], extent: usize) -> Reply {
        let string = |element: &RangeFrame| match element {
            RangeFrame::BulkString((from, to)) | RangeFrame::SimpleString((from, to)) => {
                Some(Bytes::copy_from_slice(&self.buffer[*from..*to]))
            }
            _ => None,
        };
        let strings = elements.iter().map(string).collect();
        self.pass(extent);
        Reply::Array(strings)
    }

    /// Passes a reply and takes a part of it out of the buffer: as a copy, unless the reply is large and has the block
    /// that it was read into nearly for itself. A payload keeps that block for as long as it waits.
    fn take(&mut self, extent: usize, (from, to): (usize, usize)) -> Bytes {
        self.pass(0);
        let kept = self.passed + self.buffer.capacity();
        if extent < RESP_COPY_BELOW || kept > extent + extent / 4 {
            let copy = Bytes::copy_from_slice(&self.buffer[from..to]);
            self.pass(extent);
            copy
        } else {
            self.passed += extent;
            self.buffer.split_to(extent).freeze().slice(from..to)
        }
    }

    /// Drops bytes at the front.
    fn pass(&mut self, bytes: usize) {
        let block_end = self.buffer.as_ptr() as usize + self.buffer.capacity();
        if std::mem::replace(&mut self.block_end, block_end) != block_end {
            self.passed = 0;
        }
        self.passed += bytes;
        self.buffer.advance(bytes);
    }
}

/// Appends a command: an array of bulk strings.
pub fn command(out: &mut BytesMut, words: &[&[u8]]) {
    let bytes = words.iter().map(|word| word.len()).sum::<usize>();
    out.reserve(bytes + 16 * (words.len() + 1));
    head(out, b'*', words.len());
    for word in words {
        head(out, b'$', word.len());
        out.put_slice(word);
        out.put_slice(CRLF);
    }
}

fn head(out: &mut BytesMut, kind: u8, n: usize) {
    out.put_u8(kind);
    // Writing to a BytesMut grows it and does not fail.
    let _ = write!(out, "{n}\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanfare_core::limits::{RESP_DEPTH_MAX, RESP_LINE_BYTES_MAX};
    use proptest::prelude::*;

    const BULK_MAX: usize = 64;

    /// Every reply of a stream that comes in the pieces given, and how the stream ended.
    fn replies<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Reply>, Option<RespError>) {
        let mut decoder = Decoder::new(BULK_MAX);
        let mut replies = Vec::new();
        for piece in pieces {
            decoder.buffer_mut().extend_from_slice(piece);
            loop {
                match decoder.next_reply() {
                    Ok(Some(reply)) => replies.push(reply),
                    Ok(None) => break,
                    Err(error) => return (replies, Some(error)),
                }
            }
        }
        (replies, None)
    }

    fn whole(stream: &[u8]) -> (Vec<Reply>, Option<RespError>) {
        replies([stream])
    }

    fn bytes(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    #[test]
    fn each_reply_that_a_session_meets_is_told_apart() {
        let stream =
            b"+OK\r\n-NOAUTH Authentication required.\r\n:3\r\n$3\r\na\r\n\r\n$-1\r\n*-1\r\n+PONG\r\n\
            *2\r\n$4\r\npong\r\n$0\r\n\r\n*3\r\n$10\r\npsubscribe\r\n$2\r\nf*\r\n:1\r\n\
            *4\r\n$8\r\npmessage\r\n$2\r\nf*\r\n$5\r\nf:all\r\n$2\r\nhi\r\n*0\r\n";
        let (replies, error) = whole(stream);
        assert_eq!(error, None);
        assert_eq!(
            replies,
            [
                Reply::Simple(bytes("OK")),
                Reply::Error("NOAUTH Authentication required.".into()),
                Reply::Integer(3),
                Reply::Bulk(bytes("a\r\n")),
                Reply::Other,
                Reply::Other,
                Reply::Pong,
                Reply::Pong,
                Reply::Subscribed { pattern: bytes("f*") },
                Reply::Message { channel: bytes("f:all"), payload: bytes("hi") },
                Reply::Array(vec![]),
            ]
        );
    }

    #[test]
    fn what_is_not_resp_is_refused_at_its_first_byte_that_shows_it() {
        let long = [b"+".as_slice(), &vec![b'x'; RESP_LINE_BYTES_MAX]].concat();
        for (stream, error) in [
            (b"HTTP/1.1 400".as_slice(), RespError::Kind(b'H')),
            (&long, RespError::LineTooLong),
            (b"+OK\n", RespError::BareLineFeed),
            (b"$x\r\n", RespError::BadLength),
            (b"$-2\r\n", RespError::BadLength),
            (b"$\r\n", RespError::BadLength),
            (b"$99999999999999999999999\r\n", RespError::BadLength),
            (b"$536870913\r\n", RespError::BulkTooLong(536_870_913)),
            (b"*1000000000\r\n", RespError::ArrayTooLong(1_000_000_000)),
            (&b"*1\r\n".repeat(RESP_DEPTH_MAX + 1), RespError::TooDeep),
            (b"*2\r\n*2000\r\n:1\r\n", RespError::ArrayTooLong(2000)),
            (b"$1\r\nxyz", RespError::NoCrlf),
            (b"*1\r\n$1\r\nx\r\r", RespError::NoCrlf),
            (b":1x\r\n", RespError::BadInteger),
        ] {
            assert_eq!(whole(stream), (vec![], Some(error)), "{:?}", String::from_utf8_lossy(stream));
        }
    }

    #[test]
    fn the_answer_to_hello_is_its_strings() {
        let stream = b"*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n$5\r\nproto\r\n:2\r\n\
            $2\r\nid\r\n:3\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$7\r\nreplica\r\n$7\r\nmodules\r\n\
            *1\r\n*4\r\n$4\r\nname\r\n$1\r\nx\r\n$4\r\nargs\r\n*0\r\n+OK\r\n";
        let (replies, error) = whole(stream);
        assert_eq!(error, None);
        let [Reply::Array(strings), Reply::Simple(_)] = &replies[..] else { panic!("{replies:?}") };
        assert_eq!(
            (strings.len(), &strings[10], &strings[11]),
            (14, &Some(bytes("role")), &Some(bytes("replica")))
        );
        assert_eq!((&strings[5], &strings[13]), (&None, &None));
    }

    #[test]
    fn a_reply_that_never_ends_is_not_held() {
        let mut decoder = Decoder::new(BULK_MAX);
        decoder.buffer_mut().extend_from_slice(b"*1000\r\n");
        let line = format!("+{}\r\n", "x".repeat(RESP_LINE_BYTES_MAX - 10));
        let mut lines = 0;
        let error = loop {
            decoder.buffer_mut().extend_from_slice(line.as_bytes());
            lines += 1;
            match decoder.next_reply() {
                Ok(None) => assert!(lines < 20, "{} bytes are held", decoder.buffer.len()),
                other => break other,
            }
        };
        assert_eq!(error, Err(RespError::ReplyTooLong));
    }

    #[test]
    fn a_bulk_string_above_the_bound_is_dropped_as_it_comes_and_the_stream_goes_on() {
        let mut decoder = Decoder::new(BULK_MAX);
        let head = b"*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$1\r\nc\r\n$1000000\r\n";
        decoder.buffer_mut().extend_from_slice(head);
        for _ in 0..1000 {
            assert_eq!(decoder.next_reply(), Ok(None));
            assert!(decoder.buffer.len() < head.len(), "the bytes are held");
            decoder.buffer_mut().extend_from_slice(&[b'x'; 1000]);
        }
        decoder.buffer_mut().extend_from_slice(b"\r");
        assert_eq!(decoder.next_reply(), Ok(None));
        decoder.buffer_mut().extend_from_slice(b"\n+OK\r\n");
        assert_eq!(decoder.next_reply(), Ok(Some(Reply::TooBig { bytes: 1_000_000 })));
        assert_eq!(decoder.next_reply(), Ok(Some(Reply::Simple(bytes("OK")))));
    }

    #[test]
    fn a_dropped_bulk_string_may_have_neighbours_and_must_end_with_crlf() {
        let long = "y".repeat(65);
        let stream = format!("*3\r\n$65\r\n{long}\r\n:1\r\n$65\r\n{long}\r\n$65\r\n{long}\r\n:7\r\n");
        let too_big = Reply::TooBig { bytes: 65 };
        assert_eq!(whole(stream.as_bytes()), (vec![too_big.clone(), too_big, Reply::Integer(7)], None));
        assert_eq!(whole(format!("$65\r\n{long}zz").as_bytes()), (vec![], Some(RespError::NoCrlf)));
    }

    #[test]
    fn a_large_reply_is_allocated_once_and_handed_out_without_a_copy() {
        let payload = vec![b'p'; 1 << 20];
        let mut stream = BytesMut::new();
        command(&mut stream, &[b"pmessage", b"*", b"c", &payload]);
        let mut decoder = Decoder::new(1 << 20);
        decoder.buffer_mut().extend_from_slice(&stream[..100]);
        assert_eq!(decoder.next_reply(), Ok(None));
        assert_eq!(decoder.missing(), stream.len() - 100);
        let missing = decoder.missing();
        decoder.buffer_mut().reserve(missing);
        let block = decoder.buffer.as_ptr();
        for piece in stream[100..].chunks(1000) {
            assert_eq!(decoder.next_reply(), Ok(None));
            decoder.buffer_mut().extend_from_slice(piece);
        }
        let Ok(Some(Reply::Message { payload: taken, .. })) = decoder.next_reply() else {
            panic!("no message")
        };
        assert_eq!(taken, payload);
        assert!(block < taken.as_ptr() && taken.as_ptr() < block.wrapping_add(stream.len()), "it was copied");
    }

    /// Of any size, wherever it stands in its block.
    #[test]
    fn a_reply_does_not_hold_a_block_that_is_much_larger() {
        for (before, length, after) in [
            (0, 2, 1 << 16),
            (0, 1 << 15, 1 << 15),
            (1 << 15, 1 << 15, 0),
            (1 << 20, 1 << 17, 0),
            (0, 1 << 17, 1 << 16),
        ] {
            let mut decoder = Decoder::new(1 << 20);
            let mut stream = BytesMut::new();
            command(&mut stream, &[b"pmessage", b"*", b"c", &vec![b'b'; before]]);
            command(&mut stream, &[b"pmessage", b"*", b"c", &vec![b'p'; length]]);
            decoder.buffer_mut().reserve(stream.len() + after);
            decoder.buffer_mut().extend_from_slice(&stream);
            let block = decoder.buffer.as_ptr_range();
            assert!(matches!(decoder.next_reply(), Ok(Some(Reply::Message { .. }))));
            let Ok(Some(Reply::Message { payload, .. })) = decoder.next_reply() else { panic!("no message") };
            assert_eq!(payload.len(), length);
            assert!(!block.contains(&payload.as_ptr()), "{before}, {length}, {after}: it holds the block");
        }
    }

    #[test]
    fn a_command_is_an_array_of_bulk_strings() {
        let mut out = BytesMut::from("before");
        command(&mut out, &[b"PUBLISH", b"", b"a\r\nb"]);
        assert_eq!(out, "before*3\r\n$7\r\nPUBLISH\r\n$0\r\n\r\n$4\r\na\r\nb\r\n");
    }

    fn any_reply() -> impl Strategy<Value = Vec<u8>> {
        let scalar = prop_oneof![
            "[ -~]{0,40}".prop_map(|text| format!("+{text}\r\n").into_bytes()),
            "[ -~]{0,40}".prop_map(|text| format!("-{text}\r\n").into_bytes()),
            any::<i64>().prop_map(|n| format!(":{n}\r\n").into_bytes()),
            Just(b"$-1\r\n".to_vec()),
            prop::collection::vec(any::<u8>(), 0..BULK_MAX * 2).prop_map(|payload| {
                [format!("${}\r\n", payload.len()).as_bytes(), &payload, b"\r\n"].concat()
            }),
        ];
        let array = prop::collection::vec(scalar.clone(), 0..=8).prop_map(|elements| {
            [format!("*{}\r\n", elements.len()).as_bytes(), &elements.concat()].concat()
        });
        let nested = prop::collection::vec(array.clone(), 0..=8).prop_map(|elements| {
            [format!("*{}\r\n", elements.len()).as_bytes(), &elements.concat()].concat()
        });
        let message = prop::collection::vec(any::<u8>(), 0..BULK_MAX * 2).prop_map(|payload| {
            let mut out = BytesMut::new();
            command(&mut out, &[b"pmessage", b"f*", b"f:all", &payload]);
            out.to_vec()
        });
        prop_oneof![scalar, array, nested, message]
    }

    /// A stream cut at the places given.
    fn cut<'a>(stream: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
        let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        places.extend([0, stream.len()]);
        places.sort_unstable();
        places.windows(2).map(|ends| &stream[ends[0]..ends[1]]).collect()
    }

    proptest! {
        #[test]
        fn any_split_of_a_stream_gives_the_same_replies(
            stream in prop::collection::vec(any_reply(), 1..8),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let count = stream.len();
            let stream = stream.concat();
            let expected = whole(&stream);
            prop_assert_eq!(expected.1, None);
            prop_assert_eq!(expected.0.len(), count);
            prop_assert_eq!(&replies(cut(&stream, &cuts)), &expected);
            prop_assert_eq!(&replies(stream.chunks(1)), &expected);
        }

        #[test]
        fn any_split_of_a_broken_stream_gives_the_same_replies_and_the_same_error(
            stream in prop::collection::vec(any_reply(), 1..4),
            broken in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let mut stream = stream.concat();
            let at = broken.index(stream.len());
            stream[at] = byte;
            let expected = whole(&stream);
            prop_assert_eq!(&replies(cut(&stream, &cuts)), &expected);
        }
    }
}
