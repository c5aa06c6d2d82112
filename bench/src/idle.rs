//! Many connections that mostly do nothing: what each costs, whether all of them stay, and how long one message to all
//! of them takes.
//!
//! Connect · hold, each connection with its PINGs · broadcasts, one after the other · leave. *Not here*: any of these
//! in itself (`fanout::phases`, `receiver`).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::args::{FanoutArgs, FormatKind, IdleArgs};
use crate::clock::Clock;
use crate::fanout::{Report, Watch, account, phases, plan};
use crate::floor::Floor;
use crate::gateway::{Cpu, Gateway, Memory};
use crate::histogram::{Percentiles, Recorder};
use crate::progress::{Goal, Progress};
use crate::receiver::{Outcome, Receivers};
use crate::report;
use crate::results::{Distribution, Series};
use crate::slab::{KernelUse, Slab};
use crate::sys::process;
use crate::verify::Refusals;

/// Time for a broadcast to reach one of many connections: several times what a send costs anywhere.
const BROADCAST_PER_CONNECTION: Duration = Duration::from_micros(30);
/// Broadcasts are at least this far apart.
const BROADCAST_EVERY_MIN: Duration = Duration::from_secs(1);

/// What a run found.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Found {
    pub(crate) connections: u64,
    pub(crate) refused: u64,
    pub(crate) refusals: BTreeMap<String, u64>,
    pub(crate) connect_seconds: f64,
    pub(crate) connects_per_s: f64,
    pub(crate) handshake: Percentiles,
    /// Connections that ended before they were told to, by how.
    pub(crate) dropped: BTreeMap<String, u64>,
    pub(crate) held_seconds: f64,
    pub(crate) pings_sent: u64,
    /// Frames that are no messages: the answers to the PINGs.
    pub(crate) pings_answered: u64,
    pub(crate) server_pings: u64,
    /// Of the gateway while it held them.
    pub(crate) held_cpu_percent: Option<f64>,
    pub(crate) memory: Option<Held>,
    pub(crate) kernel: Option<KernelUse>,
    /// Broadcasts: published, delivered, verified.
    pub(crate) broadcasts: Option<Report>,
    pub(crate) floor: Option<Floor>,
    #[serde(skip)]
    pub(crate) distributions: Vec<Distribution>,
    #[serde(skip)]
    pub(crate) series: Vec<Series>,
}

/// The gateway's memory.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Held {
    pub(crate) before: Memory,
    pub(crate) connected: Memory,
    pub(crate) held: Memory,
    pub(crate) left: Memory,
}

impl Held {
    /// Bytes a connection that a kind of memory grew by from before to the end of the hold.
    pub(crate) fn per_connection(&self, connections: u64, of: impl Fn(&Memory) -> u64) -> f64 {
        of(&self.held).saturating_sub(of(&self.before)) as f64 / connections.max(1) as f64
    }
}

/// The subcommand; false when something that must be zero is not.
pub(crate) fn run(args: &IdleArgs) -> Result<bool, String> {
    let found = measure(args, Progress::new(&args.machine))?;
    report::idle(args, &found)?;
    let verified = found.broadcasts.as_ref().is_none_or(|broadcasts| {
        broadcasts.faults.none() && broadcasts.publish_error.is_none() && broadcasts.deliveries > 0
    });
    Ok(found.refused == 0 && found.dropped.is_empty() && verified)
}

