//! The walk over a reply's heads that finds its end, within the bounds, before anything is decoded.

use super::{CRLF, RespError};
use crate::limits::{RESP_BULK_BYTES_MAX, RESP_ELEMENTS_MAX, RESP_LINE_BYTES_MAX};

/// How far the buffer's first reply was walked. Whole elements are not looked at again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Walk {
    /// Bytes that were walked.
    pub(super) offset: usize,
    /// Elements still to come; `None` until the first head was seen. A reply that is no array is one element.
    left: Option<usize>,
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
        while self.left != Some(0) {
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

    /// One element of that many bytes is past.
    pub(super) fn pass(&mut self, bytes: usize) {
        self.offset += bytes;
        self.left = Some(self.left.map_or(0, |left| left.saturating_sub(1)));
    }

    fn array(&mut self, elements: Option<u64>, head: usize) -> Result<(), RespError> {
        if self.left.is_some() {
            return Err(RespError::Nested);
        }
        let elements = elements.unwrap_or(0);
        if elements > RESP_ELEMENTS_MAX as u64 {
            return Err(RespError::ArrayTooLong(elements));
        }
        self.offset += head;
        self.left = Some(elements as usize);
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
