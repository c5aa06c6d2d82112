//! What the kernel's TCP stack grants.

use super::command::sysctl;
use super::seen::{Seen, at_least};
use crate::config::Api;
use crate::doctor::finding::Verdict;
use crate::doctor::host::{Fact, Facts, Unread};
use crate::doctor::table::grouped;
use crate::doctor::target::Target;
use crate::doctor::wanted;
use fanfare_core::limits;

/// Ports of a usable range: what the kernel begins with.
const LOCAL_PORTS_KERNEL: u64 = 28_232;

pub(super) fn somaxconn(facts: &Facts, target: &Target) -> Seen {
    let wanted = wanted::backlog(target.connections);
    // Below a sixteenth most of a returning fleet is turned away several times.
    at_least(&facts.somaxconn, wanted / 16, wanted, || sysctl("net.core.somaxconn", &[wanted]))
}

pub(super) fn tcp_max_syn_backlog(facts: &Facts, target: &Target) -> Seen {
    let wanted = wanted::backlog(target.connections);
    at_least(&facts.tcp_max_syn_backlog, 0, wanted, || sysctl("net.ipv4.tcp_max_syn_backlog", &[wanted]))
}

pub(super) fn tcp_mem(facts: &Facts, target: &Target) -> Seen {
    let wanted = wanted::tcp_mem(target.connections);
    let text = format!("{} pages or more", triple(wanted));
    let found = match facts.tcp_mem {
        Ok(found) => found,
        Err(ref unread) => return Seen::unknown(text, unread),
    };
    // Each queued byte takes a page: below a page a device a broadcast to all cannot be under way.
    let verdict = match () {
        () if found[2] < target.connections => Verdict::Bad,
        () if found[1] < wanted[1] || found[2] < wanted[2] => Verdict::Warn,
        () => Verdict::Ok,
    };
    Seen::new(text, triple(found), verdict).mend(|| sysctl("net.ipv4.tcp_mem", &wanted))
}

pub(super) fn tcp_rmem(facts: &Facts, _: &Target) -> Seen {
    let wanted = format!("{} at most", grouped(wanted::TCP_RMEM[2]));
    buffers(
        &facts.tcp_rmem,
        wanted,
        |max| if max > wanted::TCP_RMEM[2] { Verdict::Warn } else { Verdict::Ok },
    )
    .mend(|| sysctl("net.ipv4.tcp_rmem", &wanted::TCP_RMEM))
}

pub(super) fn tcp_wmem(facts: &Facts, _: &Target) -> Seen {
    let least = 2 * u64::from(limits::KERNEL_UNSENT_BYTES);
    let wanted = format!("{} to {}", grouped(least), grouped(wanted::TCP_WMEM[2]));
    buffers(&facts.tcp_wmem, wanted, |max| {
        if (least..=wanted::TCP_WMEM[2]).contains(&max) { Verdict::Ok } else { Verdict::Warn }
    })
    .mend(|| sysctl("net.ipv4.tcp_wmem", &wanted::TCP_WMEM))
}

/// Judges the last of a buffer's three sizes.
fn buffers(fact: &Fact<[u64; 3]>, wanted: String, judge: impl FnOnce(u64) -> Verdict) -> Seen {
    match fact {
        Ok([_, _, max]) => Seen::new(wanted, grouped(*max), judge(*max)),
        Err(unread) => Seen::unknown(wanted, unread),
    }
}

pub(super) fn local_ports(facts: &Facts, _: &Target) -> Seen {
    let wanted = format!("{} ports or more", grouped(LOCAL_PORTS_KERNEL));
    match facts.ip_local_port_range {
        Ok([first, last]) => {
            let ports = last.saturating_add(1).saturating_sub(first);
            let verdict = if ports < LOCAL_PORTS_KERNEL { Verdict::Warn } else { Verdict::Ok };
            Seen::new(wanted, format!("{first}-{last}: {}", grouped(ports)), verdict)
                .mend(|| sysctl("net.ipv4.ip_local_port_range", &wanted::LOCAL_PORTS))
        }
        Err(ref unread) => Seen::unknown(wanted, unread),
    }
}

pub(super) fn api_listen(_: &Facts, target: &Target) -> Seen {
    let listen = target.config.api.listen;
    let verdict = if Api::exposed(listen).is_some() { Verdict::Warn } else { Verdict::Ok };
    Seen::new("a loopback address", listen.to_string(), verdict)
}

