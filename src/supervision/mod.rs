//! The main thread while the gateway runs: signals come in, the configuration changes, the service manager is told.
//!
//! ```text
//!  SIGTERM, SIGINT ─► drain ──────────────────────────────► STOPPING=1
//!  SIGHUP ──────────► read everything again ─► threads ───► RELOADING=1 … READY=1
//!  a saved file, etcd, the API ─► check ─────► threads
//!  time ────────────► counters of the threads ────────────► STATUS=…, WATCHDOG=1, gauges and a line of who is stuck
//! ```
//! *Not here*: the threads (`server`), the protocol
//! (`sys::notify`), what a change comes to (`config::settings`).

mod reload;
mod reporter;
mod saved;
mod status;
mod watchdog;

use std::time::Instant;

use crate::log::throttle::Throttle;
use crate::server::{Outcome, Running};
use crate::sys::signals::{Signals, Wake};
pub use reload::Origins;
use reload::Reloading;
pub use reporter::Reporter;
pub use saved::Saved;

/// Supervises a gateway until it ends: the first signal to stop drains it, a second one ends it at once.
pub fn supervise(
    mut gateway: Running,
    signals: &mut Signals,
    mut reporter: Reporter,
    origins: Origins<'_>,
) -> Outcome {
    let mut reloading = Reloading::new(origins);
    let mut ignored = Throttle::default();
    reporter.ready(&gateway, Instant::now());
    loop {
        let patience = reloading.patience().map_or(reporter.patience(), |wait| wait.min(reporter.patience()));
        match signals.wait(Some(patience)) {
            Wake::Stop(stop) if gateway.is_draining() => return Outcome::Forced(stop),
            Wake::Stop(stop) => {
                tracing::info!("{stop}: draining");
                gateway.drain();
                reporter.stopping(&gateway);
            }
            Wake::Reload if gateway.is_draining() => {
                if let Some(times) = ignored.event(Instant::now()) {
                    tracing::info!(times, "SIGHUP while it drains: ignored");
                }
            }
            Wake::Reload => reloading.ask(),
            Wake::Woken | Wake::Elapsed => {}
        }
        if let Some(outcome) = gateway.look() {
            return outcome;
        }
        reloading.go_on(&mut gateway, &mut reporter, Instant::now());
        reporter.report(&gateway, Instant::now());
    }
}
