//! What the connections of the control thread share, and what all of them count.
//!
//! The thread owns it; its cells need no lock. *Not here*: how it is made and kept going (`super`), what is
//! answered by it (`routes`).

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::proposals::Proposals;
use super::push_log::PushLog;
use super::refusal::{Code, Refusal};
use super::shared::Shared;
use super::slots::Slots;
use super::tickets::Tickets;
use crate::config::Config;
use crate::config::live::Edition;
use crate::ingest::publisher::Publisher;
use crate::log::throttle::Throttle;
use crate::metrics::text::Exposition;
use crate::metrics::{Blocks, Foreign};
use crate::sys::clock::Clock;
use fanfare_core::limits;
use fanfare_core::push::Push;
use fanfare_core::push::holds::Holds;
use fanfare_core::push::registry::Registry;

/// What the connections of the thread share.
pub struct Api {
    /// The configuration in effect.
    pub(super) edition: RefCell<Arc<Edition>>,
    /// Every counter of the process.
    pub blocks: Arc<Blocks>,
    /// The way to the ingest core. Never borrowed across an await.
    pub publisher: RefCell<Publisher>,
    /// Every push that is known. Never borrowed across an await.
    pub pushes: RefCell<Registry>,
    /// What waits behind them.
    pub holds: RefCell<Holds>,
    pub(super) births: RefCell<rtrb::Consumer<Arc<Push>>>,
    /// Publishes that wait for the ingest core.
    pub tickets: Rc<Tickets>,
    /// The process's clock.
    pub clock: Clock,
    /// The metrics' text.
    pub exposition: Exposition,
    /// How long things may take.
    pub deadlines: Deadlines,
    /// The way to the configuration's owner.
    pub proposals: Proposals,
    /// When the thread began, which is when the process did.
    pub started: SystemTime,
    pub(super) ids: Cell<u64>,
    pub(super) draining: Cell<bool>,
    /// Of the line about requests by a foreign name or page.
    pub(super) foreign_throttle: RefCell<Throttle>,
    /// Lines about pushes. Never borrowed across an await.
    pub push_log: RefCell<PushLog>,
    /// Answers that take long to make.
    pub shared: Shared,
    /// When the pushes were looked at last.
    pub(super) ticked: Cell<Option<Instant>>,
    /// Who is connected.
    pub(super) slots: Slots,
    pub(super) redis_gone_since: Cell<Option<Instant>>,
}

impl Api {
    /// Takes what the ingest core has made.
    pub fn adopt_pushes(&self) {
        let (mut pushes, mut births) = (self.pushes.borrow_mut(), self.births.borrow_mut());
        while let Ok(push) = births.pop() {
            self.holds.borrow_mut().begin(&push);
            let source = push.source;
            if let Some(facts) = pushes.adopt(push) {
                self.push_log.borrow_mut().begun(&facts.into(), source.into());
            }
        }
    }

    /// Takes what the ingest core has made, allots rates, and counts.
    pub fn tick_pushes(&self) {
        self.ticked.set(Some(Instant::now()));
        self.adopt_pushes();
        let mut pushes = self.pushes.borrow_mut();
        let ended = pushes.tick(self.config().pacing.rate, self.clock.now_us());
        for push in pushes.all_recent().take(ended) {
            self.push_log.borrow_mut().ended(push);
        }
        self.holds.borrow_mut().sweep(pushes.made_over());
        let control = &self.blocks.control;
        let over = pushes.over();
        control.pushes_over.set(pushes.made_over());
        for (value, count) in control.pushes_finished.iter().zip(over) {
            value.set(count);
        }
        control.pushes_running.set((pushes.running() - pushes.paused()) as u64);
        control.pushes_paused.set(pushes.paused() as u64);
        let total = pushes.total();
        control.push_devices_sent.set(total.sent);
        for (value, count) in control.push_devices_failed.iter().zip(total.failed) {
            value.set(count);
        }
    }

    /// [`Self::tick_pushes`], unless that was a moment ago: for those who only look.
    pub fn tick_pushes_now_and_then(&self) {
        if self.ticked.get().is_none_or(|at| at.elapsed() >= limits::PUSHES_LOOK_AGE) {
            self.tick_pushes();
        }
    }

    /// A name for a push: sorts by time within a process, and no other process that started in another nanosecond has it.
    pub fn next_id(&self) -> String {
        let number = self.ids.replace(self.ids.get() + 1);
        let started_ns = self.started.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        format!("{started_ns:016x}{number:012x}")
    }

    /// The configuration in effect. Never held across an await.
    pub fn config(&self) -> Ref<'_, Config> {
        Ref::map(self.edition.borrow(), |edition| &edition.config)
    }

    /// Whether the process is stopping.
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// For how long the Redis subscription has been gone; `None` while it stands or when Redis is not configured.
    pub fn redis_gone_ms(&self) -> Option<u64> {
        let gone = self.config().redis.is_some() && self.blocks.ingest.redis_subscribed.get() == 0;
        gone.then(|| self.redis_gone_since.get().map_or(0, |since| since.elapsed().as_millis() as u64))
    }

    /// Counts a publish that was refused.
    pub fn count_publish_refused(&self, refusal: &Refusal) {
        self.blocks.control.publish_refused[refusal.code.counter() as usize].add(1);
    }

    /// Counts a request that a page of another site may have sent, and tells the log now and then: a backend or a scraper
    /// that calls the gateway by a name may show nobody the answer.
    pub fn tell_of_foreigner(&self, refusal: &Refusal) {
        let why = match refusal.code {
            Code::ForeignHost => Foreign::Host,
            Code::ForeignOrigin => Foreign::Origin,
            _ => return,
        };
        self.blocks.control.foreign[why as usize].add(1);
        if let Some(times) = self.foreign_throttle.borrow_mut().event(Instant::now()) {
            // The log names the room, not the file in it.
            tracing::warn!(
                target: "fanfare::api",
                "the API refuses a request ({times} since the last such line): {}",
                refusal.message
            );
        }
    }

    /// Counts an answer.
    pub fn count_request(&self, status: u16) {
        self.blocks.control.requests[usize::from(status / 100) - 1].add(1);
    }
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// A request to arrive whole, from its first byte; an answer to leave; a new connection's first byte.
    pub read: Duration,
    /// Silence between two requests.
    pub idle: Duration,
    /// The rest of what a refused client sends.
    pub linger: Duration,
    /// Ingest and every shard to answer a census.
    pub census: Duration,
    /// A configuration to reach every shard.
    pub config: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            read: limits::API_READ_DEADLINE,
            idle: limits::API_IDLE_DEADLINE,
            linger: limits::API_LINGER,
            census: limits::API_CENSUS_DEADLINE,
            config: limits::CONFIG_DEADLINE,
        }
    }
}
