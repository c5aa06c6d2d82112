//! Answers that take along what a round still has for their device.
//!
//! *Not here*: which round (`fanfare_core::delivery`), when answers are sent (`input`).

use super::state::Shard;
use crate::dataplane::{Plane, Token};
use fanfare_core::delivery::Laden;

impl<P: Plane> Shard<P> {
    /// The answer with what a round still has for this device. `None`: there is nothing, or it is large.
    pub(super) fn load(&mut self, token: Token, answer: &[u8]) -> Option<Laden> {
        if self.delivery.is_idle() {
            return None;
        }
        let connection = self.table.get(token)?;
        let laden = self.delivery.load(connection, token.index, answer)?;
        let block = &self.blocks.shards[self.number];
        block.deliveries.add(u64::from(laden.cargo.messages));
        block.sends.add(1);
        block.frames.add(u64::from(laden.frames));
        block.send_bytes.add((laden.bytes.len() - answer.len()) as u64);
        Some(laden)
    }
}
