//! From the listener to the table: who is let in, who waits, who is turned away, in virtual time and without a kernel.

mod door;
mod heads;
mod porch;
mod shortage;

use std::time::Duration;

use fanfare::dataplane::Event;
use fanfare::downlink::ShardCommand;
use fanfare::events::journal::journal;
use fanfare::events::record::What;
use fanfare_core::limits::{ACCEPTS_PER_TURN, DRAIN_HANDSHAKES, TICK, UPGRADE_HEAD_BYTES_DEFAULT};
use fanfare_core::model::EventKinds;
use fanfare_core::websocket::handshake::HandshakeFailure;

use porch::{HEAD, Watch, World, ping};

#[test]
fn a_head_that_is_there_makes_a_connection_at_once() {
    let mut world = World::new(|_| {});
    let fd = world.arrives(HEAD.as_bytes());
    world.knock();
    assert!(world.sent(fd).starts_with("HTTP/1.1 101 "));
    assert_eq!((world.shard.connections(), world.waiting()), (1, 0));
    assert!(matches!(world.shard.plane().open(fd).watch, Watch::Frames(_)), "they are reported");
    assert!(world.shard.plane().is_listener_watched, "the next one is reported too");
    let block = &world.blocks.shards[0];
    assert_eq!((block.accepted.get(), block.upgraded.get()), (1, 1));
}

