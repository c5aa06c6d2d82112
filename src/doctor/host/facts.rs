//! What can be known of a host, and why a part of it is not.
//!
//! *Not here*: where it is read (`super`, `machine`), what it means (`checks`).

use std::fmt;
use std::io;

/// A fact, or why it is not known.
pub type Fact<T> = Result<T, Unread>;

/// Why a fact is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// The kernel has no such file: too old, built without it, or a thing that this machine does not have.
    Absent(String),
    /// It is there and cannot be read.
    Unreadable(String, io::ErrorKind),
    /// It does not hold what this file holds on Linux; with the beginning of what it does.
    Garbled(String, String),
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent(path) => write!(f, "/{path} does not exist"),
            Self::Unreadable(path, kind) => write!(f, "/{path} cannot be read ({kind})"),
            Self::Garbled(path, excerpt) => {
                write!(f, "/{path} holds \"{excerpt}\", which makes no sense there")
            }
        }
    }
}

/// What became of the attempt to make an `io_uring`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The host is recorded or another process is looked at: an attempt here would say nothing about it.
    NotMade,
    /// It works.
    Works,
    /// It was refused, and this is what the operator does about it.
    Refused(String),
}

/// The tightest limits of the process's cgroup and those above it; `None`: no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Bytes, and the file that says so.
    pub memory: Fact<Option<(u64, String)>>,
    /// Tasks that may still be started, and the file that says so.
    pub tasks_left: Fact<Option<(u64, String)>>,
    /// CPU time in hundredths of a CPU, and the file that says so.
    pub cpu_percent: Fact<Option<(u64, String)>>,
}

/// Who the process is, as far as the kernel's decisions about it depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its effective and supplementary groups.
    pub groups: Vec<u64>,
    /// Its effective capabilities, a bit each.
    pub capabilities: u64,
    /// The CPUs that it may use, ascending.
    pub cpus: Vec<usize>,
}

/// Everything that the checks look at. Names are the kernel's.
#[allow(missing_docs)]
#[derive(Clone, Debug)]
pub struct Facts {
    pub release: Fact<Release>,
    pub io_uring_disabled: Fact<u64>,
    pub io_uring_group: Fact<i64>,
    pub attempt: Attempt,
    pub process: Fact<Process>,
    /// The hard limit, to which the gateway raises its own at start; `u64::MAX`: none.
    pub nofile: Fact<u64>,
    pub nr_open: Fact<u64>,
    pub file_max: Fact<u64>,
    pub somaxconn: Fact<u64>,
    pub tcp_max_syn_backlog: Fact<u64>,
    pub tcp_mem: Fact<[u64; 3]>,
    pub tcp_rmem: Fact<[u64; 3]>,
    pub tcp_wmem: Fact<[u64; 3]>,
    pub ip_local_port_range: Fact<[u64; 2]>,
    /// Closed ranges, ascending as the kernel lists them.
    pub ip_local_reserved_ports: Fact<Vec<(u64, u64)>>,
    pub tcp_congestion_control: Fact<String>,
    pub conntrack_max: Fact<u64>,
    pub conntrack_count: Fact<u64>,
    pub tcp_tw_reuse: Fact<u64>,
    pub tcp_max_tw_buckets: Fact<u64>,
    pub tcp_max_orphans: Fact<u64>,
    /// Buckets of the table of connections, of the network namespace.
    pub tcp_ehash_entries: Fact<i64>,
    pub netdev_max_backlog: Fact<u64>,
    /// Bytes: all, and available now.
    pub memory: Fact<(u64, u64)>,
    pub cgroup: Cgroup,
    pub transparent_hugepage: Fact<String>,
    /// One for each CPU that the process may use.
    pub cpus: Vec<Cpu>,
    /// Network devices that are up and have hardware, or a hypervisor's, behind them.
    pub nics: Vec<Nic>,
}

/// A kernel's release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// `uname -r`, such as `6.1.0-13-amd64`.
    pub text: String,
    /// Its first two numbers.
    pub version: (u32, u32),
}

/// One CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Its number.
    pub id: usize,
    /// The frequency governor; absent where the firmware or a hypervisor decides.
    pub governor: Fact<String>,
    /// The CPUs that share its core, itself among them.
    pub siblings: Fact<Vec<usize>>,
}

/// One network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// Its name.
    pub name: String,
    /// Receive queues.
    pub queues: u64,
    /// Whether the kernel spreads what arrives over CPUs (RPS).
    pub spread: bool,
    /// The CPUs of its NUMA node; absent on a machine that has one node, or does not tell.
    pub node_cpus: Fact<Vec<usize>>,
}
