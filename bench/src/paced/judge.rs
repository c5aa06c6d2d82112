//! What devices saw of one paced push, held against what was promised of it.
//!
//! Pure: times are microseconds of the crew's clock. *Not here*: how it was watched (`super`).

use serde::Serialize;

use super::api::Push;
use super::windows::{self, count};

/// Windows of the two bands.
pub(crate) const SECOND_US: u64 = 1_000_000;
/// See [`SECOND_US`].
pub(crate) const TENTH_US: u64 = 100_000;
/// An ETA is told in tenths of a second, and a look at a push and its answer are not the same moment.
const ETA_GRAIN_S: f64 = 0.1;
/// What the ledger's histogram resolves, and the way from the kernel to a device.
const LATENCY_SHARE: f64 = 1.0 / 16.0;
/// See [`LATENCY_SHARE`].
const LATENCY_GRAIN_MS: f64 = 20.0;

/// What was done with the push, and what it said.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Course {
    /// When it was asked for.
    pub(crate) asked_us: u64,
    /// When its rate was changed: asked for and answered.
    pub(crate) change: Option<(u64, u64)>,
    /// Devices a second before the change.
    pub(crate) rate: f64,
    /// And behind it.
    pub(crate) change_to: f64,
    /// Looks at it.
    pub(crate) polls: Vec<(u64, Push)>,
    /// Its last word.
    pub(crate) last: Push,
    /// Devices that were there.
    pub(crate) devices: u64,
    /// Ctrl-C cancelled it: what it would have come to is not known.
    pub(crate) interrupted: bool,
}

/// What is allowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) second_percent: f64,
    pub(crate) tenth_percent: f64,
    pub(crate) in_force_us: u64,
    pub(crate) eta_percent: f64,
    pub(crate) eta_from_us: u64,
}

/// The least and the most of all windows of one kind, as shares of the rate.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Spread {
    /// "any second", "any 100 ms".
    pub(crate) window: &'static str,
    /// "at 500/s", "with the change in it", "whole push".
    pub(crate) of: String,
    pub(crate) least: f64,
    pub(crate) most: f64,
    pub(crate) allowed: (f64, f64),
}

impl Spread {
    fn is_kept(&self) -> bool {
        // A share of a share: the last digit is rounding.
        self.least >= self.allowed.0 - 1e-9 && self.most <= self.allowed.1 + 1e-9
    }
}

/// One ETA against what came true.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Eta {
    /// Seconds of the push.
    pub(crate) at_s: f64,
    /// Seconds that were left by the ETA, and in truth.
    pub(crate) said_s: f64,
    pub(crate) left_s: f64,
    /// Of what was left, beyond the grain of the answer; 0.05 is 5 %.
    pub(crate) off: f64,
    /// Whether it is late enough to be judged.
    pub(crate) counts: bool,
}

/// The judgement.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Judgement {
    pub(crate) spreads: Vec<Spread>,
    /// From the answer to the change until the first tenth of a second at the new rate.
    pub(crate) in_force_ms: Option<f64>,
    pub(crate) etas: Vec<Eta>,
    /// First, p50, p99 and last by the ledger, and by the devices, milliseconds.
    pub(crate) latencies: Vec<(&'static str, f64, f64)>,
    /// A sentence for each promise that was broken.
    pub(crate) broken: Vec<String>,
}

/// Judges; `arrivals` are sorted.
pub(crate) fn judge(course: &Course, arrivals: &[u64], bounds: Bounds) -> Judgement {
    let mut judgement = Judgement::default();
    judgement.broken.extend(course.polls.iter().filter_map(|(_, push)| push.imbalance()).take(3));
    judgement.broken.extend(course.last.imbalance());
    if let (Some(first), Some(last)) = (arrivals.first().copied(), arrivals.last().copied()) {
        // The last arrival is in no window that ends with it.
        let span = (first, last + 1);
        evenness(&mut judgement, course, arrivals, span, bounds);
        change(&mut judgement, course, arrivals, span, bounds);
        if !course.interrupted {
            etas(&mut judgement, course, arrivals, bounds);
            ledger(&mut judgement, course, arrivals);
        }
    } else if !course.interrupted {
        judgement.broken.push("nothing arrived".into());
    }
    judgement
}

