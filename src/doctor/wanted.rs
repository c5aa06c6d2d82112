//! What so many connections need of a host: one formula each, as documented in `tuning/README.md`. Pure.
//!
//! `tuning/90-fanfare.conf` holds the values of these formulas for the number of connections that it names; a test
//! compares them.

use fanfare_core::limits;

/// The most connections that one can ask about: every shard full.
pub const CONNECTIONS_MAX: u64 = (limits::SHARDS_MAX * limits::CONNECTIONS_PER_SHARD_MAX) as u64;
/// Bytes that an idle connection costs in all, the kernel's socket included: 3.8 KB of slab and what the gateway and
/// an armed poll add, rounded up.
pub const CONNECTION_BYTES: u64 = 4_500;
/// What any queued byte is charged with, at least (`SK_MEM_QUANTUM`).
pub const PAGE_BYTES: u64 = 4_096;
/// One device in this many is planned for as one that does not read.
pub const SLOW_ONE_IN: u64 = 1_000;
/// Descriptors of a shard that are no devices: rings, eventfds, listeners, standard streams, with room.
const SHARD_DESCRIPTORS: u64 = 256;
/// Descriptors of everything else on the host.
const HOST_DESCRIPTORS: u64 = 65_536;
/// `fs.nr_open` as the kernel sets it.
const NR_OPEN_KERNEL: u64 = 1 << 20;
/// Threads beside the shards: main, ingest, control, and io_uring's own workers.
const OTHER_THREADS: u64 = 16;

/// What to set `fs.file-max` to: no limit, as systemd does at boot; memory is the limit.
pub const FILE_MAX_SET: u64 = i64::MAX as u64;
/// `net.ipv4.tcp_rmem`: the kernel's own; what arrives is short, and read at once.
pub const TCP_RMEM: [u64; 3] = [4_096, 131_072, 6_291_456];
/// `net.ipv4.tcp_wmem`: the kernel's own; the last is what one device that does not read may hold.
pub const TCP_WMEM: [u64; 3] = [4_096, 16_384, 4_194_304];
/// `net.ipv4.ip_local_port_range` where connections are made, not taken.
pub const LOCAL_PORTS: [u64; 2] = [1_024, 65_535];
/// `net.core.netdev_max_backlog`: sixteen slices of sends on their way to one CPU.
pub const NETDEV_MAX_BACKLOG: u64 = 16 * limits::SLICE_SENDS as u64;
/// `net.ipv4.tcp_tw_reuse`: what goes out, to Redis or from a load tool, may take a port that waits.
pub const TCP_TW_REUSE: u64 = 1;

/// Descriptors of one shard's own table. `SO_REUSEPORT` spreads devices by hash, so that a shard's part is binomial:
/// the mean and six standard deviations, which not one of 256 shards exceeds in a million starts. A socket of the service
/// manager is shared out otherwise ([`limits::DOOR_AHEAD`]).
pub fn shard_descriptors(connections: u64, shards: u64) -> u64 {
    let shards = shards.max(1);
    let spread = connections.saturating_mul(shards - 1).isqrt() / shards;
    connections.div_ceil(shards) + 6 * spread + SHARD_DESCRIPTORS
}

/// `fs.nr_open`, whatever the number of shards: a shard with every device, rounded up to 64 Ki, and never below what
/// the kernel begins with.
pub fn nr_open(connections: u64) -> u64 {
    shard_descriptors(connections, 1).next_multiple_of(64 * 1024).max(NR_OPEN_KERNEL)
}

/// `fs.file-max`, at least.
pub fn file_max(connections: u64) -> u64 {
    connections + HOST_DESCRIPTORS
}

/// `net.core.somaxconn` and `net.ipv4.tcp_max_syn_backlog`: a sixteenth of the fleet at one listener's door at once;
/// between the kernel's default and what the gateway asks of listen(2).
pub fn backlog(connections: u64) -> u64 {
    (connections / 16).clamp(4_096, limits::LISTEN_BACKLOG as u64)
}

