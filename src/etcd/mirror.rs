//! What is known of etcd's keys, and how it is kept up with. Pure.
//!
//! ```text
//!  unknown ── a whole read at revision r ─► known at r ── events of r+1, … ─► known at r+n
//!     ▲                                                     │
//!     └── the watch is over, compacted, another cluster, an earlier revision, too much ──┘
//! ```
//! History is trusted within one watch only: an etcd that was restored from an older copy may have the same name and have
//! passed the revision that was known. *Not here*: the connection (`watch`), a read (`reading`).

use super::reading::{below, kept, too_much, weight};
use crate::config::snapshot::Snapshot;

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEvent {
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
    Changed(Vec<KeyEvent>),
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
    /// What it takes.
    bytes: usize,
}

impl Mirror {
    /// Nothing known.
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), cluster: 0, known: None, bytes: 0 }
    }

    /// What is known.
    pub fn known(&self) -> Option<&Snapshot> {
        self.known.as_ref()
    }

    /// Everything was read at one revision.
    pub fn read(&mut self, cluster: u64, snapshot: Snapshot) {
        self.cluster = cluster;
        self.bytes = snapshot.entries.iter().map(|(name, value)| weight(name, value)).sum();
        self.known = Some(snapshot);
    }

    /// The watch is over: what changes from here on is not seen.
    pub fn forget(&mut self) {
        self.known = None;
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

    fn change(&mut self, events: Vec<KeyEvent>) -> Next {
        let Some(known) = &mut self.known else { return Next::Read("nothing is known yet") };
        for KeyEvent { name, value, revision } in events {
            let Some(name) = below(&self.prefix, &name) else { continue };
            let before = match value {
                Some(value) => {
                    let value = kept(&name, value);
                    self.bytes += weight(&name, &value);
                    known.entries.insert(name.clone(), value)
                }
                None => known.entries.remove(&name),
            };
            self.bytes -= before.map_or(0, |before| weight(&name, &before));
            known.revision = known.revision.max(revision);
        }
        // A read tells how much there is, and what to do.
        match too_much(known.entries.len(), self.bytes) {
            Some(_) => Next::Read("there is more than is kept"),
            None => Next::Tell,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::reading::tests::Store;
    use super::*;
    use fanfare_core::limits::{ETCD_BYTES_MAX, ETCD_KEYS_MAX};

    const RATE: &str = "/f/pacing.rate";
    const DELAY: &str = "/f/merge.delay_ms";
    const LEVEL: &str = "/f/log.level";

    fn put(name: &str, value: &str, revision: i64) -> KeyEvent {
        KeyEvent { name: name.into(), value: Some(value.into()), revision }
    }

    fn delete(name: &str, revision: i64) -> KeyEvent {
        KeyEvent { name: name.into(), value: None, revision }
    }

    fn at(revision: i64, entries: &[(&str, &str)]) -> Mirror {
        let mut mirror = Mirror::new("/f/");
        let mut store = Store::new(entries.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        store.revision = revision;
        let (cluster, snapshot) = store.read().0.expect("it is whole");
        mirror.read(cluster, snapshot);
        mirror
    }

    fn entries(mirror: &Mirror) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        let known = mirror.known().expect("something is known");
        known.entries.iter().map(|(name, value)| (text(name), text(value))).collect()
    }

    #[test]
    fn events_move_the_keys_and_the_revision_on() {
        let mut mirror = at(10, &[(RATE, "1"), (DELAY, "2")]);
        let changed = Said::Changed(vec![put(RATE, "3", 12), delete(DELAY, 14), put(LEVEL, "4", 14)]);
        assert_eq!(mirror.take(7, changed), Next::Tell);
        assert_eq!(entries(&mirror), [("log.level".into(), "4".into()), ("pacing.rate".into(), "3".into())]);
        assert_eq!(mirror.take(7, Said::Progress { revision: 20 }), Next::Watch);
        assert_eq!(mirror.known().map(|known| known.revision), Some(20));
    }

    #[test]
    fn what_cannot_be_continued_is_read_anew() {
        for (cluster, said) in [
            (7, Said::Compacted),
            (7, Said::Created { revision: 9 }),
            (8, Said::Created { revision: 99 }),
            (8, Said::Changed(vec![put(RATE, "3", 12)])),
        ] {
            let mut mirror = at(10, &[(RATE, "1")]);
            assert!(matches!(mirror.take(cluster, said.clone()), Next::Read(_)), "{said:?}");
            assert_eq!(mirror.known(), None);
        }
        assert_eq!(at(10, &[]).take(7, Said::Created { revision: 10 }), Next::Watch);
    }

    #[test]
    fn events_without_a_whole_read_before_them_make_nothing_known() {
        let mut mirror = Mirror::new("/f/");
        for said in [Said::Created { revision: 10 }, Said::Changed(vec![delete(DELAY, 11)])] {
            assert!(matches!(mirror.take(7, said), Next::Read(_)));
            assert_eq!(mirror.known(), None);
        }
        let mut mirror = at(10, &[(RATE, "1")]);
        mirror.forget();
        assert!(matches!(mirror.take(7, Said::Changed(vec![delete(DELAY, 11)])), Next::Read(_)));
        assert_eq!(mirror.known(), None);
    }

    #[test]
    fn what_stands_elsewhere_is_not_ours() {
        let mut mirror = at(1, &[(RATE, "1"), ("/g/b", "2")]);
        assert_eq!(entries(&mirror), [("pacing.rate".into(), "1".into())]);
        mirror.take(7, Said::Changed(vec![put("/g/b", "3", 2)]));
        assert_eq!(entries(&mirror), [("pacing.rate".into(), "1".into())]);
    }

    #[test]
    fn of_a_name_that_is_no_key_only_the_name_is_kept() {
        let mut mirror = at(1, &[]);
        let value = "x".repeat(1000);
        for revision in 2..10_000 {
            assert_eq!(mirror.take(7, Said::Changed(vec![put("/f/shop", &value, revision)])), Next::Tell);
        }
        assert_eq!(entries(&mirror), [("shop".into(), String::new())]);
        assert_eq!(mirror.bytes, weight(b"shop", b""));
        mirror.take(7, Said::Changed(vec![delete("/f/shop", 10_000), delete("/f/shop", 10_001)]));
        assert_eq!(mirror.bytes, 0);
    }

    #[test]
    fn more_than_there_may_be_is_not_kept() {
        let many = (0_i64..).take(ETCD_KEYS_MAX + 1).map(|n| put(&format!("/f/{n}"), "1", 2 + n)).collect();
        let large = vec![put("/f/pacing.topic", &"x".repeat(ETCD_BYTES_MAX), 2)];
        for events in [many, large] {
            let mut mirror = at(1, &[(RATE, "500")]);
            assert!(matches!(mirror.take(7, Said::Changed(events)), Next::Read(_)));
            assert_eq!(mirror.known(), None);
        }
    }

    proptest! {
        // Each read of thousands of keys takes its time.
        #![proptest_config(ProptestConfig::with_cases(8))]

        /// Strangers come and go around the bound while a key of ours changes: whatever is known is what the store has.
        #[test]
        fn what_is_known_is_what_the_store_has(
            changes in prop::collection::vec(("[a-z]", prop::option::of("[01]"), 0_usize..3), 0..40),
        ) {
            let strangers = (0..ETCD_KEYS_MAX - 5).map(|n| (format!("/f/{n}"), String::new()));
            let mut store = Store::new(strangers.chain([(RATE.into(), "500".into())]));
            let mut mirror = Mirror::new("/f/");
            for (n, (name, value, more)) in changes.into_iter().enumerate() {
                if mirror.known().is_none() && let (Ok((cluster, snapshot)), _) = store.read() {
                    mirror.read(cluster, snapshot);
                }
                let name = if more == 0 { RATE.to_owned() } else { format!("/f/{name}") };
                store.revision += 1;
                let event = KeyEvent { name: name.clone().into(), value: value.map(String::into_bytes), revision: store.revision };
                match &event.value {
                    Some(value) => store.keys.insert(name.into_bytes(), value.clone()),
                    None => store.keys.remove(name.as_bytes()),
                };
                let next = mirror.take(7, Said::Changed(vec![event]));
                prop_assert_eq!(next == Next::Tell, mirror.known().is_some(), "change {}", n);
                if let Some(known) = mirror.known() {
                    prop_assert_eq!(known.entries.len(), store.keys.len());
                    prop_assert_eq!(known.entries.get(&b"pacing.rate"[..]), store.keys.get(RATE.as_bytes()));
                }
            }
        }
    }
}
