//! Stories of who gives way, and the sums after any of them.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const FEW: Bounds = Bounds { heads: 3, places: 2, streams: 1 };

struct Story {
    table: Table,
    start: Instant,
    ms: u64,
}

impl Story {
    fn new() -> Self {
        Self { table: Table::new(FEW), start: Instant::now(), ms: 0 }
    }

    fn now(&mut self) -> Instant {
        self.ms += 1;
        self.start + Duration::from_millis(self.ms)
    }

    fn enter(&mut self) -> Id {
        let now = self.now();
        self.table.enter(now)
    }

    fn place(&mut self, id: Id) -> Result<(), Full> {
        let now = self.now();
        self.table.place(id, now)
    }

    fn turn(&mut self, id: Id, phase: Phase) {
        let now = self.now();
        self.table.turn(id, phase, now);
    }

    /// One with a place, in a phase.
    fn placed(&mut self, phase: Phase) -> Id {
        let id = self.enter();
        self.place(id).expect("a place");
        self.turn(id, phase);
        id
    }
}

#[test]
fn who_has_been_idle_longest_gives_its_place_to_a_newcomer() {
    let mut story = Story::new();
    let (first, second, newcomer) = (story.placed(Phase::Idle), story.placed(Phase::Idle), story.enter());
    // The first one is asked again: now it is the younger.
    story.turn(first, Phase::Work);
    story.turn(first, Phase::Idle);
    assert_eq!(story.place(newcomer), Ok(()));
    assert_eq!(story.table.take_displaced(), [second]);
    assert!(story.table.is_displaced(second) && !story.table.has_place(second));
    story.table.leave(second);
    assert_eq!(story.table.len(), 2);
}

#[test]
fn who_leaves_goes_before_who_is_idle_and_who_has_work_never_does() {
    let mut story = Story::new();
    let (idle, leaves) = (story.placed(Phase::Idle), story.placed(Phase::Leave));
    let newcomers = [story.enter(), story.enter(), story.enter()];
    assert_eq!(
        newcomers.map(|id| story.place(id).inspect(|()| story.turn(id, Phase::Work))),
        [Ok(()), Ok(()), Err(Full)]
    );
    assert_eq!(story.table.take_displaced(), [leaves, idle]);
    story.turn(newcomers[0], Phase::Body);
    assert_eq!(story.place(newcomers[2]), Err(Full));
}

#[test]
fn a_head_that_takes_long_loses_its_place_and_a_body_does_not() {
    let mut story = Story::new();
    let (slow, _body) = (story.placed(Phase::Head), story.placed(Phase::Body));
    let newcomer = story.enter();
    assert_eq!(story.place(newcomer), Err(Full));
    story.ms += API_HEAD_GRACE.as_millis() as u64;
    // It trickles: that is no new beginning.
    story.turn(slow, Phase::Head);
    assert_eq!(story.place(newcomer), Ok(()));
    assert_eq!(story.table.take_displaced(), [slow]);
}

#[test]
fn the_oldest_without_a_place_gives_way_to_whoever_comes() {
    let mut story = Story::new();
    let heads = [story.enter(), story.enter(), story.enter()];
    story.turn(heads[0], Phase::Work);
    let newcomer = story.enter();
    assert_eq!(story.table.take_displaced(), [heads[1]], "the first does something else since");
    assert_eq!(story.place(heads[1]), Err(Full), "it has to end");
    assert_eq!(story.place(newcomer), Ok(()));
}

#[test]
fn a_stream_takes_no_place_and_there_are_only_so_many() {
    let mut story = Story::new();
    let (first, second) = (story.placed(Phase::Work), story.placed(Phase::Work));
    let now = story.now();
    assert_eq!(story.table.stream(first, now), Ok(()));
    assert_eq!(story.table.stream(second, now), Err(Full));
    let newcomer = story.placed(Phase::Work);
    assert!(story.table.take_displaced().is_empty());
    story.table.leave(first);
    assert_eq!(story.table.stream(second, now), Ok(()));
    assert!(story.table.has_place(newcomer));
}

#[test]
fn who_gave_way_and_had_spoken_in_time_begins_anew() {
    let mut story = Story::new();
    let (first, _second) = (story.placed(Phase::Idle), story.placed(Phase::Work));
    let newcomer = story.placed(Phase::Work);
    assert_eq!(story.table.take_displaced(), [first]);
    let now = story.now();
    story.table.enter_again(first, now);
    assert_eq!(story.place(first), Err(Full), "it is told so, and not cut off");
    story.turn(newcomer, Phase::Idle);
    assert_eq!(story.place(first), Ok(()));
}

