//! The connections of one shard: chunks of slots, addressed by index and generation.
//!
//! A chunk is allocated when a connection needs it and freed when its last one leaves, so memory follows the number of
//! connections down as well as up; the lowest chunk with room is filled first, so that high ones can empty. *Not here*:
//! what a connection is (`connection`).

use std::collections::BTreeSet;

use super::{Connection, Token};
use crate::limits::{CONNECTIONS_PER_SHARD_MAX, TABLE_CHUNK};
use crate::model::Tick;

/// What is known of a connection only for the sake of its close event. 24 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Account {
    /// When it opened, milliseconds since the Unix epoch.
    pub opened_ms: u64,
    /// Bytes that came from the client.
    pub bytes_in: u64,
    /// Bytes that the kernel took for it.
    pub bytes_out: u64,
}

/// One place in a chunk.
enum Slot {
    /// The next free slot of the chunk, [`NO_SLOT`] at the end.
    Free(u16),
    Taken {
        generation: u32,
        /// When the client last said something that counts as business: at first, when it came. The four bytes are those
        /// that the connection's alignment leaves unused.
        spoke: Tick,
        connection: Connection,
    },
}

const NO_SLOT: u16 = u16::MAX;
const _: () = assert!(TABLE_CHUNK < NO_SLOT as usize);
const _: () = assert!(size_of::<Slot>() <= 56, "a slot is the larger part of the memory contract");

struct Chunk {
    slots: Box<[Slot]>,
    free: u16,
    taken: u16,
    /// One a slot, if they are kept.
    accounts: Option<Box<[Account]>>,
}

impl Chunk {
    fn new(has_accounts: bool) -> Self {
        let slots = (1..=TABLE_CHUNK)
            .map(|next| Slot::Free(if next == TABLE_CHUNK { NO_SLOT } else { next as u16 }))
            .collect();
        let accounts = has_accounts.then(|| vec![Account::default(); TABLE_CHUNK].into());
        Self { slots, free: 0, taken: 0, accounts }
    }
}

/// Every connection of a shard.
#[derive(Default)]
pub struct Table {
    chunks: Vec<Option<Chunk>>,
    /// Chunks that exist and have room, and gaps where one can be made.
    open: BTreeSet<u32>,
    len: usize,
    /// Never repeats within four thousand million connections of one shard.
    next_generation: u32,
    has_accounts: bool,
}

impl Table {
    /// Connections now.
    pub fn len(&self) -> usize {
        self.len
    }

