//! Server-sent events out of bytes, in whatever pieces they come. Pure.
//!
//! Source: the HTML standard, section 9.2.6 (interpreting an event stream). `id` and `retry` are left out: the end of a
//! push's stream is an event, and a stream that ends before it is an error here, not a reason to connect again.

use fanfare_core::limits::SSE_EVENT_BYTES_MAX;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEvent {
    /// `message` when the stream does not name it.
    pub name: String,
    /// The data lines, joined by line feeds; what is not UTF-8 is replaced.
    pub data: String,
}

/// An event exceeds [`SSE_EVENT_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// The state between two pieces of a stream. Holds at most one event.
#[derive(Debug, Default)]
pub struct Parser {
    /// The line under way.
    line: Vec<u8>,
    /// Lines that are over, for the byte order mark that may begin the first.
    begun: bool,
    /// The last byte was a carriage return: a line feed now belongs to it.
    after_return: bool,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
}

impl Parser {
    /// Takes a piece of the stream, and appends the events that it completes. After an error the stream is worth nothing.
    pub fn take(&mut self, piece: &[u8], events: &mut Vec<StreamEvent>) -> Result<(), TooLong> {
        let mut rest = piece;
        while let Some(&first) = rest.first() {
            if std::mem::take(&mut self.after_return) && first == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let part = &rest[..end.unwrap_or(rest.len())];
            if self.line.len() + self.name.len() + self.data.len() + part.len() > SSE_EVENT_BYTES_MAX {
                return Err(TooLong);
            }
            self.line.extend_from_slice(part);
            let Some(end) = end else { return Ok(()) };
            self.after_return = rest[end] == b'\r';
            rest = &rest[end + 1..];
            events.extend(self.end_line());
        }
        Ok(())
    }

    /// The line is whole; an empty one completes the event.
    fn end_line(&mut self) -> Option<StreamEvent> {
        let mut line = std::mem::take(&mut self.line);
        if !std::mem::replace(&mut self.begun, true) && line.starts_with(b"\xef\xbb\xbf") {
            line.drain(..3);
        }
        if line.is_empty() {
            return self.end_event();
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            None => (&line[..], &[][..]),
            Some(colon) => {
                let value = &line[colon + 1..];
                (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
            }
        };
        match field {
            b"event" => self.name = value.to_vec(),
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            // A comment (an empty field), or a field that means nothing here.
            _ => {}
        }
        None
    }

    fn end_event(&mut self) -> Option<StreamEvent> {
        let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
        // Without data there is no event: an empty line after a comment that keeps the stream alive.
        std::mem::take(&mut self.has_data).then(|| StreamEvent {
            name: if name.is_empty() {
                "message".into()
            } else {
                String::from_utf8_lossy(&name).into_owned()
            },
            data: String::from_utf8_lossy(&data).into_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Vec<(String, String)>, TooLong> {
        let (mut parser, mut events) = (Parser::default(), Vec::new());
        for piece in pieces {
            parser.take(piece, &mut events)?;
        }
        Ok(events.into_iter().map(|event| (event.name, event.data)).collect())
    }

    fn whole(stream: &[u8]) -> Vec<(String, String)> {
        parsed(std::iter::once(stream)).expect("short")
    }

    fn event(name: &str, data: &str) -> (String, String) {
        (name.into(), data.into())
    }

    #[test]
    fn an_event_has_a_name_and_its_lines_of_data() {
        let stream = b"event: progress\ndata: {\"sent\":1}\n\ndata:a\ndata: b\ndata\n\n";
        assert_eq!(whole(stream), [event("progress", "{\"sent\":1}"), event("message", "a\nb\n")]);
    }

    #[test]
    fn a_line_ends_with_a_feed_a_return_or_both() {
        for end in ["\n", "\r", "\r\n"] {
            let stream = ["event: end", "data: 1", "", "data: 2", "", ""].join(end);
            assert_eq!(whole(stream.as_bytes()), [event("end", "1"), event("message", "2")], "{end:?}");
        }
    }

    #[test]
    fn comments_unknown_fields_and_events_without_data_are_no_events() {
        assert_eq!(whole(b": alive\n\nid: 7\nretry: 1\nevent: x\n\nhello\n\n"), []);
        assert_eq!(whole(b"event: x\n\ndata: 1\n\n"), [event("message", "1")], "a name dies with its event");
        assert_eq!(whole(b"data: unfinished\n"), []);
    }

    #[test]
    fn a_byte_order_mark_is_dropped_once() {
        assert_eq!(whole(b"\xef\xbb\xbfdata: 1\n\n\xef\xbb\xbfdata: 2\n\n"), [event("message", "1")]);
    }

    #[test]
    fn an_endless_event_is_refused_whichever_way_it_grows() {
        for part in [&b"data: x\n"[..], b"data: x", b"event: x"] {
            let stream = part.repeat(SSE_EVENT_BYTES_MAX);
            assert_eq!(parsed(stream.chunks(4096)), Err(TooLong));
        }
        let fits = [b"data:".to_vec(), vec![b'x'; SSE_EVENT_BYTES_MAX - 5], b"\n\n".to_vec()].concat();
        assert_eq!(whole(&fits).len(), 1);
    }

    proptest! {
        #[test]
        fn pieces_change_nothing(
            stream in prop::collection::vec(
                prop::sample::select(&b"\n\r: xdata:event\xef\xbb\xbf\xff"[..]), 0..200),
            size in 1_usize..20,
        ) {
            prop_assert_eq!(parsed(stream.chunks(size)), parsed(std::iter::once(&stream[..])));
        }

        #[test]
        fn what_a_server_writes_is_what_is_read(
            events in prop::collection::vec(("[a-z]{1,8}", "[^\r\n\u{feff}]{0,20}(\n[^\r\n]{0,20}){0,3}"), 0..5),
        ) {
            let mut stream = String::new();
            for (name, data) in &events {
                stream += &["event: ", name, "\ndata: ", &data.replace('\n', "\ndata: "), "\n\n"].concat();
            }
            prop_assert_eq!(whole(stream.as_bytes()), events);
        }
    }
}
