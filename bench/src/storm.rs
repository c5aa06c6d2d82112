//! Everybody leaves at once, and many return at once.
//!
//! Connect · rest · leave, all together, while a probe keeps asking whether the server still takes newcomers · watch
//! memory and the server's own count · return, all together. *Not here*: a connection's life (`receiver`).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::args::{FanoutArgs, StormArgs};
use crate::clock::Clock;
use crate::fanout::{Watch, phases, plan};
use crate::gateway::{Gateway, Memory};
use crate::histogram::{Percentiles, Recorder};
use crate::probe;
use crate::progress::{Goal, Progress};
use crate::receiver::{Outcome, Plan, Receivers};
use crate::report;
use crate::results::{Distribution, Series};
use crate::sys::process;
use crate::verify::Refusals;

/// Memory is back when it is at most this much of what it was.
pub(crate) const BACK: f64 = 1.1;
/// Pause between two looks at the server while it recovers.
const LOOK: Duration = Duration::from_millis(100);

/// What a run found.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Found {
    pub(crate) connections: u64,
    pub(crate) connect_seconds: f64,
    pub(crate) connects_per_s: f64,
    /// What closing took on this side.
    pub(crate) leave_seconds: f64,
    /// From the first close until the server counted nobody; `None`: it does not say, or it did not get there.
    pub(crate) empty_after_seconds: Option<f64>,
    /// From the first close until resident memory was back; `None`: not known, or not within the watch.
    pub(crate) memory_back_after_seconds: Option<f64>,
    pub(crate) memory: Option<Storm>,
    /// Handshakes of newcomers, one after the other, while the others left.
    pub(crate) probes: Percentiles,
    pub(crate) probes_failed: u64,
    pub(crate) first_probe_failure: Option<String>,
    pub(crate) watched_seconds: f64,
    pub(crate) returning: u64,
    pub(crate) returned: u64,
    pub(crate) return_seconds: f64,
    pub(crate) returns_per_s: f64,
    /// From a connection's SYN to its 101.
    pub(crate) wait: Percentiles,
    pub(crate) refusals: BTreeMap<String, u64>,
    /// Returned connections that the server ended.
    pub(crate) dropped: BTreeMap<String, u64>,
    #[serde(skip)]
    pub(crate) distributions: Vec<Distribution>,
    #[serde(skip)]
    pub(crate) series: Vec<Series>,
}

/// The gateway's memory.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Storm {
    pub(crate) before: Memory,
    pub(crate) connected: Memory,
    pub(crate) after_watch: Memory,
    pub(crate) returned: Memory,
}

/// The subcommand; false when something that must be zero is not.
pub(crate) fn run(args: &StormArgs) -> Result<bool, String> {
    let found = measure(args, Progress::new(&args.machine))?;
    report::storm(args, &found)?;
    Ok(found.returned == found.returning && found.probes_failed == 0 && found.dropped.is_empty())
}

/// A whole run; prints no result.
pub(crate) fn measure(args: &StormArgs, progress: Progress) -> Result<Found, String> {
    let load = as_fanout(args);
    plan::check(&load)?;
    let mut gateway = Gateway::from_args(&args.server, None)?;
    let before = gateway.memory();
    let mut watch = Watch::new(progress);
    let plan = plan::plan(&load, &gateway);

    let begin = Instant::now();
    let receivers = Receivers::start(&plan, Clock::new(), Refusals::default())?;
    let receivers = match phases::wait_connected(receivers, &gateway, &mut watch) {
        Err(why) => return Err(gateway.died().unwrap_or(why)),
        Ok(receivers) => receivers,
    };
    let connect = begin.elapsed().as_secs_f64();
    let mut found = Found {
        connections: receivers.open(),
        connect_seconds: connect,
        connects_per_s: receivers.open() as f64 / connect,
        ..Found::default()
    };
    rest(args, &receivers, &gateway, &mut watch);
    let connected = gateway.memory();
    leave(args, &mut found, &plan, receivers, &gateway, before, &mut watch)?;
    if let Some(why) = gateway.died() {
        return Err(why);
    }
    let after_watch = gateway.memory();
    if !process::interrupted() {
        come_back(args, &mut found, plan, &mut gateway, &mut watch)?;
    }
    if let (Some(before), Some(connected), Some(after_watch), Some(returned)) =
        (before, connected, after_watch, gateway.memory())
    {
        found.memory = Some(Storm { before, connected, after_watch, returned });
    }
    found.series = watch.sampler.series();
    Ok(found)
}

