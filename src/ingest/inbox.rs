//! Waiting on one thread: a bell for one waiter, and a bounded queue of two of them.
//!
//! An [`Inbox`] has one task that pushes and one that pops; both hold a clone. When it is full the pusher waits, and
//! that is the whole policy: what feeds it stops being read. *Not here*: queues between threads (`ring`).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use fanfare_core::model::footprint::{Footprint, block};

/// Wakes the one task that waits for a condition. The condition itself lives elsewhere.
#[derive(Default)]
pub struct Bell {
    waiter: Cell<Option<Waker>>,
    waits: Cell<bool>,
}

impl Bell {
    /// Wakes the waiter, if there is one, to look at its condition again.
    pub fn ring(&self) {
        if let Some(waker) = self.waiter.take() {
            waker.wake();
        }
    }

    /// Waits until the condition holds; it is looked at now and after every ring.
    ///
    /// Cancel-safe: dropped early, it leaves no trace. Panics when two tasks wait at once, which would lose one of
    /// them its wake-up.
    pub async fn until(&self, mut holds: impl FnMut() -> bool) {
        if holds() {
            return;
        }
        assert!(!self.waits.replace(true), "a bell has one waiter");
        let _leave = Leave(self);
        poll_fn(|context| {
            if holds() {
                return Poll::Ready(());
            }
            self.waiter.set(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

/// Takes the waiter out, however its wait ends.
struct Leave<'a>(&'a Bell);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.waiter.take();
        self.0.waits.set(false);
    }
}

/// Places of an inbox that are kept, whether anything is in them or not: those of the messages of a few turns.
pub const PLACES_KEPT: usize = 4096;

/// A queue between two tasks of one thread, bounded in bytes as allocated.
pub struct Inbox<T>(Rc<Inner<T>>);

struct Inner<T> {
    items: RefCell<VecDeque<T>>,
    bytes: Cell<usize>,
    bytes_max: usize,
    notified: Cell<bool>,
    arrived: Bell,
    freed: Bell,
}

impl<T> Clone for Inbox<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T> std::fmt::Debug for Inbox<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox")
            .field("bytes", &self.0.bytes.get())
            .field("bytes_max", &self.0.bytes_max)
            .finish()
    }
}

impl<T: Footprint> Inbox<T> {
    /// An empty queue of at most so many bytes. One item fits whatever it weighs.
    pub fn new(bytes_max: usize) -> Self {
        Self(Rc::new(Inner {
            items: RefCell::default(),
            bytes: Cell::new(0),
            bytes_max,
            notified: Cell::new(false),
            arrived: Bell::default(),
            freed: Bell::default(),
        }))
    }

    /// Appends an item, once there is space.
    ///
    /// Cancel-safe for the queue, not for the item: dropped while it waits, it drops the item with it. One pusher
    /// waits at a time, or it panics.
    pub async fn push(&self, item: T) {
        let bytes = item.allocated_bytes();
        self.0.freed.until(|| self.has_room(bytes)).await;
        self.0.bytes.set(self.bytes() + bytes);
        self.0.items.borrow_mut().push_back(item);
        self.0.arrived.ring();
    }

    /// Takes the oldest item.
    pub fn try_pop(&self) -> Option<T> {
        let item = self.0.items.borrow_mut().pop_front()?;
        self.0.bytes.set(self.bytes() - item.allocated_bytes());
        self.0.freed.ring();
        Some(item)
    }

    /// Gives places back that nobody has been in for long: small items leave many of them, and large ones would come on top.
    pub fn tidy(&self) {
        let mut items = self.0.items.borrow_mut();
        if items.capacity() > PLACES_KEPT && items.len() < items.capacity() / 2 {
            let kept = items.len().max(PLACES_KEPT);
            items.shrink_to(kept);
        }
    }

    /// Bytes of the items now.
    pub fn bytes(&self) -> usize {
        self.0.bytes.get()
    }

    /// Items now.
    pub fn len(&self) -> usize {
        self.0.items.borrow().len()
    }

    /// Whether an item of so many bytes fits now.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.is_empty() || self.bytes() + bytes <= self.0.bytes_max
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.0.items.borrow().is_empty()
    }

    /// Ends the current or else the next [`Self::wait`], item or not. Several before one wait end one wait.
    pub fn notify(&self) {
        self.0.notified.set(true);
        self.0.arrived.ring();
    }

    /// Waits for a [`Self::notify`] alone, whatever items there are. Otherwise as [`Self::wait`].
    pub async fn notified(&self) {
        self.0.arrived.until(|| self.0.notified.take()).await;
    }

    /// Waits for an item or a [`Self::notify`].
    ///
    /// Cancel-safe: it takes no item, and a notify that it did not return for ends the next wait. One task waits at
    /// a time, or it panics.
    pub async fn wait(&self) {
        self.0.arrived.until(|| self.0.notified.take() || !self.is_empty()).await;
    }
}

