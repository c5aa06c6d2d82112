//! go-push's JSON, path `/connect`: text frames, each one object `{"type":…,"data":…}`.
//!
//! ```text
//!  client  {"type":"PING","data":{}}                     server  {"type":"PONG","data":{}}
//!  client  {"type":"JOIN","data":{"room":"x"}}           server  (nothing)
//!  client  {"type":"LEAVE","data":{"room":"x"}}          server  (nothing)
//!                                                        server  {"type":"PUSH","data":{"items":[…,…]}}
//! ```
//!
//! The facts are those of go-push's gateway: `BizMessage` and `BizJoinData`, read with Go's `encoding/json`, whose
//! rules therefore are part of the protocol: keys match in any case, of a repeated key the last value counts, `null` is
//! no value, a value of the wrong type is an error, whatever follows it. A *room* is what the rest of the gateway calls a topic.
//! *Not here*: how many rooms, and who is in them (`session`).

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::protocol::{Command, Format};
use crate::model::payloads::MessageRef;
use crate::model::{Address, Batch, Encoded, PayloadKind, Topic, json};
use crate::websocket::frame::{self, HEADER_BYTES_MAX, Opcode};

/// Version 1: byte for byte what a go-push client knows.
pub struct V1;

/// Version 2, on request only (`/connect?v=2`): a PUSH to a topic names it.
pub struct V2;

impl Format for V1 {
    fn name(&self) -> &'static str {
        "go-push-v1"
    }

    fn encode(&self, batch: &Batch) -> Encoded {
        push(batch, None)
    }

    fn command<'a>(&self, text: &'a str) -> Command<'a> {
        command(text)
    }
}

impl Format for V2 {
    fn name(&self) -> &'static str {
        "go-push-v2"
    }

    fn names_address(&self) -> bool {
        true
    }

    fn encode(&self, batch: &Batch) -> Encoded {
        let room = match &batch.address {
            Address::All => None,
            Address::Topic(topic) => Some(topic),
        };
        push(batch, room)
    }

    fn command<'a>(&self, text: &'a str) -> Command<'a> {
        command(text)
    }
}

/// One PUSH that carries all the messages, in order.
///
/// The frame's length is known only once every payload has been looked at, so the body is written behind room for the
/// longest header and the header goes directly before it. The buffer is allocated once, at the exact size where
/// nothing needs escapes, apart from two bytes for each payload that might have needed quotes; escapes make it grow.
fn push(batch: &Batch, room: Option<&Topic>) -> Encoded {
    const START: &[u8] = br#"{"type":"PUSH","data":{"#;
    const ROOM: &[u8] = br#""room":"#;
    const ITEMS: &[u8] = br#""items":["#;
    const END: &[u8] = b"]}}";
    const QUOTES: usize = 2;

    let room_len = room.map_or(0, |room| ROOM.len() + room.as_str().len() + QUOTES + 1);
    let item_len = |message: MessageRef<'_>| match message.kind {
        PayloadKind::Json => message.payload.len(),
        PayloadKind::Unknown => message.payload.len() + QUOTES,
    };
    let items_len = batch.messages().map(item_len).sum::<usize>() + batch.len() - 1;
    let fixed_len = HEADER_BYTES_MAX + START.len() + ITEMS.len() + END.len();
    let mut bytes = Vec::with_capacity(fixed_len + room_len + items_len);

    bytes.resize(HEADER_BYTES_MAX, 0);
    bytes.extend_from_slice(START);
    if let Some(room) = room {
        bytes.extend_from_slice(ROOM);
        push_string(&mut bytes, room.as_str());
        bytes.push(b',');
    }
    bytes.extend_from_slice(ITEMS);
    for (i, message) in batch.messages().enumerate() {
        if i > 0 {
            bytes.push(b',');
        }
        push_item(&mut bytes, message);
    }
    bytes.extend_from_slice(END);

    let header = frame::header(Opcode::Text, bytes.len() - HEADER_BYTES_MAX);
    let start = HEADER_BYTES_MAX - header.len();
    bytes[start..HEADER_BYTES_MAX].copy_from_slice(&header);
    Encoded::new(bytes, start, 1)
}

