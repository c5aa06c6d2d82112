//! What connections cost the kernel: growth of its slab caches (`/proc/slabinfo`, slabinfo(5); only root may read it).
//!
//! On loopback both ends of a connection lie on the same machine. A cache that only one kind of end uses is that end's;
//! the others hold one object for each end, and half of their growth is the server's.

use std::fs;

use serde::Serialize;

/// Caches that only an epoll user fills: these receivers, not a gateway on io_uring.
const OF_EPOLL: [&str; 3] = ["eventpoll_epi", "eventpoll_pwq", "ep_head"];
/// Caches that only an io_uring user fills.
const OF_IO_URING: [&str; 1] = ["io_kiocb"];

/// Sizes of the caches at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Slab(Vec<(String, u64)>);

/// What a cache grew by.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Growth {
    pub(crate) cache: String,
    /// Bytes, both ends of all connections.
    pub(crate) bytes: u64,
}

/// Growth between two moments.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct KernelUse {
    /// The caches that grew, largest first.
    pub(crate) caches: Vec<Growth>,
    /// Bytes of all of them.
    pub(crate) both_ends: u64,
    /// Bytes of what belongs to the server's ends.
    pub(crate) server: u64,
}

impl Slab {
    /// Now; `None` when it may not be read.
    pub(crate) fn read() -> Option<Self> {
        parse(&fs::read_to_string("/proc/slabinfo").ok()?)
    }

    /// Growth from `before` to here. `server_on_io_uring`: the server is known to wait by `io_uring`.
    pub(crate) fn since(&self, before: &Self, server_on_io_uring: bool) -> KernelUse {
        let mut found = KernelUse::default();
        for (cache, bytes) in &self.0 {
            let was = before.0.iter().find(|(name, _)| name == cache).map_or(0, |(_, bytes)| *bytes);
            let grown = bytes.saturating_sub(was);
            if grown == 0 {
                continue;
            }
            found.both_ends += grown;
            found.server += match cache.as_str() {
                name if OF_IO_URING.contains(&name) => grown,
                name if OF_EPOLL.contains(&name) && server_on_io_uring => 0,
                _ => grown / 2,
            };
            found.caches.push(Growth { cache: cache.clone(), bytes: grown });
        }
        found.caches.sort_by_key(|growth| std::cmp::Reverse(growth.bytes));
        found
    }
}

/// Objects times their size, by cache. `None` when it is no slabinfo of version 2.
fn parse(text: &str) -> Option<Slab> {
    let mut lines = text.lines();
    if !lines.next()?.starts_with("slabinfo - version: 2.") {
        return None;
    }
    let caches = lines.filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut fields = line.split_whitespace();
        let name = fields.next()?;
        let objects: u64 = fields.nth(1)?.parse().ok()?;
        let size: u64 = fields.next()?.parse().ok()?;
        Some((name.to_owned(), objects.saturating_mul(size)))
    });
    Some(Slab(caches.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "slabinfo - version: 2.1\n# name            <active_objs> <num_objs> <objsize> …\n";

    fn slab(rows: &str) -> Slab {
        parse(&format!("{HEAD}{rows}")).unwrap()
    }

    #[test]
    fn a_cache_of_one_kind_of_end_is_that_ends_and_the_others_are_halved() {
        let before = slab("TCP 10 20 2000 13 8 : tunables 0 0 0\nio_kiocb 0 0 256 16 1 : x\n");
        let after = slab(
            "TCP 210 220 2000 13 8 : tunables 0 0 0\nio_kiocb 90 100 256 16 1 : x\neventpoll_epi 1 100 128 32 1 : x\n",
        );
        let found = after.since(&before, true);
        assert_eq!(found.both_ends, 400_000 + 25_600 + 12_800);
        assert_eq!(found.server, 200_000 + 25_600);
        assert_eq!(found.caches[0], Growth { cache: "TCP".into(), bytes: 400_000 });
        assert_eq!(after.since(&before, false).server, 200_000 + 25_600 + 6_400);
        assert_eq!(before.since(&after, true).both_ends, 0);
    }

    #[test]
    fn what_is_no_slabinfo_is_refused_and_a_garbled_line_is_passed_over() {
        assert!(parse("").is_none());
        assert!(parse("Linux 6.1\nTCP 1 2 3\n").is_none());
        assert_eq!(slab("TCP\nTCP x y z\nTCP 1 18446744073709551615 9\n").0.len(), 1);
    }
}
