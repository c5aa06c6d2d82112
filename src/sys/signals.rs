//! Signals that stop the process or reload its configuration, taken by one thread that waits for them.
//!
//! There is no signal handler. A handler runs on whichever thread the kernel picks, and the usual one writes to a pipe
//! by its number; a shard has a descriptor table of its own, in which that number may be a device's socket. So the
//! signals are blocked in every thread (a new thread inherits the mask) and one thread waits for them with
//! `sigtimedwait(2)`; other threads wake it by a signal too, which needs no descriptor either.
//!
//! A closed terminal sends SIGHUP too; then the same configuration is read again, and nothing changes. *Not here*: what
//! stopping and reloading mean (`supervision`).
#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What [`Waker::wake`] sends. From outside it means nothing and is ignored.
const WAKE: libc::c_int = libc::SIGUSR1;

/// The signals that are blocked everywhere and taken here.
const TAKEN: [libc::c_int; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, WAKE];

/// The one place where the process's signals arrive; stays on the thread that made it.
#[derive(Debug)]
pub struct Signals {
    set: libc::sigset_t,
    woken: Arc<AtomicBool>,
    thread: libc::pid_t,
    not_send: PhantomData<*const ()>,
}

/// Ends a [`Signals::wait`] from any thread.
#[derive(Clone, Debug)]
pub struct Waker {
    woken: Arc<AtomicBool>,
    thread: libc::pid_t,
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Somebody wants the process to stop. The first time: drain. Once more: at once.
    Stop(Stop),
    /// The configuration is to be read again.
    Reload,
    /// A [`Waker`] was used.
    Woken,
    /// The time to wait is over.
    Elapsed,
}

/// A signal that asks the process to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// From a service manager.
    Term,
    /// From a keyboard.
    Interrupt,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Term => "SIGTERM",
            Self::Interrupt => "SIGINT",
        })
    }
}

/// Makes a write that goes wrong an error and nothing else. By default one beyond the limit of a file's size
/// (`RLIMIT_FSIZE`) ends the process, and one to a terminal of which it is in the background may stop it. `SIGPIPE` is
/// ignored by Rust's runtime already.
pub fn ignore_failed_writes() {
    for signal in [libc::SIGXFSZ, libc::SIGTTOU] {
        // SAFETY: SIG_IGN is no handler, so nothing of ours runs at a signal; the numbers are valid, so it cannot fail.
        let _ = unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

impl Signals {
    /// Blocks the signals in the calling thread and in those it will start; called before it starts any. A signal that
    /// comes between here and [`Signals::wait`] waits there.
    pub fn block() -> io::Result<Self> {
        let set = taken();
        // SAFETY: `set` is an initialised set, valid for the whole call; the old mask is not asked for.
        let failed = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) };
        if failed != 0 {
            return Err(io::Error::from_raw_os_error(failed));
        }
        // SAFETY: gettid takes nothing and cannot fail.
        let thread = unsafe { libc::gettid() };
        Ok(Self { set, woken: Arc::default(), thread, not_send: PhantomData })
    }

    /// Sleeps until somebody wants something, or that time is over; without a time, for as long as it takes.
    pub fn wait(&mut self, at_most: Option<Duration>) -> Wake {
        let until = at_most.map(|time| Instant::now() + time);
        loop {
            let timeout = until.map(|until| timespec(until.saturating_duration_since(Instant::now())));
            let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
            // SAFETY: the set is initialised, the timeout null or initialised, both valid for the whole call; no siginfo
            // is asked for.
            let signal = unsafe { libc::sigtimedwait(&raw const self.set, ptr::null_mut(), timeout) };
            match signal {
                libc::SIGTERM => return Wake::Stop(Stop::Term),
                libc::SIGINT => return Wake::Stop(Stop::Interrupt),
                libc::SIGHUP => return Wake::Reload,
                WAKE if self.woken.swap(false, Ordering::Acquire) => return Wake::Woken,
                // A stray SIGUSR1, or -1: with EAGAIN when the time is over, with EINTR because the process was stopped
                // and continued.
                _ if until.is_some_and(|until| Instant::now() >= until) => return Wake::Elapsed,
                _ => {}
            }
        }
    }

    /// For other threads to end a wait with, now or when it begins.
    pub fn waker(&self) -> Waker {
        Waker { woken: Arc::clone(&self.woken), thread: self.thread }
    }
}

