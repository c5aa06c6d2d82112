//! The main thread while the gateway runs: signals come in, the service manager is told how it stands.
//!
//! ```text
//!  SIGTERM, SIGINT ─► drain ──────────────────────────────► STOPPING=1
//!  SIGHUP ──────────► read everything again ─► threads ───► RELOADING=1 … READY=1
//!  time ────────────► counters of the threads ────────────► STATUS=…, WATCHDOG=1
//! ```
//! Without a manager it sleeps until a signal comes. *Not here*: the threads (`server`), the protocol (`sys::notify`).

mod reload;
mod reporter;
mod status;
mod watchdog;

use std::time::Instant;

use crate::config::flags::Flags;
use crate::log::Level;
use crate::server::{Outcome, Running};
use crate::sys::signals::{Signals, Wake};
use reload::Reloading;
pub use reporter::Reporter;

/// Supervises a gateway until it ends: the first signal to stop drains it, a second one ends it at once. `flags` and
/// the environment are what a reload reads again.
pub fn supervise(
    mut gateway: Running,
    signals: &mut Signals,
    mut reporter: Reporter,
    flags: &Flags,
    level: Level,
) -> Outcome {
    let mut reloading = Reloading::new(flags, level);
    reporter.ready(&gateway, Instant::now());
    loop {
        let patience = [reporter.patience(), reloading.patience()].into_iter().flatten().min();
        match signals.wait(patience) {
            Wake::Stop(stop) if gateway.is_draining() => return Outcome::Forced(stop),
            Wake::Stop(stop) => {
                tracing::info!("{stop}: draining");
                gateway.drain();
                reporter.stopping(&gateway);
            }
            Wake::Reload if gateway.is_draining() => tracing::info!("SIGHUP while it drains: ignored"),
            Wake::Reload => reloading.ask(),
            Wake::Woken | Wake::Elapsed => {}
        }
        if let Some(outcome) = gateway.look() {
            return outcome;
        }
        reloading.go_on(&mut gateway, &mut reporter);
        reporter.report(&gateway, Instant::now());
    }
}
