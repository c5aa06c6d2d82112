//! go-push's API: `POST /push/room`, form-encoded.

use std::io;
use std::ops::Range;

use crate::http::{Client, Response, Url, form_encode};
use crate::message::MessageSpec;

/// The error of an API that takes nothing from this caller: its sentence names what to set.
pub(super) fn forbidden(answer: &Response) -> io::Error {
    io::Error::other(format!("the server forbids it: {}", answer.body.trim()))
}

/// One keep-alive connection to an API.
pub(crate) struct HttpTarget {
    client: Client,
    /// By topic.
    forms: Vec<Vec<u8>>,
    body: Vec<u8>,
    message: Vec<u8>,
}

impl HttpTarget {
    /// Publishes to these topics.
    pub(crate) fn new(api: &Url, topics: &[String]) -> Self {
        let form = |topic: &String| {
            let mut form = b"room=".to_vec();
            form_encode(topic.as_bytes(), &mut form);
            form.extend_from_slice(b"&items=");
            form
        };
        let forms = topics.iter().map(form).collect();
        Self { client: Client::new(api), forms, body: Vec::new(), message: Vec::new() }
    }

    pub(super) fn publish(
        &mut self,
        topic: usize,
        spec: &MessageSpec,
        messages: Range<u64>,
        refused: &mut dyn FnMut(Range<u64>),
    ) -> io::Result<()> {
        self.body.clear();
        self.body.extend_from_slice(&self.forms[topic]);
        for (at, sequence) in messages.clone().enumerate() {
            form_encode(if at == 0 { b"[" } else { b"," }, &mut self.body);
            self.message.clear();
            spec.write(sequence, &mut self.message);
            form_encode(&self.message, &mut self.body);
        }
        form_encode(b"]", &mut self.body);
        let mut refuse_all = || {
            for sequence in messages.clone() {
                let number = spec.number(sequence);
                refused(number..number + 1);
            }
        };
        match self.client.post_form("/push/room", &self.body) {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(answer) if answer.status == 403 => {
                refuse_all();
                Err(forbidden(&answer))
            }
            Ok(_) => {
                refuse_all();
                Ok(())
            }
            Err(e) => {
                refuse_all();
                Err(e)
            }
        }
    }
}
