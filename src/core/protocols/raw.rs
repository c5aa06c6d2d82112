//! Raw frames, path `/topics/<topic>`: each message is one frame, payload verbatim; the client has nothing to say.
//!
//! What websocat or a browser's console understands without any code. *Not here*: which topics (`websocket::handshake`).

use super::protocol::{Command, Format};
use crate::model::{Batch, Encoded};
use crate::websocket::frame::{self, Opcode};

/// The format.
pub struct Raw;

impl Format for Raw {
    fn name(&self) -> &'static str {
        "raw"
    }

    /// A batch of *n* messages is *n* frames: text where the payload is UTF-8, binary otherwise (RFC 6455 section 5.6).
    fn encode(&self, batch: &Batch) -> Encoded {
        let frame_len = |payload: &[u8]| frame::header_len(payload.len()) + payload.len();
        let len = batch.messages().map(|message| frame_len(message.payload)).sum();
        let mut bytes = Vec::with_capacity(len);
        for message in batch.messages() {
            let is_text = std::str::from_utf8(message.payload).is_ok();
            let opcode = if is_text { Opcode::Text } else { Opcode::Binary };
            frame::push_frame(&mut bytes, opcode, message.payload);
        }
        debug_assert_eq!(bytes.len(), len);
        Encoded::new(bytes, 0, batch.len() as u32)
    }

    fn command<'a>(&self, _text: &'a str) -> Command<'a> {
        Command::Ignore
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Address, Epoch, Message, Offset, PayloadKind};
    use crate::protocols::test_frames::server_frames;

    proptest! {
        #[test]
        fn each_message_is_one_frame_with_its_payload_verbatim(
            payloads in proptest::collection::vec(
                prop_oneof!["\\PC{0,200}".prop_map(String::into_bytes), any::<Vec<u8>>()], 1..8)
        ) {
            let messages = payloads.iter().map(|payload| {
                Message { payload: Bytes::copy_from_slice(payload), kind: PayloadKind::Unknown }
            });
            let batch = Batch::new(Address::All, Epoch(1), Offset(1), messages.collect());
            let encoded = Raw.encode(&batch);
            let frames = server_frames(&encoded.bytes);
            prop_assert_eq!(encoded.frames as usize, frames.len());
            let expected: Vec<_> = payloads.into_iter().map(|payload| {
                let opcode = if std::str::from_utf8(&payload).is_ok() { Opcode::Text } else { Opcode::Binary };
                (opcode, payload)
            }).collect();
            prop_assert_eq!(frames, expected);
        }
    }

    #[test]
    fn whatever_the_client_says_is_ignored() {
        assert_eq!(Raw.command(r#"{"type":"PING"}"#), Command::Ignore);
        assert_eq!(Raw.command(""), Command::Ignore);
    }
}
