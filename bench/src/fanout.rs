//! The fan-out run: connect, settle, publish at a rate, wait for the last delivery, leave; measured from outside.
//!
//! *Not here*: how any of these is done (`receiver`, `publisher`, `gateway`), how it is shown (`report`).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::args::{FanoutArgs, FormatKind, PublisherKind, SenderKind};
use crate::clock::Clock;
use crate::floor::{self, Floor};
use crate::gateway::{Cpu, Gateway, Memory, Sends};
use crate::histogram::{Percentiles, Recorder};
use crate::message::{MESSAGE_BYTES_MAX, MESSAGE_BYTES_MIN, MessageSpec, SEQUENCE_MAX};
use crate::progress::{Goal, Progress, Reading, Sampler};
use crate::publisher::{HttpTarget, Published, Publisher, RedisTarget, Schedule, Target};
use crate::receiver::connection::upgrade_request;
use crate::receiver::{Outcome, Phase, Plan, Receivers};
use crate::report::units::human;
use crate::report::{self, Lag};
use crate::results::{Distribution, Series};
use crate::sys::process;
use crate::verify::{Faults, Framing, Refusals, Tally, client_frame, opcode};

/// Connecting makes progress at least this often.
const CONNECT_STALL_MAX: Duration = Duration::from_secs(20);
/// Joins that travel behind the upgrade have arrived by then, and memory has stopped to move.
const SETTLE: Duration = Duration::from_secs(1);
/// After everybody has left: the gateway has noticed, and given back what it will.
const AFTER_LEAVE: Duration = Duration::from_secs(2);
/// Stalled connections that read again get this long to find their Close frame.
const STALLED_READ: Duration = Duration::from_secs(10);
/// How often the controller looks.
const LOOK: Duration = Duration::from_millis(10);
/// A whole run; receipts are kept in 32 bits of microseconds.
const RUN_SECONDS_MAX: f64 = 4_000.0;

/// What a run found. All of it goes into the JSON; the table shows the most of it.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) connections: u64,
    pub(crate) connect_seconds: f64,
    pub(crate) connects_per_s: f64,
    pub(crate) interrupted: bool,
    /// Messages given to the publisher's target, warm-up included.
    pub(crate) published: u64,
    pub(crate) refused: u64,
    pub(crate) publish_error: Option<String>,
    pub(crate) publish_lag: Percentiles,
    pub(crate) publish_answer: Percentiles,
    /// From the first measured message's time to the last delivery.
    pub(crate) window_seconds: f64,
    pub(crate) deliveries: u64,
    pub(crate) deliveries_per_s: f64,
    pub(crate) payload_mb_per_s: f64,
    /// Frames, reads and their quotients count the warm-up too.
    pub(crate) frames: u64,
    pub(crate) frames_per_s: f64,
    pub(crate) messages_per_frame: f64,
    pub(crate) messages_per_read: f64,
    pub(crate) latency: Percentiles,
    pub(crate) time_to_last: Percentiles,
    pub(crate) faults: Faults,
    pub(crate) connections_with_gaps: u64,
    pub(crate) first_malformed: Option<String>,
    pub(crate) other_frames: u64,
    pub(crate) pings_answered: u64,
    /// Connections that the server ended, by Close code or what came instead.
    pub(crate) closed_by_server: BTreeMap<String, u64>,
    pub(crate) rejoined: u64,
    pub(crate) rejoins_failed: u64,
    pub(crate) stalled: Option<Stalled>,
    pub(crate) gateway: Option<GatewayUse>,
    pub(crate) bytes_per_send: f64,
    /// Where `bytes_per_send` comes from: the gateway's metrics, or the receivers' reads.
    pub(crate) bytes_per_send_from: &'static str,
    pub(crate) memory: Option<MemoryUse>,
    pub(crate) receivers: Lag,
    pub(crate) floor: Option<Floor>,
    /// The distributions of which the percentiles above are, whole.
    #[serde(skip)]
    pub(crate) distributions: Vec<Distribution>,
    /// How the run went over time.
    #[serde(skip)]
    pub(crate) series: Vec<Series>,
}

