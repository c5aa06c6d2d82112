//! `fanfare doctor` against recorded hosts, good and bad: the program is run, its table and its exit code are read.
//!
//! A recorded host is a file in `hosts/` (`record` makes one). The other hosts here are one of those with some files
//! changed, taken away or filled with nonsense.

mod bytes;
mod conf;
mod host;
mod nic;

use std::process::Command;

use host::Host;

/// What the program answers about a host.
struct Answer {
    code: i32,
    json: serde_json::Value,
}

impl Answer {
    fn finding(&self, name: &str) -> &serde_json::Value {
        let findings = self.json["findings"].as_array().expect("an array");
        findings.iter().find(|finding| finding["name"] == name).unwrap_or_else(|| panic!("no check {name}"))
    }

    fn verdict(&self, name: &str) -> &str {
        self.finding(name)["verdict"].as_str().expect("text")
    }

    fn mend(&self, name: &str) -> &str {
        self.finding(name)["mend"]
            .as_str()
            .unwrap_or_else(|| panic!("{name} has nothing to mend: {}", self.json))
    }

    fn names(&self, verdict: &str) -> Vec<&str> {
        let findings = self.json["findings"].as_array().expect("an array");
        let those = findings.iter().filter(|finding| finding["verdict"] == verdict);
        those.map(|finding| finding["name"].as_str().expect("text")).collect()
    }
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_fanfare"))
        .args(arguments)
        .env_clear()
        .output()
        .expect("the program was built");
    let text = |bytes| String::from_utf8(bytes).expect("it prints text");
    (output.status.code().expect("no signal ended it"), text(output.stdout), text(output.stderr))
}

/// Asks, and holds the answer to what is true of every answer.
fn doctor(host: &Host, connections: u64, flags: &[&str]) -> Answer {
    let connections = connections.to_string();
    let root = host.root();
    let asked = ["doctor", "--json", "--host-root", root, "--connections", &connections];
    let (code, stdout, stderr) = run(&[&asked[..], flags].concat());
    assert_eq!(stderr, "");
    let answer = Answer { code, json: serde_json::from_str(&stdout).expect("one JSON object") };
    let is_good = ["bad", "unknown"].iter().all(|verdict| answer.names(verdict).is_empty());
    assert_eq!(answer.code, i32::from(!is_good), "{stdout}");
    for finding in answer.json["findings"].as_array().expect("an array") {
        match finding["mend"].as_str() {
            Some(mend) => assert_shell_takes(mend),
            None => assert_ne!(finding["verdict"], "bad", "a bad finding has a command: {finding}"),
        }
        for field in ["name", "wanted", "found", "why"] {
            let text = finding[field].as_str().expect("text");
            assert!(!text.is_empty() && !text.contains(char::is_control), "{field} of {finding}");
        }
    }
    answer
}

fn assert_shell_takes(command: &str) {
    let output = Command::new("bash").args(["-n", "-c", command]).output().expect("bash is there");
    assert!(output.status.success() && !command.contains('\n'), "bash refuses: {command}");
}

#[test]
fn a_virtual_machine_as_it_comes_holds_15_000_devices() {
    let answer = doctor(&Host::recorded("virtual-machine"), 15_000, &[]);
    assert_eq!(answer.code, 0, "{}", answer.json);
    assert_eq!(answer.names("unknown"), [] as [&str; 0]);
    // It runs BBR, and buffers of 32 MiB.
    assert_eq!(answer.verdict("net.ipv4.tcp_congestion_control"), "warn");
    assert_eq!(
        answer.mend("net.ipv4.tcp_congestion_control"),
        "sysctl -w net.ipv4.tcp_congestion_control=cubic"
    );
    assert_eq!(answer.verdict("net.ipv4.tcp_rmem"), "warn");
    // The hypervisor decides about frequencies.
    for name in ["cpu-governor", "nic-numa", "io_uring"] {
        assert_eq!(answer.verdict(name), "not-applicable");
    }
}

#[test]
fn the_same_machine_does_not_hold_1_200_000_until_it_is_mended() {
    let host = Host::recorded("virtual-machine");
    let answer = doctor(&host, 1_200_000, &[]);
    assert_eq!((answer.code, answer.names("bad")), (1, vec!["nofile", "net.ipv4.tcp_mem"]));
    // It may not raise a hard limit: what it may do comes first.
    assert!(answer.mend("nofile").starts_with("fanfare --shards 64 #"), "{}", answer.mend("nofile"));
    assert_eq!(answer.mend("net.ipv4.tcp_mem"), "sysctl -w net.ipv4.tcp_mem='1200000 2400000 3600000'");

    let host = host.with("proc/sys/net/ipv4/tcp_mem", "1200000\t2400000\t3600000\n");
    assert_eq!(doctor(&host, 1_200_000, &["--shards", "64"]).code, 0);
}

