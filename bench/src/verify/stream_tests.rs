//! Streams with faults in them, and what the verifier calls them. *Not here*: the verifier (`stream`).

use std::ops::Range;

use super::*;
use crate::message::MessageSpec;

const SPEC: MessageSpec = MessageSpec::new(60, 1_000.0, 1_000);

struct World {
    stream: Stream,
    tape: Tape,
    tally: Tally,
    refusals: Refusals,
    signals: Vec<Signal>,
}

impl World {
    fn new(framing: Framing, from_start: bool) -> Self {
        Self {
            stream: Stream::new(framing, from_start),
            tape: framing.tape(SPEC),
            tally: Tally::default(),
            refusals: Refusals::default(),
            signals: Vec::new(),
        }
    }

    fn receive(&mut self, bytes: &[u8], piece: usize) {
        for piece in bytes.chunks(piece) {
            let mut desk = Desk {
                tape: &mut self.tape,
                tally: &mut self.tally,
                refusals: &self.refusals,
                now_us: 5_000_000,
            };
            self.stream.handle_bytes(piece, &mut desk, &mut self.signals);
        }
    }

    /// gaps, duplicates, reorders, malformed
    fn faults(&self, published: u64) -> [u64; 4] {
        let faults = self.tally.faults;
        let gaps = self.stream.gaps(self.tape.spec(), Some(published), &self.refusals);
        [gaps, faults.duplicates, faults.reorders, faults.malformed]
    }
}

