//! What the host says about itself: bounded reads of files below a root directory, and their formats.
//!
//! The root is `/`, or a directory with a recorded host's `proc/` and `sys/`. A file that is absent, unreadable or
//! garbled is an [`Unread`] with its reason and never the end of the run. *Not here*: what a fact means (`checks`).

mod formats;
mod machine;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub use formats::Release;
pub use machine::{Cpu, Nic};

use crate::limits;
use crate::sys::probe;

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

/// A host to read, and the process whose limits count.
pub struct Host {
    root: PathBuf,
    /// `self` or a process id.
    process: String,
}

impl Host {
    /// The host below `root`, seen as the process `pid`, or as this one.
    pub fn new(root: &Path, pid: Option<u32>) -> Self {
        Self { root: root.to_owned(), process: pid.map_or_else(|| "self".into(), |pid| pid.to_string()) }
    }

    /// Whether what this process may do is what the looked-at process may do.
    fn is_this_process(&self) -> bool {
        self.root == Path::new("/") && self.process == "self"
    }

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

    fn whole(&self, path: &str) -> Fact<u64> {
        self.fact(path, |bytes| formats::wholes::<1>(bytes).map(|[number]| number))
    }

    /// A file's bytes through its format.
    fn fact<T>(&self, path: &str, format: impl Fn(&[u8]) -> Option<T>) -> Fact<T> {
        let bytes = self.bytes(path)?;
        format(&bytes).ok_or_else(|| Unread::Garbled(path.into(), formats::excerpt(&bytes)))
    }

    fn bytes(&self, path: &str) -> Fact<Vec<u8>> {
        let file = File::open(self.root.join(path)).map_err(|error| unread(path, &error))?;
        let mut bytes = Vec::new();
        file.take(limits::HOST_FILE_BYTES_MAX)
            .read_to_end(&mut bytes)
            .map_err(|error| unread(path, &error))?;
        Ok(bytes)
    }

    /// Names in a directory, in order; none when there is no such directory.
    fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.root.join(path)).into_iter().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .take(limits::HOST_ENTRIES_MAX)
            .collect();
        names.sort_unstable();
        names
    }

    fn has(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }
}

fn unread(path: &str, error: &io::Error) -> Unread {
    match error.kind() {
        // Some files vanish between open and read, or exist for another sort of object: both mean "not here".
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Unread::Absent(path.into()),
        kind => Unread::Unreadable(path.into(), kind),
    }
}
