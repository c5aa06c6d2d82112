//! Messages to small topics, alone and beside a paced push, in turns on one server: what the push costs the others.
//!
//! The devices of the push are connected in both, so that only the push makes the difference. *Not here*: how the small
//! topics are loaded and verified (`fanout`).

use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::api::{Api, Steered};
use super::args::PacedArgs;
use super::connect::connect;
use super::crew::{Crew, Notes};
use super::push::{body, wait_over};
use crate::args::LoadArgs;
use crate::fanout::{FanoutArgs, Report, Session};
use crate::histogram::Percentiles;
use crate::progress::Progress;
use crate::report;
use crate::results::Better::{Lower, Neutral};
use crate::results::{Distribution, Record};
use crate::server::{FormatKind, PublisherKind};
use crate::sys::process;
use crate::units::NO_NUMBER;

/// Messages of a measurement that have not come by then are missing.
const DRAIN: Duration = Duration::from_secs(5);
/// Seconds before each measurement whose messages are verified and not measured.
const WARMUP_S: f64 = 1.0;

/// A name, and what of a latency has it.
type Question = (&'static str, fn(&Percentiles) -> f64);

/// The measurements of one kind.
#[derive(Clone, Debug, Default, Serialize)]
struct Kind {
    latencies: Vec<Percentiles>,
    faults: u64,
    refused: u64,
    #[serde(skip)]
    distributions: Vec<Distribution>,
}

impl Kind {
    /// Of what Ctrl-C cut short only the faults: it is not comparable with what ran to its end.
    fn add(&mut self, report: &Report) {
        let faults = report.faults;
        self.faults += faults.gaps + faults.duplicates + faults.reorders + faults.malformed;
        self.refused += report.refused;
        if report.interrupted {
            return;
        }
        self.latencies.push(report.latency);
        let latency = report.distributions.iter().find(|one| one.name == "latency");
        self.distributions.extend(latency.cloned());
    }

    /// Not a number: there is no round.
    fn median(&self, value: fn(&Percentiles) -> f64) -> f64 {
        let mut all: Vec<f64> = self.latencies.iter().map(value).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// What a run found.
#[derive(Clone, Debug, Default, Serialize)]
struct Found {
    alone: Kind,
    beside: Kind,
    /// Devices that the pushes served while the others were measured.
    served: u64,
    broken: Vec<String>,
}

impl Found {
    /// Each kind has a round.
    fn is_compared(&self) -> bool {
        [&self.alone, &self.beside].iter().all(|kind| !kind.latencies.is_empty())
    }
}

/// The mode; false when the others notice more than they may, or when Ctrl-C left nothing to compare.
pub(super) fn run(args: &PacedArgs) -> Result<bool, String> {
    let found = measure(args)?;
    let kept = found.broken.is_empty() && found.is_compared();
    report::finish(&args.machine, record(args, &found))?;
    Ok(kept)
}

fn load(args: &PacedArgs) -> FanoutArgs {
    let load = LoadArgs {
        connections: args.side_connections,
        bytes: args.bytes as usize,
        seconds: args.side_seconds,
        warmup: WARMUP_S,
        drain: DRAIN.as_secs_f64(),
        topic: "side".into(),
        topics: args.side_topics,
        format: FormatKind::GoPush,
        path: None,
        hello: None,
        publisher: PublisherKind::Http,
        publish_path: None,
        redis: String::new(),
        redis_channel: None,
        tick_ms: 1,
        publisher_core: None,
        ping_every: 0.0,
    };
    FanoutArgs::of(&args.server, &load, args.side_rate, &args.machine)
}

fn measure(args: &PacedArgs) -> Result<Found, String> {
    let seconds = args.side_seconds + WARMUP_S + 1.0;
    if f64::from(args.connections) / args.rate < seconds {
        return Err(format!(
            "the push is over before {seconds:.0} s: give more --connections or less --rate"
        ));
    }
    let load = load(args);
    let mut session = Session::open(&load, Progress::new(&args.machine))?;
    let (mut found, crew) = rounds(args, &load, &mut session).map_err(|why| session.gateway.or_died(why))?;
    drop(session);
    let notes = crew.finish()?;
    judge(args, &mut found, &notes);
    Ok(found)
}

fn rounds(args: &PacedArgs, load: &FanoutArgs, session: &mut Session) -> Result<(Found, Crew), String> {
    session.connect(load)?;
    let rooms = (0..args.connections).map(|_| vec![0]);
    let progress = &session.watch.progress;
    let crew = connect(&args.machine, &session.gateway, (&args.topic, args.bytes as usize), rooms, progress)?;
    let mut api = Api::new(&session.gateway.api);
    let mut found = Found::default();
    for round in 0..args.side_rounds {
        // The order changes from round to round: what drifts over time hits both alike.
        let kinds = if round % 2 == 0 { [false, true] } else { [true, false] };
        for is_beside in kinds {
            if process::interrupted() {
                break;
            }
            if !is_beside {
                found.alone.add(&session.rung(load, DRAIN)?);
                continue;
            }
            let id = api.begin(&body(args)?)?;
            found.beside.add(&session.rung(load, DRAIN)?);
            match api.cancel(&id)? {
                Steered::Push(_) => found.served += wait_over(&mut api, &id)?.sent,
                Steered::Over => found.broken.push("the push was over before the measurement".into()),
            }
        }
    }
    Ok((found, crew))
}

fn judge(args: &PacedArgs, found: &mut Found, notes: &Notes) {
    let (alone, beside) = (found.alone.median(|p| p.p99_ms), found.beside.median(|p| p.p99_ms));
    if beside > alone * args.side_ratio {
        found.broken.push(format!(
            "p99 beside the push is {:.2} times what it is alone; allowed are {}",
            beside / alone,
            args.side_ratio
        ));
    }
    for (name, kind) in [("alone", &found.alone), ("beside the push", &found.beside)] {
        if kind.faults + kind.refused > 0 {
            found.broken.push(format!("{name}: {} faults, {} refused", kind.faults, kind.refused));
        }
    }
    if let Some(why) = &notes.malformed {
        found
            .broken
            .push(format!("the push: {} frames were not what was published: {why}", notes.malformed_count));
    }
    let received = notes.sightings.len() as u64;
    if received != found.served {
        found.broken.push(format!("the pushes have {} sent and {received} came", found.served));
    }
}

fn record(args: &PacedArgs, found: &Found) -> Record {
    let mut record = Record::new("paced", Some("paced-beside"));
    record.figure("small topics", "topics", f64::from(args.side_topics), "", Neutral);
    record.figure("small topics", "devices", f64::from(args.side_connections), "", Neutral);
    record.figure("small topics", "messages", args.side_rate, "/s", Neutral);
    record.figure("push", "devices", f64::from(args.connections), "", Neutral);
    record.figure("push", "rate", args.rate, "/s", Neutral);
    record.figure("push", "served meanwhile", found.served as f64, "", Neutral);
    let columns = ["", "alone", "beside the push", "ratio"];
    let mut rows = Vec::new();
    let questions: [Question; 4] =
        [("p50", |p| p.p50_ms), ("p99", |p| p.p99_ms), ("p99.9", |p| p.p999_ms), ("max", |p| p.max_ms)];
    for (name, value) in questions {
        let (alone, beside) = (found.alone.median(value), found.beside.median(value));
        record.figure("alone", name, alone, "ms", Neutral);
        record.figure("beside the push", name, beside, "ms", Lower);
        record.figure("beside/alone", name, beside / alone, "×", Lower);
        let cell = |value: f64, unit: &str| {
            if value.is_finite() { format!("{value:.2} {unit}") } else { NO_NUMBER.into() }
        };
        rows.push(vec![name.into(), cell(alone, "ms"), cell(beside, "ms"), cell(beside / alone, "×")]);
    }
    record.table("latency of the small topics, medians of the rounds", &columns, rows);
    for (name, kind) in [("alone", &found.alone), ("beside the push", &found.beside)] {
        for (round, one) in (1..).zip(&kind.distributions) {
            let mut one = one.clone();
            one.name = format!("{name}, round {round}");
            record.distributions.push(one);
        }
    }
    record.warnings.clone_from(&found.broken);
    if !found.is_compared() {
        record.warn("not every kind has a whole round: what the push costs the others is not known");
    }
    record.details = json!(found);
    record
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn a_kind_without_a_whole_round_has_no_numbers() {
        let Command::Paced(args) = Cli::parse_from(["fanfare-bench", "paced", "--beside"]).command else {
            panic!("another subcommand")
        };
        let mut found = Found::default();
        let whole = Percentiles { p50_ms: 1.0, p99_ms: 2.0, ..Percentiles::default() };
        found.alone.add(&Report { latency: whole, ..Report::default() });
        found.beside.add(&Report { interrupted: true, latency: whole, ..Report::default() });
        judge(&args, &mut found, &Notes::default());
        assert_eq!((found.is_compared(), found.broken.len()), (false, 0));
        let record = record(&args, &found);
        assert_eq!(record.tables[0].rows[1], ["p99", "2.00 ms", "–", "–"]);
        assert!(record.warnings[0].contains("not every kind has a whole round"), "{:?}", record.warnings);
    }
}
