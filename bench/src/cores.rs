//! Cores that options name, against those that this process may run on: checked before anything starts, because a
//! thread finds out only when it is pinned, and then a run has begun.
//!
//! *Not here*: who is pinned (`receiver`, `publisher`, `floor`) or confined (`gateway`), and how (`sys::process`).

use crate::args::{LoadArgs, Machine, ServerArgs};
use crate::cli::Command;
use crate::sys::process;

/// An option and a core that it names.
type Named = (&'static str, usize);

/// A sentence when one of the cores that the subcommand will use is none of this process's.
pub(crate) fn check(command: &Command) -> Result<(), String> {
    // A kernel that does not say leaves it to the thread that is pinned.
    process::cores_allowed().map_or(Ok(()), |allowed| check_against(&allowed, &named(command)))
}

fn check_against(allowed: &str, wanted: &[Named]) -> Result<(), String> {
    match wanted.iter().find(|(_, core)| !has(allowed, *core)) {
        Some((option, core)) => {
            Err(format!("{option} {core}: this process may run on these cores only: {allowed}"))
        }
        None => Ok(()),
    }
}

/// Whether a list as the kernel writes it ("0-3,8") has the core in it.
fn has(allowed: &str, core: usize) -> bool {
    allowed.split(',').any(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let ends = first.parse::<usize>().ok().zip(last.parse::<usize>().ok());
        ends.is_some_and(|(first, last)| (first..=last).contains(&core))
    })
}

/// All that the subcommand will use.
fn named(command: &Command) -> Vec<Named> {
    match command {
        Command::Floor(args) => with_receivers(vec![("--sender-core", args.sender_core)], &args.machine),
        Command::Fanout(args) => of_load(&args.server, &args.load, args.floor, &args.machine),
        Command::Idle(args) => of_load(&args.server, &args.load, args.floor, &args.machine),
        Command::Storm(args) => of_load(&args.server, &args.load, false, &args.machine),
        Command::Ladder(args) => of_load(&args.server, &args.load, false, &args.machine),
        Command::Slow(args) => of_load(&args.server, &args.load, false, &args.machine),
        Command::Compare(args) => with_receivers(vec![("--gateway-core", args.gateway_core)], &args.machine),
        Command::Paced(args) => with_receivers(of_server(&args.server, false), &args.machine),
        Command::Pushes(args) => with_receivers(of_server(&args.server, false), &args.machine),
        Command::Report(_) => Vec::new(),
    }
}

fn of_load(server: &ServerArgs, load: &LoadArgs, has_floor: bool, machine: &Machine) -> Vec<Named> {
    let mut named = of_server(server, has_floor);
    named.extend(load.publisher_core.map(|core| ("--publisher-core", core)));
    with_receivers(named, machine)
}

/// A server that runs already is on its own cores; the floor's sender takes the first.
fn of_server(server: &ServerArgs, has_floor: bool) -> Vec<Named> {
    let used = if server.gateway.is_some() { server.gateway_core.len() } else { usize::from(has_floor) };
    server.gateway_core.iter().take(used).map(|core| ("--gateway-core", *core)).collect()
}

fn with_receivers(mut named: Vec<Named>, machine: &Machine) -> Vec<Named> {
    named.extend(machine.receiver_core.iter().map(|core| ("--receiver-core", *core)));
    named
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::Parser as _;

    fn of(arguments: &[&str]) -> Vec<Named> {
        named(&Cli::parse_from(["fanfare-bench"].iter().chain(arguments)).command)
    }

    #[test]
    fn a_core_that_is_not_in_the_list_is_named_with_its_option() {
        let named = [("--gateway-core", 0), ("--receiver-core", 8), ("--publisher-core", 4)];
        assert_eq!(check_against("0-3,8", &named[..2]), Ok(()));
        let said = check_against("0-3,8", &named).unwrap_err();
        assert_eq!(said, "--publisher-core 4: this process may run on these cores only: 0-3,8");
        assert!(!has("0-3,8", usize::MAX) && !has("", 0) && has("5", 5));
    }

    #[test]
    fn cores_of_a_server_that_is_not_started_are_nobodys() {
        assert_eq!(of(&["fanout", "--gateway-core", "7,8"]), [("--receiver-core", 1)]);
        let floor = of(&["idle", "--floor", "--gateway-core", "7,8", "--publisher-core", "9"]);
        assert_eq!(floor, [("--gateway-core", 7), ("--publisher-core", 9), ("--receiver-core", 1)]);
        let started =
            of(&["paced", "--gateway", "fanfare", "--gateway-core", "7,8", "--receiver-core", "2,3"]);
        let wanted =
            [("--gateway-core", 7), ("--gateway-core", 8), ("--receiver-core", 2), ("--receiver-core", 3)];
        assert_eq!(started, wanted);
    }
}
