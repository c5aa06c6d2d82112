//! Claims about lines: who goes on when, what ends, and that what waits costs no more than its number.

use super::*;
use crate::model::{Address, Batch, Epoch, FormatId, Message, PayloadKind};
use crate::session::Token;
use std::cell::Cell;
use std::sync::Arc;

const MEMBERS: usize = 10;
const FIRST: PushSlot = PushSlot(0);
const SECOND: PushSlot = PushSlot(1);

fn batch(first: u64) -> Arc<Batch> {
    let message = Message { payload: b"{}"[..].into(), kind: PayloadKind::Json };
    Arc::new(Batch::new(Address::All, Epoch(1), Offset(first), [message].into()))
}

fn plain(first: u64) -> Round {
    Round::take(&mut [batch(first)].into(), MEMBERS)
}

/// Lets the round that may go on do so, for so many places; which it was, and where it is then.
fn go(line: &mut Line, has_credit: bool, places: usize) -> Option<(u64, usize)> {
    let Taken { number, limit, mut round } = line.take_next(MEMBERS, |_| has_credit)?;
    round.cursor = round.cursor.saturating_sub(places).max(limit);
    let cursor = round.cursor;
    round.unserved = round.unserved.saturating_sub(places as u32);
    line.put_back(number, round);
    Some((number.0, cursor))
}

fn push(line: &mut Line, first: u64, slot: PushSlot) -> RoundNumber {
    line.append(Round::of_push(batch(first), slot, MEMBERS), MEMBERS)
}

fn line_behind_a_push() -> (Line, RoundNumber) {
    let mut line = Line::default();
    let number = push(&mut line, 0, FIRST);
    line.append(plain(1), MEMBERS);
    (line, number)
}

#[test]
fn a_message_behind_a_paced_push_reaches_a_device_right_after_the_push() {
    let (mut line, number) = line_behind_a_push();
    assert_eq!(
        go(&mut line, false, MEMBERS),
        None,
        "without credit nobody has the push, and so nothing else"
    );
    assert_eq!(go(&mut line, true, 3), Some((0, 7)));
    assert_eq!(go(&mut line, false, MEMBERS), Some((1, 7)), "just those who have the push");
    assert_eq!(go(&mut line, false, MEMBERS), None);
    assert_eq!(line.servable(number, FIRST, MEMBERS), 7);
}

#[test]
fn a_later_plain_round_becomes_one_with_the_round_before_at_the_same_place() {
    let (mut line, _) = line_behind_a_push();
    assert_eq!(go(&mut line, true, 3), Some((0, 7)));
    assert!(!line.takes_more(), "it is on its way: what comes now rides with the next");
    assert_eq!(go(&mut line, false, MEMBERS), Some((1, 7)));
    assert!(line.takes_more());
    line.append(plain(2), MEMBERS);
    assert_eq!(go(&mut line, false, MEMBERS), Some((2, 7)));
    assert_eq!(line.len(), 2);
    let Some(Taken { round: mut both, .. }) = line.take_next(MEMBERS, |_| true).and_then(|push| {
        line.let_go(push.number);
        line.take_next(MEMBERS, |_| true)
    }) else {
        panic!("they may go on")
    };
    both.encode(FormatId::RAW);
    assert_eq!(both.part(FormatId::RAW, Offset(1)).map(|part| part.messages), Some(2));
    assert_eq!(both.part(FormatId::RAW, Offset(2)).map(|part| part.messages), Some(1));
}

#[test]
fn a_push_that_ends_in_the_middle_of_its_walk_lets_go_what_stood_behind_it() {
    let (mut line, number) = line_behind_a_push();
    go(&mut line, true, 3);
    go(&mut line, false, MEMBERS);
    assert!(line.take_push(number, SECOND).is_none(), "it is not that push's");
    assert_eq!(line.take_push(number, FIRST).map(|round| round.unserved), Some(7));
    assert_eq!(go(&mut line, false, 100), Some((1, 0)));
}

#[test]
fn when_a_round_between_two_vanishes_the_later_one_may_go_to_the_earlier() {
    let mut line = Line::default();
    let first = push(&mut line, 0, FIRST);
    let second = push(&mut line, 1, SECOND);
    line.append(plain(2), MEMBERS);
    for (has_credit, places, expected) in [(true, 8, (0, 2)), (true, 4, (1, 6)), (false, 4, (2, 6))] {
        let only = |slot| has_credit && (slot == FIRST) == (expected.0 == 0);
        let Some(Taken { number, limit, mut round }) = line.take_next(MEMBERS, only) else {
            panic!("one goes")
        };
        round.cursor = round.cursor.saturating_sub(places).max(limit);
        round.unserved = round.unserved.saturating_sub(places as u32);
        assert_eq!((number.0, round.cursor), expected);
        line.put_back(number, round);
    }
    let servable = |line: &Line| (line.servable(first, FIRST, 10), line.servable(second, SECOND, 10));
    assert_eq!(servable(&line), (2, 4));
    line.take_push(second, SECOND);
    assert_eq!(go(&mut line, false, MEMBERS), Some((2, 2)));
    assert!(line.takes_more());
}

