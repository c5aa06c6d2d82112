//! A change by the API: `{"section.key": value, "section.key": null}`, where null takes the API's value away again.
//!
//! *Not here*: HTTP (`api`), what a value has to be (`keys`).

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::file;
use super::given::Given;
use super::keys::{self, Effect, KEYS};
use super::layers::Values;
use super::problem::{Origin, Problem};

/// A change, its keys in the order in which they were written. `Debug` shows no values.
#[derive(Clone, Default, PartialEq)]
pub struct Patch(Vec<(String, Option<Given>)>);

impl fmt::Debug for Patch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Patch {
    /// Reads the body of a request; a sentence when it is no such object.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(body)
            .map_err(|error| format!("the body is no object of keys and values: {error}"))
    }

    /// What the API gives after this change of what it `gave`; adds what cannot be changed to `problems`.
    pub(super) fn values(&self, gave: &Values, problems: &mut Vec<Problem>) -> Values {
        let mut values = gave.clone();
        for (name, given) in &self.0 {
            match changeable(name, &Origin::Api) {
                Ok(key) => {
                    values.retain(|(other, _, _)| *other != key);
                    values.extend(given.clone().map(|given| (key, given, Origin::Api)));
                }
                Err(problem) => problems.push(problem),
            }
        }
        values
    }
}

/// The position of a key that may change while the process runs.
pub(super) fn changeable(name: &str, origin: &Origin) -> Result<usize, Problem> {
    let (section, short) = name.split_once('.').unwrap_or(("", name));
    let Some(key) = keys::position(section, short) else {
        let unknown = file::unknown_key(section, short, origin.clone());
        return Err(Problem { key: Some(name.into()), ..unknown });
    };
    match KEYS[key].effect {
        Effect::AtOnce => Ok(key),
        Effect::AtStart => Err(Problem {
            key: Some(name.into()),
            origin: origin.clone(),
            wrong: "it takes effect at a start only".into(),
            remedy: "give it in the file, the environment or a flag and start again".into(),
        }),
    }
}

impl<'de> Deserialize<'de> for Patch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Patch;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of keys and values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Patch, A::Error> {
                let mut changes: Vec<(String, Option<Given>)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if changes.iter().any(|(other, _)| *other == name) {
                        // Which of the two is meant nobody can know.
                        return Err(serde::de::Error::custom(format_args!("{name:?} stands there twice")));
                    }
                    changes.push((name, (!value.is_null()).then(|| from_json(value))));
                }
                Ok(Patch(changes))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

fn from_json(value: Value) -> Given {
    match value {
        Value::Null => Given::Other("null"),
        Value::Bool(on) => Given::Switch(on),
        Value::Number(number) => match number.as_i128() {
            Some(whole) => Given::Whole(whole),
            None => number.as_f64().map_or(Given::Other("so large a number"), Given::Fraction),
        },
        Value::String(text) => Given::Text(text),
        Value::Array(values) => Given::List(values.into_iter().map(from_json).collect()),
        Value::Object(entries) => {
            Given::Table(entries.into_iter().map(|(name, value)| (name, from_json(value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn applied(gave: &Values, body: &str) -> (Vec<(String, Given)>, Vec<String>) {
        let mut problems = Vec::new();
        let patch = Patch::parse(body.as_bytes()).expect("an object");
        let values = patch.values(gave, &mut problems);
        let given = values.into_iter().map(|(key, given, _)| (KEYS[key].path(), given)).collect();
        (given, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_value_replaces_what_the_api_gave_and_null_takes_it_away() {
        let key = |section, name| keys::position(section, name).expect("a key");
        let gave = vec![
            (key("pacing", "rate"), Given::Whole(1), Origin::Api),
            (key("log", "level"), Given::Text("warn".into()), Origin::Api),
        ];
        let (given, problems) =
            applied(&gave, r#"{"pacing.rate": 12.5, "log.level": null, "merge.delay_ms": null}"#);
        assert_eq!((given, problems), (vec![("pacing.rate".into(), Given::Fraction(12.5))], vec![]));
    }

    #[test]
    fn every_key_that_cannot_change_is_named_with_the_reason() {
        let (given, problems) =
            applied(&Vec::new(), r#"{"server.shards": 2, "log.levl": "x", "rate": 1, "log.level": 7}"#);
        assert_eq!(given, [("log.level".into(), Given::Whole(7))]);
        assert_eq!(
            problems,
            [
                "server.shards (PATCH /v1/config): it takes effect at a start only; give it in the file, the environment \
                 or a flag and start again",
                "log.levl (PATCH /v1/config): there is no such key; did you mean log.level?",
                "rate (PATCH /v1/config): there is no such key; did you mean pacing.rate?",
            ]
        );
    }

    #[test]
    fn what_is_no_object_of_keys_is_refused() {
        for bad in ["", "[]", "7", "{\"a\":1", "{\"a\":1,\"a\":2}", "{\"a\":1}x"] {
            assert!(Patch::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let patch = Patch::parse(br#"{"log.level":"hunter2"}"#).expect("an object");
        assert_eq!(format!("{patch:?}"), "[\"log.level\"]");
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in any::<Vec<u8>>(), json in "[\\[\\]{}\",:0-9a.e-]{0,40}") {
            let _ = Patch::parse(&body);
            let _ = Patch::parse(json.as_bytes());
        }
    }
}
