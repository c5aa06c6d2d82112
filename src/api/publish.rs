//! Publish requests: what the bodies of `/push/all`, `/push/room` and `/v1/push` ask for. Pure.
//!
//! A message is a copy of a part of its request's body, byte for byte as it came: nothing is parsed further than to find
//! where one JSON value ends and the next begins, and no message keeps a body alive. *Not here*: whether it can be taken now (`routes`).

use bytes::Bytes;
use percent_encoding::percent_decode;
use serde_json::value::RawValue;

use crate::api::refusal::{Code, Refusal};
use fanfare_core::limits::PUSH_ITEMS_MAX;
use fanfare_core::model::{Address, Message, Topic};
use fanfare_core::push::request::{self, BadRequest, Mistake, Request};

/// What a publish asks for.
#[derive(Debug)]
pub struct Publish {
    /// To whom; never empty.
    pub addresses: Vec<Address>,
    /// What; empty only for go-push's `items=[]`, which publishes nothing.
    pub messages: Vec<Message>,
}

/// The body of `/push/all`: a form with `items`.
pub fn push_all(body: &[u8]) -> Result<Publish, Refusal> {
    Ok(Publish { addresses: vec![Address::All], messages: items(body)? })
}

/// The body of `/push/room`: a form with `room` and `items`.
pub fn push_room(body: &[u8]) -> Result<Publish, Refusal> {
    let room = form_value(body, b"room").ok_or_else(|| Refusal::new(Code::BadTopic, "`room` is missing"))?;
    let room =
        std::str::from_utf8(&room).map_err(|_| bad_topic("room", fanfare_core::model::BadTopic::NotText))?;
    let topic = Topic::new(room).map_err(|why| bad_topic("room", why))?;
    Ok(Publish { addresses: vec![Address::Topic(topic)], messages: items(body)? })
}

/// The JSON body of `/v1/push`.
pub fn v1(body: &Bytes) -> Result<Request, Refusal> {
    Ok(request::parse(body)?)
}

/// A topic's name as it stands in a path.
pub fn topic_in_path(encoded: &str) -> Result<Topic, Refusal> {
    let name = percent_decode(encoded.as_bytes())
        .decode_utf8()
        .map_err(|_| bad_topic("the topic", fanfare_core::model::BadTopic::NotText))?;
    Topic::new(&name).map_err(|why| bad_topic("the topic", why))
}

impl From<BadRequest> for Refusal {
    fn from(wrong: BadRequest) -> Self {
        let code = match wrong.mistake {
            Mistake::Shape => Code::BadBody,
            Mistake::Topic => Code::BadTopic,
            Mistake::TooLarge => Code::MessageTooLarge,
            Mistake::Unreadable => Code::UnreadableMessage,
        };
        Self::new(code, wrong.message)
    }
}

fn bad_topic(place: &str, why: fanfare_core::model::BadTopic) -> Refusal {
    request::bad_topic(place, why).into()
}

/// The messages in the form value `items`.
fn items(body: &[u8]) -> Result<Vec<Message>, Refusal> {
    let items = form_value(body, b"items").ok_or_else(|| {
        Refusal::new(Code::BadItems, "`items` is missing; the body is application/x-www-form-urlencoded")
    })?;
    let elements: Vec<&RawValue> = serde_json::from_slice(&items)
        .map_err(|error| Refusal::new(Code::BadItems, format!("`items` is no JSON array: {error}")))?;
    Ok(request::messages(&elements, PUSH_ITEMS_MAX)?)
}

/// The first value of a key in an application/x-www-form-urlencoded body, decoded: `+` is a blank, `%41` an `A`, and a
/// `%` that begins no code is itself. go-push takes the first value too.
fn form_value(body: &[u8], key: &[u8]) -> Option<Vec<u8>> {
    body.split(|byte| *byte == b'&').find_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let (name, value) = (&pair[..equals], pair.get(equals + 1..).unwrap_or(b""));
        (form_decode(name) == key).then(|| form_decode(value))
    })
}

