//! Which topics have something to deliver, in the order in which they are served.
//!
//! *Not here*: the serving (`fanout`).

use std::collections::VecDeque;

use super::members::Place;
use fanfare_core::limits::SLICE_SENDS;
use fanfare_core::push::terms::Lane;
use fanfare_core::session::subscriptions::TopicId;

/// Topics up to this many members are served whole, before a large one gets its next slice.
const SMALL: usize = SLICE_SENDS / 4;

/// Topics that have a round which may be able to go on.
#[derive(Debug, Default)]
pub struct Agenda {
    pub(super) urgent: VecDeque<TopicId>,
    pub(super) small: VecDeque<TopicId>,
    pub(super) large: VecDeque<TopicId>,
}

impl Agenda {
    /// Whether nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.small.is_empty() && self.large.is_empty()
    }

    /// Gives back room that nothing needs now.
    pub fn shrink(&mut self) {
        self.urgent.shrink_to_fit();
        self.small.shrink_to_fit();
        self.large.shrink_to_fit();
    }

    pub(super) fn add(&mut self, place: Place, members: usize) {
        match place.lane {
            Lane::Urgent => self.urgent.push_back(place.topic),
            Lane::Normal if members <= SMALL => self.small.push_back(place.topic),
            Lane::Normal => self.large.push_back(place.topic),
        }
    }
}
