//! Pushes that are begun, steered and served in any order keep their ledgers and their pace. The bytes are orders to a
//! registry; three shards of nothing but a bucket for each push serve what they may, or are held up.
#![no_main]

use std::sync::Arc;
use std::time::Duration;

use fanfare_core::limits::PUSHES_RECENT_MAX;
use fanfare_core::model::Address;
use fanfare_core::model::Moment;
use fanfare_core::push::bucket::Bucket;
use fanfare_core::push::id::PushId;
use fanfare_core::push::pace::Pace;
use fanfare_core::push::rate::Rate;
use fanfare_core::push::registry::{PushChange, Registry, RegistryError};
use fanfare_core::push::share::{Failed, Share, UNLIMITED};
use fanfare_core::push::terms::{Lane, Terms};
use fanfare_core::push::{Push, Source, pacing};
use libfuzzer_sys::fuzz_target;

const SHARDS: usize = 3;

struct Job {
    push: Arc<Push>,
    /// Of the shards that have the push, with the rate that each goes by, and since when.
    buckets: [Option<(Bucket, u64, u64)>; SHARDS],
    /// Devices left; `None`: the shard does not have the push yet.
    left: [Option<u64>; SHARDS],
    is_blocked: bool,
    sent: u64,
    /// What the orders of the shards have allowed so far.
    allowed: f64,
}

struct World<'a> {
    orders: std::slice::Iter<'a, u8>,
    now: u64,
    cap: Option<Rate>,
    registry: Registry,
    jobs: Vec<Job>,
}

impl World<'_> {
    fn byte(&mut self) -> Option<u64> {
        self.orders.next().map(|byte| u64::from(*byte))
    }

    /// Small ones and large ones, from a tenth of a device to ten millions.
    fn rate(&mut self) -> Option<Rate> {
        let byte = self.byte().unwrap_or(0);
        Rate::per_second(0.1 * 1.08_f64.powi(byte as i32)).ok().filter(|_| byte > 0)
    }

    fn begin(&mut self) {
        let rate = self.rate();
        let [ramp, expires] = [self.byte().unwrap_or(0), self.byte().unwrap_or(0)];
        let terms = Terms {
            rate,
            ramp: Duration::from_millis(if rate.is_some() { ramp * 8 } else { 0 }),
            expires_in: (expires > 128).then(|| Duration::from_millis(expires)),
            lane: Lane::Normal,
            weight: 1 + ramp as u32,
        };
        let begins_at = match self.cap {
            None => Pace::new(terms.rate, terms.ramp, self.now).at(self.now),
            Some(_) => 0,
        };
        let shares: Box<[Share]> = pacing::even(begins_at, SHARDS).into_iter().map(Share::new).collect();
        let buckets = [const { None }; SHARDS];
        let push = Arc::new(Push {
            id: PushId::new(&format!("p{}", self.jobs.len())).expect("an id"),
            terms,
            source: Source::Redis,
            to: [Address::All].into(),
            holds: [].into(),
            messages: 1,
            bytes: 1,
            accepted: Moment { us: self.now, unix_ms: 0 },
            shares,
        });
        self.registry.adopt(Arc::clone(&push));
        self.jobs.push(Job { push, buckets, left: [None; SHARDS], is_blocked: false, sent: 0, allowed: 0.0 });
    }

    fn change(&mut self, number: usize, change: PushChange) {
        let id = self.jobs[number].push.id.clone();
        let is_over = !self.registry.all_running(self.now).iter().any(|running| running.facts.id == id);
        let outcome = self.registry.change(id.as_str(), change, self.now);
        assert_eq!(outcome, if is_over { Err(RegistryError::Over) } else { Ok(()) });
    }

    fn step(&mut self, us: u64) {
        self.now += us;
        for job in &mut self.jobs {
            for shard in 0..SHARDS {
                job.serve(shard, self.now);
            }
            // Beside what its orders allow, a shard has part of a device when it begins.
            let most = job.allowed + SHARDS as f64;
            assert!(job.sent as f64 <= most, "{} sent, {most} were allowed", job.sent);
        }
    }

    fn check(&self) {
        let total = self.registry.total();
        assert_eq!(total.sent, self.jobs.iter().map(|job| job.sent).sum::<u64>());
        assert_eq!(self.registry.running() as u64 + self.registry.made_over(), self.jobs.len() as u64);
        assert!(self.registry.all_recent().count() <= PUSHES_RECENT_MAX);
        let mut sum = 0;
        for running in self.registry.all_running(self.now) {
            assert!(running.eta_s.is_none_or(|eta| eta.is_finite() && eta >= 0.0), "{:?}", running.eta_s);
            if running.rate_now_milli != UNLIMITED {
                sum += running.rate_now_milli;
            }
        }
        assert!(self.cap.is_none_or(|cap| sum <= cap.milli()), "{sum} is above {:?}", self.cap);
    }
}

