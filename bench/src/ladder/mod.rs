//! The ladder: the same run at higher and higher rates, until one is not held.
//!
//! *Not here*: a run (`fanout`), which rate is next (`climb`), whether a rung was held (`rung`).

mod args;
mod climb;
mod found;
mod rung;
mod table;

use std::time::Duration;

pub(crate) use self::args::LadderArgs;
use self::climb::Climb;
use self::found::{BrokenOff, Ladder};
use self::rung::Bounds;
pub(crate) use self::rung::Rung;
use crate::fanout::Session;
use crate::progress::Progress;
use crate::report;
use crate::sys::process;

/// What a server of which every rung fails would cost in time, if it were waited for.
const DRAIN_MIN: Duration = Duration::from_secs(2);

/// The subcommand; false when no rate was held. A climb that broke off has its table, and is no run.
pub(crate) fn run(args: &LadderArgs) -> Result<bool, String> {
    let ladder = climb(args, Progress::new(&args.machine))?;
    report::finish(&args.machine, table::record(args, &ladder)?)?;
    match ladder.broken_off {
        Some(BrokenOff { why, .. }) => Err(why),
        None => Ok(ladder.held.is_some()),
    }
}

/// Climbs: one server, started or found once; its connections stay for the next rung unless a rung failed.
pub(crate) fn climb(args: &LadderArgs, progress: Progress) -> Result<Ladder, String> {
    check(args)?;
    let bounds =
        Bounds { receivers: args.receivers(), seconds: args.load.seconds, p99_max_ms: args.p99_max_ms };
    let mut session = Session::open(&args.rung(args.from), progress)?;
    let mut climb = Climb::new(args.from, args.to, args.factor, args.precision / 100.0);
    let mut ladder = Ladder::default();
    while let Some(rate) = climb.next() {
        let held = match attempt(args, rate, &bounds, &mut session, &mut ladder) {
            Ok(Some(held)) => held,
            Ok(None) => break,
            Err(why) if ladder.rungs.is_empty() => return Err(why),
            // Whatever was measured before is worth more than the sentence alone.
            Err(_) if process::interrupted() => break,
            Err(why) => {
                ladder.broken_off = Some(BrokenOff { rate, why });
                break;
            }
        };
        climb.take(rate, held);
    }
    (ladder.held, ladder.failed) = (climb.held(), climb.failed());
    ladder.interrupted = process::interrupted();
    if let Some(failed) = ladder.failed {
        let lowest = ladder.rungs.iter().rev().find(|rung| rung.rate.to_bits() == failed.to_bits());
        ladder.why = lowest.and_then(|rung| rung.failed.clone());
    }
    Ok(ladder)
}

/// One rate, again when it fails; `None` when Ctrl-C cut it off.
fn attempt(
    args: &LadderArgs,
    rate: f64,
    bounds: &Bounds,
    session: &mut Session,
    ladder: &mut Ladder,
) -> Result<Option<bool>, String> {
    // What comes later than that has crossed the bound already.
    let drain = DRAIN_MIN.max(Duration::from_secs_f64(2.0 * args.p99_max_ms / 1000.0));
    for _ in 0..args.tries {
        let report = session.rung(&args.rung(rate), drain)?;
        if process::interrupted() {
            return Ok(None);
        }
        let rung = Rung::new(rate, report, bounds);
        let held = rung.held();
        ladder.rungs.push(rung);
        if held {
            return Ok(Some(true));
        }
    }
    Ok(Some(false))
}

fn check(args: &LadderArgs) -> Result<(), String> {
    if args.to < args.from {
        return Err("--to must not be below --from".into());
    }
    if args.p99_max_ms <= 0.0 {
        return Err("--p99-max-ms must be above zero".into());
    }
    Ok(())
}
