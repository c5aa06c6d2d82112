//! What a shard tells of its connections' lives adds up: to what it counts, and to one story for each connection.

use std::collections::HashMap;

use fanfare::events::journal::Reader;
use fanfare::events::record::{ConnectionId, What};
use fanfare::metrics::ShardBlock;
use fanfare_core::counters::Value;
use fanfare_core::model::{CloseReason, Topic};

/// The stories of one shard's connections.
pub(crate) struct Lives {
    reader: Reader,
    /// Topics of those who are open.
    open: HashMap<ConnectionId, Vec<String>>,
    memberships: usize,
    opened: u64,
    closed: Vec<u64>,
}

impl Lives {
    pub(crate) fn new(reader: Reader) -> Self {
        Self {
            reader,
            open: HashMap::new(),
            memberships: 0,
            opened: 0,
            closed: vec![0; CloseReason::ALL.len()],
        }
    }

    /// After a call of the shard: every story goes on as it can, and together they are what the shard counts.
    pub(crate) fn check(&mut self, block: &ShardBlock) {
        while let Some(record) = self.reader.pop() {
            let id = record.connection;
            match record.what {
                What::Open { .. } => {
                    self.opened += 1;
                    assert!(self.open.insert(id, Vec::new()).is_none(), "{id} opens twice");
                }
                What::Join(topic) => {
                    let topics = self.open.get_mut(&id).expect("who joins is open");
                    assert!(
                        !topics.iter().any(|other| other == topic.as_str()),
                        "{id} joins {topic:?} twice"
                    );
                    topics.push(topic.as_str().to_owned());
                    self.memberships += 1;
                }
                What::Leave(topic) => {
                    let topics = self.open.get_mut(&id).expect("who leaves is open");
                    let at = topics.iter().position(|other| other == topic.as_str());
                    topics.remove(at.expect("who leaves a topic is in it"));
                    self.memberships -= 1;
                }
                What::Close(closed) => {
                    let topics = self.open.remove(&id).expect("who closes is open");
                    let told: Vec<&str> = closed.topics.iter().map(Topic::as_str).collect();
                    assert_eq!(told, topics, "{id} closes with the topics that it joined and did not leave");
                    assert!(closed.reason.code().is_none_or(|code| code == closed.code), "{closed:?}");
                    self.closed[closed.reason as usize] += 1;
                    self.memberships -= topics.len();
                }
            }
        }
        assert_eq!(self.reader.newly_dropped(), 0, "the ring holds what one call notes");
        assert_eq!(block.memberships.get(), self.memberships as u64, "joins less leaves are memberships");
        assert_eq!(block.upgraded.get(), self.opened, "each connection opens once");
        let connections: u64 = block.connections.iter().map(Value::get).sum();
        assert!(self.open.len() as u64 <= connections, "who is open is connected");
        for reason in CloseReason::ALL {
            let ended = block.closed[reason as usize].get();
            assert!(
                self.closed[reason as usize] >= ended,
                "{reason:?}: a close is told when its socket ends, or before"
            );
        }
    }

    /// Everybody has left.
    pub(crate) fn check_end(&self, block: &ShardBlock) {
        assert!(self.open.is_empty(), "an end that is not told: {:?}", self.open);
        let ended: Vec<u64> = block.closed.iter().map(Value::get).collect();
        assert_eq!(self.closed, ended, "told and counted by the same reasons");
    }
}
