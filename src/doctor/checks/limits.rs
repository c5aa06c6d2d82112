//! How much the process may have: descriptors, memory, threads, CPU time.

use super::command::{quoted, sysctl};
use super::seen::{Seen, at_least, number};
use crate::doctor::finding::Verdict;
use crate::doctor::host::{Fact, Facts};
use crate::doctor::table::{bytes, grouped};
use crate::doctor::target::Target;
use crate::doctor::wanted;

/// `CAP_SYS_RESOURCE`'s bit, capabilities(7): whoever has it may raise a hard limit.
const CAP_SYS_RESOURCE: u64 = 1 << 24;

pub(super) fn nofile(facts: &Facts, target: &Target) -> Seen {
    let (connections, shards) = (target.connections, target.shards());
    let needed = wanted::shard_descriptors(connections, shards);
    let mut seen = at_least(&facts.nofile, needed, needed, || {
        let shards = facts.nofile.as_ref().ok().and_then(|limit| wanted::shards_for(connections, *limit));
        let may_raise =
            facts.process.as_ref().is_ok_and(|process| process.capabilities & CAP_SYS_RESOURCE != 0);
        match shards {
            // Containers and users cannot raise a hard limit, whatever they are told.
            Some(shards) if !may_raise => {
                format!(
                    "fanfare --shards {shards} # or LimitNOFILE={needed} in the unit, --ulimit nofile={needed} for docker"
                )
            }
            Some(shards) => {
                format!("ulimit -n {needed} # LimitNOFILE={needed} in the unit; or --shards {shards}")
            }
            None => format!("ulimit -n {needed} # LimitNOFILE={needed} in the unit"),
        }
    });
    seen.wanted += " a shard";
    seen
}

pub(super) fn nr_open(facts: &Facts, target: &Target) -> Seen {
    let needed = wanted::shard_descriptors(target.connections, target.shards());
    at_least(&facts.nr_open, needed, needed, || sysctl("fs.nr_open", &[wanted::nr_open(target.connections)]))
}

pub(super) fn file_max(facts: &Facts, target: &Target) -> Seen {
    let needed = wanted::file_max(target.connections);
    at_least(&facts.file_max, needed, needed, || sysctl("fs.file-max", &[wanted::FILE_MAX_SET]))
}

/// Asks about fewer devices: no command adds memory to a host.
fn fewer(memory: u64) -> String {
    let connections = wanted::connections_in(memory);
    format!("fanfare doctor --connections {connections} # what fits idle; more need memory or a second host")
}

fn memory_wanted(target: &Target) -> (u64, u64, String) {
    let idle = wanted::memory_idle(target.connections);
    let busy = wanted::memory_busy(target.connections, target.config.outbox.bytes_max as u64);
    (idle, busy, format!("{} idle, {} busy", bytes(idle), bytes(busy)))
}

pub(super) fn memory(facts: &Facts, target: &Target) -> Seen {
    let (idle, busy, wanted) = memory_wanted(target);
    let (total, available) = match &facts.memory {
        Ok(memory) => *memory,
        Err(unread) => return Seen::unknown(wanted, unread),
    };
    // What is not available now may be a running gateway's: only what the host can never have is bad.
    let verdict = match () {
        () if total < idle => Verdict::Bad,
        () if available < busy => Verdict::Warn,
        () => Verdict::Ok,
    };
    let found = format!("{} of {} free", bytes(available), bytes(total));
    Seen::new(wanted, found, verdict).mend(|| {
        if verdict == Verdict::Bad {
            fewer(total)
        } else {
            "ps -eo rss,args --sort=-rss | head # who has it".into()
        }
    })
}

pub(super) fn cgroup_memory(facts: &Facts, target: &Target) -> Seen {
    let (idle, busy, wanted) = memory_wanted(target);
    within_cgroup(&facts.cgroup.memory, wanted, |limit, file| {
        let verdict = match limit {
            _ if limit < idle => Verdict::Bad,
            _ if limit < busy => Verdict::Warn,
            _ => Verdict::Ok,
        };
        Seen::new("", bytes(limit), verdict).mend(|| {
            let property = if file.ends_with("/memory.high") { "MemoryHigh" } else { "MemoryMax" };
            set_in_cgroup(file, property, &busy.to_string(), &busy.to_string())
        })
    })
}

pub(super) fn cgroup_pids(facts: &Facts, target: &Target) -> Seen {
    let threads = wanted::threads(target.shards());
    within_cgroup(&facts.cgroup.tasks_left, format!("room for {}", grouped(threads)), |left, file| {
        let verdict = if left < threads { Verdict::Bad } else { Verdict::Ok };
        Seen::new("", format!("room for {}", number(left)), verdict)
            .mend(|| set_in_cgroup(file, "TasksMax", "infinity", "max"))
    })
}

pub(super) fn cgroup_cpu(facts: &Facts, target: &Target) -> Seen {
    let cpus = match &facts.process {
        Ok(process) => process.cpus.len() as u64,
        Err(unread) => return Seen::unknown("no quota", unread),
    };
    let wanted = format!("no quota below {cpus} CPU{}", if cpus == 1 { "" } else { "s" });
    within_cgroup(&facts.cgroup.cpu_percent, wanted, |percent, file| {
        let busy = cpus.min(target.shards());
        let verdict = if percent < 100 * busy { Verdict::Warn } else { Verdict::Ok };
        let none = if file.ends_with("cpu.max") { "max" } else { "-1" };
        Seen::new("", format!("{}.{:02} CPUs", percent / 100, percent % 100), verdict)
            .mend(|| set_in_cgroup(file, "CPUQuota", "", none))
    })
}

/// A limit of a cgroup, by `judge`, which leaves `wanted` to this function.
fn within_cgroup(
    limit: &Fact<Option<(u64, String)>>,
    wanted: String,
    judge: impl FnOnce(u64, &str) -> Seen,
) -> Seen {
    match limit {
        Ok(Some((limit, file))) => Seen { wanted, ..judge(*limit, file) },
        Ok(None) => Seen::new(wanted, "no limit", Verdict::Ok),
        Err(unread) => Seen::unknown(wanted, unread),
    }
}

/// The command that sets a limit: systemd's where the group is a unit of its, which would write over the file again.
fn set_in_cgroup(file: &str, property: &str, systemd: &str, kernel: &str) -> String {
    let group = file.rsplit('/').nth(1).unwrap_or_default();
    let is_unit = [".service", ".scope", ".slice"].iter().any(|suffix| group.ends_with(suffix));
    if is_unit {
        format!("systemctl set-property {} {property}={systemd}", quoted(group))
    } else {
        format!("echo {kernel} > {}", quoted(&format!("/{file}")))
    }
}
