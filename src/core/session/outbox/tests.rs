//! What an outbox owes, keeps, drops and counts.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const TOPIC: TopicId = TopicId(1);
const OTHER: TopicId = TopicId(2);

fn cargo(topic: TopicId, messages: u32) -> Cargo {
    Cargo { topic, messages, push: None }
}

fn bounds(bytes_max: usize, policy: OutboxPolicy) -> Bounds {
    Bounds { bytes_max, total_bytes_max: usize::MAX, age_max: Duration::from_secs(30), policy }
}

fn frames(count: usize, payload: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..count {
        frame::push_frame(&mut out, frame::Opcode::Text, &vec![b'x'; payload]);
    }
    out
}

fn pong(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::push_frame(&mut out, Opcode::Pong, payload);
    out
}

/// A buffer that others hold too.
fn shared(count: usize, payload: usize) -> Piece {
    Piece::Shared(frames(count, payload).into())
}

/// A bound that so many items of so many bytes together reach.
fn room(items: usize, bytes: usize) -> usize {
    size_of::<Outbox>() + items * ITEM_BYTES + bytes
}

#[test]
fn the_bound_closes_by_default() {
    let mut outbox = Outbox::new(Tick(0));
    let bounds = bounds(room(2, 30), OutboxPolicy::Close);
    assert_eq!(
        outbox.push_batch(shared(1, 10), cargo(TOPIC, 1), Tick(0), &bounds),
        Delivery::Queued { dropped: 0 }
    );
    assert_eq!(
        outbox.push_batch(shared(1, 10), cargo(TOPIC, 1), Tick(0), &bounds),
        Delivery::Queued { dropped: 0 }
    );
    assert_eq!(outbox.push_batch(shared(1, 10), cargo(TOPIC, 1), Tick(0), &bounds), Delivery::TooSlow);
    assert_eq!(outbox.bytes(), 24);
}

#[test]
fn an_answer_and_the_batch_behind_it_are_owed_from_where_the_kernel_stopped() {
    let whole = frames(1, 1).len() + frames(2, 10).len();
    for sent in 0..whole {
        let mut outbox = Outbox::new(Tick(0));
        outbox.push_control_rest(&frames(1, 1), Some((frames(2, 10), cargo(TOPIC, 2))), sent, Tick(0));
        assert_eq!(outbox.bytes(), whole - sent);
        let has_begun = sent > frames(1, 1).len();
        assert_eq!(outbox.drop_older(Tick(9), 9), if has_begun { 0 } else { 2 }, "{sent} bytes sent");
    }
}

#[test]
fn dropping_the_oldest_spares_a_frame_that_has_begun_and_control_frames() {
    let mut outbox = Outbox::new(Tick(0));
    let bounds = bounds(room(4, 40), OutboxPolicy::DropOldest);
    outbox.push_rest(shared(1, 10), 5, cargo(TOPIC, 1), Tick(0));
    outbox.push_control(&frames(1, 1), Tick(0));
    for _ in 0..2 {
        assert_eq!(
            outbox.push_batch(shared(1, 10), cargo(OTHER, 1), Tick(0), &bounds),
            Delivery::Queued { dropped: 0 }
        );
    }
    assert_eq!(outbox.bytes(), 7 + 3 + 12 + 12);
    assert_eq!(
        outbox.push_batch(shared(1, 10), cargo(TOPIC, 1), Tick(0), &bounds),
        Delivery::Queued { dropped: 1 }
    );
    assert_eq!(outbox.bytes(), 7 + 3 + 12 + 12);
    assert_eq!(
        outbox.push_batch(shared(1, 1_000), cargo(TOPIC, 7), Tick(0), &bounds),
        Delivery::Queued { dropped: 2 + 7 },
        "what cannot fit at all is dropped itself"
    );
}

