//! What is found by walking directories: cgroups from the process's own up to the root, CPUs, network devices.

use super::facts::{Cgroup, Cpu, Fact, Nic, Unread};
use super::files::Host;
use super::formats;
use fanfare_core::limits;

impl Host {
    pub(super) fn cpus(&self, ids: &[usize]) -> Vec<Cpu> {
        let read = |id: &usize| {
            let base = format!("sys/devices/system/cpu/cpu{id}");
            Cpu {
                id: *id,
                governor: self.fact(&format!("{base}/cpufreq/scaling_governor"), formats::word),
                siblings: self.fact(&format!("{base}/topology/thread_siblings_list"), formats::cpus),
            }
        };
        ids.iter().map(read).collect()
    }

    pub(super) fn nics(&self) -> Vec<Nic> {
        let is_up = |base: &str| {
            let state = self.fact(&format!("{base}/operstate"), formats::word);
            // Some drivers of virtual machines never say more than "unknown".
            state.is_ok_and(|state| state == "up" || state == "unknown")
        };
        let names = self.names("sys/class/net").into_iter();
        names
            .filter(|name| formats::word(name.as_bytes()).is_some())
            .map(|name| (format!("sys/class/net/{name}"), name))
            .filter(|(base, _)| self.has(&format!("{base}/device")) && is_up(base))
            .map(|(base, name)| {
                let queues = self.names(&format!("{base}/queues"));
                let receive: Vec<&String> = queues.iter().filter(|queue| queue.starts_with("rx-")).collect();
                let is_spread = |queue: &&String| {
                    self.fact(&format!("{base}/queues/{queue}/rps_cpus"), formats::mask_is_set) == Ok(true)
                };
                Nic {
                    queues: receive.len() as u64,
                    spread: !receive.is_empty() && receive.iter().all(is_spread),
                    node_cpus: self.node_cpus(&base),
                    name,
                }
            })
            .collect()
    }

    fn node_cpus(&self, base: &str) -> Fact<Vec<usize>> {
        let path = format!("{base}/device/numa_node");
        // -1: the machine has one node, or its firmware does not say.
        let Ok(node) = u64::try_from(self.fact(&path, formats::signed)?) else {
            return Err(Unread::Absent(path));
        };
        self.fact(&format!("sys/devices/system/node/node{node}/cpulist"), formats::cpus)
    }

    /// The limits that hold for the process described in `path`, in either version of cgroups.
    pub(super) fn cgroup(&self, path: &str) -> Cgroup {
        let groups = match self.fact(path, formats::cgroups) {
            Ok(groups) => groups,
            Err(unread) => {
                let unread = || Err(unread.clone());
                return Cgroup { memory: unread(), tasks_left: unread(), cpu_percent: unread() };
            }
        };
        let v1 = |wanted: &str| {
            let of = groups.iter().find(|(names, _)| names.split(',').any(|name| name == wanted));
            of.map(|(_, path)| (format!("sys/fs/cgroup/{wanted}"), path.as_str()))
        };
        let v2 = groups.iter().find(|(names, _)| names.is_empty());
        let v2 = v2.map(|(_, path)| ("sys/fs/cgroup".to_owned(), path.as_str()));

        let memory = tightest([v1("memory"), v2.clone()], |group| {
            let files = ["memory.limit_in_bytes", "memory.max", "memory.high"];
            let found = files.map(|file| self.limit(format!("{group}/{file}"), formats::limit));
            least(found)
        });
        let tasks_left = tightest([v1("pids"), v2.clone()], |group| {
            let limit = self.limit(format!("{group}/pids.max"), formats::limit)?;
            let running = self.whole(&format!("{group}/pids.current")).unwrap_or(0);
            Ok(limit.map(|(limit, file)| (limit.saturating_sub(running), file)))
        });
        let cpu_percent = tightest([v1("cpu"), v2], |group| {
            let v2 = self.limit(format!("{group}/cpu.max"), formats::cpu_max);
            let file = format!("{group}/cpu.cfs_quota_us");
            let v1 = self.limit(file.clone(), formats::limit).and_then(|quota| {
                let Some((quota, file)) = quota else { return Ok(None) };
                let period = self.whole(&format!("{group}/cpu.cfs_period_us"))?;
                let garbled = || Unread::Garbled(file.clone(), format!("{quota} of {period}"));
                formats::percent(quota, period)
                    .ok_or_else(garbled)
                    .map(|percent| Some((percent, file.clone())))
            });
            least([v1, v2])
        });
        Cgroup { memory, tasks_left, cpu_percent }
    }

    /// A limit and its file; `None` when there is no such file or it says that there is no limit.
    fn limit(&self, file: String, format: fn(&[u8]) -> Option<u64>) -> Fact<Option<(u64, String)>> {
        match self.fact(&file, format) {
            Ok(u64::MAX) | Err(Unread::Absent(_)) => Ok(None),
            Ok(limit) => Ok(Some((limit, file))),
            Err(unread) => Err(unread),
        }
    }
}

type Limit = Fact<Option<(u64, String)>>;

fn least(limits: impl IntoIterator<Item = Limit>) -> Limit {
    let limits: Vec<Option<(u64, String)>> = limits.into_iter().collect::<Result<_, _>>()?;
    Ok(limits.into_iter().flatten().min_by_key(|(limit, _)| *limit))
}

/// The least limit of a group and all groups above it. A container sees its own group at the mount's root although
/// its path tells the host's, so groups that are not there are passed over.
fn tightest<'a>(
    places: impl IntoIterator<Item = Option<(String, &'a str)>>,
    limit: impl Fn(&str) -> Limit,
) -> Limit {
    let limit = &limit;
    least(places.into_iter().flatten().flat_map(|(mount, path)| {
        let path = path.trim_end_matches('/');
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        ends.take(limits::HOST_CGROUP_DEPTH_MAX).map(move |end| limit(&format!("{mount}{}", &path[..end])))
    }))
}