    /// From here on every connection has an account. There is none yet.
    pub fn keep_accounts(&mut self) {
        self.has_accounts = true;
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Indices below this may be in use.
    pub fn span(&self) -> u32 {
        (self.chunks.len() * TABLE_CHUNK) as u32
    }

    /// Gives back room that the list of chunks does not need.
    pub fn shrink(&mut self) {
        self.chunks.shrink_to_fit();
    }

    /// Takes a connection in that begins now; gives it back when the table is full.
    pub fn insert(&mut self, connection: Connection, now: Tick) -> Result<Token, Connection> {
        let number = if let Some(&number) = self.open.first() {
            number
        } else if self.span() as usize >= CONNECTIONS_PER_SHARD_MAX {
            return Err(connection);
        } else {
            self.chunks.push(None);
            self.open.insert(self.chunks.len() as u32 - 1);
            self.chunks.len() as u32 - 1
        };
        let has_accounts = self.has_accounts;
        let chunk = self.chunks[number as usize].get_or_insert_with(|| Chunk::new(has_accounts));
        let place = chunk.free;
        let slot = &mut chunk.slots[place as usize];
        let Slot::Free(next) = *slot else { unreachable!("the free list leads to free slots") };
        self.next_generation = self.next_generation.wrapping_add(1);
        *slot = Slot::Taken { generation: self.next_generation, spoke: now, connection };
        if let Some(accounts) = &mut chunk.accounts {
            accounts[place as usize] = Account::default();
        }
        chunk.free = next;
        chunk.taken += 1;
        if next == NO_SLOT {
            self.open.remove(&number);
        }
        self.len += 1;
        Ok(Token { index: number * TABLE_CHUNK as u32 + u32::from(place), generation: self.next_generation })
    }

    /// The connection, unless it is not there any more.
    #[inline]
    pub fn get(&mut self, token: Token) -> Option<&mut Connection> {
        match self.slot(token.index)? {
            Slot::Taken { generation, connection, .. } if *generation == token.generation => Some(connection),
            _ => None,
        }
    }

    /// Whoever is at an index now.
    #[inline]
    pub fn at(&mut self, index: u32) -> Option<(Token, &mut Connection)> {
        match self.slot(index)? {
            Slot::Taken { generation, connection, .. } => {
                Some((Token { index, generation: *generation }, connection))
            }
            Slot::Free(_) => None,
        }
    }

    /// Connections that came after this one, whether they are there or not.
    pub fn came_after(&self, token: Token) -> u32 {
        self.next_generation.wrapping_sub(token.generation)
    }

    /// Notes that the client said something that counts as business.
    pub fn note_business(&mut self, token: Token, now: Tick) {
        if let Some(Slot::Taken { generation, spoke, .. }) = self.slot(token.index)
            && *generation == token.generation
        {
            *spoke = now;
        }
    }

    /// Whoever is at an index now, and when it last said something that counts as business.
    pub fn spoke_at(&mut self, index: u32) -> Option<(&mut Connection, Tick)> {
        match self.slot(index)? {
            Slot::Taken { spoke, connection, .. } => Some((connection, *spoke)),
            Slot::Free(_) => None,
        }
    }

    /// The account of a connection, if accounts are kept and it is still there.
    pub fn account(&mut self, token: Token) -> Option<&mut Account> {
        self.get(token)?;
        let chunk = self.chunks.get_mut(token.index as usize / TABLE_CHUNK)?.as_mut()?;
        Some(&mut chunk.accounts.as_mut()?[token.index as usize % TABLE_CHUNK])
    }

    /// Bytes came from a client.
    #[inline]
    pub fn count_in(&mut self, token: Token, bytes: usize) {
        if self.has_accounts
            && let Some(account) = self.account(token)
        {
            account.bytes_in += bytes as u64;
        }
    }

    /// The kernel took bytes for a client.
    #[inline]
    pub fn count_out(&mut self, token: Token, bytes: usize) {
        if self.has_accounts
            && let Some(account) = self.account(token)
        {
            account.bytes_out += bytes as u64;
        }
    }

    /// Of bytes that were counted, the kernel took these fewer.
    #[inline]
    pub fn count_out_less(&mut self, token: Token, bytes: usize) {
        if self.has_accounts
            && let Some(account) = self.account(token)
        {
            account.bytes_out -= bytes as u64;
        }
    }

    /// Whether connections have accounts.
    pub fn has_accounts(&self) -> bool {
        self.has_accounts
    }

    /// Takes a connection out.
    pub fn remove(&mut self, token: Token) -> Option<Connection> {
        self.get(token)?;
        let number = token.index as usize / TABLE_CHUNK;
        let place = (token.index as usize % TABLE_CHUNK) as u16;
        let chunk = self.chunks[number].as_mut()?;
        let slot = std::mem::replace(&mut chunk.slots[place as usize], Slot::Free(chunk.free));
        chunk.free = place;
        chunk.taken -= 1;
        if chunk.taken == 0 {
            self.chunks[number] = None;
        }
        self.open.insert(number as u32);
        self.len -= 1;
        while let Some(None) = self.chunks.last() {
            self.chunks.pop();
            self.open.remove(&(self.chunks.len() as u32));
        }
        match slot {
            Slot::Taken { connection, .. } => Some(connection),
            Slot::Free(_) => None,
        }
    }

    #[inline]
    fn slot(&mut self, index: u32) -> Option<&mut Slot> {
        let chunk = self.chunks.get_mut(index as usize / TABLE_CHUNK)?.as_mut()?;
        Some(&mut chunk.slots[index as usize % TABLE_CHUNK])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FormatId;

    fn connection(fd: i32) -> Connection {
        Connection::new(fd, FormatId::RAW, Tick(0))
    }

    #[test]
    fn a_stale_token_finds_nobody() {
        let mut table = Table::default();
        let Ok(first) = table.insert(connection(1), Tick(0)) else { panic!("room") };
        assert!(table.remove(first).is_some());
        let Ok(second) = table.insert(connection(2), Tick(0)) else { panic!("room") };
        assert_eq!(first.index, second.index, "the place is used again");
        assert!(table.get(first).is_none());
        assert!(table.remove(first).is_none());
        assert_eq!(table.get(second).map(|c| c.fd), Some(2));
    }

    #[test]
    fn memory_follows_the_connections_down() {
        let mut table = Table::default();
        let tokens: Vec<_> =
            (0..3 * TABLE_CHUNK).filter_map(|_| table.insert(connection(7), Tick(0)).ok()).collect();
        assert_eq!(table.span() as usize, 3 * TABLE_CHUNK);
        for token in &tokens[TABLE_CHUNK..2 * TABLE_CHUNK] {
            assert!(table.remove(*token).is_some());
        }
        assert!(table.chunks[1].is_none(), "an empty chunk in the middle is freed");
        for token in &tokens[2 * TABLE_CHUNK..] {
            assert!(table.remove(*token).is_some());
        }
        assert_eq!(table.span() as usize, TABLE_CHUNK, "empty chunks at the end leave the list");
        let Ok(token) = table.insert(connection(0), Tick(0)) else { panic!("room") };
        assert_eq!(token.index as usize / TABLE_CHUNK, 1);
        assert_eq!(table.len(), TABLE_CHUNK + 1);
    }
}
