//! A message that does not end has a deadline, and all of them together have a bound.

use std::os::fd::RawFd;
use std::time::Duration;

use fanfare_core::model::{CloseReason, LivenessCounts};

use super::{APPLICATION_PING, PING, PONG, TEXT, World, close_of, frame, ticks};

const DEADLINE_S: u64 = 10;

fn world() -> World {
    let mut world = World::new(|config| {
        config.clients.message_deadline = Duration::from_secs(DEADLINE_S);
        config.clients.liveness_counts = LivenessCounts::AnyFrame;
    });
    world.admit(0..1);
    world
}

#[test]
fn what_does_not_end_is_closed_at_its_deadline_however_it_is_kept_open() {
    let text = frame(TEXT, &[b' '; 1_000]);
    let begun = frame(1, b"[");
    // What comes first, and what comes each second.
    let ways: [(&str, &[u8], &[u8]); 6] = [
        ("a byte of a header", &text[..1], b""),
        ("most of a frame", &text[..900], b""),
        ("a byte a second", &text[..10], b" "),
        ("half a ping", &frame(PING, b"12345678")[..9], b""),
        ("fragments", &begun, &frame(0, b" ")),
        ("pings between fragments", &begun, &frame(PING, b"")),
    ];
    for (what, first, more) in ways {
        let mut world = world();
        world.says(0, first);
        for _ in 0..=DEADLINE_S + 1 {
            world.says(0, more);
            world.pass(ticks(1));
        }
        let heard = world.socket(0).heard.clone();
        let told = close_of(&heard);
        assert_eq!(told, Some((1008, "a message took too long to arrive")), "{what}");
        assert_eq!(world.block().partial_bytes.get(), 0, "{what}: its memory is free at once");
        world.pass(ticks(10));
        assert_eq!(world.closed(CloseReason::Unfinished), 1, "{what}");
    }
}

#[test]
fn messages_that_end_in_time_are_no_concern_wherever_reads_cut_them() {
    let mut world = world();
    let messages = [frame(PING, b"12345678"), frame(TEXT, APPLICATION_PING), frame(PONG, b"")].concat();
    // Each second a whole round, of which the last bytes come with the next: something is always unfinished.
    world.says(0, &messages[..messages.len() - 3]);
    for _ in 0..4 * DEADLINE_S {
        world.says(0, &messages[messages.len() - 3..]);
        world.says(0, &messages[..messages.len() - 3]);
        world.pass(ticks(1));
    }
    assert_eq!(world.shard.connections(), 1);
    assert!(close_of(&world.socket(0).heard.clone()).is_none());
    // The same with fragmented messages, each of which begins in the read that ends the one before.
    world.says(0, &messages[messages.len() - 3..]);
    world.says(0, &frame(1, b"[1,"));
    for _ in 0..4 * DEADLINE_S {
        world.says(0, &[frame(0x80, b"2]"), frame(1, b"[1,")].concat());
        world.pass(ticks(1));
    }
    assert_eq!(world.block().closing.get(), 0);
}

#[test]
fn all_of_them_together_have_a_bound_and_those_that_hold_most_give_way() {
    const TOTAL: usize = 1024 * 1024;
    const HEAVY: RawFd = 1_000;
    const LIGHT: RawFd = 200;
    let mut world = World::new(|config| config.clients.partial_bytes_max = TOTAL);
    world.admit(0..HEAVY + LIGHT);
    let message = frame(TEXT, &vec![b' '; 65_000]);
    for fd in 0..LIGHT {
        world.says(HEAVY + fd, &frame(TEXT, APPLICATION_PING)[..12]);
    }
    for piece in message[..63_000].chunks(7_000) {
        for fd in 0..HEAVY {
            world.says(fd, piece);
        }
        while world.shard.is_busy() || !world.events.is_empty() {
            world.turn();
            let held = world.block().partial_bytes.get();
            assert!(held <= TOTAL as u64, "{held} bytes of unfinished messages after a turn");
        }
    }
    let told = (0..HEAVY)
        .filter(|fd| close_of(&world.socket(*fd).heard.clone()).is_some_and(|(code, _)| code == 1013));
    assert!(told.count() > HEAVY as usize / 2);
    for fd in HEAVY..HEAVY + LIGHT {
        world.says(fd, &frame(TEXT, APPLICATION_PING)[12..]);
        world.settle();
        assert!(!world.socket(fd).heard.is_empty(), "device {fd} said something small, and is answered");
    }
}

#[test]
fn whoever_is_told_to_go_cannot_hold_more_than_others() {
    const TOTAL: usize = 1024 * 1024;
    let mut world = World::new(|config| config.clients.partial_bytes_max = TOTAL);
    world.admit(0..500);
    for fd in 0..500 {
        // A request that is refused, and a message that does not end in place of the Close that is waited for.
        world.says(fd, &frame(TEXT, br#"{"type":"JOIN","data":{"room":""}}"#));
        world.settle();
        world.says(fd, &frame(TEXT, &vec![b' '; 65_000])[..60_000]);
        world.settle();
        assert!(world.block().partial_bytes.get() <= TOTAL as u64);
    }
}
