//! What stands in etcd below the prefix, as it was at one revision.
//!
//! A key is `section.key` behind the prefix, its value the text of a TOML value: `500`, `"debug"`,
//! `[{ match = "speaker-*", rate = 500 }]`. *Not here*: how a snapshot is come by (`etcd`), what wins over it (`layers`).

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::layers::Values;
use super::problem::{Origin, Problem};
use super::{file, patch};
use crate::limits::ETCD_KEYS_MAX;

/// Keys and values of one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// etcd's revision.
    pub revision: i64,
    /// What every name begins with.
    pub prefix: String,
    /// Bytes behind the prefix, and their value.
    pub entries: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Snapshot {
    /// The values; adds what is none to `problems`.
    pub(super) fn values(&self, problems: &mut Vec<Problem>) -> Values {
        if self.entries.len() > ETCD_KEYS_MAX {
            problems.push(Problem {
                key: None,
                origin: Origin::Etcd(self.prefix.clone()),
                wrong: format!("there are more than {ETCD_KEYS_MAX} keys"),
                remedy: "give etcd.prefix a value below which nothing else stands".into(),
            });
            return Vec::new();
        }
        let mut values = Vec::with_capacity(self.entries.len());
        for (name, text) in &self.entries {
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
        values
    }
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
        Snapshot { revision: 1, prefix: "/fanfare/".into(), entries }
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
    fn a_prefix_that_is_not_ours_alone_is_one_problem() {
        let mut many = snapshot(&[]);
        many.entries = (0..=ETCD_KEYS_MAX).map(|n| (n.to_string().into_bytes(), Vec::new())).collect();
        let mut problems = Vec::new();
        assert_eq!((many.values(&mut problems), problems.len()), (Vec::new(), 1));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(name in any::<Vec<u8>>(), value in any::<Vec<u8>>()) {
            let entries = [(name, value.clone()), (b"pacing.rate".to_vec(), value)].into();
            Snapshot { revision: 1, prefix: "/".into(), entries }.values(&mut Vec::new());
        }
    }
}
