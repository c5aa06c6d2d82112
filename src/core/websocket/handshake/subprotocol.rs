//! Which of the subprotocols that a client offers is selected.
//!
//! fanfare's protocols are chosen by the path, so a subprotocol means nothing here. But a client that offers some and gets
//! none selected ends the connection: browsers do (WHATWG's standard, "establish a WebSocket connection") and most
//! libraries. *Not here*: how the selection is told (`answer`).

use super::answer::bad_request;
use super::refusal::Refusal;
use crate::model::{Clients, SubprotocolUnknown};
use crate::websocket::token::is_token;

/// What a client offers: the values of its `Sec-WebSocket-Protocol` fields.
#[derive(Default)]
pub(super) struct Offers<'b> {
    lines: Vec<&'b [u8]>,
}

impl<'b> Offers<'b> {
    /// RFC 6455 section 11.3.4: the field "MAY appear multiple times in an HTTP request (which is logically the same as a
    /// single Sec-WebSocket-Protocol header field that contains all values)".
    pub(super) fn add(&mut self, line: &'b [u8]) {
        self.lines.push(line);
    }

    /// The first that the configuration knows, else what it wants for others; `None`: none is selected.
    ///
    /// Empty elements are ignored (RFC 9110 section 5.6.1.2). So is one that is offered twice: which one is selected does
    /// not depend on it. An element that is no token is an error (RFC 6455 section 4.2.1).
    pub(super) fn select(&self, clients: &Clients) -> Result<Option<&'b str>, Refusal> {
        let mut first = None;
        let mut known = None;
        let elements = self.lines.iter().flat_map(|line| line.split(|byte| *byte == b','));
        for element in elements.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty()) {
            let offered = token(element).ok_or_else(|| {
                bad_request("Sec-WebSocket-Protocol has a name with a character that none may have")
            })?;
            first = first.or(Some(offered));
            if known.is_none() && clients.subprotocols.iter().any(|known| known == offered) {
                known = Some(offered);
            }
        }
        match (known.or(first), clients.subprotocol_unknown) {
            (None, _) => Ok(None),
            (Some(selected), SubprotocolUnknown::First) => Ok(Some(selected)),
            (Some(_), SubprotocolUnknown::None) => Ok(known),
            (Some(_), SubprotocolUnknown::Refuse) => match known {
                Some(known) => Ok(Some(known)),
                None => {
                    Err(bad_request("This gateway knows none of the subprotocols in Sec-WebSocket-Protocol"))
                }
            },
        }
    }
}

/// The bytes as text, if they are a token.
fn token(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| is_token(text))
}
