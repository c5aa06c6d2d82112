//! What a shard's delivery is made of, and what can be read off it.
//!
//! *Not here*: everything that changes more than one part of it; those files have an `impl Delivery` each.

use super::agenda::Agenda;
use super::backlog::Backlog;
use super::members::Members;
use super::pushes::Pushes;
use crate::model::{Address, Tick, Topic};
use crate::push::PushSlot;
use crate::push::share::Failed;
use crate::session::subscriptions::TopicId;

/// What one shard has to deliver, and to whom.
#[derive(Debug)]
pub struct Delivery {
    pub(super) members: Members,
    pub(super) agenda: Agenda,
    pub(super) pushes: Pushes,
    pub(super) backlog: Backlog,
    /// Rounds begun that nobody has counted yet.
    pub(super) begun: u64,
}

impl Delivery {
    /// Nothing to deliver, to nobody. `number` is the shard's place in the shares of pushes.
    pub fn new(number: usize) -> Self {
        Self {
            members: Members::default(),
            agenda: Agenda::default(),
            pushes: Pushes::new(number),
            backlog: Backlog::default(),
            begun: 0,
        }
    }

    /// Sets the clock, microseconds of the process's clock; it never goes back.
    pub fn set_clock(&mut self, now_us: u64) {
        self.pushes.set_now(now_us);
    }

    /// Microseconds after which pushes want a look; `None`: there is no push.
    pub fn wait_us(&self) -> Option<u64> {
        self.pushes.wait_us()
    }

    /// Whether no line may go on.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.agenda.is_empty()
    }

    /// Memory of batches taken in and not finished.
    #[inline]
    pub fn backlog_bytes(&self) -> usize {
        self.backlog.bytes()
    }

    /// The part of it that moves.
    #[inline]
    pub fn moving_bytes(&self) -> usize {
        self.backlog.moving()
    }

    /// The part of it that pushes hold up.
    #[inline]
    pub fn held_bytes(&self) -> usize {
        self.backlog.held()
    }

    /// Topics with members, without the list of everybody.
    pub fn topics(&self) -> usize {
        self.members.topics()
    }

    /// Members of an address.
    pub fn members_of(&mut self, address: &Address) -> usize {
        let id = self.members.find(address);
        id.and_then(|id| self.members.entry(id)).map_or(0, |entry| entry.members.len())
    }

    /// A topic by name, if it has members here.
    pub fn find_name(&self, name: &str) -> Option<TopicId> {
        self.members.find_name(name)
    }

    /// The name of a topic that has members here; the list of everybody has none.
    pub fn name(&self, id: TopicId) -> Option<&Topic> {
        self.members.name(id)
    }

    /// Whether no message was on its way to the topic's members for so many ticks. One that waits for its pace is on its
    /// way.
    pub fn is_quiet_since(&mut self, id: TopicId, now: Tick, ticks: u32) -> bool {
        self.members.entry(id).is_none_or(|entry| entry.is_quiet_since(now, ticks))
    }

    /// Rounds begun since the last call.
    #[inline]
    pub fn take_begun(&mut self) -> u64 {
        std::mem::take(&mut self.begun)
    }

    /// A push has reached so many devices. Returns the microseconds since it entered.
    pub fn push_sent(&mut self, slot: PushSlot, devices: u64) -> u64 {
        self.pushes.sent(slot, devices)
    }

    /// A push will not reach so many devices.
    pub fn push_failed(&mut self, slot: PushSlot, why: Failed, devices: u64) {
        self.pushes.failed(slot, why, devices);
    }

    /// Gives back room that nothing needs now.
    pub fn shrink(&mut self) {
        self.agenda.shrink();
    }
}
