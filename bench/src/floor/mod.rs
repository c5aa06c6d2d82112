//! The floor: the bare send loop over loopback sockets, with the receivers of the real runs on the other end.
//!
//! Loopback charges the sender for the receiver's TCP stack too, so nothing that sends on such a machine can be
//! faster. Each pass sends one message (or one batch) whose sequence is the pass, so the receivers verify it and know
//! when the last of them had it. *Not here*: any gateway.

mod args;
mod crew;
mod found;
pub(crate) mod record;
mod sender;
mod spec;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::histogram::Recorder;
use crate::lag::Lag;
use crate::message::{MESSAGE_BYTES_MAX, MESSAGE_BYTES_MIN, MessageSpec, SEQUENCE_MAX};
use crate::progress::{Goal, Progress};
use crate::receiver::{CONNECTS_IN_FLIGHT, Outcome, Phase, Plan, Receivers, SlowKinds};
use crate::report;
use crate::sys::process;
use crate::verify::{Framing, Refusals, Tally};

pub(crate) use args::{FloorArgs, SenderKind};
use crew::{Crew, Listeners};
pub(crate) use found::Floor;
use spec::ARRIVES_WITHIN;
pub(crate) use spec::Spec;

/// Bound of what is shown as the time that a measurement takes.
const MEASURES_AT_MOST_S: f64 = 1e6;
/// How often the thread that shows progress looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The subcommand.
pub(crate) fn run(args: &FloorArgs) -> Result<bool, String> {
    let progress = Progress::new(&args.machine);
    let mut floors = Vec::new();
    for bytes in &args.bytes {
        if process::interrupted() {
            break;
        }
        let spec = Spec {
            sockets: args.sockets as usize,
            bytes: *bytes,
            items: args.frames.then_some(u64::from(args.items)),
            seconds: args.seconds,
            rate: args.rate,
            sender: args.sender,
            sender_core: args.sender_core,
            receiver_cores: args.machine.receiver_core.clone(),
            congestion: args.machine.congestion.clone(),
        };
        floors.push(measure(&spec, &progress)?);
    }
    progress.clear();
    report::finish(&args.machine, record::record(&floors)?)?;
    Ok(true)
}

/// Measures with senders and receivers in threads of their own.
pub(crate) fn measure(spec: &Spec, progress: &Progress) -> Result<Floor, String> {
    if !(MESSAGE_BYTES_MIN..=MESSAGE_BYTES_MAX).contains(&spec.bytes) {
        return Err(format!(
            "{} bytes: a message has {MESSAGE_BYTES_MIN} to {MESSAGE_BYTES_MAX}",
            spec.bytes
        ));
    }
    if spec.rate <= 0.0 || spec.seconds <= 0.0 {
        return Err("--rate and --seconds must be above zero".into());
    }
    let spec = spec.clone();
    let what = format!("floor, {} sockets, {} B", spec.sockets, spec.bytes);
    // The passes apart, then the passes back to back.
    let parts = Duration::from_secs_f64((2.0 * spec.seconds).min(MEASURES_AT_MOST_S));
    let (sockets, accepted) = (spec.sockets, Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&accepted);
    let body = move || measure_here(&spec, accepted);
    let thread = std::thread::Builder::new().name("floor".into()).spawn(body);
    let thread = thread.map_err(|e| format!("cannot start a thread: {e}"))?;
    let now = || seen.load(Ordering::Relaxed);
    progress.stage("floor, connecting", Goal::Count(sockets as u64));
    while !thread.is_finished() && now() < sockets {
        progress.update(now() as u64, String::new);
        std::thread::sleep(LOOK_EVERY);
    }
    progress.stage(&what, Goal::Time(parts));
    while !thread.is_finished() {
        progress.update(0, String::new);
        std::thread::sleep(LOOK_EVERY);
    }
    thread.join().map_err(|_| "the floor's thread panicked")?
}

fn measure_here(spec: &Spec, accepted: Arc<AtomicUsize>) -> Result<Floor, String> {
    let listeners = Listeners::open(spec).map_err(|e| format!("cannot listen: {e}"))?;
    let clock = Clock::new();
    let plan = Plan {
        target: listeners.target().map_err(|e| e.to_string())?,
        upgrades: Vec::new(),
        hello: None,
        framing: if spec.items.is_some() { Framing::GoPush } else { Framing::Bare },
        spec: MessageSpec::new(spec.bytes, 0.0, SEQUENCE_MAX),
        // Batches are there to show what the receivers can do, so they do all of it: latencies are recorded too.
        measure_from: if spec.items.is_some() { 0 } else { u64::MAX },
        congestion: spec.congestion.clone(),
        connects_in_flight: CONNECTS_IN_FLIGHT,
        counts_refusals: false,
        ping_every: None,
        staying: spec.sockets,
        churning: 0,
        churn_per_s: 0.0,
        slow: SlowKinds::default(),
        cores: spec.receiver_cores.clone(),
    };
    let receivers = Receivers::start(&plan, clock.clone(), Refusals::default())?;
    let crew = match Crew::accept(listeners, spec, &receivers, accepted) {
        Ok(crew) => crew,
        Err(why) => return Err(receivers.join().err().unwrap_or(why)),
    };
    let mut rig = Rig { crew, clock, plan, passes: Vec::new(), bytes: Vec::new() };
    rig.warm_up(spec, &receivers)?;

    let paced_from = rig.passes.len();
    let interval = Duration::from_secs_f64(1.0 / spec.rate);
    rig.passes(spec, &receivers, Some(interval))?;

    let full_from = rig.passes.len();
    let before = rig.crew.effort();
    receivers.enter(Phase::Measure);
    let begin = Instant::now();
    rig.passes(spec, &receivers, None)?;
    let after = rig.crew.effort();
    rig.wait_arrived(spec, &receivers)?;
    let window = begin.elapsed();
    receivers.enter(Phase::Measured);
    std::thread::sleep(Duration::from_millis(30));

    receivers.published(spec.sequence(rig.passes.len()));
    let cpu = after.cpu.saturating_sub(before.cpu);
    let full = Full { from: full_from, cpu, window, blocked: after.blocked - before.blocked };
    rig.floor(spec, &receivers.join()?, paced_from..full_from, &full)
}