impl Waker {
    /// Ends the wait. Any thread may, whatever descriptors it has; once the waiting thread is gone nothing happens.
    pub fn wake(&self) {
        self.woken.store(true, Ordering::Release);
        let process = std::process::id();
        // SAFETY: tgkill takes no pointers, and names a thread of this process only: if it has ended, ESRCH.
        let _ = unsafe { libc::syscall(libc::SYS_tgkill, process, self.thread, WAKE) };
    }
}

fn timespec(time: Duration) -> libc::timespec {
    libc::timespec { tv_sec: time.as_secs().cast_signed(), tv_nsec: i64::from(time.subsec_nanos()) }
}

fn taken() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: `set` is valid for writes of one set for the whole call.
    let _ = unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: sigemptyset initialised it; it fails only for a null pointer.
    let mut set = unsafe { set.assume_init() };
    for signal in TAKEN {
        // SAFETY: `set` is initialised and valid for the whole call. The numbers are valid signals, so it cannot fail.
        let _ = unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends to the calling thread only, so that the test harness's threads live on.
    fn raise(signal: libc::c_int) {
        // SAFETY: raise takes no pointers; the callers have the signal blocked, so nothing runs or dies.
        assert_eq!(unsafe { libc::raise(signal) }, 0);
    }

    #[test]
    fn a_second_request_to_stop_is_seen_after_the_first() {
        let mut signals = Signals::block().expect("the set is valid");
        raise(libc::SIGTERM);
        assert_eq!(signals.wait(None), Wake::Stop(Stop::Term));
        raise(libc::SIGINT);
        assert_eq!(signals.wait(None), Wake::Stop(Stop::Interrupt));
    }

    #[test]
    fn a_hangup_is_a_reload_and_a_stray_wake_signal_does_not_end_a_wait() {
        let mut signals = Signals::block().expect("the set is valid");
        // Of several pending signals the kernel hands out the lowest number first: SIGHUP 1, SIGUSR1 10, SIGTERM 15.
        raise(libc::SIGTERM);
        raise(WAKE);
        raise(libc::SIGHUP);
        assert_eq!(signals.wait(None), Wake::Reload);
        assert_eq!(signals.wait(None), Wake::Stop(Stop::Term));
    }

    #[test]
    fn a_wait_ends_with_its_time_whatever_stray_signals_come() {
        let mut signals = Signals::block().expect("the set is valid");
        raise(WAKE);
        let (began, time) = (Instant::now(), Duration::from_millis(20));
        assert_eq!(signals.wait(Some(time)), Wake::Elapsed);
        assert!(began.elapsed() >= time);
        raise(libc::SIGINT);
        assert_eq!(signals.wait(Some(Duration::ZERO)), Wake::Stop(Stop::Interrupt));
    }

    #[test]
    fn another_thread_wakes_a_wait_whatever_its_descriptors_are() {
        let mut signals = Signals::block().expect("the set is valid");
        let waker = signals.waker();
        let other = std::thread::spawn(move || {
            let table = crate::sys::files::OwnTable::unshare().expect("needs no privilege");
            table.close_all_except(&[]).expect("the range is valid");
            waker.wake();
        });
        assert_eq!(signals.wait(None), Wake::Woken);
        other.join().expect("no panic");
    }

    #[test]
    fn a_wake_before_the_wait_is_not_lost() {
        let mut signals = Signals::block().expect("the set is valid");
        signals.waker().wake();
        assert_eq!(signals.wait(None), Wake::Woken);
    }

    #[test]
    fn waking_a_thread_that_has_ended_does_nothing() {
        let waker = std::thread::spawn(|| Signals::block().map(|signals| signals.waker()))
            .join()
            .expect("no panic")
            .expect("the set is valid");
        waker.wake();
    }
}