pub(super) fn reserved_ports(facts: &Facts, target: &Target) -> Seen {
    let config = &target.config;
    let mut ports = [config.server.listen.port(), config.api.listen.port()];
    ports.sort_unstable();
    let names: Vec<String> = ports.iter().map(ToString::to_string).collect();
    let wanted = format!("{} not for others", names.join(", "));
    let (range, reserved) = match (&facts.ip_local_port_range, &facts.ip_local_reserved_ports) {
        (Ok(range), Ok(reserved)) => (*range, reserved),
        (Err(unread), _) | (_, Err(unread)) => return Seen::unknown(wanted, unread),
    };
    let is_in = |port: u16, (first, last): (u64, u64)| (first..=last).contains(&u64::from(port));
    // Port 0 is whatever is free.
    let is_open = |port: &&u16| {
        **port != 0
            && is_in(**port, (range[0], range[1]))
            && !reserved.iter().any(|range| is_in(**port, *range))
    };
    let open: Vec<String> = ports.iter().filter(is_open).map(ToString::to_string).collect();
    if open.is_empty() {
        return Seen::new(wanted, "none can be taken", Verdict::Ok);
    }
    let found = format!("{} can be taken", open.join(", "));
    Seen::new(wanted, found, Verdict::Warn).mend(|| {
        // The value is replaced as a whole, so what somebody else reserved is written again.
        let kept = reserved
            .iter()
            .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") });
        let list: Vec<String> = kept.chain(open).collect();
        format!("sysctl -w net.ipv4.ip_local_reserved_ports={}", list.join(","))
    })
}

pub(super) fn congestion_control(facts: &Facts, _: &Target) -> Seen {
    let wanted = "cubic or reno";
    match &facts.tcp_congestion_control {
        Ok(name) => {
            let verdict = if name.starts_with("bbr") { Verdict::Warn } else { Verdict::Ok };
            Seen::new(wanted, name, verdict).mend(|| "sysctl -w net.ipv4.tcp_congestion_control=cubic".into())
        }
        Err(unread) => Seen::unknown(wanted, unread),
    }
}

pub(super) fn conntrack(facts: &Facts, target: &Target) -> Seen {
    let set = wanted::conntrack_max(target.connections);
    let wanted = format!("off, or {} or more", grouped(set));
    let max = match &facts.conntrack_max {
        Ok(max) => *max,
        Err(Unread::Absent(_)) => return Seen::new(wanted, "off", Verdict::Ok),
        Err(unread) => return Seen::unknown(wanted, unread),
    };
    let count = match &facts.conntrack_count {
        Ok(count) => *count,
        Err(unread) => return Seen::unknown(wanted, unread),
    };
    // A kernel that has it built in tracks nothing until a firewall rule asks for it.
    let verdict = match count {
        _ if max >= set && count < max / 10 * 9 => Verdict::Ok,
        0 => Verdict::Warn,
        _ => Verdict::Bad,
    };
    // A table that others fill needs room for them beside the devices.
    let set = if max >= set { set.saturating_add(max) } else { set };
    Seen::new(wanted, format!("{} used of {}", grouped(count), grouped(max)), verdict)
        .mend(|| sysctl("net.netfilter.nf_conntrack_max", &[set]))
}

pub(super) fn tcp_tw_reuse(facts: &Facts, _: &Target) -> Seen {
    let mut seen = at_least(&facts.tcp_tw_reuse, 0, wanted::TCP_TW_REUSE, || {
        sysctl("net.ipv4.tcp_tw_reuse", &[wanted::TCP_TW_REUSE])
    });
    seen.wanted = "1 or 2".into();
    seen
}

pub(super) fn tcp_max_tw_buckets(facts: &Facts, target: &Target) -> Seen {
    let wanted = wanted::tw_buckets(target.connections);
    at_least(&facts.tcp_max_tw_buckets, 0, wanted, || sysctl("net.ipv4.tcp_max_tw_buckets", &[wanted]))
}

pub(super) fn tcp_max_orphans(facts: &Facts, target: &Target) -> Seen {
    let wanted = wanted::orphans(target.connections);
    at_least(&facts.tcp_max_orphans, 0, wanted, || sysctl("net.ipv4.tcp_max_orphans", &[wanted]))
}

pub(super) fn hash_table(facts: &Facts, target: &Target) -> Seen {
    let wanted = wanted::hash_table(target.connections);
    // A network namespace that shares the host's table says so by a sign.
    let entries = facts.tcp_ehash_entries.clone().map(i64::unsigned_abs);
    at_least(&entries, 0, wanted, || {
        // A file of its own, so that asking for more later writes over it.
        format!(
            "echo 'GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX thash_entries={wanted}\"' > \
             /etc/default/grub.d/fanfare.cfg && update-grub # and reboot"
        )
    })
}

pub(super) fn netdev_max_backlog(facts: &Facts, _: &Target) -> Seen {
    let wanted = wanted::NETDEV_MAX_BACKLOG;
    at_least(&facts.netdev_max_backlog, 0, wanted, || sysctl("net.core.netdev_max_backlog", &[wanted]))
}

fn triple(numbers: [u64; 3]) -> String {
    numbers.map(grouped).join(" ")
}