impl Job {
    fn serve(&mut self, shard: usize, now: u64) {
        let share = &self.push.shares[shard];
        let Some((bucket, old_rate, since)) = &mut self.buckets[shard] else { return };
        let Some(left) = self.left[shard].filter(|left| *left > 0) else { return };
        let why = match () {
            () if share.ordered_end().is_some() => share.ordered_end(),
            () if self.push.expires_us().is_some_and(|at| now >= at) => Some(Failed::Expired),
            () => None,
        };
        if let Some(why) = why {
            share.failed(why, left);
            share.set_servable(0);
            self.left[shard] = Some(0);
            return;
        }
        let rate = share.rate_milli();
        bucket.advance(now, rate);
        let is_bounded = rate != UNLIMITED && *old_rate != UNLIMITED;
        self.allowed +=
            if is_bounded { *old_rate as f64 / 1e9 * (now - *since) as f64 } else { f64::INFINITY };
        (*old_rate, *since) = (rate, now);
        let servable = if self.is_blocked { 0 } else { left };
        share.set_servable(servable);
        if servable == 0 {
            bucket.idle();
            return;
        }
        let served = servable.min(bucket.credit() as u64);
        assert!(
            rate == UNLIMITED || served as f64 <= (rate as f64 * 6e-6).max(2.0) + 1.0,
            "a rush of {served}"
        );
        bucket.spend(served as usize);
        share.sent(served, now - self.push.accepted.us);
        share.set_servable(left - served);
        self.left[shard] = Some(left - served);
        self.sent += served;
        let standing = share.standing().expect("it has it");
        assert_eq!(standing.remaining(), left - served);
        if rate == 0 {
            assert_eq!((bucket.credit(), bucket.wait_us()), (0, None));
        } else {
            let wait = bucket.wait_us().expect("it moves");
            assert!(rate == UNLIMITED || wait as f64 <= 2e9 / rate as f64 + 1.0, "a wait of {wait} µs");
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut world =
        World { orders: data.iter(), now: 0, cap: None, registry: Registry::new(SHARDS), jobs: Vec::new() };
    while let Some(order) = world.byte() {
        let number = (order as usize / 8) % world.jobs.len().max(1);
        match order % 8 {
            0 if world.jobs.len() < 16 => world.begin(),
            1 if !world.jobs.is_empty() => {
                let [shard, devices] = [world.byte().unwrap_or(0), world.byte().unwrap_or(0)];
                let (job, shard) = (&mut world.jobs[number], shard as usize % SHARDS);
                if job.left[shard].is_none() {
                    job.push.shares[shard].take(devices * 16);
                    job.left[shard] = Some(devices * 16);
                    let rate = job.push.shares[shard].rate_milli();
                    let bucket = Bucket::new(world.now, rate, shard as f64 / SHARDS as f64);
                    job.buckets[shard] = Some((bucket, rate, world.now));
                }
            }
            2 if !world.jobs.is_empty() => {
                let rate = (world.rate(), Duration::from_millis(world.byte().unwrap_or(0) * 8));
                world.change(number, PushChange { rate: Some(rate), ..PushChange::default() });
            }
            3 if !world.jobs.is_empty() => {
                world.change(number, PushChange { is_paused: Some(order >= 128), ..PushChange::default() });
            }
            4 if !world.jobs.is_empty() && order >= 192 => {
                let id = world.jobs[number].push.id.clone();
                let _ = world.registry.cancel(id.as_str());
            }
            4 if !world.jobs.is_empty() => world.jobs[number].is_blocked ^= true,
            5 => world.cap = world.rate(),
            // A control thread's turn follows every change: what was ordered before it is of no interest.
            _ => {
                let us = world.byte().unwrap_or(1) * 100;
                world.step(us);
            }
        }
        world.registry.tick(world.cap, world.now);
        world.check();
    }
});
