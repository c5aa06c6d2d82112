//! SIGHUP: the configuration is read again, exactly as at start, and what can change without a restart does.
//!
//! ```text
//!  Idle ── asked ──► read ─┬─ problems: all are told, the old one stays ─► Idle
//!    ▲                     └─ good ─► Spreading: on its way through every thread
//!    └──────────── every shard goes by it ──────┘
//! ```
//! Being asked again meanwhile is remembered once. *Not here*: which keys are live (`config::live`).

use std::time::Duration;

use super::reporter::Reporter;
use crate::config::flags::Flags;
use crate::config::{live, raw};
use crate::log::Level;
use crate::server::Running;

/// How often the shards are looked at while a configuration spreads. It takes a turn of each loop.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Where a reload stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Idle,
    Spreading,
}

/// The reloads of a process.
pub(super) struct Reloading<'a> {
    flags: &'a Flags,
    level: Level,
    is_asked: bool,
    stage: Stage,
}

impl<'a> Reloading<'a> {
    pub(super) fn new(flags: &'a Flags, level: Level) -> Self {
        Self { flags, level, is_asked: false, stage: Stage::Idle }
    }

    /// Somebody wants a reload.
    pub(super) fn ask(&mut self) {
        self.is_asked = true;
    }

    /// How long the main thread may sleep; `None`: nothing is under way.
    pub(super) fn patience(&self) -> Option<Duration> {
        (self.stage == Stage::Spreading).then_some(LOOK_EVERY)
    }

    /// Goes as far as it can without waiting.
    pub(super) fn go_on(&mut self, gateway: &mut Running, reporter: &mut Reporter) {
        if gateway.is_draining() {
            // The shards may be gone before it has reached them.
            self.stage = Stage::Idle;
            return;
        }
        if self.stage == Stage::Spreading && gateway.is_configured() {
            self.stage = Stage::Idle;
            reporter.reloaded(gateway);
        }
        if self.stage == Stage::Idle && std::mem::take(&mut self.is_asked) {
            reporter.reloading();
            self.stage = self.reload(gateway);
            if self.stage == Stage::Idle {
                reporter.reloaded(gateway);
            }
        }
    }

    fn reload(&self, gateway: &mut Running) -> Stage {
        let read = match raw::load(self.flags, std::env::vars_os()) {
            Ok(loaded) => loaded.config,
            Err(problems) => {
                tracing::error!("SIGHUP: the old configuration stays: {problems}");
                return Stage::Idle;
            }
        };
        let reload = live::reload(&gateway.edition().config, &read);
        for key in &reload.at_start {
            tracing::warn!("SIGHUP: {key} changed: takes effect at the next start");
        }
        if reload.live.is_empty() {
            tracing::info!("SIGHUP: nothing to change");
            return Stage::Idle;
        }
        let changed = reload.live.join(", ");
        tracing::info!("SIGHUP: takes effect now: {changed}");
        if let Err(error) = self.level.set(&reload.config.log.level) {
            tracing::error!("SIGHUP: the log's level stays: {error}");
        }
        gateway.configure(reload.config);
        Stage::Spreading
    }
}
