//! Open files and memory that a number of connections needs, against what there is: checked before anything starts,
//! because a gateway that is full only lets the rest wait, and then a run never ends.
//!
//! *Not here*: who opens them (`receiver`, `paced`, `floor`), which cores there are (`cores`).

use std::fs;
use std::path::Path;

use crate::args::{LoadArgs, ServerArgs};
use crate::cli::Command;
use crate::compare::CompareArgs;
use crate::fanout;
use crate::sys::process;

/// Files of a table beside its connections: listener, rings, doorbells, logs.
const SPARE_FILES: u64 = 200;
/// Both ends of a connection at rest: two sockets of 4.1 KB in the kernel, and what gateway and tool keep of it.
const CONNECTION_BYTES: u64 = 9 * 1024;

/// Connections that a part of the run holds.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Need {
    /// Who, for a sentence.
    whom: &'static str,
    connections: u64,
    /// Tables of descriptors that share them.
    tables: u64,
    /// What each table may hold.
    files: u64,
    /// What gives more tables, where that is possible.
    spread: Option<&'static str>,
}

/// A sentence when the subcommand will not have the files or the memory for its connections.
pub(crate) fn check(command: &Command) -> Result<(), String> {
    let hard = process::open_files_max();
    let needs = needs(command, hard);
    needs.iter().try_for_each(Need::check)?;
    let connections = needs.iter().map(|need| need.connections).max().unwrap_or(0);
    check_memory(connections, available(&fs::read_to_string("/proc/meminfo").unwrap_or_default()))
}

impl Need {
    fn check(&self) -> Result<(), String> {
        let Self { whom, connections, tables, files, spread } = self;
        let each = connections.div_ceil((*tables).max(1)) + SPARE_FILES;
        if *connections == 0 || each <= *files {
            return Ok(());
        }
        let split = if *tables > 1 { format!(" on {tables} shards or threads") } else { String::new() };
        let spread = spread.map_or_else(String::new, |spread| format!(", or {spread}"));
        // Above fs.nr_open even root may not raise the limit.
        let (nr_open, default) = ("sysctl fs.nr_open", 1_048_576);
        let raise = if each > default {
            format!("{nr_open}={each} and ulimit -Hn {each}")
        } else {
            format!("ulimit -Hn {each}")
        };
        Err(format!(
            "{connections} connections of {whom}{split} need {each} open files each, and the hard limit is {files}: raise \
             it ({raise}){spread}, or give fewer connections"
        ))
    }
}

fn check_memory(connections: u64, available: Option<u64>) -> Result<(), String> {
    let needed = connections.saturating_mul(CONNECTION_BYTES);
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    match available {
        Some(available) if needed > available => Err(format!(
            "{connections} connections, both ends on this machine, need about {:.1} GiB of memory, and {:.1} GiB are \
             available: give fewer connections",
            gib(needed),
            gib(available)
        )),
        _ => Ok(()),
    }
}

/// `MemAvailable` of proc(5), bytes.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// All that the subcommand will hold. `hard` is what this process and those that it starts may open.
fn needs(command: &Command, hard: u64) -> Vec<Need> {
    match command {
        Command::Fanout(args) => of_load(&args.server, fanout::connections(args), hard),
        Command::Idle(args) => of_load(&args.server, of(&args.load), hard),
        Command::Storm(args) => of_load(&args.server, of(&args.load), hard),
        Command::Ladder(args) => of_load(&args.server, of(&args.load), hard),
        Command::Slow(args) => of_load(&args.server, fanout::connections(&args.with()), hard),
        Command::Compare(args) => of_compare(args, hard),
        Command::Paced(args) => {
            let side = if args.beside { u64::from(args.side_connections) } else { 0 };
            let connections = u64::from(args.connections);
            let mut needs = of_load(&args.server, connections + side, hard);
            needs.push(devices(connections, args.machine.receiver_core.len(), hard));
            needs
        }
        Command::Pushes(args) => {
            let connections = u64::from(args.connections);
            let mut needs = of_load(&args.server, connections, hard);
            needs.push(devices(connections, args.machine.receiver_core.len(), hard));
            needs
        }
        // Its sockets are spread over as many tables as they need.
        Command::Floor(args) => vec![receivers(args.sockets.into(), hard)],
        Command::Report(_) => Vec::new(),
    }
}

fn of(load: &LoadArgs) -> u64 {
    load.connections.into()
}

fn of_load(server: &ServerArgs, connections: u64, hard: u64) -> Vec<Need> {
    let mut needs = vec![receivers(connections, hard)];
    needs.extend(gateway(server, connections, hard));
    needs
}

/// Threads with a table of their own, as many as it takes: the limit has to leave room beside the spare ones.
fn receivers(connections: u64, hard: u64) -> Need {
    let room = hard.saturating_sub(SPARE_FILES).max(1);
    let tables = if hard > SPARE_FILES { connections.div_ceil(room) } else { 1 };
    Need { whom: "this tool", connections, tables, files: hard, spread: None }
}

/// Devices that note what they get: those of a core share the table of its thread.
fn devices(connections: u64, cores: usize, hard: u64) -> Need {
    let spread = Some("give more cores to --receiver-core");
    Need { whom: "this tool", connections, tables: cores as u64, files: hard, spread }
}

