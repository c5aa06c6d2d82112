//! The ledgers against what the devices saw, to the message.
//!
//! A *copy* is a push on one device by one of its rooms, whole when all its messages came: the ledger's unit. A device
//! that stays, or says goodbye and reads to the end, has every copy that the kernel took. One that resets its connection
//! may leave unread what the kernel took: those copies, at most all that the push owed it, are the only difference that
//! is allowed, and it is told. Pure. *Not here*: how it was made (`super`).

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::script::{Asked, Event, Script};
use crate::paced::api::Push;
use crate::paced::crew::Notes;
use crate::paced::device::End;
use crate::paced::message::EVERYBODY;

/// Sentences of one kind that are told; more of them say the same.
const TOLD_MAX: usize = 5;

/// What a run left behind, beside its script.
pub(super) struct Evidence<'a> {
    pub(super) script: &'a Script,
    /// Pushes that were begun, in the order of their begin: number, last word.
    pub(super) ledgers: Vec<(usize, Push)>,
    pub(super) notes: &'a Notes,
}

/// One push, both ways.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Line {
    pub(super) number: usize,
    pub(super) asked: Asked,
    pub(super) ledger: Push,
    /// Whole copies on devices that read to the end.
    pub(super) received: u64,
    /// Whole copies on devices that reset their connection.
    pub(super) received_by_killed: u64,
    /// Copies sent that a device which reset its connection did not read.
    pub(super) unread_by_killed: u64,
    /// How many those could be.
    pub(super) unread_at_most: u64,
}

/// What the audit found.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Audit {
    pub(super) lines: Vec<Line>,
    pub(super) messages: u64,
    pub(super) duplicates: u64,
    pub(super) reorders: u64,
    pub(super) strays: u64,
    /// Copies of which a device that reads to the end has a part.
    pub(super) torn: u64,
    pub(super) killed: u64,
    pub(super) left: u64,
    pub(super) broken: Vec<String>,
}

/// Compares.
pub(super) fn audit(evidence: &Evidence<'_>) -> Audit {
    let mut audit = Audit { messages: evidence.notes.sightings.len() as u64, ..Audit::default() };
    let killed = fates(evidence, &mut audit);
    let ever = ever_in(evidence.script);
    let copies = copies(evidence, &ever, &mut audit);
    for (number, ledger) in &evidence.ledgers {
        let asked = &evidence.script.pushes[*number];
        let line = line(*number, asked, ledger, &copies, &killed, &ever);
        if audit.broken.len() < 40 {
            check(&line, evidence.script, &mut audit.broken);
        }
        audit.lines.push(line);
    }
    for ((device, _, push), messages) in &copies {
        let whole = evidence.script.pushes[*push as usize].messages as usize;
        audit.torn += u64::from(messages.len() != whole && !killed.contains(device));
    }
    for (count, what) in [
        (audit.duplicates, "messages came again"),
        (audit.reorders, "messages came behind a later one of their topic and lane"),
        (audit.strays, "messages came to devices that were never in their topic"),
        (audit.torn, "copies lack a message though their device read to the end"),
    ] {
        if count > 0 {
            audit.broken.push(format!("{count} {what}"));
        }
    }
    audit
}

/// Who reset its connection; a device that the server ended is a fault.
fn fates(evidence: &Evidence<'_>, audit: &mut Audit) -> HashSet<u32> {
    let mut killed = HashSet::new();
    let mut ended = 0;
    for gone in &evidence.notes.ended {
        match &gone.how {
            End::Killed => {
                killed.insert(gone.device);
            }
            End::Left => audit.left += 1,
            End::Server(how) => {
                ended += 1;
                if ended <= TOLD_MAX {
                    audit.broken.push(format!("the server ended device {}: {how}", gone.device));
                }
            }
        }
    }
    audit.killed = killed.len() as u64;
    if let Some(why) = &evidence.notes.malformed {
        audit
            .broken
            .push(format!("{} frames were not what was published: {why}", evidence.notes.malformed_count));
    }
    killed
}

/// Device and room, for every room that it was ever in.
fn ever_in(script: &Script) -> HashSet<(u32, u32)> {
    let mut ever = HashSet::new();
    let mut note = |device: u32, rooms: &[u32]| {
        ever.extend(rooms.iter().chain([&EVERYBODY]).map(|room| (device, *room)));
    };
    for (device, rooms) in (0..).zip(&script.rooms) {
        note(device, rooms);
    }
    for (_, event) in &script.events {
        match event {
            Event::Join(device, room) => note(*device, &[*room]),
            Event::Open(device, rooms) => note(*device, rooms),
            _ => {}
        }
    }
    ever
}

