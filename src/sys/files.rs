//! File descriptors: a thread's own table of them, and how many it may hold.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Proof that the calling thread has a descriptor table to itself.
///
/// A table of its own means that no other core's accept or close meets this thread on the table's lock, and that
/// `RLIMIT_NOFILE` bounds this thread rather than the process. It also means that a descriptor's number says nothing
/// outside its thread: what opens here must be used and closed here. It does not leave the thread, because on another
/// thread [`OwnTable::close_all_except`] would close a table that others use.
#[derive(Debug)]
pub struct OwnTable {
    not_send: PhantomData<*const ()>,
}

impl OwnTable {
    /// Gives the calling thread a copy of the table it shared (`unshare(2)`, `CLONE_FILES`).
    ///
    /// Called before the thread opens anything, its runtime included. The copy holds everything that was open in the
    /// process, so [`OwnTable::close_all_except`] follows: a socket that its owner closes in the old table would
    /// otherwise live on in this one.
    pub fn unshare() -> io::Result<Self> {
        // SAFETY: unshare takes no pointers; descriptors keep their numbers and meaning in the copy.
        let failed = unsafe { libc::unshare(libc::CLONE_FILES) };
        if failed != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { not_send: PhantomData })
    }

    /// A descriptor of this table for what `fd` means in it, close-on-exec (`F_DUPFD_CLOEXEC`).
    ///
    /// For what the thread keeps of a copied table: the copy has no owner here, and the owner of the original must not
    /// be dropped on this thread, since it would close the number in the wrong table.
    pub fn duplicate(&self, fd: RawFd) -> io::Result<OwnedFd> {
        // SAFETY: no pointers; a number that is not open is an error.
        let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
        if copy < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `copy` was just made in this thread's table and nobody else has it.
        Ok(unsafe { OwnedFd::from_raw_fd(copy) })
    }

    /// Closes what is not this thread's own: everything above standard error that is not in `keep` (`close_range(2)`,
    /// a call per gap). Owners of those descriptors on other threads notice nothing.
    pub fn close_all_except(&self, keep: &[RawFd]) -> io::Result<()> {
        for (first, last) in gaps(keep) {
            // By its number: musl has no function for it.
            // SAFETY: no pointers; `self` proves that this table has one user, so what another thread owns stays open
            // in that thread's table.
            let failed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0_u32) };
            if failed != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }
}

/// The closed ranges between the descriptors to keep, from the first above standard error to the last there can be.
fn gaps(keep: &[RawFd]) -> Vec<(u32, u32)> {
    let mut keep: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(*fd).ok()).collect();
    keep.sort_unstable();
    keep.dedup();
    let mut gaps = Vec::with_capacity(keep.len() + 1);
    let mut first = libc::STDERR_FILENO.unsigned_abs() + 1;
    for fd in keep {
        if fd > first {
            gaps.push((first, fd - 1));
        }
        first = first.max(fd + 1);
    }
    gaps.push((first, u32::MAX));
    gaps
}

/// `RLIMIT_NOFILE`: one more than the highest descriptor that a table may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NofileLimit {
    /// What holds now.
    pub soft: u64,
    /// What the process may raise `soft` to.
    pub hard: u64,
}

/// The limit as it is.
pub fn nofile_limit() -> io::Result<NofileLimit> {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: `limit` is valid for writes of one `rlimit` for the whole call.
    let failed = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, limit.as_mut_ptr()) };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so the kernel filled the struct.
    let limit = unsafe { limit.assume_init() };
    Ok(NofileLimit { soft: limit.rlim_cur, hard: limit.rlim_max })
}

/// Raises the soft limit to the hard one, which needs no privilege, and returns what holds then.
pub fn raise_nofile_limit() -> io::Result<NofileLimit> {
    let NofileLimit { hard, .. } = nofile_limit()?;
    let wanted = libc::rlimit { rlim_cur: hard, rlim_max: hard };
    // SAFETY: `wanted` is valid for reads of one `rlimit` for the whole call.
    let failed = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const wanted) };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    nofile_limit()
}

/// `fs.nr_open`: above it no hard limit can be set, whatever the unit file says.
pub fn nr_open() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/sys/fs/nr_open")?;
    text.trim().parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::path::PathBuf;

    use super::*;

    /// Whether a descriptor is open in the calling thread's table.
    fn is_open(fd: RawFd) -> bool {
        fs::symlink_metadata(PathBuf::from(format!("/proc/thread-self/fd/{fd}"))).is_ok()
    }

    #[test]
    fn a_thread_closes_what_is_not_its_own_and_the_owners_keep_it() {
        let [foreign, kept, late] = [(); 3].map(|()| File::open("/dev/null").expect("every Linux has it"));
        let (foreign, kept, late) = (foreign.as_raw_fd(), kept.as_raw_fd(), late);
        let late_fd = late.as_raw_fd();
        let in_thread = std::thread::spawn(move || {
            let table = OwnTable::unshare().expect("needs no privilege");
            assert!(is_open(foreign), "the copy holds what the process had open");
            table.close_all_except(&[kept]).expect("the ranges are ascending");
            [foreign, kept, late_fd, 2].map(is_open)
        });
        assert_eq!(in_thread.join().expect("no panic"), [false, true, false, true]);
        assert!(is_open(late_fd), "the maker's table is untouched");
        drop(late);
        assert!(!is_open(late_fd));
    }

    #[test]
    fn a_duplicate_outlives_the_closing_of_what_it_was_made_from() {
        let shared = File::open("/dev/null").expect("every Linux has it");
        let fd = shared.as_raw_fd();
        let in_thread = std::thread::spawn(move || {
            let table = OwnTable::unshare().expect("needs no privilege");
            let own = table.duplicate(fd).expect("the copy holds what the process had open");
            table.close_all_except(&[own.as_raw_fd()]).expect("the ranges are ascending");
            (is_open(fd), is_open(own.as_raw_fd()), table.duplicate(fd).is_err())
        });
        assert_eq!(in_thread.join().expect("no panic"), (false, true, true));
        assert!(is_open(fd), "the maker's table is untouched");
    }

    #[test]
    fn gaps_leave_out_what_is_kept_and_the_standard_streams() {
        assert_eq!(gaps(&[]), [(3, u32::MAX)]);
        assert_eq!(gaps(&[3]), [(4, u32::MAX)]);
        assert_eq!(gaps(&[9, 5, 5, 4, 0, -1]), [(3, 3), (6, 8), (10, u32::MAX)]);
    }

    #[test]
    fn the_soft_limit_reaches_the_hard_one() {
        let before = nofile_limit().expect("getrlimit has no reason to fail");
        let after = raise_nofile_limit().expect("raising to the hard limit needs no privilege");
        assert_eq!(after, NofileLimit { soft: before.hard, hard: before.hard });
    }

    #[test]
    fn the_hard_limit_is_within_nr_open() {
        let hard = nofile_limit().expect("getrlimit has no reason to fail").hard;
        assert!(nr_open().expect("procfs is mounted") >= hard);
    }
}
