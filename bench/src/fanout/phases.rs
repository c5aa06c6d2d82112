//! What is done with the connections of a session: hold them, publish until the last delivery, or one load of several.
//!
//! *Not here*: connecting and leaving (`session`), what comes of the counts (`account`).

use std::time::{Duration, Instant};

use super::account::{self, Load};
use super::args::FanoutArgs;
use super::found::Report;
use super::plan;
use super::session::Session;
use super::wait::{LOOK, wait};
use super::watch::Watch;
use crate::gateway::{Gateway, Sends};
use crate::progress::Goal;
use crate::publisher::{Publisher, Schedule};
use crate::receiver::{Phase, Receivers, Round};
use crate::sys::process;
use crate::units::plain;

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
            None => plan::target(args, &self.gateway)?,
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

    /// One load of several. The connections stay for the next one when every message arrived as it must and nobody was
    /// closed; otherwise what is still on its way would be taken for the next load's, and they leave. What has not
    /// arrived `drain_at_most` after the last publish is not waited for.
    pub(crate) fn rung(&mut self, args: &FanoutArgs, drain_at_most: Duration) -> Result<Report, String> {
        plan::check(args)?;
        if let Some(receivers) = &self.receivers {
            self.plan = plan::plan(args, &self.gateway);
            receivers.next_round(self.round())?;
        } else {
            self.connect(args)?;
        }
        let load = self.publish(args, &format!("publishing {}/s", plain(args.rate)), Some(drain_at_most))?;
        let mut report = self.report();
        let intact = |receivers: &Receivers| load.behind == 0 && receivers.open() == receivers.total();
        let outcomes = match self.receivers.take_if(|receivers| !intact(receivers)) {
            Some(receivers) => receivers.join()?,
            None => self.connections()?.next_round(self.round())?,
        };
        if let Some(why) = self.gateway.died() {
            return Err(why);
        }
        account::account(&self.plan, &mut report, Some(load), &outcomes);
        if !report.faults.none() {
            self.receivers = None;
        }
        Ok(report)
    }

    fn round(&self) -> Round {
        Round { spec: self.plan.spec, measure_from: self.plan.measure_from }
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