type Copies = HashMap<(u32, u32, u32), HashSet<u32>>;

/// The messages of every copy; counts what came twice, in the wrong order, or to the wrong device.
fn copies(evidence: &Evidence<'_>, ever: &HashSet<(u32, u32)>, audit: &mut Audit) -> Copies {
    let mut copies = Copies::new();
    let places: HashMap<usize, usize> =
        evidence.ledgers.iter().enumerate().map(|(place, (number, _))| (*number, place)).collect();
    let mut last: HashMap<(u32, u32, bool), (usize, u32)> = HashMap::new();
    for seen in &evidence.notes.sightings {
        let place = places.get(&(seen.push as usize));
        let asked = evidence.script.pushes.get(seen.push as usize);
        let (Some(place), Some(asked)) = (place, asked) else {
            audit.strays += 1;
            continue;
        };
        if !asked.to.contains(&seen.room) || !ever.contains(&(seen.device, seen.room)) {
            audit.strays += 1;
            continue;
        }
        if !copies.entry((seen.device, seen.room, seen.push)).or_default().insert(seen.message) {
            audit.duplicates += 1;
            continue;
        }
        let now = (*place, seen.message);
        let before = last.insert((seen.device, seen.room, asked.is_urgent), now);
        audit.reorders += u64::from(before.is_some_and(|before| before > now));
    }
    copies
}

fn line(
    number: usize,
    asked: &Asked,
    ledger: &Push,
    copies: &Copies,
    killed: &HashSet<u32>,
    ever: &HashSet<(u32, u32)>,
) -> Line {
    let whole =
        |key: &(u32, u32, u32)| copies.get(key).is_some_and(|all| all.len() == asked.messages as usize);
    let mine = copies.keys().filter(|key| key.2 as usize == number && whole(key));
    let (mut received, mut received_by_killed) = (0, 0);
    for (device, _, _) in mine {
        *(if killed.contains(device) { &mut received_by_killed } else { &mut received }) += 1;
    }
    let owed = ever.iter().filter(|(device, room)| killed.contains(device) && asked.to.contains(room));
    let unread_at_most =
        owed.filter(|(device, room)| !whole(&(*device, *room, number as u32))).count() as u64;
    Line {
        number,
        asked: asked.clone(),
        ledger: ledger.clone(),
        received,
        received_by_killed,
        unread_by_killed: ledger.sent.saturating_sub(received + received_by_killed),
        unread_at_most,
    }
}

fn check(line: &Line, script: &Script, broken: &mut Vec<String>) {
    let Line { number, asked, ledger, .. } = line;
    broken.extend(ledger.imbalance());
    if !ledger.is_over() {
        // The run ended before it: what it sent since it was last looked at is in no ledger.
        return;
    }
    let seen = line.received + line.received_by_killed;
    if ledger.sent < seen {
        broken.push(format!("push {number}: {} sent by the ledger, {seen} came", ledger.sent));
    }
    if line.unread_by_killed > line.unread_at_most {
        broken.push(format!(
            "push {number}: {} sent by the ledger, {seen} came, and killed devices can have left {} unread",
            ledger.sent, line.unread_at_most
        ));
    }
    let Some(targeted) = ledger.targeted else {
        broken.push(format!("push {number}: nobody knows how many devices it was for"));
        return;
    };
    if asked.is_first {
        let each = script.rooms.iter().map(|rooms| match &asked.to[..] {
            [EVERYBODY] => 1,
            to => to.iter().filter(|room| rooms.contains(room)).count() as u64,
        });
        let wanted: u64 = each.sum();
        if targeted != wanted {
            broken.push(format!("push {number}: {targeted} devices targeted, {wanted} were there"));
        }
    }
    let allowed: &[&str] = match (asked.expires_in_s, was_cancelled(script, *number)) {
        (None, false) => &["done"],
        (None, true) => &["done", "cancelled"],
        (Some(_), false) => &["done", "expired"],
        (Some(_), true) => &["done", "cancelled", "expired"],
    };
    if !allowed.contains(&ledger.state.as_str()) {
        broken.push(format!("push {number} ended as {}, which nobody asked for", ledger.state));
    }
    for (why, count) in &ledger.failed {
        let asked_for = match why.as_str() {
            "closed" => true,
            "cancelled" => allowed.contains(&"cancelled"),
            "expired" => allowed.contains(&"expired"),
            _ => false,
        };
        if *count > 0 && !asked_for {
            broken.push(format!("push {number}: {count} devices failed as {why}"));
        }
    }
}

