//! `ladder` and `slow` against servers of which it is known what they hold, and whom they close.
#![allow(missing_docs)]

#[allow(dead_code)] // each file of tests uses its part
mod server;

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use server::{Mistake, Server, Wire};

/// Runs a subcommand with 20 devices; the exit code, standard error and the results.
fn run(name: &str, subcommand: &str, server: &Server, more: &[&str]) -> (i32, String, Value) {
    let json = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.json"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare-bench"));
    command.args([subcommand, "--url", &server.url, "--api", &server.api, "--connections", "20"]);
    command.args(["--warmup", "0.1", "--drain", "1", "--tick-ms", "10", "--receiver-core", "0", "--quiet"]);
    command.arg("--json").arg(&json).args(more);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let results = std::fs::read(&json).map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).unwrap());
    (output.status.code().unwrap(), said, results)
}

fn table<'a>(results: &'a Value, title: &str) -> &'a Value {
    let tables = results["tables"].as_array().unwrap();
    tables.iter().find(|table| table["title"] == title).unwrap_or_else(|| panic!("no {title} in {tables:#?}"))
}

#[test]
fn a_server_that_drops_above_a_rate_holds_less_than_it_and_the_ladder_names_the_gaps() {
    let server = Server::start(Wire::GoPush, Mistake::DropsAbove(250));
    let rungs = ["--from", "50", "--to", "3200", "--factor", "2", "--seconds", "0.6", "--tries", "1"];
    let (code, said, results) = run("ladder-drops", "ladder", &server, &rungs);
    assert_eq!(code, 0, "{said}");
    let (held, failed) = (&results["details"]["held"], &results["details"]["failed"]);
    let (held, failed) = (held.as_f64().unwrap(), failed.as_f64().unwrap());
    // The server counts over a quarter of a second, in whole messages.
    assert!((200.0..280.0).contains(&held), "{held}");
    assert!(failed > held && failed / held <= 1.05, "{held} {failed}");
    assert!(results["details"]["why"].as_str().unwrap().contains("gaps"), "{:#}", results["details"]["why"]);
    let stopped = table(&results, "what stopped it");
    assert!(stopped["rows"][0][1].as_str().unwrap().contains("gaps"), "{stopped:#}");
    assert_eq!(table(&results, "rungs")["rows"][0][8], "yes");
}

#[test]
fn connections_stay_from_one_rung_to_the_next_as_long_as_all_is_well() {
    let server = Server::start(Wire::Raw, Mistake::None);
    let rungs = ["--from", "50", "--to", "200", "--factor", "2", "--seconds", "0.5", "--format", "raw"];
    let (code, said, results) = run("ladder-right", "ladder", &server, &rungs);
    assert_eq!(code, 0, "{said}");
    assert_eq!(results["details"]["held"], 200.0);
    assert_eq!(results["details"]["failed"], Value::Null);
    assert_eq!(results["details"]["rungs"].as_array().unwrap().len(), 3);
    assert_eq!(server.devices.load(std::sync::atomic::Ordering::SeqCst), 20);
    assert!(
        results["warnings"].to_string().contains("the limit lies above 200/s"),
        "{:#}",
        results["warnings"]
    );
    for rung in results["details"]["rungs"].as_array().unwrap() {
        let wanted = rung["rate"].as_f64().unwrap() * 0.5 * 20.0;
        assert!((rung["report"]["deliveries"].as_f64().unwrap() - wanted).abs() < 1.0, "{rung:#}");
    }
}

#[test]
fn a_server_that_is_gone_in_the_middle_leaves_its_table_and_no_answer() {
    let server = Server::start(Wire::GoPush, Mistake::LeavesAbove(250));
    let rungs = ["--from", "50", "--to", "3200", "--factor", "2", "--seconds", "0.6", "--tries", "2"];
    let (code, said, results) = run("ladder-gone", "ladder", &server, &rungs);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("503"), "{said}");
    let details = &results["details"];
    assert_eq!((&details["held"], &details["failed"]), (&Value::from(200.0), &Value::Null));
    assert_eq!(details["broken_off"]["rate"], 400.0);
    let warnings = results["warnings"].to_string();
    assert!(warnings.contains("whether 400/s is held is not known"), "{warnings}");
    assert!(!warnings.contains("the limit lies above"), "{warnings}");
    let tables = results["tables"].as_array().unwrap();
    assert!(!tables.iter().any(|table| table["title"] == "what stopped it"), "{tables:#?}");
}

