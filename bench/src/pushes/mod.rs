//! Many pushes at once on topics that overlap, steered, while devices join, leave, die and come anew; in the end every
//! ledger against what the devices saw.
//!
//! Connect · rest · play the script, look at all pushes meanwhile · wait until all are over · audit. *Not here*: what
//! happens (`script`), what must come of it (`audit`), the devices (`paced::crew`).

mod args;
mod audit;
mod found;
mod record;
mod script;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::http::Client;
use crate::paced::api::{Api, Push, Steered};
use crate::paced::crew::{Crew, Order};
use crate::paced::{LOOK, connect};
use crate::progress::{Goal, Progress};
use crate::report;
use crate::sys::process;
pub(crate) use args::PushesArgs;
use audit::Evidence;
use found::Found;
use script::{Event, Script};

/// Between two looks at all pushes.
const POLL: Duration = Duration::from_millis(100);
/// A pause is in force by then.
const PAUSED_WITHIN: Duration = Duration::from_millis(150);
/// What was sent arrives within it.
const ARRIVES_WITHIN: Duration = Duration::from_millis(500);
/// Faults of one kind that are told.
const TOLD_MAX: usize = 10;

/// What is known of a push while it runs.
#[derive(Default)]
struct Known {
    id: String,
    sent: u64,
    failed: u64,
    targeted: Option<u64>,
    /// When it was told to stand still, and what was sent once that was in force.
    paused: Option<(Instant, Option<u64>)>,
    last: Option<Push>,
}

/// The subcommand; false when a ledger is not what the devices saw.
pub(crate) fn run(args: &PushesArgs) -> Result<bool, String> {
    if !(args.seconds > 0.0 && args.drain > 0.0) {
        return Err("--seconds and --drain must be above zero".into());
    }
    if !args.machine.quiet {
        crate::progress::tell(&format!("seed {}", args.seed));
    }
    let found = measure(args)?;
    let right = found.audit.broken.is_empty();
    report::finish(&args.machine, record::record(args, &found))?;
    Ok(right)
}

fn measure(args: &PushesArgs) -> Result<Found, String> {
    let progress = Progress::new(&args.machine);
    let script = script::draw(args);
    let mut gateway = Gateway::from_args(&args.server, None)?;
    measure_on(args, &script, &gateway, &progress).map_err(|why| gateway.or_died(why))
}

fn measure_on(
    args: &PushesArgs,
    script: &Script,
    gateway: &Gateway,
    progress: &Progress,
) -> Result<Found, String> {
    let rooms = script.rooms.iter().cloned();
    let crew = connect(&args.machine, gateway, (&args.topic, args.bytes as usize), rooms, progress)?;
    set_cap(gateway, args.cap, args.cap.is_some())?;
    let mut play = Play {
        args,
        script,
        crew: &crew,
        api: Api::new(&gateway.api),
        known: HashMap::new(),
        order: Vec::new(),
        broken: Vec::new(),
        polls: 0,
        steered: 0,
        too_late: 0,
        sent: Vec::new(),
    };
    play.run(progress)?;
    set_cap(gateway, None, args.cap.is_some())?;
    std::thread::sleep(ARRIVES_WITHIN);
    let Play { known, order, broken, polls, steered, too_late, sent, .. } = play;
    progress.clear();
    let notes = crew.finish()?;
    let ledgers = order.iter().filter_map(|number| Some((*number, known[number].last.clone()?))).collect();
    let mut audit = audit::audit(&Evidence { script, ledgers, notes: &notes });
    audit.broken.splice(0..0, broken);
    Ok(Found { audit, polls, steered, too_late, sent })
}

/// Caps all pushes together, or takes the cap away again.
fn set_cap(gateway: &Gateway, cap: Option<f64>, is_wanted: bool) -> Result<(), String> {
    if !is_wanted {
        return Ok(());
    }
    let body = json!({"pacing.rate": cap}).to_string();
    let answer = Client::new(&gateway.api).send_json("PATCH", "/v1/config", body.as_bytes());
    match answer {
        Ok(answer) if answer.status == 200 => Ok(()),
        Ok(answer) => {
            Err(format!("the server answered PATCH /v1/config with {}: {}", answer.status, answer.body))
        }
        Err(e) => Err(format!("PATCH /v1/config: {e}")),
    }
}

struct Play<'a> {
    args: &'a PushesArgs,
    script: &'a Script,
    crew: &'a Crew,
    api: Api,
    known: HashMap<usize, Known>,
    /// Numbers of pushes in the order in which they were accepted.
    order: Vec<usize>,
    broken: Vec<String>,
    polls: u64,
    steered: u64,
    too_late: u64,
    sent: Vec<(f64, f64)>,
}

