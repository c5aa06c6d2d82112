//! Which JSON every receiver can read. Pure.
//!
//! Messages of several publishers share a frame of go-push's protocol, and a receiver whose parser gives up at one of them
//! loses all: Python's gives up at a nesting of about 1,000, those of Go and Rust at numbers that no double is near to
//! (RFC 7493, section 2.2, asks senders to avoid these). *Not here*: what becomes of such a message (`push::request`,
//! `protocols::go_push`).

use std::fmt;

use crate::limits::MESSAGE_DEPTH_MAX;

/// Digits in a row that make no number huge: a double goes to 1.8e308.
const DIGITS_SAFE: usize = 300;

/// Why a JSON value is not for everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// More than [`MESSAGE_DEPTH_MAX`] arrays and objects within one another.
    Depth,
    /// A number beyond the range of a double.
    Number,
}

impl fmt::Display for Unreadable {
    /// For a sentence: "message 3 …".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Depth => {
                write!(f, "is nested deeper than {MESSAGE_DEPTH_MAX}, which some receivers cannot read")
            }
            Self::Number => {
                f.write_str("has a number beyond the range of a double, which some receivers cannot read")
            }
        }
    }
}

/// Looks at a valid JSON value. Two vectorized passes, unless something in it is suspicious.
pub fn check(json: &[u8]) -> Result<(), Unreadable> {
    if may_be_deep(json) || may_have_a_huge_number(json) { walk(json) } else { Ok(()) }
}

/// Brackets within strings count too.
fn may_be_deep(json: &[u8]) -> bool {
    // The two opening brackets differ in one bit.
    let opening = || json.iter().filter(|byte| **byte | 0x20 == b'{').count();
    json.len() > 2 * MESSAGE_DEPTH_MAX && opening() > MESSAGE_DEPTH_MAX
}

/// A huge number has an exponent or very many digits.
fn may_have_a_huge_number(json: &[u8]) -> bool {
    // No way out of the loop, so that it becomes vector code.
    let has_exponent = std::iter::zip(json, json.get(1..).unwrap_or_default())
        .fold(0, |found, (digit, e)| found | u8::from(digit.is_ascii_digit()) & u8::from(*e | 0x20 == b'e'));
    // A row of so many digits covers two neighbours of these.
    let every = json.iter().step_by(DIGITS_SAFE / 2);
    has_exponent != 0
        || std::iter::zip(every.clone(), every.skip(1)).any(|(a, b)| a.is_ascii_digit() && b.is_ascii_digit())
}

fn walk(json: &[u8]) -> Result<(), Unreadable> {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(&byte) = json.get(at) {
        at += 1;
        match byte {
            b'"' => at += string_rest(&json[at..]),
            b'[' | b'{' => {
                depth += 1;
                if depth > MESSAGE_DEPTH_MAX {
                    return Err(Unreadable::Depth);
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'-' | b'0'..=b'9' => {
                let is_of_number = |byte: &&u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
                let end = at + json[at..].iter().take_while(is_of_number).count();
                let number =
                    std::str::from_utf8(&json[at - 1..end]).ok().and_then(|text| text.parse::<f64>().ok());
                if number.is_none_or(f64::is_infinite) {
                    return Err(Unreadable::Number);
                }
                at = end;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Bytes from behind a string's first quote to behind its last.
fn string_rest(json: &[u8]) -> usize {
    let mut at = 0;
    while let Some(&byte) = json.get(at) {
        at += match byte {
            b'"' => return at + 1,
            b'\\' => 2,
            _ => 1,
        };
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A value within so many arrays and objects, of mixed kinds.
    fn nested(depth: usize, kinds: usize) -> String {
        let is_array = |level: usize| kinds >> (level % 8) & 1 == 0;
        let open = (0..depth).map(|level| if is_array(level) { "[" } else { "{\"a]\\\"[{\":" });
        let close = (0..depth).rev().map(|level| if is_array(level) { "]" } else { "}" });
        open.chain(["1"]).chain(close).collect()
    }

    /// Depth and whether every number is a finite double, as a parser without bounds finds them.
    fn slowly(json: &str) -> Result<(), Unreadable> {
        let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
        let mut numbers = vec![String::new()];
        for byte in json.bytes() {
            if in_string {
                in_string = escaped || byte != b'"';
                escaped = !escaped && byte == b'\\';
                continue;
            }
            match byte {
                b'"' => in_string = true,
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth -= 1,
                _ => {}
            }
            deepest = deepest.max(depth);
            if byte.is_ascii_digit() || b"+-.eE".contains(&byte) {
                numbers.last_mut().expect("one").push(char::from(byte));
            } else {
                numbers.push(String::new());
            }
        }
        if deepest > MESSAGE_DEPTH_MAX {
            return Err(Unreadable::Depth);
        }
        let is_huge = |number: &String| number.parse::<f64>().is_ok_and(f64::is_infinite);
        if numbers.iter().any(is_huge) { Err(Unreadable::Number) } else { Ok(()) }
    }

    #[test]
    fn the_bound_is_the_last_depth_that_is_taken() {
        for kinds in [0, 0xff, 0x55, 0x13] {
            assert_eq!(check(nested(MESSAGE_DEPTH_MAX, kinds).as_bytes()), Ok(()));
            assert_eq!(check(nested(MESSAGE_DEPTH_MAX + 1, kinds).as_bytes()), Err(Unreadable::Depth));
            assert_eq!(check(nested(100_000, kinds).as_bytes()), Err(Unreadable::Depth));
        }
        let shallow = format!("[{}1]", "[],{},".repeat(10_000));
        assert_eq!(check(shallow.as_bytes()), Ok(()));
        assert_eq!(check(format!("\"{}\\\"{}\"", "[".repeat(5000), "{".repeat(5000)).as_bytes()), Ok(()));
    }

    #[test]
    fn a_number_is_within_the_range_of_a_double_whatever_its_digits() {
        let (many, fraction) = ("9".repeat(5000), "0".repeat(5000));
        for good in [
            "1.50e3",
            "1e308",
            "-1.7976931348623157E308",
            "1e-400",
            "0e99999",
            &format!("0.{fraction}1"),
            &format!("\"{many}\""),
            "\"1e999\"",
            "{\"1e999\":\"2E400\"}",
        ] {
            assert_eq!(check(good.as_bytes()), Ok(()), "{good}");
        }
        let within = format!("[1,{{\"a\":[\"x\",{many}]}}]");
        for huge in ["1e309", "-1E400", "[1,2e999999]", &many, &within, &format!("1{}", "0".repeat(309))] {
            assert_eq!(check(huge.as_bytes()), Err(Unreadable::Number), "{huge}");
        }
    }

    proptest! {
        #[test]
        fn what_is_found_in_passing_is_what_a_whole_parse_finds(
            depth in 0_usize..300,
            kinds in 0_usize..256,
            digits in prop_oneof![0_usize..20, 280_usize..340],
            exponent in proptest::option::of(-400_i32..400),
            text in "[\\[{\"\\\\0-9eE.a]{0,600}",
        ) {
            let text = serde_json::to_string(&text).expect("a string");
            let exponent = exponent.map_or_else(String::new, |e| format!("e{e}"));
            let inner = format!("[{text},1{}{exponent},{text}]", "0".repeat(digits));
            let json = nested(depth, kinds).replace('1', &inner);
            prop_assert_eq!(check(json.as_bytes()), slowly(&json));
        }
    }
}
