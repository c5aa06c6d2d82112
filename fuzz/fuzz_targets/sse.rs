//! A stream of events from a server that may send anything: no panic, and the pieces it comes in change nothing.
#![no_main]

use fanfare::client::sse::{Parser, StreamEvent, TooLong};
use libfuzzer_sys::fuzz_target;

fn events<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Vec<StreamEvent>, TooLong> {
    let (mut parser, mut events) = (Parser::default(), Vec::new());
    for piece in pieces {
        parser.take(piece, &mut events)?;
    }
    Ok(events)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, stream) = input;
    assert_eq!(events(stream.chunks(usize::from(size) + 1)), events(std::iter::once(stream)));
});
