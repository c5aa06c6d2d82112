//! What is owed counts as allocated, for one connection and for all of them together.

use std::os::fd::RawFd;

use fanfare_core::model::CloseReason;
use fanfare_core::session::bounds::OutboxPolicy;

use super::{APPLICATION_PING, PING, TEXT, World, close_of, frame, to};

const TOTAL: usize = 4 * 1024 * 1024;

/// Devices that read nothing, each owed something.
fn stalled(count: RawFd, policy: OutboxPolicy) -> World {
    let mut world = World::new(|config| {
        config.outbox.total_bytes_max = TOTAL;
        config.outbox.policy = policy;
    });
    world.admit(0..count);
    for fd in 0..count {
        world.socket(fd).room = Some(0);
    }
    world.publish(to("fleet"), r#""first""#);
    world
}

#[test]
fn whatever_is_owed_is_counted_as_allocated() {
    for (what, said) in [
        ("empty pings", frame(PING, b"")),
        ("full pings", frame(PING, &[b'p'; 125])),
        ("text PINGs", frame(TEXT, APPLICATION_PING)),
        ("both", [frame(PING, b""), frame(TEXT, APPLICATION_PING)].concat()),
    ] {
        let mut world = stalled(5, OutboxPolicy::Close);
        for _ in 0..3_000 {
            (0..5).for_each(|fd| world.says(fd, &said));
            world.settle();
        }
        let (owed, own) = (world.block().outbox_owed_bytes.get(), world.block().outbox_own_bytes.get());
        // A list of a few items, and buffers with up to twice the room that they need.
        assert!(own <= 2 * owed + 5 * 2_000, "{what}: {own} bytes allocated for {owed}");
        assert_eq!(world.shard.connections(), 5);
    }
}

#[test]
fn a_batch_that_many_are_owed_counts_once() {
    let mut world = stalled(1_000, OutboxPolicy::Close);
    for _ in 0..6 {
        world.publish(to("fleet"), &format!(r#""{}""#, "x".repeat(200_000)));
    }
    assert_eq!(world.block().closing.get(), 0, "1.2 GB by reference are 1.2 MB");
    let shared = world.block().outbox_shared_bytes.get();
    assert!((1_200_000..1_300_000).contains(&shared), "{shared} bytes in shared buffers");
    assert!(world.block().outbox_bytes() < TOTAL as u64);
    for fd in 0..1_000 {
        world.socket(fd).room = None;
        let token = world.socket(fd).token.expect("it is there");
        world.shard.handle(fanfare::dataplane::Event::Writable(token));
    }
    let left =
        [world.block().outbox_bytes(), world.block().outbox_owed_bytes.get(), world.block().outboxes.get()];
    assert_eq!(left, [0; 3], "who has read owes nothing");
}

#[test]
fn at_the_bound_of_all_together_those_that_hold_most_are_closed() {
    let mut world = stalled(100, OutboxPolicy::Close);
    for round in 0..8 {
        for fd in 0..100 {
            // The higher its number, the more it is owed.
            let length = 100 + 10 * usize::try_from(fd * fd).expect("positive");
            world.publish(to(&format!("of {fd}")), &format!(r#""{round}{}""#, "x".repeat(length)));
            let held = world.block().outbox_bytes();
            assert!(held <= TOTAL as u64, "{held} bytes in outboxes after a turn");
        }
    }
    let closing = world.block().closing.get();
    assert!((1..60).contains(&closing), "{closing} are closed");
    for fd in 0..100 {
        world.socket(fd).room = None;
        if let Some(token) = world.socket(fd).token {
            world.shard.handle(fanfare::dataplane::Event::Writable(token));
        }
    }
    let told = |world: &mut World, fd| close_of(&world.socket(fd).heard.clone()).map(|(code, _)| code);
    assert_eq!(told(&mut world, 99), Some(4008));
    assert_eq!(told(&mut world, 1), None, "whoever holds little stays");
    (0..100).for_each(|fd| {
        let socket = world.socket(fd);
        socket.has_ended = true;
        let ending = socket.token.map(fanfare::dataplane::Event::Ending);
        world.events.extend(ending);
    });
    world.settle();
    assert_eq!(world.closed(CloseReason::OutboxTotal), closing);
    assert_eq!(world.block().outbox_bytes(), 0);
}

#[test]
fn where_the_policy_is_to_drop_nobody_is_closed() {
    for policy in [OutboxPolicy::DropOldest, OutboxPolicy::LatestOnly] {
        let mut world = stalled(100, policy);
        for round in 0..4 {
            for fd in 0..100 {
                world.publish(to(&format!("of {fd}")), &format!(r#""{round}{}""#, "x".repeat(60_000)));
                assert!(world.block().outbox_bytes() <= TOTAL as u64);
            }
        }
        assert_eq!((world.shard.connections(), world.block().closing.get()), (100, 0));
        assert!(fanfare_core::counters::total(&world.block().outbox_dropped) > 0);
    }
}

#[test]
fn what_is_left_of_a_buffer_does_not_keep_all_of_it() {
    let mut world = World::new(|_| {});
    world.admit(0..1);
    world.socket(0).room = Some(0);
    world.publish(to("fleet"), r#""first""#);
    // It leaves and comes back between two batches of each round, so that it is owed the end of each.
    for _ in 0..50 {
        world.says(0, &frame(TEXT, br#"{"type":"LEAVE","data":{"room":"fleet"}}"#));
        world.settle();
        world.says(0, &frame(TEXT, br#"{"type":"JOIN","data":{"room":"fleet"}}"#));
        world.settle();
        world.publish(to("fleet"), &format!(r#""{}""#, "x".repeat(1_000)));
    }
    let block = world.block();
    assert!(block.outbox_bytes() < 3 * block.outbox_owed_bytes.get());
}
