//! Which addresses have pushes that run, what waits behind those, and whether more may.
//!
//! A push with a rate, or one that stands still, holds up whatever comes later for its addresses. That waits within
//! bounds of its own, so that other topics go on: [`HELD_TOPIC_BYTES_MAX`] for an address, [`HELD_BYTES_MAX`] for all,
//! both as allocated. The ingest core and the control thread have one of these each and see the same numbers.
//! *Not here*: what is told to whoever is refused.

use std::collections::HashMap;
use std::sync::Arc;

use super::share::UNLIMITED;
use super::terms::Lane;
use super::{Push, Source};
use crate::limits::{HELD_BYTES_MAX, HELD_TOPIC_BYTES_MAX, PUSHES_PER_TOPIC_MAX};
use crate::model::Address;
use crate::model::charge::{Charge, Hold, Total};

/// An address with pushes that run.
#[derive(Debug)]
struct Entry {
    hold: Arc<Hold>,
    /// In their order. Some of them may be over.
    pushes: Vec<Arc<Push>>,
}

/// All of them.
#[derive(Debug)]
pub struct Holds {
    total: Arc<Total>,
    entries: HashMap<Address, Entry>,
    /// Pushes that were over at the last sweep.
    swept: u64,
}

/// Why nothing more is taken for an address now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// As much waits behind this push as may wait for one address.
    Address(super::id::PushId, u64),
    /// As much waits behind pushes as may wait for all addresses, and this one holds up the address.
    Total(super::id::PushId, u64),
    /// So many pushes for it run already.
    Pushes(usize),
    /// As many pushes run as may.
    All,
}

impl Held {
    /// What is so, in a sentence without its end.
    pub fn sentence(&self, address: &Address) -> String {
        let name = match address {
            Address::All => "the list of everybody".to_owned(),
            Address::Topic(topic) => format!("the topic {:?}", topic.as_str()),
        };
        match self {
            Self::Address(push, bytes) => {
                format!("the push {push} holds up {name}, and {bytes} bytes wait behind it")
            }
            Self::Total(push, bytes) => {
                format!("the push {push} holds up {name}, and {bytes} bytes wait behind pushes")
            }
            Self::Pushes(count) => format!("{count} pushes for {name} are not over"),
            Self::All => format!("as many pushes run as may, and one more is for {name}"),
        }
    }
}

impl Holds {
    /// Without any; `total` is the process's.
    pub fn new(total: Arc<Total>) -> Self {
        Self { total, entries: HashMap::new(), swept: 0 }
    }

    /// Holds for the addresses of a push that is about to be made. Urgent ones stand outside their topics' order: nothing
    /// but themselves waits behind them.
    pub fn holds_for(&self, to: &[Address], lane: Lane) -> Box<[Arc<Hold>]> {
        let known = |address| self.entries.get(address).filter(|_| lane == Lane::Normal);
        let one = |address| {
            known(address).map_or_else(|| Hold::new(Arc::clone(&self.total)), |e| Arc::clone(&e.hold))
        };
        to.iter().map(one).collect()
    }

    /// Notes a push that was made.
    pub fn begin(&mut self, push: &Arc<Push>) {
        if push.terms.lane == Lane::Urgent {
            return;
        }
        for (address, hold) in push.to.iter().zip(&push.holds) {
            let entry = self
                .entries
                .entry(address.clone())
                .or_insert_with(|| Entry { hold: Arc::clone(hold), pushes: Vec::new() });
            entry.hold = Arc::clone(hold);
            entry.pushes.push(Arc::clone(push));
        }
    }

    /// Forgets pushes that are over, if another number of them is than at the last sweep. A sweep costs a look at each that
    /// is not.
    pub fn sweep(&mut self, over: u64) {
        if std::mem::replace(&mut self.swept, over) == over {
            return;
        }
        self.entries.retain(|_, entry| {
            entry.pushes.retain(|push| !push.is_over());
            !entry.pushes.is_empty()
        });
    }

    /// Whether an address has pushes that run, as far as is known.
    pub fn has(&self, address: &Address) -> bool {
        !self.entries.is_empty() && self.entries.contains_key(address)
    }

    /// Charges a batch of so many bytes, if its address has pushes that run.
    pub fn charge(&self, address: &Address, bytes: usize) -> Option<Charge> {
        // Nearly always there is no push at all.
        if self.entries.is_empty() {
            return None;
        }
        Some(Charge::new(&self.entries.get(address)?.hold, bytes))
    }

    /// Whether so many bytes for an address would exceed a bound by more than `margin`, and a push that has a pace or
    /// stands still is why they could not go on. What is larger than a bound is taken where nothing waits.
    /// `ahead`: bytes that may come before it and are not charged yet.
    pub fn refuses(&self, address: &Address, bytes: usize, margin: usize, ahead: u64) -> Option<Held> {
        if self.entries.is_empty() {
            return None;
        }
        let entry = self.entries.get(address)?;
        let (here, total) = (entry.hold.bytes(), self.total.bytes() + ahead);
        let exceeds =
            |waiting: u64, max: usize| waiting > 0 && waiting + bytes as u64 > (max + margin) as u64;
        let is_here = exceeds(here, HELD_TOPIC_BYTES_MAX);
        if !is_here && !exceeds(total, HELD_BYTES_MAX) {
            return None;
        }
        let holder = entry.pushes.iter().find(|push| push.is_held() && !push.is_over())?;
        let id = holder.id.clone();
        Some(if is_here { Held::Address(id, here) } else { Held::Total(id, total) })
    }

