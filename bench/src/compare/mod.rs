//! The same load against fanfare and its peers: one after the other, on the same core, with the same receivers.
//!
//! Rounds of a crowd at the door, connecting, holding and a low rate, in which the servers take turns, so that what the machine does
//! meanwhile happens to all of them; then each climbs until it holds no more. Every run starts its server anew. A
//! server that fails keeps what was measured of it, with the reason, and the others go on.
//! *Not here*: how a server is started (`server`), one run (`fanout`), the climb (`ladder`).

mod args;
mod contestants;
mod door;
mod row;
mod table;

use self::contestants::{Contestant, contestants};
use self::row::{Idle, Low, Row, Top};
use crate::fanout::{self, FanoutArgs};
use crate::ladder::{self, LadderArgs, Rung};
use crate::progress::Progress;
use crate::report;
use crate::server::FormatKind;
use crate::sys::process;

pub(crate) use self::args::CompareArgs;

/// Everybody connected and nothing published: long enough for a server to give back what handshakes needed.
const IDLE_SECONDS: f64 = 1.0;
/// The first messages of a rung find empty queues.
const CLIMB_WARMUP_SECONDS: f64 = 1.0;

/// The subcommand; false when a server could not be measured to the end, or did not deliver what was published.
pub(crate) fn run(args: &CompareArgs) -> Result<bool, String> {
    args.check()?;
    let contestants = contestants(args)?;
    check_runs(args, &contestants)?;
    let mut rows: Vec<Row> = contestants.iter().map(row_of).collect();
    for round in 1..=args.rounds {
        each(&contestants, &mut rows, |one, row| {
            say(args, &format!("round {round} of {}: {}", args.rounds, one.name));
            measure_round(one, row)
        });
    }
    each(&contestants, &mut rows, |one, row| {
        say(args, &format!("climb: {}", one.name));
        let (top, broken_off) = climb(args, &one.run)?;
        row.top = Some(top);
        broken_off.map_or(Ok(()), Err)
    });
    if rows.iter().all(|row| row.idle.is_empty()) {
        let reasons = rows.iter().filter_map(|row| row.stopped.clone());
        return Err(reasons.collect::<Vec<_>>().first().cloned().unwrap_or_else(|| "interrupted".into()));
    }
    let load = table::Load {
        rate: args.rate,
        connections: args.connections,
        bytes: args.bytes,
        p99_max_ms: args.p99_max_ms,
    };
    report::finish(&args.machine, table::record(&rows, &load))?;
    Ok(rows.iter().all(|row| row.stopped.is_none() && row.faults() == 0))
}

/// What a run and a rung would say of their arguments, before the first round. All servers have the same load.
fn check_runs(args: &CompareArgs, contestants: &[Contestant]) -> Result<(), String> {
    for Contestant { run, .. } in contestants {
        fanout::check(run)?;
        let last = climb_of(args, run).rung(args.climb_to);
        fanout::check(&last).map_err(|why| format!("--climb-to, --climb-seconds: {why}"))?;
    }
    Ok(())
}

fn row_of(one: &Contestant) -> Row {
    let framing = match one.run.load.format {
        FormatKind::GoPush => "go-push",
        FormatKind::Raw => "raw",
    };
    Row { server: one.name.clone(), framing: framing.into(), is_baseline: one.is_baseline, ..Row::default() }
}

/// Gives each server that is still in its turn, until somebody presses Ctrl-C.
fn each(
    contestants: &[Contestant],
    rows: &mut [Row],
    mut turn: impl FnMut(&Contestant, &mut Row) -> Result<(), String>,
) {
    for (one, row) in contestants.iter().zip(rows) {
        if row.stopped.is_some() {
            continue;
        }
        let done = if process::interrupted() { Ok(()) } else { turn(one, row) };
        row.stopped = if process::interrupted() { Some("Ctrl-C".into()) } else { done.err() };
    }
}

