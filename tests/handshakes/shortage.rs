//! A shard whose descriptors are used up: what becomes of those who wait at its listener.

use std::os::fd::RawFd;
use std::time::Duration;

use fanfare_core::limits::{ACCEPTS_PER_TURN, TICK};
use fanfare_core::websocket::handshake::HandshakeFailure;

use crate::porch::{HEAD, World};

const DESCRIPTORS: usize = 3;

/// A shard with as many connections as it has descriptors.
fn full() -> (World, Vec<RawFd>) {
    let mut world = World::new(|_| {});
    let porch = world.shard.plane();
    (porch.descriptors, porch.has_reserve) = (Some(DESCRIPTORS), true);
    let connected: Vec<RawFd> = (0..DESCRIPTORS).map(|_| world.arrives(HEAD.as_bytes())).collect();
    world.knock();
    assert_eq!(world.shard.connections(), DESCRIPTORS);
    (world, connected)
}

fn is_blocked(world: &World) -> bool {
    world.blocks.shards[0].accept_blocked.get() == 1
}

#[test]
fn who_lives_is_accepted_behind_a_crowd_that_left_as_soon_as_one_descriptor_is_free() {
    let (mut world, connected) = full();
    let crowd = 32_000;
    (0..crowd).for_each(|_| _ = world.arrives_and_leaves());
    let alive = world.arrives(HEAD.as_bytes());
    assert_eq!(world.settles(), 0, "nothing is tried while no descriptor is free");
    world.leaves(connected[1]);
    let turns = world.settles();
    assert!(world.sent(alive).starts_with("HTTP/1.1 101 "), "within no tick");
    assert!(turns <= crowd / ACCEPTS_PER_TURN + 3, "{turns} turns");
    assert_eq!(world.failures(HandshakeFailure::Gone), crowd as u64);
    assert_eq!((world.shard.connections(), is_blocked(&world)), (DESCRIPTORS, false));
}

#[test]
fn a_crowd_that_asked_before_it_left_does_not_hold_up_who_lives_either() {
    let (mut world, connected) = full();
    let crowd: Vec<RawFd> = (0..1_000).map(|_| world.arrives(HEAD.as_bytes())).collect();
    let alive = world.arrives(HEAD.as_bytes());
    world.leaves(connected[0]);
    for fd in crowd {
        world.settles();
        assert!(!world.sent(alive).starts_with("HTTP/1.1 101 "), "it is behind {fd}");
        world.leaves(fd);
    }
    world.settles();
    assert!(world.sent(alive).starts_with("HTTP/1.1 101 "), "within no tick");
}

#[test]
fn a_shard_that_stays_full_says_so_and_tells_those_who_wait() {
    let (mut world, connected) = full();
    let (waits, left) = (world.arrives(HEAD.as_bytes()), world.arrives_and_leaves());
    world.pass(TICK);
    assert!(!is_blocked(&world) && world.sent(waits).is_empty(), "a descriptor may come free in a moment");
    world.pass(2 * TICK);
    assert!(is_blocked(&world));
    assert!(world.is_refused(waits, "503") && world.is_closed(left));
    assert_eq!(world.failures(HandshakeFailure::NoDescriptor), 1);
    assert_eq!(world.failures(HandshakeFailure::Gone), 1);
    let late = world.arrives(HEAD.as_bytes());
    assert_eq!(world.settles(), 1, "it is reported, and told at once");
    assert!(world.is_refused(late, "503"));
    let block = &world.blocks.shards[0];
    assert_eq!(block.accepted.get(), DESCRIPTORS as u64 + 3);

    world.leaves(connected[2]);
    let next = world.arrives(HEAD.as_bytes());
    world.settles();
    assert!(world.sent(next).starts_with("HTTP/1.1 101 "));
    world.leaves(connected[1]);
    world.settles();
    assert!(!is_blocked(&world), "there is room for one more");
}

#[test]
fn a_shard_is_full_before_anybody_waits_and_is_not_once_one_has_left() {
    let (mut world, connected) = full();
    world.pass(3 * TICK);
    assert!(is_blocked(&world));
    world.leaves(connected[0]);
    world.settles();
    assert!(!is_blocked(&world) && world.shard.plane().is_listener_watched);
}

#[test]
fn descriptors_that_others_give_back_are_found_at_the_next_tick() {
    let (mut world, _) = full();
    world.shard.plane().has_reserve = false;
    let waits = world.arrives(HEAD.as_bytes());
    world.pass(4 * TICK);
    assert!(is_blocked(&world) && world.sent(waits).is_empty(), "there is nothing to tell it by");
    assert!(!world.shard.plane().is_listener_watched, "it would be reported at once, again and again");
    world.shard.plane().descriptors = None;
    world.pass(TICK);
    assert!(world.sent(waits).starts_with("HTTP/1.1 101 ") && !is_blocked(&world));
    assert!(world.shard.plane().is_listener_watched);
}

#[test]
fn a_full_shard_leaves_those_who_wait_to_another_of_the_same_socket_that_has_room() {
    for other_has_room in [true, false] {
        let mut world = World::beside(0);
        world.blocks.shards[1].accept_blocked.set(u64::from(!other_has_room));
        let porch = world.shard.plane();
        (porch.descriptors, porch.has_reserve) = (Some(0), true);
        let waits = world.arrives(HEAD.as_bytes());
        world.pass(4 * TICK);
        assert!(is_blocked(&world));
        assert_eq!(world.sent(waits).is_empty(), other_has_room);
    }
}

#[test]
fn a_full_shard_that_drains_accepts_nobody_and_ends() {
    let (mut world, connected) = full();
    world.pass(3 * TICK);
    world.shard.obey(fanfare::downlink::ShardCommand::Drain(Duration::ZERO));
    assert!(!is_blocked(&world));
    for fd in connected {
        world.leaves(fd);
    }
    world.settles();
    world.pass(Duration::from_secs(2));
    assert!(world.shard.is_drained());
}
