//! What stands in etcd below the prefix, as it was at one revision.
//!
//! A key is `section.key` behind the prefix, its value the text of a TOML value: `500`, `"debug"`,
//! `[{ match = "speaker-*", rate = 500 }]`. *Not here*: how a snapshot is come by (`etcd`), what wins over it (`layers`).

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::layers::Values;
use super::problem::{Origin, Problem};
use super::{file, keys, patch};

/// Names that are no keys are told one by one up to this many, and then by their number.
const UNKNOWN_TOLD_MAX: usize = 16;

/// Keys and values of one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// etcd's revision.
    pub revision: i64,
    /// What every name begins with.
    pub prefix: String,
    /// Why not everything could be read. There are no entries then, and nothing follows from that.
    pub incomplete: Option<String>,
    /// Bytes behind the prefix, and their value.
    pub entries: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Snapshot {
    /// The values; adds what is none to `problems`.
    pub(super) fn values(&self, problems: &mut Vec<Problem>) -> Values {
        let of_prefix = |wrong: String, remedy: &str| Problem {
            key: None,
            origin: Origin::Etcd(self.prefix.clone()),
            wrong,
            remedy: remedy.into(),
        };
        if let Some(why) = &self.incomplete {
            problems.push(of_prefix(
                format!("the keys cannot be read whole, so none of them is used: {why}"),
                "delete what is not fanfare's there, or give etcd.prefix a value below which nothing else stands",
            ));
            return Vec::new();
        }
        let mut values = Vec::with_capacity(self.entries.len().min(keys::KEYS.len()));
        let mut unknown = 0;
        for (name, text) in &self.entries {
            if !is_key(name) {
                unknown += 1;
                if unknown > UNKNOWN_TOLD_MAX {
                    continue;
                }
            }
            let name = String::from_utf8_lossy(name);
            let origin = Origin::Etcd(format!("{}{name}", self.prefix));
            let key = match patch::changeable(&name, &origin) {
                Ok(key) => key,
                Err(problem) => {
                    problems.push(problem);
                    continue;
                }
            };
            let value = str::from_utf8(text).ok().and_then(|text| DeValue::parse(text.trim()).ok());
            match value {
                Some(value) => values.push((key, file::from_toml(value.get_ref()), origin)),
                None => problems.push(Problem {
                    key: Some(name.into_owned()),
                    origin,
                    wrong: "the value is not TOML".into(),
                    remedy: "write it as in a file, text in quotes: etcdctl put … '\"debug\"'".into(),
                }),
            }
        }
        if unknown > UNKNOWN_TOLD_MAX {
            problems.push(of_prefix(
                format!("{} more names are no keys", unknown - UNKNOWN_TOLD_MAX),
                "delete them, or give etcd.prefix a value below which nothing else stands",
            ));
        }
        values
    }
}

/// Whether a name behind the prefix is a key, be it live or not.
pub fn is_key(name: &[u8]) -> bool {
    str::from_utf8(name)
        .ok()
        .and_then(|name| name.split_once('.'))
        .is_some_and(|(section, name)| keys::position(section, name).is_some())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::given::Given;
    use super::super::keys::KEYS;
    use super::*;

    fn snapshot(entries: &[(&str, &str)]) -> Snapshot {
        let bytes = |text: &str| text.as_bytes().to_vec();
        let entries = entries.iter().map(|(name, value)| (bytes(name), bytes(value))).collect();
        Snapshot { revision: 1, prefix: "/fanfare/".into(), incomplete: None, entries }
    }

    #[test]
    fn a_value_is_toml_and_its_place_is_its_whole_name() {
        let mut problems = Vec::new();
        let entries = [("log.level", "\"debug\"\n"), ("pacing.rate", "12.5"), ("pacing.topic", "[{rate=1}]")];
        let values = snapshot(&entries).values(&mut problems);
        assert_eq!(problems, []);
        let rule = Given::Table(vec![("rate".into(), Given::Whole(1))]);
        let given: Vec<_> =
            values.into_iter().map(|(key, given, at)| (KEYS[key].path(), given, at)).collect();
        let at = |name: &str| Origin::Etcd(format!("/fanfare/{name}"));
        assert_eq!(
            given,
            [
                ("log.level".to_owned(), Given::Text("debug".into()), at("log.level")),
                ("pacing.rate".into(), Given::Fraction(12.5), at("pacing.rate")),
                ("pacing.topic".into(), Given::List(vec![rule]), at("pacing.topic")),
            ]
        );
    }

    #[test]
    fn everything_that_is_wrong_is_told() {
        let mut problems = Vec::new();
        snapshot(&[
            ("log.levle", "1"),
            ("merge.delay_ms", "ten"),
            ("server.listen", "\"[::]:1\""),
            ("x", "1"),
        ])
        .values(&mut problems);
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "log.levle (etcd /fanfare/log.levle): there is no such key; did you mean log.level?",
                "merge.delay_ms (etcd /fanfare/merge.delay_ms): the value is not TOML; write it as in a file, text in \
                 quotes: etcdctl put … '\"debug\"'",
                "server.listen (etcd /fanfare/server.listen): it takes effect at a start only; give it in the file, the \
                 environment or a flag and start again",
                "x (etcd /fanfare/x): there is no such key; `fanfare --print-config` prints every key",
            ]
        );
    }

    #[test]
    fn keys_that_could_not_be_read_whole_are_one_problem_and_no_values() {
        let mut problems = Vec::new();
        let incomplete = Some("there are more than 4 keys".into());
        let partial = Snapshot { incomplete, ..snapshot(&[("pacing.rate", "500")]) };
        assert_eq!(partial.values(&mut problems), []);
        assert_eq!(problems.len(), 1);
        let told = problems[0].to_string();
        assert!(
            told.starts_with("etcd /fanfare/: the keys cannot be read whole, so none of them is used: there"),
            "{told}"
        );
    }

    #[test]
    fn many_names_that_are_no_keys_are_told_by_their_number() {
        let mut many = snapshot(&[("pacing.rate", "500")]);
        many.entries.extend((0..1000).map(|n| (format!("shop/{n:04}").into_bytes(), Vec::new())));
        let mut problems = Vec::new();
        assert_eq!(many.values(&mut problems).len(), 1);
        assert_eq!(problems.len(), UNKNOWN_TOLD_MAX + 1);
        assert!(
            problems[UNKNOWN_TOLD_MAX]
                .to_string()
                .starts_with("etcd /fanfare/: 984 more names are no keys; delete")
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(name in any::<Vec<u8>>(), value in any::<Vec<u8>>()) {
            let entries = [(name, value.clone()), (b"pacing.rate".to_vec(), value)].into();
            Snapshot { entries, ..snapshot(&[]) }.values(&mut Vec::new());
        }
    }
}
