//! A Redis in memory, with the two sessions in front of it as far as order goes: it hangs, refuses, answers late, forgets.
//!
//! What is published goes to the subscriber if one stands, in order, as Redis does it. *Not here*: what must come of it
//! (`intake`).

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Instant;

use bytes::Bytes;
use fanfare::ingest::inbox::Inbox;
use fanfare::ingest::redis::{Incoming, MARK_CHANNEL, PublishQueue};
use fanfare_core::limits::{REDIS_IO_BYTES, REDIS_WINDOW_BYTES};
use fanfare_core::model::footprint::Footprint;

use crate::rng::Rng;
use crate::trail;

pub(crate) const PREFIX: &str = "f:";

/// What Redis answers to a publish now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// A script runs: not now.
    Busy,
    /// The user may not.
    Refuses,
}

struct Command {
    channel: Bytes,
    payload: Bytes,
    is_mark: bool,
}

pub(crate) struct SimRedis {
    pub(crate) queue: PublishQueue,
    inbox: Inbox<Incoming>,
    pub(crate) mood: Mood,
    /// It does nothing before this microsecond.
    pub(crate) hangs_until: u64,
    pub(crate) is_publishing: bool,
    pub(crate) is_subscribed: bool,
    /// What Redis gives the subscriber comes nowhere any more, and neither of them has noticed.
    pub(crate) is_cut: bool,
    /// A subscription was lost; the next one begins with a gap.
    has_gap: bool,
    /// What was put into the inbox so far.
    given: u64,
    input: VecDeque<Command>,
    replies: VecDeque<(bool, Result<i64, String>)>,
    /// What is on its way to the subscriber.
    stream: VecDeque<(Bytes, Bytes)>,
}

impl SimRedis {
    pub(crate) fn new(queue: PublishQueue, inbox: Inbox<Incoming>) -> Self {
        Self {
            queue,
            inbox,
            mood: Mood::Well,
            hangs_until: 0,
            is_publishing: false,
            is_subscribed: false,
            is_cut: false,
            has_gap: false,
            given: 0,
            input: VecDeque::new(),
            replies: VecDeque::new(),
            stream: VecDeque::new(),
        }
    }

    /// The number of the last that the ingest core has taken.
    pub(crate) fn taken(&self) -> u64 {
        self.given - self.inbox.len() as u64
    }

    /// Whether nothing is on its way anywhere.
    pub(crate) fn is_quiet(&self) -> bool {
        self.input.is_empty() && self.replies.is_empty() && self.stream.is_empty()
    }

    /// Somebody else publishes; whether Redis has a subscriber here.
    pub(crate) fn publish(&mut self, channel: &[u8], payload: Bytes) -> bool {
        if self.is_subscribed && !self.is_cut {
            self.stream.push_back((Bytes::copy_from_slice(channel), payload));
        }
        self.is_subscribed
    }

    /// The publishing session writes what it may.
    pub(crate) fn send(&mut self, now: Instant) {
        if !self.is_publishing {
            return;
        }
        if self.queue.sent_bytes() < REDIS_WINDOW_BYTES {
            let (bytes, count) = self.queue.send(REDIS_IO_BYTES, now);
            let commands = parse(&bytes.freeze());
            assert_eq!(commands.len(), count, "commands that were counted");
            self.input.extend(commands);
        }
        if self.queue.wants_mark() {
            let payload = self.queue.mark_sent().into();
            self.input.push_back(Command {
                channel: Bytes::from_static(MARK_CHANNEL),
                payload,
                is_mark: true,
            });
        }
    }

    /// Redis carries out so many commands.
    pub(crate) fn carry_out(&mut self, most: usize, now: u64) {
        for _ in 0..most {
            if now < self.hangs_until {
                return;
            }
            let Some(Command { channel, payload, is_mark }) = self.input.pop_front() else { return };
            let answer = match self.mood {
                Mood::Busy => Err("BUSY Redis is busy running a script.".to_owned()),
                Mood::Refuses => Err("NOPERM this user has no permissions".to_owned()),
                Mood::Well => {
                    let reached = self.publish(&channel, payload);
                    Ok(i64::from(reached))
                }
            };
            self.replies.push_back((is_mark, answer));
        }
    }

