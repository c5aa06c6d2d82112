//! The state of one shard, its clocks, and what can be read off it.
//!
//! *Not here*: everything that changes more than one part of it; those files have an `impl Shard` each.

use std::sync::Arc;

use super::ages::Ages;
use super::budget::Budget;
use super::closes::Closes;
use super::departures::Departure;
use super::handshakes::Handshakes;
use super::neighbours::Neighbours;
use super::peers::Peers;
use super::walks::{Drain, Sweep};
use crate::dataplane::{Plane, Short, Token};
use crate::events::journal::Journal;
use crate::log::throttle::Throttle;
use crate::metrics::{Blocks, ShardBlock};
use fanfare_core::delivery::Delivery;
use fanfare_core::limits;
use fanfare_core::model::{Clients, Tick};
use fanfare_core::session::Rules;
use fanfare_core::session::bounds::OutboxBounds;
use fanfare_core::session::clock::Clock;
use fanfare_core::session::table::Table;

/// The state of one shard.
pub struct Shard<P: Plane> {
    pub(super) plane: P,
    pub(super) number: usize,
    pub(super) blocks: Arc<Blocks>,
    pub(super) rules: Rules,
    pub(super) topics_max: usize,
    /// The log's lines about JOINs beyond that.
    pub(super) joins_refused: Throttle,
    pub(super) clock: Clock,
    /// What the clock says, pauses left out.
    pub(super) now: Tick,
    /// Microseconds of the process's clock.
    pub(super) now_us: u64,
    pub(super) handshakes: Handshakes,
    pub(super) neighbours: Neighbours,
    pub(super) table: Table,
    pub(super) ages: Ages,
    pub(super) delivery: Delivery,
    pub(super) sweep: Sweep,
    pub(super) drain: Option<Drain>,
    /// What happens to connections is noted here, if anybody wants to know.
    pub(super) journal: Option<Journal>,
    pub(super) closes: Closes,
    /// What this turn's input has cost, and who is held back for it.
    pub(super) input: Budget,
    /// Where input is received; empty until the first, and after [`Shard::shrink`].
    pub(super) scratch: Box<[u8]>,
    pub(super) replies: Vec<u8>,
    /// Reused by every slice.
    pub(super) shorts: Vec<Short>,
    pub(super) slow: Vec<Token>,
    /// Whom a walk that is under way has found to leave; nobody while there is none.
    pub(super) departures: Vec<Departure>,
}

impl<P: Plane> Shard<P> {
    /// A shard without connections. `number` is its place in `blocks`.
    pub fn new(
        plane: P,
        number: usize,
        blocks: Arc<Blocks>,
        clients: &Clients,
        outbox: OutboxBounds,
    ) -> Self {
        let rules = Rules::new(clients, outbox, blocks.shards.len());
        Self {
            plane,
            number,
            blocks,
            rules,
            topics_max: clients.topics_max,
            joins_refused: Throttle::default(),
            clock: Clock::default(),
            now: Tick(0),
            now_us: 0,
            handshakes: Handshakes::new(clients),
            neighbours: Neighbours::default(),
            table: Table::default(),
            ages: Ages::default(),
            delivery: Delivery::new(number),
            sweep: Sweep::default(),
            drain: None,
            journal: None,
            closes: Closes::default(),
            input: Budget::default(),
            scratch: Box::default(),
            replies: Vec::new(),
            shorts: Vec::new(),
            slow: Vec::new(),
            departures: Vec::new(),
        }
    }

    /// Its way to the kernel.
    pub fn plane(&mut self) -> &mut P {
        &mut self.plane
    }

    /// Connections now.
    pub fn connections(&self) -> usize {
        self.table.len()
    }

    /// Memory of batches taken from the ring and not finished.
    pub fn backlog_bytes(&self) -> usize {
        self.delivery.backlog_bytes()
    }

    /// The part of it that pushes hold up.
    pub fn held_bytes(&self) -> usize {
        self.delivery.held_bytes()
    }

    /// Whether the next downlink may be taken from the ring. What pushes hold up has a bound where it enters.
    pub fn has_room(&self) -> bool {
        self.delivery.moving_bytes() < limits::BACKLOG_BYTES_MAX
    }

    /// Whether the next turn has something to do without news from outside.
    pub fn is_busy(&self) -> bool {
        !self.delivery.is_idle()
            || self.input.held() > 0
            || self.sweep.is_under_way()
            || self.handshakes.is_busy()
            || self.must_accept_again()
    }

    /// Whether the drain is over: nobody arrives any more, and every connection is gone, or had its time.
    pub fn is_drained(&self) -> bool {
        let is_left = || self.handshakes.is_settled() && self.table.is_empty();
        self.drain.as_ref().is_some_and(|drain| is_left() || drain.is_over(self.clock.steady()))
    }

    /// Sets the coarse clock, from a steady one; it never goes back. Time in which the shard had no turn is its own, and
    /// counts as nobody's silence.
    pub fn set_now(&mut self, steady: Tick) {
        let has_paused = self.clock.advance(steady);
        self.now = self.clock.now();
        if has_paused {
            self.block().pauses.add(1);
            if let Some(drain) = &mut self.drain {
                drain.resume(steady);
            }
        }
    }

    /// Sets the fine clock, microseconds of the process's clock; it never goes back.
    pub fn set_clock(&mut self, now_us: u64) {
        self.now_us = self.now_us.max(now_us);
        self.delivery.set_clock(now_us);
    }

    /// Microseconds after which a turn is needed, whatever else happens; `None`: after none.
    pub fn turn_in_us(&self) -> Option<u64> {
        self.delivery.wait_us().into_iter().chain(self.door_in_us()).min()
    }

    pub(super) fn block(&self) -> &ShardBlock {
        &self.blocks.shards[self.number]
    }

    pub(super) fn peers(&mut self) -> Peers<'_, P> {
        let block = &self.blocks.shards[self.number];
        Peers { plane: &mut self.plane, table: &mut self.table, block }
    }
}
