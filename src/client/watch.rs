//! Watching a push until it is over: a bar on a terminal, lines in a log, JSON for a program.
//!
//! Ctrl-C ends the watching, never the push. *Not here*: the account that follows (`ledger`).

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::http::{self, Gateway, Next};
use super::views::{Push, State};
use super::{Exit, Failure, ledger, remark, request, say, show, stop_wanted};
use crate::sys::signals::Signals;

/// A log gets a line this often, and at each change of state.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Name of the event that ends a stream.
const END: &str = "end";

/// Where the person looks.
enum Screen {
    /// Every event's data, a line each, on standard output.
    Json,
    Bar(ProgressBar),
    Lines {
        written: Option<(Instant, State)>,
    },
}

impl Screen {
    fn new(json: bool) -> Self {
        if json {
            Self::Json
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(10));
            // The template is a constant; one that indicatif does not take shows as its default bar.
            let style = ProgressStyle::with_template("[{bar:24}] {percent:>3} %  {wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style.progress_chars("##."));
            Self::Bar(bar)
        } else {
            Self::Lines { written: None }
        }
    }

    fn update(&mut self, push: &Push, data: &str) {
        match self {
            Self::Json => say(&format!("{data}\n")),
            Self::Bar(bar) => {
                bar.set_length(push.targeted.unwrap_or(0));
                // Devices that it did not reach leave their part of the bar empty.
                bar.set_position(push.sent);
                bar.set_message(ledger::progress(push));
                bar.tick();
            }
            Self::Lines { written } => {
                let now = Instant::now();
                let same = |(at, state): (Instant, State)| state == push.state && now - at < LINE_EVERY;
                if !written.is_some_and(same) {
                    *written = Some((now, push.state));
                    remark(&ledger::progress(push));
                }
            }
        }
    }

    /// Nothing is left on the terminal: what follows is the result, with the state in words.
    fn clear(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// Watches the push until it is over, and then shows its account. `signals` were blocked before the push began.
pub fn follow(gateway: &Gateway, id: &str, json: bool, signals: &mut Signals) -> Result<Exit, Failure> {
    let mut screen = Screen::new(json);
    let ended = until_over(gateway, id, &mut screen, signals);
    screen.clear();
    match ended? {
        Ended::Over(push) => {
            if !json {
                show(&ledger::account(&push));
            }
            Ok(push.exit())
        }
        Ended::Stopped(exit) => {
            let (watch, cancel) = (gateway.command("watch", id), gateway.command("cancel", id));
            remark(&format!("the push goes on; to watch it again: {watch}; to cancel it: {cancel}"));
            Ok(exit)
        }
    }
}

enum Ended {
    Over(Box<Push>),
    Stopped(Exit),
}

fn until_over(
    gateway: &Gateway,
    id: &str,
    screen: &mut Screen,
    signals: &mut Signals,
) -> Result<Ended, Failure> {
    let mut events = gateway.events(&format!("{}/events", request::path_of(id)))?;
    let mut last = None;
    loop {
        if let Some(exit) = stop_wanted(signals) {
            return Ok(Ended::Stopped(exit));
        }
        match events.look()? {
            Next::Nothing => {}
            Next::Event(event) => {
                let push: Push = http::read(event.data.as_bytes())?;
                screen.update(&push, &event.data);
                if event.name == END {
                    return Ok(Ended::Over(Box::new(push)));
                }
                last = Some(push);
            }
            Next::End => {
                return match last.filter(Push::is_over) {
                    Some(push) => Ok(Ended::Over(Box::new(push))),
                    None => Err(Failure::unreachable(format!(
                        "the gateway at {} went away before the push was over; what became of it, once it is back: {}",
                        gateway.address(),
                        gateway.command("show", id)
                    ))),
                };
            }
        }
    }
}