#[test]
fn a_server_in_the_state_of_its_installation_is_told_everything_at_once() {
    let answer = doctor(&Host::recorded("server"), 1_200_000, &[]);
    assert_eq!(answer.names("bad"), ["cgroup.memory", "cgroup.pids", "net.netfilter.nf_conntrack_max"]);
    for name in [
        "cgroup.cpu",
        "transparent-hugepages",
        "cpu-governor",
        "smt-siblings",
        "nic-queues",
        "nic-numa",
        "net.core.somaxconn",
    ] {
        assert_eq!(answer.verdict(name), "warn", "{name}");
    }
    assert_eq!(answer.mend("cgroup.pids"), "systemctl set-property fanfare.service TasksMax=infinity");
    assert_eq!(answer.finding("cpu-governor")["found"], "schedutil on 1-7");
    assert!(answer.mend("smt-siblings").starts_with("taskset -c 0,2,4,6 "));
    assert_eq!(answer.finding("nic-numa")["found"], "ens1f0np0 is far from 1-3");
    assert_eq!(answer.mend("nic-queues"), "tuning/nic.sh --apply --queues 7 ens1f0np0");
}

#[test]
fn what_keeps_the_gateway_from_starting_is_bad_whatever_the_number_of_devices() {
    let good = Host::recorded("virtual-machine");
    for (file, text, name) in [
        ("proc/sys/kernel/osrelease", "5.15.0-91-generic\n", "kernel"),
        ("proc/sys/kernel/io_uring_disabled", "2\n", "kernel.io_uring_disabled"),
        ("proc/sys/fs/file-max", "65536\n", "fs.file-max"),
        ("proc/meminfo", "MemTotal: 4 kB\nMemAvailable: 4 kB\n", "memory"),
        ("proc/sys/net/ipv4/tcp_mem", "1 2 3\n", "net.ipv4.tcp_mem"),
    ] {
        let answer = doctor(&good.clone().with(file, text), 1_000, &[]);
        assert_eq!((answer.code, answer.names("bad")), (1, vec![name]));
    }
}

#[test]
fn io_uring_for_a_group_is_fine_for_its_members_only() {
    let host = Host::recorded("server").with("proc/sys/kernel/io_uring_disabled", "1\n");
    assert_eq!(doctor(&host, 1_000, &[]).verdict("kernel.io_uring_disabled"), "bad");
    let host = host.with("proc/sys/kernel/io_uring_group", "997\n");
    assert_eq!(doctor(&host, 1_000, &[]).verdict("kernel.io_uring_disabled"), "ok");
    // Root's own doctor must not promise what the unit's user will not get.
    let host = Host::recorded("virtual-machine").with("proc/sys/kernel/io_uring_disabled", "1\n");
    assert_eq!(doctor(&host, 1_000, &[]).verdict("kernel.io_uring_disabled"), "warn");
}

#[test]
fn connection_tracking_is_judged_by_what_it_tracks() {
    let key = "net.netfilter.nf_conntrack_max";
    let (max, count) =
        ("proc/sys/net/netfilter/nf_conntrack_max", "proc/sys/net/netfilter/nf_conntrack_count");
    let host = Host::recorded("server");
    assert_eq!(doctor(&host.clone().without(max).without(count), 1_200_000, &[]).verdict(key), "ok");
    assert_eq!(doctor(&host.clone().with(count, "0\n"), 1_200_000, &[]).verdict(key), "warn");
    let full = host.with(max, "65536\n").with(count, "65536\n");
    let answer = doctor(&full, 1_000, &[]);
    assert_eq!(
        (answer.verdict(key), answer.mend(key)),
        ("bad", "sysctl -w net.netfilter.nf_conntrack_max=131072")
    );
}

#[test]
fn a_port_that_others_can_take_is_told_and_reserved_beside_what_was() {
    let key = "net.ipv4.ip_local_reserved_ports";
    let host = Host::recorded("server").with("proc/sys/net/ipv4/ip_local_port_range", "1024\t65535\n");
    let host = host.with("proc/sys/net/ipv4/ip_local_reserved_ports", "8080,9000-9010\n");
    let answer = doctor(&host, 1_000, &["--listen", "0.0.0.0:7000"]);
    assert_eq!(answer.mend(key), format!("sysctl -w {key}=8080,9000-9010,7000,7799"));
    let host = host.with("proc/sys/net/ipv4/ip_local_reserved_ports", "7000-8080\n");
    assert_eq!(doctor(&host, 1_000, &["--listen", "0.0.0.0:7000"]).verdict(key), "ok");
}

