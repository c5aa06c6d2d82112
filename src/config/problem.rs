//! What is wrong with a configuration, for the operator: all of it at once, each with its place and its remedy.

use std::fmt;
use std::path::PathBuf;

/// Where a value stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: it is the program's default.
    #[default]
    Default,
    /// In the file.
    File {
        /// As given with `--config`.
        path: PathBuf,
        /// From 1; `None`: the file as a whole.
        line: Option<usize>,
    },
    /// In the environment, under this name.
    Environment(String),
    /// On the command line, after this flag.
    Flag(&'static str),
    /// In etcd, under this key.
    Etcd(String),
    /// Given by `PATCH /v1/config`.
    Api,
}

impl Origin {
    /// The kind of place, in one word.
    pub fn source(&self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File { .. } => "file",
            Self::Environment(_) => "environment",
            Self::Flag(_) => "flag",
            Self::Etcd(_) => "etcd",
            Self::Api => "api",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
            Self::Etcd(key) => write!(f, "etcd {key}"),
            Self::Api => f.write_str("PATCH /v1/config"),
        }
    }
}

/// Why a value is refused: a mistake whose key and place the caller knows.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) what: String,
    pub(super) remedy: String,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `section.key`; `None` where the mistake belongs to no key.
    pub key: Option<String>,
    /// Where it stands.
    pub origin: Origin,
    /// What is wrong.
    pub wrong: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{key} ({})", self.origin)?,
            None => write!(f, "{}", self.origin)?,
        }
        write!(f, ": {}; {}", self.wrong, self.remedy)
    }
}

/// Every mistake of a configuration, in the order of file, environment and values; never empty as an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => write!(f, "the configuration has a problem:")?,
            n => write!(f, "the configuration has {n} problems:")?,
        }
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Problems {}

/// Similarity, from 0 to 1, below which a word is no misspelling of another.
const SIMILARITY_MIN: f64 = 0.6;

/// The candidate that somebody who wrote `word` most likely meant.
pub(super) fn closest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::normalized_damerau_levenshtein(word, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelling_finds_its_word_and_another_word_finds_none() {
        let words = ["listen", "shards", "spin_us", "drain_s"];
        for (word, meant) in
            [("lisen", "listen"), ("shard", "shards"), ("spin_ms", "spin_us"), ("dran_s", "drain_s")]
        {
            assert_eq!(closest(word, words.into_iter()), Some(meant));
        }
        assert_eq!(closest("colour", words.into_iter()), None);
    }

    #[test]
    fn a_problem_tells_key_place_mistake_and_remedy() {
        let problem = Problem {
            key: Some("merge.delay_ms".into()),
            origin: Origin::File { path: "a.toml".into(), line: Some(7) },
            wrong: "1.5 is not a whole number".into(),
            remedy: "give one from 0 to 10000".into(),
        };
        assert_eq!(
            Problems(vec![problem]).to_string(),
            "the configuration has a problem:\n  merge.delay_ms (a.toml:7): 1.5 is not a whole number; give one from 0 \
             to 10000"
        );
    }
}
