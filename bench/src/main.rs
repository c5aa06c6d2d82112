//! fanfare-bench: load for fanfare and other WebSocket push gateways, from one machine, with every byte verified.
//!
//! `cli` → `floor`, or `fanout` (alone, or under `ladder` and `slow`) → `receiver` (devices, which ask `verify`) and
//! `publisher` (backend) → `results` → `report`; `progress` while it lasts. `paced` and `pushes` have devices of their own,
//! which note what came to each of them and when.

mod args;
mod cli;
mod clock;
mod compare;
mod cores;
mod fanout;
mod floor;
mod gateway;
mod histogram;
mod http;
mod idle;
mod ladder;
mod lag;
mod message;
mod number;
mod paced;
mod probe;
mod progress;
mod publisher;
mod pushes;
mod receiver;
mod report;
mod results;
mod room;
mod server;
mod slab;
mod slow;
mod storm;
mod sys;
mod units;
mod verify;

use std::process::ExitCode;

/// The run could not be made: bad arguments, an unreachable server, a gateway that died.
const EXIT_NO_RUN: u8 = 2;
/// The run was made and something that must be zero is not.
const EXIT_FAULTS: u8 = 1;

fn main() -> ExitCode {
    let cli = cli::Cli::of_this_process();
    results::environment::begin();
    sys::process::note_interrupts();
    let checked = cores::check(&cli.command).and_then(|()| room::check(&cli.command));
    let result = checked.and_then(|()| run(&cli.command));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FAULTS),
        Err(why) => {
            progress::tell(&format!("fanfare-bench: {why}"));
            ExitCode::from(EXIT_NO_RUN)
        }
    }
}

/// False when the run was made and something that must be zero is not.
fn run(command: &cli::Command) -> Result<bool, String> {
    match command {
        cli::Command::Floor(args) => floor::run(args),
        cli::Command::Fanout(args) => fanout::run(args),
        cli::Command::Idle(args) => idle::run(args),
        cli::Command::Storm(args) => storm::run(args),
        cli::Command::Compare(args) => compare::run(args),
        cli::Command::Ladder(args) => ladder::run(args),
        cli::Command::Slow(args) => slow::run(args),
        cli::Command::Paced(args) => paced::run(args),
        cli::Command::Pushes(args) => pushes::run(args),
        cli::Command::Report(args) => report::run(args),
    }
}
