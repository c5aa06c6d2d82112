//! The last actions of a world, for the report of a failure.

use std::cell::RefCell;
use std::collections::VecDeque;

const KEPT: usize = 60;

thread_local! {
    static TRAIL: RefCell<VecDeque<String>> = const { RefCell::new(VecDeque::new()) };
}

/// Remembers an action.
pub(crate) fn note(action: impl FnOnce() -> String) {
    TRAIL.with_borrow_mut(|trail| {
        if trail.len() == KEPT {
            trail.pop_front();
        }
        trail.push_back(action());
    });
}

/// The last actions, oldest first; the next world begins without any.
pub(crate) fn take() -> String {
    TRAIL.with_borrow_mut(|trail| {
        trail.drain(..).fold(String::new(), |report, action| report + "  " + &action + "\n")
    })
}