/// `net.ipv4.tcp_mem`, pages: a broadcast under way to every device takes a page each; pressure begins when a second one
/// is; the third page is for devices that do not read, of which one in 128 can hold [`limits::KERNEL_UNSENT_BYTES`].
/// Never below what small hosts have.
pub fn tcp_mem(connections: u64) -> [u64; 3] {
    let pages = connections.max(16_384);
    [pages, 2 * pages, 3 * pages]
}

/// `net.netfilter.nf_conntrack_max`: every device, and a quarter more for those that have left and are remembered.
pub fn conntrack_max(connections: u64) -> u64 {
    (connections + connections / 4).max(65_536)
}

/// `net.ipv4.tcp_max_tw_buckets`: a drain closes every device within seconds, and each is remembered for 60 s.
pub fn tw_buckets(connections: u64) -> u64 {
    connections.max(65_536)
}

/// `net.ipv4.tcp_max_orphans`: sockets whose last bytes are under way, an eighth of the fleet: a drain of 10 s to
/// devices that are a second away has a tenth under way.
pub fn orphans(connections: u64) -> u64 {
    (connections / 8).max(16_384)
}

/// Buckets of the kernel's table of connections: one for each, so that a lookup meets one or two; a power of two, as the
/// kernel makes it.
pub fn hash_table(connections: u64) -> u64 {
    connections.max(1).next_power_of_two()
}

/// Bytes of memory without which the devices do not fit.
pub fn memory_idle(connections: u64) -> u64 {
    connections * CONNECTION_BYTES
}

/// Bytes of memory for devices, a broadcast under way to all of them, and [`SLOW_ONE_IN`] that do not read.
pub fn memory_busy(connections: u64, outbox_bytes_max: u64) -> u64 {
    let slow = connections / SLOW_ONE_IN * (u64::from(limits::KERNEL_UNSENT_BYTES) + outbox_bytes_max);
    memory_idle(connections) + connections * PAGE_BYTES + slow
}

/// Threads of the process.
pub fn threads(shards: u64) -> u64 {
    shards + OTHER_THREADS
}

/// Connections for which these many bytes are enough when idle, in whole thousands where there are any.
pub fn connections_in(bytes: u64) -> u64 {
    let connections = bytes / CONNECTION_BYTES;
    if connections > 1_000 { connections / 1_000 * 1_000 } else { connections.max(1) }
}

/// The least number of shards of which none needs more than `limit` descriptors; `None`: no number does.
pub fn shards_for(connections: u64, limit: u64) -> Option<u64> {
    (1..=limits::SHARDS_MAX as u64).find(|shards| shard_descriptors(connections, *shards) <= limit)
}

const _: () = assert!(TCP_WMEM[2] > 2 * limits::KERNEL_UNSENT_BYTES as u64);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sixty_four_shards_of_twenty_thousand_descriptors_hold_1_200_000_devices() {
        assert!((19_500..20_000).contains(&shard_descriptors(1_200_000, 64)));
        assert_eq!(shard_descriptors(1_200_000, 1), 1_200_256);
        assert_eq!(shards_for(1_200_000, 20_000), Some(64));
        assert_eq!(shards_for(1_200_000, 300), None);
    }

    #[test]
    fn the_kernels_nr_open_is_below_1_200_000_and_the_formula_is_not() {
        assert_eq!(nr_open(15_000), 1 << 20);
        assert_eq!(nr_open(1_200_000), 1_245_184);
    }

    #[test]
    fn backlogs_stay_between_the_kernels_default_and_what_listen_is_asked_for() {
        assert_eq!([15_000, 160_000, 1_200_000].map(backlog), [4_096, 10_000, 65_535]);
    }

    proptest! {
        #[test]
        fn more_devices_never_need_less(n in 1_u64..CONNECTIONS_MAX, more in 0_u64..1_000_000, shards in 1_u64..=256) {
            let m = n + more;
            prop_assert!(shard_descriptors(m, shards) >= shard_descriptors(n, shards));
            prop_assert!(nr_open(m) >= nr_open(n) && nr_open(n) >= shard_descriptors(n, shards));
            prop_assert!(memory_busy(m, 1 << 26) >= memory_busy(n, 1 << 26));
            prop_assert!(tcp_mem(m) >= tcp_mem(n) && tcp_mem(n).is_sorted());
            prop_assert!(connections_in(memory_idle(n)) <= n);
        }
    }
}
