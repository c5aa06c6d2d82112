//! The end of a world: everything that was published arrives, and everybody leaves without a trace.

use std::time::Duration;

use fanfare::downlink::ShardCommand;
use fanfare_core::limits::TICK;

use crate::client::{Client, Pace};
use crate::ledger::{ALL, Item};
use crate::plan::Finale;
use crate::trail;
use crate::world::{Asked, Seat, World};

/// Steps within which a world that nobody disturbs has delivered everything.
const SETTLED_AFTER: usize = 600;

/// Ticks that outlast any liveness, any age and the grace of a close after it.
const ALL_GRACES: usize = 180;

impl World {
    pub(crate) fn end(&mut self) {
        self.settle();
        self.check_arrivals();
        match self.plan.finale {
            Finale::MassLeave => {}
            Finale::Silence => self.wait_out(),
            Finale::Drain(ms) => self.drain(Duration::from_millis(ms)),
        }
        self.leave_all();
        self.check_pushes_over();
        self.check_nothing_is_left();
        for (seat, block) in self.seats.iter().zip(&self.blocks.shards) {
            seat.lives.check_end(block);
        }
        for Asked { census, least, most } in &self.censuses {
            let total = census.total().expect("every shard has answered");
            assert!((*least..=*most).contains(&total), "a census counted {total}, not {least} to {most}");
        }
    }

    /// Nobody publishes or speaks, who reads at all reads fast: soon nothing is on its way.
    fn settle(&mut self) {
        trail::note(|| "settle".to_owned());
        self.is_settling = true;
        if !self.plan.is_cut_short {
            self.let_pushes_end();
        }
        for _ in 0..SETTLED_AFTER {
            self.pass_until(self.now + 5_000);
            if self.broadcast.flush().is_none() {
                self.seal(|merger, now, sealed| merger.end_turn(now, sealed));
            }
            self.advance();
            if self.is_settled() {
                return;
            }
        }
        let waits = self.clients.iter().find(|client| !at_rest(client)).map(Client::summary);
        panic!(
            "no end in sight after {SETTLED_AFTER} steps in which nobody did anything new: {waits:?} waits"
        );
    }

    fn is_settled(&mut self) -> bool {
        // Of pushes that were let go on, only outboxes have anything now.
        if !self.plan.is_cut_short && self.seats.iter().any(|seat| seat.shard.backlog_bytes() > 0) {
            return false;
        }
        let merged = self.merger.open_messages() == 0 && !self.broadcast.is_waiting();
        merged && self.clients.iter().all(at_rest) && self.seats.iter_mut().all(Seat::is_quiet)
    }

    /// Whether nothing ever kept this client from getting everything.
    fn is_healthy(&self, client: &Client) -> bool {
        !client.is_removed
            && client.pace != Pace::Stalled
            && client.close.is_none()
            && client.last_act.is_none()
            && (self.plan.keeps_all() || !client.was_short)
    }

    /// Everything that a healthy client was to get has come.
    fn check_arrivals(&self) {
        for client in self.clients.iter().filter(|client| self.is_healthy(client)) {
            self.check_complete(client);
            assert!(client.answers.is_empty(), "{} waits for {:?}", client.id, client.answers);
        }
        for (to, &sealed) in self.sealed.iter().enumerate() {
            assert_eq!(sealed, self.ledger.published(to), "messages stay in the merger");
            assert!(self.seats.iter().all(|seat| seat.taken[to] == sealed), "a ring keeps batches");
        }
    }

    fn check_complete(&self, client: &Client) {
        let taken = &self.seats[client.shard].taken;
        for (to, spans) in client.spans.iter().enumerate() {
            let Some(span) = spans.last().filter(|span| span.to.is_none()) else { continue };
            let mut has = client.next[to].max(span.from);
            while has < taken[to] && self.is_excused(client.shard, (to, has)) {
                has += 1;
            }
            assert_eq!(has, taken[to], "{} has {to} up to {has} of {}", client.id, taken[to]);
        }
    }

    /// Whether a message need not have come: a push was cut, or goes on, and everything behind it waits.
    fn is_excused(&self, shard: usize, item: Item) -> bool {
        item.0 >= self.ledger.urgent(ALL)
            || self.book.is_open(shard, item, self.now)
            || self.plan.is_cut_short && self.book.is_held(shard, item)
    }

    fn pass(&mut self, time: Duration) {
        self.pass_until(self.now + time.as_micros() as u64);
        self.broadcast.flush();
        self.advance();
    }

