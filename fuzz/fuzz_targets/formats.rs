//! Any payloads become well-formed frames in every format, and any text from a client is some command. The payloads
//! are the input cut at its zero bytes.
#![no_main]

use std::io::Cursor;

use bytes::Bytes;
use fanfare_core::model::{Address, Batch, Epoch, FormatId, Message, Offset, PayloadKind, Topic};
use fanfare_core::protocols;
use fanfare_core::protocols::Command;
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use tungstenite::protocol::frame::FrameHeader;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        for format in FormatId::ALL {
            if let Command::Join(room) | Command::Leave(room) = protocols::format(format).command(text) {
                assert!(Topic::new(&room).is_ok());
            }
        }
    }

    let name = String::from_utf8_lossy(data.split(|byte| *byte == 0).next_back().unwrap_or_default());
    let address = Topic::new(&name).map_or(Address::All, Address::Topic);
    let messages: Box<[Message]> = data
        .split(|byte| *byte == 0)
        .map(|payload| Message { payload: Bytes::copy_from_slice(payload), kind: PayloadKind::Unknown })
        .collect();
    let batch = Batch::new(address, Epoch(1), Offset(1), messages);
    for format in FormatId::ALL {
        let payloads = payloads(&protocols::encoded(&batch, format).bytes);
        assert_eq!(payloads.len(), protocols::encoded(&batch, format).frames as usize);
        if format == FormatId::RAW {
            assert!(payloads.iter().copied().eq(batch.messages().map(|message| message.payload)));
        } else {
            let text = std::str::from_utf8(payloads[0]).expect("a text frame is UTF-8");
            serde_json::from_str::<IgnoredAny>(text).expect("a PUSH is JSON");
        }
    }
});

/// The payloads of complete server frames.
fn payloads(frames: &[u8]) -> Vec<&[u8]> {
    let mut cursor = Cursor::new(frames);
    let mut payloads = Vec::new();
    while cursor.position() < frames.len() as u64 {
        let (header, len) = FrameHeader::parse(&mut cursor).expect("valid").expect("complete");
        assert!(header.is_final && !header.rsv1 && !header.rsv2 && !header.rsv3 && header.mask.is_none());
        let start = cursor.position() as usize;
        payloads.push(&frames[start..start + len as usize]);
        cursor.set_position(cursor.position() + len);
    }
    payloads
}
