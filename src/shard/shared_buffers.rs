//! Buffers of rounds that outboxes share: each is charged once, from the first that holds it until the last lets go.

use std::sync::Arc;

use bytes::Bytes;

use crate::metrics::Blocks;

/// What a shared buffer takes beside its bytes.
const KEPT_BYTES: usize = size_of::<Kept>() + 64;

/// Where shared buffers are charged.
#[derive(Clone, Copy)]
pub(super) struct Keeper<'a> {
    pub(super) blocks: &'a Arc<Blocks>,
    pub(super) number: usize,
}

/// A buffer that outboxes share.
struct Kept {
    bytes: Bytes,
    blocks: Arc<Blocks>,
    number: usize,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let block = &self.blocks.shards[self.number];
        block.outbox_shared_bytes.sub((self.bytes.len() + KEPT_BYTES) as u64);
    }
}

impl Keeper<'_> {
    /// The same bytes, charged until the last reference to what is returned is gone.
    pub(super) fn keep(self, bytes: &Bytes) -> Bytes {
        let Self { blocks, number } = self;
        blocks.shards[number].outbox_shared_bytes.add((bytes.len() + KEPT_BYTES) as u64);
        Bytes::from_owner(Kept { bytes: bytes.clone(), blocks: Arc::clone(blocks), number })
    }
}
