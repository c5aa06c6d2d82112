//! Close frames that clients send: which codes may appear in them, and what their payload says.
//!
//! *Not here*: the codes that the gateway sends and why (`model::close_reason`).

use std::fmt;

/// What a Close frame without a code stands for; never in a frame itself (RFC 6455 section 7.1.5).
pub const NO_STATUS: u16 = 1005;

/// What an end without a Close frame stands for; never in a frame itself (RFC 6455 section 7.1.5).
pub const ABNORMAL: u16 = 1006;

/// Whether an endpoint may put the code into a Close frame.
///
/// RFC 6455 section 7.4: 1004 is reserved, 1005, 1006 and 1015 MUST NOT be set in a frame, below 1000 nothing is
/// used, 1000 to 2999 belong to the protocol, 3000 to 4999 to libraries and applications. 1012, 1013 and 1014 came
/// later, through the registry of section 11.7.
pub const fn is_sendable(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Why the payload of a Close frame is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadClose {
    /// One byte: half a code.
    HalfCode,
    /// A code that must not be sent.
    Code(u16),
    /// A reason that is not UTF-8.
    Reason,
}

impl fmt::Display for BadClose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HalfCode => write!(f, "a Close frame has a payload of one byte"),
            Self::Code(code) => write!(f, "a Close frame has the code {code}"),
            Self::Reason => write!(f, "a Close frame's reason is not UTF-8"),
        }
    }
}

/// Code and reason of a Close frame's unmasked payload; `None` when it is empty.
///
/// RFC 6455 section 5.5.1: "If there is a body, the first two bytes of the body MUST be a 2-byte unsigned integer
/// (in network byte order) representing a status code [...]. Following the 2-byte integer, the body MAY contain
/// UTF-8-encoded data".
pub fn parse(payload: &[u8]) -> Result<Option<(u16, &str)>, BadClose> {
    match payload {
        [] => Ok(None),
        [_] => Err(BadClose::HalfCode),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !is_sendable(code) {
                return Err(BadClose::Code(code));
            }
            let reason = std::str::from_utf8(reason).map_err(|_| BadClose::Reason)?;
            Ok(Some((code, reason)))
        }
    }
}

#[cfg(test)]
mod tests {
    use tungstenite::protocol::frame::coding::CloseCode;

    use super::{BadClose, is_sendable, parse};

    #[test]
    fn the_codes_that_may_be_sent_are_those_that_tungstenite_allows() {
        for code in 0..=u16::MAX {
            // tungstenite has no name for 1014 (bad gateway), which the registry added after the others.
            let expected = code == 1014 || CloseCode::from(code).is_allowed();
            assert_eq!(is_sendable(code), expected, "{code}");
        }
    }

    #[test]
    fn a_payload_is_empty_or_a_code_and_a_reason() {
        assert_eq!(parse(b""), Ok(None));
        assert_eq!(parse(b"\x03\xe8"), Ok(Some((1000, ""))));
        assert_eq!(parse(b"\x0f\xa8too slow"), Ok(Some((4008, "too slow"))));
    }

    #[test]
    fn half_a_code_a_forbidden_code_and_a_reason_that_is_not_text_are_refused() {
        assert_eq!(parse(b"\x03"), Err(BadClose::HalfCode));
        assert_eq!(parse(b"\x03\xed"), Err(BadClose::Code(1005)));
        assert_eq!(parse(b"\x03\xe8\xff"), Err(BadClose::Reason));
        assert_eq!(parse(b"\x03\xe8\xe2\x82"), Err(BadClose::Reason));
    }
}
