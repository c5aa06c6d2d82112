//! The process under test, with the processes that it starts: started for the run, or found by its id; its CPU time,
//! memory and metrics. *Not here*: what to start (`server`).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::args::ServerArgs;
use crate::http::{Client, Url};
use crate::server::{Launch, Scratch};
use crate::sys::process;

/// A gateway that is not ready by then never will be.
const READY_WITHIN: Duration = Duration::from_secs(15);
/// A gateway that ends closes its sockets a while before its process is gone.
const GONE_WITHIN: Duration = Duration::from_millis(500);

/// Where it is, and what it is when it runs here.
pub(crate) struct Gateway {
    /// Where devices connect.
    pub(crate) url: Url,
    /// Its API.
    pub(crate) api: Url,
    child: Option<Child>,
    pid: Option<u32>,
    _scratch: Option<Scratch>,
}

/// CPU time of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    /// In its own code.
    pub(crate) user: Duration,
    /// In the kernel, for it.
    pub(crate) system: Duration,
}

impl Cpu {
    /// What was used since an earlier look.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}

/// The kernel stops every thread at its next return from it.
const STOPPED_WITHIN: Duration = Duration::from_secs(2);

/// Processes that are stopped; dropping it lets them go on.
pub(crate) struct Stopped(Vec<u32>);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.iter().for_each(|&pid| process::go_on(pid));
    }
}

/// Whether every thread of a process is stopped by a signal (`T`, `proc_pid_stat(5)`).
fn is_stopped(pid: u32) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    tasks.flatten().all(|task| {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(')').is_none_or(|(_, fields)| fields.trim_start().starts_with('T'))
    })
}

/// A process that uses an `io_uring` has made it before it took connections: it is among the first files.
const FILES_LOOKED_AT: usize = 64;

/// Memory of a process, bytes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Memory {
    /// All resident pages.
    pub(crate) rss: u64,
    /// The anonymous ones: heap and stacks, no mapped files.
    pub(crate) anonymous: u64,
}

/// Counters that fanfare exposes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sends {
    /// Send requests given to the kernel.
    pub(crate) sends: f64,
    /// Bytes in them.
    pub(crate) bytes: f64,
}

impl Gateway {
    /// Starts the gateway of the command line, subscribed to this Redis, or takes the one that runs.
    pub(crate) fn from_args(args: &ServerArgs, redis: Option<&str>) -> Result<Self, String> {
        let Some(path) = &args.gateway else {
            let url = Url::parse(&args.url, "ws")?;
            let api = Url::parse(&args.api, "http")?;
            if let Some(pid) = args.gateway_pid
                && !Path::new(&format!("/proc/{pid}/stat")).exists()
            {
                return Err(format!("there is no process {pid} (--gateway-pid)"));
            }
            return Ok(Self { url, api, child: None, pid: args.gateway_pid, _scratch: None });
        };
        let Launch { mut command, devices, api, ready_path, ready_status, scratch } =
            args.kind.launch(path, free_ports()?, args.room)?;
        if let Some(redis) = redis {
            command.args(["--redis", &format!("redis://{redis}")]);
        }
        command.args(&args.gateway_arg).stdin(Stdio::null());
        match &args.gateway_log {
            None => command.stdout(Stdio::null()).stderr(Stdio::null()),
            Some(log) => {
                let failed = |e| format!("cannot write {}: {e}", log.display());
                let file = File::create(log).map_err(failed)?;
                command.stdout(file.try_clone().map_err(failed)?).stderr(file)
            }
        };
        process::confine(&mut command, Some(args.gateway_core.clone()));
        let child = command.spawn().map_err(|e| format!("cannot start {}: {e}", path.display()))?;
        let mut gateway = Self {
            url: Url::parse(&format!("ws://{devices}/connect"), "ws")?,
            api: Url::parse(&format!("http://{api}"), "http")?,
            pid: Some(child.id()),
            child: Some(child),
            _scratch: scratch,
        };
        gateway.wait_ready(path, ready_path, ready_status)?;
        Ok(gateway)
    }

