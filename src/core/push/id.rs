//! The name of a push: given by its sender, so that the same request sent twice is one push, or by the gateway.

use std::fmt;
use std::sync::Arc;

use crate::limits::PUSH_ID_BYTES_MAX;
use crate::model::footprint::{ARC_BYTES, block};

/// 1 to [`PUSH_ID_BYTES_MAX`] of `A-Z a-z 0-9 . _ : -`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PushId(Arc<str>);

/// A text that is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadId;

impl fmt::Display for BadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an id is 1 to {PUSH_ID_BYTES_MAX} letters, digits or any of . _ : -")
    }
}

impl PushId {
    /// Checks and takes a text.
    pub fn new(text: &str) -> Result<Self, BadId> {
        let may_be = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        if (1..=PUSH_ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(may_be) {
            Ok(Self(text.into()))
        } else {
            Err(BadId)
        }
    }

    /// How many copies of it there are.
    pub fn holders(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// Memory of it, which all copies share.
    pub fn allocated_bytes(&self) -> usize {
        block(self.0.len() + ARC_BYTES)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for PushId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PushId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_needs_no_escaping_anywhere() {
        for right in ["a", "2026-11-21:nightly_3.1", &"x".repeat(PUSH_ID_BYTES_MAX)] {
            assert_eq!(PushId::new(right).map(|id| id.as_str().to_owned()), Ok(right.to_owned()));
        }
        for wrong in ["", "a b", "a/b", "é", "a\n", &"x".repeat(PUSH_ID_BYTES_MAX + 1)] {
            assert_eq!(PushId::new(wrong), Err(BadId), "{wrong}");
        }
    }
}
