//! Frames that the gateway sends: unmasked, never fragmented, without extensions (RFC 6455 section 5.2).
//!
//! *Not here*: frames that clients send (`decoder`), what is in a payload (`protocols`).

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::OpCode;

/// The longest header of a frame without a mask: two bytes and a 64-bit length.
pub const HEADER_BYTES_MAX: usize = 10;

/// The longest payload of a control frame (RFC 6455 section 5.5).
pub const CONTROL_PAYLOAD_BYTES_MAX: usize = 125;

/// The longest reason of a Close frame: its code takes two bytes of the payload.
pub const CLOSE_REASON_BYTES_MAX: usize = CONTROL_PAYLOAD_BYTES_MAX - 2;

/// What a frame is (RFC 6455 section 5.2); the reserved values have no name here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// The next fragment of a message.
    Continuation = 0x0,
    /// A text message or its first fragment.
    Text = 0x1,
    /// A binary message or its first fragment.
    Binary = 0x2,
    /// Close, with a code and a reason or without.
    Close = 0x8,
    /// A ping.
    Ping = 0x9,
    /// A pong.
    Pong = 0xA,
}

impl Opcode {
    /// The opcode in the low four bits of a frame's first byte; `None` when it is reserved.
    pub const fn from_first_byte(byte: u8) -> Option<Self> {
        Some(match byte & 0x0F {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    /// Close, ping or pong.
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// The header of a frame that the gateway sends.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    bytes: [u8; HEADER_BYTES_MAX],
    len: u8,
}

impl std::ops::Deref for Header {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// The header of a complete server frame with a payload of `len` bytes.
pub fn header(opcode: Opcode, len: usize) -> Header {
    let header = FrameHeader { opcode: OpCode::from(opcode as u8), ..FrameHeader::default() };
    let mut bytes = [0; HEADER_BYTES_MAX];
    let mut rest = &mut bytes[..];
    header.format(len as u64, &mut rest).expect("an unmasked header fits into its longest form");
    let unused = rest.len();
    Header { bytes, len: (HEADER_BYTES_MAX - unused) as u8 }
}

/// Length of the header that [`header`] makes for a payload of `len` bytes.
pub const fn header_len(len: usize) -> usize {
    match len {
        0..=125 => 2,
        126..=0xFFFF => 4,
        _ => HEADER_BYTES_MAX,
    }
}

/// Appends a complete server frame.
pub fn push_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    debug_assert!(!opcode.is_control() || payload.len() <= CONTROL_PAYLOAD_BYTES_MAX);
    let header = header(opcode, payload.len());
    out.reserve(header.len() + payload.len());
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
}

/// Appends a Close frame. A reason above [`CLOSE_REASON_BYTES_MAX`] is cut at the last character that fits.
pub fn push_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let mut cut = reason.len().min(CLOSE_REASON_BYTES_MAX);
    while !reason.is_char_boundary(cut) {
        cut -= 1;
    }
    let reason = &reason[..cut];
    let header = header(Opcode::Close, 2 + reason.len());
    out.reserve(header.len() + 2 + reason.len());
    out.extend_from_slice(&header);
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// Total length of the server frame that begins at `bytes`, its payload included even where that is not in `bytes`.
/// `None` while the header is incomplete, and for what is no header of a server frame.
pub fn frame_len(bytes: &[u8]) -> Option<usize> {
    let mut cursor = Cursor::new(bytes);
    let (header, payload_len) = FrameHeader::parse(&mut cursor).ok().flatten()?;
    if header.mask.is_some() {
        return None;
    }
    usize::try_from(payload_len).ok()?.checked_add(cursor.position() as usize)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tungstenite::protocol::frame::coding::{CloseCode, Control, Data};
    use tungstenite::protocol::frame::{CloseFrame, Frame};

    use super::*;

    fn tungstenites_frame(frame: Frame) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame.format(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn frames_are_byte_for_byte_tungstenites_at_every_length_form() {
        for len in [0, 1, 125, 126, 127, 65_535, 65_536, 100_000] {
            let payload = vec![b'x'; len];
            let mut out = b"before".to_vec();
            push_frame(&mut out, Opcode::Text, &payload);
            let expected = tungstenites_frame(Frame::message(payload, OpCode::Data(Data::Text), true));
            assert_eq!(&out[6..], &expected[..], "{len}");
            assert_eq!(header(Opcode::Text, len).len(), header_len(len), "{len}");
        }
    }

    #[test]
    fn every_opcode_survives_its_byte() {
        for byte in 0..16 {
            let expected = !matches!(
                OpCode::from(byte),
                OpCode::Data(Data::Reserved(_)) | OpCode::Control(Control::Reserved(_))
            );
            let opcode = Opcode::from_first_byte(0x80 | byte);
            assert_eq!(opcode.is_some(), expected, "{byte}");
            if let Some(opcode) = opcode {
                assert_eq!(opcode as u8, byte);
                assert_eq!(opcode.is_control(), byte >= 8);
            }
        }
    }

    #[test]
    fn a_close_frame_is_tungstenites() {
        let mut out = Vec::new();
        push_close(&mut out, 4008, "too slow");
        let frame = CloseFrame { code: CloseCode::from(4008), reason: "too slow".into() };
        assert_eq!(out, tungstenites_frame(Frame::close(Some(frame))));
    }

    #[test]
    fn a_long_close_reason_is_cut_between_characters() {
        let reason = "é".repeat(100);
        let mut out = Vec::new();
        push_close(&mut out, 1008, &reason);
        assert_eq!(frame_len(&out), Some(out.len()));
        assert_eq!(std::str::from_utf8(&out[4..]), Ok(&reason[..122]));
    }

    proptest! {
        #[test]
        fn frame_len_walks_from_frame_to_frame(lens in proptest::collection::vec(0_usize..70_000, 1..6)) {
            let mut out = Vec::new();
            let mut starts = Vec::new();
            for len in &lens {
                starts.push(out.len());
                push_frame(&mut out, Opcode::Binary, &vec![0; *len]);
            }
            let mut walked = Vec::new();
            let mut at = 0;
            while at < out.len() {
                walked.push(at);
                at += frame_len(&out[at..]).unwrap();
            }
            prop_assert_eq!(at, out.len());
            prop_assert_eq!(walked, starts);
        }

        #[test]
        fn frame_len_needs_the_header_and_nothing_more(len in 0_usize..70_000) {
            let header = header(Opcode::Text, len);
            for cut in 0..header.len() {
                prop_assert_eq!(frame_len(&header[..cut]), None);
            }
            prop_assert_eq!(frame_len(&header), Some(header.len() + len));
        }
    }
}
