//! What the outboxes of a shard come to, and what happens at the bound of all of them together.
//!
//! An outbox is charged what is its own. A round's buffer that outboxes share is charged once, from the first that
//! holds it until the last lets go. Their sum bounds the memory. *Not here*: one outbox (`session::outbox`).

use super::state::Shard;
use crate::dataplane::{Plane, Token};
use fanfare_core::model::CloseReason;
use fanfare_core::push::share::Failed;
use fanfare_core::session::bounds::OutboxPolicy;
use fanfare_core::session::{Connection, Phase};

impl<P: Plane> Shard<P> {
    /// When all outboxes together are over their bound, those that hold most are closed, or lose their batches where that
    /// is the policy, until an eighth is free. Who is closing already is reset: it had its time to read.
    pub(super) fn relieve_outboxes(&mut self) {
        let max = self.rules.outbox_total;
        if self.block().outbox_bytes() <= max as u64 {
            return;
        }
        let goal = (max - max / 8) as u64;
        for token in self.heaviest(|connection| connection.outbox().map_or(0, |outbox| outbox.held_bytes())) {
            if self.block().outbox_bytes() <= goal {
                break;
            }
            let Some(connection) = self.table.get(token) else { continue };
            if connection.phase() != Phase::Open {
                self.remove(token, CloseReason::CloseTimeout);
                continue;
            }
            if self.rules.outbox.policy == OutboxPolicy::Close {
                self.begin_close(token, CloseReason::OutboxTotal);
                continue;
            }
            let drop_batches = |connection: &mut Connection| {
                connection.outbox().map(|outbox| (outbox.drop_batches(), outbox.take_settled()))
            };
            let Some(Some((dropped, settled))) = self.peers().with_dues(token, drop_batches) else {
                continue;
            };
            self.block().outbox_dropped[self.rules.drop_counter()].add(u64::from(dropped));
            self.settle_pushes(settled, Failed::Slow);
        }
    }

    /// Every connection that weighs something, the heaviest first. A walk over the table: for what happens once while an
    /// eighth of a bound fills up.
    pub(super) fn heaviest(&mut self, weigh: impl Fn(&mut Connection) -> usize) -> Vec<Token> {
        let mut all = Vec::new();
        for index in 0..self.table.span() {
            if let Some((token, connection)) = self.table.at(index) {
                let weight = weigh(connection);
                if weight > 0 {
                    all.push((weight, token));
                }
            }
        }
        all.sort_unstable_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        all.into_iter().map(|(_, token)| token).collect()
    }
}
