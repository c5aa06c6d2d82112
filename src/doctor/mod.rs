//! `fanfare doctor`: what on this host stands in the way of so many connections, and the command that mends it.
//!
//! [`host`] reads facts below a root directory, [`checks`] compares them with [`wanted`]'s formulas, [`table`] prints
//! what came out. Each check is a row of [`checks::CHECKS`]. Doctor changes nothing. *Not here*: the network card's
//! queues and interrupts (`tuning/nic.sh`), and what the configuration file itself has wrong (`fanfare --check`).

pub mod checks;
pub mod host;
pub mod table;
pub mod wanted;

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::config::Config;
use crate::limits;
use crate::topology::{self, Plan};
use host::Unread;

/// What `fanfare doctor` is asked.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Devices that shall be connected at once
    #[arg(long, value_name = "N", default_value_t = limits::DOCTOR_CONNECTIONS_DEFAULT,
        value_parser = clap::value_parser!(u64).range(1..=wanted::CONNECTIONS_MAX))]
    pub connections: u64,
    /// Answer as one JSON object
    #[arg(long)]
    pub json: bool,
    /// Look at the limits of this running process instead of doctor's own
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// Read this directory's proc/ and sys/ instead of the host's
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    pub host_root: PathBuf,
}

/// How good what was found is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing to do.
    Ok,
    /// The host does not have what this is about.
    NotApplicable,
    /// It could not be found out.
    Unknown,
    /// So many devices can be connected; something is slower, or fails under load, or at the edge.
    Warn,
    /// The gateway does not run, or does not hold so many.
    Bad,
}

/// What one check says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check's name: of a sysctl its key.
    pub name: &'static str,
    /// What so many connections want.
    pub wanted: String,
    /// What the host has; for [`Verdict::Unknown`] the reason why that is not known.
    pub found: String,
    /// How good that is.
    pub verdict: Verdict,
    /// What it is for, and what happens without it.
    pub why: String,
    /// A command for a shell as root; always there when the verdict is [`Verdict::Bad`].
    pub mend: Option<String>,
}

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

/// All that doctor has to say.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    /// Devices at once.
    pub connections: u64,
    /// Number of shards.
    pub shards: u64,
    /// Number of findings that are bad.
    pub bad: usize,
    /// Number of findings that are a warning.
    pub warn: usize,
    /// Number of findings that could not be made.
    pub unknown: usize,
    /// One for each check, in the order of [`checks::CHECKS`].
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    /// Whether every check was made, and none is bad.
    pub fn is_good(&self) -> bool {
        self.bad == 0 && self.unknown == 0
    }
}

/// The process that should have been looked at is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoProcess(pub u32);

impl fmt::Display for NoProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--pid: there is no process {}", self.0)
    }
}

/// Reads the host and judges it. Blocks on small files.
pub fn diagnose(arguments: &Arguments, config: Config) -> Result<Diagnosis, NoProcess> {
    let facts = host::Host::new(&arguments.host_root, arguments.pid).facts();
    if let (Some(pid), Err(Unread::Absent(_))) = (arguments.pid, &facts.process) {
        return Err(NoProcess(pid));
    }
    let cpus = facts.process.as_ref().map_or(&[][..], |process| &process.cpus);
    let target = Target::new(arguments.connections, config, cpus);
    let findings: Vec<Finding> = checks::CHECKS.iter().map(|check| check.finding(&facts, &target)).collect();
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    Ok(Diagnosis {
        connections: target.connections,
        shards: target.shards(),
        bad: count(Verdict::Bad),
        warn: count(Verdict::Warn),
        unknown: count(Verdict::Unknown),
        findings,
    })
}
