//! What must be true of a shard after every call: its gauges, its accounts, its bounds.

use fanfare_core::counters::{Value, total};
use fanfare_core::limits::{BACKLOG_BYTES_MAX, DOWNLINKS_PER_TURN, HELD_BYTES_MAX, RING_BYTES_MAX};

use crate::client::Client;
use crate::ledger::ALL;
use crate::plan::Flood;
use crate::world::{Seat, World};

/// In a crowd, what costs a walk over everybody is looked at every so many calls.
const CROWD: usize = 100;
const CROWD_EVERY: u64 = 64;
/// The same for the ledgers of pushes, device by device.
const LEDGERS_EVERY: u64 = 8;
/// What an outbox takes beside what counts towards its bound.
const OUTBOX_BYTES: usize = 4096;

impl World {
    /// No ring holds more than its bound.
    pub(crate) fn check_rings(&self) {
        for (pushed, shard) in self.blocks.ring_bytes_pushed.iter().zip(&self.blocks.shards) {
            let inside = pushed.get() - shard.downlink_bytes_released.get();
            assert!(inside <= RING_BYTES_MAX as u64, "{inside} bytes in a ring");
        }
    }

    pub(crate) fn check(&mut self, number: usize) {
        self.check_rings();
        self.check_gauges(number);
        self.check_memory(number);
        self.seats[number].calls += 1;
        let seat = &mut self.seats[number];
        let is_thorough = seat.calls.is_multiple_of(LEDGERS_EVERY);
        seat.has_pushes = self.book.check(number, &mut self.clients, self.now, is_thorough);
        assert_eq!(seat.shard.turn_in_us().is_some(), seat.has_pushes, "a push has no end, or no beginning");
        assert!(
            seat.shard.is_busy() || seat.has_pushes || seat.shard.backlog_bytes() == 0,
            "a backlog of nothing"
        );
        let seat = &self.seats[number];
        let is_lull = seat.shard.backlog_bytes() == 0;
        if seat.shard.connections() <= CROWD || seat.calls.is_multiple_of(CROWD_EVERY) {
            self.check_outboxes(number, is_lull);
            if is_lull {
                self.check_accounts(number);
            }
        }
        if is_lull {
            self.seats[number].lull += 1;
        }
    }

    /// What waits is counted once: as what moves, within its bound, or as what a push holds up.
    fn check_memory(&self, number: usize) {
        let shard = &self.seats[number].shard;
        let (all, held) = (shard.backlog_bytes(), shard.held_bytes());
        assert!(held <= all, "{held} of {all} bytes are held");
        assert!(held == 0 || self.seats[number].has_pushes, "{held} bytes are held by nothing");
        // A turn's downlinks, each with the encodings of all formats.
        let above = DOWNLINKS_PER_TURN * 8 * self.plan.message_bytes_max.max(self.plan.merge.bytes_max);
        let is_flood = self.plan.flood != Flood::None;
        assert!(is_flood || all - held <= BACKLOG_BYTES_MAX + above, "{} bytes move", all - held);
        assert!(self.blocks.held.bytes() <= HELD_BYTES_MAX as u64, "more waits behind pushes than may");
    }

    fn check_gauges(&self, number: usize) {
        let (seat, block) = (&self.seats[number], &self.blocks.shards[number]);
        let tally = &seat.tally;
        let live = tally.admitted - tally.removed;
        assert_eq!(seat.shard.connections() as u64, live, "connections");
        assert_eq!(block.connections.iter().map(Value::get).sum::<u64>(), live, "by format");
        assert_eq!(block.upgraded.get(), tally.admitted);
        assert_eq!(block.closed.iter().map(Value::get).sum::<u64>(), tally.removed, "closed");
        let topics = seat.members[ALL + 1..].iter().filter(|members| !members.is_empty()).count() as u64;
        let doubtful: usize = seat.doubtful.iter().map(|id| self.clients[*id].topics()).sum();
        let memberships = tally.memberships - doubtful as u64..=tally.memberships;
        let counted = block.memberships.get();
        assert!(memberships.contains(&counted), "{counted} memberships, not {memberships:?}");
        if doubtful == 0 {
            assert_eq!(block.topics.get(), topics, "topics");
        }
        assert!(block.topics.get() <= topics, "topics");
    }

