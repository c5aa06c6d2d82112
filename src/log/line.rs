//! A line on its way from the formatter into the queue: cut to its bound, or taken by the writer that made it.
//!
//! *Not here*: the queue's bounds (`queue`), writing (`writer`).

use std::io;

use super::queue::Entrance;
use super::writer::intercept;
use fanfare_core::limits::LOG_LINE_BYTES_MAX;

/// What the log's formatter writes into: one call a line.
#[derive(Debug)]
pub struct LineWriter<'a> {
    pub(super) entrance: &'a Entrance,
    pub(super) is_json: bool,
}

impl io::Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if intercept(line) {
            return Ok(line.len());
        }
        if line.len() <= LOG_LINE_BYTES_MAX {
            self.entrance.put(line);
        } else {
            self.entrance.put(&cut(line, self.is_json));
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A line that is too long, as one that is not.
fn cut(line: &[u8], is_json: bool) -> Vec<u8> {
    let mark = format!("… ({} bytes, cut)", line.len());
    // In JSON a byte can become six.
    let most = if is_json { LOG_LINE_BYTES_MAX / 8 } else { LOG_LINE_BYTES_MAX - mark.len() - 1 };
    let begin = String::from_utf8_lossy(&line[..most]);
    let text = format!("{}{mark}", begin.trim_end_matches('\u{fffd}'));
    let mut out = if is_json { serde_json::json!({ "cut": text }).to_string() } else { text };
    out.push('\n');
    out.into_bytes()
}