#[test]
fn latest_only_keeps_one_batch_of_each_topic() {
    let mut outbox = Outbox::new(Tick(0));
    let bounds = bounds(room(4, 1000), OutboxPolicy::LatestOnly);
    outbox.push_rest(shared(1, 10), 5, cargo(TOPIC, 1), Tick(0));
    for topic in [TOPIC, OTHER, TOPIC, OTHER, TOPIC] {
        let _ = outbox.push_batch(shared(1, 10), cargo(topic, 1), Tick(0), &bounds);
    }
    assert_eq!(outbox.bytes(), 7 + 12 + 12);
}

#[test]
fn abandoning_keeps_the_rest_of_the_frame_that_has_begun() {
    for (sent, rest) in [(0, 0), (1, 11), (11, 1), (12, 0), (13, 11), (24, 0)] {
        let mut outbox = Outbox::new(Tick(0));
        outbox.push_rest(shared(3, 10), sent, cargo(TOPIC, 3), Tick(0));
        outbox.push_control(&frames(1, 1), Tick(0));
        assert_eq!(outbox.abandon(), 3);
        assert_eq!(outbox.bytes(), rest, "after {sent} bytes");
        assert_eq!(outbox.front().map_or(0, <[u8]>::len), rest);
    }
}

#[test]
fn a_push_leaves_once_sent_or_not() {
    let mut outbox = Outbox::new(Tick(0));
    let bounds = bounds(room(3, 40), OutboxPolicy::DropOldest);
    let push = |slot| Cargo { push: Some(PushSlot(slot)), ..cargo(TOPIC, 1) };
    outbox.push_rest(shared(1, 10), 5, push(0), Tick(0));
    for slot in 1..=2 {
        let _ = outbox.push_batch(shared(1, 10), push(slot), Tick(0), &bounds);
    }
    let _ = outbox.push_batch(shared(1, 10), push(3), Tick(0), &bounds);
    assert_eq!(outbox.take_settled(), [(PushSlot(1), false)]);
    let _ = outbox.push_batch(shared(1, 1_000), push(4), Tick(0), &bounds);
    assert_eq!(outbox.take_settled(), [2, 3, 4].map(|slot| (PushSlot(slot), false)));
    outbox.advance(6);
    assert_eq!(outbox.take_settled(), []);
    outbox.advance(1);
    assert_eq!(outbox.take_settled(), [(PushSlot(0), true)]);
    let _ = outbox.push_batch(shared(1, 10), push(5), Tick(0), &bounds);
    outbox.abandon();
    assert_eq!(outbox.take_settled(), [(PushSlot(5), false)]);
}

#[test]
fn a_push_whose_last_frame_has_begun_is_settled_by_its_rest() {
    let push = |slot| Cargo { push: Some(PushSlot(slot)), ..cargo(TOPIC, 2) };
    for (sent, is_last) in [(11, false), (12, false), (13, true)] {
        let begun = || {
            let mut outbox = Outbox::new(Tick(0));
            outbox.push_rest(shared(2, 10), sent, push(0), Tick(0));
            outbox.abandon();
            outbox
        };
        let mut outbox = begun();
        assert_eq!(outbox.take_settled(), if is_last { vec![] } else { vec![(PushSlot(0), false)] });
        outbox.advance(outbox.bytes());
        assert_eq!(outbox.take_settled(), if is_last { vec![(PushSlot(0), true)] } else { vec![] });
        let mut outbox = begun();
        outbox.give_up();
        assert_eq!(outbox.take_settled(), [(PushSlot(0), false)]);
        assert!(outbox.is_empty() && outbox.bytes() == 0);
    }
}

#[test]
fn advancing_walks_over_item_boundaries() {
    let mut outbox = Outbox::new(Tick(0));
    let bounds = bounds(room(2, 1000), OutboxPolicy::Close);
    outbox.push_control(&frames(1, 1), Tick(3));
    let _ = outbox.push_batch(shared(1, 2), cargo(TOPIC, 1), Tick(5), &bounds);
    assert_eq!(outbox.since(), Tick(3));
    outbox.advance(2);
    assert_eq!(outbox.front().map(<[u8]>::len), Some(1));
    outbox.advance(1);
    assert_eq!(outbox.front().map(<[u8]>::len), Some(4));
    assert_eq!(outbox.since(), Tick(5));
    outbox.advance(4);
    assert!(outbox.is_empty());
    assert_eq!(outbox.bytes(), 0);
}

