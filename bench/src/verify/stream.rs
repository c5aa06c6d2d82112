//! One connection's stream, in whatever pieces the reads return it.
//!
//! ```text
//!   Boundary ──head and prefix of a batch──► Items ──all items──► Suffix ──► Boundary
//!      │  ▲                                    │ differs from the tape
//!      │  └── whole frame, looked at item by item ◄── gathered ◄┘
//!      └──── anything else, or a head in pieces ──────►┘
//! ```
//! The fast path keeps no bytes: it is the tape and a position in it. What was already found equal is taken from the
//! tape again when a later byte of the same frame differs.

use super::frame::{Head, opcode, read_head, write_head};
use super::framing::{Framing, PUSH_PREFIX, PUSH_SUFFIX};
use super::missing::Missing;
use super::refusals::Refusals;
use super::tally::Tally;
use super::tape::Tape;
use crate::message::MessageSpec;

/// A frame above it is not gathered: no server that this tool measures sends one.
const FRAME_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What the owner of the socket must act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Answer with a pong of this payload.
    Ping(Vec<u8>),
    /// The server closes with this code (1005: none given).
    Close(u16),
    /// What follows cannot be read any more.
    Unreadable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Between frames, or in a frame that is being gathered.
    Boundary,
    /// In the items of a batch, `offset` bytes into the unit of `next`, with `left` bytes of items to come.
    Items { offset: u32, left: u64 },
    /// Behind the items, with this many bytes of the suffix to come.
    Suffix { left: u8 },
}

/// State of one connection's stream.
#[derive(Debug)]
pub(crate) struct Stream {
    framing: Framing,
    place: Place,
    /// The sequence that must come next; `None` until the first one of a connection that joined during the run.
    next: Option<u64>,
    gathered: Vec<u8>,
    missing: Option<Box<Missing>>,
}

/// What a stream works with that belongs to its thread.
pub(crate) struct Desk<'a> {
    /// What must come.
    pub(crate) tape: &'a mut Tape,
    /// What came.
    pub(crate) tally: &'a mut Tally,
    /// What was never taken by the server.
    pub(crate) refusals: &'a Refusals,
    /// When the bytes were received, microseconds since the base.
    pub(crate) now_us: u64,
}

impl Stream {
    /// A stream whose first message must be 0 (`from_start`), or may be any.
    pub(crate) fn new(framing: Framing, from_start: bool) -> Self {
        let place = match framing {
            Framing::Bare => Place::Items { offset: 0, left: u64::MAX },
            Framing::Raw | Framing::GoPush => Place::Boundary,
        };
        Self { framing, place, next: from_start.then_some(0), gathered: Vec::new(), missing: None }
    }

    /// The messages that come from here on are those of another run, from its first one on. What has come of a frame
    /// stays.
    pub(crate) fn restart(&mut self) {
        self.next = Some(0);
        self.missing = None;
    }

    /// Messages of its topic, among the run's first `published`, that have not come yet and were not refused.
    pub(crate) fn tail(&self, spec: &MessageSpec, published: u64, refusals: &Refusals) -> u64 {
        let published = spec.sequences(0..published).end;
        match self.next {
            Some(next) if next < published => {
                refusals.rest_of(spec, next..published).iter().map(|range| range.end - range.start).sum()
            }
            _ => 0,
        }
    }

    /// The stream ends here: how many messages it was passed over for, the tail before `published` included.
    pub(crate) fn gaps(&self, spec: &MessageSpec, published: Option<u64>, refusals: &Refusals) -> u64 {
        published.map_or(0, |published| self.tail(spec, published, refusals))
            + self.missing.as_ref().map_or(0, |missing| missing.count())
    }

    /// Takes what a read returned.
    pub(crate) fn handle_bytes(&mut self, mut bytes: &[u8], desk: &mut Desk<'_>, act: &mut Vec<Signal>) {
        while !bytes.is_empty() {
            let taken = match self.place {
                Place::Items { offset, left } => self.compare_items(offset as usize, left, bytes, desk),
                Place::Suffix { left } => self.compare_suffix(left, bytes, desk),
                Place::Boundary => self.begin_or_gather(bytes, desk, act),
            };
            match taken {
                Some(taken) => bytes = &bytes[taken..],
                None => return act.push(Signal::Unreadable),
            }
        }
    }