/// A gateway that will be started, or one whose process is known.
fn gateway(server: &ServerArgs, connections: u64, hard: u64) -> Option<Need> {
    let whom = "the gateway";
    if server.gateway.is_some() {
        let shards = shards(&server.gateway_arg).unwrap_or_else(|| default_shards(server.gateway_core.len()));
        let spread = Some("give the gateway more shards (--gateway-arg=--shards --gateway-arg=N)");
        return Some(Need { whom, connections, tables: shards, files: hard, spread });
    }
    let process = format!("/proc/{}", server.gateway_pid?);
    let limits = fs::read_to_string(format!("{process}/limits")).ok()?;
    let shards = shards_of(Path::new(&process))?;
    Some(Need {
        whom,
        connections,
        tables: shards,
        files: open_files(&limits)?,
        spread: Some("start it with more shards"),
    })
}

/// Every contestant is on one core, with one table; the crowd at fanfare's listener is in one of this tool.
fn of_compare(args: &CompareArgs, hard: u64) -> Vec<Need> {
    let connections = u64::from(args.connections);
    let shards = shards(&args.gateway_arg).unwrap_or(1);
    let server = |whom, tables| Need { whom, connections, tables, files: hard, spread: None };
    let mut needs = vec![receivers(connections, hard), server("fanfare", shards)];
    needs.extend((!args.peers.is_empty()).then(|| server("a peer", 1)));
    needs
}

/// `--shards N` or `--shards=N`, the last one.
fn shards(arguments: &[String]) -> Option<u64> {
    let behind = |at: usize| match arguments[at].strip_prefix("--shards")? {
        "" => arguments.get(at + 1).map(String::as_str),
        rest => rest.strip_prefix('='),
    };
    (0..arguments.len()).rev().find_map(|at| behind(at)?.parse().ok())
}

/// What `--shards auto` comes to: one or two cores have a shard each, of more the first one has none.
fn default_shards(cores: usize) -> u64 {
    (if cores <= 2 { cores } else { cores - 1 }).max(1) as u64
}

/// Threads of a running gateway that are shards.
fn shards_of(process: &Path) -> Option<u64> {
    let threads = fs::read_dir(process.join("task")).ok()?.flatten();
    let names = threads.filter_map(|thread| fs::read_to_string(thread.path().join("comm")).ok());
    Some(names.filter(|name| name.starts_with("shard-")).count() as u64).filter(|shards| *shards > 0)
}

/// The soft limit of `/proc/PID/limits`.
fn open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    fn said(arguments: &str, hard: u64) -> Option<String> {
        let words = std::iter::once("fanfare-bench").chain(arguments.split_whitespace());
        needs(&Cli::parse_from(words).command, hard).iter().find_map(|need| need.check().err())
    }

    #[test]
    fn more_connections_than_files_are_one_sentence_for_each_subcommand() {
        for subcommand in
            ["fanout", "idle", "storm", "ladder", "slow --stalled 1", "compare", "paced", "pushes"]
        {
            let gateway = if subcommand == "compare" { "" } else { " --gateway fanfare" };
            let arguments = format!("{subcommand}{gateway} --connections 2000");
            let said = said(&arguments, 1024).unwrap_or_else(|| panic!("{subcommand} would begin"));
            assert!(said.contains("the hard limit is 1024: raise it (ulimit -Hn 2"), "{said}");
            assert_eq!(self::said(&arguments, 4096), None, "{subcommand}");
        }
    }

    #[test]
    fn more_shards_hold_more() {
        let arguments = "idle --gateway fanfare --connections 1500000";
        let said = said(arguments, 1_048_576).expect("one shard");
        assert_eq!(
            said,
            "1500000 connections of the gateway need 1500200 open files each, and the hard limit is 1048576: raise it \
             (sysctl fs.nr_open=1500200 and ulimit -Hn 1500200), or give the gateway more shards \
             (--gateway-arg=--shards --gateway-arg=N), or give fewer connections"
        );
        for more in
            ["--gateway-arg=--shards --gateway-arg=2", "--gateway-arg=--shards=2", "--gateway-core 0,1"]
        {
            assert_eq!(self::said(&format!("{arguments} {more}"), 1_048_576), None, "{more}");
        }
        assert_eq!((default_shards(1), default_shards(2), default_shards(4)), (1, 2, 3));
        assert!(self::said("floor --sockets 100000", 1024).is_none(), "it spreads them");
        assert!(self::said("floor --sockets 100", 100).is_some(), "nothing is left to spread");
    }

    #[test]
    fn memory_for_both_ends_is_looked_at() {
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:   2048 kB\n"), Some(2 << 20));
        assert_eq!(check_memory(1_200_000, Some(20 << 30)), Ok(()));
        assert_eq!(check_memory(2_000_000, None), Ok(()));
        let said = check_memory(1_500_000, Some(4 << 30)).unwrap_err();
        assert!(said.contains("need about 12.9 GiB of memory, and 4.0 GiB are available"), "{said}");
    }

    #[test]
    fn a_gateway_that_runs_is_looked_up_by_its_process() {
        assert_eq!(
            open_files("Limit Soft Hard\nMax open files            1024      4096      files\n"),
            Some(1024)
        );
        assert_eq!(shards_of(Path::new("/proc/self")), None);
    }
}
