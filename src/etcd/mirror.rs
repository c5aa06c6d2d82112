//! What is known of etcd's keys, and how it is kept up with. Pure.
//!
//! ```text
//!  unknown ── read whole at revision r ─► known at r ── events of r+1, … ─► known at r+n
//!     ▲                                                     │
//!     └── compacted, another cluster, an earlier revision, ─┘  too many keys
//! ```
//! A connection that breaks forgets nothing: the next one watches from the revision behind the last one known. *Not
//! here*: the connection (`watch`).

use crate::config::snapshot::Snapshot;
use crate::limits::ETCD_KEYS_MAX;

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The whole name.
    pub name: Vec<u8>,
    /// The new value; `None`: the key is gone.
    pub value: Option<Vec<u8>>,
    /// The revision that changed it.
    pub revision: i64,
}

/// What a watch has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It stands; the store is at this revision.
    Created {
        /// The store's.
        revision: i64,
    },
    /// Nothing has changed up to this revision.
    Progress {
        /// Known to be without changes of ours.
        revision: i64,
    },
    /// All changes of some revisions, in order.
    Changed(Vec<Event>),
    /// It is over, because what it asked for is no longer kept.
    Compacted,
}

/// What follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Go on.
    Watch,
    /// Go on; there is a new snapshot.
    Tell,
    /// Nothing is known any more: read everything.
    Read(&'static str),
}

/// The keys below a prefix.
#[derive(Debug)]
pub struct Mirror {
    prefix: String,
    /// The cluster that `known` is from.
    cluster: u64,
    known: Option<Snapshot>,
}