fn form_decode(text: &[u8]) -> Vec<u8> {
    let blanks: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    percent_decode(&blanks).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use fanfare_core::limits::{MESSAGE_BYTES_MAX, PUSH_MESSAGES_MAX, PUSH_TOPICS_MAX};

    fn texts(messages: &[Message]) -> Vec<String> {
        messages.iter().map(|m| String::from_utf8(m.payload.to_vec()).expect("UTF-8")).collect()
    }

    fn payloads(publish: Result<Publish, Refusal>) -> Result<Vec<String>, Code> {
        publish.map(|publish| texts(&publish.messages)).map_err(|refusal| refusal.code)
    }

    fn pushed(body: &Bytes) -> Result<Vec<String>, Code> {
        v1(body).map(|request| texts(&request.messages)).map_err(|refusal| refusal.code)
    }

    fn to(json: &str) -> Result<Vec<String>, Code> {
        let body = Bytes::from(format!(r#"{{"to":{json},"messages":[1]}}"#));
        let name = |address: &Address| match address {
            Address::All => "*".to_owned(),
            Address::Topic(topic) => topic.as_str().to_owned(),
        };
        v1(&body).map(|p| p.to.iter().map(name).collect()).map_err(|refusal| refusal.code)
    }

    #[test]
    fn items_are_taken_as_they_stand() {
        let verbatim = br#"items=[ {"id": 7,"b":[1, 2]} ,"x",1.50e3,null]"#;
        let expected = [r#"{"id": 7,"b":[1, 2]}"#, r#""x""#, "1.50e3", "null"].map(String::from);
        assert_eq!(payloads(push_all(verbatim)), Ok(expected.to_vec()));
        let encoded = b"x=1&items=%5B%7B%22a%22%3A%22b%2Bc+d%26%22%7D%5D&items=%5B2%5D";
        assert_eq!(payloads(push_all(encoded)), Ok(vec![r#"{"a":"b+c d&"}"#.to_owned()]));
        assert_eq!(payloads(push_all(b"items=[\"100%\"]")), Ok(vec!["\"100%\"".to_owned()]));
        assert_eq!(payloads(push_all(b"items=[]")), Ok(vec![]));
    }

    #[test]
    fn items_that_are_no_array_are_refused() {
        let no_utf8 = b"items=[\"\xff\"]";
        for body in
            [&b""[..], b"item=[1]", b"items", b"items=", b"items={}", b"items=[1", b"items=[1]2", no_utf8]
        {
            assert_eq!(payloads(push_all(body)), Err(Code::BadItems), "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn a_room_is_a_topic_or_refused() {
        let publish = push_room(b"items=[1]&room=caf%C3%A9%2F1").expect("good");
        assert!(matches!(&publish.addresses[..], [Address::Topic(topic)] if topic.as_str() == "café/1"));
        let long = format!("items=[1]&room={}", "r".repeat(fanfare_core::limits::TOPIC_BYTES_MAX + 1));
        for body in ["items=[1]", "items=[1]&room=", "items=[1]&room=%00", "items=[1]&room=%ff", &long] {
            assert_eq!(payloads(push_room(body.as_bytes())), Err(Code::BadTopic), "{body}");
        }
    }

    #[test]
    fn a_message_or_a_count_above_its_bound_is_too_large() {
        let fits = format!("items=[\"{}\"]", "x".repeat(MESSAGE_BYTES_MAX - 2));
        assert_eq!(payloads(push_all(fits.as_bytes())).map(|p| p[0].len()), Ok(MESSAGE_BYTES_MAX));
        let past = format!("items=[1,\"{}\"]", "x".repeat(MESSAGE_BYTES_MAX - 1));
        assert_eq!(payloads(push_all(past.as_bytes())), Err(Code::MessageTooLarge));
        let many = |count: usize| format!("[{}1]", "1,".repeat(count - 1));
        let push = |count| {
            pushed(&Bytes::from(format!(r#"{{"to":{{"all":true}},"messages":{}}}"#, many(count))))
                .map(|messages| messages.len())
        };
        assert_eq!(push(PUSH_MESSAGES_MAX), Ok(PUSH_MESSAGES_MAX));
        assert_eq!(push(PUSH_MESSAGES_MAX + 1), Err(Code::MessageTooLarge));
        let items = format!("items={}", many(PUSH_ITEMS_MAX + 1));
        assert_eq!(payloads(push_all(items.as_bytes())), Err(Code::MessageTooLarge));
    }

    #[test]
    fn a_push_has_exactly_one_kind_of_address() {
        assert_eq!(to(r#"{"all":true}"#), Ok(vec!["*".into()]));
        assert_eq!(to(r#"{"topic":"a"}"#), Ok(vec!["a".into()]));
        assert_eq!(to(r#"{"topics":["b","a"]}"#), Ok(vec!["b".into(), "a".into()]));
        for wrong in [
            "{}",
            r#"{"all":false}"#,
            r#"{"all":1}"#,
            r#"{"all":true,"topic":"a"}"#,
            r#"{"topic":"a","topics":["b"]}"#,
            r#"{"topics":[]}"#,
            r#"{"topics":"a"}"#,
            r#"{"uid":"a"}"#,
            "[]",
        ] {
            assert_eq!(to(wrong), Err(Code::BadBody), "{wrong}");
        }
        for wrong in [r#"{"topic":""}"#, r#"{"topics":["a","b","a"]}"#, r#"{"topics":["a","\u0007"]}"#] {
            assert_eq!(to(wrong), Err(Code::BadTopic), "{wrong}");
        }
        let names = |count: usize| {
            format!(r#"{{"topics":{:?}}}"#, (0..count).map(|i| i.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(to(&names(PUSH_TOPICS_MAX)).map(|names| names.len()), Ok(PUSH_TOPICS_MAX));
        assert_eq!(to(&names(PUSH_TOPICS_MAX + 1)), Err(Code::BadBody));
    }

    #[test]
    fn an_unknown_field_is_named() {
        let refusal = v1(&Bytes::from_static(br#"{"to":{"all":true},"messages":[1],"priority":1}"#));
        assert!(refusal.expect_err("unknown").message.contains("`priority`"));
        for body in ["", "{}", "[]", r#"{"to":{"all":true}}"#, r#"{"to":{"all":true},"messages":[]}"#] {
            assert_eq!(pushed(&Bytes::from(body)), Err(Code::BadBody), "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_a_publish_or_a_refusal(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = (push_all(&body), push_room(&body), v1(&Bytes::from(body)));
        }

        #[test]
        fn any_string_survives_a_form(text in "\\PC{0,50}") {
            let json = serde_json::to_string(&[&text]).expect("JSON");
            let form = format!("items={}", percent_encoding::utf8_percent_encode(&json, percent_encoding::NON_ALPHANUMERIC));
            let back = payloads(push_all(form.as_bytes())).expect("good");
            prop_assert_eq!(serde_json::from_str::<String>(&back[0]).expect("a string"), text);
        }
    }
}
