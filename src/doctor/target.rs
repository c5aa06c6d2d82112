//! What is to run on the host.
//!
//! *Not here*: how much that takes (`wanted`).

use crate::config::Config;
use crate::topology::{self, Plan};

/// What is to run on the host.
#[derive(Clone, Debug)]
pub struct Target {
    /// Devices at once.
    pub connections: u64,
    /// The gateway's configuration.
    pub config: Config,
    /// Which thread runs where, for the CPUs that the process may use.
    pub plan: Plan,
}

impl Target {
    /// The target of so many devices on these CPUs.
    pub fn new(connections: u64, config: Config, cpus: &[usize]) -> Self {
        Self { connections, plan: topology::plan(cpus, &config.server), config }
    }

    /// Number of shards.
    pub fn shards(&self) -> u64 {
        self.plan.shards.len() as u64
    }

    /// The cores of the shards that are pinned, ascending, each once.
    pub fn cores(&self) -> Vec<usize> {
        let mut cores: Vec<usize> = self.plan.shards.iter().filter_map(|shard| shard.core).collect();
        cores.sort_unstable();
        cores.dedup();
        cores
    }
}
