//! `tuning/nic.sh` on a tree that looks like `/`, with an `ethtool` that keeps its number of queues in a file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// Answers as ethtool 6 does, and remembers.
const ETHTOOL: &str = r#"#!/bin/bash
state=$(dirname "$0")/queues
case $1 in
-l) printf 'Channel parameters for %s:\nPre-set maximums:\nRX:\t\tn/a\nTX:\t\tn/a\nOther:\t\tn/a\nCombined:\t8\n' "$2"
    printf 'Current hardware settings:\nRX:\t\tn/a\nTX:\t\tn/a\nOther:\t\tn/a\nCombined:\t%s\n' "$(cat "$state")" ;;
-L) echo "$4" >"$state" ;;
esac
"#;

/// A host with four CPUs and a card `eth0` with four queues and a mailbox interrupt.
struct Machine {
    root: TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { root: TempDir::new().expect("a temporary directory") };
        machine.put("sys/devices/system/cpu/online", "0-3\n");
        machine.put("bin/queues", "2\n");
        machine.put("bin/ethtool", ETHTOOL);
        let ethtool = machine.root.path().join("bin/ethtool");
        fs::set_permissions(ethtool, fs::Permissions::from_mode(0o755)).expect("our own file");
        let mut interrupts = String::from("           CPU0       CPU1       CPU2       CPU3\n");
        interrupts += "  5:          0          0          0          0 PCI-MSI 1-edge      other-TxRx-0\n";
        for irq in 30..34 {
            let queue = irq - 30;
            let name = format!("eth0-TxRx-{queue}");
            let _ = writeln!(
                interrupts,
                " {irq}:          9          0          0          0 PCI-MSI {irq}-edge      {name}"
            );
            machine.put(&format!("proc/irq/{irq}/smp_affinity_list"), "0-3\n");
            machine.put(&format!("sys/class/net/eth0/queues/rx-{queue}/rps_cpus"), "00\n");
            machine.put(&format!("sys/class/net/eth0/queues/tx-{queue}/xps_cpus"), "00000000,0000000f\n");
        }
        interrupts += " 34:          9          0          0          0 PCI-MSI 34-edge      eth0-mbx\nNMI:  0  0  0  0\n";
        machine.put("proc/irq/34/smp_affinity_list", "0-3\n");
        machine.put("proc/interrupts", &interrupts);
        machine
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().expect("a file is in a directory")).expect("space on it");
        fs::write(path, text).expect("space on it");
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.path().join(path)).expect("a file of the tree").trim().to_owned()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/nic.sh");
        let path = std::env::var("PATH").expect("a PATH");
        Command::new("bash")
            .arg(script)
            .arg("--root")
            .arg(self.root.path())
            .args(arguments)
            .env("PATH", format!("{}:{path}", self.root.path().join("bin").display()))
            .output()
            .expect("bash is there")
    }

    fn well(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        assert!(output.status.success() && stderr.is_empty(), "{arguments:?}: {stderr}{stdout}");
        stdout
    }

    /// Every file and every directory.
    fn tree(&self) -> BTreeMap<String, Vec<u8>> {
        let mut tree = BTreeMap::new();
        let mut open = vec![self.root.path().to_owned()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(&directory).expect("a directory of the tree") {
                let path = entry.expect("an entry").path();
                let name = path.strip_prefix(self.root.path()).expect("below it").display().to_string();
                let is_directory = path.is_dir();
                tree.insert(name, if is_directory { Vec::new() } else { fs::read(&path).expect("a file") });
                if is_directory {
                    open.push(path);
                }
            }
        }
        // The first --apply makes it, as on a host that has /run anyway.
        tree.remove("run");
        tree
    }
}

#[test]
fn without_apply_nothing_changes_and_every_step_is_told() {
    let machine = Machine::new();
    let before = machine.tree();
    let told = machine.well(&["eth0"]);
    for step in
        ["ethtool -L eth0 combined 4    # was 2", "smp_affinity_list    # was 0-3", "xps_cpus    # was"]
    {
        assert!(told.contains(step), "{step} is not in\n{told}");
    }
    for reason in ["queues: one for each shard", "interrupts: each", "RPS: ", "XPS: ", "SO_INCOMING_CPU"] {
        assert!(told.contains(reason), "{reason} is not in\n{told}");
    }
    assert_eq!(machine.tree(), before);
}

