//! The JSON object that asks for a publish: the body of `POST /v1/push`, and the payload of the Redis channel `push`.
//!
//! A message is a copy of a part of its request, byte for byte as it came: nothing is parsed further than to find where
//! one JSON value ends and the next begins, and nothing keeps the request alive. *Not here*: whether it can be taken now (`api::hand_over`), what becomes of it
//! (`ingest`).

use std::collections::HashSet;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::id::PushId;
use super::terms::{self, BadTerm, Lane, Terms};
use crate::limits::{MESSAGE_BYTES_MAX, PUSH_MESSAGES_MAX, PUSH_TOPICS_MAX};
use crate::model::{Address, BadTopic, Message, PayloadKind, Topic, addresses_bytes, json};

/// A publish as its sender asks for it.
#[derive(Clone, Debug)]
pub struct Request {
    /// To whom; never empty.
    pub to: Vec<Address>,
    /// What; never empty.
    pub messages: Vec<Message>,
    /// How.
    pub terms: Terms,
    /// Its name, if the sender gave one.
    pub id: Option<PushId>,
    /// Whether it is a job of its own: it has an option. Without any it is merged with what else is for its topics.
    pub is_job: bool,
}

/// What kind of mistake a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// Not the shape, or an option with a value that it does not take.
    Shape,
    /// A topic's name that is not one.
    Topic,
    /// A message above its bound, or too many.
    TooLarge,
    /// A message that some receivers cannot read.
    Unreadable,
}

/// A request that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRequest {
    /// For programs.
    pub mistake: Mistake,
    /// For people.
    pub message: String,
}

impl BadRequest {
    fn new(mistake: Mistake, message: impl Into<String>) -> Self {
        Self { mistake, message: message.into() }
    }
}