impl Mirror {
    /// Nothing known.
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), cluster: 0, known: None }
    }

    /// What is known.
    pub fn known(&self) -> Option<&Snapshot> {
        self.known.as_ref()
    }

    /// Everything was read at one revision.
    pub fn read(&mut self, cluster: u64, revision: i64, entries: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) {
        let entries = entries.filter_map(|(name, value)| Some((self.below(&name)?, value))).collect();
        self.cluster = cluster;
        self.known = Some(Snapshot { revision, prefix: self.prefix.clone(), entries });
    }

    /// A watch that began behind the revision known has said this.
    pub fn take(&mut self, cluster: u64, said: Said) -> Next {
        let Some(known) = &self.known else { return Next::Read("nothing is known yet") };
        let next = match said {
            _ if cluster != self.cluster => Next::Read("it is another cluster than before"),
            Said::Compacted => Next::Read("what has changed meanwhile is compacted"),
            Said::Created { revision } if revision < known.revision => {
                Next::Read("it is at an earlier revision than before")
            }
            Said::Created { .. } => Next::Watch,
            Said::Progress { revision } => self.progress(revision),
            Said::Changed(events) => self.change(events),
        };
        if let Next::Read(_) = next {
            self.known = None;
        }
        next
    }

    fn progress(&mut self, revision: i64) -> Next {
        if let Some(known) = &mut self.known {
            known.revision = known.revision.max(revision);
        }
        Next::Watch
    }

    fn change(&mut self, events: Vec<Event>) -> Next {
        let events: Vec<_> =
            events.into_iter().filter_map(|event| Some((self.below(&event.name)?, event))).collect();
        let Some(known) = &mut self.known else { return Next::Watch };
        for (name, event) in events {
            match event.value {
                Some(value) => known.entries.insert(name, value),
                None => known.entries.remove(&name),
            };
            known.revision = known.revision.max(event.revision);
        }
        // A read ends at the bound, and tells that there are more.
        if known.entries.len() > ETCD_KEYS_MAX { Next::Read("there are too many keys") } else { Next::Tell }
    }

    /// The part of a name behind the prefix.
    fn below(&self, name: &[u8]) -> Option<Vec<u8>> {
        name.strip_prefix(self.prefix.as_bytes()).map(<[u8]>::to_vec)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn put(name: &str, value: &str, revision: i64) -> Event {
        Event { name: name.into(), value: Some(value.into()), revision }
    }

    fn delete(name: &str, revision: i64) -> Event {
        Event { name: name.into(), value: None, revision }
    }

    fn at(revision: i64, entries: &[(&str, &str)]) -> Mirror {
        let mut mirror = Mirror::new("/f/");
        let bytes = |text: &str| text.as_bytes().to_vec();
        mirror.read(7, revision, entries.iter().map(|(name, value)| (bytes(name), bytes(value))));
        mirror
    }

    fn entries(mirror: &Mirror) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        let known = mirror.known().expect("something is known");
        known.entries.iter().map(|(name, value)| (text(name), text(value))).collect()
    }

    #[test]
    fn events_move_the_keys_and_the_revision_on() {
        let mut mirror = at(10, &[("/f/a", "1"), ("/f/b", "2")]);
        let changed = Said::Changed(vec![put("/f/a", "3", 12), delete("/f/b", 14), put("/f/c", "4", 14)]);
        assert_eq!(mirror.take(7, changed), Next::Tell);
        assert_eq!(entries(&mirror), [("a".into(), "3".into()), ("c".into(), "4".into())]);
        assert_eq!(mirror.take(7, Said::Progress { revision: 20 }), Next::Watch);
        assert_eq!(mirror.known().map(|known| known.revision), Some(20));
    }

    #[test]
    fn what_cannot_be_continued_is_read_anew() {
        for (cluster, said) in [
            (7, Said::Compacted),
            (7, Said::Created { revision: 9 }),
            (8, Said::Created { revision: 99 }),
            (8, Said::Changed(vec![put("/f/a", "3", 12)])),
        ] {
            let mut mirror = at(10, &[("/f/a", "1")]);
            assert!(matches!(mirror.take(cluster, said.clone()), Next::Read(_)), "{said:?}");
            assert_eq!(mirror.known(), None);
        }
        assert_eq!(at(10, &[]).take(7, Said::Created { revision: 10 }), Next::Watch);
    }

    #[test]
    fn what_stands_elsewhere_is_not_ours() {
        let mut mirror = at(1, &[("/f/a", "1"), ("/g/b", "2")]);
        assert_eq!(entries(&mirror), [("a".into(), "1".into())]);
        mirror.take(7, Said::Changed(vec![put("/g/b", "3", 2)]));
        assert_eq!(entries(&mirror), [("a".into(), "1".into())]);
    }

    #[test]
    fn more_keys_than_there_may_be_are_not_kept() {
        let mut mirror = at(1, &[]);
        let many = (0_i64..).take(ETCD_KEYS_MAX + 1).map(|n| put(&format!("/f/{n}"), "1", 2 + n)).collect();
        assert!(matches!(mirror.take(7, Said::Changed(many)), Next::Read(_)));
    }

    proptest! {
        #[test]
        fn a_watch_that_is_cut_anywhere_ends_where_an_uncut_one_does(
            changes in prop::collection::vec(("[ab]", prop::option::of("[01]")), 0..12),
            cut in 0_usize..12,
        ) {
            let events: Vec<Event> = changes
                .into_iter()
                .zip(2..)
                .map(|((name, value), revision)| Event {
                    name: format!("/f/{name}").into(),
                    value: value.map(String::into_bytes),
                    revision,
                })
                .collect();
            let mut whole = at(1, &[]);
            whole.take(7, Said::Changed(events.clone()));
            let mut resumed = at(1, &[]);
            resumed.take(7, Said::Changed(events[..cut.min(events.len())].to_vec()));
            let from = resumed.known().expect("known").revision + 1;
            let rest = events.into_iter().filter(|event| event.revision >= from).collect();
            resumed.take(7, Said::Changed(rest));
            prop_assert_eq!(whole.known(), resumed.known());
        }
    }
}