/// Go-push batches of exactly these messages, in this order.
fn batch(sequences: &[u64]) -> Vec<u8> {
    let items: Vec<String> = sequences
        .iter()
        .map(|sequence| {
            let mut item = Vec::new();
            SPEC.write(*sequence, &mut item);
            String::from_utf8(item).unwrap()
        })
        .collect();
    text(&format!(r#"{{"type":"PUSH","data":{{"items":[{}]}}}}"#, items.join(",")))
}

fn text(payload: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_head(opcode::TEXT, payload.len(), &mut out);
    out.extend_from_slice(payload.as_bytes());
    out
}

fn frames(framing: Framing, ranges: &[Range<u64>]) -> Vec<u8> {
    let mut out = Vec::new();
    for range in ranges {
        framing.write(&SPEC, range.clone(), &mut out);
    }
    out
}

#[test]
fn a_right_stream_is_right_in_pieces_of_any_size() {
    for framing in [Framing::Bare, Framing::Raw, Framing::GoPush] {
        let bytes = frames(framing, &[0..1, 1..8, 8..300, 300..301, 301..333]);
        for piece in (1..200).chain([1_000, 4_096, bytes.len()]) {
            let mut world = World::new(framing, true);
            world.receive(&bytes, piece);
            assert_eq!(
                world.faults(333),
                [0; 4],
                "{framing:?} in {piece}: {:?}",
                world.tally.first_malformed
            );
            assert_eq!(world.tally.messages, 333, "{framing:?} in pieces of {piece}");
            assert_eq!(world.tally.latency.percentiles().count, 333);
            let expected = match framing {
                Framing::Bare => 0,
                Framing::Raw => 333,
                Framing::GoPush => 5,
            };
            assert_eq!(world.tally.frames, expected, "{framing:?} in pieces of {piece}");
        }
    }
}

#[test]
fn batches_are_written_as_the_protocol_says() {
    assert_eq!(frames(Framing::GoPush, std::slice::from_ref(&(3..6))), batch(&[3, 4, 5]));
}

#[test]
#[allow(clippy::type_complexity)] // a table of cases
fn each_fault_has_its_name_whatever_the_pieces() {
    let cases: [(&[&[u64]], [u64; 4], u64); 8] = [
        (&[&[0, 1, 2], &[4, 5]], [1, 0, 0, 0], 5),
        (&[&[0, 1, 3, 4, 5]], [1, 0, 0, 0], 5),
        (&[&[0, 1, 2, 2, 3, 4, 5]], [0, 1, 0, 0], 6),
        (&[&[0, 1, 2], &[0, 1, 2], &[3, 4, 5]], [0, 3, 0, 0], 6),
        (&[&[0, 1, 3, 2, 4, 5]], [0, 0, 1, 0], 6),
        (&[&[0, 1], &[4, 5], &[2, 3]], [0, 0, 2, 0], 6),
        (&[&[1, 2, 3, 4, 5]], [1, 0, 0, 0], 5),
        (&[&[0, 1, 2, 3]], [2, 0, 0, 0], 4),
    ];
    for (batches, faults, messages) in cases {
        let bytes: Vec<u8> = batches.iter().flat_map(|sequences| batch(sequences)).collect();
        for piece in (1..=130).chain([bytes.len()]) {
            let mut world = World::new(Framing::GoPush, true);
            world.receive(&bytes, piece);
            assert_eq!(world.faults(6), faults, "{batches:?} in pieces of {piece}");
            assert_eq!(world.tally.messages, messages, "{batches:?} in pieces of {piece}");
        }
    }
}

#[test]
fn raw_frames_in_the_wrong_order_or_missing_are_noticed() {
    let bytes = frames(Framing::Raw, &[0..5, 6..7, 5..6, 8..9, 8..9]);
    for piece in [1, 7, 62, 63, 1_000] {
        let mut world = World::new(Framing::Raw, true);
        world.receive(&bytes, piece);
        assert_eq!(world.faults(9), [1, 1, 1, 0], "in pieces of {piece}");
    }
}

#[test]
fn a_changed_byte_of_any_message_is_malformed_and_its_message_missing() {
    let right = batch(&[0, 1, 2, 3]);
    let second_padding = right.len() - 2 * 61 - 20;
    let mut wrong = right.clone();
    wrong[second_padding] ^= 1;
    for piece in [1, 50, 500] {
        let mut world = World::new(Framing::GoPush, true);
        world.receive(&wrong, piece);
        world.receive(&batch(&[4]), piece);
        assert_eq!(world.faults(5), [1, 0, 0, 1], "in pieces of {piece}");
    }
}

#[test]
fn every_truncation_and_change_of_framing_is_noticed() {
    let right = batch(&[0, 1, 2, 3]);
    for at in 0..right.len() {
        let mut wrong = right.clone();
        wrong[at] ^= 0x04;
        let mut world = World::new(Framing::GoPush, true);
        world.receive(&wrong, 1_000);
        world.receive(&batch(&[4, 5]), 1_000);
        let noticed = world.faults(6) != [0; 4] || !world.signals.is_empty() || world.tally.other_frames > 0;
        assert!(noticed, "byte {at} changed and nothing said");
    }
}

#[test]
fn one_who_joins_late_starts_anywhere_and_then_misses_nothing() {
    let mut world = World::new(Framing::GoPush, false);
    world.receive(&batch(&[70, 71]), 33);
    world.receive(&batch(&[72, 74]), 33);
    assert_eq!(world.faults(75), [1, 0, 0, 0]);
}

#[test]
fn refused_messages_are_not_missed() {
    let mut world = World::new(Framing::GoPush, true);
    world.refusals.add(2..5);
    world.receive(&batch(&[0, 1, 5, 7]), 1_000);
    world.refusals.add(8..20);
    assert_eq!(world.faults(20), [1, 0, 0, 0]);
}

#[test]
fn pings_closes_and_other_frames_between_batches_disturb_nothing() {
    let mut bytes = batch(&[0, 1]);
    bytes.extend_from_slice(&[0x89, 3, b'a', b'b', b'c']);
    bytes.extend_from_slice(&text(r#"{"type":"PONG","data":{}}"#));
    bytes.extend_from_slice(&batch(&[2]));
    bytes.extend_from_slice(&[0x88, 2, 0x0f, 0xa8]);
    for piece in 1..bytes.len() {
        let mut world = World::new(Framing::GoPush, true);
        world.receive(&bytes, piece);
        assert_eq!(world.faults(3), [0; 4], "in pieces of {piece}");
        assert_eq!(world.tally.other_frames, 1);
        assert_eq!(world.signals, [Signal::Ping(b"abc".to_vec()), Signal::Close(4008)]);
    }
}

#[test]
fn items_end_at_commas_outside_strings_and_brackets_only() {
    for item in [r#"{"a":[1,2],"b":"x,]}"}"#, "17", r#""a,b\"c,""#, "[[1,2],{}]"] {
        assert_eq!(item_bytes(format!("{item},1").as_bytes()), item.len(), "{item}");
        assert_eq!(item_bytes(item.as_bytes()), item.len(), "{item}");
    }
}
