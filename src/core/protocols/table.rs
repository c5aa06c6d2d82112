//! Every client protocol, by number.

use super::protocol::Format;
use super::{go_push, raw};
use crate::model::{Batch, Encoded, FormatId};

static FORMATS: [&dyn Format; FormatId::COUNT] = [&go_push::V1, &go_push::V2, &raw::Raw];

/// The protocol with this number.
pub fn format(id: FormatId) -> &'static dyn Format {
    FORMATS[id.index()]
}

/// A batch in one format. The first caller encodes it; every later one, on any thread, gets the same bytes.
pub fn encoded(batch: &Batch, id: FormatId) -> &Encoded {
    batch.encoded(id, |batch| format(id).encode(batch))
}
