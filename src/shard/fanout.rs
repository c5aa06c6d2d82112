//! Fanout: carries out what the walks of a turn return.
//!
//! A slice is gathered, sent, and settled while its walk has the delivery; then the round is back in its line, and only
//! then does anybody depart. *Not here*: whom a slice meets (`fanfare_core::delivery`), sockets (`dataplane`).

use super::departures::Departure;
use super::peers::Peers;
use super::state::Shard;
use crate::dataplane::{Plane, Short, Took};
use crate::metrics::ShardBlock;
use fanfare_core::delivery::{Keeper, Place, Sent, Shortfall, Slice, Terms};
use fanfare_core::model::{CloseReason, FormatId, Tick};
use fanfare_core::push::PushSlot;
use fanfare_core::push::share::Failed;

impl<P: Plane> Shard<P> {
    /// A turn's share of the walks.
    pub(super) fn fan_out(&mut self) {
        if self.delivery.is_idle() {
            return;
        }
        let mut turn = self.delivery.begin_turn();
        while let Some(place) = self.delivery.next_place(&mut turn) {
            turn.spend(self.slice(place));
        }
    }

    /// One slice of the first round of a line that can go on; returns what it took of the turn's share.
    fn slice(&mut self, place: Place) -> usize {
        let block = &self.blocks.shards[self.number];
        let now = self.now;
        let spoken = FormatId::ALL.map(|format| block.connections[format.index()].get() > 0);
        let Some(mut walk) = self.delivery.walk(place, spoken) else { return 0 };
        debug_assert!(self.departures.is_empty(), "who had to leave has left before the next walk");
        let keeper = Keeper(&block.outbox_shared_bytes);
        let terms = Terms { now, bounds: self.rules.outbox, keeper };
        let slice = walk.gather(&mut self.table, terms, std::mem::take(&mut self.slow));
        count(block, &slice, self.rules.drop_counter());
        let sends = slice.sends.len();
        let cost = slice.cost();
        let mut shortfall = Shortfall::default();
        if sends > 0 {
            self.plane.send_slice(&slice.sends, &mut self.shorts);
            if self.table.has_accounts() {
                for send in &slice.sends {
                    self.table.count_out(send.token, send.bytes.len());
                }
            }
            let peers = Peers { plane: &mut self.plane, table: &mut self.table, block };
            shortfall = settle(peers, &slice, &mut self.shorts, &mut self.departures, now);
        }
        let (tally, mut slow, dropped_pushes) = slice.end(shortfall);
        let sent = walk.end(&tally, now);
        if let Some(Sent { devices, after_us }) = sent {
            self.block().push_latency_ms.record_many(after_us / 1000, devices);
        }
        self.settle_pushes(dropped_pushes, Failed::Slow);
        self.departures.extend(slow.drain(..).map(|token| Departure::close(token, CloseReason::Slow)));
        self.slow = slow;
        self.depart();
        self.delivery.go_on(place);
        cost
    }

    /// Accounts for pushes that left an outbox.
    pub(super) fn settle_pushes(&mut self, settled: Vec<(PushSlot, bool)>, why: Failed) {
        for (slot, is_sent) in settled {
            if is_sent {
                let after_us = self.delivery.push_sent(slot, 1);
                self.block().push_latency_ms.record_many(after_us / 1000, 1);
            } else {
                self.delivery.push_failed(slot, why, 1);
            }
        }
    }
}

/// Counts what a slice has gathered.
fn count(block: &ShardBlock, slice: &Slice<'_>, drop_counter: usize) {
    block.deliveries.add(slice.deliveries);
    block.deliveries_failed[Failed::Closed as usize].add(slice.missed_closed);
    block.deliveries_failed[Failed::Slow as usize].add(slice.missed_slow);
    block.count_dues(slice.dues_before, slice.dues_after);
    if slice.dropped > 0 {
        block.outbox_dropped[drop_counter].add(slice.dropped);
    }
    block.sends.add(slice.sends.len() as u64);
    block.frames.add(slice.frames);
    block.send_bytes.add(slice.bytes);
}

/// Gives every send that fell short an outbox with the rest, or notes that its connection is gone. How many there were of
/// each.
fn settle<P: Plane>(
    mut peers: Peers<'_, P>,
    slice: &Slice<'_>,
    shorts: &mut Vec<Short>,
    departures: &mut Vec<Departure>,
    now: Tick,
) -> Shortfall {
    peers.block.sends_short.add(shorts.len() as u64);
    let (mut from, mut shortfall) = (0, Shortfall::default());
    for short in shorts.drain(..) {
        // They come in the order of the sends, so that one pass finds them all.
        let Some(at) = slice.sends[from..].iter().position(|send| send.token == short.token) else {
            unreachable!("a short send was one of the slice");
        };
        let send = &slice.sends[from + at];
        from += at;
        let taken = if let Took::Bytes(taken) = short.took { taken } else { 0 };
        peers.table.count_out_less(short.token, send.bytes.len().saturating_sub(taken));
        let Some(connection) = peers.table.get(short.token) else { continue };
        match short.took {
            Took::Bytes(taken) if taken >= send.bytes.len() => {}
            Took::Bytes(taken) => {
                let (rest, cargo) = slice.owed(connection.format, send);
                peers.with_dues(short.token, |connection| {
                    connection.owe(now).push_rest(rest, taken, cargo, now);
                });
                shortfall.unsent += 1;
                peers.await_room(short.token);
            }
            Took::Gone => {
                peers.block.sends_failed.add(1);
                shortfall.gone += 1;
                departures.push(Departure::remove(short.token, CloseReason::Reset));
            }
        }
    }
    shortfall
}
