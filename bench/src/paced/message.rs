//! Messages that say which push they are of, and the frames in which they come (go-push's protocol, version 2, whose
//! PUSH names its room).

use serde::Deserialize;

use crate::verify::{client_frame, opcode};

/// The room of what is for everybody.
pub(crate) const EVERYBODY: u32 = u32::MAX;

/// Message `message` of push `push`, exactly `bytes` long.
pub(crate) fn text(push: u32, message: u32, bytes: usize) -> String {
    let bare = format!("{{\"f\":{push},\"m\":{message},\"p\":\"\"}}");
    let filler = "x".repeat(bytes.saturating_sub(bare.len()));
    format!("{{\"f\":{push},\"m\":{message},\"p\":\"{filler}\"}}")
}

/// Asks to be in a room, or to be in it no longer.
pub(crate) fn membership(joins: bool, room: &str) -> Vec<u8> {
    let kind = if joins { "JOIN" } else { "LEAVE" };
    let text = serde_json::json!({"type": kind, "data": {"room": room}}).to_string();
    client_frame(opcode::TEXT, text.as_bytes())
}

/// One message as a device has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    /// Number of the room, or [`EVERYBODY`].
    pub(crate) room: u32,
    pub(crate) push: u32,
    pub(crate) message: u32,
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    data: Option<Data<'a>>,
    #[serde(rename = "type")]
    kind: &'a str,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow, default)]
    items: Vec<Body<'a>>,
    room: Option<&'a str>,
}

#[derive(Deserialize)]
struct Body<'a> {
    f: u32,
    m: u32,
    p: &'a str,
}

/// The messages of a text frame; rooms are `PREFIX-NUMBER`, messages have `bytes`.
///
/// # Errors
/// A sentence when it is not what was published.
pub(crate) fn read(payload: &[u8], prefix: &str, bytes: usize, out: &mut Vec<Read>) -> Result<(), String> {
    let wrong =
        |why: String| format!("{why} in {}", String::from_utf8_lossy(&payload[..payload.len().min(200)]));
    let frame: Frame<'_> = serde_json::from_slice(payload).map_err(|e| wrong(e.to_string()))?;
    let Some(data) = frame.data.filter(|_| frame.kind == "PUSH") else { return Ok(()) };
    let room = match data.room {
        None => EVERYBODY,
        Some(name) => {
            let number = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-'));
            number.and_then(|number| number.parse().ok()).ok_or_else(|| wrong("a foreign room".into()))?
        }
    };
    for body in data.items {
        let message = Read { room, push: body.f, message: body.m };
        let bare = format!("{{\"f\":{},\"m\":{},\"p\":\"\"}}", body.f, body.m).len();
        if body.p.len() != bytes.saturating_sub(bare) || body.p.bytes().any(|byte| byte != b'x') {
            return Err(wrong("a message that was not published".into()));
        }
        out.push(message);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_was_published_is_read_and_what_was_changed_is_named() {
        let message = text(7, 3, 60);
        assert_eq!(message.len(), 60);
        let frame = format!(r#"{{"type":"PUSH","data":{{"items":[{message}],"room":"t-12"}}}}"#);
        let mut seen = Vec::new();
        read(frame.as_bytes(), "t", 60, &mut seen).unwrap();
        assert_eq!(seen, [Read { room: 12, push: 7, message: 3 }]);
        let changed = frame.replacen("xx", "xy", 1);
        assert!(read(changed.as_bytes(), "t", 60, &mut seen).unwrap_err().contains("not published"));
        assert!(read(frame.as_bytes(), "u", 60, &mut seen).unwrap_err().contains("foreign room"));
        let everybody = format!(r#"{{"type":"PUSH","data":{{"items":[{message}]}}}}"#);
        seen.clear();
        read(everybody.as_bytes(), "t", 60, &mut seen).unwrap();
        assert_eq!(seen[0].room, EVERYBODY);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes, "t", 60, &mut Vec::new());
        }
    }
}
