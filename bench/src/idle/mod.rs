//! Many connections that mostly do nothing: what each costs, whether all of them stay, and how long one message to all
//! of them takes.
//!
//! Connect · hold, each connection with its PINGs · broadcasts, one after the other · leave. *Not here*: any of these
//! in itself (`fanout`, `receiver`).

mod args;
mod found;
mod record;

use std::time::{Duration, Instant};

use crate::fanout::{self, Arrival, FanoutArgs, Session};
use crate::gateway::Cpu;
use crate::progress::{Goal, Progress};
use crate::report;
use crate::slab::Slab;
use crate::sys::process;

pub(crate) use args::IdleArgs;
use found::Found;

/// Time for a broadcast to reach one of many connections: several times what a send costs anywhere.
const BROADCAST_PER_CONNECTION: Duration = Duration::from_micros(30);
/// Broadcasts are at least this far apart.
const BROADCAST_EVERY_MIN: Duration = Duration::from_secs(1);

/// The subcommand; false when something that must be zero is not.
pub(crate) fn run(args: &IdleArgs) -> Result<bool, String> {
    let found = measure(args, Progress::new(&args.machine))?;
    report::finish(&args.machine, record::record(args, &found)?)?;
    let report = &found.report;
    let nothing_to_verify = args.broadcasts == 0 || report.interrupted && report.published == 0;
    let verified =
        nothing_to_verify || report.deliveries > 0 && report.faults.none() && report.publish_error.is_none();
    Ok(report.connects_refused.is_empty() && report.closed_by_server.is_empty() && verified)
}

/// A whole run; prints no result.
pub(crate) fn measure(args: &IdleArgs, progress: Progress) -> Result<Found, String> {
    let load = broadcasts(args);
    let mut session = Session::open(&load, progress)?;
    let slab = Slab::read();
    session.connect(&load)?;
    if let Some(nobody) = session.receivers.take_if(|receivers| receivers.open() == 0) {
        let why = nobody.join()?.into_iter().find_map(|outcome| outcome.refusals.into_keys().next());
        return Err(why.unwrap_or_else(|| "no connection could be opened".into()));
    }
    let mut found = Found::default();
    hold(args, &mut found, &mut session)?;
    found.memory = session.before.zip(session.gateway.memory());
    if found.memory.is_some() {
        // A server elsewhere has its ends elsewhere.
        let on_io_uring = session.gateway.waits_by_io_uring();
        found.kernel = slab.zip(Slab::read()).map(|(before, now)| now.since(&before, on_io_uring));
    }
    let broadcast = args.broadcasts > 0 && !process::interrupted();
    let loaded = broadcast.then(|| session.publish(&load, "broadcasting", None)).transpose()?;
    found.report = session.finish(&load, loaded)?;
    Ok(found)
}

/// The broadcasts as a fan-out run of few messages.
fn broadcasts(args: &IdleArgs) -> FanoutArgs {
    let apart = (BROADCAST_PER_CONNECTION * args.load.connections).max(BROADCAST_EVERY_MIN);
    let mut load = args.load.clone();
    load.warmup = 0.0;
    load.seconds = apart.as_secs_f64() * f64::from(args.broadcasts.max(1));
    load.drain = load.drain.max(apart.as_secs_f64());
    FanoutArgs {
        arrival: Arrival::Counted,
        floor: args.floor && args.broadcasts > 0,
        ..FanoutArgs::of(&args.server, &load, 1.0 / apart.as_secs_f64(), &args.machine)
    }
}

fn hold(args: &IdleArgs, found: &mut Found, session: &mut Session) -> Result<(), String> {
    let time = Duration::from_secs_f64(args.load.seconds);
    session.watch.progress.stage("holding", Goal::Time(time));
    session.connections()?;
    let (begin, before) = (Instant::now(), session.gateway.cpu());
    let Session { receivers, gateway, watch, .. } = &mut *session;
    fanout::wait(time, || {
        receivers.as_ref().is_none_or(|receivers| {
            watch.look(0, receivers, gateway);
            receivers.open() == 0
        })
    });
    found.held_seconds = begin.elapsed().as_secs_f64();
    found.held_cpu_percent = before.zip(gateway.cpu()).map(|(before, after)| {
        let Cpu { user, system } = after.since(before);
        100.0 * (user + system).as_secs_f64() / found.held_seconds
    });
    Ok(())
}
