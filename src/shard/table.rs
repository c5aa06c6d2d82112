//! The connections of one shard: chunks of slots, addressed by index and generation.
//!
//! A chunk is allocated when a connection needs it and freed when its last one leaves, so memory follows the number of
//! connections down as well as up; the lowest chunk with room is filled first, so that high ones can empty. *Not here*:
//! what a connection is (`connection`).

use std::collections::BTreeSet;

use crate::connection::Connection;
use crate::dataplane::Token;
use crate::limits::{CONNECTIONS_PER_SHARD_MAX, TABLE_CHUNK};

/// One place in a chunk.
enum Slot {
    /// The next free slot of the chunk, [`NO_SLOT`] at the end.
    Free(u16),
    Taken {
        generation: u32,
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
}

impl Chunk {
    fn new() -> Self {
        let slots = (1..=TABLE_CHUNK)
            .map(|next| Slot::Free(if next == TABLE_CHUNK { NO_SLOT } else { next as u16 }))
            .collect();
        Self { slots, free: 0, taken: 0 }
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
}

impl Table {
    /// Connections now.
    pub fn len(&self) -> usize {
        self.len
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

    /// Takes a connection in; gives it back when the table is full.
    pub fn insert(&mut self, connection: Connection) -> Result<Token, Connection> {
        let number = if let Some(&number) = self.open.first() {
            number
        } else if self.span() as usize >= CONNECTIONS_PER_SHARD_MAX {
            return Err(connection);
        } else {
            self.chunks.push(None);
            self.open.insert(self.chunks.len() as u32 - 1);
            self.chunks.len() as u32 - 1
        };
        let chunk = self.chunks[number as usize].get_or_insert_with(Chunk::new);
        let place = chunk.free;
        let slot = &mut chunk.slots[place as usize];
        let Slot::Free(next) = *slot else { unreachable!("the free list leads to free slots") };
        self.next_generation = self.next_generation.wrapping_add(1);
        *slot = Slot::Taken { generation: self.next_generation, connection };
        chunk.free = next;
        chunk.taken += 1;
        if next == NO_SLOT {
            self.open.remove(&number);
        }
        self.len += 1;
        Ok(Token { index: number * TABLE_CHUNK as u32 + u32::from(place), generation: self.next_generation })
    }

    /// The connection, unless it is not there any more.
    pub fn get(&mut self, token: Token) -> Option<&mut Connection> {
        match self.slot(token.index)? {
            Slot::Taken { generation, connection } if *generation == token.generation => Some(connection),
            _ => None,
        }
    }

    /// Whoever is at an index now.
    pub fn at(&mut self, index: u32) -> Option<(Token, &mut Connection)> {
        match self.slot(index)? {
            Slot::Taken { generation, connection } => {
                Some((Token { index, generation: *generation }, connection))
            }
            Slot::Free(_) => None,
        }
    }

    /// Connections that came after this one, whether they are there or not.
    pub fn came_after(&self, token: Token) -> u32 {
        self.next_generation.wrapping_sub(token.generation)
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

    fn slot(&mut self, index: u32) -> Option<&mut Slot> {
        let chunk = self.chunks.get_mut(index as usize / TABLE_CHUNK)?.as_mut()?;
        Some(&mut chunk.slots[index as usize % TABLE_CHUNK])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Tick;
    use crate::formats::FormatId;

    fn connection(fd: i32) -> Connection {
        Connection::new(fd, FormatId::RAW, Tick(0))
    }

    #[test]
    fn a_stale_token_finds_nobody() {
        let mut table = Table::default();
        let Ok(first) = table.insert(connection(1)) else { panic!("room") };
        assert!(table.remove(first).is_some());
        let Ok(second) = table.insert(connection(2)) else { panic!("room") };
        assert_eq!(first.index, second.index, "the place is used again");
        assert!(table.get(first).is_none());
        assert!(table.remove(first).is_none());
        assert_eq!(table.get(second).map(|c| c.fd), Some(2));
    }

    #[test]
    fn memory_follows_the_connections_down() {
        let mut table = Table::default();
        let tokens: Vec<_> = (0..3 * TABLE_CHUNK).filter_map(|_| table.insert(connection(7)).ok()).collect();
        assert_eq!(table.span() as usize, 3 * TABLE_CHUNK);
        for token in &tokens[TABLE_CHUNK..2 * TABLE_CHUNK] {
            assert!(table.remove(*token).is_some());
        }
        assert!(table.chunks[1].is_none(), "an empty chunk in the middle is freed");
        for token in &tokens[2 * TABLE_CHUNK..] {
            assert!(table.remove(*token).is_some());
        }
        assert_eq!(table.span() as usize, TABLE_CHUNK, "empty chunks at the end leave the list");
        let Ok(token) = table.insert(connection(0)) else { panic!("room") };
        assert_eq!(token.index as usize / TABLE_CHUNK, 1);
        assert_eq!(table.len(), TABLE_CHUNK + 1);
    }
}
