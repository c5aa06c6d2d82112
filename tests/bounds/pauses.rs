//! Time in which the shard itself did not run is nobody's silence, and nobody's slowness.

use std::os::fd::RawFd;
use std::time::Duration;

use fanfare::downlink::ShardCommand;
use fanfare_core::model::CloseReason;

use super::{PONG, TEXT, World, close_of, frame, ticks, to};

const LIVENESS_S: u64 = 4;
const DEVICES: RawFd = 50;

fn world(change: impl FnOnce(&mut fanfare::config::Config)) -> World {
    let mut world = World::new(|config| {
        config.clients.liveness = Duration::from_secs(LIVENESS_S);
        change(config);
    });
    world.admit(0..DEVICES);
    world
}

/// Everybody but device 0 answers the pings that it got.
fn answer_pings(world: &mut World) {
    for fd in 1..DEVICES {
        let heard = std::mem::take(&mut world.socket(fd).heard);
        if heard.contains(&0x89) {
            world.says(fd, &frame(PONG, b""));
        }
    }
}

#[test]
fn whoever_answers_pings_stays_whenever_the_pause_comes_and_whoever_does_not_is_closed() {
    for begin in 0..ticks(2 * LIVENESS_S) {
        for pause_s in [2, LIVENESS_S, 10 * LIVENESS_S, 86_400] {
            let mut world = world(|_| {});
            for _ in 0..begin {
                world.pass(1);
                answer_pings(&mut world);
            }
            world.stand_still(ticks(pause_s));
            // An answer that was sent meanwhile is there only some time later: TCP sends it again.
            for tick in 0..ticks(3 * LIVENESS_S) {
                world.pass(1);
                if tick > ticks(1) {
                    answer_pings(&mut world);
                }
            }
            let left = (world.shard.connections(), world.block().closing.get());
            let stayed = left.0 as u64 - left.1;
            assert_eq!(stayed, DEVICES as u64 - 1, "a pause of {pause_s} s after {begin} ticks: {left:?}");
        }
    }
}

#[test]
fn pauses_one_after_the_other_do_not_keep_the_dead() {
    let mut world = world(|_| {});
    let mut turns = 0;
    while world.block().closing.get() < DEVICES as u64 {
        world.stand_still(ticks(LIVENESS_S));
        world.pass(3);
        turns += 4;
        assert!(turns <= 4 * ticks(LIVENESS_S), "they are still there after {turns} ticks");
    }
}

#[test]
fn who_was_owed_something_has_its_time_again() {
    let mut world = world(|config| {
        config.clients.liveness = Duration::from_secs(3_600);
        config.outbox.age_max = Duration::from_secs(10);
    });
    world.socket(0).room = Some(0);
    world.publish(to("fleet"), "1");
    world.pass(ticks(9));
    world.stand_still(ticks(600));
    world.pass(ticks(9));
    assert_eq!(world.block().closing.get(), 0);
    world.pass(ticks(3));
    assert_eq!(world.block().closing.get(), 1, "it is as slow as before");
}

#[test]
fn who_is_asked_to_close_has_its_time_again() {
    let mut world = world(|config| config.clients.liveness = Duration::from_secs(3_600));
    world.says(0, &frame(TEXT, b"no JSON at all"));
    world.says(1, &frame(TEXT, br#"{"type":"JOIN","data":{"room":""}}"#));
    world.pass(ticks(3));
    world.stand_still(ticks(600));
    world.pass(2);
    assert_eq!(world.shard.connections(), DEVICES as usize);
    world.pass(ticks(32));
    assert_eq!(world.shard.connections(), DEVICES as usize - 2);
}

#[test]
fn whoever_began_a_message_has_its_time_again() {
    let mut world = world(|config| {
        config.clients.liveness = Duration::from_secs(3_600);
        config.clients.message_deadline = Duration::from_secs(10);
    });
    let message = frame(TEXT, br#"{"type":"PING"}"#);
    world.says(0, &message[..9]);
    world.says(1, &message[..9]);
    world.pass(ticks(9));
    world.stand_still(ticks(600));
    world.pass(ticks(2));
    world.says(0, &message[9..]);
    world.pass(ticks(12));
    assert_eq!(world.block().closing.get(), 1, "the one that never ended it");
}

#[test]
fn who_has_no_messages_is_idle_by_the_time_in_which_the_gateway_ran() {
    let mut world = world(|config| {
        config.clients.liveness = Duration::from_secs(3_600);
        config.clients.idle_after = Some(Duration::from_secs(10));
    });
    world.pass(ticks(9));
    world.stand_still(ticks(600));
    world.pass(ticks(2));
    assert_eq!(world.block().closing.get(), 0);
    world.pass(ticks(11));
    assert_eq!(world.block().closing.get(), DEVICES as u64);
}

#[test]
fn a_drain_ends_by_the_clock_and_everybody_is_told() {
    for (drain_s, before, pause_s) in [(10, 2, 3), (10, 2, 600), (10, 9, 600), (0, 0, 600)] {
        let mut world = world(|config| config.clients.liveness = Duration::from_secs(3_600));
        world.pass(1);
        world.shard.obey(ShardCommand::Drain(Duration::from_secs(drain_s)));
        world.pass(ticks(before));
        world.stand_still(ticks(pause_s));
        let mut after = 0;
        while !world.shard.is_drained() {
            world.pass(1);
            after += 1;
        }
        let rest = (before + pause_s < drain_s).then(|| drain_s - before - pause_s);
        // The tail of a second, and a tick at each end.
        let most = ticks(rest.unwrap_or(0) + 1) + 3;
        assert!(
            after <= most,
            "{after} ticks after a pause of {pause_s} s, {before} s into a drain of {drain_s} s"
        );
        for fd in 0..DEVICES {
            let heard = world.socket(fd).heard.clone();
            assert_eq!(close_of(&heard).map(|(code, _)| code), Some(1001), "device {fd}");
        }
        let ended = world.closed(CloseReason::Shutdown) + world.block().closing.get();
        assert_eq!(ended, DEVICES as u64);
    }
}
