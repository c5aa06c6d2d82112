//! Every rule of the decoder as a claim, then the properties: cuts do not matter, and tungstenite agrees.

use std::io::{self, Cursor, Read, Write};

use proptest::prelude::*;
use tungstenite::protocol::Role;
use tungstenite::protocol::frame::coding::OpCode;
use tungstenite::protocol::frame::{Frame, FrameHeader};
use tungstenite::{Message as TungsteniteMessage, WebSocket};

use super::*;

const LIMITS: Limits = Limits { message_bytes_max: 1000 };

#[derive(Clone, Debug, PartialEq)]
enum Said {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl From<FrameEvent<'_>> for Said {
    fn from(event: FrameEvent<'_>) -> Self {
        match event {
            FrameEvent::Text(text) => Self::Text(text.into()),
            FrameEvent::Binary(bytes) => Self::Binary(bytes.into()),
            FrameEvent::Ping(payload) => Self::Ping(payload.into()),
            FrameEvent::Pong(payload) => Self::Pong(payload.into()),
            FrameEvent::Close(close) => Self::Close(close.map(|(code, reason)| (code, reason.into()))),
        }
    }
}

/// All that a stream gives when it comes in these reads.
#[derive(Debug, PartialEq)]
struct Outcome {
    said: Vec<Said>,
    /// Complete frames; `None` after a violation, which does not count them.
    frames: Option<usize>,
    violation: Option<Violation>,
    is_unfinished: bool,
}

fn decode_reads<'r>(reads: impl IntoIterator<Item = &'r [u8]>) -> Outcome {
    let mut partial: Option<Box<Partial>> = None;
    let mut said = Vec::new();
    let mut frames = 0;
    for read in reads {
        let decoded = decode(&mut partial, &mut read.to_vec(), &LIMITS, |event| {
            said.push(event.into());
            ControlFlow::Continue(())
        });
        if let Some(partial) = &partial {
            assert!(partial.bytes() <= LIMITS.message_bytes_max + size_of::<Partial>());
            if let Some(text) = partial.message.as_ref().filter(|message| message.is_text) {
                assert!(text.bytes.len() - text.utf8_checked < 4, "bytes are checked again and again");
            }
        }
        match decoded {
            Ok(n) => frames += n,
            Err(violation) => {
                assert!(partial.is_none());
                return Outcome { said, frames: None, violation: Some(violation), is_unfinished: false };
            }
        }
        if matches!(said.last(), Some(Said::Close(_))) {
            break;
        }
    }
    Outcome { said, frames: Some(frames), violation: None, is_unfinished: partial.is_some() }
}

fn decode_whole(stream: &[u8]) -> Outcome {
    decode_reads([stream])
}

/// The last byte that was needed to see a violation, and the violation.
fn violation_at(stream: &[u8]) -> (usize, Violation) {
    for end in 1..=stream.len() {
        if let Some(violation) = decode_whole(&stream[..end]).violation {
            return (end, violation);
        }
    }
    panic!("no violation in {stream:x?}");
}

const FIN: u8 = 0x80;

/// A masked frame, as tungstenite writes it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader {
        is_final: first & FIN != 0,
        rsv1: first & 0x40 != 0,
        rsv2: first & 0x20 != 0,
        rsv3: first & 0x10 != 0,
        opcode: OpCode::from(first & 0x0F),
        mask: Some([0x37, 0xfa, 0x21, 0x3d]),
    };
    let mut bytes = Vec::new();
    Frame::from_payload(header, payload.to_vec().into()).format(&mut bytes).unwrap();
    bytes
}

fn text(first: u8, payload: &str) -> Vec<u8> {
    frame(first, payload.as_bytes())
}

#[test]
fn the_masked_example_of_the_rfc_is_hello() {
    // RFC 6455 section 5.7.
    let stream = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(decode_whole(&stream).said, [Said::Text("Hello".into())]);
}

