//! Seeded worlds in virtual time: the whole way from a publisher to many devices, with everything that goes wrong.
//!
//! A world is one merger, real rings, real shards over a kernel in memory (`plane`), and clients that are fast, slow,
//! stalled, rude or gone. After every single call of a shard its gauges, its accounts and each client's stream are held
//! against a model that shares no code with it. The ingest core has worlds of its own, in which its loop runs as in the
//! program, between publishers and a Redis that does everything but behave (`intake`). A failure prints its seed and its
//! last actions:
//!
//! ```text
//! SIM_SEED=42 cargo test --test sim            one world
//! SIM_SEEDS=10000 cargo test --test sim        more of them
//! SIM_FROM=5000 SIM_SEEDS=1000 …               others
//! ```

// A model notes facts as they become known, one a flag; and a Close frame can come without a code.
#![allow(clippy::struct_excessive_bools, clippy::option_option)]

#[path = "sim/bounds.rs"]
mod bounds;
#[path = "sim/checks.rs"]
mod checks;
#[path = "sim/client.rs"]
mod client;
#[path = "sim/finale.rs"]
mod finale;
#[path = "sim/intake.rs"]
mod intake;
#[path = "sim/ledger.rs"]
mod ledger;
#[path = "sim/lives.rs"]
mod lives;
#[path = "sim/mind.rs"]
mod mind;
#[path = "sim/observe.rs"]
mod observe;
#[path = "sim/plan.rs"]
mod plan;
#[path = "sim/plane.rs"]
mod plane;
#[path = "sim/publishers.rs"]
mod publishers;
#[path = "sim/pushes.rs"]
mod pushes;
#[path = "sim/redis.rs"]
mod redis;
#[path = "sim/rng.rs"]
mod rng;
#[path = "sim/stadium.rs"]
mod stadium;
#[path = "sim/steer.rs"]
mod steer;
#[path = "sim/tempo.rs"]
mod tempo;
#[path = "sim/trail.rs"]
mod trail;
#[path = "sim/verdicts.rs"]
mod verdicts;
#[path = "sim/wire.rs"]
mod wire;
#[path = "sim/world.rs"]
mod world;

/// Worlds of a run that names no number: about half a minute of a debug build.
const SEEDS_DEFAULT: u64 = 120;
/// The same of those in which only the pace of pushes is looked at.
const STADIUMS_DEFAULT: u64 = 40;

/// The same of those in which the ingest core is alone.
const INTAKES_DEFAULT: u64 = 60;

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {value:?}")))
}

/// Runs a world for each seed, and tells which ones broke a promise.
fn run(seeds_default: u64, about: fn(u64) -> String, run: fn(u64)) {
    let one = number("SIM_SEED");
    let first = one.or_else(|| number("SIM_FROM")).unwrap_or(0);
    let seeds = one.map_or_else(|| number("SIM_SEEDS").unwrap_or(seeds_default), |_| 1);
    let keep_going = std::env::var_os("SIM_KEEP_GOING").is_some();
    let mut failed = Vec::new();
    for seed in first..first + seeds {
        let outcome = std::panic::catch_unwind(|| run(seed));
        let last = trail::take();
        if outcome.is_err() {
            eprintln!("{last}  {}\nthis was SIM_SEED={seed}\n", about(seed));
            failed.push(seed);
            assert!(keep_going, "a world broke a promise: SIM_SEED={seed}");
        }
    }
    assert!(failed.is_empty(), "{} worlds of {seeds} broke a promise: {failed:?}", failed.len());
}

#[test]
fn every_world_keeps_every_promise() {
    let about = |seed| format!("{:?}", plan::Plan::new(&mut rng::Rng::new(seed)));
    run(SEEDS_DEFAULT, about, |seed| world::World::new(seed).run());
}

#[test]
fn whoever_publishes_is_told_the_truth_in_time_and_the_ingest_core_never_spins() {
    run(INTAKES_DEFAULT, |_| String::new(), |seed| intake::Intake::new(seed).run());
}

#[test]
fn a_pace_is_kept_over_any_second_and_any_tenth_of_one() {
    run(STADIUMS_DEFAULT, |_| String::new(), |seed| stadium::Stadium::new(seed).run());
}
