//! Requests of the API that wait for the ingest core's verdict.
//!
//! A ticket names a slot here; the verdict comes through a ring and wakes whoever waits in that slot. Who does not wait any
//! more leaves the slot to the verdict, which comes in any case. *Not here*: the ring (`ingest::answers`), what a verdict
//! says to a client (`outcome`).

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use monoio::time::sleep;
use slab::Slab;

use crate::ingest::answers::{Ticket, Verdict, Verdicts};
use crate::sys::readiness::Readiness;
use fanfare_core::limits::{API_ACCEPT_PAUSE, TICKETS_MAX};

/// The slots.
#[derive(Debug, Default)]
pub struct Tickets(RefCell<Slab<Slot>>);

#[derive(Debug)]
enum Slot {
    /// Nobody has looked, or this is whom to wake.
    Waiting(Option<Waker>),
    /// Nobody has taken it yet.
    Given(Verdict),
    /// Nobody waits.
    Left,
}

/// The wait for one verdict. Dropped early, it leaves nothing behind.
#[derive(Debug)]
pub struct Awaited {
    tickets: Rc<Tickets>,
    slot: Option<usize>,
}

impl Tickets {
    /// A ticket and the wait for its verdict; `None`: as many wait as may.
    pub fn draw(self: &Rc<Self>) -> Option<(Ticket, Awaited)> {
        let mut slots = self.0.borrow_mut();
        if slots.len() >= TICKETS_MAX {
            return None;
        }
        let slot = slots.insert(Slot::Waiting(None));
        Some((Ticket(slot as u32), Awaited { tickets: Rc::clone(self), slot: Some(slot) }))
    }

    /// Tickets without a verdict, and verdicts that nobody has taken.
    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A verdict has come.
    pub fn settle(&self, ticket: &Ticket, verdict: Verdict) {
        let mut slots = self.0.borrow_mut();
        let key = ticket.0 as usize;
        let Some(slot) = slots.get_mut(key) else { return };
        match std::mem::replace(slot, Slot::Given(verdict)) {
            Slot::Waiting(waker) => {
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            Slot::Given(_) | Slot::Left => drop(slots.remove(key)),
        }
    }
}

impl Awaited {
    /// The request was not handed over: no verdict will come.
    pub fn withdraw(mut self) {
        if let Some(slot) = self.slot.take() {
            self.tickets.0.borrow_mut().remove(slot);
        }
    }

    /// Whether the verdict is there.
    pub fn is_ready(&self) -> bool {
        let slots = self.tickets.0.borrow();
        self.slot.is_some_and(|slot| matches!(slots.get(slot), Some(Slot::Given(_))))
    }
}

impl Future for Awaited {
    type Output = Verdict;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Verdict> {
        let key = self.slot.expect("a wait is over once");
        let tickets = Rc::clone(&self.tickets);
        let mut slots = tickets.0.borrow_mut();
        if let Slot::Waiting(waker) = &mut slots[key] {
            *waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        self.slot = None;
        match slots.remove(key) {
            Slot::Given(verdict) => Poll::Ready(verdict),
            Slot::Waiting(_) | Slot::Left => unreachable!("whoever waits has not left"),
        }
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        let Some(key) = self.slot else { return };
        let mut slots = self.tickets.0.borrow_mut();
        match slots.get_mut(key) {
            Some(Slot::Given(_)) => drop(slots.remove(key)),
            Some(slot) => *slot = Slot::Left,
            None => {}
        }
    }
}

/// Settles verdicts as they come, for as long as the process lives.
pub async fn settle(tickets: Rc<Tickets>, mut verdicts: Verdicts) {
    let doorbell = std::sync::Arc::clone(verdicts.doorbell());
    let wakeup = Readiness::of(doorbell.bell());
    loop {
        while let Some((ticket, verdict)) = verdicts.pop() {
            tickets.settle(&ticket, verdict);
        }
        doorbell.prepare_sleep();
        if verdicts.is_empty() {
            let woken = match &wakeup {
                Ok(wakeup) => wakeup.ready().await.is_ok(),
                Err(_) => false,
            };
            if !woken {
                // The kernel gives no news of the bell: look now and then.
                sleep(API_ACCEPT_PAUSE).await;
            }
        }
        doorbell.awake();
        doorbell.bell().drain();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(awaited: &mut Awaited) -> Poll<Verdict> {
        Pin::new(awaited).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_verdict_finds_who_waits_whichever_comes_first() {
        let tickets = Rc::new(Tickets::default());
        let (first, mut waits) = tickets.draw().expect("a ticket");
        let (second, mut late) = tickets.draw().expect("a ticket");
        assert_eq!(poll(&mut waits), Poll::Pending);
        tickets.settle(&second, Verdict::Full);
        tickets.settle(&first, Verdict::Done);
        assert!(late.is_ready());
        assert_eq!(
            (poll(&mut waits), poll(&mut late)),
            (Poll::Ready(Verdict::Done), Poll::Ready(Verdict::Full))
        );
        assert!(tickets.is_empty());
    }

    #[test]
    fn who_leaves_early_or_was_never_handed_over_leaves_nothing() {
        let tickets = Rc::new(Tickets::default());
        let (first, mut waits) = tickets.draw().expect("a ticket");
        assert_eq!(poll(&mut waits), Poll::Pending);
        drop(waits);
        assert_eq!(tickets.len(), 1, "its verdict is on its way, and the slot is nobody else's until then");
        let (second, waits) = tickets.draw().expect("a ticket");
        assert_ne!(first, second);
        tickets.settle(&first, Verdict::Done);
        tickets.settle(&second, Verdict::Done);
        drop(waits);
        tickets.draw().expect("a ticket").1.withdraw();
        assert!(tickets.is_empty());
    }

    #[test]
    fn there_are_no_more_than_the_ring_of_verdicts_has_slots() {
        let tickets = Rc::new(Tickets::default());
        let drawn: Vec<_> = std::iter::from_fn(|| tickets.draw()).collect();
        assert_eq!(drawn.len(), TICKETS_MAX);
        drop(drawn);
        assert!(tickets.draw().is_none(), "verdicts that nobody waits for take their slots too");
    }
}
