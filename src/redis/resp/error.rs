//! Why bytes are not RESP2.

use std::fmt;

use fanfare_core::limits::RESP_LINE_BYTES_MAX;

/// What ends a line.
pub(super) const CRLF: &[u8] = b"\r\n";

/// Why bytes are not RESP2 from a Redis in its right mind. The stream cannot be continued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RespError {
    /// A reply starts with this byte, which no reply starts with.
    Kind(u8),
    /// A line longer than [`RESP_LINE_BYTES_MAX`].
    LineTooLong,
    /// A line feed without a carriage return.
    BareLineFeed,
    /// A length that is no number.
    BadLength,
    /// A bulk string above [`fanfare_core::limits::RESP_BULK_BYTES_MAX`].
    BulkTooLong(u64),
    /// An array with which a reply has more than [`fanfare_core::limits::RESP_ELEMENTS_MAX`] elements.
    ArrayTooLong(u64),
    /// Arrays in arrays, more than [`fanfare_core::limits::RESP_DEPTH_MAX`] deep.
    TooDeep,
    /// A reply that has more bytes than any that is asked for.
    ReplyTooLong,
    /// A bulk string without CRLF after it.
    NoCrlf,
    /// An integer that is none.
    BadInteger,
}

impl fmt::Display for RespError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(byte) => write!(f, "a reply starts with byte 0x{byte:02x}"),
            Self::LineTooLong => write!(f, "a line is longer than {RESP_LINE_BYTES_MAX} bytes"),
            Self::BareLineFeed => write!(f, "a line ends without a carriage return"),
            Self::BadLength => write!(f, "a length is not a number"),
            Self::BulkTooLong(n) => write!(f, "a bulk string of {n} bytes"),
            Self::ArrayTooLong(n) => write!(f, "an array of {n} elements"),
            Self::TooDeep => write!(f, "arrays within arrays, too deep"),
            Self::ReplyTooLong => write!(f, "a reply that does not end"),
            Self::NoCrlf => write!(f, "a bulk string does not end with CRLF"),
            Self::BadInteger => write!(f, "an integer is not a number"),
        }
    }
}

impl std::error::Error for RespError {}