    /// The publishing session reads so many answers.
    pub(crate) fn read_answers(&mut self, most: usize, now: Instant) {
        for _ in 0..most {
            let Some((is_mark, answer)) = self.replies.pop_front() else { return };
            if is_mark {
                self.queue.mark_answered(matches!(answer, Ok(1..)));
            } else {
                assert!(self.queue.answered(answer, now), "an answer to nothing");
            }
        }
    }

    /// The subscribing session reads so many messages, as far as the inbox has room: those that went in, with
    /// their numbers.
    pub(crate) fn read_stream(&mut self, most: usize) -> Vec<(Bytes, Bytes, u64)> {
        let mut read = Vec::new();
        for _ in 0..most {
            let Some((channel, payload)) = self.stream.front().cloned() else { break };
            let is_mark = channel == MARK_CHANNEL;
            let item = if is_mark {
                Incoming::Mark
            } else {
                Incoming::Message { channel: channel.clone(), payload: payload.clone() }
            };
            if !self.inbox.has_room(item.allocated_bytes()) {
                break;
            }
            self.stream.pop_front();
            if !is_mark {
                self.put(item);
                read.push((channel, payload, self.given));
            } else if self.queue.mark_arrived(&payload) {
                self.put(item);
            }
        }
        read
    }

    fn put(&mut self, item: Incoming) {
        self.given += 1;
        let is_in = pin!(self.inbox.push(item)).as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(is_in.is_ready(), "there was room");
    }

    pub(crate) fn connect(&mut self) {
        trail::note(|| "the publishing session stands".to_owned());
        self.is_publishing = true;
        self.queue.connected(None);
    }

    /// The publishing connection breaks; Redis has carried out some of what it was given.
    pub(crate) fn disconnect(&mut self, rng: &mut Rng, now: u64) {
        trail::note(|| "the publishing session is lost".to_owned());
        self.is_publishing = false;
        let some = rng.below(self.input.len() + 1);
        self.carry_out(some, now);
        self.input.clear();
        self.replies.clear();
        self.queue.connection_lost();
    }

    pub(crate) fn subscribe(&mut self) {
        if self.has_gap && !self.inbox.has_room(Incoming::Gap.allocated_bytes()) {
            return;
        }
        trail::note(|| "the subscription stands".to_owned());
        if std::mem::take(&mut self.has_gap) {
            self.put(Incoming::Gap);
        }
        (self.is_subscribed, self.is_cut) = (true, false);
        self.queue.subscription_stands();
    }

    /// The subscription breaks: what was on its way is lost.
    pub(crate) fn unsubscribe(&mut self) {
        trail::note(|| "the subscription is lost".to_owned());
        self.is_subscribed = false;
        self.has_gap = true;
        self.stream.clear();
        self.queue.subscription_lost();
    }

    /// Marks that are on their way are lost, and nothing else.
    pub(crate) fn lose_marks(&mut self) {
        trail::note(|| "marks are lost".to_owned());
        self.stream.retain(|(channel, _)| channel != MARK_CHANNEL);
    }
}

/// Commands of `PUBLISH`, the prefix of their channels cut off.
fn parse(bytes: &Bytes) -> Vec<Command> {
    let (mut commands, mut at) = (Vec::new(), 0);
    let number = |at: &mut usize, kind: u8| {
        assert_eq!(bytes[*at], kind, "no RESP at {at}");
        let end = *at + bytes[*at..].iter().position(|byte| *byte == b'\r').expect("a line has an end");
        let text = std::str::from_utf8(&bytes[*at + 1..end]).expect("digits");
        *at = end + 2;
        text.parse::<usize>().expect("a number")
    };
    while at < bytes.len() {
        let words = number(&mut at, b'*');
        let word = |at: &mut usize| {
            let length = number(at, b'$');
            let word = bytes.slice(*at..*at + length);
            *at += length + 2;
            word
        };
        let words: Vec<Bytes> = (0..words).map(|_| word(&mut at)).collect();
        let [publish, channel, payload] = &words[..] else { panic!("{} words", words.len()) };
        assert_eq!(&publish[..], b"PUBLISH");
        let channel = channel.strip_prefix(PREFIX.as_bytes()).expect("every channel has the prefix");
        commands.push(Command {
            channel: bytes.slice_ref(channel),
            payload: payload.clone(),
            is_mark: false,
        });
    }
    commands
}
