//! What the kernel counts for the process and its host. Everything is read from /proc; 0 is what it cannot tell.
//!
//! *Not here*: names and help texts (`text`).

use std::fs;
use std::path::PathBuf;

/// The calling thread's id.
pub fn thread_id() -> u64 {
    let path = fs::read_link("/proc/thread-self").unwrap_or_default();
    path.file_name().and_then(|id| id.to_str()?.parse().ok()).unwrap_or(0)
}

/// What the kernel says of the thread of this process with that name: its state, and where in the kernel it waits. Reads a
/// file or two for each thread.
pub fn thread_state(name: &str) -> String {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten().map(|task| task.path());
    let named =
        |task: &PathBuf| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim_end() == name);
    let Some(task) = tasks.into_iter().find(named) else {
        return "and the kernel knows no such thread".into();
    };
    let status = fs::read_to_string(task.join("status")).unwrap_or_default();
    let state = status.lines().find_map(|line| line.strip_prefix("State:")).map_or("unknown", str::trim);
    match fs::read_to_string(task.join("wchan")) {
        Ok(place) if !place.is_empty() && place != "0" => format!("in state {state} in {place}"),
        _ => format!("in state {state}"),
    }
}

/// Descriptors that a process or thread, named by its directory in /proc, has open: the size of its `fd` directory,
/// which the kernel tells from Linux 6.2 on. Costs a microsecond, however many there are.
pub fn open_files(of: &str) -> u64 {
    fs::metadata(format!("/proc/{of}/fd")).map_or(0, |directory| directory.len())
}

/// Soft limit of descriptors of the process.
pub fn files_max() -> u64 {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    files_max_in(&limits).unwrap_or(0)
}

fn files_max_in(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// CPU time of every thread so far, microseconds.
pub fn cpu_us() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    cpu_us_in(&stat).unwrap_or(0)
}

/// Fields 14 and 15 of `proc_pid_stat(5)`, in hundredths of a second (`USER_HZ` of every architecture that we run on). The
/// name, field 2, may have spaces and parentheses.
fn cpu_us_in(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) * 10_000)
}

/// Memory of the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostMemory {
    /// All of it, bytes.
    pub total: u64,
    /// What can be had without swapping, bytes.
    pub available: u64,
}

/// The host's memory, the kernel's share for sockets included.
pub fn host_memory() -> HostMemory {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    host_memory_in(&meminfo).unwrap_or_default()
}

fn host_memory_in(meminfo: &str) -> Option<HostMemory> {
    let bytes = |name| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(HostMemory { total: bytes("MemTotal:")?, available: bytes("MemAvailable:")? })
}

/// Resident set of the process, bytes; 0 when /proc cannot tell. All threads share it. Costs about 30 µs.
pub fn resident_bytes() -> u64 {
    fs::read("/proc/self/status").map_or(0, |status| resident_bytes_in(&status).unwrap_or(0))
}

/// The value of `VmRSS` in the text of /proc/pid/status, `proc_pid_status(5)`: kibibytes, whatever the page size.
fn resident_bytes_in(status: &[u8]) -> Option<u64> {
    let line = std::str::from_utf8(status).ok()?.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_found_by_its_name_and_has_a_state() {
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("it-waits".into()).spawn(move || receiver.recv());
        let thread = thread.expect("a thread");
        while !thread_state("it-waits").starts_with("in state S (sleeping)") {
            std::thread::yield_now();
        }
        drop(sender);
        assert!(thread.join().expect("it only waits").is_err());
        assert_eq!(thread_state("nobody"), "and the kernel knows no such thread");
    }

    #[test]
    fn the_resident_set_is_read_in_bytes() {
        let status = b"Name:\tfanfare\nVmHWM:\t  999 kB\nVmRSS:\t   12345 kB\nThreads:\t3\n";
        assert_eq!(resident_bytes_in(status), Some(12345 * 1024));
    }

    #[test]
    fn a_status_without_the_line_or_with_another_unit_says_nothing() {
        assert_eq!(resident_bytes_in(b"Name:\tkthreadd\n"), None);
        assert_eq!(resident_bytes_in(b"VmRSS:\t12 MB\n"), None);
        assert_eq!(resident_bytes_in(b"VmRSS:\t99999999999999999999 kB\n"), None);
    }

    #[test]
    fn the_limit_of_descriptors_is_the_soft_one() {
        let limits =
            "Limit   Soft Limit  Hard Limit  Units\nMax open files            1024      524288     files\n";
        assert_eq!(files_max_in(limits), Some(1024));
        assert_eq!(files_max_in("Max open files  unlimited unlimited files"), None);
    }

    #[test]
    fn cpu_time_is_read_behind_whatever_the_name_is() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 900 0 0 0 250 150 0 0 20 0 4 0 100 1 1";
        assert_eq!(cpu_us_in(stat), Some(4_000_000));
        assert_eq!(cpu_us_in("7 (a) S 1"), None);
    }

    #[test]
    fn the_memory_of_a_host_is_read_in_bytes() {
        let meminfo = "MemTotal:       16 kB\nMemFree:  1 kB\nMemAvailable:   8 kB\n";
        assert_eq!(host_memory_in(meminfo), Some(HostMemory { total: 16_384, available: 8_192 }));
        assert_eq!(host_memory_in("MemTotal: 16 kB\n"), None);
    }

    #[test]
    fn the_kernel_tells_of_this_process_what_it_tells_of_any() {
        assert!(thread_id() > 0 && files_max() > 0 && host_memory().total > host_memory().available);
        let open = open_files(&format!("self/task/{}", thread_id()));
        assert!(open == 0 || open >= 3, "{open}: nothing before Linux 6.2, all of them after it");
    }

    #[test]
    fn this_process_has_a_resident_set() {
        assert!(resident_bytes() > 4096);
    }
}
