//! The process under test: started for the run, or found by its id; its CPU time, memory and metrics.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::args::ServerArgs;
use crate::http::{Client, Url};
use crate::sys::process;

/// A gateway that is not ready by then never will be.
const READY_WITHIN: Duration = Duration::from_secs(15);

/// Where it is, and what it is when it runs here.
pub(crate) struct Gateway {
    /// Where devices connect.
    pub(crate) url: Url,
    /// Its API.
    pub(crate) api: Url,
    child: Option<Child>,
    pid: Option<u32>,
}

/// CPU time of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    /// In its own code.
    pub(crate) user: Duration,
    /// In the kernel, for it.
    pub(crate) system: Duration,
}

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
            return Ok(Self { url, api, child: None, pid: args.gateway_pid });
        };
        let (devices, api) = free_ports()?;
        let (listen, api) = (format!("127.0.0.1:{devices}"), format!("127.0.0.1:{api}"));
        let mut command = Command::new(path);
        command.args(["--listen", &listen, "--api", &api]);
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
            url: Url::parse(&format!("ws://{listen}/connect"), "ws")?,
            api: Url::parse(&format!("http://{api}"), "http")?,
            pid: Some(child.id()),
            child: Some(child),
        };
        gateway.wait_ready(path)?;
        Ok(gateway)
    }

    fn wait_ready(&mut self, path: &Path) -> Result<(), String> {
        let begin = Instant::now();
        loop {
            if matches!(Client::new(&self.api).get("/readyz"), Ok(answer) if answer.status == 200) {
                return Ok(());
            }
            if let Some(Ok(Some(status))) = self.child.as_mut().map(Child::try_wait) {
                return Err(format!(
                    "{} ended before it was ready: {status} (--gateway-log)",
                    path.display()
                ));
            }
            if begin.elapsed() > READY_WITHIN || process::interrupted() {
                return Err(format!("{} does not answer /readyz with 200 (--gateway-log)", path.display()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// CPU time so far; `None` when the process is not known.
    pub(crate) fn cpu(&self) -> Option<Cpu> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid?)).ok()?;
        parse_cpu(&stat, process::clock_tick())
    }

    /// Memory now; `None` when the process is not known.
    pub(crate) fn memory(&self) -> Option<Memory> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid?)).ok()?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
        };
        Some(Memory { rss: field("VmRSS:")?, anonymous: field("RssAnon:")? })
    }

    /// What it has sent so far, if it is a gateway that says so.
    pub(crate) fn sends(&self) -> Option<Sends> {
        let metrics = Client::new(&self.api).get("/metrics").ok().filter(|answer| answer.status == 200)?.body;
        let sends = sum_metric(&metrics, "fanfare_sends_total")?;
        Some(Sends { sends, bytes: sum_metric(&metrics, "fanfare_send_bytes_total")? })
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
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
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

/// utime and stime of `/proc/PID/stat` (`proc_pid_stat(5)`): fields 14 and 15, counted behind the name's last bracket.
fn parse_cpu(stat: &str, tick: Duration) -> Option<Cpu> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    Some(Cpu { user: tick * ticks()?, system: tick * ticks()? })
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

    #[test]
    fn cpu_time_is_read_behind_a_name_with_brackets_and_spaces() {
        let stat = "12 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 150 70 0 0 20";
        let cpu = parse_cpu(stat, Duration::from_millis(10)).unwrap();
        assert_eq!((cpu.user.as_millis(), cpu.system.as_millis()), (1_500, 700));
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
