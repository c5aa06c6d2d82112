//! `fanfare pushes`: what is being pushed, and steering it.

use std::time::{Duration, Instant};

use super::arguments::PaceArgument;
use super::http::{self, Gateway};
use super::table::Line;
use super::views::{Push, Pushes};
use super::{Exit, Failure, arguments, block_signals, ledger, request, say, show, watch, width};

/// An order is in force within 100 ms; ten times that is a gateway that has other worries.
const CANCEL_PATIENCE: Duration = Duration::from_secs(1);
/// Time between two looks at a push that is being cancelled.
const CANCEL_LOOK: Duration = Duration::from_millis(20);

/// What `fanfare pushes` is asked.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Answer in the gateway's JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do; without it running and recent pushes are listed
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What can be done with a push.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Its whole account
    Show {
        /// Which push
        #[arg(value_parser = arguments::id)]
        id: String,
    },
    /// Change its pace
    Rate {
        /// Which push
        #[arg(value_parser = arguments::id)]
        id: String,
        /// Devices per second, or none: as fast as it goes
        #[arg(value_name = "N|none")]
        rate: PaceArgument,
        /// Time in which the rate rises from 0
        #[arg(long = "ramp", value_name = "TIME", value_parser = arguments::ramp_s)]
        ramp_s: Option<f64>,
    },
    /// Hold it
    Pause {
        /// Which push
        #[arg(value_parser = arguments::id)]
        id: String,
    },
    /// Let it go on
    Resume {
        /// Which push
        #[arg(value_parser = arguments::id)]
        id: String,
    },
    /// End it: who has not got it never will
    Cancel {
        /// Which push
        #[arg(value_parser = arguments::id)]
        id: String,
    },
    /// Show its progress until it is over, then its account; exit codes as of `fanfare push --watch`
    Watch {
        /// Which push
        #[arg(value_parser = arguments::id)]
        id: String,
    },
}

/// Cancels, and gives the shards the time to account for it: the gateway answers before they have.
fn cancel(gateway: &Gateway, path: &str) -> Result<Vec<u8>, Failure> {
    let asked = Instant::now();
    let mut answer = gateway.delete(path)?;
    while !http::read::<Push>(&answer)?.is_over() && asked.elapsed() < CANCEL_PATIENCE {
        std::thread::sleep(CANCEL_LOOK);
        answer = gateway.fetch(path)?;
    }
    Ok(answer)
}

impl Arguments {
    /// Asks, steers or watches.
    pub fn run(&self, gateway: &Gateway) -> Result<Exit, Failure> {
        let answer = match &self.command {
            None => {
                let answer = gateway.fetch("/v1/pushes")?;
                return self.tell(&answer, |pushes: &Pushes| ledger::list(pushes, width(), usize::MAX));
            }
            Some(Command::Watch { id }) => {
                return watch::follow(gateway, id, self.json, &mut block_signals()?);
            }
            Some(Command::Show { id }) => {
                let answer = gateway.fetch(&request::path_of(id))?;
                return self.tell(&answer, ledger::account);
            }
            Some(Command::Rate { rate: PaceArgument::Unpaced, ramp_s: Some(_), .. }) => {
                return Err(Failure::operator("--ramp needs a rate that it leads to"));
            }
            Some(Command::Rate { id, rate, ramp_s }) => {
                gateway.patch(&request::path_of(id), request::pace(*rate, *ramp_s))?
            }
            Some(Command::Pause { id }) => gateway.patch(&request::path_of(id), request::state("paused"))?,
            Some(Command::Resume { id }) => {
                gateway.patch(&request::path_of(id), request::state("running"))?
            }
            Some(Command::Cancel { id }) => cancel(gateway, &request::path_of(id))?,
        };
        self.tell(&answer, |push: &Push| vec![Line::plain(ledger::steered(push))])
    }

    /// The answer itself, or what people read of it.
    fn tell<T: serde::de::DeserializeOwned>(
        &self,
        answer: &[u8],
        lines: impl FnOnce(&T) -> Vec<Line>,
    ) -> Result<Exit, Failure> {
        if self.json {
            say(&format!("{}\n", String::from_utf8_lossy(answer).trim_end()));
        } else {
            show(&lines(&http::read(answer)?));
        }
        Ok(Exit::Done)
    }
}
