//! One device: what it said, what it may expect, and what it got.
//!
//! *Not here*: when it speaks and reads (`world`), what everybody together must add up to (`checks`).

use std::collections::VecDeque;
use std::os::fd::RawFd;

use fanfare_core::model::FormatId;
use fanfare_core::session::outbox::{ITEM_BYTES, Outbox};

use crate::ledger::{ALL, Item, To};
use crate::plan::Plan;
use crate::rng::Rng;
use crate::wire::{self, Reader};

/// What a client says. The shard has done it once it has received the last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Ping,
    /// With a payload of that many bytes, at least four, which begins with the number.
    WebSocketPing(usize, u32),
    Join(To),
    Leave(To),
    /// Something that the gateway ignores.
    Noise,
    /// To the server's ping.
    Pong,
    /// Something that the gateway answers with this close code.
    Bad(u16),
    Close(Option<u16>),
}

impl Act {
    /// What undoes it, if something does.
    pub(crate) fn opposite(self) -> Self {
        match self {
            Self::Join(to) => Self::Leave(to),
            Self::Leave(to) => Self::Join(to),
            same => same,
        }
    }

    /// Nothing that follows is heard.
    pub(crate) fn is_last(self) -> bool {
        matches!(self, Self::Bad(_) | Self::Close(_))
    }
}

/// How fast a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    Fast,
    /// So many bytes a step.
    Slow(usize),
    /// Not at all until this step.
    StalledUntil(usize),
    Stalled,
}

/// What the client waits for from its pings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Pong,
    /// To the ping of that length and number.
    WebSocketPong(usize, u32),
}

impl Answer {
    /// What its frame has, if it is a WebSocket pong.
    pub(crate) fn pong_bytes(self) -> Option<u64> {
        match self {
            Self::WebSocketPong(length, _) => Some(2 + length as u64),
            Self::Pong => None,
        }
    }
}

/// Messages of one address that were taken by the shard while the client was a member.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) from: u64,
    /// `None`: it is a member.
    pub(crate) to: Option<u64>,
}

pub(crate) struct Client {
    pub(crate) id: usize,
    pub(crate) shard: usize,
    pub(crate) fd: RawFd,
    pub(crate) format: FormatId,
    pub(crate) pace: Pace,
    /// It answers pings and closes.
    pub(crate) is_polite: bool,
    /// Its socket is closed by the shard.
    pub(crate) is_removed: bool,
    pub(crate) has_said_close: bool,
    pub(crate) out: VecDeque<u8>,
    out_total: u64,
    /// Where each act begins and ends in what the client sends.
    pub(crate) acts: VecDeque<(u64, u64, Act)>,
    /// The last act, once its first byte was received.
    pub(crate) last_act: Option<Act>,
    /// When the shard last had a whole frame of it.
    pub(crate) heard: u32,
    /// The rest of the handshake's answer, which comes before the first frame.
    pub(crate) greeting: Vec<u8>,
    reader: Reader,
    /// Bytes of the server's stream that were read here.
    pub(crate) stream_at: u64,
    pub(crate) answers: VecDeque<Answer>,
    pub(crate) answer_bytes: u64,
    /// The server's Close frame.
    pub(crate) close: Option<Option<u16>>,
    pub(crate) spans: Vec<Vec<Span>>,
    pub(crate) next: Vec<u64>,
    /// Messages that the shard took for it, and their frames' bytes.
    pub(crate) targeted: u64,
    pub(crate) targeted_bytes: u64,
    pub(crate) received: u64,
    /// Those of pushes among them.
    pub(crate) targeted_by_pushes: u64,
    pub(crate) received_of_pushes: u64,
    /// Those of `targeted` that came since the shard last had no backlog (of that time).
    pub(crate) recent: (u64, u64),
    /// It left when something may have been on its way to it.
    pub(crate) has_withdrawn: bool,
    /// A send to it fell short once.
    pub(crate) was_short: bool,
    /// It has an outbox, as far as its socket shows.
    pub(crate) is_owed: bool,
    /// It had one when its Close frame came.
    pub(crate) was_owed_at_close: bool,
    /// It has been owed more than the bound, counting what was still on its way.
    pub(crate) was_over: bool,
    /// It may be closing: its Close frame would wait behind what it is owed.
    pub(crate) is_doubtful: bool,
    /// The shard may have given up waiting for a sign of life at some time.
    pub(crate) was_silent: bool,
    /// Its longest send that fell short.
    longest_short: u64,
    /// WebSocket pings that it sent.
    pub(crate) pings_sent: u32,
    /// Pings of the server.
    pub(crate) pings: u64,
    /// A send that fell short: where it ends, and what had been received when it began.
    item: Option<(u64, u64)>,
    /// The same of the one before it.
    before_item: u64,
}

