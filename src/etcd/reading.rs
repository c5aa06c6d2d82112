//! One read of all keys below a prefix, in pages at one revision. Pure.
//!
//! ```text
//!  Ask from the prefix ── a page ─┬─ more ──────────────────────► Ask behind its last key, at the first page's revision
//!                                 ├─ the last ──────────────────► Whole: every key that stood there at that revision
//!                                 ├─ above a bound, or a gap ───► Incomplete, with the reason
//!                                 └─ cluster or history changed ► Anew: from the beginning
//! ```
//! A read that is not whole is worth nothing: a key that it lacks would look as if nobody had set it. *Not here*: the
//! connection (`watch`), what is known and watched (`mirror`).

use std::collections::BTreeMap;

use crate::config::snapshot::{self, Snapshot};
use fanfare_core::limits::{ETCD_BYTES_MAX, ETCD_KEYS_MAX, ETCD_PAGE_KEYS};

/// Bytes of a key beside its name and value: its place in the map and two allocations.
const ENTRY_BYTES: usize = 96;

/// One page, as etcd answers it.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The cluster that answers.
    pub cluster: u64,
    /// The store's revision at the time of the answer.
    pub revision: i64,
    /// Whether there are keys behind those of this page.
    pub more: bool,
    /// Keys from where the page begins to the end of the prefix, as etcd counts them.
    pub count: i64,
    /// Names, whole, in order, with their values.
    pub entries: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask for [`Reading::question`].
    Ask,
    /// Everything is here: [`Reading::finish`].
    Whole,
    /// There is more than is read, or etcd leaves something out.
    Incomplete(String),
    /// What the pages before said is no longer true.
    Anew(&'static str),
}

/// What to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The first name.
    pub from: Vec<u8>,
    /// The first name that is no longer below the prefix.
    pub to: Vec<u8>,
    /// Keys a page.
    pub keys: usize,
    /// The revision; `None`: the newest.
    pub revision: Option<i64>,
}

/// A read under way.
#[derive(Debug)]
pub struct Reading {
    prefix: String,
    next: Vec<u8>,
    page_keys: usize,
    /// Cluster and revision of the first page.
    at: Option<(u64, i64)>,
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    bytes: usize,
}

impl Reading {
    /// Nothing read.
    pub fn new(prefix: &str) -> Self {
        let next = prefix.as_bytes().to_vec();
        let (page_keys, entries) = (ETCD_PAGE_KEYS, BTreeMap::new());
        Self { prefix: prefix.to_owned(), next, page_keys, at: None, entries, bytes: 0 }
    }

    /// The next page.
    pub fn question(&self) -> Question {
        Question {
            from: self.next.clone(),
            to: behind(self.prefix.as_bytes()),
            keys: self.page_keys,
            revision: self.at.map(|(_, revision)| revision),
        }
    }

    /// Takes the answer to it.
    pub fn take(&mut self, page: Page) -> Step {
        let (cluster, revision) = *self.at.get_or_insert((page.cluster, page.revision));
        if cluster != page.cluster {
            return Step::Anew("another cluster answers than did before");
        }
        if page.revision < revision {
            return Step::Anew("etcd is at an earlier revision than it was before");
        }
        let keys = page.entries.len();
        for (name, value) in page.entries {
            let Some(below) = below(&self.prefix, &name) else {
                return Step::Incomplete("etcd answers with keys that are not below the prefix".into());
            };
            if name < self.next {
                return Step::Incomplete("etcd answers with keys that were not asked for".into());
            }
            self.next = name;
            self.next.push(0);
            let value = kept(&below, value);
            self.bytes += weight(&below, &value);
            self.entries.insert(below, value);
        }
        if let Some(why) = too_much(self.entries.len(), self.bytes) {
            return Step::Incomplete(why);
        }
        match (page.more, keys) {
            (true, 0) => Step::Incomplete("etcd says that there are more keys and shows none".into()),
            (true, _) => Step::Ask,
            (false, shown) if usize::try_from(page.count).is_ok_and(|count| count > shown) => {
                Step::Incomplete(format!("etcd counts {} keys and shows {shown}", page.count))
            }
            (false, _) => Step::Whole,
        }
    }

    /// The answer was larger than a message may be: smaller pages.
    pub fn too_large(&mut self) -> Step {
        if self.page_keys == 1 {
            return Step::Incomplete("the value of one key is larger than an answer may be".into());
        }
        self.page_keys = (self.page_keys / 4).max(1);
        Step::Ask
    }

