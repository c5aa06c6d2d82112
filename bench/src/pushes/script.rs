//! What happens in a run, and when: drawn from a seed, the same for the same arguments.
//!
//! Pure. *Not here*: doing it (`super`), what must come of it (`audit`).

use serde::Serialize;
use serde_json::{Value, json};

use super::args::PushesArgs;
use crate::clock::micros;
use crate::paced::message::{self, EVERYBODY};

/// Milliseconds that pushes which begin first have before anybody comes or goes: they know whom they are for.
const STILL_MS: u64 = 700;
/// Of ten pushes, so many begin at once.
const AT_ONCE_OF_TEN: u64 = 8;
/// Rooms of a device at first.
const ROOMS_MAX: u64 = 4;
/// Shortest pause of a push: longer than an order takes to be in force.
const PAUSE_MS: u64 = 600;

/// Random numbers of a seed (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
pub(super) struct Dice(u64);

impl Dice {
    /// Of a seed.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0, below `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    fn chance(&mut self, of_hundred: u64) -> bool {
        self.below(100) < of_hundred
    }
}

/// A push as it is asked for.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Asked {
    /// Rooms, or [`EVERYBODY`] alone.
    pub(super) to: Vec<u32>,
    pub(super) messages: u32,
    pub(super) rate: Option<f64>,
    pub(super) ramp_s: Option<f64>,
    pub(super) expires_in_s: Option<f64>,
    pub(super) is_urgent: bool,
    pub(super) weight: u32,
    /// Nobody comes or goes between its begin and its targets being known.
    pub(super) is_first: bool,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) enum Event {
    Begin(usize),
    Rate(usize, Option<f64>),
    Weight(usize, u32),
    Pause(usize),
    Resume(usize),
    Cancel(usize),
    Join(u32, u32),
    Leave(u32, u32),
    Close(u32),
    Kill(u32),
    Open(u32, Vec<u32>),
}

/// A run.
#[derive(Clone, Debug)]
pub(super) struct Script {
    /// Rooms of each device at first.
    pub(super) rooms: Vec<Vec<u32>>,
    pub(super) pushes: Vec<Asked>,
    /// By time, milliseconds.
    pub(super) events: Vec<(u64, Event)>,
}

impl Asked {
    /// The request.
    pub(super) fn body(&self, number: usize, id: &str, args: &PushesArgs) -> Result<Value, String> {
        let texts = (0..self.messages).map(|at| {
            let text = message::text(number as u32, at, args.bytes as usize);
            serde_json::from_str(&text).map_err(|e| e.to_string())
        });
        let messages: Vec<Value> = texts.collect::<Result<_, _>>()?;
        let name = |room: &u32| format!("{}-{room}", args.topic);
        let to = match &self.to[..] {
            [EVERYBODY] => json!({"all": true}),
            [room] => json!({"topic": name(room)}),
            rooms => json!({"topics": rooms.iter().map(name).collect::<Vec<_>>()}),
        };
        let mut body = json!({"to": to, "messages": messages, "id": id, "weight": self.weight});
        let lane = if self.is_urgent { "urgent" } else { "normal" };
        body["lane"] = lane.into();
        for (key, value) in
            [("rate", self.rate), ("ramp_s", self.ramp_s), ("expires_in_s", self.expires_in_s)]
        {
            if let Some(value) = value {
                body[key] = value.into();
            }
        }
        Ok(body)
    }
}

/// Draws a run.
pub(super) fn draw(args: &PushesArgs) -> Script {
    let mut dice = Dice::new(args.seed);
    let rooms: Vec<Vec<u32>> =
        (0..args.connections).map(|_| some_rooms(&mut dice, args.topics, ROOMS_MAX)).collect();
    let mut events = Vec::new();
    let span_ms = micros(args.seconds) / 1_000;
    let pushes = (0..args.pushes as usize).map(|number| {
        let is_first = (number as u64 * 10) / u64::from(args.pushes) < AT_ONCE_OF_TEN;
        let begin = if is_first { 0 } else { STILL_MS + dice.below(span_ms) };
        events.push((begin, Event::Begin(number)));
        let asked = push(&mut dice, args, is_first);
        steer(&mut dice, &asked, number, (begin, span_ms), &mut events);
        asked
    });
    let pushes = pushes.collect();
    come_and_go(&mut dice, args, &rooms, span_ms, &mut events);
    events.sort_by_key(|(at, _)| *at);
    Script { rooms, pushes, events }
}

