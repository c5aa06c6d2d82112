//! `fanfare doctor`: what on this host stands in the way of so many connections, and the command that mends it.
//!
//! [`host`] reads facts below a root directory, [`checks`] compares them with [`wanted`]'s formulas, [`table`] prints
//! what came out. Each check is a row of [`checks::CHECKS`]. Doctor changes nothing. *Not here*: the network card's
//! queues and interrupts (`tuning/nic.sh`), and what the configuration file itself has wrong (`fanfare --check`).

pub mod checks;
mod finding;
pub mod host;
pub mod table;
mod target;
pub mod wanted;

use std::fmt;
use std::path::PathBuf;

use crate::config::Config;
use fanfare_core::limits;
use host::Unread;

pub use finding::{Diagnosis, Finding, Verdict};
pub use target::Target;

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
