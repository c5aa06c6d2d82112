//! The control thread: HTTP for backends and operators on the private port.
//!
//! ```text
//!  accept ─► connection: read ─► inbound (head, body) ─► routes ─┬─ publish ──► Publisher ─► ingest core
//!               ▲  deadlines, panics stay inside                 ├─ census ───► ingest core ─► shards ─► answer
//!               │                                                ├─ settings ─► main thread ─► answer
//!               └──────────────── response ◄─────────────────────┴─ views, metrics ◄── blocks
//! ```
//! [`Api`] is owned by the one thread that runs [`serve`]; its cells need no lock. The HTTP is httparse for the head and
//! `inbound` for the rest: monoio-http takes a request that has both Content-Length and Transfer-Encoding, has no place
//! for a bound between a head and its body, and cannot send `100 Continue`.
//! *Not here*: what ingest does with a publish (`ingest`), the names of metrics (`metrics::text`).

pub mod access;
pub mod body;
pub mod census;
pub mod connection;
pub mod head;
mod held;
pub mod inbound;
pub mod orders;
pub mod outcome;
pub mod proposals;
pub mod publish;
pub mod push_log;
pub mod pushes;
pub mod refusal;
pub mod response;
pub mod routes;
pub mod settings;
pub mod shared;
pub mod slots;
pub mod table;
pub mod tickets;
pub mod views;

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use monoio::net::TcpListener;
use monoio::time::sleep;
use socket2::SockRef;

use crate::api::connection::Contained;
use crate::api::orders::{Inbox, Order};
use crate::api::proposals::Proposals;
use crate::api::push_log::PushLog;
use crate::api::refusal::{Code, Refusal};
use crate::api::shared::Shared;
use crate::api::slots::Slots;
use crate::api::table::Bounds;
use crate::api::tickets::Tickets;
use crate::config::Config;
use crate::config::live::Edition;
use crate::ingest::answers::Verdicts;
use crate::ingest::publisher::{Directive, Publisher};
use crate::limits;
use crate::log::throttle::Throttle;
use crate::metrics::text::Exposition;
use crate::metrics::{Blocks, Foreign, process};
use crate::push::Push;
use crate::push::holds::Holds;
use crate::push::registry::Registry;
use crate::sys::clock::Clock;

/// How often the Redis subscription is looked at: `/readyz` tells to this precision for how long it has been gone.
const REDIS_LOOK_EVERY: Duration = Duration::from_millis(100);

