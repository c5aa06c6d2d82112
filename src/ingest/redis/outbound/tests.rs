//! Claims of the publishes on their way, with a Redis that answers, refuses, is busy, forgets and goes.

use proptest::prelude::*;

use super::*;
use crate::ingest::answers::Ticket;
use fanfare_core::model::Topic;

const MAX: usize = 1 << 20;

/// How a publish failed, how many of its parts were taken, and of how many.
type Why = (How, u32, u32);

/// A Redis with one subscriber, as far as these publishes go, and what was said of each.
struct World {
    outbound: Outbound,
    now: Instant,
    tickets: u32,
    /// Publishes that Redis has and has not answered, by topic and number, and marks among them.
    pipe: VecDeque<(String, u32)>,
    /// What it gave the subscriber that stands, and whether it stands.
    given: Vec<(String, u32)>,
    is_subscribed: bool,
    /// Marks that it gave the subscriber, and that have not been read.
    marks: VecDeque<u64>,
}

/// The channel of marks.
const MARKS: &str = "p:probe";

fn topic(name: &str) -> Address {
    Address::Topic(Topic::new(name).expect("a topic"))
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let mut outbound = Outbound::new("p:", MAX, now);
        outbound.subscription_stands();
        let (pipe, given) = (VecDeque::new(), Vec::new());
        Self { outbound, now, tickets: 0, pipe, given, is_subscribed: true, marks: VecDeque::new() }
    }

    /// Publishes the next number to these topics.
    fn publish(&mut self, topics: &[&str]) -> u32 {
        self.tickets += 1;
        let to = To::Addresses(topics.iter().map(|name| topic(name)).collect());
        let payload = Bytes::from(self.tickets.to_string());
        let offered = self.outbound.offer(Tag::Publish(Ticket(self.tickets)), to, vec![payload], self.now);
        assert_eq!(offered, Ok(()));
        self.tickets
    }

    /// Sends what can be sent.
    fn send(&mut self) -> usize {
        let count = self.send_about(usize::MAX);
        assert!(!self.outbound.can_send(self.now), "all was sent: a session that waits for more must wait");
        count
    }

    /// Sends about so many bytes of it.
    fn send_about(&mut self, bytes: usize) -> usize {
        let (bytes, count) = self.outbound.send(bytes, self.now);
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        let words: Vec<&str> = text.split("\r\n").filter(|line| !line.starts_with(['*', '$'])).collect();
        for command in words.chunks_exact(3) {
            assert_eq!(command[0], "PUBLISH");
            self.pipe.push_back((command[1].into(), command[2].parse().expect("a number")));
        }
        count
    }

    /// Redis answers the oldest publish, and the marks before it.
    fn answer(&mut self, error: Option<&str>) -> bool {
        self.answer_marks(error.is_none());
        let Some(publish) = self.pipe.pop_front() else { return false };
        let answer = match error {
            Some(error) => Err(error.to_owned()),
            None if self.is_subscribed => {
                self.given.push(publish);
                Ok(1)
            }
            None => Ok(0),
        };
        assert!(self.outbound.answered(answer, self.now));
        true
    }

    /// Redis answers the marks before the next publish.
    fn answer_marks(&mut self, takes: bool) {
        while self.pipe.front().is_some_and(|(channel, _)| channel == MARKS) {
            let Some((_, number)) = self.pipe.pop_front() else { break };
            self.outbound.mark_answered(takes);
            if takes && self.is_subscribed {
                self.marks.push_back(u64::from(number));
            }
        }
    }

    /// A mark is published behind everything that was sent.
    fn send_mark(&mut self) {
        let number = self.outbound.mark_sent();
        self.pipe.push_back((MARKS.into(), number as u32));
    }

    fn lose_subscription(&mut self) {
        self.outbound.subscription_lost();
        self.is_subscribed = false;
        self.marks.clear();
    }

    fn subscribe(&mut self) {
        self.is_subscribed = true;
        self.outbound.subscription_stands();
    }

    /// The publishing connection is lost. Redis has carried out so many of the publishes that were sent on it.
    fn lose_connection(&mut self, delivered: usize) {
        self.outbound.connection_lost();
        let pipe = std::mem::take(&mut self.pipe);
        for (channel, number) in pipe.into_iter().take(delivered).filter(|_| self.is_subscribed) {
            if channel == MARKS {
                self.marks.push_back(u64::from(number));
            } else {
                self.given.push((channel, number));
            }
        }
    }

    /// The numbers that a channel was given, in order.
    fn given_to(&self, channel: &str) -> Vec<u32> {
        self.given.iter().filter(|(name, _)| name == channel).map(|(_, number)| *number).collect()
    }

    /// The subscription reads the oldest mark; `false`: there is none, or it is not awaited.
    fn arrives(&mut self) -> bool {
        self.marks.pop_front().is_some_and(|mark| self.outbound.mark_arrived(mark))
    }

    /// A mark is published, if one is wanted, and everything that Redis has is answered and read.
    fn mark(&mut self) {
        if self.outbound.wants_mark() {
            self.send_mark();
        }
        while self.answer(None) {}
        self.answer_marks(true);
        while !self.marks.is_empty() {
            if self.arrives() {
                self.outbound.mark_taken();
            }
        }
    }

    fn verdicts(&mut self) -> Vec<(u32, Verdict)> {
        let next = |outbound: &mut Outbound| outbound.verdict();
        std::iter::from_fn(|| next(&mut self.outbound))
            .map(|(tag, verdict)| match tag {
                Tag::Publish(ticket) => (ticket.0, verdict),
                Tag::Push(_) => unreachable!("none was published"),
            })
            .collect()
    }

    fn how(&mut self) -> Vec<(u32, Option<Why>)> {
        let told = self.verdicts().into_iter();
        told.map(|(ticket, verdict)| match verdict {
            Verdict::Done => (ticket, None),
            Verdict::Failed(failed) => (ticket, Some((failed.how, failed.taken, failed.of))),
            other => panic!("{other:?}"),
        })
        .collect()
    }
}

