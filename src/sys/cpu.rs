//! CPU time of the process, `getrusage(2)`.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

/// CPU time that all threads of the process have used so far, those that ended included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuTime {
    /// In user space.
    pub user: Duration,
    /// In the kernel, on the process's behalf. Work in softirq context is not in it.
    pub system: Duration,
}

impl CpuTime {
    /// Both together.
    pub fn total(self) -> Duration {
        self.user + self.system
    }
}

/// CPU time of the process until now. One system call.
pub fn process() -> io::Result<CpuTime> {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: `usage` is valid for writes of one `rusage` for the whole call.
    let failed = unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so the kernel filled the struct.
    let usage = unsafe { usage.assume_init() };
    Ok(CpuTime { user: duration(usage.ru_utime), system: duration(usage.ru_stime) })
}

/// The kernel reports CPU time as a normalised, non-negative timeval.
fn duration(time: libc::timeval) -> Duration {
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_usec.unsigned_abs() as u32 * 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_in_user_space_adds_to_the_process_time() {
        let before = process().expect("getrusage has no reason to fail");
        let mut after = before;
        let mut sum = 0_u64;
        while after.total() < before.total() + Duration::from_millis(5) {
            sum = std::hint::black_box((0..10_000_u64).fold(sum, u64::wrapping_add));
            after = process().expect("getrusage has no reason to fail");
        }
        assert!(after.user >= before.user && after.system >= before.system);
    }
}