    /// Items of a batch against the tape; all of `bytes` that can be, at once.
    fn compare_items(
        &mut self,
        offset: usize,
        left: u64,
        bytes: &[u8],
        desk: &mut Desk<'_>,
    ) -> Option<usize> {
        let next = self.next?;
        let (stride, separator) = (desk.tape.stride(), usize::from(self.framing == Framing::GoPush));
        let length = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if desk.tape.expected(next, offset, length) != Some(&bytes[..length]) {
            return self.leave_fast_path(offset, left, desk).then_some(0);
        }
        // A message is complete with its last byte, the separator behind it not being part of it.
        let complete = |bytes: usize| ((bytes + separator) / stride) as u64;
        let end = offset + length;
        if complete(end) > complete(offset) {
            let spec = *desk.tape.spec();
            desk.tally.deliver(next + complete(offset)..next + complete(end), desk.now_us, &spec);
        }
        let left = left - length as u64;
        if left == 0 {
            self.next = Some(next + complete(end));
            self.place = Place::Suffix { left: PUSH_SUFFIX.len() as u8 };
        } else {
            self.next = Some(next + (end / stride) as u64);
            self.place = Place::Items { offset: (end % stride) as u32, left };
        }
        Some(length)
    }

    /// A byte is not what must come: the rest of the frame is gathered, as a frame that begins at this item. False
    /// when there is no frame to gather.
    #[cold]
    fn leave_fast_path(&mut self, offset: usize, left: u64, desk: &mut Desk<'_>) -> bool {
        if self.framing == Framing::Bare {
            desk.tally.malformed(|| "bytes are not those that were sent".into());
            return false;
        }
        let (Some(next), stride) = (self.next, desk.tape.stride()) else { return false };
        // A last separator that was compared already belongs to the item before this unit's end.
        let payload = PUSH_PREFIX.len() + offset + left as usize + PUSH_SUFFIX.len();
        let mut gathered = Vec::with_capacity(payload + 10);
        write_head(opcode::TEXT, payload, &mut gathered);
        gathered.extend_from_slice(PUSH_PREFIX);
        gathered.extend_from_slice(&desk.tape.unit(next)[..offset]);
        if offset == stride - 1 {
            // This message was delivered when its last byte came; the gathered frame must not have it again.
            gathered.clear();
            write_head(opcode::TEXT, payload - offset, &mut gathered);
            gathered.extend_from_slice(PUSH_PREFIX);
            self.next = Some(next + 1);
        }
        self.gathered = gathered;
        self.place = Place::Boundary;
        true
    }

    fn compare_suffix(&mut self, left: u8, bytes: &[u8], desk: &mut Desk<'_>) -> Option<usize> {
        let expected = &PUSH_SUFFIX[PUSH_SUFFIX.len() - usize::from(left)..];
        let length = expected.len().min(bytes.len());
        if expected[..length] != bytes[..length] {
            desk.tally.malformed(|| "a batch does not end as one".into());
            return None;
        }
        let left = left - length as u8;
        self.place = if left == 0 { Place::Boundary } else { Place::Suffix { left } };
        desk.tally.frames += u64::from(left == 0);
        Some(length)
    }

    /// A frame begins, or the gathered one goes on.
    fn begin_or_gather(&mut self, bytes: &[u8], desk: &mut Desk<'_>, act: &mut Vec<Signal>) -> Option<usize> {
        if !self.gathered.is_empty() {
            return self.gather(bytes, desk, act);
        }
        if self.framing == Framing::Raw
            && let Some(taken) = self.compare_frames(bytes, desk)
        {
            return Some(taken);
        }
        let head = match read_head(bytes) {
            Ok(Some(head)) => head,
            Ok(None) => return self.gather(bytes, desk, act),
            Err(why) => {
                desk.tally.malformed(|| why.into());
                return None;
            }
        };
        if let Some(taken) = self.begin_items(&head, bytes, desk.tape.stride()) {
            return Some(taken);
        }
        match bytes.get(..head.bytes + usize::try_from(head.payload).ok()?) {
            Some(frame) => self.take_frame(&head, frame, desk, act).then_some(frame.len()),
            None => self.gather(bytes, desk, act),
        }
    }

    /// The beginning of a batch whose items can be compared as they come.
    fn begin_items(&mut self, head: &Head, bytes: &[u8], stride: usize) -> Option<usize> {
        self.next?;
        if self.framing != Framing::GoPush || head.opcode != opcode::TEXT || !head.fin {
            return None;
        }
        let items = head.payload.checked_sub((PUSH_PREFIX.len() + PUSH_SUFFIX.len()) as u64)?;
        if items == 0 || (items + 1) % stride as u64 != 0 || !bytes[head.bytes..].starts_with(PUSH_PREFIX) {
            return None;
        }
        self.place = Place::Items { offset: 0, left: items };
        Some(head.bytes + PUSH_PREFIX.len())
    }

