//! A JSON array of messages in the body of each POST.

use std::io;
use std::ops::Range;

use crate::http::{Client, Url};
use crate::message::MessageSpec;

/// One keep-alive connection.
pub(crate) struct ArrayTarget {
    client: Client,
    path: String,
    body: Vec<u8>,
}

impl ArrayTarget {
    /// Publishes to this URL.
    pub(crate) fn new(url: &Url) -> Self {
        Self { client: Client::new(url), path: url.path.clone(), body: Vec::new() }
    }

    pub(super) fn publish(
        &mut self,
        spec: &MessageSpec,
        messages: Range<u64>,
        refused: &mut dyn FnMut(Range<u64>),
    ) -> io::Result<()> {
        self.body.clear();
        for (at, sequence) in messages.clone().enumerate() {
            self.body.push(if at == 0 { b'[' } else { b',' });
            spec.write(sequence, &mut self.body);
        }
        self.body.push(b']');
        let answer = self.client.post(&self.path, "application/json", &self.body);
        if !answer.as_ref().is_ok_and(|answer| (200..300).contains(&answer.status)) {
            refused(messages);
        }
        answer.map(drop)
    }
}
