//! A results file: the numbers with what is needed to believe them.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;
use serde_json::json;

/// Kernel, CPU, congestion control: one line for the table.
pub(super) fn machine() -> String {
    format!("Linux {} · {} · {}", kernel(), cpu_model(), congestion())
}

fn kernel() -> String {
    first_line("/proc/sys/kernel/osrelease")
}

fn congestion() -> String {
    first_line("/proc/sys/net/ipv4/tcp_congestion_control")
}

fn first_line(path: &str) -> String {
    fs::read_to_string(path).ok().and_then(|text| text.lines().next().map(str::to_owned)).unwrap_or_default()
}

fn cpu_model() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name"));
    model.and_then(|rest| rest.split_once(':')).map_or_else(String::new, |(_, name)| name.trim().to_owned())
}

/// The commit of the working directory, when it is one of git's.
fn commit() -> Option<String> {
    let output =
        Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

/// Writes the file, if one was asked for.
pub(super) fn write<T: Serialize + ?Sized>(path: Option<&Path>, run: &str, result: &T) -> Result<(), String> {
    let Some(path) = path else { return Ok(()) };
    let file = json!({
        "run": run,
        "version": env!("CARGO_PKG_VERSION"),
        "commit": commit(),
        "command": std::env::args().collect::<Vec<_>>(),
        "kernel": kernel(),
        "cpu": cpu_model(),
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "tcp_congestion_control": congestion(),
        "result": result,
    });
    let failed = |e: String| format!("cannot write {}: {e}", path.display());
    let text = serde_json::to_string_pretty(&file).map_err(|e| failed(e.to_string()))?;
    fs::write(path, text + "\n").map_err(|e| failed(e.to_string()))
}
