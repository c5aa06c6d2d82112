//! Buffers of rounds that outboxes share: each is charged once, from the first that holds it until the last lets go.

use std::sync::Arc;

use bytes::Bytes;

use crate::counters::Value;

/// What a shared buffer takes beside its bytes.
const KEPT_BYTES: usize = size_of::<Kept>() + 64;

/// Where shared buffers are charged. The gauge may outlive whoever lends it here.
#[derive(Clone, Copy, Debug)]
pub struct Keeper<'a>(pub &'a Arc<Value>);

/// A buffer that outboxes share.
struct Kept {
    bytes: Bytes,
    charged: Arc<Value>,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.charged.sub((self.bytes.len() + KEPT_BYTES) as u64);
    }
}

impl Keeper<'_> {
    /// The same bytes, charged until the last reference to what is returned is gone.
    pub(super) fn keep(self, bytes: &Bytes) -> Bytes {
        self.0.add((bytes.len() + KEPT_BYTES) as u64);
        Bytes::from_owner(Kept { bytes: bytes.clone(), charged: Arc::clone(self.0) })
    }
}