/// What became of the connections that did not read.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Stalled {
    pub(crate) connections: u64,
    /// By Close code or what came instead; what is missing was still open.
    pub(crate) closed: BTreeMap<String, u64>,
    /// Messages that they found when they read again.
    pub(crate) messages: u64,
    pub(crate) faults: Faults,
}

/// The gateway's CPU time in the measured window.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct GatewayUse {
    pub(crate) user_seconds: f64,
    pub(crate) system_seconds: f64,
    /// Of the window's wall time.
    pub(crate) cpu_percent: f64,
    pub(crate) sends: Option<f64>,
    pub(crate) user_ns_per_send: Option<f64>,
    pub(crate) system_ns_per_send: Option<f64>,
}

/// The gateway's memory, bytes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct MemoryUse {
    pub(crate) before: Memory,
    pub(crate) connected: Memory,
    pub(crate) after_load: Memory,
    pub(crate) after_leave: Memory,
    pub(crate) anonymous_per_connection: f64,
}

/// The subcommand; false when something that must be zero is not.
pub(crate) fn run(args: &FanoutArgs) -> Result<bool, String> {
    check(args)?;
    let mut gateway = Gateway::from_args(args)?;
    let before = gateway.memory();
    let mut watch = Watch::new(args);
    let clock = Clock::new();
    let refusals = Refusals::default();
    let plan = plan(args, &gateway);
    let target = target(args, &gateway)?;
    let receivers = Receivers::start(&plan, clock.clone(), refusals.clone())?;

    let begin = Instant::now();
    let receivers = match wait_connected(receivers, &gateway, &mut watch) {
        Err(why) => return Err(gateway.died().unwrap_or(why)),
        Ok(receivers) => receivers,
    };
    let connect = begin.elapsed();
    std::thread::sleep(SETTLE);
    let connected = gateway.memory();

    let mut report = Report {
        connections: receivers.open(),
        connect_seconds: connect.as_secs_f64(),
        connects_per_s: receivers.open() as f64 / connect.as_secs_f64(),
        ..Report::default()
    };
    let load = if args.idle {
        hold(args, &receivers, &gateway, &clock, &mut watch);
        None
    } else {
        Some(publish(args, &plan, target, &receivers, &gateway, &clock, &refusals, &mut watch)?)
    };
    let after_load = gateway.memory();
    if args.stalled > 0 {
        receivers.enter(Phase::ReadStalled);
        wait(STALLED_READ, || receivers.stalled_left() == 0);
    }
    report.interrupted = process::interrupted();
    let outcomes = receivers.join()?;
    if let Some(why) = gateway.died() {
        return Err(why);
    }
    watch.progress.stage("everybody has left", Goal::Time(AFTER_LEAVE));
    wait(AFTER_LEAVE, || {
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
    account(args, &plan, &mut report, load, &outcomes);
    drop(gateway);
    if args.floor && !args.idle && !process::interrupted() {
        report.floor = Some(measure_floor(args, &report, &watch.progress)?);
    }
    watch.progress.clear();
    report::fanout(args, &plan, &report)?;
    // A run that delivered nothing has verified nothing.
    let delivered = args.idle || report.deliveries > 0;
    Ok(delivered && report.faults.none() && report.publish_error.is_none())
}

fn check(args: &FanoutArgs) -> Result<(), String> {
    if !(MESSAGE_BYTES_MIN..=MESSAGE_BYTES_MAX).contains(&args.bytes) {
        return Err(format!(
            "--bytes {}: a message has {MESSAGE_BYTES_MIN} to {MESSAGE_BYTES_MAX}",
            args.bytes
        ));
    }
    let total = args.seconds + args.warmup;
    if args.rate <= 0.0 || args.seconds <= 0.0 || args.warmup < 0.0 || args.drain <= 0.0 {
        return Err("--rate, --seconds and --drain must be above zero, --warmup not below".into());
    }
    if total > RUN_SECONDS_MAX || total * args.rate > SEQUENCE_MAX as f64 / 10.0 {
        return Err(format!(
            "a run has at most {RUN_SECONDS_MAX} seconds and {} messages",
            SEQUENCE_MAX / 10
        ));
    }
    if args.joins_leaves < 0.0 || args.ping_every < 0.0 {
        return Err("--joins-leaves and --ping-every cannot be below zero".into());
    }
    Ok(())
}

#[allow(clippy::cast_sign_loss)] // checked: no operand is negative
fn plan(args: &FanoutArgs, gateway: &Gateway) -> Plan {
    let path = args.path.clone().unwrap_or_else(|| match args.format {
        FormatKind::GoPush => {
            let path = if gateway.url.path.is_empty() { "/connect" } else { &gateway.url.path };
            let separator = if path.contains('?') { '&' } else { '?' };
            format!("{path}{separator}join={}", args.topic)
        }
        FormatKind::Raw => format!("/topics/{}", args.topic),
    });
    let count = ((args.rate * (args.seconds + args.warmup)).round() as u64).max(1);
    Plan {
        target: gateway.url.address,
        upgrade: Some(upgrade_request(&gateway.url.authority, &path)),
        hello: args.hello.as_ref().map(|text| client_frame(opcode::TEXT, text.as_bytes())),
        framing: match args.format {
            FormatKind::GoPush => Framing::GoPush,
            FormatKind::Raw => Framing::Raw,
        },
        spec: MessageSpec::new(args.bytes, 1e6 / args.rate, count),
        measure_from: (args.rate * args.warmup).round() as u64,
        congestion: args.machine.congestion.clone(),
        ping_every: (args.ping_every > 0.0 && args.format == FormatKind::GoPush)
            .then(|| Duration::from_secs_f64(args.ping_every)),
        staying: args.connections as usize,
        // Each rejoins about every two seconds: long enough to receive, and a set that others are measured beside.
        churning: (args.joins_leaves * 2.0).ceil() as usize,
        churn_per_s: args.joins_leaves,
        stalled: args.stalled as usize,
        cores: args.machine.receiver_core.clone(),
    }
}

fn target(args: &FanoutArgs, gateway: &Gateway) -> Result<Target, String> {
    Ok(match args.publisher {
        PublisherKind::Http => Target::Http(HttpTarget::new(&gateway.api, &args.topic)),
        PublisherKind::Redis => {
            let channel = args.redis_channel.clone();
            let channel = channel.unwrap_or_else(|| format!("fanfare:topic:{}", args.topic));
            Target::Redis(RedisTarget::connect(&args.redis, &channel)?)
        }
    })
}

/// Looks until it is true, the time has passed, or somebody presses Ctrl-C.
fn wait(at_most: Duration, mut done: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    while !done() {
        if begin.elapsed() >= at_most || process::interrupted() {
            return false;
        }
        std::thread::sleep(LOOK);
    }
    true
}

/// Shows how the run goes, and keeps it for the curves.
struct Watch {
    progress: Progress,
    sampler: Sampler,
    /// Deliveries so far, once nobody receives any more.
    deliveries: u64,
}

impl Watch {
    fn new(args: &FanoutArgs) -> Self {
        Self { progress: Progress::new(&args.machine), sampler: Sampler::new(), deliveries: 0 }
    }

    /// A look at the run, from each loop that waits for something.
    fn look(&mut self, position: u64, receivers: &Receivers, gateway: &Gateway) {
        self.deliveries = receivers.messages();
        self.sampler.sample(|| Reading {
            deliveries: self.deliveries,
            open: receivers.open(),
            memory: gateway.memory().map(|memory| memory.anonymous),
            latency: Some(receivers.latency()),
        });
        self.progress.update(position, || {
            let latency = receivers.latency();
            let at = |name: &str, quantile| {
                latency.quantile_ms(quantile).map(|ms| format!("{name} {}", human(ms, "ms")))
            };
            let memory =
                gateway.memory().map(|memory| format!("gateway {}", human(memory.anonymous as f64, "B")));
            let parts = [at("p50", 0.5), at("p99", 0.99), memory];
            parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
        });
    }

    /// The same when the connections are closed.
    fn left(&mut self, gateway: &Gateway) {
        let memory = gateway.memory().map(|memory| memory.anonymous);
        let deliveries = self.deliveries;
        self.sampler.sample(|| Reading { deliveries, open: 0, memory, latency: None });
        self.progress.update(0, String::new);
    }
}

fn wait_connected(receivers: Receivers, gateway: &Gateway, watch: &mut Watch) -> Result<Receivers, String> {
    let (mut open, mut since) = (0, Instant::now());
    watch.progress.stage("connecting", Goal::Count(receivers.total()));
    while receivers.open() < receivers.total() {
        if receivers.failed() || process::interrupted() || since.elapsed() > CONNECT_STALL_MAX {
            let stuck = format!("only {} of {} connections were opened", receivers.open(), receivers.total());
            return Err(receivers.join().err().unwrap_or(stuck));
        }
        if receivers.open() != open {
            (open, since) = (receivers.open(), Instant::now());
        }
        watch.look(open, &receivers, gateway);
        std::thread::sleep(LOOK);
    }
    Ok(receivers)
}

fn hold(args: &FanoutArgs, receivers: &Receivers, gateway: &Gateway, clock: &Clock, watch: &mut Watch) {
    clock.set_base_in(Duration::ZERO);
    receivers.enter(Phase::Measure);
    let time = Duration::from_secs_f64(args.seconds);
    watch.progress.stage("holding", Goal::Time(time));
    wait(time, || {
        watch.look(0, receivers, gateway);
        receivers.open() == 0
    });
    receivers.enter(Phase::Measured);
    std::thread::sleep(3 * LOOK);
}

/// What the load was and what it cost.
struct Load {
    published: Published,
    cpu: Option<Cpu>,
    sends: Option<Sends>,
    wall: Duration,
}

#[allow(clippy::too_many_arguments)] // the parts of one run, each of its own kind
fn publish(
    args: &FanoutArgs,
    plan: &Plan,
    target: Target,
    receivers: &Receivers,
    gateway: &Gateway,
    clock: &Clock,
    refusals: &Refusals,
    watch: &mut Watch,
) -> Result<Load, String> {
    let schedule = Schedule {
        spec: plan.spec,
        measure_from: plan.measure_from,
        tick: Duration::from_millis(args.tick_ms),
        core: args.publisher_core.unwrap_or(args.machine.receiver_core[0]),
    };
    clock.set_base_in(Duration::from_millis(50));
    let publisher = Publisher::start(target, schedule, clock.clone(), refusals.clone())?;
    watch.progress.stage("publishing", Goal::Count(plan.spec.count));
    wait(Duration::from_secs_f64(args.warmup + 0.05), || {
        watch.look(publisher.sent(), receivers, gateway);
        publisher.done()
    });
    let before = (gateway.cpu(), gateway.sends());
    let begin = Instant::now();
    receivers.enter(Phase::Measure);
    while !publisher.done() && !process::interrupted() && !receivers.failed() {
        watch.look(publisher.sent(), receivers, gateway);
        std::thread::sleep(LOOK);
    }
    let outcome = publisher.stop()?;
    receivers.published(outcome.messages);
    let (mut messages, mut since) = (receivers.messages(), Instant::now());
    // The count of those behind is fresh when it was made after the last message was published.
    let fresh = Instant::now() + Duration::from_millis(50);
    while Instant::now() < fresh || receivers.behind() > 0 {
        if receivers.failed() || since.elapsed().as_secs_f64() > args.drain {
            break;
        }
        if receivers.messages() != messages {
            (messages, since) = (receivers.messages(), Instant::now());
        }
        watch.look(outcome.messages, receivers, gateway);
        std::thread::sleep(LOOK);
    }
    let after = (gateway.cpu(), gateway.sends());
    let wall = begin.elapsed();
    receivers.enter(Phase::Measured);
    std::thread::sleep(3 * LOOK);
    let cpu = before.0.zip(after.0).map(|(before, after)| Cpu {
        user: after.user.saturating_sub(before.user),
        system: after.system.saturating_sub(before.system),
    });
    let sends = before.1.zip(after.1).map(|(before, after)| Sends {
        sends: after.sends - before.sends,
        bytes: after.bytes - before.bytes,
    });
    Ok(Load { published: outcome, cpu, sends: sends.filter(|sends| sends.sends > 0.0), wall })
}

fn by_name(tally: &Tally) -> BTreeMap<String, u64> {
    tally.closed.iter().map(|(how, count)| (how.to_string(), *count)).collect()
}

/// Turns counts into a report.
fn account(args: &FanoutArgs, plan: &Plan, report: &mut Report, load: Option<Load>, outcomes: &[Outcome]) {
    let (mut tally, mut stalled) = (Tally::default(), Tally::default());
    for outcome in outcomes {
        tally.merge(&outcome.tally);
        stalled.merge(&outcome.stalled);
        report.connections_with_gaps += outcome.connections_with_gaps;
        report.rejoined += outcome.rejoined;
        report.rejoins_failed += outcome.rejoins_failed;
    }
    report.receivers = Lag::of(outcomes);
    report.faults = tally.faults;
    report.first_malformed.clone_from(&tally.first_malformed);
    report.other_frames = tally.other_frames;
    report.pings_answered = tally.pings;
    report.closed_by_server = by_name(&tally);
    if args.stalled > 0 {
        report.stalled = Some(Stalled {
            connections: u64::from(args.stalled),
            closed: by_name(&stalled),
            messages: stalled.messages,
            faults: stalled.faults,
        });
    }
    let Some(load) = load else { return };
    report.published = load.published.messages;
    report.refused = load.published.refused;
    report.publish_error.clone_from(&load.published.error);
    report.publish_lag = load.published.lag.percentiles();
    report.publish_answer = load.published.answers.percentiles();

    let mut to_last = Recorder::default();
    let mut end_us = 0;
    for sequence in plan.measure_from..load.published.messages {
        let last = tally.last_us.get(sequence as usize).copied().map_or(0, u64::from);
        if last > 0 {
            to_last.record(last.saturating_sub(plan.spec.intended_us(sequence)));
            end_us = end_us.max(last);
        }
    }
    let window_us = end_us.saturating_sub(plan.spec.intended_us(plan.measure_from));
    report.window_seconds = window_us as f64 / 1e6;
    let per_s = |n: f64| if window_us == 0 { 0.0 } else { n / report.window_seconds };
    report.deliveries = tally.measured;
    report.deliveries_per_s = per_s(tally.measured as f64);
    report.payload_mb_per_s = per_s((tally.measured * plan.spec.bytes as u64) as f64 / 1e6);
    report.frames = tally.frames;
    report.messages_per_frame = tally.messages as f64 / tally.frames.max(1) as f64;
    report.frames_per_s = report.deliveries_per_s / report.messages_per_frame.max(f64::MIN_POSITIVE);
    report.messages_per_read = tally.messages as f64 / tally.reads.max(1) as f64;
    report.latency = tally.latency.percentiles();
    report.time_to_last = to_last.percentiles();
    report.distributions = vec![
        Distribution::of("latency", &tally.latency),
        Distribution::of("to last device", &to_last),
        Distribution::of("publisher lag", &load.published.lag),
        Distribution::of("publish answer", &load.published.answers),
    ];
    report.bytes_per_send = tally.bytes as f64 / tally.reads.max(1) as f64;
    report.bytes_per_send_from = "receivers' reads";
    if let Some(sends) = load.sends {
        report.bytes_per_send = sends.bytes / sends.sends;
        report.bytes_per_send_from = "gateway's metrics";
    }
    report.gateway = load.cpu.map(|cpu| {
        let sends = load.sends.map(|sends| sends.sends);
        let per_send = |time: Duration| sends.map(|sends| time.as_nanos() as f64 / sends);
        GatewayUse {
            user_seconds: cpu.user.as_secs_f64(),
            system_seconds: cpu.system.as_secs_f64(),
            cpu_percent: (cpu.user + cpu.system).as_secs_f64() / load.wall.as_secs_f64() * 100.0,
            sends,
            user_ns_per_send: per_send(cpu.user),
            system_ns_per_send: per_send(cpu.system),
        }
    });
}

#[allow(clippy::cast_sign_loss)] // bytes are not negative
fn measure_floor(args: &FanoutArgs, report: &Report, progress: &Progress) -> Result<Floor, String> {
    let spec = floor::Spec {
        sockets: (args.connections as usize).min(15_000),
        bytes: (report.bytes_per_send.round() as usize).clamp(MESSAGE_BYTES_MIN, MESSAGE_BYTES_MAX),
        items: None,
        seconds: 2.0,
        rate: 5.0,
        sender: SenderKind::Send,
        sender_core: args.gateway_core[0],
        receiver_cores: args.machine.receiver_core.clone(),
        congestion: args.machine.congestion.clone(),
    };
    floor::measure_showing(&spec, progress)
}