    /// Cluster and keys, of a read that is whole.
    pub fn finish(self) -> (u64, Snapshot) {
        let (cluster, revision) = self.at.unwrap_or_default();
        (cluster, Snapshot { revision, prefix: self.prefix, incomplete: None, entries: self.entries })
    }
}

/// The part of a name behind the prefix.
pub(super) fn below(prefix: &str, name: &[u8]) -> Option<Vec<u8>> {
    name.strip_prefix(prefix.as_bytes()).map(<[u8]>::to_vec)
}

/// A value that is kept: of a name that is no key of ours only the name is needed, to tell of it.
pub(super) fn kept(below: &[u8], value: Vec<u8>) -> Vec<u8> {
    if snapshot::is_key(below) { value } else { Vec::new() }
}

/// Bytes that an entry takes.
pub(super) fn weight(below: &[u8], value: &[u8]) -> usize {
    ENTRY_BYTES + below.len() + value.len()
}

/// Why so much is not taken.
pub(super) fn too_much(keys: usize, bytes: usize) -> Option<String> {
    let (bytes_max, keys_max) = (ETCD_BYTES_MAX / (1024 * 1024), ETCD_KEYS_MAX);
    if keys > keys_max {
        return Some(format!("there are more than {keys_max} keys"));
    }
    (bytes > ETCD_BYTES_MAX).then(|| format!("the first {keys} keys have more than {bytes_max} MiB"))
}

