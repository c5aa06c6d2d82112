//! The walk over a reply's heads that finds its end, within the bounds, before anything is decoded.

use super::error::{CRLF, RespError};
use fanfare_core::limits::{RESP_BULK_BYTES_MAX, RESP_DEPTH_MAX, RESP_ELEMENTS_MAX, RESP_LINE_BYTES_MAX};

/// Bulk strings of the decoder's bound that one reply may have, and about as many lines.
const RESP_PLAIN_BULKS: usize = 8;

/// How far the buffer's first reply was walked. Whole elements are not looked at again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Walk {
    /// Bytes that were walked.
    pub(super) offset: usize,
    /// Elements still to come of the array that is walked and of those around it, outermost first. A reply that is no array
    /// is one element.
    left: [usize; RESP_DEPTH_MAX],
    /// Arrays that the walk is in; `None` until the first head was seen.
    depth: Option<usize>,
    /// Elements that were announced so far.
    elements: usize,
    /// Length of the buffer below which the walk gets no further.
    pub(super) needs: usize,
}

/// Where a walk ended.
pub(super) enum Walked {
    /// At the end of the reply.
    Whole,
    /// At the end of the buffer.
    Short,
    /// Behind the head of a bulk string of this length, above the bound.
    TooBig(u64),
}

impl Walk {
    /// Walks on for as long as whole elements are there.
    pub(super) fn on(&mut self, buffer: &[u8], bulk_bytes_max: usize) -> Result<Walked, RespError> {
        let bytes_max = RESP_PLAIN_BULKS * bulk_bytes_max + RESP_LINE_BYTES_MAX * RESP_PLAIN_BULKS;
        while self.depth != Some(0) {
            if self.offset > bytes_max {
                return Err(RespError::ReplyTooLong);
            }
            let rest = &buffer[self.offset..];
            let Some(line) = line(rest)? else {
                self.needs = buffer.len() + 1;
                return Ok(Walked::Short);
            };
            let head = line.len() + CRLF.len();
            match line[0] {
                b'*' => self.array(length(line)?, head)?,
                b'$' => {
                    let Some(bytes) = length(line)? else {
                        self.pass(head);
                        continue;
                    };
                    if bytes > RESP_BULK_BYTES_MAX {
                        return Err(RespError::BulkTooLong(bytes));
                    }
                    if bytes > bulk_bytes_max as u64 {
                        self.offset += head;
                        return Ok(Walked::TooBig(bytes));
                    }
                    let end = head + bytes as usize;
                    let Some(after) = rest.get(end..end + CRLF.len()) else {
                        self.needs = self.offset + end + CRLF.len();
                        return Ok(Walked::Short);
                    };
                    if after != CRLF {
                        return Err(RespError::NoCrlf);
                    }
                    self.pass(end + CRLF.len());
                }
                _ => self.pass(head),
            }
        }
        Ok(Walked::Whole)
    }

    /// One element of that many bytes is past, and with it the arrays of which it is the last.
    pub(super) fn pass(&mut self, bytes: usize) {
        self.offset += bytes;
        let mut depth = self.depth.unwrap_or(0);
        while depth > 0 {
            self.left[depth - 1] -= 1;
            if self.left[depth - 1] > 0 {
                break;
            }
            depth -= 1;
        }
        self.depth = Some(depth);
    }

    fn array(&mut self, elements: Option<u64>, head: usize) -> Result<(), RespError> {
        let elements = elements.unwrap_or(0);
        let announced = elements.saturating_add(self.elements as u64);
        if announced > RESP_ELEMENTS_MAX as u64 {
            return Err(RespError::ArrayTooLong(elements));
        }
        if elements == 0 {
            self.pass(head);
            return Ok(());
        }
        let depth = self.depth.unwrap_or(0);
        let Some(left) = self.left.get_mut(depth) else { return Err(RespError::TooDeep) };
        *left = elements as usize;
        self.elements = announced as usize;
        self.depth = Some(depth + 1);
        self.offset += head;
        Ok(())
    }
}

/// The line that the bytes start with, its kind first and without its CRLF; `None` while that did not come.
fn line(bytes: &[u8]) -> Result<Option<&[u8]>, RespError> {
    match bytes.first() {
        None => return Ok(None),
        Some(b'+' | b'-' | b':' | b'$' | b'*') => {}
        Some(kind) => return Err(RespError::Kind(*kind)),
    }
    let within = &bytes[..bytes.len().min(RESP_LINE_BYTES_MAX)];
    match within.iter().position(|byte| *byte == b'\n') {
        Some(at) if within[at - 1] == b'\r' => Ok(Some(&within[..at - 1])),
        Some(_) => Err(RespError::BareLineFeed),
        None if within.len() == RESP_LINE_BYTES_MAX => Err(RespError::LineTooLong),
        None => Ok(None),
    }
}

/// The length in a head: `None` for the null's -1.
fn length(line: &[u8]) -> Result<Option<u64>, RespError> {
    let digits = &line[1..];
    if digits == b"-1" {
        return Ok(None);
    }
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(RespError::BadLength);
    }
    // Nothing but digits is text; what does not fit 64 bits is no length either.
    let text = std::str::from_utf8(digits).map_err(|_| RespError::BadLength)?;
    text.parse().map(Some).map_err(|_| RespError::BadLength)
}