impl Client {
    pub(crate) fn new(
        id: usize,
        shard: usize,
        fd: RawFd,
        format: FormatId,
        addresses: usize,
        tick: u32,
    ) -> Self {
        Self {
            id,
            shard,
            fd,
            format,
            pace: Pace::Fast,
            is_polite: true,
            is_removed: false,
            has_said_close: false,
            out: VecDeque::new(),
            out_total: 0,
            acts: VecDeque::new(),
            last_act: None,
            heard: tick,
            greeting: Vec::new(),
            reader: Reader::default(),
            stream_at: 0,
            answers: VecDeque::new(),
            answer_bytes: 0,
            close: None,
            spans: vec![Vec::new(); 2 * addresses],
            next: vec![0; 2 * addresses],
            targeted: 0,
            targeted_bytes: 0,
            received: 0,
            targeted_by_pushes: 0,
            received_of_pushes: 0,
            recent: (0, 0),
            has_withdrawn: false,
            was_short: false,
            is_owed: false,
            was_owed_at_close: false,
            was_over: false,
            is_doubtful: false,
            was_silent: false,
            longest_short: 0,
            pings_sent: 0,
            pings: 0,
            item: None,
            before_item: 0,
        }
    }

    /// What a report needs to know of it.
    pub(crate) fn summary(&self) -> String {
        let Self { id, pace, last_act, close, is_owed, is_polite, acts, .. } = self;
        let unsaid = self.out.len();
        format!(
            "{id} {pace:?} {last_act:?} {close:?} owed: {is_owed} polite: {is_polite} {acts:?} unsaid: {unsaid}"
        )
    }

    /// Puts an act into what the client will send.
    pub(crate) fn say(&mut self, act: Act, bytes: &[u8]) {
        let begin = self.out_total;
        self.has_said_close |= matches!(act, Act::Close(_));
        self.out.extend(bytes);
        self.out_total += bytes.len() as u64;
        self.acts.push_back((begin, self.out_total, act));
    }

    pub(crate) fn has_said_last(&self) -> bool {
        self.last_act.is_some() || self.acts.back().is_some_and(|(_, _, act)| act.is_last())
    }

    /// Messages that are for every member, that it was to get and has not.
    pub(crate) fn missed(&self) -> u64 {
        (self.targeted - self.targeted_by_pushes) - (self.received - self.received_of_pushes)
    }

    pub(crate) fn is_member(&self, to: To) -> bool {
        self.spans[to].last().is_some_and(|span| span.to.is_none())
    }

    pub(crate) fn topics(&self) -> usize {
        self.spans[ALL + 1..self.spans.len() / 2]
            .iter()
            .filter(|spans| spans.last().is_some_and(|s| s.to.is_none()))
            .count()
    }

    /// The kernel took bytes of the shard; returns the data frames among the whole ones.
    pub(crate) fn take_stream(&mut self, bytes: &[u8], mut on_frame: impl FnMut(&mut Self, wire::Frame)) {
        self.stream_at += bytes.len() as u64;
        let (greeting, frames) = bytes.split_at(self.greeting.len().min(bytes.len()));
        let expected: Vec<u8> = self.greeting.drain(..greeting.len()).collect();
        assert_eq!(greeting, expected, "{} gets something in the middle of the handshake's answer", self.id);
        self.reader.feed(frames);
        while let Some(frame) = self.reader.next() {
            on_frame(self, frame);
        }
    }

    /// Bytes of a frame that is not whole.
    pub(crate) fn begun(&self) -> usize {
        self.greeting.len() + self.reader.begun()
    }

    /// A send of `end - begin` bytes falls short at this point of the stream.
    pub(crate) fn note_short(&mut self, end: u64) {
        self.was_short = true;
        self.longest_short = self.longest_short.max(end - self.stream_at);
        match self.item {
            // The rest of the same send, or what was kept of it.
            Some((item_end, _)) if self.stream_at < item_end => {}
            _ => {
                self.before_item = self.item.map_or(self.received, |(_, received)| received);
                self.item = Some((end, self.received));
            }
        }
    }

    /// Messages that its outbox may have held when it was given up, and those of them that had come whole: a send is
    /// given up as one, even when it carries several frames.
    pub(crate) fn slack(&self) -> (u64, u64) {
        if !self.is_owed && !self.was_owed_at_close {
            return (0, 0);
        }
        let before = match self.item {
            // The Close frame may have been a send of its own, behind the rest of what was given up.
            Some(_) if self.close.is_some() || self.is_doubtful => self.before_item,
            Some((end, received)) if self.stream_at < end => received,
            _ => self.received,
        };
        (self.targeted - before, self.received - before)
    }

    /// The shard took messages for it.
    pub(crate) fn target(&mut self, messages: u64, bytes: u64, lull: u64, outbox_bytes_max: usize) {
        self.targeted += messages;
        self.targeted_bytes += bytes;
        if self.recent.0 != lull {
            self.recent = (lull, 0);
        }
        self.recent.1 += messages;
        self.note_owed(outbox_bytes_max);
    }

    /// Bytes that it was to get and has not, if everything meant for it is still on its way.
    pub(crate) fn owed_bytes(&self) -> u64 {
        (self.targeted_bytes + self.answer_bytes).saturating_sub(self.stream_at)
    }

