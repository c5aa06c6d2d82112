//! From CPUs and configuration to who runs where. Pure.
//!
//! *Not here*: which CPUs there are and pinning (`sys::affinity`), the threads themselves (`server`).

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::config;
use fanfare_core::limits;

/// Which thread runs on which core. `None`: on any, as the kernel likes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The ingest core.
    pub ingest_core: Option<usize>,
    /// The control thread's core; it works rarely and shares the ingest core.
    pub control_core: Option<usize>,
    /// The shards, at least one, at most [`limits::SHARDS_MAX`].
    pub shards: Vec<ShardPlan>,
}

/// Where one shard runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardPlan {
    /// Its core.
    pub core: Option<usize>,
    /// How long it spins before it sleeps; zero: not at all.
    pub spin: Duration,
}

/// The plan for the cores that the process may use (their ids; none known counts as one).
///
/// | shards | they run | ingest and control |
/// |---|---|---|
/// | fewer than cores | each on a core to itself | on the first core |
/// | as many as cores | each on a core, which the kernel shares out with ingest | anywhere |
/// | more than cores | round robin | anywhere |
///
/// By default one core is the ingest core's and the rest are shards; on one or two cores each has a shard and they
/// share with ingest, because a core for ingest alone would be half the machine. A shard spins only while another core
/// is left over: the last core's idle time belongs to the kernel's network work.
pub fn plan(cpus: &[usize], config: &config::Server) -> Plan {
    let cores = cpus.len().max(1);
    let shards = config.shards.map_or(if cores <= 2 { cores } else { cores - 1 }, NonZeroUsize::get);
    let shards = shards.min(limits::SHARDS_MAX);

    if !config.pin || cpus.is_empty() {
        let anywhere = ShardPlan { core: None, spin: Duration::ZERO };
        return Plan { ingest_core: None, control_core: None, shards: vec![anywhere; shards] };
    }
    let ingest_core = (shards < cores).then(|| cpus[0]);
    let spin = if shards + 1 < cores { config.spin } else { Duration::ZERO };
    let shard_cores = cpus.iter().copied().cycle().skip(usize::from(ingest_core.is_some()));
    Plan {
        ingest_core,
        control_core: ingest_core,
        shards: shard_cores.take(shards).map(|core| ShardPlan { core: Some(core), spin }).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::config::Config;

    fn server(shards: Option<usize>, pin: bool) -> config::Server {
        config::Server { shards: shards.and_then(NonZeroUsize::new), pin, ..Config::default().server }
    }

    fn cores(plan: &Plan) -> Vec<Option<usize>> {
        plan.shards.iter().map(|shard| shard.core).collect()
    }

    fn spins(plan: &Plan) -> bool {
        plan.shards.iter().any(|shard| !shard.spin.is_zero())
    }

    #[test]
    fn one_core_is_the_ingest_core_and_the_rest_are_shards() {
        let plan = plan(&[0, 1, 2, 3], &server(None, true));
        assert_eq!((plan.ingest_core, plan.control_core), (Some(0), Some(0)));
        assert_eq!(cores(&plan), [Some(1), Some(2), Some(3)]);
        assert!(!spins(&plan), "no core is left for the kernel's network work");
    }

    #[test]
    fn on_one_or_two_cores_every_core_has_a_shard_and_ingest_moves_freely() {
        for cpus in [&[5][..], &[4, 6]] {
            let plan = plan(cpus, &server(None, true));
            assert_eq!((plan.ingest_core, plan.control_core), (None, None));
            assert_eq!(cores(&plan), cpus.iter().map(|cpu| Some(*cpu)).collect::<Vec<_>>());
            assert!(!spins(&plan));
        }
    }

    #[test]
    fn shards_spin_when_a_core_is_left_over() {
        let plan = plan(&[0, 1, 2, 3], &server(Some(2), true));
        assert_eq!(plan.ingest_core, Some(0));
        assert_eq!(cores(&plan), [Some(1), Some(2)]);
        assert!(plan.shards.iter().all(|shard| shard.spin == Config::default().server.spin));
    }

    #[test]
    fn a_single_shard_on_two_cores_leaves_the_other_to_ingest() {
        let plan = plan(&[0, 1], &server(Some(1), true));
        assert_eq!(plan.ingest_core, Some(0));
        assert_eq!(cores(&plan), [Some(1)]);
        assert!(!spins(&plan));
    }

    #[test]
    fn more_shards_than_cores_go_round_robin_without_spinning() {
        let plan = plan(&[2, 3], &server(Some(5), true));
        assert_eq!(plan.ingest_core, None);
        assert_eq!(cores(&plan), [Some(2), Some(3), Some(2), Some(3), Some(2)]);
        assert!(!spins(&plan));
    }

    #[test]
    fn without_pinning_the_number_of_shards_is_the_same_and_nothing_else_is() {
        let plan = plan(&[0, 1, 2, 3], &server(None, false));
        assert_eq!((plan.ingest_core, plan.control_core), (None, None));
        assert_eq!(cores(&plan), [None; 3]);
        assert!(!spins(&plan));
    }

    #[test]
    fn cores_that_the_kernel_does_not_tell_count_as_one_and_pin_nothing() {
        assert_eq!(cores(&plan(&[], &server(None, true))), [None]);
        assert_eq!(cores(&plan(&[], &server(Some(3), true))), [None; 3]);
    }

    #[test]
    fn a_machine_with_more_cores_than_shards_can_be_still_gets_a_plan() {
        let cpus: Vec<usize> = (0..2 * limits::SHARDS_MAX).collect();
        assert_eq!(plan(&cpus, &server(None, true)).shards.len(), limits::SHARDS_MAX);
    }

    proptest! {
        #[test]
        fn every_plan_keeps_to_its_cores_and_only_lone_shards_spin(
            cpus in proptest::collection::btree_set(0_usize..512, 0..80),
            shards in proptest::option::of(1_usize..=limits::SHARDS_MAX),
            pin: bool,
        ) {
            let cpus: Vec<usize> = cpus.into_iter().collect();
            let plan = plan(&cpus, &server(shards, pin));
            prop_assert!(!plan.shards.is_empty());
            prop_assert_eq!(plan.shards.len(), shards.unwrap_or(plan.shards.len()));
            let used: Vec<usize> = cores(&plan).into_iter().chain([plan.ingest_core]).flatten().collect();
            prop_assert!(used.iter().all(|core| cpus.contains(core)));
            prop_assert!(pin || used.is_empty());
            if spins(&plan) {
                let distinct: HashSet<usize> = used.iter().copied().collect();
                prop_assert_eq!(distinct.len(), used.len());
                prop_assert!(used.len() < cpus.len());
            }
        }
    }
}