    /// Time goes by: who is silent, too slow, or does not answer a Close is gone, who answers pings is not.
    fn wait_out(&mut self) {
        let answers_pings = self.plan.clients.liveness_counts
            == fanfare_core::model::LivenessCounts::AnyFrame
            && self.plan.clients.server_ping;
        let is_kept = |client: &Client| {
            !client.is_removed && client.is_polite && client.pace != Pace::Stalled && client.close.is_none()
        };
        let well: Vec<usize> =
            self.clients.iter().filter(|c| is_kept(c) && c.last_act.is_none()).map(|c| c.id).collect();
        for tick in 0..ALL_GRACES {
            if tick == ALL_GRACES / 4 && self.plan.pause_percent > 0 {
                self.stand_still();
            }
            self.pass(TICK);
        }
        for client in self.clients.iter().filter(|client| !client.is_removed) {
            let id = client.id;
            assert!(client.close.is_none() && client.last_act.is_none(), "{id} closes for ever");
            if self.plan.may_fall_silent() {
                assert!(answers_pings && well.contains(&id), "{id} is silent and still there");
            }
            if self.plan.keeps_all() && self.plan.may_age() {
                assert!(!client.is_owed, "{id} has been owed for ever");
            }
        }
        if !self.plan.may_fall_silent() || answers_pings {
            let lost: Vec<_> = well.iter().filter(|id| self.clients[**id].is_removed).collect();
            assert!(lost.is_empty(), "{lost:?} did nothing wrong and are gone");
        }
    }

    /// What entered before the drain is delivered, everybody is told 1001, and it is over in time.
    fn drain(&mut self, within: Duration) {
        trail::note(|| format!("drain within {within:?}"));
        let missing = |client: &Client| (client.id, client.missed());
        let healthy: Vec<_> = self.clients.iter().filter(|c| self.is_healthy(c)).map(missing).collect();
        for _ in 0..self.rng.below(30) {
            let to = self.rng.below(self.ledger.addresses.len());
            let bytes = self.rng.scale(1, self.plan.message_bytes_max);
            self.publish_one(to, bytes);
        }
        self.seal(|merger, now, sealed| merger.drain(now, sealed));
        let step = Duration::from_millis(50);
        let mut stalls = 0;
        while self.broadcast.flush().is_some() {
            stalls += 1;
            assert!(stalls < 1000, "a ring stays full");
            self.pass(step);
        }
        self.broadcast.command(&ShardCommand::Drain(within));
        let limit = (within + Duration::from_secs(3)).as_millis() / step.as_millis();
        let pause_at =
            if self.plan.pause_percent > 0 { self.rng.below(limit as usize) as u128 } else { limit };
        for number in 0..limit {
            if number == pause_at {
                self.stand_still();
            }
            self.pass(step);
            if self.seats.iter().all(|seat| seat.shard.is_drained()) {
                break;
            }
        }
        assert!(self.seats.iter().all(|seat| seat.shard.is_drained()), "a drain takes longer than it may");
        for (id, missed_before) in healthy {
            let client = &self.clients[id];
            // Whoever falls behind in the last moment falls under the policy.
            if self.plan.may_fall_silent()
                || client.was_short && (!self.plan.keeps_all() || client.close == Some(Some(4008)))
            {
                continue;
            }
            assert_eq!(client.close, Some(Some(1001)), "{id} was not told that the gateway goes");
            let (_, missed) = missing(client);
            // What waited behind a push went on when the drain ended it.
            assert!(
                missed == missed_before || self.plan.is_cut_short && missed <= missed_before,
                "{id} misses messages of before the drain"
            );
        }
        for number in 0..self.seats.len() {
            self.call(number, fanfare::shard::Shard::abort);
        }
    }

    /// A mass leave.
    fn leave_all(&mut self) {
        trail::note(|| "everybody leaves".to_owned());
        for client in self.clients.iter().filter(|client| !client.is_removed && !client.spans[ALL].is_empty())
        {
            self.seats[client.shard].shard.plane().client_resets(client.fd);
        }
        for _ in 0..SETTLED_AFTER {
            self.pass(TICK);
            if self.seats.iter_mut().all(|seat| seat.is_quiet() && seat.shard.connections() == 0) {
                return;
            }
        }
        panic!("connections stay after everybody has left");
    }
}

/// Whether a client that nobody disturbs has nothing more to say, to get or to wait for.
fn at_rest(client: &Client) -> bool {
    let ends = client.is_polite && (client.last_act.is_some() || client.close.is_some());
    let is_done = client.out.is_empty() && !client.is_owed && !ends;
    client.is_removed || client.pace == Pace::Stalled || is_done
}
