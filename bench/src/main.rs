//! fanfare-bench: load for fanfare and other WebSocket push gateways, from one machine, with every byte verified.
//!
//! `args` → `floor`, or `fanout` (alone, or under `ladder` and `slow`) → `receiver` (devices, which ask `verify`) and
//! `publisher` (backend) → `results` → `report`; `progress` while it lasts. `paced` and `pushes` have devices of their own,
//! which note what came to each of them and when.

mod args;
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
    let cli = args::Cli::of_this_process();
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
fn run(command: &args::Command) -> Result<bool, String> {
    match command {
        args::Command::Floor(args) => floor::run(args),
        args::Command::Fanout(args) => fanout::run(args),
        args::Command::Idle(args) => idle::run(args),
        args::Command::Storm(args) => storm::run(args),
        args::Command::Compare(args) => compare::run(args),
        args::Command::Ladder(args) => ladder::run(args),
        args::Command::Slow(args) => slow::run(args),
        args::Command::Paced(args) => paced::run(args),
        args::Command::Pushes(args) => pushes::run(args),
        args::Command::Report(args) => report::run(args),
    }
}
