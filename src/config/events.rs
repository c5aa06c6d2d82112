//! What the keys of `[events]` take.
//!
//! *Not here*: which keys there are (`keys`), those that must fit each other (`raw`).

use super::problem::Wrong;
use crate::secret::{BadUrl, SecretUrl};
use fanfare_core::limits::REDIS_PREFIX_BYTES_MAX;
use fanfare_core::model::{EventKind, EventKinds};

/// A channel's or stream's name.
pub(super) fn name(text: &str) -> Result<String, Wrong> {
    let what = if text.is_empty() {
        "the name is empty"
    } else if text.len() > REDIS_PREFIX_BYTES_MAX {
        "the name is longer than 128 bytes"
    } else if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        "the name has a space or a control character"
    } else {
        return Ok(text.to_owned());
    };
    Err(Wrong { what: what.into(), remedy: "give a name such as \"fanfare-events\"".into() })
}

/// A URL, or nothing.
pub(super) fn webhook(text: &str) -> Result<Option<SecretUrl>, Wrong> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = |why: BadUrl| Wrong {
        what: why.to_string(),
        remedy: match why {
            BadUrl::Hidden => "put the real one there, or give it in FANFARE_EVENTS_WEBHOOK".into(),
            _ => "give one such as https://backend.example/fanfare".into(),
        },
    };
    text.parse().map(Some).map_err(wrong)
}

/// A set of kinds, by their words.
pub(super) fn kinds(texts: &[&str]) -> Result<EventKinds, Wrong> {
    texts.iter().try_fold(EventKinds::default(), |kinds, text| {
        let kind = EventKind::ALL.into_iter().find(|kind| kind.word() == *text);
        kind.map(|kind| kinds.with(kind)).ok_or_else(|| Wrong {
            what: format!("{text:?} is no kind of event"),
            remedy: "give any of \"open\", \"join\", \"leave\", \"close\"".into(),
        })
    })
}

/// The words of a set.
pub(super) fn words(kinds: EventKinds) -> Vec<String> {
    EventKind::ALL.into_iter().filter(|kind| kinds.has(*kind)).map(|kind| kind.word().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_an_address_and_no_secret() {
        assert_eq!(webhook("").expect("none"), None);
        for good in ["http://127.0.0.1:8080", "https://backend.example/fanfare?x=1", "http://[::1]:1/"] {
            assert_eq!(webhook(good).expect("a URL").as_ref().map(SecretUrl::expose), Some(good));
        }
        for bad in
            ["backend", "ftp://backend/", "/path", "http://", "http://user:hunter2@backend/", "http://a b/"]
        {
            let wrong = webhook(bad).expect_err(bad);
            assert!(!format!("{wrong:?}").contains("hunter2"));
        }
    }

    #[test]
    fn kinds_are_words_in_any_order() {
        let some = kinds(&["close", "open", "close"]).expect("words");
        assert_eq!(words(some), ["open", "close"]);
        assert_eq!(kinds(&[]).expect("none"), EventKinds::default());
        assert!(kinds(&["opened"]).is_err());
    }

    #[test]
    fn a_name_is_one_word() {
        assert_eq!(name("lives").expect("a name"), "lives");
        for bad in ["", "a b", "a\n", &"x".repeat(129)] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }
}
