//! The tool against a server that is right, and against servers that make one mistake each: it must say which.
#![allow(missing_docs)]

#[allow(dead_code)] // each file of tests uses its part
mod server;

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::Ordering;

use serde_json::Value;
use server::{Mistake, Server, Wire};

const DEVICES: u64 = 50;
const MESSAGES: u64 = 600;

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fanfare-bench")).args(arguments).output().unwrap()
}

/// A run of 600 messages in 1.2 seconds; the exit code and the JSON.
fn run(name: &str, server: &Server, more: &[&str]) -> (i32, Value) {
    let json = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.json"));
    let file = json.to_str().unwrap();
    let mut arguments = vec!["fanout", "--url", &server.url, "--api", &server.api, "--connections", "50"];
    arguments.extend(["--rate", "500", "--seconds", "1", "--warmup", "0.2", "--drain", "1"]);
    arguments.extend(["--tick-ms", "10", "--receiver-core", "0", "--quiet", "--json", file]);
    arguments.extend(more);
    let output = bench(&arguments);
    let code = output.status.code().unwrap();
    assert_ne!(code, 2, "{}", String::from_utf8_lossy(&output.stderr));
    let json: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    (code, json["details"].clone())
}

fn faults(result: &Value) -> [u64; 4] {
    ["gaps", "duplicates", "reorders", "malformed"].map(|name| result["faults"][name].as_u64().unwrap())
}

#[test]
fn a_right_server_is_found_right_and_every_delivery_is_counted() {
    for (wire, format) in [(Wire::GoPush, "go-push"), (Wire::Raw, "raw")] {
        let server = Server::start(wire, Mistake::None);
        let (code, result) = run(&format!("right-{format}"), &server, &["--format", format]);
        assert_eq!((code, faults(&result)), (0, [0; 4]), "{result:#}");
        assert_eq!(result["published"], MESSAGES);
        assert_eq!(result["deliveries"], DEVICES * (MESSAGES - 100));
        assert_eq!(result["latency"]["count"], DEVICES * (MESSAGES - 100));
        assert_eq!(result["time_to_last"]["count"], MESSAGES - 100);
        assert_eq!(result["pings_answered"], DEVICES);
        assert_eq!(server.pongs.load(Ordering::SeqCst) as u64, DEVICES);
    }
}

#[test]
fn no_more_is_delivered_a_second_than_was_published() {
    let server = Server::start(Wire::GoPush, Mistake::None);
    let json = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("few.json");
    let mut arguments = vec!["fanout", "--url", &server.url, "--api", &server.api, "--connections", "50"];
    arguments.extend(["--rate", "2", "--seconds", "1", "--warmup", "0", "--drain", "1"]);
    arguments.extend(["--receiver-core", "0", "--quiet", "--json", json.to_str().unwrap()]);
    assert_eq!(bench(&arguments).status.code(), Some(0));
    let json: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let rate = json["details"]["deliveries_per_s"].as_f64().unwrap();
    assert!(0.0 < rate && rate <= (2 * DEVICES) as f64, "{rate}");
}

