//! A flood of one client, or of hundreds, costs the others a bounded part of a turn, and loses nothing.

use std::os::fd::RawFd;

use fanfare::dataplane::Event;
use fanfare_core::limits::{
    FIRST_READ_BYTES, INPUT_CONNECTION_COST, INPUT_HELD_COST, INPUT_TURN_COST, SCRATCH_BYTES,
};
use fanfare_core::model::CloseReason;

use super::{APPLICATION_PING, PING, PONG, TEXT, World, frame};

const FLOODERS: RawFd = 300;
/// The smallest frame of a client.
const FRAME_BYTES_MIN: usize = 6;

fn rooms(count: usize) -> Vec<u8> {
    let change = |verb: &str, room: usize| {
        frame(TEXT, format!(r#"{{"type":"{verb}","data":{{"room":"r{room}"}}}}"#).as_bytes())
    };
    (0..count).flat_map(|room| [change("JOIN", room), change("LEAVE", room)].concat()).collect()
}

/// Kinds of flood, each of ten kilobytes or more.
fn floods() -> Vec<(&'static str, Vec<u8>)> {
    let fragments = |payload: &[u8]| {
        let begin = frame(1, b"");
        [begin, frame(0, payload).repeat(2_000), frame(0x80, b"")].concat()
    };
    vec![
        ("empty pings", frame(PING, b"").repeat(2_500)),
        ("full pings", frame(PING, &[b'p'; 125]).repeat(150)),
        ("pongs", frame(PONG, b"").repeat(2_500)),
        ("empty fragments", fragments(b"")),
        ("fragments of a byte", fragments(b"x")),
        ("joins and leaves", rooms(150)),
        ("text PINGs", frame(TEXT, APPLICATION_PING).repeat(500)),
        ("unknown JSON", frame(TEXT, br#"{"type":"X"}"#).repeat(800)),
        ("large messages", frame(TEXT, format!(r#"{{"type":"{}"}}"#, "x".repeat(60_000)).as_bytes())),
    ]
}

#[test]
fn a_turn_takes_a_bounded_number_of_frames_and_bytes_however_many_flood() {
    for (what, flood) in floods() {
        let mut world = World::new(|_| {});
        world.admit(0..FLOODERS);
        (0..FLOODERS).for_each(|fd| world.says(fd, &flood));
        let (mut frames, mut bytes, mut turns) = (0, 0, 0);
        while world.shard.is_busy() || !world.events.is_empty() {
            world.turn();
            let block = world.block();
            let taken = (block.frames_in.get() - frames, block.bytes_in.get() - bytes);
            (frames, bytes, turns) = (frames + taken.0, bytes + taken.1, turns + 1);
            let most =
                u64::from(INPUT_TURN_COST + INPUT_HELD_COST) + (SCRATCH_BYTES / FRAME_BYTES_MIN) as u64;
            assert!(taken.0 <= most, "{what}: {} frames in a turn", taken.0);
            assert!(taken.1 <= 2 << 20, "{what}: {} bytes in a turn", taken.1);
        }
        assert_eq!(bytes, flood.len() as u64 * FLOODERS as u64, "{what}: all of it is read, {turns} turns");
        assert!(world.block().input_held_back.get() > 0, "{what}");
        assert_eq!(world.shard.connections(), FLOODERS as usize, "{what} breaks no rule");
    }
}

#[test]
fn what_one_connection_gets_of_a_turn_is_bounded() {
    for (what, flood) in floods() {
        let mut world = World::new(|_| {});
        world.admit(0..1);
        world.says(0, &flood);
        let (mut said, mut frames) = (flood.len(), 0);
        while !world.socket(0).said.is_empty() {
            world.turn();
            let taken = said - world.socket(0).said.len();
            let looked_at = world.block().frames_in.get() - frames;
            (said, frames) = (said - taken, frames + looked_at);
            assert!(taken <= FIRST_READ_BYTES + 3 * SCRATCH_BYTES, "{what}: {taken} bytes");
            assert!(looked_at <= 2 * u64::from(INPUT_CONNECTION_COST), "{what}: {looked_at} frames");
        }
    }
}

#[test]
fn who_says_little_is_answered_within_three_turns() {
    for (what, flood) in floods() {
        let mut world = World::new(|_| {});
        world.admit(0..FLOODERS + 1);
        (0..FLOODERS).for_each(|fd| world.says(fd, &flood));
        // Everybody who floods is known by then.
        while !world.events.is_empty() {
            world.turn();
        }
        for _ in 0..5 {
            (0..FLOODERS).for_each(|fd| world.says(fd, &flood));
            world.says(FLOODERS, &frame(TEXT, APPLICATION_PING));
            (0..3).for_each(|_| world.turn());
            let heard = std::mem::take(&mut world.socket(FLOODERS).heard);
            assert!(heard.ends_with(br#"{"type":"PONG","data":{}}"#), "{what}: {heard:?}");
        }
    }
}

#[test]
fn those_who_were_held_back_go_on_however_many_others_speak() {
    let mut world = World::new(|_| {});
    world.admit(0..1_000);
    world.says(0, &rooms(300));
    for _ in 0..200 {
        (1..1_000).for_each(|fd| world.says(fd, &frame(TEXT, APPLICATION_PING)));
        world.turn();
    }
    assert!(world.socket(0).said.is_empty());
}

#[test]
fn every_frame_has_its_effect_once_and_in_order() {
    let mut world = World::new(|config| config.clients.topics_max = 200);
    world.admit(0..FLOODERS);
    let stays = frame(TEXT, br#"{"type":"JOIN","data":{"room":"stays"}}"#);
    let asks = frame(TEXT, APPLICATION_PING);
    for fd in 0..FLOODERS {
        let flood = [rooms(40), stays.clone(), asks.repeat(70), rooms(40)].concat();
        world.says(fd, &flood);
    }
    world.settle();
    let pong = [&[0x81, 25][..], br#"{"type":"PONG","data":{}}"#].concat();
    for fd in 0..FLOODERS {
        assert_eq!(world.socket(fd).heard, pong.repeat(70), "device {fd}");
    }
    let block = world.block();
    assert_eq!(block.frames_in.get(), FLOODERS as u64 * (80 + 1 + 70 + 80));
    assert_eq!(block.memberships.get(), 3 * FLOODERS as u64, "fleet, its own, and the one that it kept");
    assert_eq!(block.topics.get(), 2 + FLOODERS as u64, "topics that came and went are forgotten");
}

#[test]
fn the_end_of_a_stream_behind_a_flood_is_seen() {
    for ends_at_once in [true, false] {
        let mut world = World::new(|_| {});
        world.admit(0..1);
        world.says(0, &frame(PING, b"").repeat(5_000));
        if !ends_at_once {
            world.turn();
        }
        let socket = world.socket(0);
        socket.has_ended = true;
        let token = socket.token.expect("it is connected");
        world.events.push_back(Event::Ending(token));
        world.settle();
        assert_eq!(world.closed(CloseReason::ClientGone), 1);
        assert_eq!(world.block().frames_in.get(), 5_000, "what came before the end was looked at");
    }
}

#[test]
fn every_ping_is_answered_in_order_while_its_client_reads_and_the_latest_when_it_does_not() {
    let asks = |number: usize| frame(PING, number.to_string().as_bytes());
    let pong = |number: usize| {
        let number = number.to_string();
        [&[PONG, number.len() as u8], number.as_bytes()].concat()
    };
    for room in [None, Some(0)] {
        let mut world = World::new(|_| {});
        world.admit(0..1);
        world.socket(0).room = room;
        world.says(0, &(0..2_000).flat_map(asks).collect::<Vec<_>>());
        world.settle();
        if room.is_some() {
            world.socket(0).room = None;
            let token = world.socket(0).token.expect("it is connected");
            world.shard.handle(Event::Writable(token));
        }
        // What fell short first is owed as it is.
        let heard = world.socket(0).heard.clone();
        if room.is_some() {
            assert!(heard.starts_with(&pong(0)) && heard.ends_with(&pong(1_999)));
            assert!(heard.len() < FIRST_READ_BYTES, "{} bytes of pongs", heard.len());
        } else {
            assert_eq!(heard, (0..2_000).flat_map(pong).collect::<Vec<_>>());
        }
    }
}