/// The first name that does not begin with the prefix, and is behind all that do.
fn behind(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // etcd's word for "to the last key".
    vec![0]
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A store at one revision that answers as etcd does.
    pub(in crate::etcd) struct Store {
        pub(in crate::etcd) keys: BTreeMap<Vec<u8>, Vec<u8>>,
        pub(in crate::etcd) revision: i64,
        /// The largest answer.
        pub(in crate::etcd) answer_bytes_max: usize,
    }

    impl Store {
        pub(in crate::etcd) fn new(keys: impl IntoIterator<Item = (String, String)>) -> Self {
            let keys =
                keys.into_iter().map(|(name, value)| (name.into_bytes(), value.into_bytes())).collect();
            Self { keys, revision: 10, answer_bytes_max: usize::MAX }
        }

        fn page(&self, question: &Question) -> Option<Page> {
            let range = self.keys.range(question.from.clone()..question.to.clone());
            let count = range.clone().count();
            let entries: Vec<_> =
                range.take(question.keys).map(|(name, value)| (name.clone(), value.clone())).collect();
            let bytes: usize = entries.iter().map(|(name, value)| name.len() + value.len()).sum();
            let more = count > entries.len();
            (bytes <= self.answer_bytes_max).then_some(Page {
                cluster: 7,
                revision: self.revision,
                more,
                count: count.cast_signed() as i64,
                entries,
            })
        }

        /// A whole read, and the number of its pages.
        pub(in crate::etcd) fn read(&self) -> (Result<(u64, Snapshot), Step>, usize) {
            let mut reading = Reading::new("/f/");
            for pages in 1.. {
                let step = match self.page(&reading.question()) {
                    Some(page) => reading.take(page),
                    None => reading.too_large(),
                };
                match step {
                    Step::Ask => {}
                    Step::Whole => return (Ok(reading.finish()), pages),
                    end => return (Err(end), pages),
                }
            }
            unreachable!("each page is further than the one before")
        }
    }

    fn strangers(count: usize) -> impl Iterator<Item = (String, String)> {
        (0..count).map(|n| (format!("/f/a{n:05}"), "x".repeat(100)))
    }

    #[test]
    fn pages_make_a_whole_read_at_the_revision_of_the_first() {
        let own = ("/f/pacing.rate".to_owned(), "500".to_owned());
        let others = [("/e".to_owned(), "1".into()), ("/f0".into(), "1".into()), ("/g/x".into(), "1".into())];
        let keys = ETCD_PAGE_KEYS * 2 + 1;
        let store = Store::new(strangers(keys).chain([own]).chain(others));
        let (read, pages) = store.read();
        let (cluster, snapshot) = read.expect("it is whole");
        assert_eq!((cluster, snapshot.revision, snapshot.entries.len(), pages), (7, 10, keys + 1, 3));
        assert_eq!(snapshot.entries.get(&b"pacing.rate"[..]), Some(&b"500".to_vec()));
        assert!(snapshot.entries.iter().all(|(name, value)| value.is_empty() == name.starts_with(b"a")));
    }

    #[test]
    fn later_pages_are_asked_at_the_revision_of_the_first() {
        let mut reading = Reading::new("/f/");
        let page = |revision, name: &str| Page {
            cluster: 7,
            revision,
            more: true,
            count: 9,
            entries: vec![(name.into(), b"1".to_vec())],
        };
        assert_eq!(reading.question().revision, None);
        assert_eq!(reading.take(page(10, "/f/a")), Step::Ask);
        let next = reading.question();
        assert_eq!((next.from, next.to, next.revision), (b"/f/a\0".to_vec(), b"/f0".to_vec(), Some(10)));
        assert_eq!(reading.take(page(12, "/f/b")), Step::Ask);
        assert_eq!(reading.question().revision, Some(10));
        assert!(matches!(reading.take(page(9, "/f/c")), Step::Anew(_)), "restored from an older copy");
        let other = Page { cluster: 8, ..page(12, "/f/c") };
        assert!(matches!(reading.take(other), Step::Anew(_)), "another cluster");
    }

    #[test]
    fn more_than_is_read_is_not_whole() {
        let (read, pages) = Store::new(strangers(ETCD_KEYS_MAX + 1)).read();
        assert!(matches!(read.expect_err("too many"), Step::Incomplete(why) if why.contains("more than")));
        assert!(pages <= ETCD_KEYS_MAX / ETCD_PAGE_KEYS + 1, "no more is read than is needed to know it");
        assert!(Store::new(strangers(ETCD_KEYS_MAX)).read().0.is_ok());
        let large = Store::new([("/f/pacing.topic".to_owned(), "x".repeat(ETCD_BYTES_MAX))]);
        assert!(
            matches!(large.read().0.expect_err("too large"), Step::Incomplete(why) if why.contains("MiB"))
        );
    }

    #[test]
    fn answers_that_are_too_large_are_asked_for_in_smaller_pages() {
        let own = ("/f/pacing.rate".to_owned(), "500".to_owned());
        let mut store = Store::new(strangers(300).chain([own]));
        store.answer_bytes_max = 500;
        let (read, _) = store.read();
        assert_eq!(read.expect("it is whole").1.entries.len(), 301);
        store.answer_bytes_max = 50;
        assert!(matches!(store.read().0, Err(Step::Incomplete(_))), "one value alone is too large");
    }

    #[test]
    fn an_answer_that_leaves_something_out_is_not_believed() {
        let page = |more, count, names: &[&str]| Page {
            cluster: 7,
            revision: 10,
            more,
            count,
            entries: names.iter().map(|name| (name.as_bytes().to_vec(), Vec::new())).collect(),
        };
        for lie in [
            page(false, 2, &["/f/a"]),
            page(true, 2, &[]),
            page(false, 1, &["/e"]),
            page(false, 2, &["/f/b", "/f/a"]),
        ] {
            let told = format!("{lie:?}");
            assert!(matches!(Reading::new("/f/").take(lie), Step::Incomplete(_)), "{told}");
        }
        assert_eq!(Reading::new("/f/").take(page(false, 0, &[])), Step::Whole);
    }

    #[test]
    fn the_end_of_a_prefix_is_behind_every_name_below_it() {
        assert_eq!(behind(b"/f/"), b"/f0");
        assert_eq!(behind(b"a\xff\xff"), b"b");
        assert_eq!(behind(b"\xff"), b"\0");
    }

    proptest! {
        #[test]
        fn a_read_is_everything_or_nothing(
            names in prop::collection::btree_map("/f/[a-c]{1,4}", "[0-9]{0,40}", 0..60),
            answer_bytes_max in 20_usize..400,
        ) {
            let mut store = Store::new(names.clone());
            store.answer_bytes_max = answer_bytes_max;
            if let (Ok((_, snapshot)), _) = store.read() {
                let expected: Vec<Vec<u8>> = names.keys().map(|name| name.as_bytes()[3..].to_vec()).collect();
                prop_assert_eq!(snapshot.entries.into_keys().collect::<Vec<_>>(), expected);
            }
        }
    }
}
