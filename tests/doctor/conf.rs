//! `tuning/90-fanfare.conf` and doctor say the same.

use std::collections::BTreeMap;

use crate::doctor;
use crate::host::Host;

/// Devices that the file is for, as its first line says.
const CONNECTIONS: u64 = 1_200_000;
const CONF: &str = include_str!("../../tuning/90-fanfare.conf");

/// Keys and values in the format of sysctl.d(5); "-" before a key: no error where the kernel does not have it.
fn settings() -> BTreeMap<&'static str, &'static str> {
    let lines = CONF.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let settings = lines.map(|line| line.trim_start_matches('-').split_once(" = ").expect("key = value"));
    settings.collect()
}

/// The recorded host with the file's settings in it.
fn host_with_settings() -> Host {
    let settings = settings().into_iter();
    settings.fold(Host::recorded("virtual-machine"), |host, (key, value)| {
        host.with(&format!("proc/sys/{}", key.replace('.', "/")), format!("{value}\n"))
    })
}

#[test]
fn the_file_names_the_number_that_it_is_for() {
    assert!(CONF.starts_with("# Kernel settings for 1,200,000 devices"));
}

#[test]
fn a_host_with_the_files_values_is_ready_for_the_files_number() {
    for shards in ["2", "64"] {
        let answer = doctor(&host_with_settings(), CONNECTIONS, &["--shards", shards]);
        for key in settings().keys() {
            assert_eq!(answer.verdict(key), "ok", "{}", answer.finding(key));
        }
    }
    let single = doctor(&host_with_settings(), CONNECTIONS, &["--shards", "1"]);
    assert_eq!(single.verdict("fs.nr_open"), "ok");
}

#[test]
fn doctors_commands_set_what_the_file_sets() {
    // A host on which every check of a sysctl has something to mend.
    let bad = settings().keys().fold(Host::recorded("virtual-machine"), |host, key| {
        let text = match *key {
            "net.ipv4.tcp_rmem" => "4096 131072 99999999",
            "net.ipv4.tcp_mem" | "net.ipv4.tcp_wmem" => "1 1 1",
            // Narrow, and around the gateway's ports.
            "net.ipv4.ip_local_port_range" => "7000 7999",
            "net.ipv4.ip_local_reserved_ports" => "",
            "net.ipv4.tcp_congestion_control" => "bbr",
            "net.ipv4.tcp_tw_reuse" => "0",
            _ => "1",
        };
        host.with(&format!("proc/sys/{}", key.replace('.', "/")), format!("{text}\n"))
    });
    let answer = doctor(&bad, CONNECTIONS, &["--shards", "1"]);
    for (key, value) in settings() {
        let value = if value.contains(' ') { format!("'{value}'") } else { value.into() };
        assert_eq!(answer.mend(key), format!("sysctl -w {key}={value}"));
    }
}

#[test]
fn one_less_than_the_files_value_is_not_enough() {
    let exact = [
        "net.core.somaxconn",
        "net.ipv4.tcp_max_syn_backlog",
        "net.netfilter.nf_conntrack_max",
        "net.ipv4.tcp_tw_reuse",
        "net.ipv4.tcp_max_tw_buckets",
        "net.ipv4.tcp_max_orphans",
        "net.core.netdev_max_backlog",
    ];
    for key in exact {
        let value: u64 = settings()[key].parse().expect("one number");
        let path = format!("proc/sys/{}", key.replace('.', "/"));
        let host = host_with_settings().with(&path, format!("{}\n", value - 1));
        assert_ne!(doctor(&host, CONNECTIONS, &[]).verdict(key), "ok", "{key}");
    }
}

#[test]
fn every_sysctl_that_doctor_judges_is_in_the_file_and_the_other_way_round() {
    let answer = doctor(&host_with_settings(), CONNECTIONS, &[]);
    let findings = answer.json["findings"].as_array().expect("an array");
    let names = findings.iter().filter_map(|finding| finding["name"].as_str());
    let judged: Vec<&str> =
        names.filter(|name| name.starts_with("net.") || name.starts_with("fs.")).collect();
    let set: Vec<&str> = settings().into_keys().collect();
    assert_eq!(
        {
            let mut judged = judged;
            judged.sort_unstable();
            judged
        },
        set
    );
}

#[test]
fn every_key_has_its_reason_and_what_breaks_without_it_above_it() {
    let mut above = String::new();
    for line in CONF.lines() {
        if let Some(comment) = line.strip_prefix('#') {
            above += comment;
        } else if line.is_empty() {
            above.clear();
        } else {
            assert!(above.contains("Without it") && above.len() > 120, "{line} lacks its reason: {above}");
            above.clear();
        }
    }
}

#[test]
fn the_readme_has_a_row_for_every_check() {
    let readme = include_str!("../../tuning/README.md");
    let answer = doctor(&host_with_settings(), CONNECTIONS, &[]);
    for finding in answer.json["findings"].as_array().expect("an array") {
        let name = finding["name"].as_str().expect("text");
        assert!(readme.contains(&format!("\n| `{name}` |")), "{name} has no row in tuning/README.md");
    }
}
