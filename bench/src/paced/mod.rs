//! One paced push, seen from the devices: how even it is, how soon a change of its rate is in force, and whether what
//! it tells of itself is true.
//!
//! Connect · rest · begin the push · look at it, change its rate half-way · wait for the end · judge. *Not here*: the
//! devices (`crew`), the judgement (`judge`), traffic beside it (`beside`).

pub(crate) mod api;
mod args;
mod beside;
pub(crate) mod crew;
pub(crate) mod device;
mod judge;
pub(crate) mod message;
mod record;
mod windows;

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;

use crate::args::Machine;
use crate::gateway::Gateway;
use crate::progress::{Goal, Progress};
use crate::report;
use crate::sys::process;
use api::{Api, Push, Steered};
pub(crate) use args::PacedArgs;
use crew::{Crew, Notes, Order, Plan};
use judge::{Bounds, Course, Judgement};

/// Connections are members a moment after their upgrade.
pub(crate) const SETTLE: Duration = Duration::from_secs(1);
/// Pause of a loop that waits.
pub(crate) const LOOK: Duration = Duration::from_millis(2);
/// What has been sent arrives within it, and a push that is over says so.
const ARRIVES_WITHIN: Duration = Duration::from_secs(2);
/// A push that was cancelled is over within it.
const CANCELLED_WITHIN: Duration = Duration::from_secs(5);
/// A gateway that ends closes its sockets a while before its process is gone.
const GONE_WITHIN: Duration = Duration::from_millis(500);
/// Beside what a push takes at its rate; a push that is later than that is not waited for.
const LATE: Duration = Duration::from_secs(10);
/// Devices of which a push is one file each, and some more.
const SPARE_FILES: u64 = 200;

/// What a run found.
#[derive(Clone, Debug, Serialize)]
struct Found {
    course: Course,
    judgement: Judgement,
    /// Copies beyond the first on a device; a push of one message has no order.
    duplicates: u64,
    malformed: u64,
    crew_cpu_percent: f64,
    #[serde(skip)]
    arrivals: Vec<u64>,
}

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

fn measure(args: &PacedArgs) -> Result<Found, String> {
    let progress = Progress::new(&args.machine);
    let mut gateway = Gateway::from_args(&args.server, None)?;
    let (crew, course) = push(args, &gateway, &progress).map_err(|why| or_died(&mut gateway, why))?;
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

/// Why a run could not be made: that the gateway ended, when it did, and not what was noticed of it first.
pub(crate) fn or_died(gateway: &mut Gateway, why: String) -> String {
    let until = Instant::now() + GONE_WITHIN;
    loop {
        match gateway.died() {
            Some(died) => return died,
            None if Instant::now() > until => return why,
            None => std::thread::sleep(LOOK),
        }
    }
}

/// Microseconds of some seconds; none when they are negative.
pub(crate) fn micros(seconds: f64) -> u64 {
    Duration::try_from_secs_f64(seconds).unwrap_or_default().as_micros() as u64
}

/// The push's body.
fn body(args: &PacedArgs) -> Result<serde_json::Value, String> {
    let text = message::text(0, 0, args.bytes as usize);
    let message: serde_json::Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    Ok(json!({"to": {"topic": format!("{}-0", args.topic)}, "messages": [message], "rate": args.rate}))
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

/// The last word of a push that was cancelled.
fn wait_over(api: &mut Api, id: &str) -> Result<Push, String> {
    let until = Instant::now() + CANCELLED_WITHIN;
    loop {
        let push = api.get(id)?;
        if push.is_over() {
            // What it has sent is on its way for a moment.
            std::thread::sleep(SETTLE);
            return Ok(push);
        }
        if Instant::now() > until {
            return Err(format!("push {id} was cancelled and is still {}", push.state));
        }
        std::thread::sleep(LOOK);
    }
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
