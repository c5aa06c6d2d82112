//! From nothing to a crew whose devices are connected, each in its rooms.
//!
//! *Not here*: one device's handshake (`device`), what the devices are there for (`super`, `pushes`).

use std::time::Duration;

use super::crew::{Crew, Order};
use super::plan::Plan;
use crate::args::Machine;
use crate::gateway::Gateway;
use crate::progress::{Goal, Progress};
use crate::sys::process;

/// Connections are members a moment after their upgrade.
pub(super) const SETTLE: Duration = Duration::from_secs(1);
/// Pause of a loop that waits.
pub(crate) const LOOK: Duration = Duration::from_millis(2);
/// Devices of which a push is one file each, and some more.
const SPARE_FILES: u64 = 200;

/// Devices, connected to a gateway and each in its rooms.
pub(crate) fn connect(
    machine: &Machine,
    gateway: &Gateway,
    (prefix, bytes): (&str, usize),
    rooms: impl ExactSizeIterator<Item = Vec<u32>>,
    progress: &Progress,
) -> Result<Crew, String> {
    let wanted = rooms.len() as u64;
    let each = wanted.div_ceil(machine.receiver_core.len().max(1) as u64);
    let most = process::open_files_max();
    if each + SPARE_FILES > most {
        return Err(format!("{each} devices of a thread are more files than its {most}: ulimit -n"));
    }
    let path = if gateway.url.path.is_empty() { "/connect" } else { &gateway.url.path };
    let crew = Crew::start(&Plan {
        target: gateway.url.address,
        authority: gateway.url.authority.clone(),
        path: path.to_owned(),
        prefix: prefix.to_owned(),
        bytes,
        cores: machine.receiver_core.clone(),
    })?;
    progress.stage("connecting", Goal::Count(wanted));
    for (device, rooms) in (0..).zip(rooms) {
        crew.order(Order::Open(device, rooms))?;
    }
    while crew.opened() < wanted {
        if let Some(why) = crew.failure() {
            return Err(why);
        }
        if process::interrupted() {
            return Err("interrupted before everybody was connected".into());
        }
        progress.update(crew.opened(), String::new);
        std::thread::sleep(LOOK);
    }
    std::thread::sleep(SETTLE);
    Ok(crew)
}
