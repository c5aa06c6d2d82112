//! Seal: encode a batch once for every format that somebody speaks, before it crosses to the shards.
//!
//! A format nobody spoke a moment ago is encoded by the first shard that needs it. *Not here*: the formats.

use std::sync::Arc;

use crate::model::charge::Charge;
use crate::model::{Batch, FormatId};
use crate::protocols;

/// Encodes for the formats in use and shares the batch.
pub fn seal(batch: Batch, in_use: [bool; FormatId::COUNT]) -> Arc<Batch> {
    seal_charged(batch, in_use, |_| None)
}

/// The same of a batch that may be charged somewhere for its memory.
pub fn seal_charged(
    mut batch: Batch,
    in_use: [bool; FormatId::COUNT],
    charge: impl FnOnce(&Batch) -> Option<Charge>,
) -> Arc<Batch> {
    for format in FormatId::ALL {
        if in_use[format.index()] {
            batch.encode_counted(format, |batch| protocols::format(format).encode(batch));
        }
    }
    let charge = charge(&batch);
    batch.set_charge(charge);
    Arc::new(batch)
}