    /// Whether an address has as many pushes as it may have.
    pub fn refuses_push(&mut self, address: &Address) -> Option<Held> {
        let entry = self.entries.get_mut(address)?;
        if entry.pushes.len() >= PUSHES_PER_TOPIC_MAX {
            entry.pushes.retain(|push| !push.is_over());
        }
        let count = entry.pushes.len();
        (count >= PUSHES_PER_TOPIC_MAX).then_some(Held::Pushes(count))
    }

    /// Whether the last push for an address is a rule's and has reached nobody yet: what comes now rides behind it, at its
    /// pace, and needs no push of its own.
    pub fn waits_for_rule(&self, address: &Address) -> bool {
        let last = self.entries.get(address).and_then(|entry| entry.pushes.last());
        last.is_some_and(|push| push.source == Source::Rule && !push.has_begun() && !push.is_over())
    }
}

impl Push {
    /// Whether it does not go as fast as it can: it has a pace, or stands still.
    fn is_held(&self) -> bool {
        self.shares.iter().any(|share| share.rate_milli() != UNLIMITED)
    }

    /// Whether some device has got it, or will not.
    fn has_begun(&self) -> bool {
        let standings = self.shares.iter().filter_map(super::share::Share::standing);
        standings.into_iter().any(|standing| standing.remaining() < standing.targeted)
    }

    /// Whether every shard has it and none has a device left.
    pub fn is_over(&self) -> bool {
        self.shares.iter().all(|share| share.standing().is_some_and(|standing| standing.remaining() == 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Moment, Topic};
    use crate::push::id::PushId;
    use crate::push::share::{Failed, Share};
    use crate::push::terms::Terms;

    fn topic(name: &str) -> Address {
        Address::Topic(Topic::new(name).expect("a topic"))
    }

    /// A push to one device of a topic, which stands still or goes on.
    fn begun(holds: &mut Holds, name: &str, lane: Lane, milli: u64) -> Arc<Push> {
        let to = [topic(name)];
        let push = Arc::new(Push {
            id: PushId::new("p").expect("an id"),
            terms: Terms { lane, ..Terms::default() },
            source: Source::Rule,
            holds: holds.holds_for(&to, lane),
            to: to.into(),
            messages: 1,
            bytes: 1,
            accepted: Moment::default(),
            shares: [Share::new(milli)].into(),
        });
        push.shares[0].take(1);
        holds.begin(&push);
        push
    }

    #[test]
    fn a_topic_is_refused_at_its_bound_while_a_push_stands_still_and_others_are_not() {
        let mut holds = Holds::new(Arc::default());
        let push = begun(&mut holds, "a", Lane::Normal, 0);
        let _second = begun(&mut holds, "b", Lane::Normal, 0);
        assert_eq!(holds.refuses(&topic("a"), HELD_TOPIC_BYTES_MAX + 1, 0, 0), None, "nothing waits yet");
        let first = holds.charge(&topic("a"), HELD_TOPIC_BYTES_MAX);
        assert_eq!(
            holds.refuses(&topic("a"), 1, 0, 0),
            Some(Held::Address(push.id.clone(), HELD_TOPIC_BYTES_MAX as u64))
        );
        assert_eq!(holds.refuses(&topic("a"), 1, 1, 0), None, "it may exceed the bound by one");
        for other in ["b", "c"] {
            assert_eq!(holds.refuses(&topic(other), 1, 0, 0), None);
        }
        assert!(holds.charge(&topic("c"), 1).is_none(), "no push, no charge");
        push.shares[0].order_rate(UNLIMITED);
        assert_eq!(holds.refuses(&topic("a"), 1, 0, 0), None, "it moves, and the ring's bound is enough");
        push.shares[0].order_rate(0);
        drop(first);
        assert_eq!((holds.refuses(&topic("a"), 1, 0, 0), holds.total.bytes()), (None, 0));
    }

    #[test]
    fn all_topics_together_have_a_bound_too() {
        let mut holds = Holds::new(Arc::default());
        let names: Vec<String> = (0..10).map(|n| n.to_string()).collect();
        for name in &names {
            begun(&mut holds, name, Lane::Normal, 0);
        }
        let charges: Vec<_> =
            names.iter().map(|name| holds.charge(&topic(name), HELD_BYTES_MAX / 10)).collect();
        assert!(matches!(holds.refuses(&topic("0"), 100, 0, 0), Some(Held::Total(..))));
        assert_eq!(holds.refuses(&topic("free"), 100, 0, 0), None);
        drop(charges);
        assert_eq!(holds.refuses(&topic("0"), 100, 0, 0), None);
    }

    #[test]
    fn pushes_that_are_over_hold_nothing_and_many_are_refused() {
        let mut holds = Holds::new(Arc::default());
        let pushes: Vec<_> =
            (0..PUSHES_PER_TOPIC_MAX).map(|_| begun(&mut holds, "a", Lane::Normal, 0)).collect();
        assert_eq!(holds.refuses_push(&topic("a")), Some(Held::Pushes(PUSHES_PER_TOPIC_MAX)));
        assert!(holds.waits_for_rule(&topic("a")));
        pushes[0].shares[0].failed(Failed::Cancelled, 1);
        assert_eq!(holds.refuses_push(&topic("a")), None);
        for push in &pushes[1..] {
            push.shares[0].failed(Failed::Cancelled, 1);
        }
        assert!(!holds.waits_for_rule(&topic("a")));
        holds.sweep(0);
        assert!(holds.has(&topic("a")), "none is over that was not before, so none is looked at");
        holds.sweep(PUSHES_PER_TOPIC_MAX as u64);
        assert!(holds.entries.is_empty());
    }

    #[test]
    fn nothing_waits_behind_an_urgent_push() {
        let mut holds = Holds::new(Arc::default());
        begun(&mut holds, "a", Lane::Urgent, 0);
        assert!(holds.charge(&topic("a"), 1).is_none());
    }
}
