//! Bytes as allocated: what every bound of a queue counts.
//!
//! What holds memory counts the blocks that the allocator gives for it: payloads, structures, and whatever a slice of a
//! larger buffer keeps alive. An empty message costs its structures. Figures are those of mimalloc; another allocator
//! differs by a few per cent. *Not here*: the bounds (`limits`), who counts.

/// What holds memory and can say how much.
pub trait Footprint {
    /// Bytes that the allocator gave for it and for what it holds.
    fn allocated_bytes(&self) -> usize;
}

/// Counters in front of what an `Arc` holds.
pub const ARC_BYTES: usize = 16;

/// What a `Bytes` allocates beside its buffer once there is a second reference to it.
pub const BYTES_SHARED: usize = block(24);

/// What a hash table with room for so many entries allocates: one of eight places stays empty, each has a byte of its own
/// beside it, and their number is a power of two.
pub const fn table(capacity: usize, entry_bytes: usize) -> usize {
    if capacity == 0 {
        return 0;
    }
    let places = (capacity * 8).div_ceil(7).next_power_of_two();
    block(places * (entry_bytes + 1) + 16)
}

/// Sizes of blocks up to here are steps; above it they are whole pages.
const STEPS_MAX: usize = 128 * 1024;
const PAGE: usize = 4096;

/// The block that the allocator gives for so many bytes: words, then four sizes for each power of two, then pages.
pub const fn block(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..=8 => 8,
        9..=64 => bytes.next_multiple_of(16),
        65..=STEPS_MAX => {
            let step = 1 << ((bytes - 1).ilog2() - 2);
            bytes.next_multiple_of(step)
        }
        _ => bytes.next_multiple_of(PAGE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_the_places_that_the_standard_one_has() {
        for wanted in [1, 3, 7, 8, 14, 100, 5_000] {
            let capacity = std::collections::HashSet::<u64>::with_capacity(wanted).capacity();
            let places = (capacity + 1).next_power_of_two();
            assert_eq!(table(capacity, 7), block(places * 8 + 16), "{wanted}");
        }
        assert_eq!(table(0, 100), 0);
    }

    #[test]
    fn a_block_is_never_smaller_than_what_it_holds_and_at_most_a_quarter_larger() {
        for bytes in (0..5_000).chain((5_000..3_000_000).step_by(997)) {
            let block = block(bytes);
            assert!(
                block >= bytes && block <= (bytes + bytes / 4).max(bytes + 15).max(8),
                "{bytes}: {block}"
            );
        }
        assert_eq!([0, 1, 8, 9, 24, 65, 129, 1024, 1025].map(block), [0, 8, 8, 16, 32, 80, 160, 1024, 1280]);
    }
}