fn evenness(
    judgement: &mut Judgement,
    course: &Course,
    arrivals: &[u64],
    (first, end): (u64, u64),
    bounds: Bounds,
) {
    let kinds = [
        ("any second", SECOND_US, bounds.second_percent / 100.0),
        ("any 100 ms", TENTH_US, bounds.tenth_percent / 100.0),
    ];
    for (name, window, off) in kinds {
        let mut add = |of: String, span: (u64, u64), (low, high): (f64, f64), by: f64| {
            let Some((least, most)) = windows::extremes(arrivals, span, window) else { return };
            let share = |count: u64| count as f64 * 1e6 / window as f64 / by;
            let allowed = ((low / by) * (1.0 - off), (high / by) * (1.0 + off));
            let spread = Spread { window: name, of, least: share(least), most: share(most), allowed };
            judgement.spreads.push(spread);
        };
        let rate = course.rate;
        match course.change {
            None => add(format!("at {rate}/s"), (first, end), (rate, rate), rate),
            Some((asked, answered)) => {
                let (to, settled) = (course.change_to, answered + bounds.in_force_us);
                add(format!("at {rate}/s"), (first, asked), (rate, rate), rate);
                add(format!("at {to}/s"), (settled, end), (to, to), to);
                let across = (asked.saturating_sub(window).max(first), (settled + window).min(end));
                add("with the change in it".into(), across, (rate.min(to), rate.max(to)), rate);
            }
        }
        // Windows that reach over the ends have less than the rate, and never more.
        let fastest = if course.change.is_some() { rate.max(course.change_to) } else { rate };
        let around = (first.saturating_sub(window), end + window);
        add("with the ends".into(), around, (0.0, fastest), fastest);
    }
    for spread in judgement.spreads.iter().filter(|spread| !spread.is_kept()) {
        judgement.broken.push(format!(
            "{}, {}: from {:.1} % to {:.1} % of the rate; allowed are {:.1} % to {:.1} %",
            spread.window,
            spread.of,
            spread.least * 100.0,
            spread.most * 100.0,
            spread.allowed.0 * 100.0,
            spread.allowed.1 * 100.0
        ));
    }
}

/// When the new rate was in force.
fn change(
    judgement: &mut Judgement,
    course: &Course,
    arrivals: &[u64],
    (_, end): (u64, u64),
    bounds: Bounds,
) {
    let Some((_, answered)) = course.change else { return };
    // There was no time for it.
    if course.interrupted && end < answered + bounds.in_force_us + TENTH_US {
        return;
    }
    let (to, off) = (course.change_to * TENTH_US as f64 / 1e6, bounds.tenth_percent / 100.0);
    let band = (to * (1.0 - off), to * (1.0 + off));
    let in_force = windows::in_force(arrivals, answered, TENTH_US, band).map(|at| at - answered);
    judgement.in_force_ms = in_force.map(|us| us as f64 / 1000.0);
    if in_force.is_none_or(|us| us > bounds.in_force_us) {
        judgement.broken.push(match judgement.in_force_ms {
            Some(ms) => format!("the new rate was in force {ms:.0} ms after the answer to the change"),
            None => "the new rate was never in force".into(),
        });
    }
}