#[test]
fn whole_frames_leave_no_partial_and_are_delivered_in_place() {
    let mut stream = [text(FIN | 1, "one"), frame(FIN | 2, &[0xff; 300]), frame(FIN | 9, b"p")].concat();
    let range = stream.as_ptr_range();
    let mut partial = None;
    let mut events = 0;
    let frames = decode(&mut partial, &mut stream, &LIMITS, |event| {
        let start = match event {
            FrameEvent::Text(text) => text.as_ptr(),
            FrameEvent::Binary(bytes) | FrameEvent::Ping(bytes) => bytes.as_ptr(),
            other => panic!("{other:?}"),
        };
        assert!(range.contains(&start));
        events += 1;
        ControlFlow::Continue(())
    });
    assert_eq!((frames, events), (Ok(3), 3));
    assert!(partial.is_none());
}

#[test]
fn a_partial_exists_only_while_something_is_unfinished() {
    let stream = text(FIN | 1, "hello");
    let mut partial = None;
    for (i, byte) in stream.iter().enumerate() {
        decode(&mut partial, &mut [*byte], &LIMITS, |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(partial.is_some(), i + 1 < stream.len(), "after byte {i}");
    }
}

#[test]
fn fragments_are_joined_around_control_frames() {
    let stream = [
        text(1, "a"),
        frame(FIN | 9, b"ping"),
        text(0, ""),
        frame(FIN | 0xA, b""),
        text(0, "b"),
        text(FIN, "c"),
        text(FIN | 1, ""),
        frame(2, b""),
        frame(FIN, b""),
    ]
    .concat();
    let outcome = decode_whole(&stream);
    let expected = [
        Said::Ping(b"ping".into()),
        Said::Pong(b"".into()),
        Said::Text("abc".into()),
        Said::Text(String::new()),
        Said::Binary(Vec::new()),
    ];
    assert_eq!(outcome.said, expected);
    assert_eq!(outcome.frames, Some(9));
    assert!(!outcome.is_unfinished);
}

#[test]
fn nothing_is_decoded_after_a_close_or_a_break() {
    let stream = [frame(FIN | 8, b"\x03\xe8bye"), text(FIN | 1, "late"), vec![0xff]].concat();
    let outcome = decode_whole(&stream);
    assert_eq!(outcome.said, [Said::Close(Some((1000, "bye".into())))]);
    assert_eq!((outcome.frames, outcome.is_unfinished), (Some(1), false));

    let mut stream = [text(FIN | 1, "one"), text(FIN | 1, "two"), vec![0x81]].concat();
    let mut partial = None;
    let mut events = 0;
    let frames = decode(&mut partial, &mut stream, &LIMITS, |_| {
        events += 1;
        ControlFlow::Break(())
    });
    assert_eq!((frames, events), (Ok(1), 1));
    assert!(partial.is_none());
}

#[test]
fn each_broken_rule_is_a_protocol_error_at_the_byte_that_breaks_it() {
    let mut unmasked = text(FIN | 1, "x");
    unmasked[1] &= 0x7F;
    let cases: [(&str, Vec<u8>, usize); 19] = [
        ("rsv1", text(FIN | 0x41, "x"), 1),
        ("rsv2", text(FIN | 0x21, "x"), 1),
        ("rsv3", text(FIN | 0x11, "x"), 1),
        ("opcode 3", text(FIN | 3, "x"), 1),
        ("opcode 7", text(FIN | 7, "x"), 1),
        ("opcode 11", text(FIN | 0xB, "x"), 1),
        ("opcode 15", text(FIN | 0xF, "x"), 1),
        ("unmasked", unmasked, 2),
        ("fragmented ping", frame(9, b"x"), 1),
        ("fragmented close", frame(8, b""), 1),
        ("long ping", frame(FIN | 9, &[0; 126]), 2),
        ("continuation of nothing", text(FIN, "x"), 1),
        ("message within a message", [text(1, "x"), text(FIN | 1, "y")].concat(), 8),
        ("126 for 125", vec![0x81, 0xFE, 0, 125], 4),
        ("127 for 65535", vec![0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], 10),
        ("highest bit", vec![0x81, 0xFF, 0x80, 0, 0, 0, 0, 1, 0, 0], 10),
        ("half a close code", frame(FIN | 8, b"\x03"), 7),
        ("close code 1005", frame(FIN | 8, b"\x03\xed"), 8),
        ("close code 0", frame(FIN | 8, b"\0\0"), 8),
    ];
    for (name, stream, at) in cases {
        let (end, violation) = violation_at(&stream);
        assert_eq!((end, violation.reason), (at, CloseReason::ProtocolError), "{name}");
    }
}

#[test]
fn a_message_above_the_bound_is_refused_at_its_header() {
    let exactly = frame(FIN | 2, &[7; 1000]);
    assert_eq!(decode_whole(&exactly).said, [Said::Binary(vec![7; 1000])]);
    let one_more = frame(FIN | 2, &[7; 1001]);
    let (end, violation) = violation_at(&one_more);
    assert_eq!((end, violation.reason), (4, CloseReason::TooBig));

    let fragments = [frame(2, &[7; 600]), frame(FIN | 9, &[1; 125]), frame(FIN, &[7; 400])].concat();
    assert_eq!(decode_whole(&fragments).said.len(), 2);
    let first = frame(2, &[7; 600]);
    let (end, violation) = violation_at(&[&first[..], &frame(FIN, &[7; 401])].concat());
    assert_eq!((end, violation.reason), (first.len() + 4, CloseReason::TooBig));

    let endless = [0x81, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
    assert_eq!(violation_at(&endless).1.reason, CloseReason::TooBig);
}

#[test]
fn text_fails_at_the_first_byte_that_cannot_be_utf8() {
    // A surrogate (ED A0 80), an overlong form (C0 AF), and what is above U+10FFFF (F4 90 80 80).
    for (bad, seen) in [(&b"ok\xed\xa0\x80"[..], 4), (b"ok\xc0\xaf", 3), (b"ok\xf4\x90\x80\x80", 4)] {
        let whole = frame(FIN | 1, bad);
        assert_eq!(violation_at(&whole), (6 + seen, BAD_UTF8));
        let (first, second) = bad.split_at(3);
        let fragments = [frame(1, first), frame(FIN, second)].concat();
        let expected = if seen == 3 { 6 + 3 } else { 6 + 3 + 6 + 1 };
        assert_eq!(violation_at(&fragments), (expected, BAD_UTF8));
    }
}

#[test]
fn a_character_may_be_cut_by_fragments_and_must_end_with_the_message() {
    let kappa = "κόσμε".as_bytes();
    for cut in 0..=kappa.len() {
        let fragments = [frame(1, &kappa[..cut]), frame(0, b""), frame(FIN, &kappa[cut..])].concat();
        assert_eq!(decode_whole(&fragments).said, [Said::Text("κόσμε".into())]);
    }
    assert_eq!(violation_at(&frame(FIN | 1, b"\xe2\x82")).1, BAD_UTF8);
    assert_eq!(violation_at(&[frame(1, b"\xe2\x82"), frame(FIN, b"")].concat()).1, BAD_UTF8);
    assert_eq!(decode_whole(&frame(FIN | 2, b"\xe2\x82")).said.len(), 1);
    assert_eq!(violation_at(&frame(FIN | 8, b"\x03\xe8\xff")).1.reason, CloseReason::BadText);
}

#[test]
fn a_header_that_announces_much_holds_little() {
    let limits = Limits { message_bytes_max: 16 << 20 };
    let mut partial = None;
    let mut start = frame(FIN | 2, &vec![0; 16 << 20]);
    start.truncate(20);
    decode(&mut partial, &mut start, &limits, |_| ControlFlow::Continue(())).unwrap();
    assert!(partial.unwrap().bytes() < 300);
}

#[test]
fn a_partial_holds_no_more_than_what_may_still_arrive() {
    let stream = [frame(2, &[7; 600]), frame(0, &[7; 390]), frame(FIN, &[7; 10])].concat();
    assert_eq!(decode_reads(stream.chunks(1)).said, [Said::Binary(vec![7; 1000])]);

    let mut partial: Option<Box<Partial>> = None;
    let mut held_max = 0;
    for read in frame(FIN | 2, &[7; 70]).chunks_mut(1) {
        decode(&mut partial, read, &LIMITS, |_| ControlFlow::Continue(())).unwrap();
        held_max = held_max.max(partial.as_ref().map_or(0, |partial| partial.bytes()));
    }
    assert!(held_max <= size_of::<Partial>() + 70);
}

#[test]
fn a_text_whose_every_read_ends_inside_a_character_is_checked_once() {
    let payload = "é".repeat(400);
    let stream = text(FIN | 1, &payload);
    let (first, rest) = stream.split_at(1);
    let reads = std::iter::once(first).chain(rest.chunks(2));
    assert_eq!(decode_reads(reads).said, [Said::Text(payload)]);
}

#[test]
fn a_long_message_in_tiny_reads_is_joined_by_few_reallocations() {
    let limits = Limits { message_bytes_max: 1 << 20 };
    let payload = "é".repeat(1 << 19);
    let mut stream = [text(1, &payload[..1 << 18]), text(FIN, &payload[1 << 18..])].concat();
    let mut partial: Option<Box<Partial>> = None;
    let mut capacities = std::collections::BTreeSet::new();
    let mut joined = None;
    for read in stream.chunks_mut(1) {
        decode(&mut partial, read, &limits, |event| {
            joined = Some(Said::from(event));
            ControlFlow::Continue(())
        })
        .unwrap();
        capacities.extend(partial.as_ref().map(|partial| partial.bytes()));
    }
    assert_eq!(joined, Some(Said::Text(payload)));
    assert!(capacities.len() < 30, "{capacities:?}");
}

/// A client's stream: frames that mostly make sense together, with damage here and there.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let first_bytes = prop_oneof![
        8 => proptest::sample::select(vec![0x81_u8, 0x01, 0x00, 0x80, 0x82, 0x02, 0x89, 0x8A]),
        1 => Just(0x88_u8),
        1 => any::<u8>(),
    ];
    let payloads = prop_oneof![
        4 => "\\PC{0,40}".prop_map(String::into_bytes),
        1 => Just(Vec::new()),
        1 => proptest::collection::vec(any::<u8>(), 0..400),
        1 => (any::<u16>(), "[a-z]{0,9}").prop_map(|(code, why)| [&code.to_be_bytes(), why.as_bytes()].concat()),
    ];
    let frames = (first_bytes, payloads).prop_map(|(first, payload)| frame(first, &payload));
    let damage = proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..2);
    (proptest::collection::vec(frames, 0..9), damage, any::<proptest::sample::Index>(), any::<bool>())
        .prop_map(|(frames, damage, end, is_cut_short)| {
            let mut stream = frames.concat();
            if !stream.is_empty() {
                for (at, byte) in damage {
                    *at.get_mut(&mut stream) = byte;
                }
                if is_cut_short {
                    stream.truncate(end.index(stream.len()));
                }
            }
            stream
        })
}

