//! From a client's bytes to messages and control frames (RFC 6455 sections 5 and 8.1), incrementally.
//!
//! A frame that is whole in the input is decoded in place: no copy, no allocation. What a read leaves unfinished (the
//! rest of a frame, an open fragmented message) waits in a boxed [`Partial`] that the connection owns and that exists
//! only that long. However a stream is cut into reads, it gives the same events and the same violation.
//!
//! *Not here*: what an event leads to (`session`), what a text asks for (`protocols`), extensions (none is ever
//! negotiated, so every reserved bit is a violation).

use std::ops::ControlFlow;

use super::close;
use super::frame::{CONTROL_PAYLOAD_BYTES_MAX, Opcode};
use super::mask::Mask;
use crate::model::{CloseReason, Tick};

/// Bounds that the operator sets.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Payload of one message, fragments joined.
    pub message_bytes_max: usize,
}

/// One thing that a client said. `'a` is the input, or the partial that the message was joined in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameEvent<'a> {
    /// A whole text message.
    Text(&'a str),
    /// A whole binary message.
    Binary(&'a [u8]),
    /// A ping; the pong carries the same payload.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// Close, with code and reason if there were any. Nothing follows it.
    Close(Option<(u16, &'a str)>),
}

/// The client broke the rules; nothing after it can be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// [`CloseReason::ProtocolError`], [`CloseReason::BadText`] or [`CloseReason::TooBig`].
    pub reason: CloseReason,
    /// Which rule, for the Close frame's reason and the log.
    pub text: &'static str,
}

/// Decodes the input, continuing where `partial` stands, and returns how many frames became complete, control frames
/// included.
///
/// The input is overwritten: its payloads are unmasked in place. After a Close, a `Break` or a violation, the rest of
/// the input and the partial are discarded. Cost: one pass over the bytes, and two over those of a message that had to
/// be joined.
pub fn decode(
    partial: &mut Option<Box<Partial>>,
    input: &mut [u8],
    limits: &Limits,
    mut on_event: impl FnMut(FrameEvent<'_>) -> ControlFlow<()>,
) -> Result<usize, Violation> {
    let mut decoder = Decoder { partial: partial.take(), limits, frames: 0, on_event: &mut on_event };
    let flow = decoder.run(input)?;
    let frames = decoder.frames;
    *partial = decoder.partial.filter(|partial| flow.is_continue() && !partial.is_idle());
    Ok(frames)
}

/// What survives between reads.
#[derive(Debug)]
pub struct Partial {
    frame: Unfinished,
    /// The data message that has begun and not ended; control frames may come between its fragments.
    message: Option<Message>,
    /// When its first byte came, once its owner has noted that. Another message, or a frame of none, is another beginning.
    since: Option<Tick>,
}

/// How much of the current frame has been seen.
///
/// ```text
///           header cut off, or control frame cut off
///  Nothing ──────────────────────────────────────────► Raw ──┐ control frame whole: event
///     ▲ │                                               │    └───────────────────────► Nothing
///     │ └─ header of a data frame ─► Payload ◄──────────┘ header of a data frame whole
///     └───── payload whole ───────────┘
/// ```
#[derive(Debug)]
enum Unfinished {
    /// The next byte begins a frame.
    Nothing,
    /// A header, or a control frame, as it came. Control frames are delivered whole, so they wait whole.
    Raw { bytes: [u8; RAW_BYTES_MAX], len: u8 },
    /// A data frame: its payload goes to the message as it comes.
    Payload { fin: bool, remaining: usize, mask: Mask },
}

/// The longest control frame: short header, key, payload. The longest header of a data frame, 14 bytes, is shorter.
const RAW_BYTES_MAX: usize = 2 + 4 + CONTROL_PAYLOAD_BYTES_MAX;
const _: () = assert!(RAW_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(size_of::<Partial>() <= 192);

#[derive(Debug)]
struct Message {
    is_text: bool,
    /// Unmasked payload of all fragments so far.
    bytes: Vec<u8>,
    /// That many of `bytes` are whole UTF-8 characters; fewer than four more may follow them. Text only.
    utf8_checked: usize,
}

/// A header of which everything has been checked that can be.
#[derive(Clone, Copy)]
struct Header {
    fin: bool,
    opcode: Opcode,
    /// Of this header.
    len: usize,
    payload_len: usize,
    mask: Mask,
}

const fn protocol_error(text: &'static str) -> Violation {
    Violation { reason: CloseReason::ProtocolError, text }
}

const BAD_UTF8: Violation = Violation { reason: CloseReason::BadText, text: "text is not UTF-8" };
const TOO_BIG: Violation = Violation { reason: CloseReason::TooBig, text: "message is too big" };

struct Decoder<'d, F> {
    partial: Option<Box<Partial>>,
    limits: &'d Limits,
    frames: usize,
    on_event: &'d mut F,
}

impl<F: FnMut(FrameEvent<'_>) -> ControlFlow<()>> Decoder<'_, F> {
    fn run(&mut self, mut input: &mut [u8]) -> Result<ControlFlow<()>, Violation> {
        while !input.is_empty() {
            let (used, flow) = match self.partial.as_ref().map(|partial| &partial.frame) {
                None | Some(Unfinished::Nothing) => self.begin_frame(input)?,
                Some(Unfinished::Raw { .. }) => self.extend_raw(input)?,
                Some(Unfinished::Payload { .. }) => self.extend_message(input)?,
            };
            if flow.is_break() {
                return Ok(flow);
            }
            if let Some(partial) = &mut self.partial
                && partial.is_idle()
            {
                partial.since = None;
            }
            input = &mut input[used..];
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The input begins with a frame. Each of these functions returns how many bytes it took.
    fn begin_frame(&mut self, input: &mut [u8]) -> Result<(usize, ControlFlow<()>), Violation> {
        let header = self.parse_header(input)?;
        let Some(header) = header.filter(|h| !h.opcode.is_control() || h.payload_len <= input.len() - h.len)
        else {
            let mut bytes = [0; RAW_BYTES_MAX];
            bytes[..input.len()].copy_from_slice(input);
            self.partial_mut().frame = Unfinished::Raw { bytes, len: input.len() as u8 };
            return Ok((input.len(), ControlFlow::Continue(())));
        };
        let (used, flow) = if header.opcode.is_control() {
            let payload = &mut input[header.len..header.len + header.payload_len];
            (payload.len(), self.control(header, payload)?)
        } else {
            self.data(header, &mut input[header.len..])?
        };
        Ok((header.len + used, flow))
    }

    /// A frame of which a header or, if it is a control frame, all will be in [`Unfinished::Raw`].
    fn extend_raw(&mut self, input: &mut [u8]) -> Result<(usize, ControlFlow<()>), Violation> {
        let Unfinished::Raw { mut bytes, len } = self.partial_mut().frame else { unreachable!() };
        let mut have = usize::from(len);
        let mut used = 0;
        loop {
            let header = self.parse_header(&bytes[..have])?;
            let need = match header {
                None => have + 1,
                Some(header) if header.opcode.is_control() => header.len + header.payload_len,
                Some(header) => header.len,
            };
            if let Some(header) = header.filter(|_| need == have) {
                self.partial_mut().frame = Unfinished::Nothing;
                let (more, flow) = if header.opcode.is_control() {
                    (0, self.control(header, &mut bytes[header.len..have])?)
                } else {
                    self.data(header, &mut input[used..])?
                };
                return Ok((used + more, flow));
            }
            let take = (need - have).min(input.len() - used);
            if take == 0 {
                self.partial_mut().frame = Unfinished::Raw { bytes, len: have as u8 };
                return Ok((used, ControlFlow::Continue(())));
            }
            bytes[have..have + take].copy_from_slice(&input[used..used + take]);
            have += take;
            used += take;
        }
    }

    /// A data frame whose payload begins, and perhaps ends, in the input.
    fn data(&mut self, header: Header, input: &mut [u8]) -> Result<(usize, ControlFlow<()>), Violation> {
        let Header { fin, opcode, payload_len, mut mask, .. } = header;
        if fin && opcode != Opcode::Continuation && payload_len <= input.len() {
            let payload = &mut input[..payload_len];
            mask.apply(payload);
            self.frames += 1;
            return Ok((payload_len, self.deliver(opcode == Opcode::Text, payload)?));
        }
        let partial = self.partial_mut();
        if opcode != Opcode::Continuation {
            let is_text = opcode == Opcode::Text;
            partial.message = Some(Message { is_text, bytes: Vec::new(), utf8_checked: 0 });
        }
        partial.frame = Unfinished::Payload { fin, remaining: payload_len, mask };
        self.extend_message(input)
    }

    /// The input continues, and perhaps ends, a data frame's payload.
    fn extend_message(&mut self, input: &mut [u8]) -> Result<(usize, ControlFlow<()>), Violation> {
        let bytes_max = self.limits.message_bytes_max;
        let Partial { frame, message, .. } = self.partial_mut();
        let (Unfinished::Payload { fin, remaining, mask }, Some(open)) = (&mut *frame, message.as_mut())
        else {
            unreachable!("a payload belongs to a message");
        };
        let used = input.len().min(*remaining);
        let piece = &mut input[..used];
        mask.apply(piece);
        let end_max = if *fin { open.bytes.len() + *remaining } else { bytes_max };
        open.append(piece, end_max)?;
        *remaining -= used;
        if *remaining > 0 {
            return Ok((used, ControlFlow::Continue(())));
        }
        let ended = if *fin { message.take() } else { None };
        *frame = Unfinished::Nothing;
        self.frames += 1;
        let flow = match ended {
            Some(message) => self.deliver(message.is_text, &message.bytes)?,
            None => ControlFlow::Continue(()),
        };
        Ok((used, flow))
    }

    fn control(&mut self, header: Header, payload: &mut [u8]) -> Result<ControlFlow<()>, Violation> {
        let mut mask = header.mask;
        mask.apply(payload);
        self.frames += 1;
        Ok(match header.opcode {
            Opcode::Ping => (self.on_event)(FrameEvent::Ping(payload)),
            Opcode::Pong => (self.on_event)(FrameEvent::Pong(payload)),
            _ => {
                let close = close::parse(payload).map_err(|bad| match bad {
                    close::BadClose::HalfCode => protocol_error("Close with half a code"),
                    close::BadClose::Code(_) => protocol_error("Close with an invalid code"),
                    close::BadClose::Reason => BAD_UTF8,
                })?;
                let _ = (self.on_event)(FrameEvent::Close(close));
                ControlFlow::Break(())
            }
        })
    }

    fn deliver(&mut self, is_text: bool, payload: &[u8]) -> Result<ControlFlow<()>, Violation> {
        let event = if is_text {
            FrameEvent::Text(std::str::from_utf8(payload).map_err(|_| BAD_UTF8)?)
        } else {
            FrameEvent::Binary(payload)
        };
        Ok((self.on_event)(event))
    }

    /// Parses the header at the beginning of `bytes`, or as much of it as is there; `None`: it goes on.
    ///
    /// Each byte is judged before the next is looked at, so that a violation does not depend on how many came at once.
    fn parse_header(&self, bytes: &[u8]) -> Result<Option<Header>, Violation> {
        let open = self.partial.as_ref().and_then(|partial| partial.message.as_ref());
        let Some(&first) = bytes.first() else { return Ok(None) };
        let fin = first & 0x80 != 0;
        let opcode = check_first_byte(first, open.is_some())?;

        let Some(&second) = bytes.get(1) else { return Ok(None) };
        if second & 0x80 == 0 {
            // Section 5.1: "The server MUST close the connection upon receiving a frame that is not masked."
            return Err(protocol_error("unmasked frame"));
        }
        let short_len = second & 0x7F;
        if opcode.is_control() && usize::from(short_len) > CONTROL_PAYLOAD_BYTES_MAX {
            // Section 5.5: "All control frames MUST have a payload length of 125 bytes or less".
            return Err(protocol_error("control frame is longer than 125 bytes"));
        }
        let Some((payload_len, len_end)) = parse_len(short_len, &bytes[2..])? else { return Ok(None) };
        let room = self.limits.message_bytes_max.saturating_sub(open.map_or(0, |open| open.bytes.len()));
        if !opcode.is_control() && payload_len > room as u64 {
            return Err(TOO_BIG);
        }

        let Some(key) = bytes[2 + len_end..].first_chunk::<4>() else { return Ok(None) };
        let len = 2 + len_end + key.len();
        Ok(Some(Header { fin, opcode, len, payload_len: payload_len as usize, mask: Mask::new(*key) }))
    }

    fn partial_mut(&mut self) -> &mut Partial {
        self.partial.get_or_insert_with(|| {
            Box::new(Partial { frame: Unfinished::Nothing, message: None, since: None })
        })
    }
}

/// Reserved bits, opcode, and the rules of fragmentation (section 5.4).
fn check_first_byte(first: u8, message_is_open: bool) -> Result<Opcode, Violation> {
    if first & 0x70 != 0 {
        // Section 5.2: "MUST be 0 unless an extension is negotiated that defines meanings for non-zero values."
        return Err(protocol_error("reserved bit is set"));
    }
    let opcode = Opcode::from_first_byte(first).ok_or(protocol_error("reserved opcode"))?;
    let is_fin = first & 0x80 != 0;
    match opcode {
        Opcode::Close | Opcode::Ping | Opcode::Pong if !is_fin => {
            // Section 5.5: "All control frames [...] MUST NOT be fragmented."
            Err(protocol_error("fragmented control frame"))
        }
        Opcode::Continuation if !message_is_open => Err(protocol_error("continuation of no message")),
        Opcode::Text | Opcode::Binary if message_is_open => {
            Err(protocol_error("new message inside a fragmented message"))
        }
        _ => Ok(opcode),
    }
}

/// The payload's length, and how many bytes of `bytes` it took; `None`: it goes on.
fn parse_len(short: u8, bytes: &[u8]) -> Result<Option<(u64, usize)>, Violation> {
    // Section 5.2: "in all cases, the minimal number of bytes MUST be used to encode the length".
    const NOT_MINIMAL: Violation = protocol_error("length is not in its shortest form");
    match short {
        126 => {
            let Some(len) = bytes.first_chunk::<2>() else { return Ok(None) };
            let len = u64::from(u16::from_be_bytes(*len));
            if len < 126 { Err(NOT_MINIMAL) } else { Ok(Some((len, 2))) }
        }
        127 => {
            let Some(len) = bytes.first_chunk::<8>() else { return Ok(None) };
            let len = u64::from_be_bytes(*len);
            // Section 5.2: "the most significant bit MUST be 0".
            match len {
                0..=0xFFFF => Err(NOT_MINIMAL),
                _ if len >> 63 != 0 => Err(protocol_error("length has its highest bit set")),
                _ => Ok(Some((len, 8))),
            }
        }
        _ => Ok(Some((u64::from(short), 0))),
    }
}

impl Message {
    /// Appends unmasked payload; `end_max` is the most that the message can come to hold.
    fn append(&mut self, piece: &[u8], end_max: usize) -> Result<(), Violation> {
        let end = self.bytes.len() + piece.len();
        if end > self.bytes.capacity() {
            // Doubling keeps small reads linear. It starts from what has arrived, not from what a header announced,
            // and stops at what may arrive.
            let capacity = end.max(2 * self.bytes.capacity()).min(end_max);
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
        if self.is_text {
            match std::str::from_utf8(&self.bytes[self.utf8_checked..]) {
                Ok(_) => self.utf8_checked = end,
                // A character may be cut off by the end of a read; bytes that cannot become one may not.
                Err(error) if error.error_len().is_none() => self.utf8_checked += error.valid_up_to(),
                Err(_) => return Err(BAD_UTF8),
            }
        }
        Ok(())
    }
}

impl Partial {
    /// Heap bytes that it holds, its own box included: at most [`Limits::message_bytes_max`] and the box.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.message.as_ref().map_or(0, |message| message.bytes.capacity())
    }

    /// When its first byte came, as far as that was noted.
    pub fn since(&self) -> Option<Tick> {
        self.since
    }

    /// Notes that its first byte came with the last input, unless it is older.
    pub fn note_since(&mut self, now: Tick) {
        self.since.get_or_insert(now);
    }

    fn is_idle(&self) -> bool {
        matches!(self.frame, Unfinished::Nothing) && self.message.is_none()
    }
}

#[cfg(test)]
mod tests;
