//! The phases of a run, one function each: connect, hold, publish until the last delivery.

use std::time::{Duration, Instant};

use super::session::Session;
use super::watch::Watch;
use crate::args::FanoutArgs;
use crate::gateway::{Cpu, Gateway, Sends};
use crate::progress::Goal;
use crate::publisher::{Published, Publisher, Schedule};
use crate::receiver::{Phase, Receivers};
use crate::sys::process;

/// Connecting makes progress at least this often.
const CONNECT_STALL_MAX: Duration = Duration::from_secs(20);
/// Joins that travel behind the upgrade have arrived by then, and memory has stopped to move.
pub(super) const SETTLE: Duration = Duration::from_secs(1);
/// After everybody has left: the gateway has noticed, and given back what it will.
pub(super) const AFTER_LEAVE: Duration = Duration::from_secs(2);
/// Stalled connections that read again get this long to find their Close frame.
pub(super) const STALLED_READ: Duration = Duration::from_secs(10);
/// How often the controller looks.
pub(super) const LOOK: Duration = Duration::from_millis(10);

/// Looks until it is true, the time has passed, or somebody presses Ctrl-C.
pub(crate) fn wait(at_most: Duration, mut done: impl FnMut() -> bool) -> bool {
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
    let (mut settled, mut since) = (0, Instant::now());
    watch.progress.stage("connecting", Goal::Count(receivers.total()));
    // One that was opened and closed again has been opened.
    let now = |receivers: &Receivers| receivers.opened() + receivers.refused();
    while now(&receivers) < receivers.total() {
        if receivers.failed() || process::interrupted() || since.elapsed() > CONNECT_STALL_MAX {
            let why = stuck(&receivers);
            return Err(receivers.join().err().unwrap_or(why));
        }
        if now(&receivers) != settled {
            (settled, since) = (now(&receivers), Instant::now());
        }
        watch.look(settled, &receivers, gateway);
        std::thread::sleep(LOOK);
    }
    Ok(receivers)
}

/// Why connecting ended although no connection failed.
fn stuck(receivers: &Receivers) -> String {
    let (opened, total) = (receivers.opened(), receivers.total());
    let within = CONNECT_STALL_MAX.as_secs();
    match opened {
        _ if process::interrupted() => format!("interrupted with {opened} of {total} connections opened"),
        0 => format!("the server takes connections and answers no upgrade within {within} s"),
        _ => format!("only {opened} of {total} connections were opened: no answer for {within} s"),
    }
}

/// What the load was and what it cost.
pub(crate) struct Load {
    pub(super) published: Published,
    /// Connections that had not got everything when the wait for them ended.
    pub(super) behind: u64,
    pub(super) cpu: Option<Cpu>,
    pub(super) sends: Option<Sends>,
    pub(super) wall: Duration,
}

impl Session {
    /// Nothing is published.
    pub(crate) fn hold(&mut self, time: Duration) {
        let Some(receivers) = &self.receivers else { return };
        self.clock.set_base_in(Duration::ZERO);
        receivers.enter(Phase::Measure);
        self.watch.progress.stage("holding", Goal::Time(time));
        wait(time, || {
            self.watch.look(0, receivers, &self.gateway);
            receivers.open() == 0
        });
        receivers.enter(Phase::Measured);
        std::thread::sleep(3 * LOOK);
    }

    /// Publishes what the plan says, as this stage of the progress, and waits until everybody has it: while any connection makes progress, but
    /// `drain_at_most`, when that is given; then what is missing is late and no gap.
    pub(crate) fn publish(
        &mut self,
        args: &FanoutArgs,
        stage: &str,
        drain_at_most: Option<Duration>,
    ) -> Result<Load, String> {
        let schedule = Schedule {
            spec: self.plan.spec,
            topics: args.load.topics as usize,
            measure_from: self.plan.measure_from,
            tick: Duration::from_millis(args.load.tick_ms),
            core: args.load.publisher_core.unwrap_or(args.machine.receiver_core[0]),
        };
        let target = match self.target.take() {
            Some(target) => target,
            None => super::plan::target(args, &self.gateway)?,
        };
        self.clock.set_base_in(Duration::from_millis(50));
        let publisher = Publisher::start(target, schedule, self.clock.clone(), self.refusals.clone())?;
        let count = self.plan.spec.count;
        let Some(receivers) = &self.receivers else { return Err("nobody is connected".into()) };
        let (gateway, watch) = (&self.gateway, &mut self.watch);
        watch.progress.stage(stage, Goal::Count(count));
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
        let behind = drain(args, outcome.messages, drain_at_most, receivers, gateway, watch);
        let after = (gateway.cpu(), gateway.sends());
        let wall = begin.elapsed();
        receivers.enter(Phase::Measured);
        std::thread::sleep(3 * LOOK);
        let cpu = before.0.zip(after.0).map(|(before, after)| after.since(before));
        let sends = before.1.zip(after.1).map(|(before, after)| Sends {
            sends: after.sends - before.sends,
            bytes: after.bytes - before.bytes,
        });
        Ok(Load { published: outcome, behind, cpu, sends: sends.filter(|sends| sends.sends > 0.0), wall })
    }
}

/// Waits for the last delivery; returns how many connections are still behind.
fn drain(
    args: &FanoutArgs,
    published: u64,
    at_most: Option<Duration>,
    receivers: &Receivers,
    gateway: &Gateway,
    watch: &mut Watch,
) -> u64 {
    receivers.published(published);
    let begin = Instant::now();
    let (mut messages, mut since) = (receivers.messages(), begin);
    while receivers.behind() > 0 {
        if receivers.failed() || since.elapsed().as_secs_f64() > args.load.drain {
            break;
        }
        if at_most.is_some_and(|at_most| begin.elapsed() > at_most) {
            let behind = receivers.behind();
            receivers.abandon();
            return behind;
        }
        if receivers.messages() != messages {
            (messages, since) = (receivers.messages(), Instant::now());
        }
        watch.look(published, receivers, gateway);
        std::thread::sleep(LOOK);
    }
    receivers.behind()
}
