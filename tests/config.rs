//! What an operator sees of the configuration: the program is run, and its exit code and sentences are read.

use std::io::Write;
use std::process::{Command, Output};

use tempfile::NamedTempFile;

/// Runs the program with nothing of this process's environment.
fn fanfare(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fanfare"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .expect("the program was built")
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a temporary directory");
    file.write_all(text.as_bytes()).expect("space on it");
    file
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("it prints text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("it prints text")
}

#[test]
fn a_good_configuration_is_ok_and_summed_up() {
    let output = fanfare(&["--check", "--shards", "2", "--api", "127.0.0.1:9000"], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(
        text.starts_with("configuration ok\ndevices on 0.0.0.0:7777, API on http://127.0.0.1:9000,"),
        "{text}"
    );
    assert!(text.contains("\n2 shards on "), "{text}");
    assert_eq!(stderr(&output), "");
}

#[test]
fn the_documented_file_is_ok() {
    let output = fanfare(&["--check", "--config", concat!(env!("CARGO_MANIFEST_DIR"), "/fanfare.toml")], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn several_mistakes_are_told_in_one_run_with_their_places() {
    let file = file("[server]\nlistn = \"x\"\n\n[merge]\nbytes_max = 262145\n[sever]\n");
    let path = file.path().to_str().expect("a plain path");
    let output = fanfare(
        &["--check", "--config", path, "--shards", "257"],
        &[("FANFARE_REDIS_URL", "redis://:hunter2@cache:port"), ("FANFARE_LOG_LEVLE", "info")],
    );
    assert_eq!(output.status.code(), Some(78));
    assert_eq!(stdout(&output), "");
    let text = stderr(&output);
    let told: Vec<&str> = text.lines().collect();
    assert_eq!(
        told,
        [
            "fanfare: the configuration has 6 problems:",
            &format!("  server.listn ({path}:2): there is no such key; did you mean server.listen?"),
            &format!("  [sever] ({path}:6): there is no such section; did you mean [server]?"),
            "  server.shards (--shards): 257 is more than 256; give \"auto\" or a whole number from 1 to 256",
            "  redis.url (FANFARE_REDIS_URL): the port is not a number from 1 to 65535; write \
             redis://user:password@host:port/0, where only the host is required and @ : / ? # % in the user or the \
             password are percent-encoded",
            &format!(
                "  merge.bytes_max ({path}:5): 262145 is more than 262144; give a whole number from 1 to 262144"
            ),
            "  FANFARE_LOG_LEVLE: no key has this variable, so it does nothing; did you mean FANFARE_LOG_LEVEL?",
        ]
    );
    assert!(!text.contains("hunter2"));
}

#[test]
fn a_bad_configuration_stops_the_program_as_it_stops_the_check() {
    let output = fanfare(&["--listen", "everywhere"], &[]);
    assert_eq!(output.status.code(), Some(78));
    assert!(
        stderr(&output).contains("server.listen (--listen): \"everywhere\" is not an IP address with a port")
    );
}

#[test]
fn a_missing_file_is_named() {
    let output = fanfare(&["--config", "/nonexistent/fanfare.toml"], &[]);
    assert_eq!(output.status.code(), Some(78));
    assert!(
        stderr(&output).contains("/nonexistent/fanfare.toml: the file cannot be read"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_file_in_the_working_directory_is_not_read_unasked() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join("fanfare.toml"), "this is no configuration").expect("space on it");
    let output = Command::new(env!("CARGO_BIN_EXE_fanfare"))
        .arg("--check")
        .env_clear()
        .current_dir(directory.path())
        .output()
        .expect("the program was built");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn the_printed_configuration_is_a_file_that_prints_the_same_values() {
    let environment =
        [("FANFARE_CLIENTS_AUTO_JOIN", "{product_id}:{alias_key}"), ("FANFARE_SERVER_PIN", "false")];
    let first = fanfare(&["--print-config", "--redis", "redis://cache"], &environment);
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    let printed = stdout(&first);
    assert!(
        printed.contains("\nauto_join = [\"{product_id}:{alias_key}\"]  # FANFARE_CLIENTS_AUTO_JOIN\n"),
        "{printed}"
    );
    assert!(printed.contains("\nurl = \"redis://cache:6379\"  # --redis\n"), "{printed}");

    let file = file(&printed);
    let path = file.path().to_str().expect("a plain path");
    let second = fanfare(&["--print-config", "--config", path], &[]);
    assert_eq!(second.status.code(), Some(0), "{}", stderr(&second));
    let values = |text: &str| -> Vec<String> {
        let values = text.lines().filter(|line| !line.starts_with('#'));
        values.map(|line| line.split("  # ").next().unwrap_or(line).to_owned()).collect()
    };
    assert_eq!(values(&stdout(&second)), values(&printed));
}

#[test]
fn a_file_that_was_cut_off_is_no_success() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let status = Command::new(env!("CARGO_BIN_EXE_fanfare")).arg("--print-config").stdout(full).status();
    assert_eq!(status.expect("the program was built").code(), Some(70));
}

#[test]
fn a_printed_password_is_hidden_and_has_to_be_given_again() {
    let secret = [("FANFARE_REDIS_URL", "rediss://dev:hunter2@cache")];
    let printed = stdout(&fanfare(&["--print-config"], &secret));
    assert!(printed.contains("rediss://dev:***@cache:6379"), "{printed}");
    assert!(!printed.contains("hunter2"));

    let file = file(&printed);
    let path = file.path().to_str().expect("a plain path");
    let refused = fanfare(&["--check", "--config", path], &[]);
    assert_eq!(refused.status.code(), Some(78));
    assert!(stderr(&refused).contains("give the URL in FANFARE_REDIS_URL"), "{}", stderr(&refused));
    assert_eq!(fanfare(&["--check", "--config", path], &secret).status.code(), Some(0));
}

#[test]
fn version_and_help_are_answers_and_an_unknown_flag_is_the_operators_mistake() {
    let version = fanfare(&["--version"], &[]);
    assert_eq!(version.status.code(), Some(0));
    assert_eq!(stdout(&version), format!("fanfare {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(fanfare(&["--help"], &[]).status.code(), Some(0));
    let unknown = fanfare(&["--lisen", "0.0.0.0:1"], &[]);
    assert_eq!(unknown.status.code(), Some(78));
    assert!(stderr(&unknown).contains("--listen"), "{}", stderr(&unknown));
}