/// What tungstenite's server reads from a stream until it ends or fails.
fn tungstenite_reads(stream: &[u8]) -> Vec<Said> {
    struct OneWay<'s>(&'s [u8]);
    impl Read for OneWay<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }
    impl Write for OneWay<'_> {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            Ok(buffer.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut socket = WebSocket::from_raw_socket(OneWay(stream), Role::Server, None);
    let mut said = Vec::new();
    while let Ok(message) = socket.read() {
        said.push(match message {
            TungsteniteMessage::Text(text) => Said::Text(text.as_str().into()),
            TungsteniteMessage::Binary(bytes) => Said::Binary(bytes.into()),
            TungsteniteMessage::Ping(payload) => Said::Ping(payload.into()),
            TungsteniteMessage::Pong(payload) => Said::Pong(payload.into()),
            TungsteniteMessage::Close(close) => {
                Said::Close(close.map(|close| (close.code.into(), close.reason.as_str().into())))
            }
            TungsteniteMessage::Frame(_) => unreachable!("reads give no raw frames"),
        });
    }
    said
}

proptest! {
    #[test]
    fn any_cut_of_a_stream_decodes_like_the_whole(
        stream in streams(),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
    ) {
        let whole = decode_whole(&stream);
        prop_assert_eq!(&decode_reads(stream.chunks(1)), &whole);

        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        ends.push(stream.len());
        ends.sort_unstable();
        let mut start = 0;
        let reads = ends.iter().map(|&end| &stream[std::mem::replace(&mut start, end)..end]);
        prop_assert_eq!(&decode_reads(reads), &whole);
    }

    #[test]
    fn what_is_accepted_is_what_tungstenite_reads(stream in streams()) {
        let outcome = decode_whole(&stream);
        if outcome.violation.is_none() {
            prop_assert_eq!(outcome.said, tungstenite_reads(&stream));
        }
    }

    #[test]
    fn what_tungstenites_client_sends_is_what_is_decoded(
        messages in proptest::collection::vec(
            prop_oneof!["\\PC{0,200}".prop_map(Said::Text), any::<Vec<u8>>().prop_map(Said::Binary)], 0..6)
    ) {
        let mut client = WebSocket::from_raw_socket(Cursor::new(Vec::new()), Role::Client, None);
        for message in &messages {
            client.send(match message {
                Said::Text(text) => TungsteniteMessage::text(text),
                Said::Binary(bytes) => TungsteniteMessage::binary(bytes.clone()),
                other => unreachable!("{other:?}"),
            }).unwrap();
        }
        let outcome = decode_whole(client.get_ref().get_ref());
        prop_assert_eq!(outcome.frames, Some(messages.len()));
        prop_assert_eq!(outcome.said, messages);
    }

    #[test]
    fn what_is_unfinished_is_as_old_as_its_first_byte(
        messages in proptest::collection::vec(proptest::collection::vec((any::<bool>(), 0_usize..40), 1..4), 1..8),
        reads in proptest::collection::vec(1_usize..30, 1..60),
    ) {
        // Where something begins that was not begun: a message, or a control frame of none.
        let (mut stream, mut begins) = (Vec::new(), Vec::new());
        for fragments in &messages {
            for (number, (has_ping, length)) in fragments.iter().enumerate() {
                if *has_ping {
                    begins.extend((number == 0).then_some(stream.len()));
                    stream.extend(frame(0x89, b"ping"));
                }
                let fin = if number + 1 == fragments.len() { FIN } else { 0 };
                begins.extend((number == 0).then_some(stream.len()));
                stream.extend(frame(fin | if number == 0 { 2 } else { 0 }, &vec![0; *length]));
            }
        }
        let (mut partial, mut ends) = (None, Vec::new());
        for (number, length) in reads.iter().cycle().enumerate() {
            let from: usize = ends.last().copied().unwrap_or(0);
            let to = (from + length).min(stream.len());
            decode(&mut partial, &mut stream[from..to].to_vec(), &LIMITS, |_| ControlFlow::Continue(())).unwrap();
            ends.push(to);
            if let Some(partial) = &mut partial {
                partial.note_since(Tick(number as u32));
                let begin = begins.iter().rfind(|begin| **begin < to).expect("something began");
                let first = ends.iter().position(|end| begin < end).expect("it was read");
                prop_assert_eq!(partial.since(), Some(Tick(first as u32)));
            }
            if to == stream.len() {
                break;
            }
        }
        prop_assert!(partial.is_none());
    }
}
