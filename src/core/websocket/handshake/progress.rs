//! How far a head that comes in pieces has been read, so that its bytes are not read again for each piece.
//!
//! *Not here*: what the head means (`super`).

/// Up to so many bytes a head is parsed with each piece: garbage is refused at once, and at worst half a megabyte is
/// parsed for a head that comes byte by byte.
const SMALL_BYTES: usize = 1024;

/// What is known of the bytes so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes in which the end was looked for.
    searched: u32,
    /// Where the line begins that is not complete.
    line: u32,
    /// A line that was not empty is complete. Empty lines before the request are skipped (RFC 9112 section 2.2).
    has_request_line: bool,
    /// Bytes that there were when the head was last parsed.
    parsed: u32,
}

impl Progress {
    /// Whether the head has to be parsed now: for the first time, because its end has come, or because so many bytes
    /// have come since the last time that parsing them all costs no more than reading them did.
    pub(super) fn must_parse(&mut self, bytes: &[u8]) -> bool {
        let has_doubled = bytes.len() >= 2 * self.parsed as usize;
        let must = self.parsed == 0 || self.has_end(bytes) || has_doubled || bytes.len() <= SMALL_BYTES;
        if must {
            self.parsed = bytes.len() as u32;
        }
        must
    }

    /// Goes on looking for the empty line that ends a head. As `httparse` does, it takes a bare LF for a line's end.
    fn has_end(&mut self, bytes: &[u8]) -> bool {
        while let Some(found) = bytes.get(self.searched as usize..).and_then(find_line_end) {
            let end = self.searched as usize + found;
            let line = &bytes[self.line as usize..end];
            self.searched = end as u32 + 1;
            self.line = self.searched;
            match line {
                [] | [b'\r'] if self.has_request_line => return true,
                [] | [b'\r'] => {}
                _ => self.has_request_line = true,
            }
        }
        self.searched = self.searched.max(bytes.len() as u32);
        false
    }
}

fn find_line_end(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n')
}
