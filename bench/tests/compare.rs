//! fanfare beside its peers, all of them real: the shape of what is found, never who is faster.
#![allow(missing_docs)]

// The other tests use the rest of it.
#[allow(dead_code)]
mod server;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;

use serde_json::Value;
use server::{Mistake, Server, Wire};

/// Small enough for any machine: 200 devices, a climb of two rungs.
const SMALL: [&str; 18] = [
    "--connections",
    "200",
    "--rate",
    "20",
    "--seconds",
    "1",
    "--warmup",
    "0.2",
    "--climb-from",
    "20",
    "--climb-to",
    "40",
    "--climb-seconds",
    "0.5",
    "--receiver-core",
    "0",
    "--drain",
    "2",
];

/// Where cargo puts what it builds; this test's tool is two levels below.
fn target() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_fanfare-bench")).ancestors().nth(2).unwrap().into()
}

fn build(arguments: &[&str]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root).arg("build").args(arguments).arg("--target-dir").arg(target());
    assert!(command.status().unwrap().success(), "cargo build {arguments:?}");
}

/// The servers are other packages: cargo has not built them for this one's tests.
fn build_servers() {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        build(&["--package", "fanfare", "--bin", "fanfare"]);
        build(&["--manifest-path", "bench/peers/tokio-broadcast/Cargo.toml"]);
    });
}

fn compare(json: &Path, rounds: &str, more: &[&str]) -> Command {
    build_servers();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare-bench"));
    let debug = target().join("debug");
    command.arg("compare").arg("--gateway").arg(debug.join("fanfare"));
    command.arg("--tokio-broadcast").arg(debug.join("tokio-broadcast"));
    command.args(SMALL).args(["--rounds", rounds]).arg("--json").arg(json).args(more);
    command
}

fn json_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("compare-{name}.json"))
}

/// Runs to the end; the exit code and the rows.
fn rows(name: &str, more: &[&str]) -> (i32, Value) {
    let file = json_file(name);
    let output = compare(&file, "1", more).arg("--quiet").output().unwrap();
    let code = output.status.code().unwrap();
    assert_ne!(code, 2, "{}", String::from_utf8_lossy(&output.stderr));
    let json: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert!(!json["tables"][0]["rows"].as_array().unwrap().is_empty());
    (code, json["details"]["rows"].clone())
}

/// A server that was measured in every column, and that delivered everything.
fn assert_whole(row: &Value) {
    assert_eq!(row["stopped"], Value::Null, "{row:#}");
    let (idle, low, top) = (&row["idle"][0], &row["low"][0], &row["top"]);
    assert!(idle["accepts_per_s"].as_f64().unwrap() > 0.0, "{row:#}");
    assert!(idle["memory_bytes"].is_f64() && idle["accept_cpu_us"].is_f64(), "{row:#}");
    assert!(low["p99_ms"].as_f64().unwrap() >= low["p50_ms"].as_f64().unwrap(), "{row:#}");
    assert!(low["p50_ms"].as_f64().unwrap() > 0.0, "{row:#}");
    assert_eq!(low["faults"], 0, "{row:#}");
    assert!(!top["rungs"].as_array().unwrap().is_empty(), "{row:#}");
}

#[test]
fn nchan_and_the_tokio_broadcaster_deliver_every_message_and_fill_every_column() {
    let (code, rows) = rows("peers", &[]);
    let rows = rows.as_array().unwrap();
    let servers: Vec<&str> = rows.iter().map(|row| row["server"].as_str().unwrap()).collect();
    assert_eq!(servers, ["fanfare", "nchan", "tokio-broadcast"]);
    rows.iter().for_each(assert_whole);
    assert_eq!(code, 0);
}