#[test]
fn a_pong_takes_the_place_of_one_that_has_not_begun() {
    let mut outbox = Outbox::new(Tick(0));
    outbox.push_control(&[frames(1, 1), pong(b"first")].concat(), Tick(0));
    outbox.push_control(&[pong(b"second"), pong(b"third")].concat(), Tick(0));
    let owed = [frames(1, 1), pong(b"third")].concat();
    assert_eq!(outbox.front(), Some(&owed[..]));
    assert_eq!(outbox.bytes(), owed.len());
    outbox.advance(4);
    outbox.push_control(&pong(b"fourth"), Tick(0));
    let both = [&owed[4..], &pong(b"fourth")].concat();
    assert_eq!(outbox.front(), Some(&both[..]), "the third has begun");
    outbox.push_control(&[frames(1, 1), pong(b"fifth")].concat(), Tick(0));
    let all = [both, frames(1, 1), pong(b"fifth")].concat();
    assert_eq!(outbox.front(), Some(&all[..]), "an answer stands between them");
}

#[test]
fn tiny_answers_take_little_more_than_their_bytes() {
    let mut outbox = Outbox::new(Tick(0));
    (0..100_000).for_each(|_| outbox.push_control(&frames(1, 0), Tick(0)));
    let Dues { owed, own, .. } = outbox.dues();
    assert_eq!(owed, 200_000);
    assert!(own < 3 * owed, "{own} bytes for {owed}");
}

#[test]
fn tiny_batches_reach_the_bound_by_what_they_take() {
    let mut outbox = Outbox::new(Tick(0));
    let bounds = bounds(64 * 1024, OutboxPolicy::Close);
    while outbox.push_batch(shared(1, 0), cargo(TOPIC, 1), Tick(0), &bounds) != Delivery::TooSlow {}
    let Dues { owed, own, .. } = outbox.dues();
    assert!(owed < 2048 && own <= bounds.bytes_max, "{own} bytes for {owed}");
}

proptest! {
    #[test]
    fn what_it_counts_is_what_it_has(steps in proptest::collection::vec((0..7_u8, 0..5_000_usize), 1..60)) {
        let mut outbox = Outbox::new(Tick(0));
        let bounds = bounds(64 * 1024, OutboxPolicy::DropOldest);
        for (what, size) in steps {
            match what {
                0 => outbox.push_control(&pong(&vec![b'p'; size % 126]), Tick(0)),
                1 => outbox.push_control(&frames(1, size % 126), Tick(0)),
                2 => drop(outbox.push_batch(shared(1, size), cargo(TOPIC, 1), Tick(0), &bounds)),
                3 => {
                    let own = Piece::Own(frames(2, size));
                    let _ = outbox.push_batch(own, cargo(OTHER, 2), Tick(0), &bounds);
                }
                4 => drop(outbox.drop_batches()),
                5 if size % 7 == 0 => drop(outbox.abandon()),
                _ => outbox.advance(outbox.front().map_or(0, <[u8]>::len).min(size)),
            }
            let sum = |bytes: fn(&Piece) -> usize| -> usize {
                outbox.items.iter().map(|item| bytes(&item.piece)).sum()
            };
            let (owed, own, held) = (sum(Piece::len), sum(Piece::own_bytes), sum(Piece::held_bytes));
            prop_assert_eq!((outbox.bytes, outbox.own, outbox.held), (owed - outbox.sent, own, held));
            prop_assert!(outbox.items.capacity() <= SHRINK_FLOOR.max(4 * outbox.items.len()));
        }
    }
}