#[test]
fn limits_of_groups_above_and_of_the_old_version_hold_too() {
    let above = Host::recorded("server").with("sys/fs/cgroup/system.slice/memory.max", "1000000\n");
    let mend = doctor(&above, 1_000, &[]).mend("cgroup.memory").to_owned();
    assert!(mend.starts_with("systemctl set-property system.slice MemoryMax="), "{mend}");

    let old = Host::recorded("virtual-machine")
        .with("sys/fs/cgroup/memory/gateway/memory.limit_in_bytes", "1000000\n");
    let mend = doctor(&old, 1_000, &[]).mend("cgroup.memory").to_owned();
    assert!(mend.ends_with(" > /sys/fs/cgroup/memory/gateway/memory.limit_in_bytes"), "{mend}");
}

#[test]
fn every_file_may_be_missing_or_garbled_and_the_answer_names_it() {
    let host = Host::recorded("server");
    let mut silent = Vec::new();
    for file in host.files() {
        doctor(&host.clone().without(&file), 1_000, &[]);
        let answer = doctor(&host.clone().with(&file, "\u{1b}[2J nonsense\n"), 1_000, &[]);
        let told = answer.json["findings"].as_array().expect("an array").iter().any(|finding| {
            finding["verdict"] == "unknown"
                && finding["found"].as_str().is_some_and(|why| why.contains(&file))
        });
        if !told {
            silent.push(file);
        }
    }
    // They say only what is left out, or stand beside a file that decides; one device is down, the shards leave CPU 0
    // to ingest, and no device that is up is on node 0.
    let expected =
        ["io_uring_group", "operstate", "rps_cpus", "pids.current", "/ens1f1np1/", "/cpu0/", "/node0/"];
    silent.retain(|file| !expected.iter().any(|part| file.contains(part)));
    assert_eq!(silent, [] as [&str; 0]);
}

#[test]
fn without_the_processs_cpus_nothing_is_said_about_where_its_shards_run() {
    let answer = doctor(&Host::recorded("server").with("proc/self/status", "nonsense\n"), 1_000, &[]);
    for name in ["cgroup.cpu", "cpu-governor", "smt-siblings", "nic-queues", "nic-numa"] {
        assert_eq!(answer.verdict(name), "unknown", "{name}");
    }
}

#[test]
fn a_host_without_files_is_unknown_and_not_bad() {
    let answer = doctor(&Host::empty(), 1_200_000, &[]);
    assert_eq!((answer.code, answer.names("bad"), answer.names("warn")), (1, vec![], vec![]));
    assert!(answer.names("unknown").len() > 15);
    assert_eq!(answer.json["unknown"].as_u64(), Some(answer.names("unknown").len() as u64));
}

#[test]
fn a_process_that_is_not_there_is_told_and_not_judged() {
    for pid in ["0", "4194305"] {
        let (code, stdout, stderr) = run(&["doctor", "--pid", pid]);
        let sentence = format!("fanfare: --pid: there is no process {pid}\n");
        assert_eq!((code, stdout.as_str(), stderr), (78, "", sentence));
    }
}

#[test]
fn people_get_a_table_that_ends_in_a_sentence() {
    let host = Host::recorded("virtual-machine");
    let root = host.root();
    let (code, stdout, _) = run(&["doctor", "--connections", "1200000", "--host-root", root]);
    assert_eq!(code, 1);
    assert!(stdout.starts_with("1,200,000 connections on 2 shards\n\ncheck "), "{stdout}");
    assert!(
        stdout.contains("\n    mend: sysctl -w net.ipv4.tcp_mem='1200000 2400000 3600000'\n"),
        "{stdout}"
    );
    assert!(
        stdout.trim_end().lines().last().is_some_and(|line| line.contains("2 to mend (BAD)")),
        "{stdout}"
    );
}

#[test]
fn wrong_arguments_and_a_wrong_configuration_are_the_operators_as_everywhere() {
    for arguments in [
        &["doctor", "--connections", "0"][..],
        &["doctor", "--connections", "many"],
        &["doctor", "--shards", "257"],
        &["doctor", "--frob"],
        &["physician"],
    ] {
        let (code, stdout, stderr) = run(arguments);
        assert_eq!((code, stdout.as_str()), (78, ""), "{arguments:?}");
        assert!(!stderr.is_empty());
    }
}

#[test]
fn this_very_host_gets_an_answer() {
    let (code, stdout, stderr) = run(&["doctor", "--json", "--connections", "1"]);
    assert!(code <= 1 && stderr.is_empty(), "{code} {stderr}");
    let answer = Answer { code, json: serde_json::from_str(&stdout).expect("one JSON object") };
    assert_eq!(answer.verdict("io_uring"), "ok", "the gateway's own tests need it");
}
