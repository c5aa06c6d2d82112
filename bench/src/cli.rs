//! The command line: the subcommands, each with its own options.
//!
//! *Not here*: the options of a subcommand (`args` of each), those that several share (`args`), running them (`main`).

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::compare::CompareArgs;
use crate::fanout::FanoutArgs;
use crate::floor::FloorArgs;
use crate::idle::IdleArgs;
use crate::ladder::LadderArgs;
use crate::paced::PacedArgs;
use crate::pushes::PushesArgs;
use crate::report::ReportArgs;
use crate::slow::SlowArgs;
use crate::storm::StormArgs;

/// Load tool for fanfare and other WebSocket push gateways.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// This process's command line; ends the process when it is none.
    pub(crate) fn of_this_process() -> Self {
        Self::from_arg_matches(&command_line().get_matches()).unwrap_or_else(|e| e.exit())
    }
}

/// What the command line may be. A negative number is a value, not an option: its range is what must be told.
fn command_line() -> clap::Command {
    let takes_negative = |arg: clap::Arg| {
        let takes_values = arg.get_action().takes_values();
        arg.allow_negative_numbers(takes_values)
    };
    Cli::command().mut_subcommands(|subcommand| subcommand.mut_args(takes_negative))
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// What the kernel can do without any gateway: one buffer to many loopback sockets.
    Floor(FloorArgs),
    /// One topic, many connections: every message to each of them, every byte verified.
    Fanout(Box<FanoutArgs>),
    /// Many connections at rest: what each costs, whether all stay, how long one message to all of them takes.
    Idle(Box<IdleArgs>),
    /// All connections leave at once, and many return at once.
    Storm(Box<StormArgs>),
    /// Raises the rate until gaps, refusals or latency say stop: the highest rate held, and the curve.
    Ladder(Box<LadderArgs>),
    /// The same load without and with slow devices: what the others notice, and what becomes of the slow.
    Slow(Box<SlowArgs>),
    /// The same load against fanfare and other servers, one after the other on the same core: one table with ratios.
    Compare(Box<CompareArgs>),
    /// One paced push, seen from the devices: how even it is, a change of its rate on the way, and whether its ledger is true.
    Paced(Box<PacedArgs>),
    /// Many pushes at once, steered, while devices join, leave and die: every ledger against what the devices saw.
    Pushes(Box<PushesArgs>),
    /// Show results files again, side by side when there are several.
    Report(ReportArgs),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::number;
    use clap::builder::ValueParser;
    use clap::error::ErrorKind;

    #[test]
    fn no_option_that_takes_a_fraction_takes_one_without_bound() {
        let fraction = ValueParser::from(number::seconds as fn(&str) -> Result<f64, String>).type_id();
        let mut tried = 0;
        for subcommand in command_line().get_subcommands() {
            let options =
                subcommand.get_arguments().filter(|arg| arg.get_value_parser().type_id() == fraction);
            for option in options.filter_map(clap::Arg::get_long) {
                for value in ["nan", "inf", "-1", "1e300"] {
                    let line = ["fanfare-bench", subcommand.get_name(), &format!("--{option}"), value];
                    let error = command_line().try_get_matches_from(line).unwrap_err();
                    let name = subcommand.get_name();
                    assert_eq!(
                        error.kind(),
                        ErrorKind::ValueValidation,
                        "{name} --{option} {value}: {error}"
                    );
                    assert!(error.to_string().contains(&format!("--{option} ")), "{error}");
                    tried += 1;
                }
            }
        }
        assert!(tried > 100, "{tried}");
    }
}