    /// Whole raw frames against the tape, as many as there are.
    fn compare_frames(&mut self, bytes: &[u8], desk: &mut Desk<'_>) -> Option<usize> {
        let (next, stride) = (self.next?, desk.tape.stride());
        let whole = bytes.len() / stride;
        let equal = |tape: &mut Tape, count: usize| {
            tape.expected(next, 0, count * stride) == Some(&bytes[..count * stride])
        };
        let count = if equal(desk.tape, whole) {
            whole
        } else {
            (0..whole).take_while(|count| equal(desk.tape, count + 1)).count()
        };
        if count == 0 {
            return None;
        }
        let spec = *desk.tape.spec();
        desk.tally.deliver(next..next + count as u64, desk.now_us, &spec);
        desk.tally.frames += count as u64;
        self.next = Some(next + count as u64);
        Some(count * stride)
    }

    /// Keeps bytes until the frame that they belong to is whole, then looks at it.
    fn gather(&mut self, bytes: &[u8], desk: &mut Desk<'_>, act: &mut Vec<Signal>) -> Option<usize> {
        let before = self.gathered.len();
        let head = match read_head(&self.gathered) {
            Ok(Some(head)) => head,
            Ok(None) => {
                // Byte by byte: a head is at most ten, and nothing behind it may be taken with it.
                self.gathered.push(*bytes.first()?);
                return Some(1);
            }
            Err(why) => {
                desk.tally.malformed(|| why.into());
                return None;
            }
        };
        if head.payload > FRAME_BYTES_MAX {
            desk.tally.malformed(|| format!("a frame of {} bytes", head.payload));
            return None;
        }
        let whole = head.bytes + head.payload as usize;
        let taken = (whole - before).min(bytes.len());
        self.gathered.extend_from_slice(&bytes[..taken]);
        if self.gathered.len() == whole {
            let frame = std::mem::take(&mut self.gathered);
            if !self.take_frame(&head, &frame, desk, act) {
                return None;
            }
        }
        Some(taken)
    }

    /// A whole frame. False when the stream cannot be followed behind it.
    fn take_frame(&mut self, head: &Head, frame: &[u8], desk: &mut Desk<'_>, act: &mut Vec<Signal>) -> bool {
        let payload = &frame[head.bytes..];
        match head.opcode {
            opcode::PING => act.push(Signal::Ping(payload.to_vec())),
            opcode::PONG => {}
            opcode::CLOSE => {
                let code = payload.first_chunk::<2>().map_or(1005, |code| u16::from_be_bytes(*code));
                act.push(Signal::Close(code));
            }
            _ if !head.fin || head.opcode == opcode::CONTINUATION => {
                desk.tally.malformed(|| "a message in fragments".into());
                return false;
            }
            _ => match self.framing {
                Framing::GoPush => self.take_batch(payload, desk),
                Framing::Raw | Framing::Bare => {
                    desk.tally.frames += 1;
                    self.take_message(payload, desk);
                }
            },
        }
        true
    }

    fn take_batch(&mut self, payload: &[u8], desk: &mut Desk<'_>) {
        let items = payload.strip_prefix(PUSH_PREFIX).and_then(|rest| rest.strip_suffix(PUSH_SUFFIX));
        let Some(items) = items else {
            if payload.starts_with(PUSH_PREFIX) {
                desk.tally.malformed(|| "a batch does not end as one".into());
            } else {
                desk.tally.other_frames += 1;
            }
            return;
        };
        desk.tally.frames += 1;
        let mut rest = items;
        while !rest.is_empty() {
            // A separator that begins the rest stood behind an item that was compared before.
            let item = &rest[..item_bytes(rest)];
            rest = &rest[item.len()..];
            if !item.is_empty() {
                self.take_message(item, desk);
            }
            rest = rest.strip_prefix(b",").unwrap_or(rest);
        }
    }

    /// One message, compared with nothing yet.
    fn take_message(&mut self, message: &[u8], desk: &mut Desk<'_>) {
        let spec = *desk.tape.spec();
        let Some(sequence) = spec.read(message) else {
            let shown = String::from_utf8_lossy(&message[..message.len().min(120)]).into_owned();
            return desk.tally.malformed(|| format!("not a message of this run and topic: {shown}"));
        };
        let next = self.next.unwrap_or(sequence);
        if sequence < next {
            if self.missing.as_mut().is_some_and(|missing| missing.take(sequence)) {
                desk.tally.faults.reorders += 1;
                desk.tally.deliver(sequence..sequence + 1, desk.now_us, &spec);
            } else {
                desk.tally.faults.duplicates += 1;
            }
            return;
        }
        if sequence > next {
            let passed_over = desk.refusals.rest_of(&spec, next..sequence);
            let missing = self.missing.get_or_insert_default();
            for range in passed_over {
                missing.add(range);
            }
        }
        desk.tally.deliver(sequence..sequence + 1, desk.now_us, &spec);
        self.next = Some(sequence + 1);
    }
}

/// Bytes of the JSON value at the beginning: up to the comma that ends it, or everything.
fn item_bytes(items: &[u8]) -> usize {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, byte) in items.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => return at,
            _ => {}
        }
    }
    items.len()
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
