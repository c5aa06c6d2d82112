//! A value as somebody wrote it, before its key says what it has to be.

use std::fmt;

/// A value of a file, of etcd or of the API, or the bare text of a variable or a flag.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Given {
    /// From the environment or a flag: text, number, switch or comma-separated list, as its key wants it.
    Plain(String),
    /// A TOML string.
    Text(String),
    /// A TOML integer.
    Whole(i128),
    /// A TOML float.
    Fraction(f64),
    /// A TOML boolean.
    Switch(bool),
    /// A TOML array.
    List(Vec<Given>),
    /// A TOML table: names and values.
    Table(Vec<(String, Given)>),
    /// Something that no key takes, by its TOML name.
    Other(&'static str),
}

impl Given {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Plain(text) | Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn whole(&self) -> Option<i128> {
        match self {
            Self::Plain(text) => text.parse().ok(),
            Self::Whole(number) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn switch(&self) -> Option<bool> {
        match self {
            Self::Plain(text) => text.parse().ok(),
            Self::Switch(on) => Some(*on),
            _ => None,
        }
    }

    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Plain(text) => text.parse().ok(),
            Self::Whole(number) => Some(*number as f64),
            Self::Fraction(number) => Some(*number),
            _ => None,
        }
    }

    /// The texts of a list; of a bare text, what commas separate, without the spaces around it.
    pub(super) fn list(&self) -> Option<Vec<&str>> {
        match self {
            Self::Plain(text) if text.trim().is_empty() => Some(Vec::new()),
            Self::Plain(text) => Some(text.split(',').map(str::trim).collect()),
            Self::List(values) => values.iter().map(Self::text).collect(),
            _ => None,
        }
    }
}

impl fmt::Display for Given {
    /// For a sentence: "… is not a whole number".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(text) | Self::Text(text) => write!(f, "{text:?}"),
            Self::Whole(number) => write!(f, "{number}"),
            Self::Fraction(number) => write!(f, "{number}"),
            Self::Switch(on) => write!(f, "{on}"),
            Self::List(_) => f.write_str("such an array"),
            Self::Table(_) => f.write_str("a table"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_text_is_what_its_key_wants_and_a_toml_value_only_what_it_is() {
        assert_eq!(Given::Plain("7".into()).whole(), Some(7));
        assert_eq!(Given::Plain("7".into()).text(), Some("7"));
        assert_eq!(Given::Plain("true".into()).switch(), Some(true));
        assert_eq!(Given::Text("7".into()).whole(), None);
        assert_eq!(Given::Text("true".into()).switch(), None);
        assert_eq!(Given::Text("a,b".into()).list(), None);
        assert_eq!(Given::Whole(7).text(), None);
        assert_eq!(Given::Whole(7).number(), Some(7.0));
        assert_eq!(Given::Plain("7.5".into()).number(), Some(7.5));
        assert_eq!(Given::Fraction(7.5).whole(), None);
    }

    #[test]
    fn commas_separate_the_texts_of_a_bare_list() {
        assert_eq!(Given::Plain("a, {b}:c ,d".into()).list(), Some(vec!["a", "{b}:c", "d"]));
        assert_eq!(Given::Plain(" ".into()).list(), Some(vec![]));
        let mixed = Given::List(vec![Given::Text("a".into()), Given::Whole(1)]);
        assert_eq!(mixed.list(), None);
    }
}
