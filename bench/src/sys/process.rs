//! Threads, children and signals.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn note_interrupt(_signal: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// From now on the first Ctrl-C (or SIGTERM) is noted, and the second one kills.
pub(crate) fn note_interrupts() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: all zero is a valid sigaction: no flags, an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = note_interrupt as extern "C" fn(libc::c_int) as libc::sighandler_t;
        action.sa_flags = libc::SA_RESETHAND;
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    }
}

/// Somebody pressed Ctrl-C.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Gives the calling thread a file table of its own, so that `RLIMIT_NOFILE` counts for it alone. What is open
/// already is in both tables.
pub(crate) fn own_file_table() -> io::Result<()> {
    // SAFETY: unshare takes no pointers.
    if unsafe { libc::unshare(libc::CLONE_FILES) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Cores that this process may run on, as the kernel lists them ("0-3,8", proc(5)); `None` when it does not say.
pub(crate) fn cores_allowed() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    Some(list.trim().to_owned())
}

/// Pins the calling thread; a core that does not exist is a mistake worth a sentence.
pub(crate) fn pin(core: usize) -> Result<(), String> {
    if core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
        return Ok(());
    }
    Err(format!("cannot run on core {core}: {}", io::Error::last_os_error()))
}

/// Raises the soft limit of open files to the hard one and returns it.
pub(crate) fn open_files_max() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for writes for the whole call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } < 0 {
        return 1024;
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is valid for reads for the whole call.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    limit.rlim_max
}

/// CPU time that the calling thread has used.
pub(crate) fn thread_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writes for the whole call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec.cast_unsigned() as u32)
}

/// Length of a tick in `/proc/PID/stat`.
pub(crate) fn clock_tick() -> Duration {
    // SAFETY: sysconf takes no pointers.
    let hz = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Duration::from_secs(1) / u32::try_from(hz).unwrap_or(100).max(1)
}

/// Ends a child that was confined, and everything that it started.
pub(crate) fn kill_group(pid: u32) {
    if let Ok(group) = libc::pid_t::try_from(pid) {
        // SAFETY: kill takes no pointers. The child leads its group, so the number is in use until it is waited for.
        unsafe { libc::kill(-group, libc::SIGKILL) };
    }
}

/// Stops a process that this tool started.
pub(crate) fn stop(pid: u32) {
    signal(pid, libc::SIGSTOP);
}

/// Lets it go on.
pub(crate) fn go_on(pid: u32) {
    signal(pid, libc::SIGCONT);
}

fn signal(pid: u32, signal: libc::c_int) {
    if let Ok(pid) = libc::pid_t::try_from(pid) {
        // SAFETY: kill takes no pointers; a process that is gone is an error that changes nothing.
        unsafe { libc::kill(pid, signal) };
    }
}

/// CPU time that all threads of this process have used.
pub(crate) fn own_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writes for the whole call.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec.cast_unsigned() as u32)
}

/// The child runs on these cores only (`None`: wherever), outside the terminal's Ctrl-C, and dies with this tool.
pub(crate) fn confine(command: &mut Command, cores: Option<Vec<usize>>) {
    let set = cores.map(|cores| {
        // SAFETY: all zero is the empty set.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        for core in cores {
            // SAFETY: CPU_SET checks the index against the size of the set.
            unsafe { libc::CPU_SET(core, &mut set) };
        }
        set
    });
    let prepare = move || {
        // SAFETY: PR_SET_PDEATHSIG takes one integer.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        if let Some(set) = &set {
            // SAFETY: `set` is a whole cpu_set_t, valid for reads for the call.
            if unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    command.process_group(0);
    // SAFETY: between fork and exec the closure makes system calls only; it allocates nothing and takes no lock.
    unsafe { command.pre_exec(prepare) };
}