fn measure_round(one: &Contestant, row: &mut Row) -> Result<(), String> {
    let mut idle = one.run.clone();
    idle.idle = true;
    idle.load.seconds = IDLE_SECONDS;
    let door = door::measure(&idle)?;
    let report = fanout::measure(&idle, progress(&idle))?;
    row.idle.extend(unless_interrupted(&report, |report| Idle::of(report, door)));
    if process::interrupted() {
        return Ok(());
    }
    let report = fanout::measure(&one.run, progress(&one.run))?;
    row.low.extend(unless_interrupted(&report, Low::of));
    match report.publish_error {
        Some(why) if !report.interrupted => Err(why),
        _ if report.deliveries == 0 && !report.interrupted => Err("it delivered nothing".into()),
        _ => Ok(()),
    }
}

/// What Ctrl-C cut short is not comparable with what ran to its end.
fn unless_interrupted<T>(report: &fanout::Report, value: impl Fn(&fanout::Report) -> T) -> Option<T> {
    (!report.interrupted).then(|| value(report))
}

fn progress(run: &FanoutArgs) -> Progress {
    Progress::new(&run.machine)
}

fn say(args: &CompareArgs, what: &str) {
    if !args.machine.quiet {
        crate::progress::tell(what);
    }
}

/// The highest rate that the server holds, and why the climb broke off, if it did.
fn climb(args: &CompareArgs, run: &FanoutArgs) -> Result<(Top, Option<String>), String> {
    let found = ladder::climb(&climb_of(args, run), progress(run))?;
    // A rung to which nothing came has no latency.
    let p99 = |rung: &Rung| if rung.report.deliveries > 0 { rung.report.latency.p99_ms } else { f64::NAN };
    let rungs = found.rungs.iter().map(|rung| (rung.rate, p99(rung)));
    let best = found.best();
    let broken_off = found.broken_off.as_ref().map(|end| end.why.clone());
    let limit = broken_off.clone().or_else(|| found.why.clone());
    let top = Top {
        rate: found.held.unwrap_or(0.0),
        deliveries_per_s: best.map_or(0.0, |rung| rung.report.deliveries_per_s),
        p99_ms: best.map_or(0.0, |rung| rung.report.latency.p99_ms),
        limit: limit.unwrap_or_else(|| "the highest rate that was tried".into()),
        receivers_busy: best.is_some_and(|rung| rung.bottleneck.is_some()),
        rungs: by_rate(rungs),
    };
    Ok((top, broken_off))
}

/// A point a rate, in their order: the climb goes up and then halves the gap, and tries a rate again; the last try counts.
fn by_rate(rungs: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = Vec::new();
    for (rate, p99) in rungs {
        match points.binary_search_by(|point| point.0.total_cmp(&rate)) {
            Ok(at) => points[at].1 = p99,
            Err(at) => points.insert(at, (rate, p99)),
        }
    }
    points
}

fn climb_of(args: &CompareArgs, run: &FanoutArgs) -> LadderArgs {
    let mut load = run.load.clone();
    (load.seconds, load.warmup) = (args.climb_seconds, CLIMB_WARMUP_SECONDS);
    LadderArgs {
        server: run.server.clone(),
        load,
        from: args.climb_from,
        to: args.climb_to,
        factor: 2.0,
        precision: 5.0,
        p99_max_ms: args.p99_max_ms,
        tries: 2,
        machine: args.machine.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_climb_that_goes_back_and_tries_again_is_a_point_a_rate_in_order() {
        let climbed =
            [(5.0, 1.0), (10.0, 2.0), (20.0, 9_000.0), (20.0, 8_000.0), (15.0, 2_000.0), (12.5, 3.0)];
        let points = by_rate(climbed.into_iter());
        assert_eq!(points, [(5.0, 1.0), (10.0, 2.0), (12.5, 3.0), (15.0, 2_000.0), (20.0, 8_000.0)]);
    }
}