/// The payload verbatim if it is one JSON value that every receiver can read, as a JSON string if it is not: a parser that
/// gives up at one item would lose its neighbours too.
fn push_item(out: &mut Vec<u8>, message: MessageRef<'_>) {
    let is_item = |payload: &[u8]| is_json(payload) && json::check(payload).is_ok();
    if message.kind == PayloadKind::Json || is_item(message.payload) {
        out.extend_from_slice(message.payload);
    } else {
        push_string(out, &String::from_utf8_lossy(message.payload));
    }
}

/// Whether the bytes are exactly one JSON value in UTF-8. Builds nothing, and does not recurse.
fn is_json(bytes: &[u8]) -> bool {
    // Skipped strings are not checked for UTF-8 by the JSON parser, so the bytes are checked before.
    std::str::from_utf8(bytes).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

fn push_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a string is written to memory");
}

const PONG_JSON: &[u8] = br#"{"type":"PONG","data":{}}"#;

/// The whole answer to PING, framed.
static PONG: [u8; 2 + PONG_JSON.len()] = {
    assert!(PONG_JSON.len() < 126, "the length fits the short form");
    let mut frame = [0; 2 + PONG_JSON.len()];
    frame[0] = 0x80 | Opcode::Text as u8;
    frame[1] = PONG_JSON.len() as u8;
    let mut i = 0;
    while i < PONG_JSON.len() {
        frame[2 + i] = PONG_JSON[i];
        i += 1;
    }
    frame
};

fn command(text: &str) -> Command<'_> {
    // What go-push's own clients send, every few seconds, all of them.
    if text == r#"{"type":"PING","data":{}}"# || text == r#"{"type":"PING"}"# {
        return Command::Ping { pong: &PONG };
    }
    match Request::read(text) {
        Ok(request) => request.command(),
        Err(error) if error.is_data() && is_json(text.as_bytes()) => Command::BadRequest("not a JSON object"),
        Err(_) => Command::BadText("not JSON"),
    }
}

/// go-push's `BizMessage`.
#[derive(Default)]
struct Request<'a> {
    kind: Option<Cow<'a, str>>,
    is_kind_wrong: bool,
    /// Read only by the commands that need it, as in go-push.
    data: Option<&'a RawValue>,
}

impl<'a> Request<'a> {
    fn read(json: &'a str) -> serde_json::Result<Self> {
        let mut request = Self::default();
        for_each_field(json, |name, value| {
            if name.eq_ignore_ascii_case("type") {
                match text_or_null(value) {
                    Ok(Some(kind)) => request.kind = Some(kind),
                    Ok(None) => {}
                    Err(_) => request.is_kind_wrong = true,
                }
            } else if name.eq_ignore_ascii_case("data") {
                request.data = Some(value);
            }
        })?;
        Ok(request)
    }

    fn command(self) -> Command<'a> {
        if self.is_kind_wrong {
            return Command::BadRequest("type is not a string");
        }
        match self.kind.as_deref() {
            Some("PING") => Command::Ping { pong: &PONG },
            Some("JOIN") => self.room().map_or_else(Command::BadRequest, Command::Join),
            Some("LEAVE") => self.room().map_or_else(Command::BadRequest, Command::Leave),
            _ => Command::Ignore,
        }
    }

    /// go-push's `BizJoinData`.
    fn room(&self) -> Result<Cow<'a, str>, &'static str> {
        let data = self.data.ok_or("no data")?;
        let mut room = None;
        let mut is_room_wrong = false;
        for_each_field(data.get(), |name, value| {
            if name.eq_ignore_ascii_case("room") {
                match text_or_null(value) {
                    Ok(Some(name)) => room = Some(name),
                    Ok(None) => {}
                    Err(_) => is_room_wrong = true,
                }
            }
        })
        .map_err(|_| "data is not an object")?;
        if is_room_wrong {
            return Err("room is not a string");
        }
        let room: Cow<'a, str> = room.filter(|room: &Cow<'_, str>| !room.is_empty()).ok_or("no room")?;
        match Topic::new(&room) {
            Ok(_) => Ok(room),
            Err(_) => Err("room is not a topic's name"),
        }
    }
}

/// A JSON string; borrowed from the text unless it has escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn text_or_null(value: &RawValue) -> serde_json::Result<Option<Cow<'_, str>>> {
    Ok(serde_json::from_str::<Option<Text<'_>>>(value.get())?.map(|text| text.0))
}