#[test]
fn a_server_that_runs_already_is_held_against_fanfare_in_its_framing() {
    let server = Server::start(Wire::GoPush, Mistake::None);
    let arguments = ["--peers", "--url", &server.url, "--framing", "go-push", "--publish", &server.api];
    let (_, rows) = rows("url", &[&arguments[..], &["--publish-as", "form"]].concat());
    let rows = rows.as_array().unwrap();
    assert_eq!((&rows[0]["server"], &rows[0]["framing"]), (&"fanfare".into(), &"go-push".into()));
    assert_eq!((rows.len(), &rows[1]["stopped"], &rows[1]["low"][0]["faults"]), (2, &Value::Null, &0.into()));
    assert_eq!(rows[1]["idle"][0]["memory_bytes"], Value::Null, "nobody named its process");
}

#[test]
fn a_server_that_refuses_is_a_row_with_the_reason_and_the_others_go_on() {
    let nobody = ["--url", "ws://127.0.0.1:1/topics/bench", "--publish", "http://127.0.0.1:1/publish"];
    let (code, rows) = rows("refused", &[&["--peers", "tokio"], &nobody[..]].concat());
    assert_eq!(code, 1);
    assert_whole(&rows[0]);
    assert_whole(&rows[1]);
    assert!(rows[2]["stopped"].as_str().unwrap().contains("cannot connect"), "{rows:#}");
}

#[test]
fn ctrl_c_keeps_what_was_measured() {
    let file = json_file("interrupted");
    let mut command = compare(&file, "100", &["--peers", "tokio"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("round 2 of 100: fanfare") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "the run ended by itself");
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{rest}");
    let json: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    for row in json["details"]["rows"].as_array().unwrap() {
        assert_eq!(row["stopped"], "Ctrl-C");
        assert!(
            !row["idle"].as_array().unwrap().is_empty() && !row["low"].as_array().unwrap().is_empty(),
            "{row:#}"
        );
    }
}

#[test]
fn arguments_of_a_run_and_of_the_climb_are_checked_before_the_first_round() {
    let program = env!("CARGO_BIN_EXE_fanfare-bench");
    for (arguments, sentence) in [
        (&["--climb-from", "0"][..], "--climb-from <CLIMB_FROM>': it takes 0.001 to 1,000,000 a second"),
        (&["--climb-seconds=-1"], "--climb-seconds <CLIMB_SECONDS>': it takes 0 to 1,000,000 seconds"),
        (&["--seconds", "nan"], "--seconds <SECONDS>': it takes 0 to 1,000,000 seconds"),
        (&["--climb-from", "10", "--climb-to", "9"], "--climb-to must not be below --climb-from"),
        (&["--climb-seconds", "0"], "--climb-seconds and --p99-max-ms must be above zero"),
        (&["--p99-max-ms", "0"], "--climb-seconds and --p99-max-ms must be above zero"),
        (&["--climb-seconds", "5000"], "--climb-to, --climb-seconds: a run has at most 4000 seconds"),
        (&["--seconds", "0"], "--seconds and --drain must be above zero"),
        (&["--bytes", "1"], "a message has"),
    ] {
        // Nothing is started, so that any file is a program.
        let mut command = Command::new(program);
        command.args(["compare", "--peers", "--gateway", program, "--receiver-core", "0"]).args(arguments);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(sentence) && !said.contains("round"), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn what_is_not_installed_is_one_sentence_before_anything_runs() {
    for (arguments, sentence) in [
        (&["--nginx", "/nonexistent/nginx"][..], "apt-get install nginx-light libnginx-mod-nchan"),
        (
            &["--peers", "tokio", "--tokio-broadcast", "/nonexistent/peer"],
            "cargo build --release --manifest-path bench/peers/tokio-broadcast/Cargo.toml",
        ),
        (&["--gateway", "/nonexistent/fanfare", "--peers"], "cargo build --release --bin fanfare"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare-bench"));
        let output = command.arg("compare").args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("/nonexistent/") && said.contains(sentence), "{said}");
        assert_eq!(said.trim().lines().count(), 1, "{said}");
    }
}