#[test]
fn a_head_in_pieces_is_the_same_connection_and_no_byte_behind_it_is_lost() {
    for piece in [1, 7, 100] {
        let mut world = World::new(|_| {});
        let bytes = [HEAD.as_bytes(), &ping()].concat();
        let cut = HEAD.len() - 1;
        let fd = world.arrives(&bytes[..piece]);
        world.knock();
        for said in bytes[piece..cut].chunks(piece) {
            world.says(fd, said);
            assert_eq!((world.shard.connections(), world.waiting()), (0, 1));
        }
        world.says(fd, &bytes[cut..]);
        assert_eq!((world.shard.connections(), world.waiting()), (1, 0));
        assert!(
            world.sent(fd).ends_with(r#"{"type":"PONG","data":{}}"#),
            "the frame behind the head was read"
        );
    }
}

#[test]
fn who_does_not_finish_its_head_is_told_408_at_the_deadline_and_not_before() {
    let deadline = Duration::from_secs(2);
    let mut world = World::new(|config| config.clients.upgrade_deadline = deadline);
    world.pass(Duration::from_secs(5));
    let (silent, halfway) = (world.arrives(b""), world.arrives(&HEAD.as_bytes()[..40]));
    world.knock();
    world.pass(deadline);
    assert!(!world.is_closed(silent) && !world.is_closed(halfway), "they have all of it");
    world.pass(TICK);
    assert!(world.is_refused(silent, "408") && world.is_refused(halfway, "408"));
    assert_eq!((world.failures(HandshakeFailure::Timeout), world.waiting()), (2, 0));
}

#[test]
fn a_crowd_that_is_late_is_turned_away_over_several_turns() {
    let (crowd, deadline) = (5 * ACCEPTS_PER_TURN, Duration::from_secs(2));
    let mut world = World::new(|config| {
        config.clients.upgrade_deadline = deadline;
        config.clients.handshakes_max = crowd;
    });
    (0..crowd).for_each(|_| _ = world.arrives(b"GET /"));
    (0..5).for_each(|_| world.knock());
    assert_eq!(world.waiting(), crowd as u64);
    world.pass(deadline + TICK);
    let of_first_turn = world.failures(HandshakeFailure::Timeout);
    assert!(0 < of_first_turn && of_first_turn < crowd as u64, "one turn told {of_first_turn} of {crowd}");
    assert!(world.shard.is_busy(), "the others need no event to be told");
    (0..5).for_each(|_| world.shard.turn());
    assert_eq!((world.failures(HandshakeFailure::Timeout), world.waiting()), (crowd as u64, 0));
    assert!(!world.shard.is_busy());
}

#[test]
fn more_who_wait_than_the_bound_are_told_503_and_whoever_does_not_wait_is_served() {
    let mut world = World::new(|config| config.clients.handshakes_max = 2);
    let guests: Vec<_> = (0..3).map(|_| world.arrives(b"GET /")).collect();
    let whole = world.arrives(HEAD.as_bytes());
    world.knock();
    assert!(world.is_refused(guests[2], "503"), "there is no place for a third");
    assert_eq!((world.failures(HandshakeFailure::Overload), world.waiting()), (1, 2));
    assert!(world.sent(whole).starts_with("HTTP/1.1 101 "));
    world.says(guests[0], &HEAD.as_bytes()[5..]);
    assert_eq!((world.shard.connections(), world.waiting()), (2, 1));
}

#[test]
fn whoever_leaves_or_talks_nonsense_leaves_nothing_behind() {
    let mut world = World::new(|_| {});
    let (gone, bad, long) =
        (world.arrives(b"GET /con"), world.arrives(b"\x16\x03\x01"), world.arrives(b"GET /"));
    world.knock();
    assert!(world.is_refused(bad, "400"));
    world.shard.plane().open(gone).has_ended = true;
    world.says(gone, b"");
    assert!(world.is_closed(gone) && world.sent(gone).is_empty());
    world.says(long, &vec![b'x'; UPGRADE_HEAD_BYTES_DEFAULT]);
    assert!(world.is_refused(long, "431"));
    assert_eq!(
        (world.failures(HandshakeFailure::Gone), world.shard.connections(), world.waiting()),
        (1, 0, 0)
    );
}

#[test]
fn late_news_of_one_who_has_left_is_nobody_elses() {
    let mut world = World::new(|_| {});
    let first = world.arrives(b"GET /");
    world.knock();
    let token = world.says(first, &HEAD.as_bytes()[5..]);
    let second = world.arrives(b"GET /");
    world.knock();
    let Watch::Head(other) = world.shard.plane().open(second).watch else { panic!("its head is awaited") };
    assert_eq!(other.index, token.index, "the same place");
    world.shard.handle(Event::Head(token));
    assert!(!world.is_closed(second) && world.waiting() == 1);
    world.says(second, &HEAD.as_bytes()[5..]);
    assert_eq!(world.shard.connections(), 2);
}

#[test]
fn a_crowd_is_taken_in_turns() {
    let mut world = World::new(|_| {});
    let crowd = 3 * ACCEPTS_PER_TURN;
    for _ in 0..crowd {
        world.arrives(HEAD.as_bytes());
    }
    for turn in 1..=3 {
        world.knock();
        assert_eq!(world.shard.connections(), turn * ACCEPTS_PER_TURN);
    }
    assert!(world.shard.plane().is_listener_watched);
}

#[test]
fn an_accept_that_fails_is_tried_again_at_the_next_tick() {
    let mut world = World::new(|_| {});
    world.shard.plane().waiting.push_back(Err(24)); // EMFILE
    world.arrives(HEAD.as_bytes());
    world.knock();
    assert!(
        !world.shard.plane().is_listener_watched,
        "the listener would be reported at once, again and again"
    );
    assert_eq!(world.blocks.shards[0].accept_errors.get(), 1);
    world.pass(TICK);
    world.knock();
    assert_eq!(world.shard.connections(), 1);
}

#[test]
fn who_waits_is_taken_in_without_a_report_and_watched_once_all_the_same() {
    let mut world = World::new(|_| {});
    world.arrives(HEAD.as_bytes());
    world.shard.look_outside();
    assert_eq!(world.shard.connections(), 1, "the report is behind those of a crowd that leaves");
    world.shard.plane().is_listener_watched = false;
    world.shard.handle(Event::Knock);
    assert!(world.shard.plane().is_listener_watched, "the late report finds nobody, and is armed again");
    world.shard.plane().waiting.push_back(Err(24));
    world.arrives(HEAD.as_bytes());
    world.shard.look_outside();
    world.shard.look_outside();
    assert_eq!(world.blocks.shards[0].accept_errors.get(), 1, "it is not tried again before the next tick");
    world.pass(TICK);
    world.shard.look_outside();
    assert_eq!(world.shard.connections(), 2);
}

#[test]
fn a_drain_accepts_nobody_and_gives_those_who_wait_a_moment() {
    let mut world = World::new(|_| {});
    let (quick, late, mute) = (world.arrives(b"GET /"), world.arrives(b"GET /"), world.arrives(b"GET /"));
    world.knock();
    world.shard.obey(ShardCommand::Drain(Duration::from_millis(500)));
    assert!(world.shard.plane().has_stopped);
    assert!(!world.shard.is_drained(), "three may still come");
    world.says(quick, &HEAD.as_bytes()[5..]);
    assert!(world.sent(quick).starts_with("HTTP/1.1 101 "));
    world.pass(DRAIN_HANDSHAKES);
    assert!(world.sent(quick).contains("the gateway is shutting down"));
    world.says(late, &HEAD.as_bytes()[5..]);
    assert!(world.is_refused(late, "503"));
    world.pass(Duration::from_secs(2));
    assert!(world.shard.is_drained());
    world.shard.abort();
    assert!(world.is_refused(mute, "503") && world.is_closed(quick));
    assert_eq!((world.shard.connections(), world.waiting()), (0, 0));
}

#[test]
fn a_peer_of_ipv4_is_told_as_one_whatever_the_listener_calls_it() {
    for (from, told) in [
        ("[::ffff:192.0.2.7]:4000", "192.0.2.7:4000"),
        ("192.0.2.7:4000", "192.0.2.7:4000"),
        ("[2001:db8::7]:4000", "[2001:db8::7]:4000"),
        ("[fe80::7%3]:4000", "[fe80::7%3]:4000"),
        ("[::1]:4000", "[::1]:4000"),
    ] {
        let mut world = World::new(|_| {});
        let (journal, mut records) = journal(0, EventKinds::ALL, world.blocks.clone());
        world.shard.keep_journal(journal);
        world.shard.plane().peer = Some(from.parse().expect("an address"));
        world.arrives(HEAD.as_bytes());
        world.knock();
        let Some(What::Open { peer: Some(peer), .. }) = records.pop().map(|record| record.what) else {
            panic!("an open with a peer")
        };
        assert_eq!(peer.to_string(), told, "{from}");
    }
}