/// Calls back for each field of a JSON object, in order, repeated ones too. Values are passed over without being
/// built and without recursion, however deep they nest. The error is one of data if the text is no object.
fn for_each_field<'a>(json: &'a str, on_field: impl FnMut(&str, &'a RawValue)) -> serde_json::Result<()> {
    struct Fields<F>(F);

    impl<'de, F: FnMut(&str, &'de RawValue)> Visitor<'de> for Fields<F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
            while let Some(name) = map.next_key::<Text<'de>>()? {
                (self.0)(&name.0, map.next_value()?);
            }
            Ok(())
        }
    }

    let mut deserializer = serde_json::Deserializer::from_str(json);
    deserializer.deserialize_map(Fields(on_field))?;
    deserializer.end()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::limits::MESSAGE_DEPTH_MAX;
    use crate::model::{Epoch, Message, Offset};
    use crate::protocols::test_frames::server_frames;
    use crate::push::request;

    fn batch(address: Address, payloads: &[(&[u8], PayloadKind)]) -> Batch {
        let messages = payloads
            .iter()
            .map(|(payload, kind)| Message { payload: Bytes::copy_from_slice(payload), kind: *kind })
            .collect();
        Batch::new(address, Epoch(1), Offset(1), messages)
    }

    fn topic(name: &str) -> Address {
        Address::Topic(Topic::new(name).unwrap())
    }

    /// The only frame's text.
    fn text(encoded: &Encoded) -> String {
        assert_eq!(encoded.frames, 1);
        let mut frames = server_frames(&encoded.bytes);
        assert_eq!(frames.len(), 1);
        let (opcode, payload) = frames.remove(0);
        assert_eq!(opcode, Opcode::Text);
        String::from_utf8(payload).unwrap()
    }

    /// Arrays and objects within one another, strings passed over.
    fn depth_of(json: &str) -> usize {
        let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
        for byte in json.bytes() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = in_string,
                b'"' => in_string = !in_string,
                b'[' | b'{' if !in_string => depth += 1,
                b']' | b'}' if !in_string => depth -= 1,
                _ => {}
            }
            deepest = deepest.max(depth);
        }
        deepest
    }

    fn ping() -> Command<'static> {
        Command::Ping { pong: &PONG }
    }

    fn join(room: &str) -> Command<'_> {
        Command::Join(room.into())
    }

    #[test]
    fn version_1_is_one_push_with_the_payloads_verbatim_and_no_room() {
        let payloads: [(&[u8], _); 2] =
            [(br#"{ "id": 7 }"#, PayloadKind::Json), (b"[1]", PayloadKind::Unknown)];
        let expected = r#"{"type":"PUSH","data":{"items":[{ "id": 7 },[1]]}}"#;
        assert_eq!(text(&V1.encode(&batch(topic("news"), &payloads))), expected);
        assert_eq!(text(&V1.encode(&batch(Address::All, &payloads))), expected);
        assert_eq!(text(&V2.encode(&batch(Address::All, &payloads))), expected);
    }

    #[test]
    fn version_2_names_the_topic() {
        let encoded = V2.encode(&batch(topic(r#"a"b\c"#), &[(b"1", PayloadKind::Json)]));
        assert_eq!(text(&encoded), r#"{"type":"PUSH","data":{"room":"a\"b\\c","items":[1]}}"#);
    }

    #[test]
    fn what_is_not_one_json_value_is_wrapped_as_a_string() {
        let payloads: [&[u8]; 8] =
            [b"", b"plain", b"1 2", b"{\"a\":", b"\"\x01\"", b"a\"b\n", b"\xff\xfe", b"NaN"];
        let unknown: Vec<_> = payloads.iter().map(|payload| (*payload, PayloadKind::Unknown)).collect();
        let value: Value = serde_json::from_str(&text(&V1.encode(&batch(Address::All, &unknown)))).unwrap();
        let expected =
            json!(["", "plain", "1 2", "{\"a\":", "\"\u{1}\"", "a\"b\n", "\u{fffd}\u{fffd}", "NaN"]);
        assert_eq!(value["data"]["items"], expected);
    }

    #[test]
    fn json_that_some_parsers_give_up_at_is_wrapped_as_a_string_and_its_neighbours_are_read() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let (fits, deep) = (nested(MESSAGE_DEPTH_MAX), nested(MESSAGE_DEPTH_MAX + 1));
        let payloads = ["1", &fits, &deep, r#"{"a":2e999}"#, "2"].map(str::as_bytes);
        let unknown = payloads.map(|payload| (payload, PayloadKind::Unknown));
        let encoded = text(&V1.encode(&batch(Address::All, &unknown)));
        let expected =
            format!(r#"{{"type":"PUSH","data":{{"items":[1,{fits},"{deep}","{{\"a\":2e999}}",2]}}}}"#);
        assert_eq!(encoded, expected);
    }

    #[test]
    fn a_string_that_is_not_utf8_inside_is_not_taken_for_json() {
        let encoded = V1.encode(&batch(Address::All, &[(b"\"\xff\"", PayloadKind::Unknown)]));
        assert_eq!(text(&encoded), "{\"type\":\"PUSH\",\"data\":{\"items\":[\"\\\"\u{fffd}\\\"\"]}}");
    }

    #[test]
    fn a_push_without_escapes_is_encoded_in_one_buffer_of_the_exact_size() {
        for len in [1, 40, 100, 500, 70_000] {
            let plain = "x".repeat(len);
            let json = format!("\"{plain}\"");
            let payloads = [(json.as_bytes(), PayloadKind::Json), (plain.as_bytes(), PayloadKind::Unknown)];
            let encoded = V2.encode(&batch(topic("news"), &payloads));
            let header_len = frame::header_len(encoded.bytes.len());
            let buffer: Vec<u8> = encoded.bytes.into();
            assert_eq!(buffer.capacity(), buffer.len() + HEADER_BYTES_MAX - header_len, "{len}");
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = "[".repeat(200_000) + &"]".repeat(200_000);
        assert!(is_json(deep.as_bytes()));
        let ping_with_depth = format!(r#"{{"data":{deep},"type":"PING"}}"#);
        assert_eq!(command(&ping_with_depth), ping());
        assert_eq!(command(&deep), Command::BadRequest("not a JSON object"));
    }

    #[test]
    fn ping_is_answered_with_go_pushs_pong() {
        let texts = [
            r#"{"type":"PING","data":{}}"#,
            r#"{"type":"PING"}"#,
            r#" { "data" : 7 , "type" : "PING" } "#,
            r#"{"TYPE":"PING","Data":null}"#,
            r#"{"type":"P\u0049NG"}"#,
        ];
        for text in texts {
            assert_eq!(command(text), ping(), "{text}");
        }
        let frames = server_frames(&PONG);
        assert_eq!(frames, [(Opcode::Text, br#"{"type":"PONG","data":{}}"#.to_vec())]);
    }

    #[test]
    fn join_and_leave_name_a_room() {
        assert_eq!(command(r#"{"type":"JOIN","data":{"room":"x"}}"#), join("x"));
        assert_eq!(command(r#"{"data":{"ROOM":"x","seat":1},"type":"JOIN"}"#), join("x"));
        assert_eq!(command(r#"{"type":"LEAVE","data":{"room":"\u00e9"}}"#), Command::Leave("é".into()));
    }

    #[test]
    fn a_room_without_escapes_is_borrowed() {
        let room = command(r#"{"type":"JOIN","data":{"room":"x"}}"#);
        assert!(matches!(room, Command::Join(Cow::Borrowed("x"))));
    }

    #[test]
    fn of_a_repeated_key_the_last_value_counts_and_null_is_none() {
        assert_eq!(command(r#"{"type":"JOIN","Type":"PING"}"#), ping());
        assert_eq!(command(r#"{"type":"PING","type":null}"#), ping());
        assert_eq!(command(r#"{"type":"JOIN","data":{"room":"a","room":"b","room":null}}"#), join("b"));
        assert_eq!(command(r#"{"type":"JOIN","data":{"room":"a"},"data":{"room":"b"}}"#), join("b"));
    }

    #[test]
    fn unknown_types_are_ignored() {
        let texts =
            ["{}", r#"{"type":"ping"}"#, r#"{"type":"","data":[]}"#, r#"{"type":null}"#, r#"{"x":1}"#];
        for text in texts {
            assert_eq!(command(text), Command::Ignore, "{text}");
        }
    }

    #[test]
    fn what_is_not_json_is_bad_text() {
        let texts =
            ["", "x", "{", "[1,", r#"{"type":"PING"} x"#, r#"{"type":"PING"}{}"#, "{'type':1}", "1 2", "nul"];
        for text in texts {
            assert_eq!(command(text), Command::BadText("not JSON"), "{text}");
        }
    }

    #[test]
    fn what_go_push_cannot_use_is_a_bad_request() {
        let long = format!(r#"{{"type":"JOIN","data":{{"room":"{}"}}}}"#, "x".repeat(10_000));
        let texts = [
            "[]",
            "null",
            "7",
            r#""PING""#,
            r#"{"type":1}"#,
            r#"{"type":1,"type":"PING"}"#,
            r#"{"type":"JOIN"}"#,
            r#"{"type":"JOIN","data":null}"#,
            r#"{"type":"JOIN","data":[]}"#,
            r#"{"type":"JOIN","data":{}}"#,
            r#"{"type":"JOIN","data":{"room":""}}"#,
            r#"{"type":"JOIN","data":{"room":null}}"#,
            r#"{"type":"LEAVE","data":{"room":7}}"#,
            r#"{"type":"LEAVE","data":{"room":7,"room":"x"}}"#,
            r#"{"type":"LEAVE","data":{"room":"a\nb"}}"#,
            r#"{"type":"JOIN","data":{"room":"x"},"data":{}}"#,
            &long,
        ];
        for text in texts {
            assert!(matches!(command(text), Command::BadRequest(_)), "{text}: {:?}", command(text));
        }
    }

    proptest! {
        #[test]
        fn every_batch_reads_back_through_a_json_parser(
            payloads in proptest::collection::vec(
                prop_oneof!["\\PC{0,60}".prop_map(String::into_bytes), any::<Vec<u8>>()], 1..8),
            name in "[^\\p{Cc}]{1,60}",
        ) {
            let unknown: Vec<_> = payloads.iter().map(|payload| (&payload[..], PayloadKind::Unknown)).collect();
            let encoded = text(&V2.encode(&batch(topic(&name), &unknown)));
            let value: Value = serde_json::from_str(&encoded).unwrap();
            let items = payloads.iter().map(|payload| {
                let lossy = String::from_utf8_lossy(payload).into_owned();
                serde_json::from_slice(payload).unwrap_or(Value::String(lossy))
            });
            let expected = json!({"type": "PUSH", "data": {"room": name, "items": items.collect::<Value>()}});
            prop_assert_eq!(value, expected);
        }

        /// Whoever sends what and whatever way: a parser of a bounded depth reads the frame and finds each item.
        #[test]
        fn a_parser_of_bounded_depth_reads_every_frame(
            depths in proptest::collection::vec((0_usize..3 * MESSAGE_DEPTH_MAX, any::<bool>(), any::<bool>()), 1..8),
        ) {
            let nested = |depth: usize, is_array: bool| {
                let (open, close) = if is_array { ("[", "]") } else { (r#"{"a":"#, "}") };
                format!("{}1{}", open.repeat(depth), close.repeat(depth))
            };
            let mut messages = Vec::new();
            for (depth, is_array, is_admitted) in depths {
                let payload = nested(depth, is_array);
                let body = Bytes::from(format!(r#"{{"to":{{"all":true}},"messages":[{payload}]}}"#));
                match request::parse(&body) {
                    Ok(request) if is_admitted => messages.extend(request.messages),
                    outcome => {
                        prop_assert_eq!(outcome.is_ok(), depth <= MESSAGE_DEPTH_MAX);
                        messages.push(Message { payload: payload.into(), kind: PayloadKind::Unknown });
                    }
                }
            }
            let count = messages.len();
            let batch = Batch::new(topic("news"), Epoch(1), Offset(1), messages.into());
            for format in [&V1 as &dyn Format, &V2] {
                let encoded = text(&format.encode(&batch));
                prop_assert!(depth_of(&encoded) <= MESSAGE_DEPTH_MAX + 3, "{encoded}");
                // serde_json's own bound is 128 with the three levels around an item.
                if depth_of(&encoded) < 128 {
                    let value: Value = serde_json::from_str(&encoded).expect("a frame");
                    prop_assert_eq!(value["data"]["items"].as_array().map(Vec::len), Some(count));
                }
            }
        }

        #[test]
        fn join_reads_what_a_json_writer_wrote(name in "[^\\p{Cc}]{1,60}") {
            let text = json!({"type": "JOIN", "data": {"room": name}}).to_string();
            prop_assert_eq!(command(&text), join(&name));
        }
    }
}
