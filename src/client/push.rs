//! `fanfare push`: sends messages, and watches how they arrive.

use std::io::Read as _;

use super::http::{self, Gateway};
use super::views::Accepted;
use super::{Exit, Failure, arguments, block_signals, ledger, message, remark, request, say, watch};
use fanfare_core::limits::{CLIENT_INPUT_BYTES_MAX, PUSH_WEIGHT_MAX};
use fanfare_core::push::rate::Rate;

/// What `fanfare push` is asked.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Exit code: 0 the gateway took it; with --watch: everybody who was still connected got it. 1 it was watched, and some did
not get it (slow, expired, cancelled, shutdown), or it was lost. 69 the gateway cannot be reached. 75 it takes nothing now;
try again. 78 the command is wrong. 130 watching was interrupted; the push goes on.")]
pub struct Arguments {
    /// To whom: this topic (may be repeated)
    #[arg(long = "topic", value_name = "TOPIC", required_unless_present = "all", conflicts_with = "all")]
    pub topics: Vec<String>,
    /// To everybody
    #[arg(long)]
    pub all: bool,
    /// Devices per second; without it as fast as it goes
    #[arg(long, value_name = "N", value_parser = arguments::rate)]
    pub rate: Option<Rate>,
    /// Time in which the rate rises from 0: 10s, 5m
    #[arg(long = "ramp", value_name = "TIME", requires = "rate", value_parser = arguments::ramp_s)]
    pub ramp_s: Option<f64>,
    /// Who has not got it by then never will: 60s, 2h
    #[arg(long = "expires-in", value_name = "TIME", value_parser = arguments::expires_in_s)]
    pub expires_in_s: Option<f64>,
    /// Name of the push: the same command again with it sends nothing twice
    #[arg(long, value_name = "ID", value_parser = arguments::id)]
    pub id: Option<String>,
    /// normal keeps the order of a topic; urgent overtakes what waits
    #[arg(long, value_name = "LANE")]
    pub lane: Option<Lane>,
    /// Share of this push where pushes share a rate
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(PUSH_WEIGHT_MAX)))]
    pub weight: Option<u32>,
    /// Show progress until it is over, then its account
    #[arg(long)]
    pub watch: bool,
    /// JSON is sent as it is, anything else as a JSON string; - reads standard input, one message a line
    #[arg(value_name = "MESSAGE", required = true, allow_negative_numbers = true)]
    pub messages: Vec<String>,
}

/// Order of a push among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Lane {
    /// Behind what waits for the same topic.
    Normal,
    /// Before it.
    Urgent,
}

impl Lane {
    const fn label(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Urgent => "urgent",
        }
    }
}

impl Arguments {
    /// Sends, and watches if that is wanted.
    pub fn run(&self, gateway: &Gateway) -> Result<Exit, Failure> {
        let input = if self.messages.iter().any(|message| message == "-") { input()? } else { Vec::new() };
        let messages = message::messages(&self.messages, &input)
            .map_err(|problem| Failure::operator(problem.to_string()))?;
        if let Some(sentence) = message::quoted_remark(&messages) {
            remark(&sentence);
        }
        let body = request::Push {
            to: request::To::new(&self.topics),
            messages: &messages,
            rate: self.rate.map(|rate| request::Number(rate.as_f64())),
            ramp_s: self.ramp_s.map(request::Number),
            expires_in_s: self.expires_in_s.map(request::Number),
            id: self.id.as_deref(),
            lane: self.lane.map(Lane::label),
            weight: self.weight,
            track: self.watch,
        };
        // Before anything is sent: a Ctrl-C from then on is answered by how to go on.
        let signals = self.watch.then(block_signals).transpose()?;
        let accepted: Accepted = http::read(&gateway.post("/v1/push", body.to_json())?)?;
        say(&(ledger::accepted(&accepted) + "\n"));
        match signals {
            Some(mut signals) => watch::follow(gateway, &accepted.id, false, &mut signals),
            None => Ok(Exit::Done),
        }
    }
}

fn input() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().take(CLIENT_INPUT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::operator(format!("standard input cannot be read: {error}")))?;
    if bytes.len() > CLIENT_INPUT_BYTES_MAX {
        return Err(Failure::operator(format!(
            "standard input has more than the {CLIENT_INPUT_BYTES_MAX} bytes that are taken: make several pushes of it"
        )));
    }
    Ok(bytes)
}
