//! Whatever bytes stand in the host's files, doctor answers.

use std::fs;
use std::path::Path;

use fanfare::config::Config;
use fanfare::doctor::checks::CHECKS;
use fanfare::doctor::{Arguments, Diagnosis, diagnose};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::host::Host;

fn answer(root: &str, connections: u64) -> Diagnosis {
    let host_root = Path::new(root).to_owned();
    let asked = Arguments { connections, json: false, pid: None, host_root };
    diagnose(&asked, Config::default()).expect("no process was asked for")
}

/// Bytes of any kind, and texts that are nearly what a file holds.
fn contents() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        "[0-9 \t,:/-]{0,40}".prop_map(String::into_bytes),
        any::<u64>().prop_map(|number| number.to_string().into_bytes()),
        proptest::collection::vec(any::<u64>().prop_map(|number| number.to_string()), 1..4)
            .prop_map(|numbers| numbers.join("\t").into_bytes()),
        "(0::|3:memory:|2:cpu,cpuacct:)/[ -~]{0,30}\n".prop_map(String::into_bytes),
        "Mem(Total|Available): *[0-9]{1,20} kB\n".prop_map(String::into_bytes),
    ]
}

proptest! {
    #[test]
    fn no_bytes_in_any_file_are_too_strange(
        changes in proptest::collection::vec((any::<Index>(), contents()), 1..12),
        connections in prop_oneof![1_u64..2_000_000, Just(fanfare::doctor::wanted::CONNECTIONS_MAX)],
        server: bool,
    ) {
        let mut host = Host::recorded(if server { "server" } else { "virtual-machine" });
        let files = host.files();
        for (file, bytes) in &changes {
            host = host.with(file.get::<String>(&files), bytes);
        }
        let diagnosis = answer(host.root(), connections);
        prop_assert_eq!(diagnosis.findings.len(), CHECKS.len());
        let text = diagnosis.to_string();
        prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{:?}", text);
        for finding in &diagnosis.findings {
            let is_bad = finding.verdict == fanfare::doctor::Verdict::Bad;
            prop_assert!(!is_bad || finding.mend.is_some(), "{:?}", finding);
            prop_assert!(!finding.mend.iter().any(|mend| mend.contains(char::is_control)), "{:?}", finding);
        }
    }
}

#[test]
fn a_directory_where_a_file_should_be_is_unreadable_and_not_the_end() {
    let host = Host::recorded("server").without("proc/sys/fs/nr_open");
    fs::create_dir(Path::new(host.root()).join("proc/sys/fs/nr_open")).expect("space on it");
    let diagnosis = answer(host.root(), 1_000);
    let finding = diagnosis.findings.iter().find(|finding| finding.name == "fs.nr_open").expect("a check");
    assert!(finding.found.contains("cannot be read"), "{finding:?}");
}
