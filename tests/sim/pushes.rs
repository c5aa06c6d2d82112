//! What a world knows of its pushes: whom each was for, who has it whole, and what its ledger may say.
//!
//! Everything here follows from downlinks, clients' streams and orders; the ledger under test is only read. *Not here*:
//! when pushes begin and how they are steered (`steer`), how fast they may be (`tempo`).

use std::collections::BTreeMap;
use std::sync::Arc;

use fanfare_core::push::Push;
use fanfare_core::push::share::{Failed, Standing};

use crate::client::Client;
use crate::ledger::{Item, To};
use crate::tempo::Tempo;

/// Time within which an order is in force.
const IN_FORCE_US: u64 = 100_000;

/// One device of a push at one address.
pub(crate) struct Target {
    /// Messages of it that have come.
    got: u32,
    /// Nobody could doubt that it was a member.
    is_sure: bool,
    /// Which of its memberships it was.
    span: usize,
}

/// A push on one shard.
#[derive(Default)]
pub(crate) struct Taken {
    pub(crate) targets: BTreeMap<(usize, To), Target>,
    /// Targets that have all of it.
    pub(crate) whole: u64,
    /// Devices that its end has cost, when last looked at.
    cut_seen: u64,
}

pub(crate) struct Job {
    pub(crate) push: Arc<Push>,
    /// Log, first and end of its messages for each of its addresses.
    pub(crate) parts: Vec<(To, u64, u64)>,
    pub(crate) cancelled_us: Option<u64>,
    pub(crate) tempo: Tempo,
    pub(crate) shards: Vec<Option<Taken>>,
}

/// All pushes of a world.
pub(crate) struct Book {
    pub(crate) jobs: Vec<Job>,
    /// By log: first, end and number of each push in it, in order.
    parts: Vec<Vec<(u64, u64, usize)>>,
    pub(crate) drain_us: Option<u64>,
}

impl Book {
    pub(crate) fn new(logs: usize) -> Self {
        Self { jobs: Vec::new(), parts: vec![Vec::new(); logs], drain_us: None }
    }

    pub(crate) fn begin(&mut self, job: Job) {
        for &(log, first, end) in &job.parts {
            self.parts[log].push((first, end, self.jobs.len()));
        }
        self.jobs.push(job);
    }

    pub(crate) fn number(&self, push: &Arc<Push>) -> usize {
        self.jobs.iter().position(|job| Arc::ptr_eq(&job.push, push)).expect("the world made it")
    }

    fn of(&self, (log, at): Item) -> Option<usize> {
        let parts = &self.parts[log];
        let part = parts.get(parts.partition_point(|(_, end, _)| *end <= at))?;
        (part.0 <= at).then_some(part.2)
    }

    /// Whether a message may be passed over, because it is a push's that has ended before its time.
    pub(crate) fn is_cut(&self, item: Item, now: u64) -> bool {
        self.of(item).is_some_and(|number| self.jobs[number].may_end(now, self.drain_us))
    }

    /// Whether a message is a push's that has not ended, or was cut: one that need not have come yet.
    pub(crate) fn is_open(&self, shard: usize, item: Item, now: u64) -> bool {
        let of = self.of(item).map(|number| &self.jobs[number]);
        of.is_some_and(|job| {
            job.may_end(now, self.drain_us)
                || job.standing(shard).is_none_or(|standing| standing.remaining() > 0)
        })
    }

    /// Whether a message is behind a push that goes on.
    pub(crate) fn is_held(&self, shard: usize, (log, at): Item) -> bool {
        let ahead = self.parts[log].iter().take_while(|(_, end, _)| *end <= at);
        ahead
            .into_iter()
            .any(|(_, _, number)| self.jobs[*number].standing(shard).is_none_or(|s| s.remaining() > 0))
    }

    /// Whether a message is the last of a push.
    pub(crate) fn is_last(&self, (log, at): Item) -> bool {
        self.parts[log].binary_search_by_key(&(at + 1), |(_, end, _)| *end).is_ok()
    }

    /// A message has come; whether it is a push's.
    pub(crate) fn receive(&mut self, client: &Client, item: Item, now: u64) -> bool {
        let Some(number) = self.of(item) else { return false };
        let job = &mut self.jobs[number];
        let taken = job.shards[client.shard].as_mut().expect("no push comes before it was taken");
        let target = taken.targets.get_mut(&(client.id, item.0)).expect("a push comes to its targets only");
        target.got += 1;
        assert!(target.got <= job.push.messages, "{} has push {number} twice", client.id);
        if target.got == job.push.messages {
            taken.whole += 1;
            if !client.was_short {
                job.tempo.note_sent(now);
            }
        }
        true
    }

    /// What the shard's ledgers say, after each of its calls.
    pub(crate) fn check(
        &mut self,
        shard: usize,
        clients: &mut [Client],
        now: u64,
        is_thorough: bool,
    ) -> bool {
        let drain_us = self.drain_us;
        let mut is_live = false;
        for (number, job) in self.jobs.iter_mut().enumerate() {
            let (Some(standing), Some(taken)) = (job.standing(shard), &mut job.shards[shard]) else {
                continue;
            };
            assert_eq!(standing.sent, taken.whole, "push {number} on {shard}: sent, and come whole");
            let remaining = standing.remaining();
            is_live |= remaining > 0;
            let cut = standing.cut();
            if std::mem::replace(&mut taken.cut_seen, cut) != cut {
                for ((id, _), _) in taken.targets.iter().filter(|(_, target)| target.got < job.push.messages)
                {
                    clients[*id].has_withdrawn = true;
                }
            }
            if is_thorough && (remaining > 0 || cut > 0) {
                job.check_on(shard, number, &standing, clients, now, drain_us);
            }
        }
        is_live
    }

