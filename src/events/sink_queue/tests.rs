//! A queue loses nothing without saying so, and holds no more than it may.

use proptest::prelude::*;

use super::*;

const BOUNDS: Bounds = Bounds {
    batch_events_max: 3,
    batch_bytes_max: 100,
    delay: Duration::from_millis(200),
    queue_bytes_max: 1000,
};

fn queue(bounds: Bounds) -> SinkQueue {
    SinkQueue::new("g".into(), bounds)
}

fn text(seq: u64, bytes: usize) -> Bytes {
    format!("{{\"seq\":{seq},\"x\":\"{}\"}}", "x".repeat(bytes)).into()
}

#[test]
fn a_batch_leaves_when_it_is_full_or_its_first_event_is_old() {
    let (mut queue, now) = (queue(BOUNDS), Instant::now());
    queue.offer(1, &text(1, 1), now);
    queue.offer(2, &text(2, 1), now + BOUNDS.delay / 2);
    assert_eq!(queue.batch(now + BOUNDS.delay / 2), None);
    assert_eq!(queue.batch(now + BOUNDS.delay).map(|batch| batch.count), Some(2));
    assert_eq!(queue.batch(now + BOUNDS.delay), None, "one is in flight");
    queue.taken();
    assert!(queue.is_empty());
    (3..7).for_each(|seq| assert!(queue.offer(seq, &text(seq, 1), now)));
    assert_eq!(queue.batch(now).map(|batch| batch.count), Some(3), "by count");
    queue.taken();
    assert_eq!(queue.batch(now), None);
    queue.offer(7, &text(7, 100), now);
    assert_eq!(queue.batch(now).map(|batch| batch.count), Some(1), "by bytes");
    queue.taken();
    assert_eq!(queue.batch(now).map(|batch| batch.count), Some(1), "one above the bound goes alone");
}

#[test]
fn a_closed_queue_holds_nothing_back() {
    let (mut queue, now) = (queue(BOUNDS), Instant::now());
    queue.offer(1, &text(1, 1), now);
    assert_eq!(queue.batch(now), None);
    queue.close();
    assert_eq!(queue.batch(now).map(|batch| batch.count), Some(1));
}

#[test]
fn a_failed_batch_comes_again_and_a_refused_one_leaves_a_mark() {
    let (mut queue, now) = (queue(BOUNDS), Instant::now());
    (1..=4).for_each(|seq| assert!(queue.offer(seq, &text(seq, 1), now)));
    let first = queue.batch(now);
    queue.failed();
    assert_eq!(queue.batch(now), first);
    assert_eq!(queue.refused(now), 3);
    queue.close();
    let batch = queue.batch(now).expect("the mark and the fourth");
    assert_eq!(batch.events, [json::lost("g", 3, 3), text(4, 1)]);
    assert_eq!(batch.count, 1);
}

#[test]
fn a_receiver_that_returns_is_told_how_much_it_missed() {
    let (mut queue, now) = (queue(Bounds { queue_bytes_max: 65, ..BOUNDS }), Instant::now());
    let taken: Vec<bool> = (1..=9).map(|seq| queue.offer(seq, &text(seq, 5), now)).collect();
    assert_eq!(taken.iter().filter(|taken| **taken).count(), 3);
    queue.batch(now).expect("three");
    queue.taken();
    assert!(queue.offer(10, &text(10, 5), now));
    queue.close();
    assert_eq!(queue.batch(now).expect("the rest").events, [json::lost("g", 9, 6), text(10, 5)]);
}

#[derive(Clone, Debug)]
enum Act {
    Offer(usize),
    /// As many were lost before they came here.
    Lose(u64),
    Deliver(Fate),
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Taken,
    Failed,
    Refused,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0_usize..120).prop_map(Act::Offer),
        1 => (1_u64..5).prop_map(Act::Lose),
        2 => prop_oneof![3 => Just(Fate::Taken), 1 => Just(Fate::Failed), 1 => Just(Fate::Refused)]
            .prop_map(Act::Deliver),
    ]
}

/// Every number that the receiver knows of, in the order in which it learnt it.
fn learn(known: &mut Vec<u64>, batch: &Batch) {
    for event in &batch.events {
        let event: serde_json::Value = serde_json::from_slice(event).expect("JSON");
        let seq = event["seq"].as_u64().expect("a number");
        let count = event.get("count").map_or(1, |count| count.as_u64().expect("a number"));
        known.extend(seq + 1 - count..=seq);
    }
}

proptest! {
    #[test]
    fn every_number_is_an_event_or_within_a_mark_and_in_order(
        acts in prop::collection::vec(act(), 1..200),
        queue_bytes_max in 100_usize..2000,
    ) {
        let bounds = Bounds { queue_bytes_max, ..BOUNDS };
        let (mut queue, mut now, mut seq) = (queue(bounds), Instant::now(), 0);
        let (mut known, mut taken, mut dropped, mut refused, mut offered) = (Vec::new(), 0, 0, 0, 0);
        let mut acts = acts;
        acts.extend(std::iter::repeat_n(Act::Deliver(Fate::Taken), 400));
        for (n, act) in acts.iter().enumerate() {
            now += Duration::from_millis(90);
            match act {
                Act::Offer(bytes) => {
                    seq += 1;
                    offered += 1;
                    dropped += u64::from(!queue.offer(seq, &text(seq, *bytes), now));
                }
                Act::Lose(count) => {
                    seq += count;
                    queue.lose(seq, *count, now);
                }
                Act::Deliver(fate) => {
                    if n + 400 >= acts.len() {
                        queue.close();
                    }
                    let Some(batch) = queue.batch(now) else { continue };
                    prop_assert!(!batch.events.is_empty() && batch.events.len() <= bounds.batch_events_max);
                    let bytes: usize = batch.events.iter().map(Bytes::len).sum();
                    prop_assert!(bytes <= bounds.batch_bytes_max || batch.events.len() == 1);
                    match fate {
                        Fate::Taken => {
                            learn(&mut known, &batch);
                            taken += batch.count as u64;
                            queue.taken();
                        }
                        Fate::Failed => queue.failed(),
                        Fate::Refused => refused += queue.refused(now),
                    }
                }
            }
            prop_assert!(queue.bytes() <= queue_bytes_max);
            prop_assert_eq!(taken + dropped + refused + queue.events() as u64, offered);
        }
        prop_assert!(queue.is_empty());
        prop_assert_eq!((queue.bytes(), queue.events()), (0, 0));
        prop_assert_eq!(known, (1..=seq).collect::<Vec<_>>());
    }
}
