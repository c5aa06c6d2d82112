//! A client's stream means the same however it is cut into reads. The first two bytes choose the reads' sizes.
#![no_main]

use std::ops::ControlFlow;

use fanfare_core::websocket::decoder::{Limits, Partial, Violation, decode};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { message_bytes_max: 600 };

fuzz_target!(|data: &[u8]| {
    let [odd, even, stream @ ..] = data else { return };
    let whole = decode_reads(stream, [stream.len().max(1), 1]);
    let cut = decode_reads(stream, [1 + usize::from(*odd), 1 + usize::from(*even)]);
    assert_eq!(whole, cut);
});

/// Events, complete frames or the violation, and whether something is left unfinished.
fn decode_reads(mut rest: &[u8], sizes: [usize; 2]) -> (Vec<String>, Result<usize, Violation>, bool) {
    let mut partial: Option<Box<Partial>> = None;
    let mut events = Vec::new();
    let mut frames = 0;
    for size in sizes.into_iter().cycle() {
        let (read, after) = rest.split_at(size.min(rest.len()));
        let mut is_closed = false;
        let decoded = decode(&mut partial, &mut read.to_vec(), &LIMITS, |event| {
            events.push(format!("{event:?}"));
            is_closed = events.last().is_some_and(|event| event.starts_with("Close"));
            ControlFlow::Continue(())
        });
        let held = partial.as_ref().map_or(0, |partial| partial.bytes());
        assert!(held <= LIMITS.message_bytes_max + size_of::<Partial>());
        match decoded {
            Ok(more) => frames += more,
            Err(violation) => return (events, Err(violation), partial.is_some()),
        }
        rest = after;
        if rest.is_empty() || is_closed {
            break;
        }
    }
    (events, Ok(frames), partial.is_some())
}
