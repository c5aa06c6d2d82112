//! The closed set of checks, one row each: facts and a target in, a finding out. Pure.
//!
//! A check that lacks its fact says so and goes on. *Not here*: how much is wanted (`wanted`), what a host says
//! (`host`).

mod command;
mod limits;
mod machine;
mod network;
mod seen;
mod system;

use super::finding::Finding;
use super::host::Facts;
use super::target::Target;
use seen::Seen;

/// One check.
pub struct Check {
    /// Its name, of a sysctl its key.
    pub name: &'static str,
    /// What it is about, and what happens when it is not good.
    why: &'static str,
    look: fn(&Facts, &Target) -> Seen,
}

impl Check {
    /// Judges the facts.
    pub fn finding(&self, facts: &Facts, target: &Target) -> Finding {
        let Seen { wanted, found, verdict, mend } = (self.look)(facts, target);
        Finding { name: self.name, wanted, found, verdict, why: self.why.into(), mend }
    }
}

/// A row of [`CHECKS`].
const fn check(name: &'static str, why: &'static str, look: fn(&Facts, &Target) -> Seen) -> Check {
    Check { name, why, look }
}

/// The rows, in the order in which they are told: what keeps the gateway from running first.
#[rustfmt::skip]
pub static CHECKS: [Check; 30] = [
    check("kernel",
        "Every thread's io_uring is made with IORING_SETUP_DEFER_TASKRUN, which Linux has since 6.1. Without it the \
         gateway does not start.",
        system::kernel),
    check("kernel.io_uring_disabled",
        "At 2 nobody may use io_uring, at 1 only root and the members of kernel.io_uring_group: the gateway does not \
         start, or not under its own user.",
        system::io_uring_disabled),
    check("io_uring",
        "An attempt to make a ring, here and now: a container's seccomp profile or a security module can forbid it \
         whatever the sysctl says.",
        system::io_uring),
    check("nofile",
        "RLIMIT_NOFILE, the hard one. Each shard has a descriptor table of its own, so it bounds a shard and not the \
         process: a shard that has used it up accepts nobody. More shards need less each.",
        limits::nofile),
    check("fs.nr_open",
        "No RLIMIT_NOFILE can be set above it: a unit whose LimitNOFILE is larger gets this much.",
        limits::nr_open),
    check("fs.file-max",
        "All open files of the host together, every device one of them: at the limit accept fails with ENFILE, and so \
         does everything else on the host that is not root's.",
        limits::file_max),
    check("memory",
        "An idle connection costs 4.5 KB, nearly all of it in the kernel. A broadcast under way to all takes a page \
         for each on top, and one device in a thousand is planned for as one that does not read (512 KiB in the \
         kernel, outbox.bytes_max here). Beyond it the kernel kills the gateway.",
        limits::memory),
    check("cgroup.memory",
        "The limit of the process's cgroup or of one above it counts sockets too: at the limit the kernel kills the \
         gateway although the host has memory left.",
        limits::cgroup_memory),
    check("cgroup.pids",
        "A thread for each shard and a few more: a cgroup without room for them (TasksMax=, --pids-limit) ends the \
         start.",
        limits::cgroup_pids),
    check("cgroup.cpu",
        "A CPU quota (CPUQuota=, --cpus) stops all shards at once until its period ends, up to 100 ms in which no \
         device hears anything.",
        limits::cgroup_cpu),
    check("api.listen",
        "Whoever reaches the API may publish to every device and change the configuration: nothing there asks who calls. On \
         another address than loopback a firewall must keep all but the backends and probes away.",
        network::api_listen),
    check("net.core.somaxconn",
        "The kernel cuts the queue of accepted connections of each listener to it: one a shard, or one in all with \
         fanfare.socket. When a fleet returns at once, what does not fit is dropped and tries again after 1, 3, 7 s.",
        network::somaxconn),
    check("net.ipv4.tcp_max_syn_backlog",
        "Half-open connections of a listener without SYN cookies: handshakes that take a mobile network's second \
         wait here.",
        network::tcp_max_syn_backlog),
    check("net.ipv4.tcp_mem",
        "Pages that all TCP queues of the host may take together; any queued byte takes a page. Above the second \
         number the kernel shrinks buffers, at the third it drops what arrives and refuses what is sent. Twice as \
         much when a load tool on the same host holds the other ends.",
        network::tcp_mem),
    check("net.ipv4.tcp_rmem",
        "The last number is what one peer can make the kernel hold of what it sends; devices say little, and a large \
         number lets a few of them take much of tcp_mem.",
        network::tcp_rmem),
    check("net.ipv4.tcp_wmem",
        "The last number bounds what the kernel holds for one device. Too small, and a round of 256 KiB does not fit \
         even for a fast device, which then counts as slow; too large, and a device that does not read holds as \
         much.",
        network::tcp_wmem),
    check("net.ipv4.ip_local_port_range",
        "Ports for connections that this host makes: the gateway makes a few, to Redis. A load tool here makes one \
         connection from each port and source address, and needs a source address for every full range.",
        network::local_ports),
    check("net.ipv4.ip_local_reserved_ports",
        "A connection that this host makes can take a port that the gateway listens on while it restarts; then the \
         start fails with EADDRINUSE. Reserved ports are never taken.",
        network::reserved_ports),
    check("net.ipv4.tcp_congestion_control",
        "BBR paces each socket with a timer of its own: a broadcast starts as many timers as there are devices.",
        network::congestion_control),
    check("net.netfilter.nf_conntrack_max",
        "Connection tracking keeps an entry of 320 B for each connection, and when its table is full new devices are \
         dropped (\"nf_conntrack: table full\" in the kernel's log). Better than a large table is none: exempt the \
         device port with a notrack rule.",
        network::conntrack),
    check("net.ipv4.tcp_tw_reuse",
        "0 forbids connections that this host makes to take a port that is in TIME-WAIT: a load tool runs out of \
         ports for 60 s between two runs.",
        network::tcp_tw_reuse),
    check("net.ipv4.tcp_max_tw_buckets",
        "The side that closes first remembers the connection for 60 s, and in a drain that is the gateway, for every \
         device. Past the limit the kernel forgets at once (\"time wait bucket table overflow\"), and a device whose \
         last packet was lost gets a reset instead of its goodbye.",
        network::tcp_max_tw_buckets),
    check("net.ipv4.tcp_max_orphans",
        "Sockets that the gateway has closed and whose last bytes are still under way. Past the limit the kernel \
         resets them, and the device never learns why it was sent away.",
        network::tcp_max_orphans),
    check("tcp-hash-table",
        "Every packet looks its connection up in a table whose size is fixed at boot, by memory. Of 1,200,000 devices in \
         262,144 buckets, connecting takes half as long again and a broadcast several times as long.",
        network::hash_table),
    check("net.core.netdev_max_backlog",
        "Packets on their way to one CPU, from loopback or spread by RPS. A shard submits 1,024 sends at once, and \
         their acknowledgements come back as densely; what does not fit is dropped and sent again.",
        network::netdev_max_backlog),
    check("transparent-hugepages",
        "The gateway opts out for itself. With \"always\" the kernel still compacts memory for every other process, \
         and page-allocating calls on the shards' CPUs wait for it.",
        machine::transparent_hugepages),
    check("cpu-governor",
        "A governor that saves power raises the clock only after the load has come: each broadcast after a pause \
         begins at the lowest frequency.",
        machine::governor),
    check("smt-siblings",
        "Two shards that are pinned to the two threads of one core take turns on it, and each looks half as fast.",
        machine::siblings),
    check("nic-queues",
        "Each receive queue interrupts one CPU. With fewer queues than shards and without RPS those CPUs do the \
         network work of all, and the shards there fall behind the others.",
        machine::nic_queues),
    check("nic-numa",
        "A shard on another NUMA node than the network card's reaches every packet over the link between the nodes.",
        machine::nic_numa),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_check_has_a_name_of_its_own_and_a_reason_of_whole_sentences() {
        let names: HashSet<&str> = CHECKS.iter().map(|check| check.name).collect();
        assert_eq!(names.len(), CHECKS.len());
        for check in &CHECKS {
            assert!(check.why.ends_with('.') && !check.why.contains("  "), "{}: {}", check.name, check.why);
        }
    }
}
