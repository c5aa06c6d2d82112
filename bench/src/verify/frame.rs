//! RFC 6455 frames as a client meets them: heads of server frames, whole client frames.

/// Opcodes of RFC 6455 section 5.2.
pub(crate) mod opcode {
    pub(crate) const CONTINUATION: u8 = 0;
    pub(crate) const TEXT: u8 = 1;
    pub(crate) const BINARY: u8 = 2;
    pub(crate) const CLOSE: u8 = 8;
    pub(crate) const PING: u8 = 9;
    pub(crate) const PONG: u8 = 10;
}

/// Head of a server's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The last frame of its message.
    pub(crate) fin: bool,
    /// What it is.
    pub(crate) opcode: u8,
    /// Bytes of the head itself.
    pub(crate) bytes: usize,
    /// Bytes of payload that follow.
    pub(crate) payload: u64,
}

/// The head at the beginning of `bytes`: `Ok(None)` when it is not complete, `Err` with a sentence when no server may
/// send it.
pub(crate) fn read_head(bytes: &[u8]) -> Result<Option<Head>, &'static str> {
    let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err("a reserved bit is set without an extension");
    }
    if second & 0x80 != 0 {
        return Err("a frame from the server is masked");
    }
    let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
    let (bytes, payload) = match second {
        126 => {
            let Some(length) = rest.first_chunk::<2>() else { return Ok(None) };
            (4, u64::from(u16::from_be_bytes(*length)))
        }
        127 => {
            let Some(length) = rest.first_chunk::<8>() else { return Ok(None) };
            (10, u64::from_be_bytes(*length))
        }
        short => (2, u64::from(short)),
    };
    let minimal = match bytes {
        4 => 126,
        10 => 1 << 16,
        _ => 0,
    };
    if payload < minimal {
        return Err("a length is not in its shortest form");
    }
    match opcode {
        opcode::CONTINUATION | opcode::TEXT | opcode::BINARY => {}
        opcode::CLOSE | opcode::PING | opcode::PONG if fin && payload <= 125 => {}
        opcode::CLOSE | opcode::PING | opcode::PONG => return Err("a control frame is fragmented or long"),
        _ => return Err("an opcode is not defined"),
    }
    Ok(Some(Head { fin, opcode, bytes, payload }))
}

/// Appends the head of an unfragmented frame without a mask.
pub(crate) fn write_head(opcode: u8, payload: usize, out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    match payload {
        0..126 => out.push(payload as u8),
        126..65_536 => {
            out.push(126);
            out.extend_from_slice(&(payload as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(payload as u64).to_be_bytes());
        }
    }
}

/// A client's frame. The mask is a constant: it protects proxies from browsers, and this is neither.
pub(crate) fn client_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut out = Vec::with_capacity(payload.len() + 14);
    write_head(opcode, payload.len(), &mut out);
    out[1] |= 0x80;
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_that_was_written_is_read_at_every_length() {
        for payload in [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20] {
            let mut out = Vec::new();
            write_head(opcode::TEXT, payload, &mut out);
            for cut in 0..out.len() {
                assert_eq!(read_head(&out[..cut]), Ok(None));
            }
            let head = read_head(&out).unwrap().unwrap();
            assert_eq!((head.bytes, head.payload, head.fin), (out.len(), payload as u64, true));
        }
    }

    #[test]
    fn what_no_server_may_send_is_refused_with_a_reason() {
        let wrong: [&[u8]; 6] =
            [&[0xc1, 0], &[0x81, 0x80], &[0x83, 0], &[0x89, 126, 0, 126], &[0x09, 0], &[0x81, 126, 0, 125]];
        for head in wrong {
            assert!(read_head(head).is_err(), "{head:x?}");
        }
    }

    #[test]
    fn a_client_frame_is_masked_as_in_the_example_of_the_rfc() {
        assert_eq!(
            client_frame(opcode::TEXT, b"Hello"),
            [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]
        );
    }
}
