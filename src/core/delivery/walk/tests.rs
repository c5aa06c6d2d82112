//! Claims about walks: whom they meet, what they account for, and that they leave everybody where they are.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::counters::Value;
use crate::model::{Address, Batch, Epoch, Message, Moment, PayloadKind, Topic};
use crate::push::id::PushId;
use crate::push::share::{Share, UNLIMITED};
use crate::push::terms::{Lane, Terms as PushTerms};
use crate::push::{Push, Source};
use crate::session::bounds::OutboxPolicy;
use crate::session::subscriptions::Membership;

const NOW: Tick = Tick(1);
const SPOKEN: [bool; FormatId::COUNT] = [true; FormatId::COUNT];

/// A topic with members, in the order of their places.
struct World {
    delivery: Delivery,
    table: Table,
    topic: TopicId,
    tokens: Vec<Token>,
    charged: Arc<Value>,
}

impl World {
    fn new(members: i32) -> Self {
        let (mut delivery, mut table) = (Delivery::new(0), Table::default());
        let topic = delivery.open(Topic::new("t").expect("a topic"));
        let tokens = (0..members).map(|fd| {
            let connection = Connection::new(fd, FormatId::RAW, NOW);
            let Ok(token) = table.insert(connection, NOW) else { panic!("room") };
            let position = delivery.join(topic, token.index);
            if let Some(connection) = table.get(token) {
                connection.subscriptions.add(Membership { topic, position });
            }
            token
        });
        let tokens = tokens.collect();
        Self { delivery, table, topic, tokens, charged: Arc::default() }
    }

    fn members(&mut self) -> usize {
        self.delivery.members_of(&address())
    }

    /// A member gives up its place, as one that departs does.
    fn leave(&mut self, token: Token) {
        let connection = self.table.get(token).expect("a connection");
        let position = connection.subscriptions.remove(self.topic).expect("a member");
        if let Some(moved) = self.delivery.leave(Membership { topic: self.topic, position })
            && let Some((_, connection)) = self.table.at(moved)
        {
            connection.subscriptions.moved(self.topic, position);
        }
    }

    /// One slice; whose sends it made, and who is too slow.
    fn slice(&mut self, lane: Lane, bytes_max: usize, shortfall: Shortfall) -> (Vec<Token>, Vec<Token>) {
        let place = Place { topic: self.topic, lane };
        let bounds = OutboxBounds {
            bytes_max,
            age_max: Duration::from_secs(1),
            policy: OutboxPolicy::Close,
            ..OutboxBounds::default()
        };
        let terms = Terms { now: NOW, bounds, keeper: Keeper(&self.charged) };
        let mut walk = self.delivery.walk(place, SPOKEN).expect("a round goes on");
        let slice = walk.gather(&mut self.table, terms, Vec::new());
        let sends = slice.sends.iter().map(|send| send.token).collect();
        let (tally, slow, _) = slice.end(shortfall);
        walk.end(&tally, NOW);
        (sends, slow)
    }

    fn go_on(&mut self, lane: Lane) {
        self.delivery.go_on(Place { topic: self.topic, lane });
    }
}

fn address() -> Address {
    Address::Topic(Topic::new("t").expect("a topic"))
}

fn batch(first: u64) -> Arc<Batch> {
    batch_of(first, b"{}")
}

fn batch_of(first: u64, payload: &'static [u8]) -> Arc<Batch> {
    let message = Message { payload: payload.into(), kind: PayloadKind::Unknown };
    Arc::new(Batch::new(address(), Epoch(1), Offset(first), [message].into()))
}

fn push(lane: Lane) -> Arc<Push> {
    Arc::new(Push {
        id: PushId::new("p").expect("an id"),
        terms: PushTerms { lane, ..PushTerms::default() },
        source: Source::Http,
        to: [address()].into(),
        holds: Box::default(),
        messages: 1,
        bytes: 1,
        accepted: Moment::default(),
        shares: [Share::new(UNLIMITED)].into(),
    })
}

fn remaining(push: &Push) -> Option<u64> {
    push.shares[0].standing().map(|standing| standing.remaining())
}

#[test]
fn whoever_is_too_slow_is_named_and_stays_a_member_until_it_departs() {
    let mut world = World::new(3);
    let slow = world.tokens[1];
    world.table.get(slow).expect("a connection").owe(NOW);
    world.delivery.enqueue(batch(0), NOW);
    let (sends, named) = world.slice(Lane::Normal, 0, Shortfall::default());
    assert_eq!((sends, named), (vec![world.tokens[2], world.tokens[0]], vec![slow]));
    assert_eq!(world.members(), 3);
    world.leave(slow);
    world.go_on(Lane::Normal);
    assert_eq!(world.members(), 2);
    assert_eq!(world.delivery.backlog_bytes(), 0, "the round was over");
}

#[test]
fn a_member_that_a_push_met_and_that_departs_is_counted_once() {
    for lane in [Lane::Normal, Lane::Urgent] {
        let (mut world, push) = (World::new(3), push(lane));
        world.delivery.take_push(Arc::clone(&push), &[batch(0)], &mut world.table);
        assert_eq!(remaining(&push), Some(3));
        let (sends, _) = world.slice(lane, 0, Shortfall { unsent: 0, gone: 1 });
        assert_eq!(sends.len(), 3);
        assert_eq!(remaining(&push), Some(0), "two sent, one failed");
        world.leave(sends[0]);
        world.go_on(lane);
        assert_eq!(remaining(&push), Some(0));
        assert!(world.delivery.wait_us().is_none(), "nothing is left of it");
    }
}

#[test]
fn a_slice_of_large_messages_has_few_sends_and_everybody_is_served_all_the_same() {
    const LARGE: &[u8] = &[b'x'; 64 * 1024];
    let mut world = World::new(1500);
    world.delivery.enqueue(batch_of(0, LARGE), NOW);
    let (mut served, mut slices) = (Vec::new(), 0);
    while served.len() < 1500 {
        let (sends, _) = world.slice(Lane::Normal, 0, Shortfall::default());
        assert!(sends.len() * LARGE.len() <= SLICE_BYTES_MAX && !sends.is_empty(), "{}", sends.len());
        served.extend(sends);
        slices += 1;
        world.go_on(Lane::Normal);
    }
    assert_eq!((served.len(), slices), (1500, 3));
    served.sort_unstable_by_key(|token| token.index);
    served.dedup();
    assert_eq!(served.len(), 1500, "each once");
}

#[test]
fn when_everybody_departs_what_waits_goes_with_them() {
    let mut world = World::new(2);
    world.delivery.enqueue(batch(0), NOW);
    // It waits: the first is on its way.
    world.delivery.enqueue(batch(1), NOW);
    let (sends, _) = world.slice(Lane::Normal, 0, Shortfall { unsent: 0, gone: 2 });
    assert!(world.delivery.backlog_bytes() > 0);
    for token in sends {
        world.leave(token);
    }
    world.go_on(Lane::Normal);
    assert_eq!((world.members(), world.delivery.topics(), world.delivery.backlog_bytes()), (0, 0, 0));
    assert_eq!(world.delivery.take_begun(), 1, "no round begins for nobody");
}
