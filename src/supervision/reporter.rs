//! What the service manager is told, and when. *Not here*: how it is sent (`sys::notify`).

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::status;
use super::watchdog::{Verdict, Watchdog};
use crate::limits::{DRAIN_REDIS, DRAIN_TAIL};
use crate::server::{Part, Running};
use crate::sys::notify::{self, Notifier};

/// How often the status line is looked at; it is sent when it has changed.
const STATUS_EVERY: Duration = Duration::from_secs(2);
/// What a drain may take beyond its own bounds before the manager may think that it hangs.
const DRAIN_MARGIN: Duration = Duration::from_secs(5);

/// The service manager, or nobody.
pub struct Reporter {
    notifier: Option<Notifier>,
    /// What the watchdog's manager waits, until [`Reporter::ready`]: it counts from there.
    waits: Option<Duration>,
    watchdog: Option<Watchdog>,
    /// The last status line that was sent, and when one was looked at.
    status: String,
    looked: Option<Instant>,
    /// Threads that were told about as stalled.
    stalled: Vec<Part>,
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
        Self { notifier, waits, watchdog: None, status: String::new(), looked: None, stalled: Vec::new() }
    }

    /// How long the main thread may sleep; `None`: nobody waits for anything.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.notifier.as_ref()?;
        let watchdog = self.watchdog.as_ref().map_or(STATUS_EVERY, Watchdog::patience);
        Some(watchdog.min(STATUS_EVERY))
    }

    /// All shards listen.
    pub(super) fn ready(&mut self, gateway: &Running, now: Instant) {
        self.watchdog = self.waits.map(|waits| Watchdog::new(waits, now));
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

    /// Keeps the status line current, and feeds the watchdog while every thread turns.
    pub(super) fn report(&mut self, gateway: &Running, now: Instant) {
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
        match self.watchdog.as_mut().map_or(Verdict::Early, |watchdog| watchdog.look(gateway.turns(), now)) {
            Verdict::Early => {}
            Verdict::Feed => {
                self.stalled.clear();
                message.push_str(if message.is_empty() { "WATCHDOG=1" } else { "\nWATCHDOG=1" });
            }
            Verdict::Stalled(parts) => self.tell_stalled(parts),
        }
        if !message.is_empty() {
            self.send(&message);
        }
    }

    /// Logs threads that stand still, each time that there are others.
    fn tell_stalled(&mut self, parts: Vec<Part>) {
        if parts != self.stalled {
            for part in &parts {
                tracing::error!("the thread {part} stands still: the service manager's watchdog is not fed");
            }
            self.stalled = parts;
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
            tracing::warn!("the service manager does not hear: {error}");
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
        assert_eq!(reporter.patience(), None);
        let reporter = Reporter::from_environment([("NOTIFY_SOCKET".into(), "vsock:2:1".into())]);
        assert_eq!(reporter.patience(), None);
        let reporter = Reporter::from_environment([("NOTIFY_SOCKET".into(), "@x".into())]);
        assert_eq!(reporter.patience(), Some(STATUS_EVERY));
    }
}