/// The part back to back.
struct Full {
    /// Its first pass.
    from: usize,
    /// The sender's CPU time.
    cpu: Duration,
    /// From its first send to the last receipt.
    window: Duration,
    /// Sends that found a full socket.
    blocked: u64,
}

/// The sender and what it has done.
struct Rig {
    crew: Crew,
    clock: Clock,
    plan: Plan,
    /// When each pass began and ended, microseconds.
    passes: Vec<Range<u64>>,
    bytes: Vec<u8>,
}

impl Rig {
    fn pass(&mut self, spec: &Spec) -> Result<(), String> {
        let first = spec.sequence(self.passes.len());
        self.bytes.clear();
        let messages = first..first + spec.items.unwrap_or(1);
        self.plan.framing.write(&self.plan.spec, messages, &mut self.bytes);
        let begin = self.clock.now_us();
        self.crew.pass(&self.bytes)?;
        self.passes.push(begin..self.clock.now_us());
        Ok(())
    }

    /// Three passes: congestion windows and buffers get their sizes.
    fn warm_up(&mut self, spec: &Spec, receivers: &Receivers) -> Result<(), String> {
        for _ in 0..3 {
            self.pass(spec)?;
            self.wait_arrived(spec, receivers)?;
        }
        Ok(())
    }

    /// Passes for the measurement's duration, three at least, apart by `interval` or back to back.
    fn passes(
        &mut self,
        spec: &Spec,
        receivers: &Receivers,
        interval: Option<Duration>,
    ) -> Result<(), String> {
        let begin = Instant::now();
        let from = self.passes.len();
        while self.passes.len() < from + 3 || begin.elapsed().as_secs_f64() < spec.seconds {
            if process::interrupted() {
                break;
            }
            let start = Instant::now();
            self.pass(spec)?;
            if let Some(interval) = interval {
                self.wait_arrived(spec, receivers)?;
                std::thread::sleep(interval.saturating_sub(start.elapsed()));
            }
        }
        Ok(())
    }

    fn wait_arrived(&self, spec: &Spec, receivers: &Receivers) -> Result<(), String> {
        let all = spec.sequence(self.passes.len()) * spec.sockets as u64;
        let (mut arrived, mut since) = (0, Instant::now());
        while receivers.messages() < all {
            if receivers.messages() != arrived {
                (arrived, since) = (receivers.messages(), Instant::now());
            }
            if receivers.failed() || since.elapsed() > ARRIVES_WITHIN {
                return Err(format!("{arrived} of {all} messages arrived"));
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        Ok(())
    }

    /// What all of it comes to.
    fn floor(
        &self,
        spec: &Spec,
        outcomes: &[Outcome],
        paced: Range<usize>,
        full: &Full,
    ) -> Result<Floor, String> {
        let mut tally = Tally::default();
        for outcome in outcomes {
            tally.merge(&outcome.tally);
        }
        if !tally.faults.none() {
            return Err(format!("the floor's own bytes arrived wrong: {:?}", tally.faults));
        }
        let passes = (self.passes.len() - full.from) as u64;
        let sends = passes as f64 * spec.sockets as f64;
        let messages_per_send = spec.items.unwrap_or(1);
        let times = |passes: &[Range<u64>]| recorder(passes.iter().map(|pass| pass.end - pass.start));
        let pass = times(&self.passes[full.from..]);
        let last_back_to_back = self.last(spec, &tally, full.from..self.passes.len());
        let pass_paced = times(&self.passes[paced.clone()]);
        let last_paced = self.last(spec, &tally, paced);
        let seconds = full.window.as_secs_f64();
        Ok(Floor {
            sockets: spec.sockets,
            sender: format!("{:?}", spec.sender).to_lowercase(),
            bytes_per_send: self.bytes.len(),
            messages_per_send,
            passes,
            pass: pass.percentiles(),
            last_back_to_back: last_back_to_back.percentiles(),
            last_paced: last_paced.percentiles(),
            pass_paced: pass_paced.percentiles(),
            sends_per_s: sends / seconds,
            mb_per_s: sends * self.bytes.len() as f64 / seconds / 1e6,
            messages_per_s: sends * messages_per_send as f64 / seconds,
            blocked: full.blocked,
            sender_ns_per_send: full.cpu.as_nanos() as f64 / sends.max(1.0),
            receivers: Lag::of(outcomes),
            distributions: vec![
                ("pass", pass),
                ("to last", last_back_to_back),
                ("pass, apart", pass_paced),
                ("to last, apart", last_paced),
            ],
        })
    }

    /// From the begin of each pass to the receipt of its last message by the last receiver.
    fn last(&self, spec: &Spec, tally: &Tally, passes: Range<usize>) -> Recorder {
        recorder(passes.map(|pass| {
            let last = spec.sequence(pass + 1) - 1;
            u64::from(tally.last_us[last as usize]).saturating_sub(self.passes[pass].start)
        }))
    }
}

fn recorder(values: impl Iterator<Item = u64>) -> Recorder {
    let mut recorder = Recorder::default();
    values.for_each(|value| recorder.record(value));
    recorder
}