#[test]
fn whoever_leaves_is_missed_by_the_pushes_that_were_on_their_way_to_it() {
    let mut line = Line::default();
    line.append(Round::of_push(batch(0), FIRST, 1), 1);
    line.append(plain(1), 2);
    line.append(Round::of_push(batch(2), SECOND, 2), 2);
    let mut missed = Vec::new();
    assert!(line.note_leave(Offset(3), |slot| missed.push(slot)).is_empty());
    assert_eq!(missed, [], "it had both");
    let served = line.note_leave(Offset(0), |slot| missed.push(slot));
    assert_eq!(missed, [SECOND, FIRST]);
    assert_eq!(served.iter().map(|round| round.push).collect::<Vec<_>>(), [Some(FIRST)]);
    let Some(taken) = line.take_next(1, |_| true) else { panic!("the plain one goes") };
    assert_eq!((taken.round.cursor, taken.limit), (1, 0), "the list has one member now");
    line.let_go(taken.number);
    assert_eq!(go(&mut line, true, 2), Some((2, 0)));
}

#[test]
fn urgent_pushes_go_one_after_the_other() {
    let mut line = Line::default();
    let targets = || -> Box<[Token]> { [Token { index: 0, generation: 1 }; 3].into() };
    let first = line.append(Round::of_urgent_push(batch(0), FIRST, targets()), 3);
    let second = line.append(Round::of_urgent_push(batch(0), SECOND, targets()), 3);
    let Some(Taken { number, mut round, .. }) = line.take_next(0, |_| true) else { panic!("the first goes") };
    assert_eq!(round.cursor, 3, "a list of its own does not shrink with the members");
    (round.cursor, round.unserved) = (1, 1);
    line.put_back(number, round);
    assert_eq!((line.servable(first, FIRST, 0), line.servable(second, SECOND, 0)), (1, 0));
    assert!(line.take_next(0, |slot| slot == SECOND).is_none());
    line.take_push(first, FIRST);
    assert_eq!(line.servable(second, SECOND, 0), 3);
}

#[test]
fn a_later_round_that_was_taken_out_and_is_over_leaves_its_place_to_the_next() {
    for has_next in [true, false] {
        let mut line = Line::default();
        push(&mut line, 0, FIRST);
        let second = push(&mut line, 1, SECOND);
        if has_next {
            line.append(plain(2), MEMBERS);
        }
        assert_eq!(go(&mut line, true, 3), Some((0, 7)));
        let Some(taken) = line.take_next(MEMBERS, |slot| slot == SECOND) else { panic!("the second goes") };
        assert_eq!((taken.number, taken.limit), (second, 7));
        line.let_go(second);
        assert_eq!(line.len(), 1 + usize::from(has_next));
        assert!(line.takes_more() != has_next, "a plain one that is on its way takes all with the next");
        if has_next {
            assert_eq!(go(&mut line, false, MEMBERS), Some((2, 7)), "as far as the first has come");
        }
    }
}

#[test]
fn what_waits_behind_a_push_that_stands_still_becomes_few_rounds() {
    let mut line = Line::default();
    push(&mut line, 0, FIRST);
    for first in 1..=100_000 {
        assert!(line.takes_more());
        line.append(plain(first), MEMBERS);
    }
    assert!(line.len() <= 4, "{} rounds for 600 kB of frames", line.len());
}

/// Rounds that cannot become one: pushes, and plain ones between them.
fn long_line(pushes: u64) -> Line {
    let mut line = Line::default();
    for first in 0..pushes {
        push(&mut line, 2 * first, PushSlot(first as u32));
        line.append(plain(2 * first + 1), MEMBERS);
    }
    line
}

#[test]
fn the_end_of_a_long_line_costs_a_look_at_each_push() {
    for pushes in [1_000, 10_000] {
        let (mut line, looks) = (long_line(pushes), Cell::new(0));
        let may_go = |slot| {
            looks.set(looks.get() + 1);
            slot == FIRST
        };
        // Only the first push has credit; whoever is behind it follows, and none of them is asked about.
        let Some(first) = line.take_next(MEMBERS, may_go) else { panic!("it goes") };
        line.put_back(first.number, first.round);
        assert!(looks.get() <= 2, "{} looks", looks.get());
        let mut ended = 0;
        while let Some(taken) = line.take_next(MEMBERS, |_| {
            looks.set(looks.get() + 1);
            true
        }) {
            line.let_go(taken.number);
            ended += 1;
        }
        assert_eq!(ended, 2 * pushes);
        assert!(looks.get() <= 2 * pushes + 2, "{} looks for {pushes} pushes", looks.get());
        assert!(line.is_empty());
    }
}

#[test]
fn whoever_leaves_costs_a_step_for_each_push_that_it_was_owed() {
    let mut line = long_line(10_000);
    for owed in [0, 1, 5] {
        let mut missed = 0;
        let delivered = Offset(20_000 - 2 * owed);
        line.note_leave(delivered, |_| missed += 1);
        assert_eq!(missed, owed);
    }
}