impl From<BadTerm> for BadRequest {
    fn from(wrong: BadTerm) -> Self {
        Self::new(Mistake::Shape, format!("`{}` takes {}", wrong.name, wrong.takes))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with `to` and `messages`")]
struct Shape<'a> {
    to: To,
    #[serde(borrow)]
    messages: Vec<&'a RawValue>,
    rate: Option<f64>,
    ramp_s: Option<f64>,
    expires_in_s: Option<f64>,
    id: Option<String>,
    lane: Option<String>,
    weight: Option<u64>,
    track: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with `topic`, `topics` or `all`")]
struct To {
    all: Option<bool>,
    topic: Option<String>,
    topics: Option<Vec<String>>,
}

/// Reads a request.
pub fn parse(body: &Bytes) -> Result<Request, BadRequest> {
    let shape: Shape<'_> = serde_json::from_slice(body)
        .map_err(|error| BadRequest::new(Mistake::Shape, format!("the body is not a push: {error}")))?;
    let is_job = shape.is_job();
    let terms = shape.terms()?;
    let id = match &shape.id {
        None => None,
        Some(id) => {
            Some(PushId::new(id).map_err(|why| BadRequest::new(Mistake::Shape, format!("`id`: {why}")))?)
        }
    };
    let to = shape.to.addresses()?;
    if shape.messages.is_empty() {
        return Err(BadRequest::new(Mistake::Shape, "`messages` is empty"));
    }
    let messages = messages(&shape.messages, PUSH_MESSAGES_MAX)?;
    Ok(Request { to, messages, terms, id, is_job })
}

impl Shape<'_> {
    fn is_job(&self) -> bool {
        self.rate.is_some()
            || self.ramp_s.is_some()
            || self.expires_in_s.is_some()
            || self.id.is_some()
            || self.lane.is_some()
            || self.weight.is_some()
            || self.track == Some(true)
    }

    fn terms(&self) -> Result<Terms, BadRequest> {
        let defaults = Terms::default();
        let terms = Terms {
            rate: self.rate.map(terms::rate).transpose()?,
            ramp: self.ramp_s.map(terms::ramp).transpose()?.unwrap_or(defaults.ramp),
            expires_in: self.expires_in_s.map(terms::expires_in).transpose()?,
            lane: self.lane.as_deref().map(terms::lane).transpose()?.unwrap_or(defaults.lane),
            weight: self.weight.map(terms::weight).transpose()?.unwrap_or(defaults.weight),
        };
        terms.check()?;
        Ok(terms)
    }
}

impl To {
    fn addresses(self) -> Result<Vec<Address>, BadRequest> {
        let shape = |message: String| BadRequest::new(Mistake::Shape, message);
        match (self.all, self.topic, self.topics) {
            (Some(true), None, None) => Ok(vec![Address::All]),
            (Some(false), None, None) => Err(shape("`to.all` is true or absent".into())),
            (None, Some(name), None) => {
                Ok(vec![Address::Topic(Topic::new(&name).map_err(|why| bad_topic("to.topic", why))?)])
            }
            (None, None, Some(names)) if (1..=PUSH_TOPICS_MAX).contains(&names.len()) => distinct(&names),
            (None, None, Some(_)) => Err(shape(format!("`to.topics` has 1 to {PUSH_TOPICS_MAX} topics"))),
            _ => Err(shape("`to` has exactly one of `all`, `topic` and `topics`".into())),
        }
    }
}

fn distinct(names: &[String]) -> Result<Vec<Address>, BadRequest> {
    let mut seen = HashSet::with_capacity(names.len());
    let one = |(i, name): (usize, &String)| {
        let topic = Topic::new(name).map_err(|why| bad_topic(&format!("to.topics[{i}]"), why))?;
        if seen.insert(topic.clone()) {
            Ok(Address::Topic(topic))
        } else {
            Err(BadRequest::new(Mistake::Topic, format!("to.topics[{i}]: the topic is there twice")))
        }
    };
    names.iter().enumerate().map(one).collect()
}

/// A topic's name that is not one, and where it stood.
pub fn bad_topic(place: &str, why: BadTopic) -> BadRequest {
    BadRequest::new(Mistake::Topic, format!("{place}: {why}"))
}

/// Each element as a message with an allocation of its own.
pub fn messages(elements: &[&RawValue], count_max: usize) -> Result<Vec<Message>, BadRequest> {
    if elements.len() > count_max {
        let message = format!("a push has at most {count_max} messages, this one has {}", elements.len());
        return Err(BadRequest::new(Mistake::TooLarge, message));
    }
    let message = |(i, element): (usize, &&RawValue)| {
        let payload = element.get().as_bytes();
        if payload.len() > MESSAGE_BYTES_MAX {
            let message =
                format!("message {i} has {} bytes, at most {MESSAGE_BYTES_MAX} are allowed", payload.len());
            return Err(BadRequest::new(Mistake::TooLarge, message));
        }
        json::check(payload)
            .map_err(|why| BadRequest::new(Mistake::Unreadable, format!("message {i} {why}")))?;
        Ok(Message::copied(payload, PayloadKind::Json))
    };
    // Exactly as many places: collecting would make room for more.
    let mut messages = Vec::with_capacity(elements.len());
    for element in elements.iter().enumerate() {
        messages.push(message(element)?);
    }
    Ok(messages)
}

impl Request {
    /// The same request as the object that [`parse`] reads, under this id. Every message is JSON.
    pub fn to_json(&self, id: &PushId) -> Bytes {
        let mut json =
            String::with_capacity(256 + self.messages.iter().map(|m| m.payload.len() + 1).sum::<usize>());
        // A String takes every write.
        let _ = write!(json, r#"{{"id":"{id}","to":{}"#, to_json(&self.to));
        let terms = &self.terms;
        if let Some(rate) = terms.rate {
            let _ = write!(json, r#","rate":{rate}"#);
        }
        if !terms.ramp.is_zero() {
            let _ = write!(json, r#","ramp_s":{}"#, terms.ramp.as_secs_f64());
        }
        if let Some(expires_in) = terms.expires_in {
            let _ = write!(json, r#","expires_in_s":{}"#, expires_in.as_secs_f64());
        }
        if terms.lane != Lane::Normal {
            let _ = write!(json, r#","lane":"{}""#, terms.lane.label());
        }
        if terms.weight != 1 {
            let _ = write!(json, r#","weight":{}"#, terms.weight);
        }
        json.push_str(r#","messages":["#);
        let mut json = json.into_bytes();
        for (i, message) in self.messages.iter().enumerate() {
            if i > 0 {
                json.push(b',');
            }
            json.extend_from_slice(&message.payload);
        }
        json.extend_from_slice(b"]}");
        json.into()
    }

    /// Differs, as good as certainly, between requests that ask for different things.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.to.hash(&mut hasher);
        let terms = &self.terms;
        (terms.rate, terms.ramp, terms.expires_in, terms.lane, terms.weight).hash(&mut hasher);
        for message in &self.messages {
            message.payload.hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Payload bytes.
    pub fn bytes(&self) -> u64 {
        self.messages.iter().map(|message| message.payload.len() as u64).sum()
    }

    /// Memory of its messages and addresses.
    pub fn allocated_bytes(&self) -> usize {
        addresses_bytes(&self.to) + self.messages.iter().map(Message::allocated_bytes).sum::<usize>()
    }
}

/// `{"all":true}`, `{"topic":…}` or `{"topics":[…]}`.
pub fn to_json(to: &[Address]) -> serde_json::Value {
    let name = |address: &Address| match address {
        Address::All => None,
        Address::Topic(topic) => Some(topic.as_str().to_owned()),
    };
    match to {
        [Address::All] => serde_json::json!({"all": true}),
        [Address::Topic(topic)] => serde_json::json!({"topic": topic.as_str()}),
        several => serde_json::json!({"topics": several.iter().filter_map(name).collect::<Vec<_>>()}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MESSAGE_DEPTH_MAX;
    use std::time::Duration;

    fn parsed(body: &str) -> Result<Request, BadRequest> {
        parse(&Bytes::copy_from_slice(body.as_bytes()))
    }

    #[test]
    fn any_option_makes_a_job_and_none_makes_none() {
        let with = |option: &str| {
            parsed(&format!(r#"{{"to":{{"all":true}},"messages":[1]{option}}}"#)).expect("good").is_job
        };
        assert!(!with("") && !with(r#","track":false"#));
        for option in [
            r#","rate":1"#,
            r#","rate":1,"ramp_s":0"#,
            r#","expires_in_s":1"#,
            r#","id":"a""#,
            r#","lane":"normal""#,
            r#","weight":1"#,
            r#","track":true"#,
        ] {
            assert!(with(option), "{option}");
        }
    }

    #[test]
    fn an_option_out_of_its_range_is_named() {
        for (option, name) in [
            (r#""rate":0"#, "rate"),
            (r#""rate":1e8"#, "rate"),
            (r#""rate":-1"#, "rate"),
            (r#""ramp_s":3"#, "ramp_s"),
            (r#""rate":1,"ramp_s":-1"#, "ramp_s"),
            (r#""rate":1,"ramp_s":1e6"#, "ramp_s"),
            (r#""expires_in_s":0"#, "expires_in_s"),
            (r#""expires_in_s":1e300"#, "expires_in_s"),
            (r#""id":"""#, "id"),
            (r#""id":"a b""#, "id"),
            (r#""lane":"fast""#, "lane"),
            (r#""weight":0"#, "weight"),
            (r#""weight":1001"#, "weight"),
        ] {
            let wrong =
                parsed(&format!(r#"{{"to":{{"all":true}},"messages":[1],{option}}}"#)).expect_err(option);
            assert!(wrong.message.contains(&format!("`{name}`")), "{option}: {}", wrong.message);
        }
    }

    #[test]
    fn a_message_that_some_receivers_cannot_read_is_named_by_its_place() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let pushed = |message: &str| {
            parsed(&format!(r#"{{"to":{{"all":true}},"messages":[0,"[",{message}]}}"#))
                .map(|request| request.messages.len())
        };
        assert_eq!(pushed(&nested(MESSAGE_DEPTH_MAX)), Ok(3));
        for unreadable in [&nested(MESSAGE_DEPTH_MAX + 1), &nested(100_000), "1e999"] {
            let wrong = pushed(unreadable).expect_err("unreadable");
            assert_eq!(wrong.mistake, Mistake::Unreadable);
            assert!(wrong.message.starts_with("message 2 "), "{}", wrong.message);
        }
    }

    #[test]
    fn a_request_survives_the_way_through_redis() {
        let body = r#"{"to":{"topics":["a","b\"c"]},"messages":[{"v":1},"x",[2]],"rate":12.5,"ramp_s":1.5,
            "expires_in_s":0.25,"lane":"urgent","weight":7,"id":"n-1"}"#;
        let request = parsed(body).expect("good");
        let again = parse(&request.to_json(request.id.as_ref().expect("it has one"))).expect("good too");
        assert_eq!((again.terms, &again.id, &again.to), (request.terms, &request.id, &request.to));
        assert_eq!(again.fingerprint(), request.fingerprint());
        assert_eq!(again.terms.ramp, Duration::from_millis(1500));
        let plain = parsed(r#"{"to":{"all":true},"messages":[1],"track":true}"#).expect("good");
        let again = parse(&plain.to_json(&PushId::new("x").expect("an id"))).expect("good too");
        assert_eq!(again.terms, Terms::default());
        assert_ne!(again.fingerprint(), request.fingerprint());
    }
}