#[test]
fn a_publish_is_done_when_redis_has_answered_and_the_subscription_has_shown_it() {
    let mut world = World::new();
    assert!(!world.outbound.wants_mark());
    let first = world.publish(&["a", "b"]);
    world.send();
    world.send_mark();
    assert!(!world.outbound.wants_mark(), "it covers all that was sent");
    assert!(world.answer(None) && world.answer(None) && !world.arrives());
    // What is sent while a mark is on its way is for the next one.
    let second = world.publish(&["a"]);
    world.send();
    world.answer(None);
    assert!(world.arrives() && world.outbound.wants_mark());
    assert_eq!(world.how(), [], "it is in the inbox, and not taken");
    world.outbound.mark_taken();
    assert_eq!(world.how(), [(first, None)]);
    world.mark();
    assert_eq!(world.how(), [(second, None)]);
    assert!(world.outbound.is_empty() && !world.arrives());
}

#[test]
fn a_mark_that_comes_before_the_answer_is_no_verdict_but_then_the_answer_is() {
    let mut world = World::new();
    let publish = world.publish(&["a"]);
    world.send();
    let mark = world.outbound.mark_sent();
    assert!(world.outbound.mark_arrived(mark));
    world.outbound.mark_taken();
    assert_eq!(world.how(), []);
    world.answer(None);
    assert_eq!(world.how(), [(publish, None)]);
    let refused = world.publish(&["a"]);
    world.send();
    let mark = world.outbound.mark_sent();
    assert!(world.outbound.mark_arrived(mark));
    world.outbound.mark_taken();
    world.answer(Some("OOM"));
    assert_eq!(world.how(), [(refused, Some((How::Refused, 0, 1)))]);
}

#[test]
fn a_mark_that_redis_refuses_is_published_again() {
    let mut world = World::new();
    let publish = world.publish(&["a"]);
    world.send();
    world.send_mark();
    world.answer(None);
    world.answer_marks(false);
    assert!(world.outbound.wants_mark());
    world.mark();
    assert_eq!(world.how(), [(publish, None)]);
}

#[test]
fn a_later_mark_stands_for_those_before_it_and_there_are_never_too_many() {
    let mut world = World::new();
    for _ in 0..2 * MARKS_MAX {
        world.publish(&["a"]);
        world.send();
        if world.outbound.wants_mark() {
            world.send_mark();
        }
    }
    assert_eq!(world.outbound.marks.len(), MARKS_MAX);
    while world.answer(None) {}
    let last = world.marks.pop_back().expect("marks");
    assert!(world.outbound.mark_arrived(last) && !world.outbound.mark_arrived(last - 1));
    world.outbound.mark_taken();
    assert_eq!(world.how().len(), MARKS_MAX);
    world.marks.clear();
    world.mark();
    assert_eq!(world.how().len(), MARKS_MAX);
}