fn was_cancelled(script: &Script, number: usize) -> bool {
    script.events.iter().any(|(_, event)| *event == Event::Cancel(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paced::crew::{Ended, Sighting};

    fn asked(to: &[u32], messages: u32) -> Asked {
        Asked {
            to: to.to_vec(),
            messages,
            rate: None,
            ramp_s: None,
            expires_in_s: None,
            is_urgent: false,
            weight: 1,
            is_first: true,
        }
    }

    fn ledger(targeted: u64, sent: u64, closed: u64) -> Push {
        serde_json::from_value(serde_json::json!({
            "id": "a", "state": "done", "rate": null, "rate_now": null, "eta_s": null, "targeted": targeted,
            "sent": sent, "failed": {"closed": closed}, "remaining": targeted - sent - closed, "latency_ms": null
        }))
        .unwrap()
    }

    fn seen(device: u32, room: u32, push: u32, message: u32) -> Sighting {
        Sighting { at_us: 0, device, room, push, message }
    }

    /// Devices 0 in rooms 1 and 2, 1 in room 1; push 0 to both rooms, of two messages, push 1 to room 1.
    fn script() -> Script {
        Script {
            rooms: vec![vec![1, 2], vec![1]],
            pushes: vec![asked(&[1, 2], 2), asked(&[1], 1)],
            events: Vec::new(),
        }
    }

    fn all() -> Vec<Sighting> {
        let mut all = Vec::new();
        for (device, room) in [(0, 1), (0, 2), (1, 1)] {
            all.extend([seen(device, room, 0, 0), seen(device, room, 0, 1)]);
        }
        all.extend([seen(0, 1, 1, 0), seen(1, 1, 1, 0)]);
        all
    }

    fn broken(sightings: Vec<Sighting>, ended: Vec<Ended>, ledgers: [Push; 2]) -> (String, Audit) {
        let notes = Notes { sightings, ended, ..Notes::default() };
        let script = script();
        let audit = audit(&Evidence {
            script: &script,
            ledgers: ledgers.into_iter().enumerate().collect(),
            notes: &notes,
        });
        (audit.broken.join("; "), audit)
    }

    #[test]
    fn true_ledgers_break_nothing() {
        assert_eq!(broken(all(), Vec::new(), [ledger(3, 3, 0), ledger(2, 2, 0)]).0, "");
    }

    #[test]
    fn one_message_more_or_less_is_found() {
        let right = || [ledger(3, 3, 0), ledger(2, 2, 0)];
        let mut torn = all();
        torn.remove(1);
        let (why, _) = broken(torn, Vec::new(), right());
        assert!(
            why.contains("push 0: 3 sent by the ledger, 2 came") && why.contains("1 copies lack"),
            "{why}"
        );
        let mut again = all();
        again.push(seen(0, 1, 1, 0));
        assert!(broken(again, Vec::new(), right()).0.contains("1 messages came again"));
        let mut stray = all();
        stray.push(seen(1, 2, 0, 0));
        assert!(broken(stray, Vec::new(), right()).0.contains("never in their topic"));
        let mut swapped = all();
        swapped.swap(0, 1);
        assert!(broken(swapped, Vec::new(), right()).0.contains("1 messages came behind a later one"));
        let (why, _) = broken(all(), Vec::new(), [ledger(3, 2, 1), ledger(2, 2, 0)]);
        assert!(why.contains("push 0: 2 sent by the ledger, 3 came"), "{why}");
        let (why, _) = broken(all(), Vec::new(), [ledger(4, 3, 1), ledger(2, 2, 0)]);
        assert!(why.contains("push 0: 4 devices targeted, 3 were there"), "{why}");
    }

    #[test]
    fn a_killed_device_explains_what_it_did_not_read_and_no_more() {
        let mut unread = all();
        unread.retain(|seen| !(seen.device == 1 && seen.push == 1));
        let killed = || vec![Ended { device: 1, how: End::Killed }];
        let (why, audit) = broken(unread.clone(), killed(), [ledger(3, 3, 0), ledger(2, 2, 0)]);
        assert_eq!((why.as_str(), audit.lines[1].unread_by_killed), ("", 1));
        unread.retain(|seen| seen.push != 1);
        let (why, _) = broken(unread, killed(), [ledger(3, 3, 0), ledger(2, 2, 0)]);
        assert!(why.contains("push 1: 2 sent by the ledger, 0 came"), "{why}");
        let (why, _) = broken(
            all(),
            vec![Ended { device: 1, how: End::Server("4008".into()) }],
            [ledger(3, 3, 0), ledger(2, 2, 0)],
        );
        assert!(why.contains("the server ended device 1: 4008"), "{why}");
    }
}
