//! The mask of a client's payload (RFC 6455 section 5.3): byte *i* XOR byte *i* mod 4 of the key.
//!
//! *Not here*: where a payload begins and which key it has (`decoder`).

/// A masking key that knows how far into the payload it is, so that a payload can be unmasked in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Rotated so that its first byte belongs to the next byte of the payload.
    key: [u8; 4],
}

impl Mask {
    /// The key as it stands in the frame's header, at the payload's first byte.
    pub fn new(key: [u8; 4]) -> Self {
        Self { key }
    }

    /// Unmasks the payload's next bytes in place. Eight bytes a step at any alignment; the compiler makes vectors of it.
    pub fn apply(&mut self, bytes: &mut [u8]) {
        let [a, b, c, d] = self.key;
        let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        let (words, tail) = bytes.as_chunks_mut::<8>();
        for word in words {
            *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
        }
        for (byte, key) in tail.iter_mut().zip([a, b, c, d, a, b, c]) {
            *byte ^= key;
        }
        self.key.rotate_left(tail.len() % 4);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Mask;

    proptest! {
        #[test]
        fn any_split_unmasks_like_the_definition(
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            key: [u8; 4],
            cuts in proptest::collection::vec(0_usize..200, 0..5),
            misalignment in 0_usize..16,
        ) {
            let expected: Vec<u8> = payload.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();

            let mut buffer = vec![0; misalignment];
            buffer.extend_from_slice(&payload);
            let mut mask = Mask::new(key);
            let mut rest = &mut buffer[misalignment..];
            for cut in cuts {
                let (piece, after) = rest.split_at_mut(cut.min(rest.len()));
                mask.apply(piece);
                rest = after;
            }
            mask.apply(rest);

            prop_assert_eq!(&buffer[misalignment..], &expected[..]);
        }
    }
}
