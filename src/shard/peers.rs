//! Connections and their sockets, without what they are members of: what may change while a round walks.
//!
//! *Not here*: what ends a connection (`departures`).

use crate::dataplane::{Plane, Token};
use crate::metrics::ShardBlock;
use fanfare_core::session::Connection;
use fanfare_core::session::table::Table;

/// The part of a shard that changes what a connection owes.
pub(super) struct Peers<'s, P> {
    pub(super) plane: &'s mut P,
    pub(super) table: &'s mut Table,
    pub(super) block: &'s ShardBlock,
}

impl<P: Plane> Peers<'_, P> {
    /// Changes what a connection owes, and counts that. `None`: it is gone.
    pub(super) fn with_dues<T>(
        &mut self,
        token: Token,
        change: impl FnOnce(&mut Connection) -> T,
    ) -> Option<T> {
        let connection = self.table.get(token)?;
        let before = connection.dues();
        let result = change(connection);
        self.block.count_dues(before, connection.dues());
        Some(result)
    }

    /// Watches for room in the socket of a connection that owes, unless that is done already.
    pub(super) fn await_room(&mut self, token: Token) {
        let Some(connection) = self.table.get(token) else { return };
        let fd = connection.fd;
        if let Some(outbox) = connection.outbox()
            && !std::mem::replace(&mut outbox.awaits_room, true)
        {
            self.plane.watch_writable(token, fd);
        }
    }
}