/// What the control thread is given.
pub struct Control {
    /// The configuration at start.
    pub edition: Arc<Edition>,
    /// The way to the ingest core.
    pub publisher: Publisher,
    /// Every counter of the process; this thread writes `control`.
    pub blocks: Arc<Blocks>,
    /// Listens on the private port.
    pub listener: std::net::TcpListener,
    /// What the main thread orders.
    pub orders: Inbox,
    /// What it is asked.
    pub proposals: Proposals,
    /// The process's clock.
    pub clock: Clock,
    /// Pushes that the ingest core has made.
    pub births: rtrb::Consumer<Arc<Push>>,
    /// What became of publishes.
    pub verdicts: Verdicts,
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

/// Serves the API on this thread's monoio runtime (timers enabled) for as long as the process lives. Hands on
/// what the main thread orders; after a drain it goes on answering: not ready, no publishes.
pub async fn serve(control: Control) {
    serve_within(control, Deadlines::default()).await;
}

/// [`serve`] with other deadlines.
pub async fn serve_within(control: Control, deadlines: Deadlines) {
    let Control { edition, publisher, blocks, listener, orders, proposals, clock, births, verdicts } =
        control;
    let started = SystemTime::now();
    let shards = blocks.shards.len();
    let descriptors = process::files_max().saturating_sub(process::open_files("self"));
    let slots = Slots::new(Bounds::within(descriptors as usize), Arc::clone(&blocks));
    let held_total = Arc::clone(&blocks.held);
    let api = Rc::new(Api {
        exposition: Exposition::new(blocks.clone(), started),
        edition: RefCell::new(edition),
        blocks,
        publisher: RefCell::new(publisher),
        pushes: RefCell::new(Registry::new(shards)),
        holds: RefCell::new(Holds::new(held_total)),
        births: RefCell::new(births),
        tickets: Rc::default(),
        clock,
        deadlines,
        proposals,
        started,
        ids: Cell::new(0),
        draining: Cell::new(false),
        foreign_throttle: RefCell::default(),
        push_log: RefCell::default(),
        slots,
        shared: Shared::default(),
        ticked: Cell::new(None),
        redis_gone_since: Cell::new(Some(Instant::now())),
    });
    monoio::spawn(obey(api.clone(), orders));
    monoio::spawn(beat(api.clone()));
    monoio::spawn(tickets::settle(Rc::clone(&api.tickets), verdicts));
    monoio::spawn(steer(api.clone()));
    if api.config().redis.is_some() {
        monoio::spawn(watch_redis(api.clone()));
    }
    // Accepted sockets inherit it. Beyond this the kernel takes no more of an answer that its client does not read: without
    // it that is megabytes each, and the thread's time to make them.
    if let Err(error) = SockRef::from(&listener).set_tcp_notsent_lowat(limits::API_BYTES_FREE as u32) {
        tracing::warn!(%error, "the API's unread answers are not bounded in the kernel");
    }
    // The default queue overflows when a pool of clients connects at once, and each of those waits a second.
    if let Err(error) = SockRef::from(&listener).listen(limits::API_BACKLOG) {
        tracing::warn!(%error, "the API's queue of new connections stays short");
    }
    let listener = TcpListener::from_std(listener).expect("an io_uring runtime registers nothing");
    accept(api, listener).await;
}

/// What the connections of the thread share.
pub struct Api {
    /// The configuration in effect.
    edition: RefCell<Arc<Edition>>,
    /// Every counter of the process.
    pub blocks: Arc<Blocks>,
    /// The way to the ingest core. Never borrowed across an await.
    pub publisher: RefCell<Publisher>,
    /// Every push that is known. Never borrowed across an await.
    pub pushes: RefCell<Registry>,
    /// What waits behind them.
    pub holds: RefCell<Holds>,
    births: RefCell<rtrb::Consumer<Arc<Push>>>,
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
    ids: Cell<u64>,
    draining: Cell<bool>,
    /// Of the line about requests by a foreign name or page.
    foreign_throttle: RefCell<Throttle>,
    /// Lines about pushes. Never borrowed across an await.
    pub push_log: RefCell<PushLog>,
    /// Answers that take long to make.
    pub shared: Shared,
    /// When the pushes were looked at last.
    ticked: Cell<Option<Instant>>,
    /// Who is connected.
    slots: Slots,
    redis_gone_since: Cell<Option<Instant>>,
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
            tracing::warn!(
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

/// Accepts for ever. Nobody is refused here: who has a request learns from [`table`] whether there is a place for it.
async fn accept(api: Rc<Api>, listener: TcpListener) {
    let mut failures = Throttle::default();
    loop {
        // This future is never dropped: a cancelled accept would lose a descriptor.
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                api.slots.free_a_descriptor();
                if let Some(times) = failures.event(Instant::now()) {
                    tracing::warn!(
                        times,
                        "the API cannot accept a connection ({error}): EMFILE and ENFILE ask for more open files \
                         (LimitNOFILE, fs.file-max), ENOMEM and ENOBUFS for memory"
                    );
                }
                sleep(limits::API_ACCEPT_PAUSE).await;
                continue;
            }
        };
        let api = api.clone();
        monoio::spawn(async move {
            let slot = api.slots.enter();
            if Contained::new(connection::serve(&api, stream, slot)).await.is_err() {
                api.blocks.control.panics.add(1);
            }
        });
    }
}

/// Does what the main thread orders, one after the other, for as long as the process lives.
async fn obey(api: Rc<Api>, orders: Inbox) {
    let mut failures = Throttle::default();
    loop {
        let directive = match orders.next().await {
            Ok(Order::Drain) => {
                api.draining.set(true);
                api.adopt_pushes();
                api.pushes.borrow_mut().end_paced();
                Directive::Drain
            }
            Ok(Order::Configure(edition)) => {
                api.edition.replace(Arc::clone(&edition));
                Directive::Configure(edition)
            }
            Err(error) => {
                if let Some(times) = failures.event(Instant::now()) {
                    tracing::error!(times, %error, "the control thread cannot wait for orders");
                }
                sleep(limits::API_ACCEPT_PAUSE).await;
                continue;
            }
        };
        direct(&api, directive).await;
    }
}

/// Gives the ingest core a directive. Its lane is full only while that thread is stuck.
async fn direct(api: &Api, mut directive: Directive) {
    loop {
        let given = api.publisher.borrow_mut().direct(directive);
        match given {
            Ok(()) => return,
            Err(not_taken) => directive = not_taken,
        }
        sleep(limits::TICK).await;
    }
}

/// Steers the pushes: allots their rates anew, often while some run.
async fn steer(api: Rc<Api>) {
    loop {
        api.tick_pushes();
        let is_busy = api.pushes.borrow().running() > 0;
        sleep(if is_busy { limits::PACING_EVERY } else { limits::PACING_IDLE_EVERY }).await;
    }
}

/// Shows that the thread's runtime turns, timers included.
async fn beat(api: Rc<Api>) {
    loop {
        api.blocks.control.turns.add(1);
        sleep(limits::TICK).await;
        api.blocks.control.waits.add(1);
    }
}

/// Notes when the Redis subscription goes.
async fn watch_redis(api: Rc<Api>) {
    loop {
        let since = match api.blocks.ingest.redis_subscribed.get() {
            0 => api.redis_gone_since.get().or_else(|| Some(Instant::now())),
            _ => None,
        };
        api.redis_gone_since.set(since);
        sleep(REDIS_LOOK_EVERY).await;
    }
}
