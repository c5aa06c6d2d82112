//! The loop of a shard's thread.
//!
//! One task drives everything. It never wakes itself: between turns it waits on a real operation of its monoio ring, so
//! that the runtime's timers get their turn too. *Not here*: what a turn does (`super`), how the thread was set up
//! (`server`).

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::state::Shard;
use crate::dataplane::Uring;
use crate::downlink::ShardCommand;
use crate::ring::Receiver;
use crate::ring::doorbell::Doorbell;
use crate::sys::clock::Clock;
use crate::sys::eventfd::EventFd;
use crate::sys::memory;
use crate::sys::readiness::Readiness;
use fanfare_core::limits::{DOWNLINKS_PER_TURN, EVENTS_PER_TURN, TICK};
use fanfare_core::model::Tick;

/// Ticks without a coming or going after which memory is given back to the system.
const COLLECT_AFTER_QUIET: u32 = 2;
/// Comings and goings after which it is given back although they go on.
const COLLECT_AFTER_MOVES: usize = 64 * 1024;

/// Connections that follow each other within this are a rush.
const RUSH_GAP: Duration = Duration::from_micros(50);

/// What the loop needs beside the shard.
pub struct LoopSetup {
    /// Downlinks from the ingest core.
    pub ring: Receiver,
    /// Rung by the ingest core and by the dataplane's ring.
    pub doorbell: Arc<Doorbell>,
    /// The process's clock.
    pub clock: Clock,
    /// How long to look for work before sleeping; zero where the core is shared.
    pub spin: Duration,
}

/// Runs a shard until it has drained.
pub async fn run(mut shard: Shard<Uring>, setup: LoopSetup) -> std::io::Result<()> {
    let LoopSetup { mut ring, doorbell, clock, spin } = setup;
    let wakeup = Readiness::of(doorbell.bell())?;
    let always = EventFd::new()?;
    always.signal();
    let always = Readiness::of(&always)?;
    let began = Instant::now();
    let began_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let mut pace = Pace::default();
    let mut crowd = Crowd::default();
    let mut rush = Rush::default();
    shard.open_door();
    loop {
        let turn_began = Instant::now();
        let now = Tick((turn_began.duration_since(began).as_millis() / TICK.as_millis()) as u32);
        shard.set_now(now);
        shard.set_journal_time(began_ms + turn_began.duration_since(began).as_millis() as u64);
        shard.set_clock(clock.now_us());
        turn(&mut shard, &mut ring);
        if crowd.is_over(now, shard.block().accepted.get(), shard.connections()) {
            shard.shrink();
            shard.plane().shrink();
            memory::collect();
        }
        pace.note(turn_began, shard.block());
        if shard.is_drained() {
            shard.abort();
            shard.plane().turn();
            return Ok(());
        }
        if shard.is_busy() {
            always.ready().await?;
            continue;
        }
        let patience = spin.max(rush.patience(turn_began, shard.block().accepted.get()));
        if !patience.is_zero() && look_for_work(&mut shard, &ring, patience) {
            continue;
        }
        doorbell.prepare_sleep();
        let quiet = shard.plane().is_quiet() || !shard.plane().turn();
        let until_turn = shard.turn_in_us();
        if quiet && !has_work(&shard, &ring) && until_turn != Some(0) {
            sleep(&wakeup, until_turn).await?;
            shard.block().waits.add(1);
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

/// Whether the ingest core has sent something that can be done now. While the backlog is full, downlinks cannot: what
/// ends that is the dataplane's news or a push's next look, and the shard sleeps until then.
fn has_work(shard: &Shard<Uring>, ring: &Receiver) -> bool {
    ring.has_command() || (!ring.is_empty() && shard.has_room())
}

/// One turn: what the kernel reports, what ingest sent, and then the shard's own work.
fn turn(shard: &mut Shard<Uring>, ring: &mut Receiver) {
    while let Some(command) = ring.command() {
        if matches!(command, ShardCommand::Drain(_)) {
            // Nothing is sent behind it: what is in the ring is taken, however much waits already.
            while let Some(downlink) = ring.pop() {
                shard.take(downlink);
            }
        }
        shard.obey(command);
    }
    shard.return_to_door();
    shard.plane().turn();
    shard.accept_again();
    let mut handled = 0;
    let mut is_through = false;
    while handled < EVENTS_PER_TURN && shard.takes_input() && !is_through {
        match shard.plane().next_event() {
            Some(event) => shard.handle(event),
            None => is_through = true,
        }
        handled += 1;
    }
    if !is_through {
        shard.look_outside();
    }
    for _ in 0..DOWNLINKS_PER_TURN {
        if !shard.has_room() {
            break;
        }
        let Some(downlink) = ring.pop() else { break };
        shard.take(downlink);
    }
    shard.turn();
}

/// Looks for work without sleeping; `true` when there is some. The listener is watched again only after that: where others
/// share it, they take who comes meanwhile, and connects spread over shards the better for it.
fn look_for_work(shard: &mut Shard<Uring>, ring: &Receiver, spin: Duration) -> bool {
    let until = Instant::now() + spin;
    while Instant::now() < until {
        if has_work(shard, ring) || shard.plane().has_news() {
            return true;
        }
        // Another thread of this core goes first, if there is one.
        std::thread::yield_now();
    }
    false
}

/// Connections that come one close behind the other. Whoever connects pays for waking a shard that sleeps: on a virtual
/// machine about as much as for the connect itself.
#[derive(Default)]
struct Rush {
    accepted: u64,
    last: Option<Instant>,
}

impl Rush {
    /// How long to wait for the next ones before sleeping: a moment, if the last came that close behind those before.
    fn patience(&mut self, turn_began: Instant, accepted: u64) -> Duration {
        if accepted == self.accepted {
            // It was looked for, and did not come.
            return Duration::ZERO;
        }
        self.accepted = accepted;
        let gap = self.last.map(|last| turn_began.duration_since(last));
        self.last = Some(turn_began);
        if gap.is_some_and(|gap| gap < RUSH_GAP) { RUSH_GAP } else { Duration::ZERO }
    }
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
    /// Connections that were ever accepted, whether they were upgraded or not.
    came: u64,
    /// Comings and goings since memory was last given back.
    moves: usize,
    /// When the last of them was.
    last: Tick,
}

impl Crowd {
    /// Takes note of a turn; `true` when memory should be given back now.
    fn is_over(&mut self, now: Tick, came: u64, connections: usize) -> bool {
        let arrived = (came - self.came) as usize;
        self.came = came;
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
