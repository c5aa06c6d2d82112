//! `paced` and `pushes` against servers of which it is known what they do wrong.
#![allow(missing_docs)]

mod pacer;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use pacer::{Mistake, Pacer};
use serde_json::Value;

/// Runs a subcommand; the exit code, standard error and the results.
fn run(name: &str, subcommand: &str, server: &Pacer, more: &[&str]) -> (i32, String, Value) {
    run_until(name, subcommand, server, more, None)
}

/// As [`run`], with Ctrl-C once the server has sent so many copies.
fn run_until(
    name: &str,
    subcommand: &str,
    server: &Pacer,
    more: &[&str],
    sent: Option<u64>,
) -> (i32, String, Value) {
    let json = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.json"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare-bench"));
    command.args([subcommand, "--url", &server.url, "--api", &server.api]);
    command.args(["--receiver-core", "0", "--quiet"]).arg("--json").arg(&json).args(more);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    if let Some(sent) = sent {
        while server.sent() < sent {
            std::thread::sleep(Duration::from_millis(5));
        }
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let results = std::fs::read(&json).map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).unwrap());
    (output.status.code().unwrap(), said, results)
}

/// 80 devices at 40 a second, from half-way on at 80; bands that a machine with other work keeps.
const PACED: [&str; 18] = [
    "--connections",
    "80",
    "--rate",
    "40",
    "--change-to",
    "80",
    "--second-percent",
    "35",
    "--tenth-percent",
    "100",
    "--in-force-ms",
    "400",
    "--eta-from",
    "0.5",
    "--eta-percent",
    "50",
    "--poll-ms",
    "100",
];

/// Nobody comes or goes: the server of these tests knows only who was there.
const PUSHES: [&str; 18] = [
    "--connections",
    "30",
    "--topics",
    "4",
    "--pushes",
    "10",
    "--seed",
    "7",
    "--seconds",
    "1",
    "--joins-leaves",
    "0",
    "--goodbyes",
    "0",
    "--kills",
    "0",
    "--newcomers",
    "0",
];

fn figure(results: &Value, group: &str, name: &str) -> f64 {
    let figures = results["figures"].as_array().unwrap();
    let found = figures.iter().find(|figure| figure["group"] == group && figure["name"] == name);
    found.unwrap_or_else(|| panic!("no {group}, {name} in {figures:#?}"))["value"].as_f64().unwrap()
}

#[test]
fn a_push_that_keeps_its_rate_and_its_books_passes() {
    let (code, said, results) = run("paced-right", "paced", &Pacer::start(Mistake::None), &PACED);
    assert_eq!(code, 0, "{said} {:#}", results["warnings"]);
    assert!((figure(&results, "devices", "received") - 80.0).abs() < 0.5);
    assert!((figure(&results, "ledger", "targeted") - 80.0).abs() < 0.5);
    let plots: Vec<&Value> = results["series"].as_array().unwrap().iter().map(|one| &one["plot"]).collect();
    assert!(plots.contains(&&Value::from("devices a second, over 100 ms")), "{plots:?}");
    assert!(results["details"]["judgement"]["in_force_ms"].as_f64().is_some());
}

#[test]
fn each_broken_promise_is_named_and_fails_the_run() {
    for (mistake, sentence) in [
        (Mistake::Rushes, "any second, with the ends"),
        (Mistake::IgnoresChanges, "any 100 ms, at 80/s"),
        (Mistake::WrongEta, "the ETA was"),
        (Mistake::Forgets, "the ledger has 80 sent and 0 failed; 79 arrived"),
        (Mistake::Repeats, "1 devices had the message again"),
        (Mistake::Unbalanced, "targeted 80 is not sent"),
    ] {
        let arguments: Vec<&str> = match mistake {
            // A band of all or nothing would hold the old rate for the new one.
            Mistake::IgnoresChanges => {
                PACED.iter().map(|word| if *word == "100" { "30" } else { word }).collect()
            }
            _ => PACED.to_vec(),
        };
        let (code, said, results) =
            run(&format!("paced-{mistake:?}"), "paced", &Pacer::start(mistake), &arguments);
        assert_eq!(code, 1, "{mistake:?}: {said}");
        let warnings = results["warnings"].to_string();
        assert!(warnings.contains(sentence), "{mistake:?}: {warnings}");
    }
}

