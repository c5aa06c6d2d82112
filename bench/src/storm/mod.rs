//! Everybody leaves at once, and many return at once.
//!
//! Connect · rest · leave, all together, while a newcomer keeps asking whether the server still takes anybody · watch
//! memory and the server's own count · return, all together. *Not here*: a connection's life (`receiver`).

mod args;
mod found;
mod record;

use std::time::{Duration, Instant};

use crate::fanout::{Arrival, FanoutArgs, Report, Session};
use crate::gateway::Memory;
use crate::histogram::Recorder;
use crate::probe;
use crate::progress::{Goal, Progress};
use crate::report;
use crate::results::Distribution;
use crate::sys::process;

pub(crate) use args::StormArgs;
use found::{BACK, Found};

/// Pause between two looks at the server while it recovers.
const LOOK: Duration = Duration::from_millis(100);
/// Those who returned stay for this long: whoever was taken in by mistake has been closed by then.
const STAY: Duration = Duration::from_secs(1);

/// The subcommand; false when something that must be zero is not.
pub(crate) fn run(args: &StormArgs) -> Result<bool, String> {
    let found = measure(args, Progress::new(&args.machine))?;
    report::finish(&args.machine, record::record(&found)?)?;
    let are_all_back =
        |back: &Report| back.connections == found.returning && back.closed_by_server.is_empty();
    Ok(found.back.as_ref().is_none_or(are_all_back) && found.newcomers_failed == 0)
}

/// A whole run; prints no result.
pub(crate) fn measure(args: &StormArgs, progress: Progress) -> Result<Found, String> {
    let load = FanoutArgs { idle: true, ..FanoutArgs::of(&args.server, &args.load, 1.0, &args.machine) };
    let mut session = Session::open(&load, progress)?;
    let before = session.before;
    session.connect(&load)?;
    let connect = session.connect_time().as_secs_f64();
    let opened = session.connections()?.open();
    session.hold(Duration::from_secs_f64(args.load.seconds));
    let mut found = Found {
        connections: opened,
        connect_seconds: connect,
        connects_per_s: opened as f64 / connect.max(1e-9),
        ..Found::default()
    };
    if let Some(why) = session.gateway.died() {
        return Err(why);
    }
    let connected = session.gateway.memory();
    leave(args, &mut found, &mut session)?;
    if let Some(why) = session.gateway.died() {
        return Err(why);
    }
    let watched = session.gateway.memory();
    let mut returning = load;
    returning.load.connections = args.returning.unwrap_or(args.load.connections);
    returning.arrival = Arrival::AtOnce;
    found.returning = u64::from(returning.load.connections);
    let do_return = !process::interrupted();
    if do_return {
        session.connect(&returning)?;
        session.hold(STAY);
    }
    let mut back = session.finish(&returning, None)?;
    found.series = std::mem::take(&mut back.series);
    let after = back.memory.filter(|_| do_return).map(|memory| memory.after_load);
    found.memory = [before, connected, watched, after].into_iter().flatten().collect();
    found.back = do_return.then_some(back);
    Ok(found)
}

/// Everybody leaves; then the server is watched.
fn leave(args: &StormArgs, found: &mut Found, session: &mut Session) -> Result<(), String> {
    let Some(receivers) = session.receivers.take() else { return Ok(()) };
    let begin = Instant::now();
    let leaving = std::thread::Builder::new().name("leaving".into()).spawn(move || receivers.join());
    let leaving = leaving.map_err(|e| format!("cannot start a thread: {e}"))?;
    let time = Duration::from_secs_f64(args.watch);
    session.watch.progress.stage("everybody leaves", Goal::Time(time));
    let mut newcomers = Recorder::default();
    while begin.elapsed() < time && !process::interrupted() {
        match probe::handshake(&session.plan) {
            Ok(took) => newcomers.record(took.as_micros() as u64),
            Err(why) => {
                found.newcomers_failed += 1;
                found.first_failure.get_or_insert(why);
            }
        }
        if leaving.is_finished() {
            look_back(found, session, begin.elapsed().as_secs_f64());
        }
        session.watch.left(&session.gateway);
        std::thread::sleep(LOOK);
    }
    found.watched_seconds = begin.elapsed().as_secs_f64();
    found.newcomers = newcomers.percentiles();
    found.distributions.push(Distribution::of("newcomer's handshake", &newcomers));
    leaving.join().map_err(|_| "the thread that leaves panicked".to_owned())??;
    Ok(())
}

/// Notes what has come true since the last look.
fn look_back(found: &mut Found, session: &Session, at: f64) {
    if found.leave_seconds == 0.0 {
        found.leave_seconds = at;
    }
    // The newcomer may still be on its way out.
    if found.empty_after_seconds.is_none() && session.gateway.connections().is_some_and(|count| count <= 1.0)
    {
        found.empty_after_seconds = Some(at);
    }
    let back = |(now, before): (Memory, Memory)| now.rss as f64 <= BACK * before.rss as f64;
    let memory = session.gateway.memory().zip(session.before);
    if found.memory_back_after_seconds.is_none() && memory.is_some_and(back) {
        found.memory_back_after_seconds = Some(at);
    }
}