impl Play<'_> {
    fn run(&mut self, progress: &Progress) -> Result<(), String> {
        let pushes = self.script.pushes.len();
        progress.stage("pushes", Goal::Open);
        let mut events = self.script.events.iter().peekable();
        let begin = Instant::now();
        let (mut next_poll, mut moved, mut before) = (begin, begin, 0);
        while !process::interrupted() {
            let elapsed_ms = begin.elapsed().as_millis() as u64;
            while let Some((_, event)) = events.next_if(|(at, _)| *at <= elapsed_ms) {
                self.step(event)?;
            }
            let now = Instant::now();
            if now >= next_poll {
                next_poll = now + POLL;
                let over = self.poll(begin.elapsed().as_secs_f64())?;
                let sent: u64 = self.known.values().map(|known| known.sent + known.failed).sum();
                if sent > before || events.peek().is_some() {
                    (moved, before) = (now, sent);
                }
                if over == pushes && events.peek().is_none() {
                    return Ok(());
                }
                if moved.elapsed().as_secs_f64() > self.args.drain {
                    self.broken.push(format!("{} pushes are not over, and nothing moves", pushes - over));
                    return Ok(());
                }
                progress.update(self.crew.messages(), || format!("{over} of {pushes} over"));
            }
            if let Some(why) = self.crew.failure() {
                return Err(why);
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    fn step(&mut self, event: &Event) -> Result<(), String> {
        let order = match event {
            Event::Begin(number) => return self.begin(*number),
            Event::Rate(number, rate) => return self.steer(*number, &json!({"rate": rate})),
            Event::Weight(number, weight) => return self.steer(*number, &json!({"weight": weight})),
            Event::Pause(number) => return self.pause(*number),
            Event::Resume(number) => {
                if let Some(known) = self.known.get_mut(number) {
                    known.paused = None;
                }
                return self.steer(*number, &json!({"state": "running"}));
            }
            Event::Cancel(number) => return self.cancel(*number),
            Event::Join(device, room) => Order::Join(*device, *room),
            Event::Leave(device, room) => Order::Leave(*device, *room),
            Event::Close(device) => Order::Close(*device),
            Event::Kill(device) => Order::Kill(*device),
            Event::Open(device, rooms) => Order::Open(*device, rooms.clone()),
        };
        self.crew.order(order)
    }

    fn begin(&mut self, number: usize) -> Result<(), String> {
        let name = format!("{}-{}-{number}", self.args.topic, std::process::id());
        let id = self.api.begin(&self.script.pushes[number].body(number, &name, self.args)?)?;
        self.order.push(number);
        self.known.insert(number, Known { id, ..Known::default() });
        Ok(())
    }

    fn steer(&mut self, number: usize, change: &Value) -> Result<(), String> {
        let Some(known) = self.known.get(&number) else { return Ok(()) };
        let steered = self.api.change(&known.id, change)?;
        self.note(&steered);
        Ok(())
    }

    fn pause(&mut self, number: usize) -> Result<(), String> {
        self.steer(number, &json!({"state": "paused"}))?;
        if let Some(known) = self.known.get_mut(&number) {
            known.paused = Some((Instant::now(), None));
        }
        Ok(())
    }

    fn cancel(&mut self, number: usize) -> Result<(), String> {
        let Some(known) = self.known.get(&number) else { return Ok(()) };
        let steered = self.api.cancel(&known.id)?;
        self.note(&steered);
        Ok(())
    }

    fn note(&mut self, steered: &Steered) {
        match steered {
            Steered::Over => self.too_late += 1,
            Steered::Push(push) => {
                self.steered += 1;
                self.broken.extend(push.imbalance());
            }
        }
    }

    /// Looks at all of them; how many are over.
    fn poll(&mut self, at_s: f64) -> Result<usize, String> {
        let asked = Instant::now();
        let all = self.api.all()?;
        self.polls += 1;
        let mut by_id: HashMap<String, Push> =
            all.running.into_iter().chain(all.recent).map(|push| (push.id.clone(), push)).collect();
        let mut faults = Vec::new();
        let mut over = 0;
        for (number, known) in &mut self.known {
            let Some(push) = by_id.remove(&known.id) else {
                faults.push(format!("push {number} is in no list"));
                continue;
            };
            faults.extend(push.imbalance());
            faults.extend(known.look(*number, &push, asked));
            over += usize::from(push.is_over());
            known.last = Some(push);
        }
        let room = TOLD_MAX.saturating_sub(self.broken.len());
        self.broken.extend(faults.into_iter().take(room));
        self.sent.push((at_s, self.known.values().map(|known| known.sent as f64).sum()));
        Ok(over)
    }
}

impl Known {
    /// What cannot be, against the look before.
    fn look(&mut self, number: usize, push: &Push, asked: Instant) -> Option<String> {
        let (sent, failed) = (push.sent, push.failed());
        let wrong = if sent < self.sent || failed < self.failed {
            Some(format!("push {number}: sent or failed became less"))
        } else if self.targeted.is_some() && self.targeted != push.targeted {
            Some(format!("push {number}: targeted changed from {:?} to {:?}", self.targeted, push.targeted))
        } else {
            None
        };
        (self.sent, self.failed, self.targeted) = (sent, failed, push.targeted);
        let moved = match &mut self.paused {
            Some((since, still)) if asked.duration_since(*since) >= PAUSED_WITHIN => {
                let was = *still.get_or_insert(sent);
                (was != sent)
                    .then(|| format!("push {number} went on from {was} to {sent} while it was paused"))
            }
            _ => None,
        };
        wrong.or(moved)
    }
}
