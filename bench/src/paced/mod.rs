//! One paced push, seen from the devices: how even it is, how soon a change of its rate is in force, and whether what
//! it tells of itself is true.
//!
//! Connect · rest · begin the push · look at it, change its rate half-way · wait for the end · judge. *Not here*: the
//! devices (`connect`, `crew`), the judgement (`judge`), traffic beside it (`beside`).

pub(crate) mod api;
mod args;
mod beside;
mod connect;
pub(crate) mod crew;
pub(crate) mod device;
mod found;
mod judge;
pub(crate) mod message;
mod plan;
mod push;
mod record;
mod windows;

use std::time::{Duration, Instant};

use serde_json::json;

use crate::clock::micros;
use crate::gateway::Gateway;
use crate::progress::{Goal, Progress};
use crate::report;
use crate::sys::process;
use api::{Api, Steered};
pub(crate) use args::PacedArgs;
pub(crate) use connect::{LOOK, connect};
use crew::{Crew, Notes};
use found::Found;
use judge::{Bounds, Course};
use push::{body, wait_over};

/// What has been sent arrives within it, and a push that is over says so.
const ARRIVES_WITHIN: Duration = Duration::from_secs(2);
/// Beside what a push takes at its rate; a push that is later than that is not waited for.
const LATE: Duration = Duration::from_secs(10);

/// The subcommand; false when a promise was broken.
pub(crate) fn run(args: &PacedArgs) -> Result<bool, String> {
    args.check()?;
    if args.beside {
        return beside::run(args);
    }
    let found = measure(args)?;
    let record = record::record(args, &found)?;
    let kept = found.judgement.broken.is_empty();
    report::finish(&args.machine, record)?;
    Ok(kept)
}

fn measure(args: &PacedArgs) -> Result<Found, String> {
    let progress = Progress::new(&args.machine);
    let mut gateway = Gateway::from_args(&args.server, None)?;
    let (crew, course) = push(args, &gateway, &progress).map_err(|why| gateway.or_died(why))?;
    progress.clear();
    let notes = crew.finish()?;
    Ok(found(args, course, &notes))
}

fn push(args: &PacedArgs, gateway: &Gateway, progress: &Progress) -> Result<(Crew, Course), String> {
    let rooms = (0..args.connections).map(|_| vec![0]);
    let crew = connect(&args.machine, gateway, (&args.topic, args.bytes as usize), rooms, progress)?;
    let course = watch(args, gateway, &crew, progress)?;
    Ok((crew, course))
}

fn watch(args: &PacedArgs, gateway: &Gateway, crew: &Crew, progress: &Progress) -> Result<Course, String> {
    let devices = u64::from(args.connections);
    progress.stage("pushing", Goal::Count(devices));
    let mut api = Api::new(&gateway.api);
    let asked_us = crew.now_us();
    let id = api.begin(&body(args)?)?;
    let mut change_at = args.change_at().map(|s| asked_us + micros(s));
    let slowest = if args.steady { args.rate } else { args.rate.min(args.change_to) };
    let late = Instant::now() + Duration::from_secs_f64(devices as f64 / slowest) + LATE;
    let (mut polls, mut change) = (Vec::new(), None);
    let mut next_poll = asked_us;
    let mut interrupted = false;
    let last = loop {
        let now = crew.now_us();
        if process::interrupted() {
            // A server that runs on would serve everybody who is left.
            interrupted = matches!(api.cancel(&id)?, Steered::Push(_));
            break wait_over(&mut api, &id)?;
        }
        if change_at.is_some_and(|at| now >= at) {
            change_at = None;
            if let Steered::Push(_) = api.change(&id, &json!({"rate": args.change_to}))? {
                change = Some((now, crew.now_us()));
            }
        } else if now >= next_poll {
            next_poll = now + args.poll_ms * 1_000;
            let push = api.get(&id)?;
            // What it says is of some moment between question and answer.
            polls.push((u64::midpoint(now, crew.now_us()), push.clone()));
            if push.is_over() || Instant::now() > late {
                break push;
            }
        }
        progress.update(crew.messages(), || format!("{} looks", polls.len()));
        std::thread::sleep(LOOK);
    };
    let arrived_by = Instant::now() + ARRIVES_WITHIN;
    while crew.messages() < last.sent && Instant::now() < arrived_by {
        std::thread::sleep(LOOK);
    }
    // Whoever gets it twice may get it a moment later.
    std::thread::sleep(Duration::from_millis(200));
    let (rate, change_to) = (args.rate, args.change_to);
    Ok(Course { asked_us, change, rate, change_to, polls, last, devices, interrupted })
}

fn found(args: &PacedArgs, course: Course, notes: &Notes) -> Found {
    let bounds = Bounds {
        second_percent: args.second_percent,
        tenth_percent: args.tenth_percent,
        in_force_us: micros(args.in_force_ms / 1000.0),
        eta_percent: args.eta_percent,
        eta_from_us: micros(args.eta_from),
    };
    let mut has = vec![false; args.connections as usize];
    let (mut arrivals, mut duplicates) = (Vec::with_capacity(notes.sightings.len()), 0);
    for sighting in &notes.sightings {
        if std::mem::replace(&mut has[sighting.device as usize], true) {
            duplicates += 1;
        } else {
            arrivals.push(sighting.at_us);
        }
    }
    let mut judgement = judge::judge(&course, &arrivals, bounds);
    if args.change_at().is_some() && course.change.is_none() && !course.interrupted {
        judgement.broken.push("the push was over before its rate could be changed".into());
    }
    if duplicates > 0 {
        judgement.broken.push(format!("{duplicates} devices had the message again"));
    }
    if let Some(why) = &notes.malformed {
        judgement.broken.push(format!("{} frames were not what was published: {why}", notes.malformed_count));
    }
    for ended in notes.ended.iter().take(3) {
        judgement.broken.push(format!("device {} was ended: {:?}", ended.device, ended.how));
    }
    Found {
        course,
        judgement,
        duplicates,
        malformed: notes.malformed_count,
        crew_cpu_percent: notes.cpu_percent,
        arrivals,
    }
}
