//! Claims of the registry.

use super::*;
use crate::push::request;
use crate::push::share::Share;
use bytes::Bytes;

const MINUTE_US: u64 = 60_000_000;

fn request(id: &str, message: u32) -> (Facts, Request) {
    let body = format!(r#"{{"to":{{"topic":"t"}},"messages":[{message}],"rate":100,"id":"{id}"}}"#);
    let request = request::parse(&Bytes::from(body)).expect("a request");
    let facts = Facts {
        id: request.id.clone().expect("it has one"),
        to: request.to.clone().into(),
        terms: request.terms,
        source: Source::Http,
        messages: 1,
        bytes: request.bytes(),
        accepted: Moment::default(),
    };
    (facts, request)
}

fn accept(registry: &mut Registry, id: &str, message: u32) -> Result<Admission, Refused> {
    let (facts, request) = request(id, message);
    registry.accept(facts, &request)
}

/// What the ingest core makes of it, for two shards.
fn made(id: &str, accepted_us: u64) -> Arc<Push> {
    let (facts, _) = request(id, 1);
    let Facts { id, to, terms, source, messages, bytes, .. } = facts;
    let shares = [Share::new(0), Share::new(0)].into();
    let accepted = Moment { us: accepted_us, unix_ms: 0 };
    Arc::new(Push { id, terms, source, to, messages, bytes, accepted, shares })
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
fn the_same_request_again_is_one_push_and_another_of_its_name_is_refused() {
    let mut registry = Registry::new(2);
    assert_eq!(accept(&mut registry, "a", 1), Ok(Admission::New));
    for _ in 0..2 {
        assert_eq!(accept(&mut registry, "a", 1), Ok(Admission::Duplicate));
        assert_eq!(accept(&mut registry, "a", 2), Err(Refused::Conflict));
        running(&mut registry, "a", 0);
        registry.tick(None, 0);
        assert_eq!(registry.running(), 0, "the second time around it is over");
    }
}

#[test]
fn a_name_that_came_by_redis_is_compared_as_far_as_it_is_known() {
    let mut registry = Registry::new(2);
    running(&mut registry, "a", 1);
    assert_eq!(accept(&mut registry, "a", 1), Ok(Admission::Duplicate));
    assert_eq!(accept(&mut registry, "a", 10), Err(Refused::Conflict), "it has more bytes");
}

#[test]
fn a_push_that_never_comes_back_is_lost_and_may_be_asked_for_again() {
    let mut registry = Registry::new(2);
    assert_eq!(accept(&mut registry, "a", 1), Ok(Admission::New));
    registry.tick(None, MINUTE_US - 1);
    assert_eq!(state(&registry, "a"), Some(State::Queued));
    registry.tick(None, MINUTE_US);
    assert_eq!((state(&registry, "a"), registry.running()), (Some(State::Lost), 0));
    assert_eq!(accept(&mut registry, "a", 1), Ok(Admission::New));
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
        assert_eq!(registry.change("a", Change::default(), 0), Err(Refused::Over));
        assert_eq!((registry.cancel("a"), registry.cancel("b")), (Err(Refused::Over), Err(Refused::Unknown)));
        let total = registry.total();
        assert_eq!((total.sent, total.failed[why as usize]), (1, 1));
    }
}

#[test]
fn an_order_given_before_the_push_was_made_is_its_order() {
    let mut registry = Registry::new(2);
    for id in ["paused", "cancelled"] {
        assert_eq!(accept(&mut registry, id, 1), Ok(Admission::New));
    }
    let change = Change { is_paused: Some(true), ..Change::default() };
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
        assert_eq!(accept(&mut registry, &format!("p{n}"), 1), Ok(Admission::New));
    }
    assert_eq!(accept(&mut registry, "more", 1), Err(Refused::TooMany));
    registry.withdraw("p0");
    assert_eq!(accept(&mut registry, "more", 1), Ok(Admission::New));
}