#[test]
fn a_small_request_has_room_whatever_the_others_hold() {
    let mut story = Story::new();
    let (large, small) = (story.placed(Phase::Body), story.placed(Phase::Body));
    let largest = API_BODIES_BYTES_MAX / 8;
    assert_eq!(story.table.hold_body(large, API_BODIES_BYTES_MAX, largest), Ok(()));
    assert_eq!(story.table.hold_body(small, API_BYTES_FREE, largest), Ok(()));
    assert_eq!(story.table.hold_body(small, API_BYTES_FREE + 1, largest), Err(Full));
    assert_eq!(story.table.hold_body(large, API_BODIES_BYTES_MAX, largest), Ok(()), "what it has it keeps");
    assert_eq!(story.table.hold_body(large, API_BODIES_BYTES_MAX - API_BYTES_FREE - 1, largest), Ok(()));
    assert_eq!(story.table.hold_body(small, API_BYTES_FREE + 1, largest), Ok(()));
    assert_eq!(story.table.held(), [API_BODIES_BYTES_MAX, 0]);
    // Two of the largest that an operator allows fit whatever the bound.
    let huge = API_BODIES_BYTES_MAX;
    assert_eq!(story.table.hold_body(small, huge, huge), Ok(()));
}

#[test]
fn answers_that_went_unread_longest_give_way_to_new_ones() {
    let mut story = Story::new();
    let (first, second) = (story.placed(Phase::Work), story.placed(Phase::Work));
    let probe = story.enter();
    story.table.hold_answer(first, API_ANSWERS_BYTES_MAX / 2);
    story.table.hold_answer(second, API_ANSWERS_BYTES_MAX / 2);
    story.table.hold_answer(probe, API_BYTES_FREE);
    assert!(story.table.take_displaced().is_empty(), "a small one costs nobody anything");
    story.table.hold_answer(probe, 2 * API_BYTES_FREE);
    assert_eq!(story.table.take_displaced(), [first]);
    story.table.hold_answer(probe, 2 * API_ANSWERS_BYTES_MAX);
    assert_eq!(story.table.take_displaced(), [second], "one answer always has room");
    assert_eq!(story.table.held(), [0, 2 * API_ANSWERS_BYTES_MAX]);
}

#[test]
fn with_few_descriptors_there_are_fewer_of_each() {
    let all = Bounds { heads: API_HEADS_MAX, places: API_CONNECTIONS_MAX, streams: API_STREAMS_MAX };
    assert_eq!(Bounds::within(1 << 20), all);
    for descriptors in 0..700 {
        let Bounds { heads, places, streams } = Bounds::within(descriptors);
        assert!(heads >= 1 && places >= 1 && streams >= 1);
        assert!(heads + places + streams <= descriptors.saturating_sub(API_DESCRIPTORS_SPARE).max(3));
    }
}

proptest! {
    #[test]
    fn whatever_happens_bounds_hold_sums_add_up_and_nobody_with_work_gives_way(
        steps in proptest::collection::vec((0_usize..9, any::<usize>(), 0_usize..3 * API_BYTES_FREE), 0..200),
    ) {
        let mut story = Story::new();
        let mut here: Vec<Id> = Vec::new();
        for (step, which, bytes) in steps {
            let now = story.now();
            let id = here.get(which % here.len().max(1)).copied();
            let at_work: Vec<Id> = here.iter().copied().filter(|id| {
                let entry = &story.table.entries[*id];
                entry.has_place && matches!(entry.phase, Phase::Work | Phase::Body) && entry.answer <= API_BYTES_FREE
            }).collect();
            match (step, id) {
                (0, _) | (_, None) => here.push(story.table.enter(now)),
                (1, Some(id)) => {
                    story.table.leave(id);
                    here.retain(|other| *other != id);
                }
                (2, Some(id)) => drop(story.table.place(id, now)),
                (3, Some(id)) => drop(story.table.stream(id, now)),
                (4, Some(id)) => {
                    let phases = [Phase::Head, Phase::Body, Phase::Work, Phase::Idle, Phase::Leave];
                    story.table.turn(id, phases[bytes % phases.len()], now);
                }
                (5, Some(id)) => drop(story.table.hold_body(id, bytes, 0)),
                (6, Some(id)) => story.table.hold_answer(id, bytes),
                (7, Some(id)) if story.table.is_displaced(id) => story.table.enter_again(id, now),
                (7, _) => story.table.free_a_descriptor(),
                _ => story.ms += bytes as u64,
            }
            for displaced in story.table.take_displaced() {
                prop_assert!(!at_work.contains(&displaced));
                prop_assert!(story.table.is_displaced(displaced));
            }
            let table = &story.table;
            prop_assert!(table.heads <= FEW.heads && table.places <= FEW.places && table.streams <= FEW.streams);
            let counted = || table.entries.iter().filter(|(_, entry)| !entry.is_displaced);
            prop_assert_eq!(counted().count(), table.heads + table.places + table.streams);
            prop_assert_eq!(counted().filter(|(_, entry)| entry.has_place).count(), table.places);
            prop_assert_eq!(table.entries.iter().map(|(_, entry)| entry.body).sum::<usize>(), table.bodies);
            prop_assert_eq!(table.entries.iter().map(|(_, entry)| entry.answer).sum::<usize>(), table.answers);
            prop_assert_eq!(table.len(), here.len());
        }
    }
}
