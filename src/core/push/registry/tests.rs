//! Claims of the registry.

use super::*;
use crate::push::request;
use crate::push::share::Share;
use bytes::Bytes;

const MINUTE_US: u64 = 60_000_000;

fn facts(id: &str) -> Facts {
    let body = format!(r#"{{"to":{{"topic":"t"}},"messages":[1],"rate":100,"id":"{id}"}}"#);
    let request = request::parse(&Bytes::from(body)).expect("a request");
    Facts {
        id: request.id.clone().expect("it has one"),
        to: request.to.clone().into(),
        terms: request.terms,
        source: Source::Http,
        messages: 1,
        bytes: request.bytes(),
        accepted: Moment::default(),
    }
}

/// What the ingest core makes of it, for two shards.
fn made(id: &str, accepted_us: u64) -> Arc<Push> {
    let Facts { id, to, terms, source, messages, bytes, .. } = facts(id);
    let shares = [Share::new(0), Share::new(0)].into();
    let accepted = Moment { us: accepted_us, unix_ms: 0 };
    Arc::new(Push { id, terms, source, to, holds: Box::default(), messages, bytes, accepted, shares })
}

/// One that every shard has, for so many devices each.
fn running(registry: &mut Registry, id: &str, devices: u64) -> Arc<Push> {
    let push = made(id, 0);
    push.shares.iter().for_each(|share| share.take(devices));
    registry.adopt(Arc::clone(&push));
    push
}

fn state(registry: &Registry, id: &str) -> Option<State> {
    registry.snapshot(id, 0).map(|snapshot| snapshot.state)
}

#[test]
fn one_that_runs_is_noted_once_and_stays_as_it_is() {
    let mut registry = Registry::new(2);
    assert_eq!(registry.note(facts("a")), Ok(true));
    assert_eq!(registry.note(facts("a")), Ok(false));
    running(&mut registry, "a", 1);
    registry.withdraw("a");
    registry.lose("a", 0);
    assert_eq!(state(&registry, "a"), Some(State::Running), "it was made, and is nobody's to take back");
    assert_eq!(registry.note(facts("a")), Ok(false));
}

#[test]
fn one_that_was_handed_on_and_is_not_known_to_have_come_back_is_shown_as_lost() {
    let mut registry = Registry::new(2);
    assert_eq!(registry.note(facts("a")), Ok(true));
    registry.lose("a", 5);
    assert_eq!((state(&registry, "a"), registry.running(), registry.over()[3]), (Some(State::Lost), 0, 1));
    assert_eq!(registry.note(facts("a")), Ok(true), "its id is free");
    assert_eq!(state(&registry, "a"), Some(State::Queued));
}

#[test]
fn a_push_that_never_comes_back_is_lost_and_may_be_asked_for_again() {
    let mut registry = Registry::new(2);
    assert_eq!(registry.note(facts("a")), Ok(true));
    registry.tick(None, MINUTE_US - 1);
    assert_eq!(state(&registry, "a"), Some(State::Queued));
    registry.tick(None, MINUTE_US);
    assert_eq!((state(&registry, "a"), registry.running()), (Some(State::Lost), 0));
    assert_eq!(registry.note(facts("a")), Ok(true));
    assert_eq!((state(&registry, "a"), registry.made_over()), (Some(State::Queued), 0));
}

#[test]
fn a_push_for_nobody_is_over_at_once_and_one_that_a_shard_does_not_have_is_not() {
    let mut registry = Registry::new(2);
    running(&mut registry, "nobody", 0);
    let half = made("half", 0);
    half.shares[0].take(0);
    registry.adopt(half);
    registry.tick(None, 0);
    assert_eq!(state(&registry, "nobody"), Some(State::Done));
    assert_eq!(state(&registry, "half"), Some(State::Queued));
}

#[test]
fn how_a_push_ended_is_what_its_devices_were_told() {
    for (why, ended) in [
        (Failed::Closed, State::Done),
        (Failed::Expired, State::Expired),
        (Failed::Cancelled, State::Cancelled),
    ] {
        let mut registry = Registry::new(2);
        let push = running(&mut registry, "a", 1);
        push.shares[0].sent(1, 10);
        registry.tick(None, 0);
        assert_eq!(state(&registry, "a"), Some(State::Running));
        push.shares[1].failed(why, 1);
        registry.tick(None, 0);
        assert_eq!(state(&registry, "a"), Some(ended));
        assert_eq!(registry.change("a", PushChange::default(), 0), Err(RegistryError::Over));
        assert_eq!(
            (registry.cancel("a"), registry.cancel("b")),
            (Err(RegistryError::Over), Err(RegistryError::Unknown))
        );
        let total = registry.total();
        assert_eq!((total.sent, total.failed[why as usize]), (1, 1));
    }
}

#[test]
fn an_order_given_before_the_push_was_made_is_its_order() {
    let mut registry = Registry::new(2);
    for id in ["paused", "cancelled"] {
        assert_eq!(registry.note(facts(id)), Ok(true));
    }
    let change = PushChange { is_paused: Some(true), ..PushChange::default() };
    assert_eq!((registry.change("paused", change, 0), registry.cancel("cancelled")), (Ok(()), Ok(())));
    let paused = running(&mut registry, "paused", 5);
    let cancelled = running(&mut registry, "cancelled", 5);
    registry.tick(None, 0);
    assert!(paused.shares.iter().all(|share| share.rate_milli() == 0));
    assert!(cancelled.shares.iter().all(|share| share.ordered_end() == Some(Failed::Cancelled)));
    assert_eq!((state(&registry, "paused"), registry.paused()), (Some(State::Paused), 1));
}

#[test]
fn those_that_are_over_are_remembered_within_a_count_and_an_age() {
    let mut registry = Registry::new(2);
    for n in 0..PUSHES_RECENT_MAX + 5 {
        running(&mut registry, &format!("p{n}"), 0);
        registry.tick(None, n as u64);
    }
    assert_eq!(registry.all_recent().count(), PUSHES_RECENT_MAX);
    assert_eq!((state(&registry, "p4"), state(&registry, "p5")), (None, Some(State::Done)));
    assert_eq!(registry.over()[0], PUSHES_RECENT_MAX as u64 + 5, "counted all the same");
    registry.tick(None, PUSH_RECENT_AGE.as_micros() as u64 + 8);
    assert_eq!((state(&registry, "p7"), state(&registry, "p8")), (None, Some(State::Done)));
}

#[test]
fn no_more_than_so_many_run_and_one_that_was_withdrawn_leaves_its_place() {
    let mut registry = Registry::new(2);
    for n in 0..PUSHES_RUNNING_MAX {
        assert_eq!(registry.note(facts(&format!("p{n}"))), Ok(true));
    }
    assert_eq!(registry.note(facts("more")), Err(RegistryError::TooMany));
    registry.withdraw("p0");
    assert_eq!(registry.note(facts("more")), Ok(true));
}
