//! A server with connections: opened once, closed once. *Not here*: what it is loaded with meanwhile (`phases`).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::account::{self, Load};
use super::args::{Arrival, FanoutArgs};
use super::found::{ConnectCpu, MemoryUse, Report};
use super::plan;
use super::wait::{wait, wait_connected};
use super::watch::Watch;
use crate::clock::Clock;
use crate::gateway::{Gateway, Memory};
use crate::progress::{Goal, Progress};
use crate::publisher::{RedisTarget, Target};
use crate::receiver::{Phase, Plan, Receivers};
use crate::sys::process;
use crate::verify::Refusals;

/// Joins that travel behind the upgrade have arrived by then, and memory has stopped to move.
const SETTLE: Duration = Duration::from_secs(1);
/// After everybody has left: the gateway has noticed, and given back what it will.
const AFTER_LEAVE: Duration = Duration::from_secs(2);
/// Stalled connections that read again get this long to find their Close frame.
const STALLED_READ: Duration = Duration::from_secs(10);

/// Owns the server (when it was started here), the connections and what is shown of them.
pub(crate) struct Session {
    /// `None`: not connected. Before the server, because the connections leave before it ends.
    pub(crate) receivers: Option<Receivers>,
    pub(crate) gateway: Gateway,
    pub(super) clock: Clock,
    pub(super) refusals: Refusals,
    pub(crate) plan: Plan,
    /// Made before the connections.
    pub(super) target: Option<Target>,
    pub(crate) watch: Watch,
    pub(crate) before: Option<Memory>,
    connected: Option<Memory>,
    opened: u64,
    connect_time: Duration,
    connect_cpu: Option<ConnectCpu>,
}

impl Session {
    /// Finds or starts the server.
    pub(crate) fn open(args: &FanoutArgs, progress: Progress) -> Result<Self, String> {
        plan::check(args)?;
        // The gateway would wait for a Redis that is not there, and not say so here.
        if let Some(redis) = plan::redis(args) {
            RedisTarget::connect(redis, Vec::new())?;
        }
        let gateway = Gateway::from_args(&args.server, plan::redis(args))?;
        Ok(Self {
            clock: Clock::new(),
            refusals: Refusals::default(),
            plan: plan::plan(args, &gateway),
            receivers: None,
            target: None,
            watch: Watch::new(progress),
            before: gateway.memory(),
            connected: None,
            opened: 0,
            connect_time: Duration::ZERO,
            connect_cpu: None,
            gateway,
        })
    }

    /// Opens the connections, and waits until they have settled.
    pub(crate) fn connect(&mut self, args: &FanoutArgs) -> Result<(), String> {
        self.plan = plan::plan(args, &self.gateway);
        self.target = Some(plan::target(args, &self.gateway)?);
        // Receivers of an earlier connect may still hold the one before.
        self.refusals = Refusals::default();
        let (cpu, tool) = (self.gateway.cpu_to_the_ns(), process::own_cpu());
        let receivers = Receivers::start(&self.plan, self.clock.clone(), self.refusals.clone())?;
        let begin = Instant::now();
        let receivers = match wait_connected(receivers, &self.gateway, &mut self.watch) {
            Err(why) => return Err(self.gateway.died().unwrap_or(why)),
            Ok(receivers) => receivers,
        };
        let wall = begin.elapsed();
        self.connect_time = receivers.connect_time();
        let tool = process::own_cpu().saturating_sub(tool);
        let after = self.gateway.cpu_to_the_ns();
        let cpu = cpu.zip(after).map(|(before, after)| after.saturating_sub(before));
        std::thread::sleep(SETTLE);
        self.opened = receivers.opened();
        self.connect_cpu = cpu.map(|cpu| {
            let cores = self.plan.cores.len();
            ConnectCpu::new(cpu, tool, wall, cores, self.opened)
        });
        // Of those who return at once it is a result.
        if args.arrival != Arrival::AtOnce && self.opened > 0 && receivers.open() == 0 {
            return Err(self.gateway.died().unwrap_or(all_closed(receivers)?));
        }
        self.receivers = Some(receivers);
        self.connected = self.gateway.memory();
        Ok(())
    }