#[test]
fn a_subscription_that_is_lost_before_it_shows_a_publish_leaves_it_unknown() {
    for step in 0..4 {
        let mut world = World::new();
        let publish = world.publish(&["a"]);
        world.send();
        world.send_mark();
        if step > 0 {
            world.answer(None);
        }
        if step > 1 {
            world.answer_marks(true);
        }
        if step > 2 {
            assert!(world.arrives());
        }
        world.lose_subscription();
        world.subscribe();
        world.mark();
        world.outbound.mark_taken();
        let expected = (step <= 2).then_some((How::Unknown, 1, 1));
        assert_eq!(world.how(), [(publish, expected)], "step {step}");
        assert!(world.outbound.is_empty());
    }
}

#[test]
fn a_mark_of_the_next_subscription_shows_nothing_that_was_sent_before_it_stood() {
    let mut world = World::new();
    let before = world.publish(&["a"]);
    world.send();
    world.lose_subscription();
    world.subscribe();
    let after = world.publish(&["a"]);
    world.send();
    // Redis carried out the first before the subscription stood; another gateway got it.
    world.pipe.pop_front();
    world.outbound.answered(Ok(1), world.now);
    world.mark();
    assert_eq!(world.how(), [(before, Some((How::Unknown, 1, 1))), (after, None)]);
}

#[test]
fn nothing_is_sent_without_a_subscription_and_what_waits_is_sent_with_the_next() {
    let mut world = World::new();
    world.outbound.subscription_lost();
    world.publish(&["a"]);
    assert_eq!((world.send(), world.outbound.can_send(world.now)), (0, false));
    world.outbound.subscription_stands();
    assert_eq!(world.send(), 1);
    world.answer(None);
    world.mark();
    assert_eq!(world.how(), [(1, None)]);
}

#[test]
fn a_refusal_has_redis_words_and_says_how_much_was_taken() {
    let mut world = World::new();
    world.publish(&["a", "b", "c"]);
    world.send();
    world.answer(None);
    world.answer(Some("NOPERM no"));
    assert_eq!(world.how(), []);
    world.answer(None);
    let [(1, Verdict::Failed(failed))] = &world.verdicts()[..] else { panic!("a verdict") };
    assert_eq!((failed.how, failed.taken, failed.of, &*failed.why), (How::Refused, 2, 3, "NOPERM no"));
    world.is_subscribed = false;
    world.publish(&["a"]);
    world.send();
    world.mark();
    assert_eq!(world.how(), [], "the server knows no subscriber, and another of its cluster may");
    world.now += PUBLISH_DEADLINE;
    world.outbound.look(world.now);
    assert_eq!(world.how(), [(2, Some((How::Unknown, 1, 1)))]);
}

#[test]
fn what_redis_cannot_do_now_is_sent_again_in_order_and_never_after_a_later_one() {
    let mut world = World::new();
    for topics in [&["a"][..], &["a"], &["b"]] {
        world.publish(topics);
    }
    world.send();
    for _ in 0..3 {
        world.answer(Some("BUSY a script runs"));
    }
    world.publish(&["a"]);
    assert_eq!(world.send(), 0, "it is given time");
    world.now += REDIS_BUSY_PAUSE;
    assert_eq!(world.send(), 4);
    let numbers: Vec<u32> = world.pipe.iter().map(|(_, number)| *number).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    // The script ends between the first and the second.
    world.answer(Some("BUSY a script runs"));
    for _ in 0..3 {
        world.answer(None);
    }
    world.mark();
    assert_eq!(
        world.how(),
        [(1, Some((How::Refused, 0, 1))), (3, None), (2, None), (4, None)]
            .into_iter()
            .filter(|(number, _)| *number == 1)
            .chain([(2, None), (3, None), (4, None)])
            .collect::<Vec<_>>(),
        "the first was overtaken on its channel, and is not sent again"
    );
}

