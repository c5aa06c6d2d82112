//! The one thread that writes log lines, and the only one that waits for what they are written to.
//!
//! The sink may be anything: a terminal, a file on a full disk, a pipe that nobody reads or whose reader is gone. A line
//! that cannot be written is given up and counted, and when lines flow again one of them says how many are missing.
//! *Not here*: the queue's bounds (`queue`).

use std::cell::RefCell;
use std::io::{self, ErrorKind, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use super::queue::Exit;

/// How long a sleep without lines is at most.
const SLEEP: Duration = Duration::from_secs(1);
/// After a line woke the writer: how long it waits for others, so that a burst costs those who log one wake-up.
const GATHER: Duration = Duration::from_millis(2);
/// Pause before another try at a sink that takes nothing now and does not let the writer wait (`O_NONBLOCK`).
const RETRY: Duration = Duration::from_millis(10);
/// Least time between two lines about lines that are missing.
const TELL_EVERY: Duration = Duration::from_secs(1);

thread_local! {
    /// On the writer's thread, while it makes a line of its own: where that goes instead of the queue.
    static OWN: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Takes a line that the writer's thread makes; `false`: it belongs into the queue.
pub(super) fn intercept(line: &[u8]) -> bool {
    OWN.try_with(|own| {
        let Ok(mut own) = own.try_borrow_mut() else { return false };
        own.as_mut().is_some_and(|own| {
            own.extend_from_slice(line);
            true
        })
    })
    .unwrap_or(false)
}

/// Writes lines to a sink.
#[derive(Debug)]
pub struct LogWriter<W> {
    lines: Exit,
    sink: W,
    /// A line was written in part: what comes next begins with a line break.
    is_torn: bool,
    /// Lines that are missing and told about.
    told: u64,
    told_at: Option<Instant>,
    /// Why the last line could not be written.
    error: Option<io::Error>,
}

impl<W: Write> LogWriter<W> {
    pub(super) fn new(lines: Exit, sink: W) -> Self {
        Self { lines, sink, is_torn: false, told: 0, told_at: None, error: None }
    }

    /// Writes for as long as the process lives.
    pub fn run(mut self) {
        self.lines.take_over();
        loop {
            // Nothing here panics, but that a line is lost is better than that all are.
            let _ = catch_unwind(AssertUnwindSafe(|| self.write_what_waits()));
            self.lines.sleep(SLEEP);
            thread::sleep(GATHER);
        }
    }

    /// Writes until the queue is empty.
    fn write_what_waits(&mut self) {
        while let Some(line) = self.lines.next() {
            match self.write(&line) {
                Ok(()) => self.tell_missing(),
                Err(error) => {
                    self.lines.counts().note_failed();
                    self.error = Some(error);
                }
            }
            self.lines.done(&line);
        }
    }

    /// Writes all of a line. Waits as long as the sink does.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.write_bytes(b"\n")?;
            self.is_torn = false;
        }
        self.write_bytes(line)
    }

    fn write_bytes(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.sink.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = &bytes[written..];
                    self.is_torn = !bytes.is_empty();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Lines flow: says how many before them are missing.
    fn tell_missing(&mut self) {
        let (full, failed) = (self.lines.counts().full(), self.lines.counts().failed());
        let missing = full + failed - self.told;
        if missing == 0 || self.told_at.is_some_and(|told| told.elapsed() < TELL_EVERY) {
            return;
        }
        let why = match self.error.take() {
            Some(error) => format!("they could not be written ({error})"),
            None => "whoever reads the log is slower than it is written".to_owned(),
        };
        OWN.set(Some(Vec::new()));
        tracing::warn!("{missing} log lines were dropped: {why}");
        let line = OWN.take().unwrap_or_default();
        // Without a line the level is above this one; the metric tells all the same.
        match self.write(&line) {
            Ok(()) => {
                self.told += missing;
                self.told_at = Some(Instant::now());
            }
            Err(error) => self.error = Some(error),
        }
    }
}

#[cfg(test)]
mod tests {
    //! Whatever the sink does, who logs goes on, and what is missing is counted and told.

    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::super::line::LineWriter;
    use super::super::queue::{Counts, Entrance, queue};
    use super::*;
    use fanfare_core::limits::{LOG_QUEUE_BYTES_MAX, LOG_QUEUE_LINES_MAX};

    /// What the sink does with each write, in this order, and well after that.
    #[derive(Debug)]
    enum Act {
        Take(usize),
        Fail(i32),
    }

    #[derive(Debug, Default)]
    struct Sink {
        acts: std::collections::VecDeque<Act>,
        written: Vec<u8>,
    }

    impl Write for &mut Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = match self.acts.pop_front() {
                Some(Act::Fail(errno)) => return Err(io::Error::from_raw_os_error(errno)),
                Some(Act::Take(most)) => most.min(bytes.len()),
                None => bytes.len(),
            };
            self.written.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn counts() -> &'static Counts {
        Box::leak(Box::default())
    }

    /// What is written of `lines` to a sink that acts like this.
    fn written(acts: impl IntoIterator<Item = Act>, lines: &[&str]) -> (String, u64) {
        let counts = counts();
        let (entrance, exit) = queue(counts);
        for line in lines {
            entrance.put(line.as_bytes());
        }
        let mut sink = Sink { acts: acts.into_iter().collect(), written: Vec::new() };
        // Lines of the writer's own are taken on their way to this one.
        let elsewhere: &'static Entrance = Box::leak(Box::new(queue(self::counts()).0));
        let subscriber = tracing_subscriber::fmt()
            .without_time()
            .with_target(false)
            .with_ansi(false)
            .with_writer(move || LineWriter { entrance: elsewhere, is_json: false })
            .finish();
        tracing::subscriber::with_default(subscriber, || LogWriter::new(exit, &mut sink).write_what_waits());
        assert_eq!(counts.bytes(), 0, "nothing of it is held any more");
        (String::from_utf8(sink.written).expect("text"), counts.failed())
    }

    #[test]
    fn lines_are_written_whole_and_in_order_however_they_are_taken() {
        let acts =
            [Act::Take(1), Act::Fail(libc::EINTR), Act::Take(2), Act::Fail(libc::EAGAIN), Act::Take(1)];
        let (text, failed) = written(acts, &["first\n", "second\n"]);
        assert_eq!((text.as_str(), failed), ("first\nsecond\n", 0));
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_told_when_they_flow_again() {
        for errno in [libc::ENOSPC, libc::EPIPE, libc::EIO, libc::EFBIG, libc::EBADF] {
            let (text, failed) = written([Act::Fail(errno), Act::Fail(errno)], &["1\n", "2\n", "3\n", "4\n"]);
            let why = io::Error::from_raw_os_error(errno);
            let told = format!(" WARN 2 log lines were dropped: they could not be written ({why})\n");
            assert_eq!((text, failed), (format!("3\n{told}4\n"), 2));
        }
    }

    #[test]
    fn what_follows_a_torn_line_begins_a_line() {
        let (text, failed) = written([Act::Take(2), Act::Fail(libc::ENOSPC)], &["torn\n", "whole\n"]);
        assert!(text.starts_with("to\nwhole\n") && failed == 1, "{text}");
    }

    #[test]
    fn a_queue_that_nobody_empties_holds_what_it_may_and_counts_the_rest() {
        for bytes in [0, 10, 1_000, 100_000] {
            let counts = counts();
            let (entrance, exit) = queue(counts);
            let line = vec![b'x'; bytes];
            for _ in 0..2 * LOG_QUEUE_LINES_MAX {
                entrance.put(&line);
            }
            assert!(counts.bytes() <= LOG_QUEUE_BYTES_MAX, "{} of lines of {bytes}", counts.bytes());
            let held = std::iter::from_fn(|| exit.next().map(|line| exit.done(&line))).count() as u64;
            assert_eq!(held + counts.full(), 2 * LOG_QUEUE_LINES_MAX as u64);
            assert!(held > 0 && counts.bytes() == 0);
        }
    }

    /// A sink in which each write waits until it is let go.
    struct Hanging(Receiver<()>);

    impl Write for Hanging {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A log into a sink that hangs, and what lets one write go.
    fn hanging() -> (Entrance, Sender<()>, &'static Counts) {
        let counts = counts();
        let (entrance, exit) = queue(counts);
        let (go, wait) = channel();
        thread::spawn(move || LogWriter::new(exit, Hanging(wait)).run());
        (entrance, go, counts)
    }

    #[test]
    fn a_sink_that_hangs_holds_up_nobody_who_logs() {
        let (entrance, go, counts) = hanging();
        let began = Instant::now();
        for _ in 0..100_000 {
            entrance.put(b"a line\n");
        }
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        assert!(counts.full() >= 100_000 - LOG_QUEUE_LINES_MAX as u64 - 1);
        assert!(!entrance.flush(Duration::from_millis(20)), "it hangs");
        for _ in 0..=LOG_QUEUE_LINES_MAX + 2 {
            let _ = go.send(());
        }
        assert!(entrance.flush(Duration::from_secs(10)), "it went on");
    }

    #[test]
    fn a_line_ends_the_writers_sleep() {
        let (entrance, go, _) = hanging();
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(20));
            let began = Instant::now();
            let _ = go.send(());
            entrance.put(b"a line\n");
            assert!(entrance.flush(SLEEP) && began.elapsed() < SLEEP / 2, "{:?}", began.elapsed());
        }
    }
}