fn etas(judgement: &mut Judgement, course: &Course, arrivals: &[u64], bounds: Bounds) {
    let (first, last) = (arrivals[0], arrivals[arrivals.len() - 1]);
    let mut worst: Option<Eta> = None;
    for (at, push) in &course.polls {
        let Some(said_s) = push.eta_s.filter(|_| *at > first && *at < last) else { continue };
        // Before the change the end is the one that the pace of until then would have made.
        let end = match course.change {
            Some((asked, _)) if *at < asked => {
                let seen = count(arrivals, first, *at).max(1);
                let each = (*at - first) as f64 / seen as f64;
                first as f64 + each * course.devices as f64
            }
            Some((_, answered)) if *at < answered + bounds.in_force_us => continue,
            _ => last as f64,
        };
        let left_s = (end - *at as f64) / 1e6;
        let off = ((said_s - left_s).abs() - ETA_GRAIN_S).max(0.0) / left_s.max(1e-3);
        let counts = *at >= course.asked_us + bounds.eta_from_us;
        let at_s = (*at - course.asked_us) as f64 / 1e6;
        let eta = Eta { at_s, said_s, left_s, off, counts };
        judgement.etas.push(eta);
        if counts && worst.is_none_or(|worst| worst.off < off) {
            worst = Some(eta);
        }
    }
    if let Some(worst) = worst.filter(|worst| worst.off * 100.0 > bounds.eta_percent) {
        judgement.broken.push(format!(
            "at {:.1} s the ETA was {:.1} s and {:.2} s were left",
            worst.at_s, worst.said_s, worst.left_s
        ));
    }
}

