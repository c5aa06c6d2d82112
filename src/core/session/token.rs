//! The name of one connection on its shard, from its first byte to its last.

/// Names a connection. A request or a completion whose generation is not the connection's any more is late news of a
/// predecessor at the same index, and is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// Index in the shard's table, below [`crate::limits::CONNECTIONS_PER_SHARD_MAX`].
    pub index: u32,
    /// Generation of the table's slot.
    pub generation: u32,
}
