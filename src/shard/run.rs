//! The loop of a shard's thread.
//!
//! One task drives everything after the handshake. It never wakes itself: between turns it waits on a real operation of
//! its monoio ring, so that accepts, handshakes and their deadlines get their turn too. *Not here*: what a turn does
//! (`super`), how the thread was set up (`server`).

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Shard;
use super::accept::Lobby;
use crate::connection::Tick;
use crate::dataplane::Uring;
use crate::downlink::Downlink;
use crate::limits::{DOWNLINKS_PER_TURN, DRAIN_HANDSHAKES, EVENTS_PER_TURN, TICK};
use crate::ring::Receiver;
use crate::ring::doorbell::Doorbell;
use crate::sys::clock::Clock;
use crate::sys::eventfd::EventFd;
use crate::sys::memory;
use crate::sys::readiness::Readiness;

/// Ticks without a coming or going after which memory is given back to the system.
const COLLECT_AFTER_QUIET: u32 = 2;
/// Comings and goings after which it is given back although they go on.
const COLLECT_AFTER_MOVES: usize = 64 * 1024;

/// What the loop needs beside the shard.
pub struct Seat {
    /// Downlinks from the ingest core.
    pub ring: Receiver,
    /// Handshakes that are done.
    pub lobby: Rc<Lobby>,
    /// Rung by the ingest core, by accept, and by the dataplane's ring.
    pub doorbell: Arc<Doorbell>,
    /// The process's clock.
    pub clock: Clock,
    /// How long to look for work before sleeping; zero where the core is shared.
    pub spin: Duration,
    /// Called once, when the shard was told to drain: stop accepting.
    pub stop_accepting: Box<dyn FnOnce()>,
}

/// Runs a shard until it has drained.
pub async fn run(mut shard: Shard<Uring>, seat: Seat) -> std::io::Result<()> {
    let Seat { mut ring, lobby, doorbell, clock, spin, stop_accepting } = seat;
    let mut exit = Exit { stop_accepting: Some(stop_accepting), door_closes: None };
    let wakeup = Readiness::of(doorbell.bell())?;
    let always = EventFd::new()?;
    always.signal();
    let always = Readiness::of(&always)?;
    let began = Instant::now();
    let began_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let mut pace = Pace::default();
    let mut crowd = Crowd::default();
    loop {
        let turn_began = Instant::now();
        let now = Tick((turn_began.duration_since(began).as_millis() / TICK.as_millis()) as u32);
        shard.set_now(now);
        shard.set_journal_time(began_ms + turn_began.duration_since(began).as_millis() as u64);
        shard.set_clock(clock.now_us());
        let arrived = turn(&mut shard, &mut ring, &lobby);
        if crowd.is_over(now, arrived, shard.connections()) {
            shard.shrink();
            shard.plane().shrink();
            memory::collect();
        }
        pace.note(turn_began, shard.block());
        if shard.is_draining() && exit.look(turn_began, &lobby) && shard.is_drained() {
            shard.abort();
            shard.plane().turn();
            return Ok(());
        }
        if shard.is_busy() {
            always.ready().await?;
            continue;
        }
        if !spin.is_zero() && look_for_work(&mut shard, &ring, spin) {
            continue;
        }
        doorbell.prepare_sleep();
        let quiet = shard.plane().is_quiet() || !shard.plane().turn();
        let until_pace = shard.pace_in_us();
        if quiet && ring.is_empty() && lobby.is_empty() && until_pace != Some(0) {
            sleep(&wakeup, until_pace).await?;
        } else {
            always.ready().await?;
        }
        doorbell.awake();
        doorbell.bell().drain();
    }
}

/// Sleeps until there is news, or so many microseconds.
async fn sleep(wakeup: &Readiness, at_most_us: Option<u64>) -> std::io::Result<()> {
    let Some(at_most) = at_most_us.map(Duration::from_micros) else { return wakeup.ready().await };
    // Time that passed without news is no error.
    monoio::time::timeout(at_most, wakeup.ready()).await.unwrap_or(Ok(()))
}

/// One turn: what the kernel reports, what ingest sent, who arrived, and then the shard's own work. Returns how many
/// arrived.
fn turn(shard: &mut Shard<Uring>, ring: &mut Receiver, lobby: &Lobby) -> usize {
    shard.plane().turn();
    for _ in 0..EVENTS_PER_TURN {
        let Some(event) = shard.plane().next_event() else { break };
        shard.handle(event);
    }
    for _ in 0..DOWNLINKS_PER_TURN {
        if !shard.has_room() {
            break;
        }
        let Some(downlink) = ring.pop() else { break };
        if let Downlink::Configure(edition) = &downlink {
            lobby.configure(&edition.config.clients);
        }
        shard.take(downlink);
    }
    let arrivals = lobby.take();
    let arrived = arrivals.len();
    for arrival in arrivals {
        shard.admit(arrival);
    }
    shard.turn();
    arrived
}

/// How a shard that drains stops letting devices in.
struct Exit {
    stop_accepting: Option<Box<dyn FnOnce()>>,
    /// When handshakes under way have had their time.
    door_closes: Option<Instant>,
}

impl Exit {
    /// Takes the next step; whether nobody can arrive any more.
    fn look(&mut self, now: Instant, lobby: &Lobby) -> bool {
        if let Some(stop) = self.stop_accepting.take() {
            self.door_closes = Some(now + DRAIN_HANDSHAKES);
            lobby.begin_closing();
            stop();
        }
        if self.door_closes.is_some_and(|closes| now >= closes) {
            lobby.close();
        }
        lobby.is_settled()
    }
}

/// Looks for work without sleeping; `true` when there is some.
fn look_for_work(shard: &mut Shard<Uring>, ring: &Receiver, spin: Duration) -> bool {
    let until = Instant::now() + spin;
    while Instant::now() < until {
        if !ring.is_empty() || shard.plane().has_news() {
            return true;
        }
        std::hint::spin_loop();
    }
    false
}

/// The longest turn of the last two windows.
#[derive(Default)]
struct Pace {
    window: Option<Instant>,
    now_us: u64,
    before_us: u64,
}

impl Pace {
    const WINDOW: Duration = Duration::from_secs(5);

    fn note(&mut self, turn_began: Instant, block: &crate::metrics::ShardBlock) {
        let window = *self.window.get_or_insert(turn_began);
        if turn_began.duration_since(window) > Self::WINDOW {
            self.window = Some(turn_began);
            self.before_us = std::mem::take(&mut self.now_us);
        }
        let turn_us = turn_began.elapsed().as_micros() as u64;
        block.turn_us.record(turn_us);
        self.now_us = self.now_us.max(turn_us);
        block.turn_max_us.set(self.now_us.max(self.before_us));
    }
}

/// Gives memory back once a crowd has come or gone: handshakes use more than what stays of them, and a table that
/// empties leaves pages behind.
#[derive(Default)]
struct Crowd {
    connections: usize,
    /// Comings and goings since memory was last given back.
    moves: usize,
    /// When the last of them was.
    last: Tick,
}

impl Crowd {
    /// Takes note of a turn; `true` when memory should be given back now.
    fn is_over(&mut self, now: Tick, arrived: usize, connections: usize) -> bool {
        let moves = arrived + (self.connections + arrived).saturating_sub(connections);
        self.connections = connections;
        if moves > 0 {
            self.moves += moves;
            self.last = now;
        }
        let quiet = self.moves > 0 && now.since(self.last) >= COLLECT_AFTER_QUIET;
        let over = quiet || self.moves >= COLLECT_AFTER_MOVES;
        if over {
            self.moves = 0;
        }
        over
    }
}