fn as_fanout(args: &StormArgs) -> FanoutArgs {
    FanoutArgs {
        server: args.server.clone(),
        load: args.load.clone(),
        rate: 1.0,
        joins_leaves: 0.0,
        stalled: 0,
        idle: true,
        floor: false,
        machine: args.machine.clone(),
    }
}

fn rest(args: &StormArgs, receivers: &Receivers, gateway: &Gateway, watch: &mut Watch) {
    let time = Duration::from_secs_f64(args.load.seconds);
    watch.progress.stage("holding", Goal::Time(time));
    phases::wait(time, || {
        watch.look(0, receivers, gateway);
        receivers.open() == 0
    });
}

/// Everybody leaves; then the server is watched.
fn leave(
    args: &StormArgs,
    found: &mut Found,
    plan: &Plan,
    receivers: Receivers,
    gateway: &Gateway,
    before: Option<Memory>,
    watch: &mut Watch,
) -> Result<(), String> {
    let begin = Instant::now();
    let leaving = std::thread::Builder::new().name("leaving".into()).spawn(move || receivers.join());
    let leaving = leaving.map_err(|e| format!("cannot start a thread: {e}"))?;
    let time = Duration::from_secs_f64(args.watch);
    watch.progress.stage("everybody has left", Goal::Time(time));
    let mut probes = Recorder::default();
    while begin.elapsed() < time && !process::interrupted() {
        match probe::handshake(plan) {
            Ok(took) => probes.record(took.as_micros() as u64),
            Err(why) => {
                found.probes_failed += 1;
                found.first_probe_failure.get_or_insert(why);
            }
        }
        let at = begin.elapsed().as_secs_f64();
        if leaving.is_finished() {
            if found.leave_seconds == 0.0 {
                found.leave_seconds = at;
            }
            // The probe's own connection may still be on its way out.
            if found.empty_after_seconds.is_none() && gateway.connections().is_some_and(|n| n <= 1.0) {
                found.empty_after_seconds = Some(at);
            }
            let back = |now: Memory, before: Memory| now.rss as f64 <= BACK * before.rss as f64;
            if found.memory_back_after_seconds.is_none()
                && gateway.memory().zip(before).is_some_and(|(now, before)| back(now, before))
            {
                found.memory_back_after_seconds = Some(at);
            }
        }
        watch.left(gateway);
        std::thread::sleep(LOOK);
    }
    found.watched_seconds = begin.elapsed().as_secs_f64();
    found.probes = probes.percentiles();
    found.distributions.push(Distribution::of("newcomer's handshake", &probes));
    leaving.join().map_err(|_| "the thread that leaves panicked".to_owned())??;
    Ok(())
}

/// Many return, all of them at once.
fn come_back(
    args: &StormArgs,
    found: &mut Found,
    mut plan: Plan,
    gateway: &mut Gateway,
    watch: &mut Watch,
) -> Result<(), String> {
    plan.staying = args.returning.unwrap_or(args.load.connections) as usize;
    plan.connects_in_flight = usize::MAX;
    plan.counts_refusals = true;
    found.returning = plan.staying as u64;
    let begin = Instant::now();
    let receivers = Receivers::start(&plan, Clock::new(), Refusals::default())?;
    let receivers = match phases::wait_connected(receivers, gateway, watch) {
        Err(why) => return Err(gateway.died().unwrap_or(why)),
        Ok(receivers) => receivers,
    };
    found.return_seconds = begin.elapsed().as_secs_f64();
    found.returned = receivers.open();
    found.returns_per_s = found.returned as f64 / found.return_seconds;
    phases::wait(phases::SETTLE, || {
        watch.look(0, &receivers, gateway);
        false
    });
    let outcomes: Vec<Outcome> = receivers.join()?;
    let mut waits = Recorder::default();
    for outcome in &outcomes {
        waits.merge(&outcome.handshakes);
        for (how, count) in &outcome.tally.closed {
            *found.dropped.entry(how.to_string()).or_default() += count;
        }
        for (why, count) in &outcome.refusals {
            *found.refusals.entry(why.clone()).or_default() += count;
        }
    }
    found.wait = waits.percentiles();
    found.distributions.push(Distribution::of("wait of a returning connection", &waits));
    Ok(())
}
