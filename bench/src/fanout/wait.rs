//! Waiting for what a run needs: until something is true, until everybody is connected.
//!
//! *Not here*: what is done then (`session`, `phases`).

use std::time::{Duration, Instant};

use super::watch::Watch;
use crate::gateway::Gateway;
use crate::progress::Goal;
use crate::receiver::Receivers;
use crate::sys::process;

/// Connecting makes progress at least this often.
const CONNECT_STALL_MAX: Duration = Duration::from_secs(20);
/// How often the controller looks.
pub(super) const LOOK: Duration = Duration::from_millis(10);

/// Looks until it is true, the time has passed, or somebody presses Ctrl-C.
pub(crate) fn wait(at_most: Duration, mut done: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    while !done() {
        if begin.elapsed() >= at_most || process::interrupted() {
            return false;
        }
        std::thread::sleep(LOOK);
    }
    true
}

pub(super) fn wait_connected(
    receivers: Receivers,
    gateway: &Gateway,
    watch: &mut Watch,
) -> Result<Receivers, String> {
    let (mut settled, mut since) = (0, Instant::now());
    watch.progress.stage("connecting", Goal::Count(receivers.total()));
    // One that was opened and closed again has been opened.
    let now = |receivers: &Receivers| receivers.opened() + receivers.refused();
    while now(&receivers) < receivers.total() {
        if receivers.failed() || process::interrupted() || since.elapsed() > CONNECT_STALL_MAX {
            let why = stuck(&receivers);
            return Err(receivers.join().err().unwrap_or(why));
        }
        if now(&receivers) != settled {
            (settled, since) = (now(&receivers), Instant::now());
        }
        watch.look(settled, &receivers, gateway);
        std::thread::sleep(LOOK);
    }
    Ok(receivers)
}

/// Why connecting ended although no connection failed.
fn stuck(receivers: &Receivers) -> String {
    let (opened, total) = (receivers.opened(), receivers.total());
    let within = CONNECT_STALL_MAX.as_secs();
    match opened {
        _ if process::interrupted() => format!("interrupted with {opened} of {total} connections opened"),
        0 => format!("the server takes connections and answers no upgrade within {within} s"),
        _ => format!("only {opened} of {total} connections were opened: no answer for {within} s"),
    }
}
