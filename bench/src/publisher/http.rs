//! go-push's API: `POST /push/room`, form-encoded.

use std::io;
use std::ops::Range;

use crate::http::{Client, Url, form_encode};
use crate::message::MessageSpec;

/// One keep-alive connection to an API.
pub(crate) struct HttpTarget {
    client: Client,
    form: Vec<u8>,
    body: Vec<u8>,
    message: Vec<u8>,
}

impl HttpTarget {
    /// Publishes to this topic.
    pub(crate) fn new(api: &Url, topic: &str) -> Self {
        let mut form = b"room=".to_vec();
        form_encode(topic.as_bytes(), &mut form);
        form.extend_from_slice(b"&items=");
        Self { client: Client::new(api), form, body: Vec::new(), message: Vec::new() }
    }

    pub(super) fn publish(
        &mut self,
        spec: &MessageSpec,
        messages: Range<u64>,
        refused: &mut dyn FnMut(Range<u64>),
    ) -> io::Result<()> {
        self.body.clear();
        self.body.extend_from_slice(&self.form);
        for (at, sequence) in messages.clone().enumerate() {
            form_encode(if at == 0 { b"[" } else { b"," }, &mut self.body);
            self.message.clear();
            spec.write(sequence, &mut self.message);
            form_encode(&self.message, &mut self.body);
        }
        form_encode(b"]", &mut self.body);
        match self.client.post_form("/push/room", &self.body) {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(_) => {
                refused(messages);
                Ok(())
            }
            Err(e) => {
                refused(messages);
                Err(e)
            }
        }
    }
}
