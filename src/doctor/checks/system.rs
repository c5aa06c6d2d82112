//! Whether the gateway runs at all: the kernel, and `io_uring`.

use super::seen::Seen;
use crate::doctor::finding::Verdict;
use crate::doctor::host::{Attempt, Facts, Process, Unread};
use crate::doctor::target::Target;
use crate::sys::probe;

/// `CAP_SYS_ADMIN`'s bit, capabilities(7).
const CAP_SYS_ADMIN: u64 = 1 << 21;
/// The kernel that Debian and Ubuntu offer beside the one that a release began with.
const NEWER_KERNEL: &str =
    "apt-get install linux-image-amd64 && reboot # Debian 12 has 6.1; Ubuntu 22.04: linux-generic-hwe-22.04";

pub(super) fn kernel(facts: &Facts, _: &Target) -> Seen {
    let (major, minor) = probe::KERNEL_MIN;
    let wanted = format!("{major}.{minor} or later");
    match &facts.release {
        Ok(release) => {
            let is_old = release.version < probe::KERNEL_MIN;
            let verdict = if is_old { Verdict::Bad } else { Verdict::Ok };
            Seen::new(wanted, &release.text, verdict).mend(|| NEWER_KERNEL.into())
        }
        Err(unread) => Seen::unknown(wanted, unread),
    }
}

pub(super) fn io_uring_disabled(facts: &Facts, _: &Target) -> Seen {
    let wanted = "0";
    let value = match &facts.io_uring_disabled {
        Ok(value) => *value,
        // The sysctl came with 6.6; before, io_uring cannot be switched off.
        Err(Unread::Absent(_)) => return Seen::not_applicable(wanted, "no such switch"),
        Err(unread) => return Seen::unknown(wanted, unread),
    };
    let group = facts.io_uring_group.as_ref().ok().and_then(|group| u64::try_from(*group).ok());
    let is_member = |process: &Process| group.is_some_and(|group| process.groups.contains(&group));
    let is_root = |process: &Process| process.capabilities & CAP_SYS_ADMIN != 0;
    let (found, verdict) = match (value, &facts.process) {
        (0, _) => ("0".into(), Verdict::Ok),
        (1, Ok(process)) if is_member(process) => ("1, and this process is in the group".into(), Verdict::Ok),
        (1, Ok(process)) if is_root(process) => ("1, and this process is root's".into(), Verdict::Warn),
        _ => (value.to_string(), Verdict::Bad),
    };
    Seen::new(wanted, found, verdict).mend(|| "sysctl -w kernel.io_uring_disabled=0".into())
}

pub(super) fn io_uring(facts: &Facts, _: &Target) -> Seen {
    let wanted = "can be made";
    match &facts.attempt {
        Attempt::Works => Seen::new(wanted, "can be made", Verdict::Ok),
        Attempt::NotMade => Seen::not_applicable(wanted, "not tried for others"),
        Attempt::Refused(sentence) => {
            // What refuses it is another finding's business, or the container's: the sentence says which. A shell
            // takes it as a comment behind the command that shows the refusal's reason.
            let seen = Seen::new(wanted, "refused", Verdict::Bad);
            seen.mend(|| {
                format!("sysctl kernel.io_uring_disabled; grep Seccomp /proc/self/status # {sentence}")
            })
        }
    }
}
