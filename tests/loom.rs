//! The doorbell under loom: every interleaving that the memory model allows, fences included.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test --release --test loom
//! ```
//!
//! A lost wake-up leaves the sleeper waiting for a bell that nobody strikes again, which loom reports as a deadlock.
//! Loom 0.7 keeps no total modification order between plain stores and swaps, so a ring that finds nobody asleep may
//! float behind a later sleep, which C++20 forbids: each model therefore orders its first sleep and its rings, except
//! the first, which has one ring only. *Not here*: the queue itself (rtrb has its own proofs); a counter with rtrb's
//! orderings stands for it.
#![cfg(loom)]

use fanfare::ring::doorbell::Doorbell;
use fanfare::sys::bell::Bell;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

/// An eventfd: a strike stays until it is drained.
#[derive(Default)]
struct LoomBell {
    is_struck: Mutex<bool>,
    struck: Condvar,
    strikes: AtomicUsize,
}

impl Bell for LoomBell {
    fn strike(&self) {
        self.strikes.fetch_add(1, Ordering::Relaxed);
        *self.is_struck.lock().unwrap() = true;
        self.struck.notify_one();
    }
}

impl LoomBell {
    fn wait(&self) {
        let mut is_struck = self.is_struck.lock().unwrap();
        while !*is_struck {
            is_struck = self.struck.wait(is_struck).unwrap();
        }
    }

    fn drain(&self) {
        *self.is_struck.lock().unwrap() = false;
    }

    fn strikes(&self) -> usize {
        self.strikes.load(Ordering::Relaxed)
    }
}

/// A sleeper, its doorbell, and one queue for each waker.
struct Hall {
    doorbell: Doorbell<LoomBell>,
    queues: Vec<AtomicUsize>,
}

impl Hall {
    fn new(queues: usize) -> Arc<Self> {
        let queues = (0..queues).map(|_| AtomicUsize::new(0)).collect();
        Arc::new(Self { doorbell: Doorbell::new(LoomBell::default()), queues })
    }

    /// What a waker does: put something in its queue, then ring.
    fn push(&self, queue: usize) {
        let pushed = self.queues[queue].load(Ordering::Relaxed);
        self.queues[queue].store(pushed + 1, Ordering::Release);
        self.doorbell.ring();
    }

    fn pushed(&self) -> usize {
        self.queues.iter().map(|queue| queue.load(Ordering::Acquire)).sum()
    }

    /// The second half of a sleep that was prepared.
    fn sleep_on(&self) {
        self.doorbell.bell().wait();
        self.doorbell.awake();
        self.doorbell.bell().drain();
    }

    /// What the owner's loop does until it has taken this many: take, and sleep when there is nothing.
    fn sleep_until(&self, all: usize) {
        let mut taken = self.pushed();
        while taken < all {
            self.doorbell.prepare_sleep();
            if self.pushed() == taken {
                self.doorbell.bell().wait();
            }
            self.doorbell.awake();
            self.doorbell.bell().drain();
            taken = self.pushed();
        }
    }
}

/// The sleeper and one waker begin together: whoever comes first, the sleeper gets what was pushed.
#[test]
fn a_push_on_the_way_to_sleep_is_never_missed() {
    loom::model(|| {
        let hall = Hall::new(1);
        let waker = Arc::clone(&hall);
        let waker = thread::spawn(move || waker.push(0));
        hall.sleep_until(1);
        waker.join().unwrap();
        assert!(hall.doorbell.bell().strikes() <= 1);
    });
}

/// The owner sleeps already. The first ring wakes it; the others find it awake, or on its way back to sleep.
fn wakers_and_one_who_sleeps(wakers: usize, pushes: usize) {
    loom::model(move || {
        let hall = Hall::new(wakers);
        hall.doorbell.prepare_sleep();
        let threads: Vec<_> = (0..wakers)
            .map(|queue| {
                let hall = Arc::clone(&hall);
                thread::spawn(move || (0..pushes).for_each(|_| hall.push(queue)))
            })
            .collect();
        hall.sleep_on();
        hall.sleep_until(wakers * pushes);
        for thread in threads {
            thread.join().unwrap();
        }
        let strikes = hall.doorbell.bell().strikes();
        assert!((1..=wakers * pushes).contains(&strikes), "{strikes} strikes");
    });
}

#[test]
fn a_sleeper_that_was_woken_sleeps_and_wakes_again() {
    wakers_and_one_who_sleeps(1, 2);
}

#[test]
fn two_wakers_never_leave_the_sleeper_asleep() {
    wakers_and_one_who_sleeps(2, 1);
}

#[test]
fn only_the_first_ring_for_a_sleeper_strikes() {
    loom::model(|| {
        let hall = Hall::new(1);
        hall.push(0);
        assert_eq!(hall.doorbell.bell().strikes(), 0, "nobody sleeps");
        hall.doorbell.prepare_sleep();
        hall.push(0);
        hall.push(0);
        assert_eq!(hall.doorbell.bell().strikes(), 1, "the second waker finds it awake");
        hall.doorbell.prepare_sleep();
        hall.doorbell.awake();
        hall.push(0);
        assert_eq!(hall.doorbell.bell().strikes(), 1, "nobody sleeps any more");
    });
}
