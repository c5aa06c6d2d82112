//! Changes of the configuration while the gateway runs, one after the other.
//!
//! ```text
//!  SIGHUP, a saved file, etcd, the API: wanted
//!    │
//!  Idle ── wanted ──► checked ─┬─ problems: all are told, the old one stays ─► Idle
//!    ▲                         └─ good ─► Spreading: on its way through every thread
//!    └────────────── every shard goes by it ──────┘
//! ```
//! What is wanted meanwhile waits: a reading and the newest snapshot of etcd once, patches in their order. *Not here*:
//! what a change comes to (`config::settings`), which keys are live (`config::live`).

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use super::reporter::Reporter;
use super::saved::Saved;
use crate::api::proposals::{PatchOutcome, Proposal};
use crate::config::flags::Flags;
use crate::config::layers::Loaded;
use crate::config::live::Reload;
use crate::config::problem::Problems;
use crate::config::settings::{ConfigChange, Settings, Source};
use crate::config::snapshot::Snapshot;
use crate::log::Level;
use crate::log::throttle::Throttle;
use crate::metrics::{ConfigCause, ConfigOutcome};
use crate::server::Running;
use fanfare_core::limits::CONFIG_PROPOSALS_MAX;

/// How often the shards are looked at while a configuration spreads. It takes a turn of each loop.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What a gateway was started with, and what it needs to change it.
pub struct Origins<'a> {
    /// The flags, which a reading reads again, with the environment.
    pub flags: &'a Flags,
    /// Everything that was read.
    pub loaded: Loaded,
    /// The file, if there is one.
    pub saved: Option<Saved>,
    /// The log's level.
    pub level: Level,
}

/// Where a change stands.
#[derive(Debug)]
enum Stage {
    Idle,
    Spreading(Wish),
}

/// A change that somebody wants.
#[derive(Debug)]
enum Wish {
    Signal,
    Save,
    Etcd(Snapshot),
    Api(Proposal),
}

/// For the log: who wants it.
impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signal => "SIGHUP",
            Self::Save => "the file was saved",
            Self::Etcd(_) => "etcd",
            Self::Api(_) => "PATCH /v1/config",
        })
    }
}

impl Wish {
    fn cause(&self) -> ConfigCause {
        match self {
            Self::Signal => ConfigCause::Signal,
            Self::Save => ConfigCause::Save,
            Self::Etcd(_) => ConfigCause::Etcd,
            Self::Api(_) => ConfigCause::Api,
        }
    }
}

/// The changes of a process.
pub(super) struct Reloading<'a> {
    flags: &'a Flags,
    level: Level,
    settings: Settings,
    saved: Option<Saved>,
    stage: Stage,
    is_signalled: bool,
    is_saved: bool,
    /// The newest of etcd that was not looked at yet.
    snapshot: Option<Snapshot>,
    /// The newest of etcd when it was refused: it may fit once another source has changed.
    refused: Option<Snapshot>,
    patches: VecDeque<Proposal>,
    lines: Lines,
}

/// Lines that whoever asks for changes can repeat.
struct Lines {
    refused: Throttle,
    /// The last refusal, while the log has not been told of it.
    untold: Option<(ConfigCause, String)>,
    unchanged: Throttle,
    applied: Throttle,
    /// The keys that were told last to need a start.
    at_start: Vec<String>,
}

impl Default for Lines {
    fn default() -> Self {
        Self {
            refused: Throttle::letting(10),
            untold: None,
            unchanged: Throttle::letting(10),
            // Each is of interest afterwards.
            applied: Throttle::letting(50),
            at_start: Vec::new(),
        }
    }
}

impl<'a> Reloading<'a> {
    pub(super) fn new(origins: Origins<'a>) -> Self {
        Self {
            flags: origins.flags,
            level: origins.level,
            settings: Settings::new(origins.loaded),
            saved: origins.saved,
            stage: Stage::Idle,
            is_signalled: false,
            is_saved: false,
            snapshot: None,
            refused: None,
            patches: VecDeque::with_capacity(CONFIG_PROPOSALS_MAX),
            lines: Lines::default(),
        }
    }

    /// Somebody wants a reload.
    pub(super) fn ask(&mut self) {
        self.is_signalled = true;
    }

    /// How long the main thread may sleep; `None`: nothing is under way.
    pub(super) fn patience(&self) -> Option<Duration> {
        match &self.stage {
            Stage::Spreading(_) => Some(LOOK_EVERY),
            Stage::Idle => (self.saved.is_some() || self.lines.untold.is_some()).then(Saved::patience),
        }
    }

    /// Goes as far as it can without waiting.
    pub(super) fn go_on(&mut self, gateway: &mut Running, reporter: &mut Reporter, now: Instant) {
        self.tell_untold(now);
        self.hear(gateway, now);
        if gateway.is_draining() {
            // The shards may be gone before it has reached them.
            if let Stage::Spreading(Wish::Api(proposal)) = std::mem::replace(&mut self.stage, Stage::Idle) {
                proposal.answer(PatchOutcome::Stopping);
            }
            self.patches.drain(..).for_each(|proposal| proposal.answer(PatchOutcome::Stopping));
            return;
        }
        if matches!(self.stage, Stage::Spreading(_)) && gateway.is_configured() {
            let Stage::Spreading(wish) = std::mem::replace(&mut self.stage, Stage::Idle) else { return };
            self.finish(wish, gateway, reporter);
        }
        while matches!(self.stage, Stage::Idle)
            && let Some(wish) = self.next_wish()
        {
            self.stage = self.begin(wish, gateway, reporter);
        }
    }

