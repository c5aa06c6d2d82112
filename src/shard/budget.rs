//! What the input of a turn has cost, and who waits because of it.
//!
//! A connection that has more than a first read takes is held back: its bytes stay in the kernel, its token waits here, and
//! it is read again after everybody who spoke meanwhile. *Not here*: reading (`input`), what things cost (`limits`).

use std::collections::VecDeque;

use crate::dataplane::Token;
use fanfare_core::limits::{
    BYTES_PER_COST, COST_ANSWER, COST_CHANGE, COST_FRAME, COST_MESSAGE, COST_READ, FIRST_READ_BYTES,
    INPUT_CONNECTION_COST, INPUT_HELD_COST, INPUT_TURN_COST, SCRATCH_BYTES,
};
use fanfare_core::session::Input;

/// The input of one shard's turn.
#[derive(Debug, Default)]
pub(super) struct Budget {
    spent: u32,
    /// Connections that wait for a later turn, each once, the longest first. Some may have left since.
    held: VecDeque<Token>,
}

impl Budget {
    /// A new turn.
    pub(super) fn renew(&mut self) {
        self.spent = 0;
    }

    pub(super) fn spend(&mut self, cost: u32) {
        self.spent = self.spent.saturating_add(cost);
    }

    /// Whether this turn takes more input.
    pub(super) fn has_room(&self) -> bool {
        self.spent < INPUT_TURN_COST
    }

    /// What may have been spent in all once those who were held back were served.
    pub(super) fn bound_of_held(&self) -> u32 {
        INPUT_TURN_COST.max(self.spent.saturating_add(INPUT_HELD_COST))
    }

    pub(super) fn is_below(&self, bound: u32) -> bool {
        self.spent < bound
    }

    pub(super) fn hold(&mut self, token: Token) {
        self.held.push_back(token);
    }

    pub(super) fn next_held(&mut self) -> Option<Token> {
        self.held.pop_front()
    }

    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    pub(super) fn shrink(&mut self) {
        self.held.shrink_to_fit();
    }
}

/// What a read of so many bytes and what it led to cost.
pub(super) fn cost_of(bytes: usize, input: &Input, changes: usize, has_answer: bool) -> u32 {
    let bytes = ((bytes + input.message_bytes) / BYTES_PER_COST) as u32;
    let answer = if has_answer { COST_ANSWER } else { 0 };
    let frames = input.frames * COST_FRAME + input.messages * COST_MESSAGE;
    COST_READ + bytes + frames + changes as u32 * COST_CHANGE + answer
}

/// How much to read next of a connection that has cost so much in this turn, the last read of so many bytes included.
pub(super) fn next_read(cost: u32, last_cost: u32, last_bytes: usize) -> usize {
    let left = INPUT_CONNECTION_COST.saturating_sub(cost) as usize;
    (last_bytes * left / last_cost.max(1) as usize).clamp(FIRST_READ_BYTES, SCRATCH_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanfare_core::limits::INPUT_LIGHT_COST;

    #[test]
    fn reads_are_long_where_bytes_are_cheap_and_short_where_they_are_frames() {
        let message = cost_of(FIRST_READ_BYTES, &Input::default(), 0, false);
        assert_eq!(next_read(message, message, FIRST_READ_BYTES), SCRATCH_BYTES);
        let pings = Input { frames: (FIRST_READ_BYTES / 6) as u32, ..Input::default() };
        let pings = cost_of(FIRST_READ_BYTES, &pings, 0, true);
        assert!(pings > INPUT_LIGHT_COST, "a first read full of empty pings is remembered");
        assert!(next_read(pings, pings, FIRST_READ_BYTES) < SCRATCH_BYTES / 3);
        assert_eq!(next_read(INPUT_CONNECTION_COST, pings, FIRST_READ_BYTES), FIRST_READ_BYTES);
    }

    #[test]
    fn those_who_are_held_back_get_their_part_of_a_turn_that_others_filled() {
        let mut budget = Budget::default();
        assert_eq!(budget.bound_of_held(), INPUT_TURN_COST, "alone they get all of it");
        budget.spend(INPUT_TURN_COST);
        assert!(!budget.has_room());
        assert!(budget.is_below(budget.bound_of_held()));
        budget.renew();
        assert!(budget.has_room());
    }
}