    /// What opening the connections took, without the rest after it.
    pub(crate) fn connect_time(&self) -> Duration {
        self.connect_time
    }

    /// Waits until the server has given up every slow connection that can be seen, or the time has passed. The others
    /// stay connected, and nothing is published.
    pub(crate) fn watch_slow(&mut self, at_most: Duration) {
        let Some(receivers) = &self.receivers else { return };
        self.watch.progress.stage("slow ones that the server holds", Goal::Time(at_most));
        wait(at_most, || {
            self.watch.look(0, receivers, &self.gateway);
            receivers.slow_held() == 0
        });
    }

    /// Connections that the server has closed so far, by its own reason; empty when it does not say.
    pub(crate) fn closed_by_reason(&self) -> BTreeMap<String, f64> {
        self.gateway.closed_by_reason()
    }

    /// Everybody leaves; the server stays.
    pub(crate) fn leave(&mut self) -> Result<(), String> {
        if let Some(receivers) = self.receivers.take() {
            receivers.join()?;
        }
        self.watch.progress.stage("everybody has left", Goal::Time(AFTER_LEAVE));
        wait(AFTER_LEAVE, || {
            self.watch.left(&self.gateway);
            false
        });
        Ok(())
    }

    /// The connections; it is a mistake of this tool when there are none.
    pub(crate) fn connections(&self) -> Result<&Receivers, String> {
        self.receivers.as_ref().ok_or_else(|| "the connections were closed before the load".to_owned())
    }

    /// What is known before the counts of the receivers are.
    pub(super) fn report(&self) -> Report {
        Report {
            connections: self.opened,
            connect_seconds: self.connect_time.as_secs_f64(),
            connects_per_s: self.opened as f64 / self.connect_time.as_secs_f64().max(1e-9),
            connect_cpu: self.connect_cpu,
            interrupted: process::interrupted(),
            ..Report::default()
        }
    }

    /// Everybody leaves, and the load's account is made. The server, when it was started here, ends.
    pub(crate) fn finish(mut self, args: &FanoutArgs, load: Option<Load>) -> Result<Report, String> {
        let after_load = self.gateway.memory();
        if self.plan.slow.total() > 0 {
            let receivers = self.connections()?;
            receivers.enter(Phase::ReadStalled);
            wait(STALLED_READ, || receivers.slow_left() == 0);
        }
        let mut report = self.report();
        let outcomes = match self.receivers.take() {
            Some(receivers) => receivers.join()?,
            None => Vec::new(),
        };
        if let Some(why) = self.gateway.died() {
            return Err(why);
        }
        self.watch.progress.stage("everybody has left", Goal::Time(AFTER_LEAVE));
        wait(AFTER_LEAVE, || {
            self.watch.left(&self.gateway);
            false
        });
        report.series = self.watch.sampler.series();
        if let (Some(before), Some(connected), Some(after_load), Some(after_leave)) =
            (self.before, self.connected, after_load, self.gateway.memory())
        {
            let grown = connected.anonymous.saturating_sub(before.anonymous) as f64;
            let anonymous_per_connection = grown / report.connections.max(1) as f64;
            let peak = self.watch.peak;
            report.memory = Some(MemoryUse {
                before,
                connected,
                after_load,
                after_leave,
                peak,
                anonymous_per_connection,
            });
        }
        account::account(&self.plan, &mut report, load, &outcomes);
        drop(self.gateway);
        if args.floor && !args.idle && !process::interrupted() {
            report.floor = Some(account::measure_floor(args, &report, &self.watch.progress)?);
        }
        Ok(report)
    }
}

/// The server has upgraded every connection and then closed it: how.
fn all_closed(receivers: Receivers) -> Result<String, String> {
    let opened = receivers.opened();
    let how = account::closed_how(&receivers.join()?);
    Ok(format!("the server closed all {opened} connections that it had upgraded: {}", how.join(", ")))
}