fn ledger(judgement: &mut Judgement, course: &Course, arrivals: &[u64]) {
    let (broken, last) = (&mut judgement.broken, &course.last);
    if last.state != "done" {
        broken.push(format!("the push ended as {}", last.state));
    }
    if last.targeted != Some(course.devices) {
        broken.push(format!("{} devices were targeted of {}", last.targeted.unwrap_or(0), course.devices));
    }
    if last.sent != arrivals.len() as u64 || last.failed() > 0 {
        broken.push(format!(
            "the ledger has {} sent and {} failed; {} arrived",
            last.sent,
            last.failed(),
            arrivals.len()
        ));
    }
    let Some(told) = last.latency_ms else {
        broken.push("the ledger has no latencies".into());
        return;
    };
    let after = |of_hundred: usize| {
        let rank = (arrivals.len() * of_hundred).div_ceil(100).max(1);
        (arrivals[rank - 1].saturating_sub(course.asked_us)) as f64 / 1000.0
    };
    judgement.latencies = vec![
        ("first", told.first, after(0)),
        ("p50", told.p50, after(50)),
        ("p99", told.p99, after(99)),
        ("last", told.last, after(100)),
    ];
    for (name, told, seen) in &judgement.latencies {
        if (told - seen).abs() > seen * LATENCY_SHARE + LATENCY_GRAIN_MS {
            judgement.broken.push(format!("{name} by the ledger {told:.1} ms, by the devices {seen:.1} ms"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        second_percent: 2.0,
        tenth_percent: 10.0,
        in_force_us: 100_000,
        eta_percent: 5.0,
        eta_from_us: 2_000_000,
    };

    fn push(sent: u64, eta_s: Option<f64>) -> Push {
        serde_json::from_value(serde_json::json!({
            "id": "a", "state": "done", "rate": 500.0, "rate_now": 500.0, "eta_s": eta_s, "targeted": 2000,
            "sent": sent, "failed": {}, "remaining": 2000 - sent,
            "latency_ms": {"first": 0.0, "p50": 2000.0, "p99": 3960.0, "last": 4000.0}
        }))
        .unwrap()
    }

    /// 2,000 devices at 500 a second, from 0 on.
    fn steady() -> (Course, Vec<u64>) {
        let arrivals = (0..2_000).map(|n| n * 2_000).collect();
        let polls = vec![(3_000_000, push(1_500, Some(1.0)))];
        let last = push(2_000, None);
        let course = Course {
            asked_us: 0,
            change: None,
            rate: 500.0,
            change_to: 0.0,
            polls,
            last,
            devices: 2_000,
            interrupted: false,
        };
        (course, arrivals)
    }

    #[test]
    fn what_is_as_promised_breaks_nothing() {
        let (course, arrivals) = steady();
        let judgement = judge(&course, &arrivals, BOUNDS);
        assert_eq!(judgement.broken, Vec::<String>::new());
        assert_eq!(judgement.spreads.len(), 4);
    }

    #[test]
    fn each_promise_that_is_broken_is_named() {
        let (course, arrivals) = steady();
        let mut late = arrivals.clone();
        late[1_000..].iter_mut().for_each(|at| *at += 30_000);
        let mut wrong_eta = course.clone();
        wrong_eta.polls[0].1.eta_s = Some(1.3);
        let mut missing = arrivals.clone();
        missing.pop();
        let mut unbalanced = course.clone();
        unbalanced.polls[0].1.sent += 1;
        let mut rushed = arrivals.clone();
        rushed[1_000..1_010].fill(2_000_000);
        for (course, arrivals, sentence) in [
            (&course, &late, "any 100 ms, at 500/s: from 70.0 %"),
            (&course, &rushed, "any 100 ms, at 500/s: from 82.0 % to 118.0 %"),
            (&wrong_eta, &arrivals, "the ETA was 1.3 s and 1.00 s were left"),
            (&course, &missing, "the ledger has 2000 sent and 0 failed; 1999 arrived"),
            (&unbalanced, &arrivals, "targeted 2000 is not sent 1501"),
        ] {
            let broken = judge(course, arrivals, BOUNDS).broken.join("; ");
            assert!(broken.contains(sentence), "{sentence}: {broken}");
        }
    }

    #[test]
    fn a_push_that_was_cut_off_is_judged_by_its_evenness_alone() {
        let (mut course, mut arrivals) = steady();
        arrivals.truncate(1_700);
        (course.interrupted, course.polls[0].1.eta_s) = (true, Some(4.0));
        let mut cut_off = push(1_600, None);
        (cut_off.state, cut_off.latency_ms) = ("cancelled".into(), None);
        course.last = cut_off;
        let judgement = judge(&course, &arrivals, BOUNDS);
        assert_eq!(judgement.broken, Vec::<String>::new());
        assert_eq!((judgement.spreads.len(), judgement.etas.len()), (4, 0));
        arrivals[1_000..].iter_mut().for_each(|at| *at += 30_000);
        let broken = judge(&course, &arrivals, BOUNDS).broken.join("; ");
        assert!(broken.contains("any 100 ms, at 500/s: from 70.0 %"), "{broken}");
        assert_eq!(judge(&course, &[], BOUNDS).broken, Vec::<String>::new());
    }

    #[test]
    fn a_change_that_was_cut_off_is_not_held_to_be_in_force() {
        let (mut course, mut arrivals) = steady();
        (course.change, course.change_to) = (Some((3_000_000, 3_001_000)), 1_000.0);
        arrivals.truncate(1_540);
        let is_told = |course: &Course| {
            let broken = judge(course, &arrivals, BOUNDS).broken;
            broken.iter().any(|why| why.contains("in force"))
        };
        assert!(is_told(&course));
        course.interrupted = true;
        assert!(!is_told(&course));
    }

    #[test]
    fn a_change_is_judged_by_itself() {
        let (mut course, _) = steady();
        course.change = Some((1_999_000, 2_000_000));
        course.change_to = 1_000.0;
        let slow = (0..1_000_u64).map(|n| n * 2_000);
        let arrivals = |late: u64| -> Vec<u64> {
            let before = (0..late / 2_000).map(|n| 2_000_000 + n * 2_000);
            let begin = 2_000_000 + late;
            let rest = 1_000 - late / 2_000;
            slow.clone().chain(before).chain((0..rest).map(|n| begin + n * 1_000)).collect()
        };
        let prompt = judge(&course, &arrivals(20_000), BOUNDS);
        assert!(!prompt.broken.iter().any(|why| why.contains("any")), "{:?}", prompt.broken);
        assert!(prompt.in_force_ms.unwrap() <= 20.0);
        let slack = judge(&course, &arrivals(300_000), BOUNDS).broken.join("; ");
        assert!(slack.contains("in force 2") && slack.contains("at 1000/s"), "{slack}");
    }
}
