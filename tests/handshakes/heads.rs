//! Heads larger than one read, and what those that wait for their rest hold together.

use fanfare_core::limits::{SCRATCH_BYTES, TICK, UPGRADE_HEAD_BYTES_DEFAULT};
use fanfare_core::websocket::handshake::HandshakeFailure;

use crate::porch::{HEAD, World, ping};

/// A head of so many bytes.
fn head_of(bytes: usize) -> Vec<u8> {
    let (first, rest) = HEAD.split_once("\r\n").expect("a request line");
    let cookie = "c".repeat(bytes - HEAD.len() - "Cookie: \r\n".len());
    let head = format!("{first}\r\nCookie: {cookie}\r\n{rest}").into_bytes();
    assert_eq!(head.len(), bytes);
    head
}

#[test]
fn a_head_larger_than_a_read_makes_a_connection_at_once_or_in_pieces() {
    for size in [SCRATCH_BYTES - 1, SCRATCH_BYTES, SCRATCH_BYTES + 1, UPGRADE_HEAD_BYTES_DEFAULT] {
        let bytes = [head_of(size), ping()].concat();
        let mut world = World::new(|_| {});
        let fd = world.arrives(&bytes);
        world.knock();
        assert_eq!((world.shard.connections(), world.waiting()), (1, 0), "{size} at once");
        // Bytes behind the read in which the head ended are reported as a connection's.
        world.readable(fd);
        assert!(world.sent(fd).ends_with(r#"{"type":"PONG","data":{}}"#), "{size}: the frame was read");
        for piece in [1, 1_000, SCRATCH_BYTES, 20_000] {
            let mut world = World::new(|_| {});
            let mut pieces = bytes.chunks(piece);
            let fd = world.arrives(pieces.next().expect("bytes"));
            world.knock();
            for said in pieces {
                if world.waiting() == 1 {
                    world.says(fd, said);
                } else {
                    // The rest of the PING.
                    world.shard.plane().open(fd).inbound.extend(said);
                    world.readable(fd);
                }
            }
            world.readable(fd);
            assert_eq!((world.shard.connections(), world.waiting()), (1, 0), "{size} in pieces of {piece}");
            assert!(world.sent(fd).ends_with(r#"{"type":"PONG","data":{}}"#), "{size} in pieces of {piece}");
            assert_eq!(world.blocks.shards[0].handshake_bytes.get(), 0);
        }
    }
}

#[test]
fn a_head_above_the_bound_is_told_431_however_it_comes() {
    for bound in [1_024, UPGRADE_HEAD_BYTES_DEFAULT, 64 * 1024] {
        for piece in [1_000, SCRATCH_BYTES, 200_000] {
            let mut world = World::new(|config| config.clients.head_bytes_max = bound);
            let bytes = head_of(bound + 1);
            let mut pieces = bytes.chunks(piece);
            let fd = world.arrives(pieces.next().expect("bytes"));
            world.knock();
            while !world.is_closed(fd) {
                world.says(fd, pieces.next().expect("it is refused by now"));
            }
            assert!(world.is_refused(fd, "431"), "{bound} in pieces of {piece}");
            assert!(world.shard.plane().sockets[&fd].inbound.is_empty(), "what is unread would reset it");
        }
    }
}

#[test]
fn handshakes_that_wait_hold_no_more_bytes_than_their_bound() {
    let bound = 1024 * 1024;
    for (said, crowd, at_least) in
        [(1, 6_000, 2_000), (1_000, 2_000, 500), (16_000, 200, 50), (32_000, 100, 30)]
    {
        let mut world = World::new(|config| config.clients.handshake_bytes_max = bound);
        let head = head_of(UPGRADE_HEAD_BYTES_DEFAULT);
        let guests: Vec<_> = (0..crowd).map(|_| world.arrives(&head[..said])).collect();
        world.settles();
        let block = &world.blocks.shards[0];
        let (bytes, waiting) = (block.handshake_bytes.get(), block.handshakes.get());
        assert!(bytes <= bound as u64 && bytes >= waiting * said as u64, "{waiting} hold {bytes}");
        assert!(waiting >= at_least, "{waiting} wait with {said} bytes each");
        assert_eq!(world.failures(HandshakeFailure::Overload), crowd - waiting);
        assert!(guests.last().is_some_and(|fd| world.is_refused(*fd, "503")));
        let whole = world.arrives(&head);
        world.settles();
        assert!(world.sent(whole).starts_with("HTTP/1.1 101 "), "who has nothing to wait for needs no room");
        world.pass(std::time::Duration::from_secs(11) + TICK);
        (0..30).for_each(|_| world.shard.turn());
        let block = &world.blocks.shards[0];
        assert_eq!((block.handshake_bytes.get(), block.handshakes.get()), (0, 0));
    }
}

#[test]
fn a_head_that_grows_beyond_the_bound_of_all_is_told_503() {
    let mut world = World::new(|config| config.clients.handshake_bytes_max = 1024 * 1024);
    let head = head_of(UPGRADE_HEAD_BYTES_DEFAULT);
    let guests: Vec<_> = (0..100).map(|_| world.arrives(&head[..100])).collect();
    world.settles();
    assert_eq!(world.waiting(), 100);
    for fd in &guests {
        world.says(*fd, &head[100..30_000]);
        assert!(world.blocks.shards[0].handshake_bytes.get() <= 1024 * 1024);
    }
    let refused = guests.iter().filter(|fd| world.is_refused(**fd, "503")).count();
    assert!(refused > 50 && refused < 75, "{refused}");
    assert_eq!(world.failures(HandshakeFailure::Overload), refused as u64);
}
