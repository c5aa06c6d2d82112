//! The phases of a run, one function each: connect, hold, publish until the last delivery.

use std::time::{Duration, Instant};

use super::watch::Watch;
use crate::args::FanoutArgs;
use crate::clock::Clock;
use crate::gateway::{Cpu, Gateway, Sends};
use crate::progress::Goal;
use crate::publisher::{Published, Publisher, Schedule, Target};
use crate::receiver::{Phase, Plan, Receivers};
use crate::sys::process;
use crate::verify::Refusals;

/// Connecting makes progress at least this often.
const CONNECT_STALL_MAX: Duration = Duration::from_secs(20);
/// Joins that travel behind the upgrade have arrived by then, and memory has stopped to move.
pub(super) const SETTLE: Duration = Duration::from_secs(1);
/// After everybody has left: the gateway has noticed, and given back what it will.
pub(super) const AFTER_LEAVE: Duration = Duration::from_secs(2);
/// Stalled connections that read again get this long to find their Close frame.
pub(super) const STALLED_READ: Duration = Duration::from_secs(10);
/// How often the controller looks.
const LOOK: Duration = Duration::from_millis(10);
/// Looks until it is true, the time has passed, or somebody presses Ctrl-C.
pub(super) fn wait(at_most: Duration, mut done: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    while !done() {
        if begin.elapsed() >= at_most || process::interrupted() {
            return false;
        }
        std::thread::sleep(LOOK);
    }
    true
}

pub(super) fn wait_connected(
    receivers: Receivers,
    gateway: &Gateway,
    watch: &mut Watch,
) -> Result<Receivers, String> {
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

pub(super) fn hold(
    args: &FanoutArgs,
    receivers: &Receivers,
    gateway: &Gateway,
    clock: &Clock,
    watch: &mut Watch,
) {
    clock.set_base_in(Duration::ZERO);
    receivers.enter(Phase::Measure);
    let time = Duration::from_secs_f64(args.load.seconds);
    watch.progress.stage("holding", Goal::Time(time));
    wait(time, || {
        watch.look(0, receivers, gateway);
        receivers.open() == 0
    });
    receivers.enter(Phase::Measured);
    std::thread::sleep(3 * LOOK);
}

/// What the load was and what it cost.
pub(super) struct Load {
    pub(super) published: Published,
    pub(super) cpu: Option<Cpu>,
    pub(super) sends: Option<Sends>,
    pub(super) wall: Duration,
}

#[allow(clippy::too_many_arguments)] // the parts of one run, each of its own kind
pub(super) fn publish(
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
        tick: Duration::from_millis(args.load.tick_ms),
        core: args.load.publisher_core.unwrap_or(args.machine.receiver_core[0]),
    };
    clock.set_base_in(Duration::from_millis(50));
    let publisher = Publisher::start(target, schedule, clock.clone(), refusals.clone())?;
    watch.progress.stage("publishing", Goal::Count(plan.spec.count));
    wait(Duration::from_secs_f64(args.load.warmup + 0.05), || {
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
        if receivers.failed() || since.elapsed().as_secs_f64() > args.load.drain {
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