#[test]
fn a_server_that_closes_what_it_has_upgraded_is_quoted() {
    let server = Server::start(Wire::GoPush, Mistake::ClosesUpgraded(50));
    let arguments = ["fanout", "--url", &server.url, "--api", &server.api, "--connections", "50", "--quiet"];
    let output = bench(&[&arguments[..], &["--receiver-core", "0", "--no-results"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("the server closed all 50 connections that it had upgraded: 4001 (50)"), "{said}");
}

#[test]
fn a_dropped_message_is_a_gap_on_one_connection() {
    let server = Server::start(Wire::GoPush, Mistake::Drops(300));
    let (code, result) = run("drops", &server, &[]);
    assert_eq!((code, faults(&result)), (1, [1, 0, 0, 0]));
    assert_eq!(result["connections_with_gaps"], 1);
}

#[test]
fn a_dropped_last_message_is_a_gap_too() {
    let server = Server::start(Wire::Raw, Mistake::Drops(599));
    let (code, result) = run("drops-last", &server, &["--format", "raw"]);
    assert_eq!((code, faults(&result)), (1, [1, 0, 0, 0]));
}

#[test]
fn a_repeated_message_is_a_duplicate() {
    let server = Server::start(Wire::GoPush, Mistake::Repeats(300));
    let (code, result) = run("repeats", &server, &[]);
    assert_eq!((code, faults(&result)), (1, [0, 1, 0, 0]));
}

#[test]
fn two_messages_in_the_wrong_order_are_a_reorder() {
    // At 500/s and ticks of 10 ms a publish has five messages, the first alone; 302 is never the last of its five.
    let server = Server::start(Wire::GoPush, Mistake::Swaps(302));
    let (code, result) = run("swaps", &server, &[]);
    assert_eq!((code, faults(&result)), (1, [0, 0, 1, 0]));
}

#[test]
fn a_changed_byte_is_malformed_and_its_message_is_missing() {
    let server = Server::start(Wire::GoPush, Mistake::Corrupts(300));
    let (code, result) = run("corrupts", &server, &[]);
    assert_eq!((code, faults(&result)), (1, [1, 0, 0, 1]));
    assert!(result["first_malformed"].as_str().unwrap().contains("xy"));
}

#[test]
fn refused_messages_are_shown_and_nobody_is_blamed_for_their_absence() {
    let server = Server::start(Wire::GoPush, Mistake::RefusesRequest(20));
    let (code, result) = run("refuses", &server, &[]);
    assert_eq!((code, faults(&result)), (0, [0; 4]));
    assert!(result["refused"].as_u64().unwrap() > 0);
    assert_eq!(result["refused_and_delivered"], 0);
}

#[test]
fn refused_messages_that_come_all_the_same_fail_the_run() {
    let server = Server::start(Wire::GoPush, Mistake::RefusesAndDelivers(20));
    let (code, result) = run("refuses-and-delivers", &server, &[]);
    assert_eq!((code, faults(&result)), (1, [0; 4]));
    assert!(result["refused"].as_u64().unwrap() > 0);
    assert_eq!(result["refused_and_delivered"], result["refused"]);
}

#[test]
fn a_connection_that_the_server_closes_is_told_with_its_code_and_its_gap() {
    let server = Server::start(Wire::GoPush, Mistake::Closes(300));
    let (code, result) = run("closes", &server, &[]);
    assert_eq!(code, 1);
    assert_eq!(result["closed_by_server"]["4008"], 1);
    assert_eq!(result["connections_with_gaps"], 1);
}

#[test]
fn connections_that_come_and_go_disturb_nobody() {
    let server = Server::start(Wire::GoPush, Mistake::None);
    let (code, result) = run("churn", &server, &["--joins-leaves", "20"]);
    assert_eq!((code, faults(&result)), (0, [0; 4]), "{result:#}");
    assert!(result["rejoined"].as_u64().unwrap() >= 10);
    assert!(result["deliveries"].as_u64().unwrap() >= DEVICES * (MESSAGES - 100));
}

#[test]
fn topics_take_turns_and_each_device_is_held_to_its_own() {
    for (wire, format) in [(Wire::GoPush, "go-push"), (Wire::Raw, "raw")] {
        let server = Server::start(wire, Mistake::None);
        let (code, result) =
            run(&format!("topics-{format}"), &server, &["--format", format, "--topics", "7"]);
        assert_eq!((code, faults(&result)), (0, [0; 4]), "{result:#}");
        assert_eq!(result["published"], MESSAGES);
        // 50 devices of seven topics: eight of the first and seven of each other; 500 messages from the 100th on.
        let deliveries = (100..MESSAGES).map(|number| if number % 7 == 0 { 8 } else { 7 }).sum::<u64>();
        assert_eq!(result["deliveries"], deliveries);
        assert_eq!(result["time_to_last"]["count"], MESSAGES - 100);
    }
}

#[test]
fn a_message_of_another_topic_is_malformed() {
    let server = Server::start(Wire::GoPush, Mistake::Misroutes(300));
    let (code, result) = run("misroutes", &server, &["--topics", "5"]);
    assert_eq!(code, 1);
    assert_eq!(faults(&result)[0], 0, "{result:#}");
    // To the forty devices of the four other topics, at least this one message.
    assert!(faults(&result)[3] >= 40, "{result:#}");
    assert!(result["first_malformed"].as_str().unwrap().contains("topic"));
}

#[test]
fn a_refused_message_of_one_topic_is_no_gap_of_that_one_nor_of_the_others() {
    let server = Server::start(Wire::GoPush, Mistake::RefusesRequest(20));
    let (code, result) = run("refuses-topics", &server, &["--topics", "3"]);
    assert_eq!((code, faults(&result)), (0, [0; 4]), "{result:#}");
    assert!(result["refused"].as_u64().unwrap() > 0);
}

#[test]
fn a_stalled_connection_counts_in_no_percentile() {
    let server = Server::start(Wire::GoPush, Mistake::None);
    let (code, result) = run("stalled", &server, &["--stalled", "5"]);
    assert_eq!((code, faults(&result)), (0, [0; 4]));
    assert_eq!(result["deliveries"], DEVICES * (MESSAGES - 100));
    assert_eq!(result["stalled"]["connections"], 5);
    assert_eq!(result["stalled"]["messages"], 5 * MESSAGES);
}

#[test]
fn the_floor_in_the_same_run_is_compared_with() {
    let server = Server::start(Wire::GoPush, Mistake::None);
    let (_, result) = run("floor", &server, &["--floor"]);
    assert_eq!(result["floor"]["sockets"], DEVICES);
    assert!(result["floor"]["sends_per_s"].as_f64().unwrap() > 0.0);
}

#[test]
fn no_server_and_bad_arguments_are_one_sentence_and_exit_code_2() {
    for (arguments, sentence) in [
        (&["fanout", "--url", "ws://127.0.0.1:1/connect", "--receiver-core", "0"][..], "cannot connect"),
        (&["fanout", "--url", "nonsense"], "is not a URL"),
        (&["fanout", "--bytes", "10"], "a message has"),
        (&["fanout", "--topics", "3", "--path", "/same"], "need {topic}"),
        (&["fanout", "--topics", "30", "--connections", "20"], "there are only 20"),
        (
            &["fanout", "--stalled", "2000000"],
            "at most 2000000 connections, and those of all kinds together are 2010000",
        ),
        (&["fanout", "--joins-leaves", "1e6"], "those of all kinds together are 2010000"),
        (&["fanout", "--gateway", "/nonexistent/gateway"], "cannot start"),
        (&["floor", "--bytes", "3"], "a message has"),
    ] {
        let output = bench(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(sentence), "{arguments:?}: {said}");
        assert_eq!(said.trim().lines().count(), 1, "{arguments:?}: {said}");
    }
}

#[test]
fn a_number_out_of_its_range_is_told_with_the_range() {
    for (arguments, range) in [
        (["fanout", "--rate", "nan"], "0.001 to 1,000,000 a second"),
        (["fanout", "--rate", "-1"], "0.001 to 1,000,000 a second"),
        (["fanout", "--seconds", "nan"], "0 to 1,000,000 seconds"),
        (["fanout", "--warmup", "nan"], "0 to 1,000,000 seconds"),
        (["fanout", "--ping-every", "1e300"], "0 to 1,000,000 seconds"),
        (["fanout", "--joins-leaves", "inf"], "0 to 1,000,000 a second"),
        (["fanout", "--joins-leaves", "1e9"], "0 to 1,000,000 a second"),
        (["floor", "--rate", "1e-300"], "0.001 to 1,000,000 a second"),
        (["floor", "--seconds", "nan"], "0 to 1,000,000 seconds"),
    ] {
        let output = bench(&arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(arguments[1]) && said.contains(&format!("it takes {range}")), "{said}");
    }
}

#[test]
fn a_core_that_this_process_may_not_use_is_told_before_anything_starts() {
    let gateway = ["--gateway", "/nonexistent/gateway"];
    for (subcommand, more, option) in [
        ("fanout", &gateway[..], "--gateway-core"),
        ("fanout", &["--floor"], "--gateway-core"),
        ("fanout", &[], "--receiver-core"),
        ("fanout", &["--receiver-core", "0"], "--publisher-core"),
        ("floor", &[], "--sender-core"),
        ("paced", &gateway, "--gateway-core"),
        ("compare", &["--peers"], "--gateway-core"),
    ] {
        for core in ["1024", "5000", "18446744073709551615"] {
            let output = bench(&[&[subcommand, option, core], more].concat());
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{subcommand} {option}: {said}");
            assert!(said.contains(&format!("{option} {core}: this process may run on")), "{said}");
            assert_eq!(said.trim().lines().count(), 1, "{said}");
        }
    }
}

#[test]
fn a_server_that_refuses_the_upgrade_is_quoted() {
    let server = Server::start(Wire::GoPush, Mistake::None);
    let path = ["fanout", "--url", &server.url, "--path", "/elsewhere", "--receiver-core", "0"];
    let output = bench(&path);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("404 Not Found"));
}

#[test]
fn both_senders_of_the_floor_deliver_every_byte() {
    for sender in ["send", "uring"] {
        for frames in [&[][..], &["--frames", "--items", "20"]] {
            let mut arguments =
                vec!["floor", "--sockets", "100", "--bytes", "128,5000", "--seconds", "0.3", "--no-results"];
            arguments.extend(["--sender", sender, "--receiver-core", "0"]);
            arguments.extend(frames);
            let output = bench(&arguments);
            assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
            assert!(String::from_utf8_lossy(&output.stdout).contains("CPU a send"));
        }
    }
}
