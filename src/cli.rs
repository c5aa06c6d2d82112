//! The command line: flags that configure the gateway, and the commands that are not the gateway.
//!
//! Without a command `fanfare` serves. A command is a variant of [`Command`] whose arguments belong to the module that
//! does its work; the configuration's flags may stand before it and behind it. *Not here*: what a flag's value means
//! (`config`).

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use crate::client::{push, pushes, top};
use crate::config::flags::Flags;
use crate::doctor;

/// What stands after the program's name. No `Debug`: a password may be among it.
#[derive(Clone, Parser)]
#[command(
    name = "fanfare",
    version,
    about = "Pushes messages to fleets of devices over WebSocket",
    long_about = None,
    after_help = "\
Without a command it runs the gateway; without --config with embedded defaults and no Redis. Flags
win over the environment (FANFARE_SECTION_KEY, such as FANFARE_SERVER_LISTEN), the environment over
the file, the file over the defaults. Everybody on the host sees the flags in the process list: a
Redis URL with a password belongs into FANFARE_REDIS_URL."
)]
pub struct Arguments {
    /// The configuration's flags.
    #[command(flatten)]
    pub flags: Flags,
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the program does besides serving.
#[derive(Clone, Subcommand)]
pub enum Command {
    /// Tell what on this host stands in the way of so many connections, and the command that mends it
    Doctor(doctor::Arguments),
    /// Send messages to devices by way of a running gateway, paced if wanted, and watch how they arrive
    Push(push::Arguments),
    /// List what a running gateway pushes, and steer it: show, rate, pause, resume, cancel, watch
    Pushes(pushes::Arguments),
    /// Show what a running gateway does, now: connections, rates, lag, pushes
    Top(top::Arguments),
}

impl Arguments {
    /// Reads the process's arguments. Help and version come as an error too, one that belongs on standard output.
    pub fn read() -> Result<Self, clap::Error> {
        Self::try_parse()?.checked()
    }

    /// Refuses a flag that would do nothing: `--check` and `--print-config` are answers of their own.
    fn checked(self) -> Result<Self, clap::Error> {
        if self.command.is_some() && (self.flags.check || self.flags.print_config) {
            let sentence = "--check and --print-config stand alone: leave out the command";
            return Err(Self::command().error(ErrorKind::ArgumentConflict, sentence));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from([&["fanfare"], arguments].concat())?.checked()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn without_a_command_the_gateway_runs() {
        assert!(parsed(&["--shards", "4"]).is_ok_and(|arguments| arguments.command.is_none()));
    }

    #[test]
    fn the_configurations_flags_stand_before_a_command_and_behind_it() {
        for arguments in [&["--shards", "4", "doctor"][..], &["doctor", "--shards", "4"]] {
            let arguments = parsed(arguments).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(arguments.flags.shards.as_deref(), Some("4"));
            assert!(matches!(arguments.command, Some(Command::Doctor(_))));
        }
    }

    #[test]
    fn a_push_has_an_audience_and_a_message() {
        for good in [
            &["push", "--all", "1"][..],
            &["push", "--topic", "a", "--topic", "b", "--rate", "500", "--ramp", "10s", "-1.5", "-"],
            &["--api", "gateway:7799", "pushes", "rate", "x", "none"],
            &["pushes", "cancel", "x", "--json", "--api", "http://gateway:7799"],
            &["top", "--once", "--interval", "500ms"],
        ] {
            assert!(parsed(good).is_ok(), "{good:?}");
        }
        for wrong in [
            &["push", "1"][..],
            &["push", "--all"],
            &["push", "--all", "--topic", "a", "1"],
            &["push", "--all", "--ramp", "10s", "1"],
            &["push", "--all", "--rate", "0", "1"],
            &["push", "--all", "--weight", "0", "1"],
            &["push", "--all", "--id", "a/b", "1"],
            &["pushes", "show"],
            &["pushes", "rate", "x", "fast"],
        ] {
            assert!(parsed(wrong).is_err_and(|error| error.use_stderr()), "{wrong:?}");
        }
    }

    #[test]
    fn an_answer_of_its_own_takes_no_command() {
        for flag in ["--check", "--print-config"] {
            assert!(parsed(&[flag, "doctor"]).is_err_and(|error| error.use_stderr()));
        }
    }

    #[test]
    fn help_is_about_the_program() {
        let help = Arguments::command().render_long_help().to_string();
        assert!(help.starts_with("Pushes messages to fleets of devices"), "{help}");
        assert!(help.contains("doctor"), "{help}");
    }
}