    /// Takes what others want into the places where it waits; who only asks is answered.
    fn hear(&mut self, gateway: &Running, now: Instant) {
        self.is_saved |= self.saved.as_mut().is_some_and(|saved| saved.look(now));
        if let Some(snapshot) = gateway.snapshot() {
            self.refused = None;
            self.snapshot = Some(snapshot);
        }
        while self.patches.len() < CONFIG_PROPOSALS_MAX
            && let Some(proposal) = gateway.proposal()
        {
            match proposal.patch {
                Some(_) => self.patches.push_back(proposal),
                None => self.show(proposal, gateway),
            }
        }
    }

    fn next_wish(&mut self) -> Option<Wish> {
        let is_signalled = std::mem::take(&mut self.is_signalled);
        // A signal reads what was saved too.
        let is_saved = std::mem::take(&mut self.is_saved);
        if is_signalled {
            return Some(Wish::Signal);
        }
        if is_saved {
            return Some(Wish::Save);
        }
        self.snapshot.take().map(Wish::Etcd).or_else(|| self.patches.pop_front().map(Wish::Api))
    }

    fn begin(&mut self, wish: Wish, gateway: &mut Running, reporter: &mut Reporter) -> Stage {
        if let Wish::Signal = wish {
            reporter.reloading();
        }
        let change = match &wish {
            Wish::Signal | Wish::Save => {
                if let Some(saved) = &mut self.saved {
                    saved.reading();
                }
                ConfigChange::Read(self.flags, std::env::vars_os().collect())
            }
            Wish::Etcd(snapshot) => ConfigChange::Etcd(snapshot),
            Wish::Api(Proposal { patch: Some(patch), .. }) => ConfigChange::Api(patch),
            Wish::Api(_) => unreachable!("a proposal that changes nothing is answered where it is heard"),
        };
        match self.settings.offer(&gateway.edition().config, change) {
            Err(problems) => {
                self.refuse(wish, problems, gateway, reporter);
                Stage::Idle
            }
            Ok(reload) => self.apply(wish, reload, gateway, reporter),
        }
    }

    fn refuse(&mut self, wish: Wish, problems: Problems, gateway: &Running, reporter: &mut Reporter) {
        count(gateway, wish.cause(), ConfigOutcome::Refused);
        let line = format!("{wish}: the old configuration stays: {problems}");
        if let Some(times) = self.lines.refused.event(Instant::now()) {
            tracing::error!(times, "{line}");
            self.lines.untold = None;
        } else {
            self.lines.untold = Some((wish.cause(), line));
        }
        match wish {
            Wish::Signal => reporter.reloaded(gateway),
            Wish::Save => {}
            Wish::Etcd(snapshot) => self.refused = Some(snapshot),
            Wish::Api(proposal) => proposal.answer(PatchOutcome::Refused(problems)),
        }
    }

    /// Tells the log of the last refusal once it may have another line: it ends with how things are.
    fn tell_untold(&mut self, now: Instant) {
        if self.lines.untold.is_some()
            && let Some(times) = self.lines.refused.late(now)
            && let Some((_, line)) = self.lines.untold.take()
        {
            tracing::error!(times, "{line}");
        }
    }

    fn apply(&mut self, wish: Wish, reload: Reload, gateway: &mut Running, reporter: &mut Reporter) -> Stage {
        self.lines.untold.take_if(|(cause, _)| *cause == wish.cause());
        if let Wish::Signal | Wish::Save = wish {
            self.tell_at_start(&wish, &reload);
        }
        if reload.live.is_empty() {
            count(gateway, wish.cause(), ConfigOutcome::Unchanged);
            if let Some(times) = self.lines.unchanged.event(Instant::now()) {
                tracing::info!(times, "{wish}: nothing to change");
            }
            self.finish(wish, gateway, reporter);
            return Stage::Idle;
        }
        count(gateway, wish.cause(), ConfigOutcome::Applied);
        let changed = reload.live.join(", ");
        if let Some(times) = self.lines.applied.event(Instant::now()) {
            tracing::info!(times, "{wish}: takes effect now: {changed}");
        }
        if let Err(error) = self.level.set(&reload.config.log.level) {
            tracing::error!("{wish}: the log's level stays: {error}");
        }
        gateway.configure(reload.config);
        self.look_again_at_what_was_refused();
        Stage::Spreading(wish)
    }

    /// Names the keys that wait for a start, unless they are those that were named last.
    fn tell_at_start(&mut self, wish: &Wish, reload: &Reload) {
        let keys: Vec<String> = reload.at_start.iter().map(ToString::to_string).collect();
        if keys != self.lines.at_start {
            for key in &keys {
                tracing::warn!("{wish}: {key} changed: takes effect at the next start");
            }
            self.lines.at_start = keys;
        }
    }

    /// What did not fit what the other sources gave may fit now.
    fn look_again_at_what_was_refused(&mut self) {
        self.is_saved |= self.saved.is_some() && self.settings.is_refused(Source::File);
        if self.snapshot.is_none() {
            self.snapshot = self.refused.take();
        }
    }

    fn finish(&self, wish: Wish, gateway: &Running, reporter: &mut Reporter) {
        match wish {
            Wish::Signal => reporter.reloaded(gateway),
            Wish::Save | Wish::Etcd(_) => {}
            Wish::Api(proposal) => self.show(proposal, gateway),
        }
    }

    fn show(&self, proposal: Proposal, gateway: &Running) {
        let edition = gateway.edition();
        let view = self.settings.view(edition.number, &edition.config);
        proposal.answer(PatchOutcome::Shown(Box::new(view)));
    }
}

fn count(gateway: &Running, cause: ConfigCause, outcome: ConfigOutcome) {
    gateway.blocks().main.config_reloads[cause as usize][outcome as usize].add(1);
}
