//! Can this process use io_uring as the gateway needs it? Asked once at start, so that the answer is a sentence for the
//! operator and not an errno from the middle of a thread.
//!
//! What decides is an attempt, not a version number: distributions carry features back. The version and the sysctl only
//! explain a refusal.

use std::fmt;
use std::fs;
use std::io;

use io_uring::{IoUring, cqueue, squeue};

/// First kernel whose rings have what every ring here is made with: `IORING_SETUP_DEFER_TASKRUN`.
pub const KERNEL_MIN: (u32, u32) = (6, 1);

/// Why io_uring cannot be used; the text says what the operator does about it.
#[derive(Debug)]
pub enum Unusable {
    /// The kernel is older than [`KERNEL_MIN`] and lacks what its rings would need.
    OldKernel {
        /// `uname -r`.
        release: String,
    },
    /// `kernel.io_uring_disabled` forbids it.
    Sysctl {
        /// 1: to the unprivileged; 2: to all.
        value: u8,
    },
    /// A seccomp filter or a security module forbids it.
    Forbidden,
    /// There is no such system call: a kernel built without it, or a sandbox that hides it.
    NoSuchCall {
        /// `uname -r`.
        release: String,
    },
    /// The memory of a ring counts against `RLIMIT_MEMLOCK` or the cgroup's limit, and that is used up.
    NoMemory,
    /// Anything else that the kernel answered.
    Other(io::Error),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = KERNEL_MIN;
        match self {
            Self::OldKernel { release } => write!(
                f,
                "the kernel is {release}, and fanfare needs io_uring as of Linux {major}.{minor}: run it on a newer \
                 kernel"
            ),
            Self::Sysctl { value } => write!(
                f,
                "io_uring is switched off on this host (kernel.io_uring_disabled = {value}): allow it with `sysctl -w \
                 kernel.io_uring_disabled=0`{}",
                if *value == 1 {
                    ", or put the user into the group of kernel.io_uring_group, or grant CAP_SYS_ADMIN"
                } else {
                    ""
                }
            ),
            Self::Forbidden => write!(
                f,
                "io_uring is forbidden to this process, most likely by a container's seccomp profile: allow \
                 io_uring_setup, io_uring_enter and io_uring_register in the profile (`docker run --security-opt \
                 seccomp=profile.json`, `securityContext.seccompProfile` in Kubernetes, `SystemCallFilter=@aio` \
                 in a systemd unit)"
            ),
            Self::NoSuchCall { release } => write!(
                f,
                "this kernel ({release}) has no io_uring: use a kernel built with CONFIG_IO_URING, and no sandbox that \
                 hides it (gVisor does)"
            ),
            Self::NoMemory => write!(
                f,
                "the kernel has no memory for an io_uring: raise RLIMIT_MEMLOCK (`LimitMEMLOCK=infinity` in a systemd \
                 unit, `--ulimit memlock=-1` for docker) or the cgroup's memory limit"
            ),
            Self::Other(error) => write!(f, "the kernel refuses an io_uring: {error}"),
        }
    }
}

impl std::error::Error for Unusable {}

/// Makes a ring with the flags that every thread's ring has, and lets it go again.
pub fn io_uring() -> Result<(), Unusable> {
    let attempt = IoUring::<squeue::Entry, cqueue::Entry>::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .build(8);
    match attempt {
        Ok(_ring) => Ok(()),
        Err(error) => Err(explain(error, &read("osrelease"), read("io_uring_disabled").parse().ok())),
    }
}

/// A value out of `/proc/sys/kernel`; empty when there is none. `osrelease` is what uname(2) calls the release.
fn read(name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
    text.trim().to_owned()
}

/// What a refused `io_uring_setup(2)` means on a kernel of that release with that sysctl.
fn explain(error: io::Error, release: &str, sysctl: Option<u8>) -> Unusable {
    let release = || if release.is_empty() { "unknown".to_owned() } else { release.to_owned() };
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => match sysctl {
            Some(value @ 1..) => Unusable::Sysctl { value },
            Some(0) | None => Unusable::Forbidden,
        },
        Some(libc::ENOSYS) => Unusable::NoSuchCall { release: release() },
        // EINVAL: a flag that this kernel does not know.
        Some(libc::EINVAL) if version(&release()).is_some_and(|version| version < KERNEL_MIN) => {
            Unusable::OldKernel { release: release() }
        }
        Some(libc::ENOMEM) => Unusable::NoMemory,
        _ => Unusable::Other(error),
    }
}

/// Major and minor of a release such as `6.1.0-13-amd64` or `6.18-rc3`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(errno: i32, release: &str, sysctl: Option<u8>) -> Unusable {
        explain(io::Error::from_raw_os_error(errno), release, sysctl)
    }

    #[test]
    fn where_the_tests_run_io_uring_is_usable() {
        io_uring().expect("the gateway's own tests need it");
    }

    #[test]
    fn a_refusal_is_the_sysctl_if_it_says_so_and_a_filter_otherwise() {
        let sysctl = explained(libc::EPERM, "6.8.0", Some(2));
        assert!(matches!(sysctl, Unusable::Sysctl { value: 2 }));
        assert!(sysctl.to_string().contains("sysctl -w kernel.io_uring_disabled=0"));
        let group = explained(libc::EPERM, "6.8.0", Some(1));
        assert!(group.to_string().contains("kernel.io_uring_group"));
        for sysctl in [Some(0), None] {
            let filter = explained(libc::EPERM, "6.8.0", sysctl);
            assert!(matches!(filter, Unusable::Forbidden));
            assert!(filter.to_string().contains("--security-opt seccomp="));
        }
    }

    #[test]
    fn an_unknown_flag_on_an_old_kernel_is_the_kernels_age() {
        let old = explained(libc::EINVAL, "5.15.0-91-generic", Some(0));
        assert!(old.to_string().contains("5.15.0-91-generic") && old.to_string().contains("6.1"));
        assert!(matches!(explained(libc::EINVAL, "6.1.0", Some(0)), Unusable::Other(_)));
        assert!(matches!(explained(libc::EINVAL, "", None), Unusable::Other(_)));
    }

    #[test]
    fn the_other_refusals_name_their_remedy() {
        assert!(explained(libc::ENOSYS, "6.8.0", None).to_string().contains("CONFIG_IO_URING"));
        assert!(explained(libc::ENOMEM, "6.8.0", Some(0)).to_string().contains("MEMLOCK"));
        assert!(explained(libc::EMFILE, "6.8.0", Some(0)).to_string().contains("open files"));
    }

    #[test]
    fn a_release_begins_with_two_numbers() {
        assert_eq!(version("6.1.0-13-amd64"), Some((6, 1)));
        assert_eq!(version("6.18-rc3"), Some((6, 18)));
        assert_eq!(version("10.0"), Some((10, 0)));
        assert_eq!(version("unknown"), None);
        assert_eq!(version("6"), None);
    }
}
