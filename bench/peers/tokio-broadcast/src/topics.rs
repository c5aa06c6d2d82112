//! Who receives what: one broadcast channel per topic.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast::{Receiver, Sender, channel};
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// Publishes that a connection may lag behind.
const PUBLISHES_MAX: usize = 16_384;

/// The messages of one publish. A clone of one costs a reference, no bytes.
pub(crate) type Publish = Arc<[Utf8Bytes]>;

/// The channels by topic. They live as long as the process: a topic that was used once is used again.
#[derive(Default)]
pub(crate) struct Topics(Mutex<HashMap<String, Sender<Publish>>>);

impl Topics {
    /// Everything that is published from now on.
    pub(crate) fn join(&self, topic: &str) -> Receiver<Publish> {
        let mut topics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = topics.get(topic) {
            return sender.subscribe();
        }
        let (sender, receiver) = channel(PUBLISHES_MAX);
        topics.insert(topic.to_owned(), sender);
        receiver
    }

    /// Returns how many connections will receive it.
    pub(crate) fn publish(&self, topic: &str, messages: Publish) -> usize {
        let topics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        topics.get(topic).and_then(|sender| sender.send(messages).ok()).unwrap_or(0)
    }
}