    fn wait_ready(&mut self, path: &Path, asked: &str, wanted: Option<u16>) -> Result<(), String> {
        let begin = Instant::now();
        loop {
            let answer = Client::new(&self.api).get(asked);
            if answer.is_ok_and(|answer| wanted.is_none_or(|wanted| answer.status == wanted)) {
                return Ok(());
            }
            if let Some(Ok(Some(status))) = self.child.as_mut().map(Child::try_wait) {
                return Err(format!(
                    "{} ended before it was ready: {status} (--gateway-log)",
                    path.display()
                ));
            }
            if process::interrupted() {
                return Err(format!("interrupted before {} was ready", path.display()));
            }
            if begin.elapsed() > READY_WITHIN {
                return Err(format!(
                    "{} does not answer {asked} as it should (--gateway-log)",
                    path.display()
                ));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// CPU time so far; `None` when the process is not known.
    pub(crate) fn cpu(&self) -> Option<Cpu> {
        let of = |pid: u32| {
            parse_cpu(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?, process::clock_tick())
        };
        let mut sum = of(self.pid?)?;
        // A child that ends between the two looks is missing from the sum.
        for cpu in descendants(self.pid?).into_iter().filter_map(of) {
            sum = Cpu { user: sum.user + cpu.user, system: sum.system + cpu.system };
        }
        Some(sum)
    }

    /// Stops the server that was started here, with what it started (SIGSTOP), until the guard is dropped.
    pub(crate) fn stop(&self) -> Result<Stopped, String> {
        let Some(pid) = self.pid.filter(|_| self.child.is_some()) else {
            return Err("only a server that was started here is stopped".into());
        };
        let pids: Vec<u32> = descendants(pid).into_iter().chain([pid]).collect();
        let stopped = Stopped(pids);
        stopped.0.iter().for_each(|&pid| process::stop(pid));
        let begin = Instant::now();
        while !stopped.0.iter().all(|&pid| is_stopped(pid)) {
            if begin.elapsed() > STOPPED_WITHIN {
                return Err("the server does not stop".into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(stopped)
    }

    /// CPU time so far of all threads that run now, not in ticks: what a short phase costs is told by differences of it.
    /// `None` when the process is not known, or the kernel keeps no such account.
    pub(crate) fn cpu_to_the_ns(&self) -> Option<Duration> {
        let pids = descendants(self.pid?).into_iter().chain(self.pid);
        let tasks = pids.filter_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok()).flatten().flatten();
        let of =
            |task: fs::DirEntry| parse_schedstat(&fs::read_to_string(task.path().join("schedstat")).ok()?);
        let all: Vec<Duration> = tasks.filter_map(of).collect();
        (!all.is_empty()).then(|| all.iter().sum())
    }

    /// Memory now; `None` when the process is not known.
    pub(crate) fn memory(&self) -> Option<Memory> {
        let of = |pid: u32| parse_memory(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?);
        let mut sum = of(self.pid?)?;
        for memory in descendants(self.pid?).into_iter().filter_map(of) {
            sum = Memory { rss: sum.rss + memory.rss, anonymous: sum.anonymous + memory.anonymous };
        }
        Some(sum)
    }

    /// What it has sent so far, if it is a gateway that says so.
    pub(crate) fn sends(&self) -> Option<Sends> {
        let metrics = Client::new(&self.api).get("/metrics").ok().filter(|answer| answer.status == 200)?.body;
        let sends = sum_metric(&metrics, "fanfare_sends_total")?;
        Some(Sends { sends, bytes: sum_metric(&metrics, "fanfare_send_bytes_total")? })
    }

    /// Connections that it counts itself, if it says so.
    pub(crate) fn connections(&self) -> Option<f64> {
        let metrics = Client::new(&self.api).get("/metrics").ok().filter(|answer| answer.status == 200)?.body;
        sum_metric(&metrics, "fanfare_connections")
    }

    /// Whether the process has an `io_uring` open; false when it is not known.
    pub(crate) fn waits_by_io_uring(&self) -> bool {
        let Some(pid) = self.pid else { return false };
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
        // Its threads may have file tables of their own, each with its own ring.
        tasks.flatten().any(|task| {
            let files = fs::read_dir(task.path().join("fd")).into_iter().flatten().flatten();
            files.take(FILES_LOOKED_AT).any(|file| {
                fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == "anon_inode:[io_uring]")
            })
        })
    }

    /// Connections that it has closed so far, by its reason; empty when it is no gateway that says so.
    pub(crate) fn closed_by_reason(&self) -> BTreeMap<String, f64> {
        let answer = Client::new(&self.api).get("/metrics").ok().filter(|answer| answer.status == 200);
        answer.map_or_else(BTreeMap::new, |answer| by_reason(&answer.body))
    }

    /// The process has ended on its own.
    pub(crate) fn died(&mut self) -> Option<String> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        Some(format!("the gateway ended during the run: {status}"))
    }

    /// Why a run could not be made: that the process ended, when it did, and not what was noticed of it first.
    pub(crate) fn or_died(&mut self, why: String) -> String {
        let until = Instant::now() + GONE_WITHIN;
        loop {
            match self.died() {
                Some(died) => return died,
                None if Instant::now() > until => return why,
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Its group: workers do not end with their master when that is killed.
            process::kill_group(child.id());
            let _ = child.wait();
        }
    }
}

/// Two ports that nobody listens on now.
fn free_ports() -> Result<(u16, u16), String> {
    let failed = |e: std::io::Error| format!("cannot find a free port: {e}");
    let listeners = [TcpListener::bind("127.0.0.1:0"), TcpListener::bind("127.0.0.1:0")];
    let mut ports = [0; 2];
    for (port, listener) in ports.iter_mut().zip(listeners) {
        *port = listener.and_then(|listener| listener.local_addr()).map_err(failed)?.port();
    }
    Ok((ports[0], ports[1]))
}

/// The processes that a process has started, and those that they have (`proc_pid_task_tid_children(5)`).
fn descendants(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        let Ok(threads) = fs::read_dir(format!("/proc/{parent}/task")) else { continue };
        for thread in threads.flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            let children = children.split_whitespace().filter_map(|child| child.parse::<u32>().ok());
            for child in children {
                found.push(child);
                parents.push(child);
            }
        }
    }
    found
}

fn parse_memory(status: &str) -> Option<Memory> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    Some(Memory { rss: field("VmRSS:")?, anonymous: field("RssAnon:")? })
}

/// utime and stime of `/proc/PID/stat` (`proc_pid_stat(5)`): fields 14 and 15, counted behind the name's last bracket.
fn parse_cpu(stat: &str, tick: Duration) -> Option<Cpu> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    Some(Cpu { user: tick * ticks()?, system: tick * ticks()? })
}