    /// Outboxes exist where sockets are full, and hold what their clients were to get and have not.
    fn check_outboxes(&mut self, number: usize, is_lull: bool) {
        let block = &self.blocks.shards[number];
        let (outboxes, bytes) = (block.outboxes.get(), block.outbox_owed_bytes.get());
        let plane = self.seats[number].shard.plane();
        let send_bytes_max = plane.send_bytes_max.max(1024);
        let owed: Vec<usize> = plane.sockets().filter(|s| s.awaits_room).map(|s| s.client).collect();
        let is_open = |id: &usize| self.clients[*id].close.is_none() && self.clients[*id].last_act.is_none();
        assert!(outboxes <= owed.len() as u64, "{outboxes} outboxes, {} full sockets", owed.len());
        if self.plan.keeps_all() {
            // Others may have given up what they owed and wait for room that nobody needs any more.
            let surely = owed.iter().filter(|id| is_open(id) && !self.clients[**id].was_over).count();
            let may_end = self.plan.may_age() || self.plan.may_fall_silent() || self.is_drain_under_way;
            assert!(may_end || outboxes >= surely as u64, "{outboxes} outboxes for {surely} full sockets");
            if is_lull && !may_end && !self.plan.clients.server_ping {
                self.check_owed(&owed, bytes);
            }
        }
        assert!(outboxes > 0 || bytes == 0, "{bytes} bytes in no outbox");
        let most = self.plan.outbox.bytes_max + send_bytes_max;
        assert!(bytes <= outboxes * most as u64, "{bytes} bytes in {outboxes} outboxes of at most {most}");
        let (own, shared) = (block.outbox_own_bytes.get(), block.outbox_shared_bytes.get());
        // A list has room for some items from the first on, and the first item counts until all of it is sent.
        assert!(
            own <= outboxes * (most + OUTBOX_BYTES) as u64,
            "{own} bytes allocated for {outboxes} outboxes"
        );
        assert!(own >= outboxes, "{own} bytes allocated for {outboxes} outboxes");
        assert!(!is_lull || outboxes > 0 || shared == 0, "{shared} bytes shared by no outbox");
    }

    /// To the byte, where every owed client's outbox is known, but for pongs that a later one may stand for.
    fn check_owed(&self, owed: &[usize], bytes: u64) {
        let is_known = |client: &Client| {
            !client.was_over && !client.has_withdrawn && client.close.is_none() && client.last_act.is_none()
        };
        let clients = || owed.iter().map(|&id| &self.clients[id]);
        if clients().all(is_known) {
            let most: u64 = clients().map(Client::owed_bytes).sum();
            let least = most - clients().map(Client::joined_bytes).sum::<u64>();
            assert!((least..=most).contains(&bytes), "{bytes} bytes in outboxes, not {least} to {most}");
        }
    }

    /// Every message that the shard took for a member was delivered, dropped, or has failed; none twice.
    fn check_accounts(&self, number: usize) {
        let (seat, block) = (&self.seats[number], &self.blocks.shards[number]);
        let tally = &seat.tally;
        let (mut abandoned, mut twice) = (tally.abandoned_max, tally.counted_twice_max);
        let mut outstanding = 0;
        for client in self.clients.iter().filter(|client| !client.is_removed && client.shard == number) {
            let (given_up, whole) = client.slack();
            abandoned += given_up;
            twice += whole;
            if client.is_owed || client.was_owed_at_close {
                outstanding += client.targeted - client.received;
            }
        }
        let (deliveries, failed) = (block.deliveries.get(), total(&block.deliveries_failed));
        let dropped: u64 = block.outbox_dropped.iter().map(Value::get).sum();
        let targeted = tally.targeted;
        let context = || {
            format!(
                "targeted {targeted}, perhaps {} more, deliveries {deliveries}, failed {failed}, dropped {dropped}, received {}, \
                 withdrawn up to {}, gone up to {}, outstanding {outstanding}, abandoned up to {abandoned}, of which \
                 {twice} had come",
                tally.unsure, tally.received, tally.withdrawn_max, tally.gone_max
            )
        };
        let served = deliveries + failed;
        assert!(
            served + tally.withdrawn_max + self.book.messages_cut(number) >= targeted,
            "messages were not served: {}",
            context()
        );
        assert!(served <= targeted + tally.unsure + abandoned, "more was served than taken: {}", context());
        let settled = tally.received + dropped + failed;
        let withdrawn = tally.withdrawn_max + self.book.messages_cut(number);
        let open = withdrawn + tally.gone_max + outstanding;
        assert!(settled + open >= targeted, "messages vanished: {}", context());
        assert!(
            settled <= targeted + tally.unsure + twice,
            "more came, was dropped or failed than was taken: {}",
            context()
        );
    }

    /// Nobody is left, and neither is anything that was theirs.
    pub(crate) fn check_nothing_is_left(&self) {
        for (seat, block) in self.seats.iter().zip(&self.blocks.shards) {
            assert_eq!(seat.shard.connections(), 0);
            assert_eq!((seat.shard.backlog_bytes(), seat.shard.held_bytes()), (0, 0));
            let gauges = [&block.memberships, &block.topics, &block.outboxes, &block.outbox_owed_bytes];
            assert_eq!(gauges.map(Value::get), [0; 4], "memberships, topics, outboxes, their bytes");
            let allocated = [&block.outbox_own_bytes, &block.outbox_shared_bytes, &block.partial_bytes];
            assert_eq!(allocated.map(Value::get), [0; 3], "memory of outboxes and unfinished messages");
            assert!(block.connections.iter().all(|format| format.get() == 0));
        }
        assert_eq!(self.blocks.held.bytes(), 0, "a batch is charged that nobody has");
    }
}

impl Seat {
    /// Whether the shard has nothing to do until somebody outside acts.
    pub(crate) fn is_quiet(&mut self) -> bool {
        !self.shard.is_busy() && self.receiver.is_empty() && !self.shard.plane().has_events()
    }
}
