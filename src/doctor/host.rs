//! What the host says about itself: bounded reads of files below a root directory, and their formats.
//!
//! The root is `/`, or a directory with a recorded host's `proc/` and `sys/`. A file that is absent, unreadable or
//! garbled is an [`Unread`] with its reason and never the end of the run. *Not here*: what a fact means (`checks`).

mod facts;
mod files;
mod formats;
mod machine;

pub use facts::{Attempt, Cgroup, Cpu, Fact, Facts, Nic, Process, Release, Unread};
pub use files::Host;

use crate::sys::probe;

impl Host {
    /// Reads everything; a few hundred small files on a large machine. Blocks on the file system.
    pub fn facts(&self) -> Facts {
        let net = |name: &str| self.whole(&format!("proc/sys/net/{name}"));
        let triple = |name: &str| self.fact(&format!("proc/sys/net/ipv4/{name}"), formats::wholes::<3>);
        let process = self.fact(&format!("proc/{}/status", self.process), formats::process);
        let cpus = process.as_ref().map_or_else(|_| Vec::new(), |process| self.cpus(&process.cpus));
        Facts {
            release: self.fact("proc/sys/kernel/osrelease", formats::release),
            io_uring_disabled: self.whole("proc/sys/kernel/io_uring_disabled"),
            io_uring_group: self.fact("proc/sys/kernel/io_uring_group", formats::signed),
            attempt: self.attempt(),
            process,
            nofile: self.fact(&format!("proc/{}/limits", self.process), formats::nofile),
            nr_open: self.whole("proc/sys/fs/nr_open"),
            file_max: self.whole("proc/sys/fs/file-max"),
            somaxconn: net("core/somaxconn"),
            tcp_max_syn_backlog: net("ipv4/tcp_max_syn_backlog"),
            tcp_mem: triple("tcp_mem"),
            tcp_rmem: triple("tcp_rmem"),
            tcp_wmem: triple("tcp_wmem"),
            ip_local_port_range: self.fact("proc/sys/net/ipv4/ip_local_port_range", formats::wholes::<2>),
            ip_local_reserved_ports: self.fact("proc/sys/net/ipv4/ip_local_reserved_ports", formats::ranges),
            tcp_congestion_control: self.fact("proc/sys/net/ipv4/tcp_congestion_control", formats::word),
            conntrack_max: net("netfilter/nf_conntrack_max"),
            conntrack_count: net("netfilter/nf_conntrack_count"),
            tcp_tw_reuse: net("ipv4/tcp_tw_reuse"),
            tcp_max_tw_buckets: net("ipv4/tcp_max_tw_buckets"),
            tcp_max_orphans: net("ipv4/tcp_max_orphans"),
            tcp_ehash_entries: self.fact("proc/sys/net/ipv4/tcp_ehash_entries", formats::signed),
            netdev_max_backlog: net("core/netdev_max_backlog"),
            memory: self.fact("proc/meminfo", formats::memory),
            cgroup: self.cgroup(&format!("proc/{}/cgroup", self.process)),
            transparent_hugepage: self.fact("sys/kernel/mm/transparent_hugepage/enabled", formats::chosen),
            cpus,
            nics: self.nics(),
        }
    }

    fn attempt(&self) -> Attempt {
        if !self.is_this_process() {
            return Attempt::NotMade;
        }
        match probe::io_uring() {
            Ok(()) => Attempt::Works,
            Err(refusal) => Attempt::Refused(refusal.to_string()),
        }
    }
}