#[test]
fn every_publish_has_its_verdict_by_its_deadline() {
    let mut world = World::new();
    let answered = world.publish(&["a"]);
    let sent = world.publish(&["a"]);
    world.send();
    world.answer(None);
    world.answer(Some("LOADING"));
    let busy = sent;
    world.now += REDIS_BUSY_PAUSE;
    let silent = world.publish(&["b"]);
    world.send();
    world.answer(Some("LOADING"));
    world.now += PUBLISH_DEADLINE;
    world.outbound.look(world.now);
    let mut told = world.how();
    told.sort_by_key(|(ticket, _)| *ticket);
    assert_eq!(
        told,
        [
            (answered, Some((How::Unknown, 1, 1))),
            (busy, Some((How::Unavailable, 0, 1))),
            (silent, Some((How::Unknown, 0, 1)))
        ]
    );
    // Late answers belong to nobody, and harm nobody.
    world.answer(None);
    world.mark();
    assert_eq!(world.how(), []);
    assert!(world.outbound.is_empty());
}

#[test]
fn a_lost_connection_leaves_what_was_sent_unknown_and_keeps_the_rest() {
    let mut world = World::new();
    world.publish(&["a"]);
    world.send();
    world.publish(&["a"]);
    assert_eq!(world.outbound.connection_lost(), 1);
    world.pipe.clear();
    assert_eq!(world.how(), [(1, Some((How::Unknown, 0, 1)))]);
    assert_eq!(world.send(), 1);
    world.answer(None);
    world.mark();
    assert_eq!(world.how(), [(2, None)]);
    world.publish(&["a"]);
    world.outbound.refuse_unsent("a replica");
    assert_eq!(world.how(), [(3, Some((How::Unavailable, 0, 1)))]);
    world.publish(&["a"]);
    assert_eq!(world.outbound.give_up("it stops"), 1);
    assert_eq!(world.how(), [(4, Some((How::Stopping, 0, 1)))]);
}

#[test]
fn what_is_sent_again_piece_by_piece_goes_before_what_was_published_later() {
    let mut world = World::new();
    for _ in 0..3 {
        world.publish(&["a"]);
    }
    world.send();
    for _ in 0..3 {
        world.answer(Some("BUSY a script runs"));
    }
    // The first is sent and refused alone, while the others wait.
    for _ in 0..2 {
        world.now += REDIS_BUSY_PAUSE;
        assert_eq!(world.send_about(1), 1);
        world.answer(Some("BUSY a script runs"));
    }
    world.publish(&["a"]);
    world.now += REDIS_BUSY_PAUSE;
    assert_eq!(world.send(), 4);
    while world.answer(None) {}
    world.mark();
    assert_eq!(world.given_to("p:topic:a"), [1, 2, 3, 4]);
    assert_eq!(world.how(), [(1, None), (2, None), (3, None), (4, None)]);
}

#[test]
fn what_waits_to_be_sent_again_is_not_sent_behind_one_that_was_lost() {
    let mut world = World::new();
    for topics in [&["a"][..], &["b"], &["a"]] {
        world.publish(topics);
    }
    world.send();
    world.answer(Some("BUSY a script runs"));
    world.answer(Some("BUSY a script runs"));
    // The script ends; Redis carries out the third, and its answer is lost.
    world.lose_connection(1);
    world.now += REDIS_BUSY_PAUSE;
    assert_eq!(world.send(), 1);
    world.answer(None);
    world.mark();
    assert_eq!((world.given_to("p:topic:a"), world.given_to("p:topic:b")), (vec![3], vec![2]));
    let (refused, unknown) = ((How::Refused, 0, 1), (How::Unknown, 0, 1));
    assert_eq!(world.how(), [(1, Some(refused)), (3, Some(unknown)), (2, None)]);
}

#[test]
fn time_alone_changes_nothing_while_the_subscription_is_away() {
    let mut world = World::new();
    world.publish(&["a"]);
    world.send();
    world.answer(Some("BUSY a script runs"));
    assert_eq!(world.outbound.sends_at(), Some(world.now + REDIS_BUSY_PAUSE));
    world.outbound.subscription_lost();
    assert_eq!(world.outbound.sends_at(), None, "a session that waits for it would turn for ever");
    world.outbound.subscription_stands();
    assert_eq!(world.outbound.sends_at(), Some(world.now + REDIS_BUSY_PAUSE));
}

