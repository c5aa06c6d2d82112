//! What a run leaves behind: files that `report` reads again, whatever ended the run.
#![allow(missing_docs)]

#[allow(dead_code)] // these tests need a server that makes no mistake
mod server;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use server::{Mistake, Server, Wire};

fn bench(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare-bench"));
    command.args(arguments);
    command
}

/// 20 devices, 100 messages a second.
fn fanout(server: &Server, seconds: &str, more: &[&str]) -> Command {
    let mut command = bench(&["fanout", "--url", &server.url, "--api", &server.api, "--connections", "20"]);
    command
        .args(["--rate", "100", "--seconds", seconds, "--warmup", "0.1", "--receiver-core", "0"])
        .args(more);
    command
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Names of the directory's files, sorted, without their date.
fn names(directory: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(directory).unwrap().map(name).collect();
    names.sort();
    names.iter().map(|name| name["2026-01-02-".len()..].to_owned()).collect()
}

fn path_of(directory: &Path, ending: &str) -> String {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let path = paths.into_iter().find(|path| path.to_string_lossy().ends_with(ending)).unwrap();
    path.into_os_string().into_string().unwrap()
}

fn one_sentence(output: &Output, sentence: &str) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(sentence) && said.trim().lines().count() == 1, "{said}");
}

#[test]
fn two_runs_of_one_name_are_kept_and_laid_side_by_side() {
    let server = Server::start(Wire::GoPush, Mistake::None);
    let directory = tempfile::tempdir().unwrap();
    let results = directory.path().join("kept");
    for _ in 0..2 {
        let keep = ["--quiet", "--name", "of <one> name", "--results", results.to_str().unwrap()];
        let output = fanout(&server, "0.5", &keep).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains("of--one--name"), "{}", text(&output.stdout));
    }
    let stems = ["of--one--name-2.html", "of--one--name-2.json", "of--one--name.html", "of--one--name.json"];
    assert_eq!(names(&results), stems);

    let (first, second) = (path_of(&results, "name.json"), path_of(&results, "name-2.json"));
    let record = json(Path::new(&first));
    assert_eq!(record["name"], "of <one> name");
    assert_eq!(record["interrupted"], false);
    assert_eq!(record["details"]["deliveries"], 20 * 50);
    assert_eq!(record["distributions"][0]["percentiles"]["count"], 20 * 50);
    let buckets = record["distributions"][0]["buckets"].as_array().unwrap();
    assert_eq!(buckets.iter().map(|bucket| bucket[1].as_u64().unwrap()).sum::<u64>(), 20 * 50);
    let environment = &record["environment"];
    assert!(environment["sysctls"]["net.core.somaxconn"].is_string(), "{environment}");
    assert!(environment["command"].as_array().unwrap().contains(&"--warmup".into()), "{environment}");
    let plots: Vec<_> = record["series"].as_array().unwrap().iter().map(|series| &series["plot"]).collect();
    assert!(plots.contains(&&Value::from("deliveries over time")), "{plots:?}");

    let page = directory.path().join("both.html");
    let output = bench(&["report", &first, &second, "--html", page.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    let row = |group: &str| table.lines().find(|line| line.starts_with(group)).unwrap().to_owned();
    assert!(row("connections").contains("20") && row("connections").ends_with('='), "{table}");
    for page in
        [fs::read_to_string(page).unwrap(), fs::read_to_string(path_of(&results, "name.html")).unwrap()]
    {
        assert!(page.ends_with("</html>\n") && page.contains("<polyline") && !page.contains("<one>"));
    }
}

#[test]
fn a_file_that_is_no_results_file_is_one_sentence_and_exit_code_2() {
    let directory = tempfile::tempdir().unwrap();
    let foreign = directory.path().join("foreign.json");
    fs::write(&foreign, "{\"name\": 1}").unwrap();
    let path = foreign.to_str().unwrap();
    one_sentence(&bench(&["report", path]).output().unwrap(), "no results file of fanfare-bench");
    fs::write(&foreign, [0xff; 100]).unwrap();
    one_sentence(&bench(&["report", path]).output().unwrap(), "is not JSON");
    one_sentence(&bench(&["report", "/nonexistent.json"]).output().unwrap(), "cannot be read");
    one_sentence(&bench(&["report", directory.path().to_str().unwrap()]).output().unwrap(), "cannot be read");
}

#[test]
fn a_script_gets_json_on_standard_output_and_nothing_else() {
    let server = Server::start(Wire::Raw, Mistake::None);
    let directory = tempfile::tempdir().unwrap();
    let options = ["--format", "raw", "--quiet", "--json", "-"];
    let output = fanout(&server, "0.3", &options).current_dir(directory.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let record: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(record["subcommand"], "fanout");
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "--json is instead of the directory");
}

#[test]
fn without_a_word_about_them_results_go_to_their_directory() {
    let directory = tempfile::tempdir().unwrap();
    let run = ["floor", "--sockets", "10", "--seconds", "0.1", "--bytes", "64,128", "--receiver-core", "0"];
    let run = |more: &[&str]| {
        let output = bench(&run).args(more).current_dir(directory.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    };
    run(&["--no-results"]);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    run(&[]);
    assert_eq!(names(&directory.path().join("results")), ["floor.html", "floor.json"]);
}

#[test]
fn a_log_shows_the_progress_and_ctrl_c_keeps_what_was_measured_so_far() {
    let server = Server::start(Wire::GoPush, Mistake::None);
    let directory = tempfile::tempdir().unwrap();
    let keep = ["--results", directory.path().to_str().unwrap()];
    let mut run =
        fanout(&server, "600", &keep).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(run.stderr.take().unwrap());
    let mut line = String::new();
    while !(line.starts_with("publishing: ") && line.contains("p99")) {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "the run ended before it said how far it is");
    }
    for part in [" of 60,0", "/s · ", " left · ", "20 connected", "deliveries/s"] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    let interrupt = format!("kill -INT {}", run.id());
    assert!(Command::new("sh").args(["-c", &interrupt]).status().unwrap().success());
    let mut table = String::new();
    run.stdout.take().unwrap().read_to_string(&mut table).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(0), "{table}");
    assert!(table.contains("interrupted"), "{table}");
    let record = json(Path::new(&path_of(directory.path(), ".json")));
    assert_eq!(record["interrupted"], true);
    assert!(record["warnings"][0].as_str().unwrap().contains("Ctrl-C"), "{}", record["warnings"]);
    assert!(record["details"]["deliveries"].as_u64().unwrap() > 0);
}
