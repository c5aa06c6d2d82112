//! The fan-out run: connect, settle, publish at a rate, wait for the last delivery, leave; measured from outside.
//!
//! *Not here*: how any of these is done (`receiver`, `publisher`, `gateway`), how it is shown (`record`, `report`).

mod account;
mod args;
mod found;
mod phases;
mod plan;
pub(crate) mod record;
mod session;
mod wait;
mod watch;

use std::time::Duration;

use crate::progress::Progress;
use crate::report;

pub(crate) use self::plan::{check, connections, plan};
pub(crate) use args::{Arrival, FanoutArgs};
pub(crate) use found::{Report, Slow};
pub(crate) use session::Session;
pub(crate) use wait::wait;

/// The subcommand; false when something that must be zero is not.
pub(crate) fn run(args: &FanoutArgs) -> Result<bool, String> {
    let found = measure(args, Progress::new(&args.machine))?;
    report::finish(&args.machine, record::record(args, &found)?)?;
    // A run that delivered nothing has verified nothing.
    let delivered = args.idle || found.deliveries > 0;
    let right = found.faults.none() && found.refused_and_delivered == 0;
    Ok(delivered && right && found.publish_error.is_none())
}

/// A whole run, from the first connect to the last leave; prints no result.
pub(crate) fn measure(args: &FanoutArgs, progress: Progress) -> Result<Report, String> {
    let mut session = Session::open(args, progress)?;
    session.connect(args)?;
    let load = if args.idle {
        session.hold(Duration::from_secs_f64(args.load.seconds));
        None
    } else {
        Some(session.publish(args, "publishing", None)?)
    };
    session.finish(args, load)
}
