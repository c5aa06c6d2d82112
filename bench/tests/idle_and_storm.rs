//! `idle` and `storm` against servers of which it is known whom they take, drop and refuse.
#![allow(missing_docs)]

#[allow(dead_code)] // each file of tests uses its part
mod server;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;
use server::{Mistake, Server, Wire};

/// Runs a subcommand with 20 devices; the exit code, standard error and the results.
fn run(name: &str, subcommand: &str, server: &Server, more: &[&str]) -> (i32, String, Value) {
    let json = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.json"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare-bench"));
    command.args([subcommand, "--url", &server.url, "--api", &server.api, "--connections", "20"]);
    command.args(["--seconds", "0.5", "--drain", "1", "--receiver-core", "0", "--quiet"]);
    command.arg("--json").arg(&json).args(more);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let results = std::fs::read(&json).map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).unwrap());
    (output.status.code().unwrap(), said, results)
}

fn figure(results: &Value, group: &str, name: &str) -> f64 {
    let figures = results["figures"].as_array().unwrap();
    let found = figures.iter().find(|figure| figure["group"] == group && figure["name"] == name);
    found.unwrap_or_else(|| panic!("no {group}, {name} in {figures:#?}"))["value"].as_f64().unwrap()
}

fn warnings(results: &Value) -> String {
    results["warnings"].to_string()
}

#[test]
fn every_held_connection_gets_each_broadcast_once() {
    let server = Server::start(Wire::GoPush, Mistake::None);
    let (code, said, results) = run("held", "idle", &server, &["--broadcasts", "2"]);
    assert_eq!(code, 0, "{said}");
    assert!((figure(&results, "connections", "opened") - 20.0).abs() < 0.5);
    assert!((figure(&results, "broadcasts", "deliveries") - 40.0).abs() < 0.5);
    assert!(figure(&results, "hold", "dropped") < 0.5);
    let handshakes = results["distributions"].as_array().unwrap().iter().find(|d| d["name"] == "handshake");
    assert_eq!(handshakes.unwrap()["percentiles"]["count"], 20);
}

#[test]
fn refused_connections_are_counted_with_the_reason_and_the_others_are_held() {
    let server = Server::start(Wire::GoPush, Mistake::RefusesUpgrades(15));
    let (code, said, results) = run("refused", "idle", &server, &[]);
    assert_eq!(code, 1, "{said}");
    assert!((figure(&results, "connections", "opened") - 15.0).abs() < 0.5);
    assert!((figure(&results, "connections", "refused") - 5.0).abs() < 0.5);
    assert!(warnings(&results).contains("503 Busy"), "{results:#}");
    assert!((figure(&results, "broadcasts", "deliveries") - 15.0).abs() < 0.5);
}

#[test]
fn a_connection_that_the_server_drops_is_told_by_how() {
    let server = Server::start(Wire::GoPush, Mistake::Closes(0));
    let (code, said, results) = run("dropped", "idle", &server, &[]);
    assert_eq!(code, 1, "{said}");
    assert!((figure(&results, "hold", "dropped") - 1.0).abs() < 0.5);
    assert!((figure(&results, "hold", "dropped by 4008") - 1.0).abs() < 0.5);
}

#[test]
fn a_connection_that_is_closed_while_others_connect_is_dropped_and_the_others_are_held() {
    let server = Server::start(Wire::GoPush, Mistake::ClosesUpgraded(1));
    let (code, said, results) = run("dropped-early", "idle", &server, &[]);
    assert_eq!(code, 1, "{said}");
    assert!((figure(&results, "connections", "opened") - 20.0).abs() < 0.5);
    assert!((figure(&results, "hold", "dropped by 4001") - 1.0).abs() < 0.5);
    assert!((figure(&results, "broadcasts", "deliveries") - 19.0).abs() < 0.5);
}

#[test]
fn a_storm_that_is_interrupted_in_its_watch_tells_of_no_return() {
    let server = Server::start(Wire::GoPush, Mistake::None);
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("storm-interrupted.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare-bench"));
    command.args([
        "storm",
        "--url",
        &server.url,
        "--api",
        &server.api,
        "--connections",
        "20",
        "--seconds",
        "0.2",
    ]);
    command.args(["--watch", "60", "--receiver-core", "0", "--quiet", "--json"]).arg(&file);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // The newcomers that ask while all others leave are the upgrades beyond the first twenty.
    while server.devices.load(Ordering::SeqCst) < 22 {
        std::thread::sleep(Duration::from_millis(10));
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let results: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert!(warnings(&results).contains("interrupted before anybody returned"), "{results:#}");
    let groups = results["figures"].as_array().unwrap().iter().map(|figure| &figure["group"]);
    assert!(!groups.into_iter().any(|group| group == "return"), "{results:#}");
}

#[test]
fn all_leave_newcomers_are_taken_meanwhile_and_many_return_at_once() {
    let server = Server::start(Wire::GoPush, Mistake::None);
    let (code, said, results) = run("storm", "storm", &server, &["--watch", "0.5", "--returning", "12"]);
    assert_eq!(code, 0, "{said}");
    assert!((figure(&results, "return", "accepted") - 12.0).abs() < 0.5);
    let newcomers = figure(&results, "newcomers", "connected meanwhile");
    assert!(newcomers > 0.5 && figure(&results, "newcomers", "failed") < 0.5);
    assert!((server.devices.load(Ordering::SeqCst) as f64 - 32.0 - newcomers).abs() < 0.5);
    assert!(warnings(&results).contains("memory was not measured"), "{results:#}");
}

#[test]
fn a_server_that_does_not_take_them_back_fails_the_storm() {
    let server = Server::start(Wire::GoPush, Mistake::RefusesUpgrades(20));
    let (code, said, results) = run("turned-away", "storm", &server, &["--watch", "0.3"]);
    assert_eq!(code, 1, "{said}");
    assert!(figure(&results, "return", "accepted") < 0.5);
    assert!(figure(&results, "newcomers", "failed") > 0.5);
    assert!(warnings(&results).contains("20 returning connections were refused"), "{results:#}");
}

#[test]
fn a_time_that_is_none_is_told_before_anybody_connects() {
    for (subcommand, option) in [("idle", "--seconds"), ("storm", "--watch"), ("storm", "--seconds")] {
        for time in ["-1", "nan", "inf", "1e30"] {
            let server = Server::start(Wire::GoPush, Mistake::None);
            let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare-bench"));
            let output = command.args([subcommand, "--url", &server.url, option, time]).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert!(said.contains(option) && said.contains("it takes 0 to 1,000,000 seconds"), "{said}");
            assert_eq!(server.devices.load(Ordering::SeqCst), 0);
        }
    }
}

#[test]
fn no_server_is_one_sentence_and_exit_code_2() {
    for subcommand in ["idle", "storm"] {
        let gone =
            Server { url: "ws://127.0.0.1:1/connect".into(), ..Server::start(Wire::GoPush, Mistake::None) };
        let (code, said, _) = run("nobody", subcommand, &gone, &[]);
        assert_eq!(code, 2, "{said}");
        assert_eq!(said.trim().lines().count(), 1, "{said}");
    }
}