#[test]
fn a_push_that_ctrl_c_cut_off_is_cancelled_and_nobody_is_blamed_for_it() {
    let server = Pacer::start(Mistake::None);
    let (code, said, results) = run_until("paced-interrupted", "paced", &server, &PACED, Some(20));
    assert_eq!(code, 0, "{said} {:#}", results["warnings"]);
    assert_eq!(server.states(), ["cancelled"]);
    let warnings = results["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(warnings[0].as_str().unwrap().contains("interrupted"), "{warnings:#?}");
    let sent = figure(&results, "ledger", "sent");
    assert!((20.0..80.0).contains(&sent), "{sent}");
    assert!((figure(&results, "devices", "received") - sent).abs() < 0.5);
    assert!((figure(&results, "ledger", "cancelled by Ctrl-C") - (80.0 - sent)).abs() < 0.5);
    assert!(figure(&results, "any 100 ms", "at 40/s, most") > 0.0);
}

#[test]
fn many_pushes_whose_ledgers_are_true_pass_and_the_seed_is_kept() {
    // More than a floating-point number keeps.
    let seed = u64::MAX - 10;
    let text = seed.to_string();
    let arguments = PUSHES.map(|word| if word == "7" { &text } else { word });
    let (code, said, results) = run("pushes-right", "pushes", &Pacer::start(Mistake::None), &arguments);
    assert_eq!(code, 0, "{said} {:#}", results["warnings"]);
    assert_eq!(results["details"]["seed"], seed);
    assert_eq!(results["tables"][0]["rows"][0], serde_json::json!(["--seed", text]));
    let lines = results["details"]["audit"]["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 10);
    for line in lines {
        assert_eq!(line["received"], line["ledger"]["sent"], "{line:#}");
    }
    assert!(figure(&results, "received", "by those that read to the end") > 0.5);
}

#[test]
fn a_ledger_that_is_off_by_one_message_fails_the_run() {
    for (mistake, sentence) in [
        (Mistake::Forgets, "sent by the ledger"),
        (Mistake::Repeats, "messages came again"),
        (Mistake::Unbalanced, "is not sent"),
    ] {
        let (code, said, results) =
            run(&format!("pushes-{mistake:?}"), "pushes", &Pacer::start(mistake), &PUSHES);
        assert_eq!(code, 1, "{mistake:?}: {said}");
        let warnings = results["warnings"].to_string();
        assert!(warnings.contains(sentence), "{mistake:?}: {warnings}");
    }
}

#[test]
fn bad_arguments_and_no_server_are_one_sentence_and_exit_code_2() {
    for (arguments, sentence) in [
        (&["paced", "--rate", "0"][..], "--rate <RATE>': it takes 0.001 to 1,000,000 a second"),
        (&["paced", "--change-after", "nan"], "it takes 0 to 1,000,000 seconds"),
        (&["paced", "--beside", "--side-seconds", "0"], "--side-seconds must be above zero"),
        (&["pushes", "--cap", "0"], "it takes 0.001 to 1,000,000 a second"),
        (&["pushes", "--joins-leaves", "4000000000"], "is not in 0..=1000000"),
        (&["pushes", "--newcomers", "4000000000"], "is not in 0..=10000"),
        (&["paced", "--beside", "--side-topics", "0"], "is not in 1..=100000"),
        (&["pushes", "--drain", "inf"], "it takes 0 to 1,000,000 seconds"),
        (&["paced", "--change-after", "100"], "the push is over by then"),
        (&["pushes", "--seconds", "0"], "must be above zero"),
        (
            &["paced", "--url", "ws://127.0.0.1:1/connect", "--receiver-core", "0", "--quiet"],
            "cannot connect",
        ),
        (
            &["pushes", "--url", "ws://127.0.0.1:1/connect", "--receiver-core", "0", "--quiet"],
            "cannot connect",
        ),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_fanfare-bench")).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(sentence), "{arguments:?}: {said}");
    }
}
