//! Lines on their way from every thread to the one that writes them.
//!
//! Whoever logs never waits: a line that finds no room is dropped and counted. Taking one costs no lock and, unless the
//! writer sleeps, no system call. *Not here*: writing (`writer`), how long a line may be (`line`), what it
//! looks like (`super`).

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::thread::Thread;
use std::time::{Duration, Instant};

use fanfare_core::limits::{LOG_QUEUE_BYTES_MAX, LOG_QUEUE_LINES_MAX};

/// A line with its line break.
type Line = Box<[u8]>;

/// What the queue counts; read by any thread.
#[derive(Debug, Default)]
pub struct Counts {
    /// Bytes of lines that wait or are being written, as allocated.
    bytes: AtomicUsize,
    /// Lines that found the queue full.
    full: AtomicU64,
    /// Lines that could not be written.
    failed: AtomicU64,
}

impl Counts {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self { bytes: AtomicUsize::new(0), full: AtomicU64::new(0), failed: AtomicU64::new(0) }
    }

    /// Bytes of lines that wait or are being written, as allocated.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Acquire)
    }

    /// Lines that found the queue full.
    pub fn full(&self) -> u64 {
        self.full.load(Ordering::Relaxed)
    }

    /// Lines that could not be written.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    pub(super) fn note_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a line costs: its bytes, what the allocator rounds them up to (an eighth at most), and its place in the queue.
fn cost(line: &[u8]) -> usize {
    line.len() + line.len() / 8 + 2 * size_of::<Line>()
}

/// The end of those who log.
#[derive(Clone, Debug)]
pub struct Entrance {
    lines: SyncSender<Line>,
    counts: &'static Counts,
    writer: Arc<Sleeper>,
}

/// The writer's end.
#[derive(Debug)]
pub struct Exit {
    lines: Receiver<Line>,
    counts: &'static Counts,
    writer: Arc<Sleeper>,
}

/// The writer's thread, to be woken when it sleeps.
#[derive(Debug, Default)]
struct Sleeper {
    thread: OnceLock<Thread>,
    sleeps: AtomicBool,
}

/// Both ends of a queue.
pub fn queue(counts: &'static Counts) -> (Entrance, Exit) {
    let (sender, receiver) = sync_channel(LOG_QUEUE_LINES_MAX);
    let writer = Arc::<Sleeper>::default();
    (
        Entrance { lines: sender, counts, writer: Arc::clone(&writer) },
        Exit { lines: receiver, counts, writer },
    )
}

impl Entrance {
    /// Puts a line into the queue, or drops it. Never waits.
    pub fn put(&self, line: &[u8]) {
        let cost = cost(line);
        // Either this sees that the writer sleeps or the writer sees these bytes. For that both threads need one order
        // of all four accesses.
        let before = self.counts.bytes.fetch_add(cost, Ordering::SeqCst);
        if before + cost > LOG_QUEUE_BYTES_MAX || self.lines.try_send(line.into()).is_err() {
            self.counts.bytes.fetch_sub(cost, Ordering::AcqRel);
            self.counts.full.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.writer.wake();
    }

    /// Waits until everything that is in the queue has been written or dropped, but no longer than so. Whether it has.
    pub fn flush(&self, at_most: Duration) -> bool {
        let until = Instant::now() + at_most;
        self.writer.wake();
        while self.counts.bytes() > 0 {
            if Instant::now() >= until {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
        true
    }
}

impl Sleeper {
    fn wake(&self) {
        if self.sleeps.swap(false, Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }
}

impl Exit {
    /// From here on the calling thread is the writer.
    pub(super) fn take_over(&self) {
        let _ = self.writer.thread.set(thread::current());
    }

    /// The next line, if one is there. The channel's own wait is not used: with it whoever logs would take its lock.
    pub(super) fn next(&self) -> Option<Line> {
        self.lines.try_recv().ok()
    }

    /// The line is over: written, or given up.
    pub(super) fn done(&self, line: &[u8]) {
        self.counts.bytes.fetch_sub(cost(line), Ordering::AcqRel);
    }

    pub(super) fn counts(&self) -> &'static Counts {
        self.counts
    }

    /// Sleeps until a line comes, but no longer than so.
    pub(super) fn sleep(&self, at_most: Duration) {
        self.writer.sleeps.store(true, Ordering::SeqCst);
        // A line that came before this was seen by nobody as a reason to wake.
        if self.counts.bytes.load(Ordering::SeqCst) == 0 {
            thread::park_timeout(at_most);
        }
        self.writer.sleeps.store(false, Ordering::SeqCst);
    }
}
