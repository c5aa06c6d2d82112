//! The API's connections as their tasks see them: the table, its gauges, and the waking of those that give way.
//!
//! Owned by the control thread. A connection's task has a [`Slot`] for as long as it runs. *Not here*: who gives way (`table`).

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Instant;

use crate::api::table::{Bounds, Full, Id, Phase, Table};
use crate::metrics::Blocks;

/// Every connection.
#[derive(Debug)]
pub struct Slots {
    table: RefCell<Table>,
    /// The wakers of the connections that wait, each at its connection's index in the table.
    wakers: RefCell<Vec<Option<Waker>>>,
    blocks: Arc<Blocks>,
}

/// One connection's place in the table; it leaves when this is dropped.
#[derive(Debug)]
pub struct Slot<'a> {
    slots: &'a Slots,
    id: Id,
}

/// The connection has to give way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Displaced;

impl Slots {
    /// None yet.
    pub fn new(bounds: Bounds, blocks: Arc<Blocks>) -> Self {
        Self { table: RefCell::new(Table::new(bounds)), wakers: RefCell::default(), blocks }
    }

    /// A new connection.
    pub fn enter(&self) -> Slot<'_> {
        let id = self.change(|table| table.enter(Instant::now()));
        let mut wakers = self.wakers.borrow_mut();
        if wakers.len() <= id {
            wakers.resize_with(id + 1, || None);
        }
        Slot { slots: self, id }
    }

    /// Makes one of those that may give way, because the process is out of descriptors.
    pub fn free_a_descriptor(&self) {
        self.change(Table::free_a_descriptor);
    }

    /// Changes the table, wakes those that must give way now, and shows how it stands.
    fn change<T>(&self, change: impl FnOnce(&mut Table) -> T) -> T {
        let mut table = self.table.borrow_mut();
        let outcome = change(&mut table);
        let control = &self.blocks.control;
        control.connections.set(table.len() as u64);
        control.streams.set(table.streams() as u64);
        for (value, bytes) in control.held_bytes.iter().zip(table.held()) {
            value.set(bytes as u64);
        }
        let displaced = table.take_displaced();
        control.displaced.add(displaced.len() as u64);
        drop(table);
        for id in displaced {
            if let Some(waker) = self.wakers.borrow_mut()[id].take() {
                waker.wake();
            }
        }
        outcome
    }
}

impl Slot<'_> {
    /// What the connection does from now on.
    pub fn turn(&self, phase: Phase) {
        self.slots.table.borrow_mut().turn(self.id, phase, Instant::now());
    }

    /// Whether it has a place.
    pub fn has_place(&self) -> bool {
        self.slots.table.borrow().has_place(self.id)
    }

    /// Gets or keeps a place.
    pub fn place(&self) -> Result<(), Full> {
        if self.has_place() {
            return Ok(());
        }
        self.slots.change(|table| table.place(self.id, Instant::now()))
    }

    /// Becomes a stream of events.
    pub fn stream(&self) -> Result<(), Full> {
        self.slots.change(|table| table.stream(self.id, Instant::now()))
    }

    /// Begins anew after it gave way: its next request was here already.
    pub fn enter_again(&self) {
        self.slots.change(|table| table.enter_again(self.id, Instant::now()));
    }

    /// What its request takes, of bodies up to `largest`.
    pub fn hold_body(&self, bytes: usize, largest: usize) -> Result<(), Full> {
        self.slots.change(|table| table.hold_body(self.id, bytes, largest))
    }

    /// What its answer takes.
    pub fn hold_answer(&self, bytes: usize) {
        self.slots.change(|table| table.hold_answer(self.id, bytes));
    }

    /// The future's outcome, unless the connection has to give way first. What is there already comes before that.
    pub async fn unless_displaced<F: Future>(&self, future: F) -> Result<F::Output, Displaced> {
        let mut future = pin!(future);
        poll_fn(|context| {
            if let Poll::Ready(outcome) = future.as_mut().poll(context) {
                return Poll::Ready(Ok(outcome));
            }
            if self.slots.table.borrow().is_displaced(self.id) {
                return Poll::Ready(Err(Displaced));
            }
            let waker = &mut self.slots.wakers.borrow_mut()[self.id];
            if waker.as_ref().is_none_or(|waker| !waker.will_wake(context.waker())) {
                *waker = Some(context.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.slots.wakers.borrow_mut()[self.id] = None;
        self.slots.change(|table| table.leave(self.id));
    }
}
