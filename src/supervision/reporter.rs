//! What the service manager is told, and when. *Not here*: how it is sent (`sys::notify`).

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::status;
use super::watchdog::{Stuck, Watchdog};
use crate::log::throttle::Throttle;
use crate::metrics::process;
use crate::server::{Part, Running};
use crate::sys::notify::{self, Notifier};
use fanfare_core::limits::{DRAIN_REDIS, DRAIN_TAIL};

/// How often the status line is looked at; it is sent when it has changed.
const STATUS_EVERY: Duration = Duration::from_secs(2);
/// What a drain may take beyond its own bounds before the manager may think that it hangs.
const DRAIN_MARGIN: Duration = Duration::from_secs(5);

/// The service manager, or nobody; and what the threads come to either way.
pub struct Reporter {
    notifier: Option<Notifier>,
    /// What the watchdog's manager waits, until [`Reporter::ready`]: it counts from there.
    waits: Option<Duration>,
    watchdog: Option<Watchdog>,
    /// The last status line that was sent, and when one was looked at.
    status: String,
    looked: Option<Instant>,
    /// Threads that were told about as stuck.
    stuck: Vec<Part>,
    /// Messages that the manager did not take.
    unheard: Throttle,
}

impl Reporter {
    /// The manager that the environment names: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`. An address that cannot
    /// be used is logged and means nobody: the gateway serves all the same.
    pub fn from_environment(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let (mut address, mut usec, mut pid) = (None, None, None);
        for (name, value) in environment {
            match name.to_str() {
                Some("NOTIFY_SOCKET") => address = Some(value),
                Some("WATCHDOG_USEC") => usec = Some(value),
                Some("WATCHDOG_PID") => pid = Some(value),
                _ => {}
            }
        }
        let notifier = address.and_then(|address| match Notifier::new(&address) {
            Ok(notifier) => Some(notifier),
            Err(error) => {
                tracing::warn!(
                    "NOTIFY_SOCKET: {address:?} cannot be used ({error}); the service manager is told nothing"
                );
                None
            }
        });
        let waits = watchdog_time(usec.as_deref(), pid.as_deref(), std::process::id());
        let waits = waits.filter(|_| notifier.is_some());
        Self {
            notifier,
            waits,
            watchdog: None,
            status: String::new(),
            looked: None,
            stuck: Vec::new(),
            unheard: Throttle::default(),
        }
    }

    /// How long the main thread may sleep.
    pub(super) fn patience(&self) -> Duration {
        self.watchdog.as_ref().map_or(STATUS_EVERY, Watchdog::patience)
    }

    /// All shards listen.
    pub(super) fn ready(&mut self, gateway: &Running, now: Instant) {
        self.watchdog = Some(Watchdog::new(self.waits, now));
        self.say("READY=1", gateway);
    }

    /// A reload begins. [`Reporter::ready`] or [`Reporter::reloaded`] ends it.
    pub(super) fn reloading(&mut self) {
        let message = format!("RELOADING=1\nMONOTONIC_USEC={}", notify::monotonic_us());
        self.send(&message);
    }

    /// A reload is over, whatever came of it.
    pub(super) fn reloaded(&mut self, gateway: &Running) {
        self.say("READY=1", gateway);
    }

    /// The drain begins. It may be configured to take longer than the unit's `TimeoutStopSec=`, so the time that it
    /// takes at most is asked for.
    pub(super) fn stopping(&mut self, gateway: &Running) {
        let takes = gateway.edition().config.server.drain + DRAIN_REDIS + DRAIN_TAIL + DRAIN_MARGIN;
        self.say(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}", takes.as_micros()), gateway);
    }

