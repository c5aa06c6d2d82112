//! Where, when and by which command a run was made: what is needed to believe its numbers, or to make them again.
//!
//! *Not here*: anything that was measured.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Instant;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Settings of the kernel that change what a load of many connections finds, as paths below `/proc/sys`.
const SYSCTLS: [&str; 17] = [
    "fs/file-max",
    "fs/nr_open",
    "kernel/io_uring_disabled",
    "net/core/netdev_max_backlog",
    "net/core/rmem_max",
    "net/core/somaxconn",
    "net/core/wmem_max",
    "net/ipv4/ip_local_port_range",
    "net/ipv4/tcp_congestion_control",
    "net/ipv4/tcp_fin_timeout",
    "net/ipv4/tcp_max_orphans",
    "net/ipv4/tcp_max_syn_backlog",
    "net/ipv4/tcp_mem",
    "net/ipv4/tcp_rmem",
    "net/ipv4/tcp_tw_reuse",
    "net/ipv4/tcp_wmem",
    "net/netfilter/nf_conntrack_max",
];

/// The conditions of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Environment {
    /// When it began, UTC, as RFC 3339 has it.
    pub(crate) started: String,
    /// How long it took, everything included.
    pub(crate) seconds: f64,
    /// Version of this tool.
    pub(crate) version: String,
    /// Commit of the working directory, when that is a repository.
    pub(crate) commit: Option<String>,
    /// The whole command.
    pub(crate) command: Vec<String>,
    /// Model of the CPU.
    pub(crate) cpu: String,
    /// CPUs that the tool may run on.
    pub(crate) cpus: usize,
    /// The machine's memory, bytes.
    pub(crate) memory_bytes: u64,
    /// Release of the kernel.
    pub(crate) kernel: String,
    /// Runnable tasks over 1, 5 and 15 minutes, when it began: who else used the machine.
    pub(crate) load_average: Vec<f64>,
    /// Files that a process (here: a thread, each has a table of its own) may have open.
    pub(crate) open_files_max: u64,
    /// Settings of the kernel, by name; those that this kernel does not have are left out.
    pub(crate) sysctls: BTreeMap<String, String>,
}

struct Start {
    at: Instant,
    time: Timestamp,
    load_average: Vec<f64>,
}

/// The process's begin: what the environment counts from.
fn start() -> &'static Start {
    static START: OnceLock<Start> = OnceLock::new();
    START.get_or_init(|| Start {
        at: Instant::now(),
        time: Timestamp::now(),
        load_average: read("/proc/loadavg").split(' ').take(3).filter_map(|n| n.parse().ok()).collect(),
    })
}

/// The run begins now.
pub(crate) fn begin() {
    start();
}

impl Environment {
    /// Reads it from the system; the run has begun with [`begin`] and ends now.
    pub(crate) fn read() -> Self {
        let start = start();
        let sysctls = SYSCTLS.iter().filter_map(|path| {
            let text = fs::read_to_string(format!("/proc/sys/{path}")).ok()?;
            Some((path.replace('/', "."), text.split_whitespace().collect::<Vec<_>>().join(" ")))
        });
        Self {
            started: format!("{:.0}", start.time),
            seconds: (start.at.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            version: env!("CARGO_PKG_VERSION").into(),
            commit: commit(),
            command: std::env::args().collect(),
            cpu: cpu_model(&read("/proc/cpuinfo")),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: memory_bytes(&read("/proc/meminfo")),
            kernel: read("/proc/sys/kernel/osrelease").trim().into(),
            load_average: start.load_average.clone(),
            open_files_max: crate::sys::process::open_files_max(),
            sysctls: sysctls.collect(),
        }
    }

    /// One line: the machine.
    pub(crate) fn machine(&self) -> String {
        let gib = self.memory_bytes as f64 / f64::from(1 << 30);
        let congestion = self.sysctls.get("net.ipv4.tcp_congestion_control").map_or("", String::as_str);
        format!("Linux {} · {} · {} CPUs · {gib:.0} GiB · {congestion}", self.kernel, self.cpu, self.cpus)
    }

    /// Day of the begin, UTC.
    pub(crate) fn date(&self) -> &str {
        self.started.get(..10).unwrap_or("undated")
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn cpu_model(cpuinfo: &str) -> String {
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    model.and_then(|rest| rest.split_once(':')).map_or_else(String::new, |(_, name)| name.trim().to_owned())
}

fn memory_bytes(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.map_or(0, |kib| kib.saturating_mul(1024))
}

/// The commit of the working directory, when it is one of git's.
fn commit() -> Option<String> {
    let output =
        Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_of_this_very_process_is_whole() {
        begin();
        let found = Environment::read();
        assert_eq!(found.started.len(), "2026-01-02T03:04:05Z".len(), "{}", found.started);
        assert!(found.started.ends_with('Z') && found.date().starts_with("20"));
        assert!(!found.kernel.is_empty() && found.memory_bytes > 1 << 20 && found.cpus > 0);
        assert_eq!(found.load_average.len(), 3);
        assert!(found.sysctls.contains_key("net.core.somaxconn"), "{:?}", found.sysctls);
        assert_eq!(found.sysctls["net.ipv4.ip_local_port_range"].split(' ').count(), 2);
    }

    #[test]
    fn a_cpu_and_a_memory_that_are_not_named_are_empty_and_no_error() {
        assert_eq!(cpu_model("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n"), "Some CPU @ 2 GHz");
        assert_eq!(cpu_model("processor : 0\n"), "");
        assert_eq!(memory_bytes("MemFree: 1 kB\nMemTotal:       2048 kB\n"), 2 << 20);
        assert_eq!(memory_bytes("MemTotal: many kB"), 0);
    }
}
