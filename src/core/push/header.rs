//! The options of a push in front of a message that comes by Redis.
//!
//! ```text
//! @push rate=500 ramp_s=10 expires_in_s=60 id=nightly-3 lane=urgent weight=2
//! {"v":2}
//! ```
//! The first line ends with a line feed; everything behind it is the payload. No JSON text begins with `@`.
//!
//! Ordinary text may begin with `@push` too. The first word behind it decides: with an option (`name=value`, or the name
//! of an option that nothing but options, numbers and `=` follow), or with nothing but a line feed, the line is meant as a
//! header, and a mistake in it refuses the message. With any other word the whole message is the payload. Whoever wants
//! to be sure sends a header without options in front: `@push`, a line feed, the payload. *Not here*: the same options
//! in a JSON object (`request`).

use bytes::Bytes;

use super::id::PushId;
use super::terms::{self, BadTerm, Terms};

const WORD: &[u8] = b"@push";
const OPTIONS: [&str; 7] = ["rate", "ramp_s", "expires_in_s", "id", "lane", "weight", "track"];
/// A header longer than this is none: every option at its longest takes less than half of it.
const HEADER_BYTES_MAX: usize = 512;

/// Payloads below this are copied out from behind their header.
const COPY_BELOW: usize = 32 * HEADER_BYTES_MAX;

/// What stands in front of a payload.
#[derive(Clone, Debug, PartialEq)]
pub enum Header {
    /// Nothing: all of it is the payload.
    None,
    /// Options, and the payload behind them.
    Push {
        /// How to push it.
        terms: Terms,
        /// Its name, if it has one.
        id: Option<PushId>,
        /// Whether there is any option.
        is_job: bool,
        /// What to push.
        payload: Bytes,
    },
}

/// Why a header is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadHeader(pub String);

impl From<BadTerm> for BadHeader {
    fn from(wrong: BadTerm) -> Self {
        Self(format!("{} takes {}", wrong.name, wrong.takes))
    }
}

/// Looks for a header.
pub fn parse(payload: &Bytes) -> Result<Header, BadHeader> {
    let Some(rest) = payload.strip_prefix(WORD) else { return Ok(Header::None) };
    // "@pusher" is somebody else's word.
    if !matches!(rest.first(), Some(b' ' | b'\n' | b'\r')) {
        return Ok(Header::None);
    }
    let near = &payload[..payload.len().min(HEADER_BYTES_MAX)];
    let end = near.iter().position(|byte| *byte == b'\n');
    if !is_meant(&payload[WORD.len()..end.unwrap_or(near.len())], end.is_some()) {
        return Ok(Header::None);
    }
    let Some(end) = end else {
        return Err(BadHeader(format!("no line feed within {HEADER_BYTES_MAX} bytes of @push")));
    };
    let line = std::str::from_utf8(&payload[WORD.len()..end])
        .map_err(|_| BadHeader("the line is not UTF-8".into()))?;
    let mut terms = Terms::default();
    let (mut id, mut is_job, mut seen) = (None, false, Vec::new());
    for word in line.split_ascii_whitespace() {
        let (name, value) =
            word.split_once('=').ok_or_else(|| BadHeader(format!("{word:?} is not name=value")))?;
        if seen.contains(&name) {
            return Err(BadHeader(format!("{name} is there twice")));
        }
        seen.push(name);
        is_job |= name != "track" || value == "true";
        match name {
            "rate" => terms.rate = Some(terms::rate(number(value))?),
            "ramp_s" => terms.ramp = terms::ramp(number(value))?,
            "expires_in_s" => terms.expires_in = Some(terms::expires_in(number(value))?),
            "lane" => terms.lane = terms::lane(value)?,
            "weight" => terms.weight = terms::weight(value.parse().unwrap_or(0))?,
            "id" => id = Some(PushId::new(value).map_err(|why| BadHeader(format!("id: {why}")))?),
            "track" if matches!(value, "true" | "false") => {}
            "track" => return Err(BadHeader("track takes true or false".into())),
            _ => return Err(BadHeader(format!("there is no option {name:?}"))),
        }
    }
    terms.check()?;
    // A short payload does not keep a header alive that may be longer.
    let rest = &payload[end + 1..];
    let payload =
        if rest.len() < COPY_BELOW { Bytes::copy_from_slice(rest) } else { payload.slice(end + 1..) };
    Ok(Header::Push { terms, id, is_job, payload })
}

