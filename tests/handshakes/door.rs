//! Shards that accept from one socket: who leaves the door to whom, and when it returns.

use std::time::Duration;

use fanfare::downlink::ShardCommand;
use fanfare_core::limits::{DOOR_AHEAD, DOOR_AHEAD_IN_CROWD, DOOR_CROWD, DOOR_FULL, DOOR_PAUSE, TICK};

use crate::porch::{HEAD, World};

#[test]
fn a_shard_that_is_ahead_leaves_the_door_to_the_other_for_a_moment() {
    let mut world = World::beside(0);
    let ahead = DOOR_AHEAD.1 as usize;
    world.come_one_by_one(ahead);
    assert!(world.shard.plane().is_listener_watched, "so many may come in any order");
    world.come_one_by_one(1);
    assert!(!world.shard.plane().is_listener_watched);
    assert_eq!((world.shard.connections(), world.blocks.shards[0].at_door.get()), (ahead + 1, 0));
    let pause_us = DOOR_PAUSE.as_micros() as u64;
    assert_eq!(world.shard.turn_in_us(), Some(pause_us));
    world.is_later(pause_us - 1);
    assert!(!world.shard.plane().is_listener_watched);
    world.is_later(pause_us);
    assert!(world.shard.plane().is_listener_watched && world.blocks.shards[0].at_door.get() == 1);
    assert_eq!(world.shard.turn_in_us(), None);
}

#[test]
fn a_shard_stays_at_the_door_where_the_other_is_not_or_has_as_many() {
    let mut world = World::beside(0);
    world.blocks.shards[1].at_door.set(0);
    world.come_one_by_one(100);
    assert!(world.shard.plane().is_listener_watched && world.shard.connections() == 100);
    let mut world = World::beside(100);
    world.come_one_by_one(100);
    assert!(world.shard.plane().is_listener_watched && world.shard.connections() == 100);
}

/// How many are taken, one by one, until the shard leaves the door to the other, with so many waiting throughout; `None`: it
/// never does.
fn taken_with(waiting: u32) -> Option<u64> {
    let mut world = World::beside(0);
    (0..waiting).for_each(|_| _ = world.arrives(HEAD.as_bytes()));
    for taken in 1..=3_000 {
        world.come_one_by_one(1);
        if !world.shard.plane().is_listener_watched {
            return Some(taken);
        }
    }
    None
}

#[test]
fn the_more_wait_the_further_ahead_a_shard_may_get() {
    assert_eq!([0, DOOR_CROWD - 1].map(taken_with), [Some(DOOR_AHEAD.1 + 1); 2]);
    assert_eq!([DOOR_CROWD, DOOR_FULL - 1].map(taken_with), [Some(DOOR_AHEAD_IN_CROWD.1 + 1); 2]);
    assert_eq!(taken_with(DOOR_FULL), None);
}

#[test]
fn who_waits_is_not_left_to_a_shard_that_does_not_come() {
    let mut world = World::beside(0);
    (0..10).for_each(|_| _ = world.arrives(HEAD.as_bytes()));
    world.come_one_by_one(DOOR_AHEAD.1 as usize + 1);
    assert!(!world.shard.plane().is_listener_watched);
    world.is_later(1_000);
    world.come_one_by_one(20);
    assert!(world.shard.plane().is_listener_watched, "the other has taken nobody");
    world.blocks.shards[1].accepted.add(1);
    world.come_one_by_one(1);
    assert!(!world.shard.plane().is_listener_watched);
}

#[test]
fn who_was_announced_to_a_shard_that_cannot_accept_is_found_at_the_next_tick() {
    let mut world = World::beside(0);
    world.arrives(HEAD.as_bytes());
    world.pass(TICK);
    assert_eq!(world.shard.connections(), 1);
    let mut alone = World::new(|_| {});
    alone.arrives(HEAD.as_bytes());
    alone.pass(TICK);
    assert_eq!(alone.shard.connections(), 0, "it will be told");
}

#[test]
fn a_tick_and_a_drain_end_the_pause() {
    for drains in [false, true] {
        let mut world = World::beside(0);
        world.come_one_by_one(DOOR_AHEAD.1 as usize + 1);
        if drains {
            world.shard.obey(ShardCommand::Drain(Duration::from_millis(500)));
        } else {
            world.pass(TICK);
        }
        assert_eq!(world.shard.plane().is_listener_watched, !drains);
        world.is_later(2_000);
        assert_eq!(world.shard.plane().is_listener_watched, !drains);
        assert_eq!(world.shard.turn_in_us(), None);
    }
}
