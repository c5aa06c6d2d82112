//! What the ingest core may hold: each holder within the bound that `limits` has for it, and all of them together.
//!
//! *Not here*: how each counts (`Footprint`), what shards hold (`checks`).

use fanfare::ingest::inbox::PLACES_KEPT as INBOX_PLACES_KEPT;
use fanfare::ingest::redis::Incoming;
use fanfare_core::limits::{
    HELD_BYTES_MAX, INGEST_TURN, OPEN_BYTES_MAX, PUBLISH_BYTES_MAX, PUSH_IDS_SEEN_MAX, REDIS_INBOX_BYTES_MAX,
    REDIS_OUTBOX_BYTES_MAX, RETURNING_MAX, RING_BYTES_MAX,
};
use fanfare_core::model::footprint::Footprint;

use crate::intake::Intake;

/// Ids that are remembered, as `limits` says: 8 MiB.
const IDS_BYTES: usize = PUSH_IDS_SEEN_MAX * 256;
/// Hashes of what Redis has yet to bring back, 2 MiB: two tables, of which one may just have doubled.
const RETURNING_BYTES: usize = RETURNING_MAX * 40;
/// Places of the inbox that stay when nobody is in them.
const INBOX_BYTES: usize = INBOX_PLACES_KEPT * size_of::<Incoming>();
/// Lists of the publishes that Redis has and has not answered, which its window bounds.
const SENT_BYTES: usize = 4 << 20;

impl Intake {
    pub(crate) fn check_memory(&self) {
        let held = self.ingest.holders();
        let requests = self.publisher.allocated_bytes();
        // Alone, one is taken whatever its size.
        let one = 2 * self.largest + 4096;
        let parts = [
            ("requests", requests, (PUBLISH_BYTES_MAX as usize).max(one)),
            ("inbox", held.inbox, REDIS_INBOX_BYTES_MAX.max(one) + INBOX_BYTES),
            ("open batches", held.open, OPEN_BYTES_MAX + one),
            ("to Redis", held.outbound, REDIS_OUTBOX_BYTES_MAX.max(one) + SENT_BYTES),
            ("ids", held.ids, IDS_BYTES),
            ("returning", held.returning, RETURNING_BYTES),
            ("merging", held.merging, one),
            // What one message closes: all that is open, and itself.
            ("in front of rings", held.waiting, OPEN_BYTES_MAX + 2 * one + INGEST_TURN * 1024),
            ("behind pushes", self.blocks.held.allocated_bytes(), HELD_BYTES_MAX + RING_BYTES_MAX),
        ];
        for (name, bytes, most) in parts {
            assert!(bytes <= most, "{name}: {bytes} bytes, {most} may be");
        }
        let (sum, most) = parts.iter().fold((0, 0), |(sum, most), part| (sum + part.1, most + part.2));
        assert!(sum <= most, "{sum} bytes in the ingest core, {most} may be");
    }
}