#[test]
fn a_first_rung_that_fails_is_tried_again_and_then_the_answer() {
    let server = Server::start(Wire::GoPush, Mistake::ClosesAll(10));
    let rungs = ["--from", "100", "--to", "200", "--seconds", "0.5"];
    let (code, said, results) = run("ladder-none", "ladder", &server, &rungs);
    assert_eq!(code, 1, "{said}");
    assert_eq!(results["details"]["held"], Value::Null);
    let first = &results["details"]["rungs"][0];
    assert!(first["failed"].as_str().unwrap().contains("4008: 20"), "{first:#}");
    assert!(results["warnings"].to_string().contains("no rate was held"));
}

#[test]
fn slow_devices_count_among_nobody_else_and_are_seen_to_be_held() {
    let server = Server::start(Wire::GoPush, Mistake::None);
    let slow = ["--rate", "200", "--seconds", "0.5", "--watch", "0", "--stalled", "3", "--trickling", "4"];
    let (code, said, results) =
        run("slow-held", "slow", &server, &[&slow[..], &["--vanishing", "5"]].concat());
    assert_eq!(code, 0, "{said}");
    for which in ["without", "with"] {
        assert_eq!(results["details"][which]["deliveries"], 20 * 100, "{which}");
        assert_eq!(results["details"][which]["faults"]["gaps"], 0);
    }
    let with = &results["details"]["with"];
    for (kind, connections) in [("stalled", 3), ("trickling", 4), ("vanished", 5)] {
        assert_eq!(with[kind]["connections"], connections, "{kind}");
        assert_eq!(with[kind]["held"], connections, "{kind}: {:#}", with[kind]);
        assert_eq!(with[kind]["given_up"]["count"], 0, "{kind}");
        assert_eq!(with[kind]["faults"]["malformed"], 0, "{kind}");
    }
    // Those that have a network read the rest at the end; the vanished have heard nothing.
    assert_eq!(with["stalled"]["messages"], 3 * 120);
    assert_eq!(with["vanished"]["messages"], 0);
    assert_eq!(table(&results, "what became of the slow ones")["rows"].as_array().unwrap().len(), 3);
}

#[test]
fn a_server_that_gives_the_slow_up_is_seen_doing_so_though_they_read_nothing() {
    let server = Server::start(Wire::GoPush, Mistake::ClosesAll(60));
    let slow = ["--rate", "200", "--seconds", "0.5", "--watch", "5", "--stalled", "3", "--trickling", "3"];
    let (code, said, results) =
        run("slow-closed", "slow", &server, &[&slow[..], &["--vanishing", "3"]].concat());
    assert_eq!(code, 1, "those that read were closed too: {said}");
    let with = &results["details"]["with"];
    for kind in ["stalled", "trickling", "vanished"] {
        assert_eq!(with[kind]["given_up"]["count"], 3, "{kind}: {:#}", with[kind]);
        assert_eq!(with[kind]["held"], 0, "{kind}");
    }
    assert_eq!(with["stalled"]["closed"]["4008"], 3);
    assert_eq!(with["vanished"]["closed"], serde_json::json!({}), "they cannot hear how");
}

#[test]
fn bad_arguments_and_no_server_are_one_sentence_and_exit_code_2() {
    for (arguments, sentence) in [
        (&["ladder", "--from", "0"][..], "--from <FROM>': it takes 0.001 to 1,000,000 a second"),
        (&["ladder", "--to", "nan"], "--to <TO>': it takes 0.001 to 1,000,000 a second"),
        (&["ladder", "--from", "10", "--to", "9"], "--to must not be below --from"),
        (&["ladder", "--factor", "1"], "--factor <FACTOR>': it takes 1.01 to 1,000 times"),
        (&["ladder", "--p99-max-ms", "1e300"], "it takes 0 to 1,000,000 milliseconds"),
        (&["ladder", "--p99-max-ms", "0"], "--p99-max-ms must be above zero"),
        (&["slow", "--stalled", "0", "--trickling", "0", "--vanishing", "0"], "nobody is slow"),
        (&["slow", "--watch", "4000"], "--watch"),
        (&["slow", "--stalled", "4294967295", "--trickling", "1"], "4294967295 is not in 0..=2000000"),
        (&["slow", "--connections", "2000000"], "those of all kinds together are 2000300"),
        (&["ladder", "--url", "ws://127.0.0.1:1/connect", "--receiver-core", "0"], "cannot connect"),
        (&["slow", "--url", "ws://127.0.0.1:1/connect", "--receiver-core", "0"], "cannot connect"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_fanfare-bench")).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(sentence), "{arguments:?}: {said}");
    }
}
