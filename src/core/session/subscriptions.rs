//! What one connection joined: topic and position in that topic's member list, so that leaving costs no search.
//!
//! Most devices join one topic; only the others pay for a list. *Not here*: the member lists (`delivery::members`).

/// A topic's number on one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicId(pub u32);

/// A connection's place in a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The topic.
    pub topic: TopicId,
    /// Position in its member list.
    pub position: u32,
}

/// The memberships of one connection, in the order in which it joined. 16 bytes.
#[derive(Debug, Default)]
pub enum Subscriptions {
    /// Joined nothing.
    #[default]
    None,
    /// Joined one topic.
    One(Membership),
    /// Joined several.
    Several(Box<Vec<Membership>>),
}

const _: () = assert!(size_of::<Subscriptions>() <= 16);

impl Subscriptions {
    /// All of them.
    pub fn as_slice(&self) -> &[Membership] {
        match self {
            Self::None => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(several) => several,
        }
    }

    fn as_mut_slice(&mut self) -> &mut [Membership] {
        match self {
            Self::None => &mut [],
            Self::One(one) => std::slice::from_mut(one),
            Self::Several(several) => several,
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Whether this topic is among them.
    pub fn contains(&self, topic: TopicId) -> bool {
        self.as_slice().iter().any(|m| m.topic == topic)
    }

    /// Adds a topic that is not among them.
    pub fn add(&mut self, membership: Membership) {
        debug_assert!(!self.contains(membership.topic));
        *self = match std::mem::take(self) {
            Self::None => Self::One(membership),
            Self::One(one) => Self::Several(Box::new(vec![one, membership])),
            Self::Several(mut several) => {
                several.push(membership);
                Self::Several(several)
            }
        };
    }

    /// Removes a topic; returns its position there.
    pub fn remove(&mut self, topic: TopicId) -> Option<u32> {
        let index = self.as_slice().iter().position(|m| m.topic == topic)?;
        let position = self.as_slice()[index].position;
        *self = match std::mem::take(self) {
            Self::None | Self::One(_) => Self::None,
            Self::Several(mut several) => {
                several.remove(index);
                if several.len() == 1 { Self::One(several[0]) } else { Self::Several(several) }
            }
        };
        Some(position)
    }

    /// Notes that the topic's list moved this connection.
    pub fn moved(&mut self, topic: TopicId, position: u32) {
        if let Some(membership) = self.as_mut_slice().iter_mut().find(|m| m.topic == topic) {
            membership.position = position;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership(topic: u32, position: u32) -> Membership {
        Membership { topic: TopicId(topic), position }
    }

    #[test]
    fn topics_come_and_go_and_keep_their_positions() {
        let mut subscriptions = Subscriptions::default();
        for topic in 0..4 {
            subscriptions.add(membership(topic, topic * 10));
        }
        subscriptions.moved(TopicId(2), 99);
        assert_eq!(subscriptions.remove(TopicId(0)), Some(0));
        assert_eq!(subscriptions.remove(TopicId(0)), None);
        assert_eq!(subscriptions.remove(TopicId(2)), Some(99));
        assert_eq!(subscriptions.as_slice(), [membership(1, 10), membership(3, 30)]);
        assert_eq!(subscriptions.remove(TopicId(1)), Some(10));
        assert!(matches!(subscriptions, Subscriptions::One(_)), "one topic needs no list");
        assert_eq!(subscriptions.remove(TopicId(3)), Some(30));
        assert!(subscriptions.is_empty());
    }
}