#[test]
fn apply_gives_each_queue_its_core() {
    let machine = Machine::new();
    machine.well(&["--apply", "eth0"]);
    assert_eq!(machine.read("bin/queues"), "4");
    for queue in 0..4 {
        assert_eq!(machine.read(&format!("proc/irq/{}/smp_affinity_list", 30 + queue)), queue.to_string());
        let mask = format!("{:x}", 1 << queue);
        assert_eq!(machine.read(&format!("sys/class/net/eth0/queues/tx-{queue}/xps_cpus")), mask);
        assert_eq!(machine.read(&format!("sys/class/net/eth0/queues/rx-{queue}/rps_cpus")), "00");
    }
    assert_eq!(machine.read("proc/irq/34/smp_affinity_list"), "0-3", "the mailbox is no queue");
}

#[test]
fn the_clouds_cards_have_queues_too() {
    for (first, queue, other) in [
        ("gve-ntfy-blk", "@pci:0000:00:05.0", "gve-mgmnt@pci:0000:00:05.0"),
        ("mana_q", "@pci:7870:00:00.0", "mana_hwc@pci:7870:00:00.0"),
    ] {
        let machine = Machine::new();
        let mut interrupts = String::from("           CPU0       CPU1       CPU2       CPU3\n");
        for irq in 30..34 {
            machine.put(&format!("sys/class/net/eth0/device/msi_irqs/{irq}"), "msix\n");
            let _ =
                writeln!(interrupts, " {irq}:  9  0  0  0 PCI-MSIX {irq}-edge {first}{}{queue}", irq - 30);
        }
        machine.put("sys/class/net/eth0/device/msi_irqs/34", "msix\n");
        let _ = writeln!(interrupts, " 34:  9  0  0  0 PCI-MSIX 34-edge {other}");
        machine.put("proc/interrupts", &interrupts);
        machine.well(&["--apply", "eth0"]);
        for irq in 30..34 {
            assert_eq!(
                machine.read(&format!("proc/irq/{irq}/smp_affinity_list")),
                (irq - 30).to_string(),
                "{first}"
            );
        }
        assert_eq!(machine.read("proc/irq/34/smp_affinity_list"), "0-3", "{other} is no queue");
    }
}

#[test]
fn fewer_queues_than_cpus_are_spread_by_the_kernel() {
    let machine = Machine::new();
    machine.put("sys/devices/system/cpu/online", "0-3,40\n");
    machine.well(&["--apply", "--queues", "2", "--cpus", "0-2,40", "eth0"]);
    assert_eq!(machine.read("sys/class/net/eth0/queues/rx-0/rps_cpus"), "100,00000007");
}

#[test]
fn apply_then_revert_leaves_every_byte_as_it_was() {
    for arguments in [&["--apply", "eth0"][..], &["--apply", "--queues", "1", "--cpus", "1,3", "eth0"]] {
        let machine = Machine::new();
        let before = machine.tree();
        machine.well(arguments);
        assert_ne!(machine.tree(), before);
        machine.well(&["--revert", "eth0"]);
        assert_eq!(machine.tree(), before);
    }
}

#[test]
fn a_second_apply_does_not_overwrite_what_was_there_first() {
    let machine = Machine::new();
    let before = machine.tree();
    machine.well(&["--apply", "eth0"]);
    let second = machine.run(&["--apply", "--queues", "1", "eth0"]);
    assert_eq!(second.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&second.stderr).contains("--revert first"));
    machine.well(&["--revert", "eth0"]);
    assert_eq!(machine.tree(), before);
}

#[test]
fn irqbalance_is_warned_of() {
    let machine = Machine::new();
    assert!(!machine.well(&["eth0"]).contains("irqbalance"));
    machine.put("proc/812/comm", "irqbalance\n");
    assert!(machine.well(&["eth0"]).contains("systemctl disable --now irqbalance"));
}

#[test]
fn what_makes_no_sense_is_one_sentence_and_78() {
    let machine = Machine::new();
    for arguments in [
        &["eth9"][..],
        &[],
        &["../eth0"],
        &["--frob", "eth0"],
        &["--queues", "0", "eth0"],
        &["--queues"],
        &["--cpus", "a-b", "eth0"],
        &["--cpus", "3-1", "eth0"],
        &["--cpus", ",", "eth0"],
        &["--cpus", "2-4", "eth0"],
        &["--revert", "eth0"],
    ] {
        let output = machine.run(arguments);
        let stderr = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(78), "{arguments:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{arguments:?}: {stderr}");
    }
}