    /// Messages that pushes which ended before their time have cost this shard's clients.
    pub(crate) fn messages_cut(&self, shard: usize) -> u64 {
        let cut = |job: &Job| job.standing(shard).map_or(0, |s| s.cut() * u64::from(job.push.messages));
        self.jobs.iter().map(cut).sum()
    }
}

/// What an end before its time has cost.
trait Cut {
    fn cut(&self) -> u64;
}

impl Cut for Standing {
    fn cut(&self) -> u64 {
        [Failed::Cancelled, Failed::Expired, Failed::Shutdown]
            .iter()
            .map(|why| self.failed[*why as usize])
            .sum()
    }
}

impl Job {
    pub(crate) fn standing(&self, shard: usize) -> Option<Standing> {
        self.push.shares[shard].standing()
    }

    fn is_expired(&self, now: u64) -> bool {
        self.push.expires_us().is_some_and(|at| now >= at)
    }

    fn may_end(&self, now: u64, drain_us: Option<u64>) -> bool {
        self.cancelled_us.is_some() || self.is_expired(now) || drain_us.is_some()
    }

    /// Devices that it surely still owes, and those that it may: not met yet, or in an outbox.
    fn owed(&self, taken: &Taken, clients: &[Client], now: u64, drain_us: Option<u64>) -> (u64, u64) {
        let (mut least, mut most) = (0, 0);
        for ((id, log), target) in taken.targets.iter().filter(|(_, t)| t.got < self.push.messages) {
            let client = &clients[*id];
            let is_member = client.spans[*log][target.span].to.is_none();
            let is_well = !client.was_short && !client.is_doubtful && client.close.is_none();
            let is_urgent = *log >= client.spans.len() / 2;
            // An urgent push learns who is gone when it comes to their places.
            if !is_urgent && (client.is_removed || !(is_member || client.was_short)) {
                continue;
            }
            most += 1;
            let may_end = self.may_end(now, drain_us);
            least += u64::from(target.is_sure && is_member && is_well && !may_end);
        }
        (least, most)
    }

    fn check_on(
        &self,
        shard: usize,
        number: usize,
        standing: &Standing,
        clients: &[Client],
        now: u64,
        drain_us: Option<u64>,
    ) {
        let Some(taken) = &self.shards[shard] else { return };
        let context = || format!("push {number} on {shard}: {standing:?}");
        let failed = |why: Failed| standing.failed[why as usize];
        let remaining = standing.remaining();
        let (least, most) = self.owed(taken, clients, now, drain_us);
        assert!((least..=most).contains(&remaining), "{remaining} remain of {least}..={most}: {}", context());

        assert!(failed(Failed::Cancelled) == 0 || self.cancelled_us.is_some(), "{}", context());
        assert!(failed(Failed::Expired) == 0 || self.is_expired(now), "{}", context());
        assert!(failed(Failed::Shutdown) == 0 || drain_us.is_some(), "{}", context());
        let count = |is: &dyn Fn(&Client, bool, &Target) -> bool| {
            let is_one = |(key, target): (&(usize, To), &Target)| {
                let client = &clients[key.0];
                let is_member = client.spans[key.1][target.span].to.is_none();
                target.got < self.push.messages && is(client, is_member, target)
            };
            taken.targets.iter().filter(|(key, target)| is_one((key, target))).count() as u64
        };
        let slow = count(&|client, _, _| client.was_short);
        assert!(failed(Failed::Slow) <= slow, "{slow} are slow: {}", context());
        let gone = count(&|client, is_member, target| {
            !is_member
                || client.is_removed
                || client.is_doubtful
                || client.last_act.is_some()
                || !target.is_sure
        });
        assert!(failed(Failed::Closed) <= gone, "{gone} are gone: {}", context());

        // Once it was cut only outboxes have something of it; and a cut takes no longer than any order.
        let owed = count(&|client, _, _| client.is_owed || client.is_doubtful);
        let since = self.cancelled_us.into_iter().chain(self.push.expires_us()).min();
        let is_in_force = since.is_some_and(|since| now >= since + IN_FORCE_US);
        if standing.cut() > 0 || (is_in_force && self.tempo.is_prompt) {
            assert!(remaining <= owed, "{owed} are owed what has ended: {}", context());
        }
    }
}

impl Taken {
    pub(crate) fn add(&mut self, client: &Client, log: To) {
        let span = client.spans[log].len() - 1;
        let target = Target { got: 0, is_sure: !client.is_doubtful, span };
        assert!(self.targets.insert((client.id, log), target).is_none(), "a client is a member twice");
    }

    /// Devices that it must be for, and that it may be for.
    pub(crate) fn targeted(&self) -> (u64, u64) {
        let sure = self.targets.values().filter(|target| target.is_sure).count();
        (sure as u64, self.targets.len() as u64)
    }
}