/// The first field of `/proc/PID/task/TID/schedstat` (the kernel's Documentation/scheduler/sched-stats.rst): nanoseconds on
/// a CPU.
fn parse_schedstat(text: &str) -> Option<Duration> {
    Some(Duration::from_nanos(text.split(' ').next()?.trim().parse().ok()?))
}

/// `fanfare_closed_total{reason="…"} N`, by reason.
fn by_reason(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter_map(|line| {
        let rest = line.strip_prefix("fanfare_closed_total{")?.split_once("reason=\"")?.1;
        let (reason, rest) = rest.split_once('"')?;
        Some((reason.to_owned(), rest.rsplit_once('}')?.1.trim().parse().ok()?))
    });
    lines.fold(BTreeMap::new(), |mut all, (reason, count): (String, f64)| {
        *all.entry(reason).or_default() += count;
        all
    })
}

/// Sum of a metric over all its labels; `None` when it is not there.
fn sum_metric(text: &str, name: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(labels) => labels.rsplit_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.split_whitespace().next()?.parse::<f64>().ok()
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::Command;

    #[test]
    fn time_on_a_cpu_is_the_first_of_three_numbers() {
        assert_eq!(parse_schedstat("1500000000 2000 7\n"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_schedstat(""), None);
    }

    #[test]
    fn cpu_time_is_read_behind_a_name_with_brackets_and_spaces() {
        let stat = "12 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 150 70 0 0 20";
        let cpu = parse_cpu(stat, Duration::from_millis(10)).unwrap();
        assert_eq!((cpu.user.as_millis(), cpu.system.as_millis()), (1_500, 700));
    }

    #[test]
    fn a_process_counts_with_those_that_its_children_started() {
        // A shell that starts a shell that starts a sleep, and tells when all of them run.
        let script = "sh -c 'sleep 60 & echo ready; wait' & wait";
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::piped());
        process::confine(&mut command, None);
        let mut child = command.spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "ready\n");
        assert_eq!(descendants(child.id()).len(), 2);
        process::kill_group(child.id());
        child.wait().unwrap();
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let memory = parse_memory("Name:\tx\nVmRSS:\t   12 kB\nRssAnon:\t    3 kB\n").unwrap();
        assert_eq!((memory.rss, memory.anonymous), (12_288, 3_072));
    }

    #[test]
    fn a_metric_is_summed_over_its_labels_and_not_over_its_namesakes() {
        let text = "# HELP x\nx_total{shard=\"0\"} 3\nx_total{shard=\"1\"} 4.5\nx_total_other 9\n";
        assert_eq!(sum_metric(text, "x_total"), Some(7.5));
        assert_eq!(sum_metric(text, "y_total"), None);
    }

    #[test]
    fn closes_are_told_apart_by_reason_and_added_up_over_shards() {
        let text = "fanfare_closed_total{shard=\"0\",reason=\"slow\"} 5\n\
                    fanfare_closed_total{shard=\"1\",reason=\"slow\"} 2\n\
                    fanfare_closed_total{reason=\"timeout\"} 1\nfanfare_closed_total{reason=} x\n";
        assert_eq!(by_reason(text), BTreeMap::from([("slow".into(), 7.0), ("timeout".into(), 1.0)]));
    }
}
