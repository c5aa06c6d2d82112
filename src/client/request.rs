//! Bodies of requests to the gateway. Pure.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::value::RawValue;

use super::arguments::PaceArgument;
use super::message::Message;

/// The body of `POST /v1/push`; what was not asked for is left out, and the gateway's default counts.
#[derive(Debug, Serialize)]
pub struct Push<'a> {
    /// Whom it is for.
    pub to: To<'a>,
    /// In order.
    #[serde(serialize_with = "raw")]
    pub messages: &'a [Message],
    /// Devices per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Number>,
    /// Seconds over which the rate rises.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ramp_s: Option<Number>,
    /// Seconds until it is too late.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in_s: Option<Number>,
    /// The idempotency key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// The lane.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lane: Option<&'static str>,
    /// Its share of what pushes have together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Keep a ledger whatever else was asked for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub track: bool,
}

/// Whom a push is for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum To<'a> {
    /// `{"all":true}`
    All(bool),
    /// `{"topic":"news"}`
    Topic(&'a str),
    /// `{"topics":["news","eu"]}`
    Topics(&'a [String]),
}

impl<'a> To<'a> {
    /// These topics; without any, everybody.
    pub fn new(topics: &'a [String]) -> Self {
        match topics {
            [] => Self::All(true),
            [topic] => Self::Topic(topic),
            topics => Self::Topics(topics),
        }
    }
}

impl Push<'_> {
    /// As it goes out.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("text, numbers and JSON are JSON")
    }
}

/// The body of a `PATCH` that changes the pace.
pub fn pace(pace: PaceArgument, ramp_s: Option<f64>) -> String {
    let rate = match pace {
        PaceArgument::Unpaced => None,
        PaceArgument::Rate(rate) => Some(Number(rate.as_f64())),
    };
    match ramp_s {
        None => serde_json::json!({"rate": rate}),
        Some(ramp_s) => serde_json::json!({"rate": rate, "ramp_s": Number(ramp_s)}),
    }
    .to_string()
}

/// The body of a `PATCH` that pauses or resumes.
pub fn state(state: &str) -> String {
    serde_json::json!({"state": state}).to_string()
}

/// What of an id stands in a path as it is.
static KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');

/// The path of a push.
pub fn path_of(id: &str) -> String {
    format!("/v1/pushes/{}", utf8_percent_encode(id, KEPT))
}

/// A number that is written without a fraction where it has none: 500, not 500.0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number(pub f64);

impl Serialize for Number {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.0.fract() == 0.0 && (0.0..=9e15).contains(&self.0) {
            // Whole and in range: nothing is cut off.
            #[allow(clippy::cast_sign_loss)]
            return to.serialize_u64(self.0 as u64);
        }
        to.serialize_f64(self.0)
    }
}

fn raw<S: serde::Serializer>(messages: &&[Message], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(messages.iter().map(|message| -> &RawValue { &message.json }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::message::message;

    fn push<'a>(topics: &'a [String], messages: &'a [Message]) -> Push<'a> {
        Push {
            to: To::new(topics),
            messages,
            rate: None,
            ramp_s: None,
            expires_in_s: None,
            id: None,
            lane: None,
            weight: None,
            track: false,
        }
    }

    #[test]
    fn what_was_not_asked_for_is_not_in_the_body() {
        let messages = [message("{\"v\": 2}"), message("hello")];
        let body = push(&[], &messages).to_json();
        assert_eq!(body, r#"{"to":{"all":true},"messages":[{"v": 2},"hello"]}"#);
    }

    #[test]
    fn what_was_asked_for_is() {
        let (topics, messages) = (["news".to_owned(), "eu".to_owned()], [message("1")]);
        let asked = Push {
            rate: Some(Number(500.0)),
            ramp_s: Some(Number(2.5)),
            expires_in_s: Some(Number(60.0)),
            id: Some("x"),
            lane: Some("urgent"),
            weight: Some(3),
            track: true,
            ..push(&topics, &messages)
        };
        let body = r#"{"to":{"topics":["news","eu"]},"messages":[1],"rate":500,"ramp_s":2.5,"expires_in_s":60,"id":"x","lane":"urgent","weight":3,"track":true}"#;
        assert_eq!(asked.to_json(), body);
        assert!(push(&topics[..1], &messages).to_json().starts_with(r#"{"to":{"topic":"news"}"#));
    }

    #[test]
    fn a_change_names_what_changes() {
        let rate = PaceArgument::Rate("0.5".parse().expect("a rate"));
        assert_eq!(pace(rate, Some(10.0)), r#"{"ramp_s":10,"rate":0.5}"#);
        assert_eq!(pace(PaceArgument::Unpaced, None), r#"{"rate":null}"#);
        assert_eq!(state("paused"), r#"{"state":"paused"}"#);
    }

    #[test]
    fn an_id_is_one_segment_of_a_path() {
        assert_eq!(path_of("a-1.b_c"), "/v1/pushes/a-1.b_c");
        assert_eq!(path_of("a:/?"), "/v1/pushes/a%3A%2F%3F");
    }
}