    /// Its Close frame would wait behind what it is owed, so that nobody can say from outside.
    pub(crate) fn may_be_closing(&self, plan: &Plan, is_draining: bool) -> bool {
        let has_cause = self.was_over || self.last_act.is_some();
        let may_close = has_cause || is_draining || plan.may_age() || plan.may_fall_silent();
        self.is_owed && self.close.is_none() && !self.is_removed && may_close
    }

    /// An outbox counts its items whole, although part of the first was sent, and what they take in its list.
    pub(crate) fn note_owed(&mut self, outbox_bytes_max: usize) {
        let items = self.targeted - self.received + self.answers.len() as u64 + 2;
        let list = size_of::<Outbox>() + items as usize * ITEM_BYTES;
        // Room for a control frame is at most twice what it has.
        let held = 2 * self.owed_bytes() + self.longest_short + list as u64;
        self.was_over |= held > outbox_bytes_max as u64;
    }

    /// It asked something.
    pub(crate) fn expect(&mut self, answer: Answer, bytes: usize) {
        self.answers.push_back(answer);
        self.answer_bytes += bytes as u64;
    }

    /// Answers come in the order of the questions; some are missing once the rest was given up. A pong may stand for those
    /// right before it.
    pub(crate) fn answered(&mut self, answer: Answer) {
        while let Some(expected) = self.answers.pop_front() {
            if expected == answer {
                return;
            }
            if let (Some(bytes), Some(Answer::WebSocketPong(..))) =
                (expected.pong_bytes(), self.answers.front())
            {
                self.answer_bytes -= bytes;
                continue;
            }
            assert!(self.was_short && self.last_act.is_some(), "{answer:?} comes before {expected:?}");
        }
        panic!("{answer:?} to no question");
    }

    /// Bytes of pongs that may never come, because another one follows.
    pub(crate) fn joined_bytes(&self) -> u64 {
        let followed = self.answers.iter().zip(self.answers.iter().skip(1));
        followed
            .filter(|(_, next)| next.pong_bytes().is_some())
            .filter_map(|(pong, _)| pong.pong_bytes())
            .sum()
    }

    /// A message arrives: it was meant for the client, it is new, and nothing before it is missing but what may be.
    pub(crate) fn receive(&mut self, (to, at): Item, may_miss: impl Fn(Item) -> bool) {
        assert!(at >= self.next[to], "message {at} of {to} came after {}", self.next[to] - 1);
        let spans = &self.spans[to];
        let Some(found) = spans.iter().position(|s| at >= s.from && s.to.is_none_or(|end| at < end)) else {
            panic!("message {at} of {to} is not for this client: {spans:?}");
        };
        let expected = self.next[to].max(spans[found].from);
        let missing = (expected..at).find(|&at| !may_miss((to, at)));
        assert_eq!(missing, None, "message {at} of {to} came, and this one before it is missing");
        self.next[to] = at + 1;
        self.received += 1;
    }

    /// The bytes of an act.
    pub(crate) fn bytes_of(act: Act, room: &str, rng: &mut Rng) -> Vec<u8> {
        let mut out = Vec::new();
        let mut text = |text: &str, rng: &mut Rng| wire::push_text(&mut out, text, rng);
        match act {
            Act::Ping => text(r#"{"type":"PING","data":{}}"#, rng),
            Act::Join(_) => text(&format!(r#"{{"type":"JOIN","data":{{"room":{room}}}}}"#), rng),
            Act::Leave(_) => text(&format!(r#"{{"data":{{"room":{room}}},"type":"LEAVE"}}"#), rng),
            Act::WebSocketPing(length, number) => {
                let mut payload = vec![b'p'; length];
                payload[..4].copy_from_slice(&number.to_be_bytes());
                wire::push_masked(&mut out, true, wire::PING, &payload, rng);
            }
            Act::Pong => wire::push_masked(&mut out, true, wire::PONG, &[], rng),
            Act::Noise => match rng.below(3) {
                0 => wire::push_masked(&mut out, true, wire::BINARY, &vec![7; rng.below(3000)], rng),
                1 => wire::push_masked(&mut out, true, wire::PONG, b"unasked", rng),
                _ => text(r#"{"type":"HELLO","data":[]}"#, rng),
            },
            Act::Bad(1002) => match rng.below(3) {
                0 => out.extend_from_slice(&[0x81, 0x01, b'x']),
                1 => out.extend_from_slice(&[0xC1, 0x80, 1, 2, 3, 4]),
                _ => wire::push_masked(&mut out, true, 0, b"of nothing", rng),
            },
            Act::Bad(1007) => wire::push_masked(&mut out, true, wire::TEXT, &[b'{', 0xFF, b'}'], rng),
            Act::Bad(1008) => text(r#"{"type":"JOIN","data":{"room":""}}"#, rng),
            Act::Bad(1009) => out.extend_from_slice(&[0x81, 0xFF, 0, 0, 0, 0, 0x7F, 0, 0, 0, 1, 2, 3, 4]),
            Act::Bad(code) => unreachable!("nothing is answered with {code}"),
            Act::Close(code) => {
                let payload = code.map_or_else(Vec::new, |code| code.to_be_bytes().to_vec());
                wire::push_masked(&mut out, true, wire::CLOSE, &payload, rng);
            }
        }
        out
    }
}