/// A whole run; prints no result.
pub(crate) fn measure(args: &IdleArgs, progress: Progress) -> Result<Found, String> {
    let load = broadcasts(args);
    plan::check(&load)?;
    let mut gateway = Gateway::from_args(&args.server, None)?;
    let (before, slab_before) = (gateway.memory(), Slab::read());
    let mut watch = Watch::new(progress);
    let (clock, refusals) = (Clock::new(), Refusals::default());
    let mut plan = plan::plan(&load, &gateway);
    plan.counts_refusals = true;
    let target = plan::target(&load, &gateway)?;

    let begin = Instant::now();
    let receivers = Receivers::start(&plan, clock.clone(), refusals.clone())?;
    let receivers = match phases::wait_connected(receivers, &gateway, &mut watch) {
        Err(why) => return Err(gateway.died().unwrap_or(why)),
        Ok(receivers) => receivers,
    };
    let connect = begin.elapsed();
    let mut found = Found {
        connections: receivers.open(),
        refused: receivers.refused(),
        connect_seconds: connect.as_secs_f64(),
        connects_per_s: receivers.open() as f64 / connect.as_secs_f64(),
        ..Found::default()
    };
    std::thread::sleep(phases::SETTLE);
    let connected = gateway.memory();
    hold(args, &mut found, &receivers, &gateway, &mut watch);
    let held = gateway.memory();
    found.kernel = kernel_use(slab_before, &gateway);

    let loaded = (args.broadcasts > 0 && !process::interrupted())
        .then(|| phases::publish(&load, &plan, target, &receivers, &gateway, &clock, &refusals, &mut watch))
        .transpose()?;
    let outcomes = receivers.join()?;
    if let Some(why) = gateway.died() {
        return Err(why);
    }
    phases::after_leave(&gateway, &mut watch);
    if let (Some(before), Some(connected), Some(held), Some(left)) =
        (before, connected, held, gateway.memory())
    {
        found.memory = Some(Held { before, connected, held, left });
    }
    drop(gateway);
    settle(&mut found, &outcomes);
    found.series = watch.sampler.series();
    if loaded.is_some() {
        let mut broadcasts = Report { connections: found.connections, ..Report::default() };
        account::account(&load, &plan, &mut broadcasts, loaded, &outcomes);
        found.distributions.append(&mut broadcasts.distributions);
        if args.floor && !process::interrupted() {
            found.floor = Some(account::measure_floor(&load, &broadcasts, &watch.progress)?);
        }
        found.broadcasts = Some(broadcasts);
    }
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
        server: args.server.clone(),
        load,
        rate: 1.0 / apart.as_secs_f64(),
        joins_leaves: 0.0,
        stalled: 0,
        idle: false,
        floor: args.floor,
        machine: args.machine.clone(),
    }
}

fn hold(args: &IdleArgs, found: &mut Found, receivers: &Receivers, gateway: &Gateway, watch: &mut Watch) {
    let time = Duration::from_secs_f64(args.load.seconds);
    watch.progress.stage("holding", Goal::Time(time));
    let (begin, before) = (Instant::now(), gateway.cpu());
    phases::wait(time, || {
        watch.look(0, receivers, gateway);
        receivers.open() == 0
    });
    found.held_seconds = begin.elapsed().as_secs_f64();
    found.held_cpu_percent = before.zip(gateway.cpu()).map(|(before, after)| {
        let busy = |cpu: Cpu| (cpu.user + cpu.system).as_secs_f64();
        100.0 * (busy(after) - busy(before)) / found.held_seconds
    });
}

fn kernel_use(before: Option<Slab>, gateway: &Gateway) -> Option<KernelUse> {
    // A server elsewhere has its ends elsewhere.
    gateway.memory()?;
    Some(Slab::read()?.since(&before?, gateway.waits_by_io_uring()))
}

fn settle(found: &mut Found, outcomes: &[Outcome]) {
    let mut handshakes = Recorder::default();
    for outcome in outcomes {
        handshakes.merge(&outcome.handshakes);
        found.pings_sent += outcome.pings_sent;
        found.pings_answered += outcome.tally.other_frames;
        found.server_pings += outcome.tally.pings;
        for (how, count) in &outcome.tally.closed {
            *found.dropped.entry(how.to_string()).or_default() += count;
        }
        for (why, count) in &outcome.refusals {
            *found.refusals.entry(why.clone()).or_default() += count;
        }
    }
    found.handshake = handshakes.percentiles();
    found.distributions.push(Distribution::of("handshake", &handshakes));
}

/// Whether each PING of a connection has an answer that can be told from a message.
pub(crate) fn answers_are_counted(args: &IdleArgs) -> bool {
    args.load.format == FormatKind::GoPush && args.load.ping_every > 0.0
}
