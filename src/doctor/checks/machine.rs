//! What the machine is like: pages, CPUs, network devices.

use super::command::cpu_list;
use super::seen::Seen;
use crate::doctor::finding::Verdict;
use crate::doctor::host::{Cpu, Facts, Nic, Unread};
use crate::doctor::target::Target;

pub(super) fn transparent_hugepages(facts: &Facts, _: &Target) -> Seen {
    let wanted = "madvise or never";
    match &facts.transparent_hugepage {
        Ok(chosen) => {
            let verdict = if chosen == "always" { Verdict::Warn } else { Verdict::Ok };
            Seen::new(wanted, chosen, verdict)
                .mend(|| "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled".into())
        }
        Err(Unread::Absent(_)) => Seen::not_applicable(wanted, "the kernel has none"),
        Err(unread) => Seen::unknown(wanted, unread),
    }
}

/// The CPUs that shards are pinned to, or may run on.
fn used<'a>(facts: &'a Facts, target: &Target) -> Vec<&'a Cpu> {
    let cores = target.cores();
    facts.cpus.iter().filter(|cpu| cores.is_empty() || cores.contains(&cpu.id)).collect()
}

pub(super) fn governor(facts: &Facts, target: &Target) -> Seen {
    let wanted = "performance";
    // Which CPUs the process may use decides where its shards run.
    if let Err(unread) = &facts.process {
        return Seen::unknown(wanted, unread);
    }
    let mut others = Vec::new();
    let mut known = 0;
    for cpu in used(facts, target) {
        match &cpu.governor {
            Ok(governor) if governor == wanted => known += 1,
            Ok(governor) => others.push((cpu.id, governor)),
            Err(Unread::Absent(_)) => {}
            Err(unread) => return Seen::unknown(wanted, unread),
        }
    }
    match others.first() {
        None if known == 0 => Seen::not_applicable(wanted, "no frequency control"),
        None => Seen::new(wanted, wanted, Verdict::Ok),
        Some((_, governor)) => {
            let cpus: Vec<usize> = others.iter().map(|(id, _)| *id).collect();
            let found = format!("{governor} on {}", cpu_list(&cpus));
            Seen::new(wanted, found, Verdict::Warn).mend(|| {
                "echo performance | tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor > /dev/null"
                    .into()
            })
        }
    }
}

pub(super) fn siblings(facts: &Facts, target: &Target) -> Seen {
    let wanted = "one shard a core";
    if let Err(unread) = &facts.process {
        return Seen::unknown(wanted, unread);
    }
    let cores = target.cores();
    if cores.len() < 2 {
        return Seen::not_applicable(wanted, "shards are not spread");
    }
    let mut shared: Option<&[usize]> = None;
    let mut known = false;
    for cpu in used(facts, target) {
        match &cpu.siblings {
            Ok(siblings) => {
                known = true;
                let pinned = siblings.iter().filter(|id| cores.contains(id)).count();
                shared = shared.or((pinned > 1).then_some(siblings));
            }
            Err(Unread::Absent(_)) => {}
            Err(unread) => return Seen::unknown(wanted, unread),
        }
    }
    match shared {
        None if !known => Seen::not_applicable(wanted, "the host does not tell"),
        None => Seen::new(wanted, wanted, Verdict::Ok),
        Some(pair) => {
            let found = format!("shards on both of {}", cpu_list(pair));
            Seen::new(wanted, found, Verdict::Warn).mend(|| {
                format!("taskset -c {} fanfare # or CPUAffinity= in the unit", cpu_list(&one_a_core(facts)))
            })
        }
    }
}

/// The first CPU of each core that the process may use.
fn one_a_core(facts: &Facts) -> Vec<usize> {
    let allowed: Vec<usize> = facts.cpus.iter().map(|cpu| cpu.id).collect();
    let is_first = |cpu: &&Cpu| {
        let first = cpu.siblings.as_ref().ok().and_then(|ids| ids.iter().find(|id| allowed.contains(id)));
        first.is_none_or(|first| *first == cpu.id)
    };
    facts.cpus.iter().filter(is_first).map(|cpu| cpu.id).collect()
}

pub(super) fn nic_queues(facts: &Facts, target: &Target) -> Seen {
    let shards = target.shards().min(facts.cpus.len().max(1) as u64);
    let wanted = format!("{shards}, or RPS");
    let Some(nic) = facts.nics.iter().min_by_key(|nic| if nic.spread { u64::MAX } else { nic.queues }) else {
        return Seen::not_applicable(wanted, "no device that is up");
    };
    if let Err(unread) = &facts.process {
        return Seen::unknown(wanted, unread);
    }
    let is_enough = nic.spread || nic.queues >= shards;
    let verdict = if is_enough { Verdict::Ok } else { Verdict::Warn };
    let spread = if nic.spread { " and RPS" } else { "" };
    Seen::new(wanted, format!("{}: {}{spread}", nic.name, nic.queues), verdict)
        .mend(|| format!("tuning/nic.sh --apply --queues {shards} {}", nic.name))
}

pub(super) fn nic_numa(facts: &Facts, target: &Target) -> Seen {
    let wanted = "the shards' node";
    if facts.nics.is_empty() {
        return Seen::not_applicable(wanted, "no device that is up");
    }
    if let Err(unread) = &facts.process {
        return Seen::unknown(wanted, unread);
    }
    let cores = target.cores();
    let mut known = false;
    for Nic { name, node_cpus, .. } in &facts.nics {
        match node_cpus {
            Ok(near) => {
                known = true;
                let far: Vec<usize> = cores.iter().copied().filter(|core| !near.contains(core)).collect();
                if !far.is_empty() && !near.is_empty() {
                    let found = format!("{name} is far from {}", cpu_list(&far));
                    return Seen::new(wanted, found, Verdict::Warn).mend(|| {
                        format!("taskset -c {} fanfare # or CPUAffinity= in the unit", cpu_list(near))
                    });
                }
            }
            Err(Unread::Absent(_)) => {}
            Err(unread) => return Seen::unknown(wanted, unread),
        }
    }
    if known { Seen::new(wanted, wanted, Verdict::Ok) } else { Seen::not_applicable(wanted, "one node") }
}
