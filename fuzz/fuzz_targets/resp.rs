//! RESP from a server that may send anything: no panic, and the pieces it comes in change nothing.
#![no_main]

use fanfare::redis::resp::{Decoder, Reply, RespError};
use libfuzzer_sys::fuzz_target;

fn replies<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Reply>, Option<RespError>) {
    let (mut decoder, mut replies) = (Decoder::new(64), Vec::new());
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

fuzz_target!(|input: (u8, &[u8])| {
    let (size, stream) = input;
    let whole = replies(std::iter::once(stream));
    assert_eq!(replies(stream.chunks(usize::from(size) + 1)), whole);
});