impl<T: Footprint> Footprint for Inbox<T> {
    fn allocated_bytes(&self) -> usize {
        let items = self.0.items.borrow();
        // What an item counts has a place in the queue in it, and one more for its doubling.
        let inside: usize = items.iter().map(|item| item.allocated_bytes() - 2 * size_of::<T>()).sum();
        inside + block(items.capacity() * size_of::<T>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    struct One(i32);

    impl Footprint for One {
        fn allocated_bytes(&self) -> usize {
            1
        }
    }

    struct Text(&'static str);

    impl Footprint for Text {
        fn allocated_bytes(&self) -> usize {
            self.0.len()
        }
    }

    use std::future::Future;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake};

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Polls once; `ready!` and the wake-ups so far are what a test looks at.
    macro_rules! poll {
        ($future:expr, $wakes:expr) => {
            $future.as_mut().poll(&mut Context::from_waker(&Waker::from($wakes.clone()))).is_ready()
        };
    }

    #[test]
    fn a_pusher_waits_for_space_and_is_woken_by_it() {
        let (inbox, wakes) = (Inbox::new(2), Arc::new(Wakes::default()));
        assert!(poll!(pin!(inbox.push(One(1))), wakes) && poll!(pin!(inbox.push(One(2))), wakes));
        let mut third = pin!(inbox.push(One(3)));
        assert!(!poll!(third, wakes));
        assert_eq!((inbox.bytes(), inbox.try_pop(), wakes.0.load(Ordering::Relaxed)), (2, Some(One(1)), 1));
        assert!(poll!(third, wakes));
        assert_eq!((inbox.try_pop(), inbox.try_pop(), inbox.try_pop()), (Some(One(2)), Some(One(3)), None));
    }

    #[test]
    fn bytes_are_bounded_and_one_item_fits_whatever_it_weighs() {
        let (inbox, wakes) = (Inbox::new(10), Arc::new(Wakes::default()));
        assert!(poll!(pin!(inbox.push(Text("much more than ten bytes"))), wakes));
        {
            let mut second = pin!(inbox.push(Text("x")));
            assert!(!poll!(second, wakes));
        }
        assert!(inbox.try_pop().is_some());
        for item in ["12345", "", "67890", ""] {
            assert!(poll!(pin!(inbox.push(Text(item))), wakes));
        }
        assert!(!poll!(pin!(inbox.push(Text("x"))), wakes));
        assert_eq!(inbox.bytes(), 10);
        while inbox.try_pop().is_some() {}
        assert_eq!(inbox.bytes(), 0);
    }

    #[test]
    fn places_that_nobody_is_in_are_given_back() {
        let (inbox, wakes) = (Inbox::new(1 << 20), Arc::new(Wakes::default()));
        for _ in 0..4 * PLACES_KEPT {
            assert!(poll!(pin!(inbox.push(One(7))), wakes));
        }
        let most = |inbox: &Inbox<One>| block(2 * inbox.len().max(PLACES_KEPT) * size_of::<One>());
        while inbox.try_pop().is_some() {
            inbox.tidy();
            let places = inbox.0.items.borrow().capacity() * size_of::<One>();
            assert!(places <= most(&inbox), "{places} bytes of places for {} items", inbox.len());
        }
        inbox.tidy();
        assert!(inbox.0.items.borrow().capacity() <= PLACES_KEPT);
    }

    #[test]
    fn a_waiter_is_woken_by_an_item() {
        let (inbox, wakes) = (Inbox::new(1), Arc::new(Wakes::default()));
        let mut wait = pin!(inbox.wait());
        assert!(!poll!(wait, wakes));
        assert!(poll!(pin!(inbox.push(One(1))), wakes));
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        assert!(poll!(wait, wakes));
        assert_eq!(inbox.bytes(), 1, "waiting takes nothing");
    }

    #[test]
    fn a_notify_ends_one_wait_even_if_it_comes_first() {
        let (inbox, wakes) = (Inbox::<One>::new(1), Arc::new(Wakes::default()));
        inbox.notify();
        inbox.notify();
        assert!(poll!(pin!(inbox.wait()), wakes));
        let mut wait = pin!(inbox.wait());
        assert!(!poll!(wait, wakes));
        inbox.notify();
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        assert!(poll!(wait, wakes));
    }

    #[test]
    fn a_wait_that_is_dropped_loses_neither_items_nor_notifies_and_lets_another_wait() {
        let (inbox, wakes) = (Inbox::new(1), Arc::new(Wakes::default()));
        {
            let mut wait = pin!(inbox.wait());
            assert!(!poll!(wait, wakes));
            inbox.notify();
        }
        assert!(poll!(pin!(inbox.wait()), wakes), "the notify was lost");
        assert!(poll!(pin!(inbox.push(One(1))), wakes));
        {
            let mut push = pin!(inbox.push(One(2)));
            assert!(!poll!(push, wakes));
        }
        assert_eq!((inbox.try_pop(), inbox.try_pop()), (Some(One(1)), None), "a dropped push leaves no item");
        assert!(poll!(pin!(inbox.push(One(3))), wakes));
    }

    #[test]
    #[should_panic(expected = "a bell has one waiter")]
    fn two_waiters_at_once_are_a_mistake() {
        let (inbox, wakes) = (Inbox::<One>::new(1), Arc::new(Wakes::default()));
        let (mut first, mut second) = (pin!(inbox.wait()), pin!(inbox.wait()));
        let _ = poll!(first, wakes);
        let _ = poll!(second, wakes);
    }
}
