//! The fan-out run: connect, settle, publish at a rate, wait for the last delivery, leave; measured from outside.
//!
//! *Not here*: how any of these is done (`receiver`, `publisher`, `gateway`), how it is shown (`report`).

mod account;
mod phases;
mod plan;
mod watch;

use std::time::Instant;

use self::watch::Watch;
use crate::args::FanoutArgs;
use crate::clock::Clock;
use crate::gateway::Gateway;
use crate::progress::{Goal, Progress};
use crate::receiver::{Phase, Receivers};
use crate::report;
use crate::sys::process;
use crate::verify::Refusals;

pub(crate) use account::{MemoryUse, Report};

/// The subcommand; false when something that must be zero is not.
pub(crate) fn run(args: &FanoutArgs) -> Result<bool, String> {
    let found = measure(args, Progress::new(&args.machine))?;
    report::fanout(args, &found)?;
    // A run that delivered nothing has verified nothing.
    let delivered = args.idle || found.deliveries > 0;
    Ok(delivered && found.faults.none() && found.publish_error.is_none())
}

/// A whole run, from the first connect to the last leave; prints no result.
pub(crate) fn measure(args: &FanoutArgs, progress: Progress) -> Result<Report, String> {
    plan::check(args)?;
    let mut gateway = Gateway::from_args(&args.server, plan::redis(args))?;
    let before = gateway.memory();
    let mut watch = Watch::new(progress);
    let clock = Clock::new();
    let refusals = Refusals::default();
    let plan = plan::plan(args, &gateway);
    let target = plan::target(args, &gateway)?;
    let receivers = Receivers::start(&plan, clock.clone(), refusals.clone())?;

    let begin = Instant::now();
    let receivers = match phases::wait_connected(receivers, &gateway, &mut watch) {
        Err(why) => return Err(gateway.died().unwrap_or(why)),
        Ok(receivers) => receivers,
    };
    let connect = begin.elapsed();
    std::thread::sleep(phases::SETTLE);
    let connected = gateway.memory();

    let mut report = Report {
        connections: receivers.open(),
        connect_seconds: connect.as_secs_f64(),
        connects_per_s: receivers.open() as f64 / connect.as_secs_f64(),
        ..Report::default()
    };
    let load = if args.idle {
        phases::hold(args, &receivers, &gateway, &clock, &mut watch);
        None
    } else {
        Some(phases::publish(args, &plan, target, &receivers, &gateway, &clock, &refusals, &mut watch)?)
    };
    let after_load = gateway.memory();
    if args.stalled > 0 {
        receivers.enter(Phase::ReadStalled);
        phases::wait(phases::STALLED_READ, || receivers.stalled_left() == 0);
    }
    report.interrupted = process::interrupted();
    let outcomes = receivers.join()?;
    if let Some(why) = gateway.died() {
        return Err(why);
    }
    watch.progress.stage("everybody has left", Goal::Time(phases::AFTER_LEAVE));
    phases::wait(phases::AFTER_LEAVE, || {
        watch.left(&gateway);
        false
    });
    report.series = watch.sampler.series();
    if let (Some(before), Some(connected), Some(after_load), Some(after_leave)) =
        (before, connected, after_load, gateway.memory())
    {
        let grown = connected.anonymous.saturating_sub(before.anonymous) as f64;
        let anonymous_per_connection = grown / report.connections.max(1) as f64;
        report.memory =
            Some(MemoryUse { before, connected, after_load, after_leave, anonymous_per_connection });
    }
    account::account(args, &plan, &mut report, load, &outcomes);
    drop(gateway);
    if args.floor && !args.idle && !process::interrupted() {
        report.floor = Some(account::measure_floor(args, &report, &watch.progress)?);
    }
    Ok(report)
}