#[test]
fn what_is_given_up_is_counted_in_messages_and_without_those_that_redis_has() {
    let mut world = World::new();
    world.publish(&["a", "b", "c"]);
    world.publish(&["a"]);
    world.send();
    for _ in 0..2 {
        world.answer(None);
    }
    assert_eq!(world.outbound.give_up("it stops"), 2);
    let mut world = World::new();
    world.publish(&["a"]);
    world.send();
    world.answer(None);
    world.publish(&["a", "b"]);
    assert_eq!(world.outbound.give_up("it stops"), 2, "the first is in Redis");
    assert_eq!(world.how().len(), 2);
}

#[derive(Clone, Debug)]
enum Act {
    Publish(Vec<usize>),
    Send(usize),
    Answer,
    Refuse,
    Busy,
    MarkSent,
    MarkAnswered(bool),
    MarkArrives,
    MarkTaken,
    LoseConnection(usize),
    LoseSubscription,
    Subscribe,
    Pass(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => prop::collection::vec(0..3_usize, 1..4).prop_map(Act::Publish),
        3 => Just(Act::Send(usize::MAX)),
        4 => (1..160_usize).prop_map(Act::Send),
        8 => Just(Act::Answer),
        1 => Just(Act::Refuse),
        2 => Just(Act::Busy),
        3 => Just(Act::MarkSent),
        2 => any::<bool>().prop_map(Act::MarkAnswered),
        3 => Just(Act::MarkArrives),
        3 => Just(Act::MarkTaken),
        1 => (0..6_usize).prop_map(Act::LoseConnection),
        1 => Just(Act::LoseSubscription),
        2 => Just(Act::Subscribe),
        2 => (0..3000_u64).prop_map(Act::Pass),
    ]
}

proptest! {
    #[test]
    fn done_means_that_this_subscription_got_all_of_it_in_order_and_everybody_is_told_once(
        acts in prop::collection::vec(act(), 1..200),
    ) {
        let mut world = World::new();
        let mut told = HashSet::new();
        let mut parts = Vec::new();
        for act in acts {
            match act {
                Act::Publish(topics) => {
                    let names: HashSet<usize> = topics.into_iter().collect();
                    let names: Vec<&str> = names.into_iter().map(|name| ["a", "b", "c"][name]).collect();
                    parts.push(names.len());
                    world.publish(&names);
                }
                Act::Send(usize::MAX) => drop(world.send()),
                Act::Send(bytes) => drop(world.send_about(bytes)),
                Act::Answer => drop(world.answer(None)),
                Act::Refuse => drop(world.answer(Some("OOM"))),
                Act::Busy => drop(world.answer(Some("BUSY"))),
                Act::MarkSent if world.outbound.wants_mark() => world.send_mark(),
                Act::MarkAnswered(takes) => world.answer_marks(takes),
                Act::MarkArrives => drop(world.arrives()),
                Act::MarkTaken => world.outbound.mark_taken(),
                Act::LoseConnection(delivered) => world.lose_connection(delivered),
                Act::LoseSubscription => world.lose_subscription(),
                Act::Subscribe if !world.is_subscribed => world.subscribe(),
                Act::Pass(ms) => world.now += Duration::from_millis(ms),
                Act::MarkSent | Act::Subscribe => {}
            }
            world.outbound.look(world.now);
            for (ticket, how) in world.how() {
                prop_assert!(told.insert(ticket), "{} is told twice", ticket);
                let got = world.given.iter().filter(|(_, number)| *number == ticket).count();
                if how.is_none() {
                    prop_assert_eq!(got, parts[ticket as usize - 1], "{} is done", ticket);
                } else if let Some((How::Unavailable, taken, _)) = how {
                    // Redis took these parts; a server that knew no subscriber here gave them to none.
                    prop_assert!(got <= taken as usize, "{} is not", ticket);
                }
            }
        }
        // Each channel got its numbers in order, each at most once.
        for name in ["p:topic:a", "p:topic:b", "p:topic:c"] {
            let numbers = world.given_to(name);
            prop_assert!(numbers.is_sorted_by(|a, b| a < b), "{}: {:?}", name, numbers);
        }
        world.outbound.give_up("it stops");
        for (ticket, _) in world.how() {
            prop_assert!(told.insert(ticket));
        }
        prop_assert_eq!(told.len(), parts.len());
        prop_assert!(world.outbound.is_empty() && world.outbound.bytes() == 0);
    }
}