    /// Looks whether every thread works, tells who does not, keeps the status line current, and feeds the watchdog while all
    /// do.
    pub(super) fn report(&mut self, gateway: &Running, now: Instant) {
        let Some(watchdog) = &mut self.watchdog else { return };
        let verdict = watchdog.look(gateway.pulses(), now);
        self.tell_stuck(&verdict.stuck, gateway);
        if self.notifier.is_none() {
            return;
        }
        let mut message = String::new();
        if self.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= STATUS_EVERY) {
            self.looked = Some(now);
            let line = status::line(gateway.blocks(), &gateway.edition().config, gateway.is_draining());
            if line != self.status {
                let _ = write!(message, "STATUS={line}");
                self.status = line;
            }
        }
        if verdict.feed {
            message.push_str(if message.is_empty() { "WATCHDOG=1" } else { "\nWATCHDOG=1" });
        }
        if !message.is_empty() {
            self.send(&message);
        }
    }

    /// Logs which threads are stuck and which work again, once for each, and sets their gauges.
    fn tell_stuck(&mut self, stuck: &[Stuck], gateway: &Running) {
        for part in self.stuck.extract_if(.., |part| !stuck.iter().any(|stuck| stuck.part == *part)) {
            tracing::warn!("the thread {part} works again");
            gateway.note_stalled(part, false);
        }
        for Stuck { part, since, turned } in stuck {
            if self.stuck.contains(part) {
                continue;
            }
            let fed = if self.waits.is_some() { ": the service manager's watchdog is not fed" } else { "" };
            let seconds = since.as_secs_f64();
            let kernel = process::thread_state(&part.to_string());
            if *turned == 0 {
                tracing::error!("the thread {part} stands still for {seconds:.1} s, {kernel}{fed}");
            } else {
                tracing::error!(
                    "the thread {part} stands still for {seconds:.1} s: it has turned {turned} times without work and \
                     without a wait, {kernel}{fed}"
                );
            }
            gateway.note_stalled(*part, true);
            self.stuck.push(*part);
        }
    }

    /// Sends an assignment with the status line of now behind it.
    fn say(&mut self, assignment: &str, gateway: &Running) {
        let line = status::line(gateway.blocks(), &gateway.edition().config, gateway.is_draining());
        let message = format!("{assignment}\nSTATUS={line}");
        self.status = line;
        self.send(&message);
    }

    fn send(&mut self, message: &str) {
        let Some(notifier) = &self.notifier else { return };
        if let Err(error) = notifier.send(message) {
            if let Some(times) = self.unheard.event(Instant::now()) {
                tracing::warn!(
                    times,
                    "the service manager does not hear ({error}): look at NOTIFY_SOCKET and at it"
                );
            }
            // It is said again with the next look.
            self.status.clear();
        }
    }
}

/// What a manager waits for `process` to feed its watchdog; `None` when it does not wait for that one.
fn watchdog_time(usec: Option<&OsStr>, pid: Option<&OsStr>, process: u32) -> Option<Duration> {
    let number = |text: &OsStr| text.to_str()?.parse::<u64>().ok();
    if pid.is_some_and(|pid| number(pid) != Some(u64::from(process))) {
        return None;
    }
    usec.and_then(number).filter(|usec| *usec > 0).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_the_one_of_this_process() {
        let time = |usec: Option<&str>, pid: Option<&str>| {
            watchdog_time(usec.map(OsStr::new), pid.map(OsStr::new), 42)
        };
        assert_eq!(time(Some("30000000"), None), Some(Duration::from_secs(30)));
        assert_eq!(time(Some("30000000"), Some("42")), Some(Duration::from_secs(30)));
        assert_eq!(time(Some("30000000"), Some("41")), None);
        assert_eq!(time(Some("30000000"), Some("x")), None);
        assert_eq!(time(Some("0"), None), None);
        assert_eq!(time(Some("soon"), None), None);
        assert_eq!(time(None, Some("42")), None);
    }

    #[test]
    fn without_a_manager_nobody_is_waited_for() {
        let reporter = Reporter::from_environment([("WATCHDOG_USEC".into(), "1000".into())]);
        assert_eq!(reporter.waits, None);
        let reporter = Reporter::from_environment([
            ("NOTIFY_SOCKET".into(), "vsock:2:1".into()),
            ("WATCHDOG_USEC".into(), "1000".into()),
        ]);
        assert_eq!(reporter.waits, None);
        let manager = [("NOTIFY_SOCKET".into(), "@x".into()), ("WATCHDOG_USEC".into(), "1000".into())];
        assert_eq!(Reporter::from_environment(manager).waits, Some(Duration::from_millis(1)));
    }
}