fn some_rooms(dice: &mut Dice, topics: u32, most: u64) -> Vec<u32> {
    let mut rooms: Vec<u32> = (0..=dice.below(most)).map(|_| dice.below(u64::from(topics)) as u32).collect();
    rooms.sort_unstable();
    rooms.dedup();
    rooms
}

fn push(dice: &mut Dice, args: &PushesArgs, is_first: bool) -> Asked {
    let to = if dice.chance(10) { vec![EVERYBODY] } else { some_rooms(dice, args.topics, 3) };
    // What is for everybody takes as long as what is for a topic.
    let unit = if to == [EVERYBODY] { 100.0 } else { 20.0 };
    let rate = (!dice.chance(10)).then(|| unit * (1 + dice.below(40)) as f64);
    Asked {
        to,
        messages: 1 + dice.below(3) as u32,
        ramp_s: rate.filter(|_| dice.chance(15)).map(|_| 1.0 + dice.below(3) as f64),
        rate,
        expires_in_s: dice.chance(20).then(|| 1.0 + dice.below(50) as f64 / 10.0),
        is_urgent: dice.chance(20),
        weight: 1 + dice.below(5) as u32,
        is_first,
    }
}

/// Changes of one push on its way.
fn steer(
    dice: &mut Dice,
    asked: &Asked,
    number: usize,
    (begin, span_ms): (u64, u64),
    events: &mut Vec<(u64, Event)>,
) {
    // Below the begin's own time nothing can be asked of it.
    let at = |dice: &mut Dice| begin + 300 + dice.below(span_ms);
    if dice.chance(25) {
        let pause = at(dice);
        events.push((pause, Event::Pause(number)));
        events.push((pause + PAUSE_MS + dice.below(1_500), Event::Resume(number)));
    }
    if dice.chance(15) {
        events.push((at(dice), Event::Cancel(number)));
    }
    if dice.chance(30) {
        let rate = (!dice.chance(10)).then(|| 50.0 * (1 + dice.below(20)) as f64);
        events.push((at(dice), Event::Rate(number, rate.or(asked.rate))));
    }
    if dice.chance(20) {
        events.push((at(dice), Event::Weight(number, 1 + dice.below(100) as u32)));
    }
}

/// Devices that join, leave, say goodbye, die, and come anew.
fn come_and_go(
    dice: &mut Dice,
    args: &PushesArgs,
    at_first: &[Vec<u32>],
    span_ms: u64,
    events: &mut Vec<(u64, Event)>,
) {
    let total = u64::from(args.joins_leaves)
        + u64::from(args.goodbyes)
        + u64::from(args.kills)
        + u64::from(args.newcomers);
    let mut times: Vec<u64> = (0..total).map(|_| STILL_MS + dice.below(span_ms)).collect();
    times.sort_unstable();
    let mut rooms: Vec<Option<Vec<u32>>> = at_first.iter().cloned().map(Some).collect();
    let mut left = [args.joins_leaves, args.goodbyes, args.kills, args.newcomers];
    for at in times {
        let mut kind = dice.below(left.iter().map(|n| u64::from(*n)).sum());
        let kind = left.iter().position(|n| {
            let here = kind < u64::from(*n);
            kind = kind.wrapping_sub(u64::from(*n));
            here
        });
        let Some(kind) = kind else { break };
        left[kind] -= 1;
        if kind == 3 {
            let new = some_rooms(dice, args.topics, ROOMS_MAX);
            events.push((at, Event::Open(rooms.len() as u32, new.clone())));
            rooms.push(Some(new));
            continue;
        }
        let device = dice.below(u64::from(args.connections)) as usize;
        let Some(theirs) = &mut rooms[device] else { continue };
        let number = device as u32;
        if kind == 0 {
            let room = dice.below(u64::from(args.topics)) as u32;
            match theirs.iter().position(|here| *here == room) {
                None if dice.chance(50) || theirs.is_empty() => {
                    theirs.push(room);
                    events.push((at, Event::Join(number, room)));
                }
                position => {
                    let index = position.unwrap_or_else(|| dice.below(theirs.len() as u64) as usize);
                    events.push((at, Event::Leave(number, theirs.swap_remove(index))));
                }
            }
        } else {
            rooms[device] = None;
            events.push((at, if kind == 1 { Event::Close(number) } else { Event::Kill(number) }));
        }
    }
}
