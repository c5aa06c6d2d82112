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
mod answer;
pub mod body;
pub mod census;
pub mod connection;
mod hand_over;
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
mod state;
pub mod table;
pub mod tickets;
pub mod views;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use monoio::net::TcpListener;
use monoio::time::sleep;
use socket2::SockRef;

use crate::api::connection::Contained;
use crate::api::orders::{Inbox, Order};
use crate::api::proposals::Proposals;
use crate::api::shared::Shared;
use crate::api::slots::Slots;
use crate::api::table::Bounds;
use crate::config::live::Edition;
use crate::ingest::answers::Verdicts;
use crate::ingest::publisher::{Directive, Publisher};
use crate::log::throttle::Throttle;
use crate::metrics::text::Exposition;
use crate::metrics::{Blocks, process};
use crate::sys::clock::Clock;
use fanfare_core::limits;
use fanfare_core::push::Push;
use fanfare_core::push::holds::Holds;
use fanfare_core::push::registry::Registry;

pub use crate::api::state::{Api, Deadlines};

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
