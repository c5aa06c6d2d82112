//! Seeded worlds in virtual time: the whole way from a publisher to many devices, with everything that goes wrong.
//!
//! A world is one merger, real rings, real shards over a kernel in memory (`plane`), and clients that are fast, slow,
//! stalled, rude or gone. After every single call of a shard its gauges, its accounts and each client's stream are held
//! against a model that shares no code with it. A failure prints its seed and its last actions:
//!
//! ```text
//! SIM_SEED=42 cargo test --test sim            one world
//! SIM_SEEDS=10000 cargo test --test sim        more of them
//! SIM_FROM=5000 SIM_SEEDS=1000 …               others
//! ```

// A model notes facts as they become known, one a flag; and a Close frame can come without a code.
#![allow(clippy::struct_excessive_bools, clippy::option_option)]

#[path = "sim/checks.rs"]
mod checks;
#[path = "sim/client.rs"]
mod client;
#[path = "sim/finale.rs"]
mod finale;
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
#[path = "sim/rng.rs"]
mod rng;
#[path = "sim/trail.rs"]
mod trail;
#[path = "sim/wire.rs"]
mod wire;
#[path = "sim/world.rs"]
mod world;

/// Worlds of a run that names no number: about half a minute of a debug build.
const SEEDS_DEFAULT: u64 = 250;

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {value:?}")))
}

#[test]
fn every_world_keeps_every_promise() {
    let one = number("SIM_SEED");
    let first = one.or_else(|| number("SIM_FROM")).unwrap_or(0);
    let seeds = one.map_or_else(|| number("SIM_SEEDS").unwrap_or(SEEDS_DEFAULT), |_| 1);
    let keep_going = std::env::var_os("SIM_KEEP_GOING").is_some();
    let mut failed = Vec::new();
    for seed in first..first + seeds {
        let outcome = std::panic::catch_unwind(|| world::World::new(seed).run());
        let last = trail::take();
        if outcome.is_err() {
            let plan = plan::Plan::new(&mut rng::Rng::new(seed));
            eprintln!("{last}  {plan:?}\nthis was SIM_SEED={seed}\n");
            failed.push(seed);
            assert!(keep_going, "a world broke a promise: SIM_SEED={seed}");
        }
    }
    assert!(failed.is_empty(), "{} worlds of {seeds} broke a promise: {failed:?}", failed.len());
}