/// Whether a line is meant as options, right or wrong; `is_whole`: a line feed ends it.
fn is_meant(line: &[u8], is_whole: bool) -> bool {
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_ascii_whitespace();
    let Some(first) = words.next() else { return is_whole };
    let name = &first[..first.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(first.len())];
    match &first[name.len()..] {
        "" => OPTIONS.contains(&name) && words.all(is_of_options),
        rest if rest.starts_with('=') => !name.is_empty(),
        rest => rest.starts_with(':') && OPTIONS.contains(&name),
    }
}

/// Whether a word can stand among options, be it by mistake.
fn is_of_options(word: &str) -> bool {
    word.contains('=') || OPTIONS.contains(&word) || word.parse::<f64>().is_ok()
}

/// A number, or one that no option takes.
fn number(text: &str) -> f64 {
    text.parse().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::push::rate::Rate;
    use crate::push::terms::Lane;
    use proptest::prelude::*;
    use std::time::Duration;

    fn parsed(text: &str) -> Result<Header, BadHeader> {
        parse(&Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn what_has_no_header_is_all_payload() {
        for plain in ["", "{}", "@", "@pus", "@push", "@pusher\n", "@pushrate=1\nx", " @push\nx"] {
            assert_eq!(parsed(plain), Ok(Header::None), "{plain:?}");
        }
    }

    #[test]
    fn text_that_only_begins_like_a_header_is_all_payload() {
        let long = format!("@push {}", "is a word like any other, ".repeat(100));
        for plain in [
            "@push me at noon",
            "@push me at noon\nplease",
            "@push me when id=5 is there\n",
            "@push ",
            "@push \r",
            "@push rate limits are too low\nplease",
            "@push id cards, please",
            "@push {\"rate\":1}\nx",
            "@push =5\nx",
            "@push @push rate=5\nx",
            "@push \u{e9}t\u{e9}=5\nx",
            &long,
        ] {
            assert_eq!(parsed(plain), Ok(Header::None), "{plain:?}");
        }
        assert_eq!(parse(&Bytes::from_static(b"@push \xff\xfe\nx")), Ok(Header::None));
    }

    #[test]
    fn every_option_is_read_and_the_payload_is_verbatim() {
        let text = "@push rate=12.5 ramp_s=10 expires_in_s=60 id=n-3 lane=urgent weight=2\r\n@push\n\0x";
        let Ok(Header::Push { terms, id, is_job, payload }) = parsed(text) else { panic!("a header") };
        assert_eq!(terms.rate, Rate::per_second(12.5).ok());
        assert_eq!((terms.ramp, terms.expires_in), (Duration::from_secs(10), Some(Duration::from_secs(60))));
        assert_eq!((terms.lane, terms.weight, is_job), (Lane::Urgent, 2, true));
        assert_eq!((id.as_ref().map(PushId::as_str), &payload[..]), (Some("n-3"), &b"@push\n\0x"[..]));
        let Ok(Header::Push { is_job, payload, .. }) = parsed("@push\n@push x") else { panic!("a header") };
        assert_eq!((is_job, &payload[..]), (false, &b"@push x"[..]));
    }

    #[test]
    fn a_header_with_a_mistake_is_refused_with_its_name() {
        for (text, told) in [
            ("@push rate=0\nx", "rate"),
            ("@push rate=\nx", "rate"),
            ("@push ramp_s=3\nx", "ramp_s"),
            ("@push speed=3\nx", "speed"),
            ("@push rate\nx", "name=value"),
            ("@push rate=1 rate=2\nx", "twice"),
            ("@push weight=-1\nx", "weight"),
            ("@push track=yes\nx", "track"),
            ("@push id=\nx", "id"),
            ("@push rate=1", "line feed"),
            ("@push Rate=1\nx", "Rate"),
            ("@push rate:1\nx", "name=value"),
            ("@push rate = 1\nx", "name=value"),
            ("@push rate 500\nx", "name=value"),
            ("@push rate 500", "line feed"),
            ("@push rate=1 please\nx", "name=value"),
        ] {
            let wrong = parsed(text).expect_err(text);
            assert!(wrong.0.contains(told), "{text:?}: {}", wrong.0);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_header_a_payload_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100), header in any::<bool>()) {
            let mut whole = if header { b"@push ".to_vec() } else { Vec::new() };
            whole.extend(&bytes);
            if let Ok(Header::Push { payload, .. }) = parse(&Bytes::from(whole.clone())) {
                prop_assert!(whole.ends_with(&payload));
            }
        }
    }
}
