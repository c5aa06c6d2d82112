//! Reads back what a protocol wrote.

use tungstenite::protocol::frame::FrameHeader;

use crate::websocket::frame::Opcode;

/// The frames of an encoding, read by tungstenite's header parser, each with its payload.
pub fn server_frames(bytes: &[u8]) -> Vec<(Opcode, Vec<u8>)> {
    let mut cursor = std::io::Cursor::new(bytes);
    let mut frames = Vec::new();
    while cursor.position() < bytes.len() as u64 {
        let (header, len) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
        assert!(header.is_final && !header.rsv1 && !header.rsv2 && !header.rsv3 && header.mask.is_none());
        let opcode = Opcode::from_first_byte(header.opcode.into()).unwrap();
        let start = cursor.position() as usize;
        frames.push((opcode, bytes[start..start + len as usize].to_vec()));
        cursor.set_position(cursor.position() + len);
    }
    frames
}
