//! Messages as people type them, made JSON. Pure.
//!
//! A message that is JSON is sent verbatim, byte for byte; one that is not becomes a JSON string. Which of the two it was
//! is part of the result, so that the command can say so.

use serde_json::value::RawValue;

use fanfare_core::limits::{MESSAGE_BYTES_MAX, PUSH_MESSAGES_MAX};

/// A message as it goes to the gateway.
#[derive(Clone, Debug)]
pub struct Message {
    /// Valid JSON.
    pub json: Box<RawValue>,
    /// It was typed as something else, and was made a string.
    pub quoted: bool,
}

/// Why messages cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadMessages {
    /// There is none.
    None,
    /// More than one push takes.
    TooMany,
    /// The one with this number, from 1, is longer than a message may be.
    TooLong(usize),
    /// The line with this number, from 1, is not UTF-8.
    NotText(usize),
}

impl std::fmt::Display for BadMessages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("standard input has no message: write one a line"),
            Self::TooMany => {
                write!(f, "a push takes at most {PUSH_MESSAGES_MAX} messages: make several pushes of them")
            }
            Self::TooLong(number) => {
                write!(f, "message {number} is too long: at most {MESSAGE_BYTES_MAX} bytes")
            }
            Self::NotText(line) => write!(f, "line {line} of standard input is not UTF-8"),
        }
    }
}

/// What was typed, as JSON.
pub fn message(text: &str) -> Message {
    // White space around a value is no part of it: the gateway keeps what it gets verbatim.
    let trimmed = text.trim_matches([' ', '\t', '\n', '\r']);
    match RawValue::from_string(trimmed.to_owned()) {
        Ok(json) => Message { json, quoted: false },
        Err(_) => {
            Message { json: serde_json::value::to_raw_value(text).expect("a string is JSON"), quoted: true }
        }
    }
}

/// One message for each argument; the first `-` stands for the lines of `standard_input`, of which empty ones are left
/// out, and another one for what is left of it: nothing.
pub fn messages(arguments: &[String], mut standard_input: &[u8]) -> Result<Vec<Message>, BadMessages> {
    let mut messages = Vec::new();
    for argument in arguments {
        if argument == "-" {
            for (at, line) in std::mem::take(&mut standard_input).split(|byte| *byte == b'\n').enumerate() {
                let line = std::str::from_utf8(line).map_err(|_| BadMessages::NotText(at + 1))?;
                let line = line.strip_suffix('\r').unwrap_or(line);
                if !line.trim().is_empty() {
                    messages.push(message(line));
                }
            }
        } else {
            messages.push(message(argument));
        }
        if messages.len() > PUSH_MESSAGES_MAX {
            return Err(BadMessages::TooMany);
        }
    }
    let too_long = |message: &Message| message.json.get().len() > MESSAGE_BYTES_MAX;
    match messages.iter().position(too_long) {
        Some(at) => Err(BadMessages::TooLong(at + 1)),
        None if messages.is_empty() => Err(BadMessages::None),
        None => Ok(messages),
    }
}

/// The sentence about messages that were made strings, if there are any.
pub fn quoted_remark(messages: &[Message]) -> Option<String> {
    let mut quoted = messages.iter().filter(|message| message.quoted);
    let first = quoted.next()?;
    let shown: String = first.json.get().chars().take(60).collect();
    let shown = if shown.len() < first.json.get().len() { format!("{shown}…") } else { shown };
    Some(match quoted.count() {
        0 if messages.len() == 1 => format!("the message is not JSON and is sent as the JSON string {shown}"),
        0 => format!("one message is not JSON and is sent as the JSON string {shown}"),
        more => format!("{} messages are not JSON and are sent as JSON strings, first {shown}", more + 1),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(arguments: &[&str], standard_input: &[u8]) -> Result<Vec<String>, BadMessages> {
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        let messages = messages(&arguments, standard_input)?;
        Ok(messages.iter().map(|message| message.json.get().to_owned()).collect())
    }

    #[test]
    fn json_is_sent_as_it_was_typed_and_anything_else_as_a_string() {
        for json in ["{\"v\": 2}", "7", "-1.50", "\"x\"", "[1, 2]", "null", "{\"a\":1,\"a\":1}"] {
            let message = message(json);
            assert_eq!((message.json.get(), message.quoted), (json, false));
        }
        assert_eq!(message(" 7 \n").json.get(), "7");
        for (text, json) in
            [("hello", "\"hello\""), ("{v:2}", "\"{v:2}\""), ("a\"\n", "\"a\\\"\\n\""), ("", "\"\"")]
        {
            let message = message(text);
            assert_eq!((message.json.get(), message.quoted), (json, true));
        }
    }

    #[test]
    fn a_dash_stands_for_the_lines_of_standard_input() {
        assert_eq!(texts(&["0", "-"], b"1\r\n\n 2 \nx").expect("good"), ["0", "1", "2", "\"x\""]);
        assert_eq!(texts(&["-", "-"], b"1"), Ok(vec!["1".to_owned()]));
        assert_eq!(texts(&["-"], b"\n\n"), Err(BadMessages::None));
        assert_eq!(texts(&["-"], b"1\n\xff\n"), Err(BadMessages::NotText(2)));
    }

    #[test]
    fn bounds_of_the_gateway_hold_before_anything_is_sent() {
        let lines = "1\n".repeat(PUSH_MESSAGES_MAX);
        assert_eq!(texts(&["-"], lines.as_bytes()).map(|all| all.len()), Ok(PUSH_MESSAGES_MAX));
        assert_eq!(texts(&["-", "1"], lines.as_bytes()), Err(BadMessages::TooMany));
        let long = "x".repeat(MESSAGE_BYTES_MAX - 1);
        assert_eq!(texts(&["1", &long], b""), Err(BadMessages::TooLong(2)));
    }

    #[test]
    fn what_was_made_a_string_is_said() {
        let remark = |arguments: &[&str]| {
            let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
            quoted_remark(&messages(&arguments, b"").expect("good"))
        };
        assert_eq!(remark(&["1", "{}"]), None);
        let one = remark(&["hello"]).expect("a remark");
        assert_eq!(one, "the message is not JSON and is sent as the JSON string \"hello\"");
        assert!(remark(&["1", "x"]).expect("a remark").starts_with("one message is"));
        assert!(remark(&["x", "y"]).expect("a remark").starts_with("2 messages are"));
    }

    proptest! {
        #[test]
        fn whatever_is_typed_goes_out_as_one_json_value_with_nothing_lost(text in "\\PC{0,40}") {
            let message = message(&text);
            let value: serde_json::Value = serde_json::from_str(message.json.get()).expect("JSON");
            if message.quoted {
                prop_assert_eq!(value.as_str(), Some(text.as_str()));
            } else {
                prop_assert_eq!(message.json.get(), text.trim_matches([' ', '\t', '\n', '\r']));
            }
        }
    }
}
