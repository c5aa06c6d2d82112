//! Which cores the process may use, and pinning a thread to one.
//!
//! *Not here*: who runs where (`topology`).

use core_affinity::CoreId;

/// Ids of the cores in the calling thread's affinity mask (`sched_getaffinity(2)`: what taskset, a cpuset or systemd's
/// `CPUAffinity=` left of the machine), ascending. Empty when the kernel does not say.
///
/// Called once, before any thread is pinned: afterwards the mask is the pinned core.
pub fn allowed() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

/// How many cores' worth of time a cgroup quota leaves (`docker --cpus`, a Kubernetes limit), when that is fewer than
/// `allowed`. Threads beyond it do not run in parallel, they are throttled.
pub fn quota(allowed: usize) -> Option<usize> {
    let parallel = std::thread::available_parallelism().ok()?.get();
    (parallel < allowed).then_some(parallel)
}

/// Pins the calling thread to a core out of [`allowed`]; false when the kernel refuses.
pub fn pin_current(core: usize) -> bool {
    core_affinity::set_for_current(CoreId { id: core })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_may_use_its_core_only_and_its_maker_keeps_all() {
        let before = allowed();
        let last = *before.last().expect("at least one core");
        let seen = std::thread::spawn(move || pin_current(last).then(allowed)).join().expect("no panic");
        assert_eq!(seen, Some(vec![last]));
        assert_eq!(allowed(), before);
    }

    #[test]
    fn a_quota_is_told_only_when_it_binds() {
        assert_eq!(quota(1), None);
        let parallel = std::thread::available_parallelism().expect("Linux says").get();
        assert_eq!(quota(parallel + 1), Some(parallel));
    }
}
