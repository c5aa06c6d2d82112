//! The TOML file: which keys it gives, on which lines, and what in it is no key.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::given::Given;
use super::keys::{self, KEYS};
use super::problem::{Origin, Problem, closest};

/// Reads a file's text. Gives each known key's position in [`KEYS`], its value and its line; adds what is wrong with
/// the text to `problems`.
pub(super) fn read(path: &Path, text: &str, problems: &mut Vec<Problem>) -> Vec<(usize, Given, Origin)> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let at = |offset: usize| Origin::File { path: path.to_owned(), line: Some(line(text, offset)) };
    for error in errors {
        // The message alone: the error's own text quotes the line, and a password may stand in it.
        problems.push(Problem {
            key: None,
            origin: error
                .span()
                .map_or_else(|| Origin::File { path: path.to_owned(), line: None }, |span| at(span.start)),
            wrong: format!("this is not TOML: {}", error.message()),
            remedy: "compare with `fanfare --print-config`".into(),
        });
    }
    let mut given = Vec::new();
    for (section, value) in document.get_ref() {
        let origin = at(section.span().start);
        let section: &str = section.get_ref();
        match value.get_ref() {
            DeValue::Table(entries) if keys::sections().any(|known| known == section) => {
                for (name, value) in entries {
                    let origin = at(name.span().start);
                    match keys::position(section, name.get_ref()) {
                        Some(key) => given.push((key, from_toml(value.get_ref()), origin)),
                        None => problems.push(unknown_key(section, name.get_ref(), origin)),
                    }
                }
            }
            DeValue::Table(_) => problems.push(unknown_section(section, origin)),
            _ => problems.push(outside_a_section(section, origin)),
        }
    }
    given
}

/// The line, from 1, of a byte offset.
fn line(text: &str, offset: usize) -> usize {
    1 + text.char_indices().take_while(|(at, _)| *at < offset).filter(|(_, c)| *c == '\n').count()
}

pub(super) fn from_toml(value: &DeValue<'_>) -> Given {
    match value {
        DeValue::String(text) => Given::Text(text.to_string()),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .map_or(Given::Other("so large a number"), Given::Whole),
        DeValue::Boolean(on) => Given::Switch(*on),
        DeValue::Array(values) => {
            Given::List(values.iter().map(|value| from_toml(value.get_ref())).collect())
        }
        DeValue::Float(number) => {
            number.as_str().parse().map_or(Given::Other("a number with a fraction"), Given::Fraction)
        }
        DeValue::Datetime(_) => Given::Other("a date"),
        DeValue::Table(entries) => Given::Table(
            entries
                .iter()
                .map(|(name, value)| (name.get_ref().to_string(), from_toml(value.get_ref())))
                .collect(),
        ),
    }
}

/// The problem of a name that is no key's, with what was meant by it.
pub(super) fn unknown_key(section: &str, name: &str, origin: Origin) -> Problem {
    let in_section = KEYS.iter().filter(|key| key.section == section).map(|key| key.name);
    let meant =
        closest(name, in_section).map(|meant| format!("{section}.{meant}")).or_else(|| elsewhere(name));
    Problem {
        key: Some(format!("{section}.{name}")),
        origin,
        wrong: "there is no such key".into(),
        remedy: meant.map_or_else(all_keys, |meant| format!("did you mean {meant}?")),
    }
}

fn unknown_section(section: &str, origin: Origin) -> Problem {
    Problem {
        key: Some(format!("[{section}]")),
        origin,
        wrong: "there is no such section".into(),
        remedy: closest(section, keys::sections())
            .map_or_else(all_keys, |meant| format!("did you mean [{meant}]?")),
    }
}

fn outside_a_section(name: &str, origin: Origin) -> Problem {
    let remedy = if keys::sections().any(|section| section == name) {
        format!("write [{name}] on a line of its own and its keys below it")
    } else {
        elsewhere(name).map_or_else(all_keys, |meant| format!("did you mean {meant}?"))
    };
    Problem { key: Some(name.into()), origin, wrong: "a value stands outside a section".into(), remedy }
}

/// The key of that name in whichever section has one.
fn elsewhere(name: &str) -> Option<String> {
    KEYS.iter().find(|key| key.name == name).map(super::keys::Key::path)
}

fn all_keys() -> String {
    "`fanfare --print-config` prints every key".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let mut problems = Vec::new();
        read(Path::new("f.toml"), text, &mut problems);
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_value_comes_with_its_line() {
        let mut problems = Vec::new();
        let text = "# a comment\n[merge]\n\nbytes_max = 0x100\n[clients]\nauto_join = [\"a\"]\n";
        let given = read(Path::new("f.toml"), text, &mut problems);
        let at = |line| Origin::File { path: "f.toml".into(), line: Some(line) };
        let key = |section, name| keys::position(section, name).expect("a key");
        assert_eq!(
            given,
            [
                (key("clients", "auto_join"), Given::List(vec![Given::Text("a".into())]), at(6)),
                (key("merge", "bytes_max"), Given::Whole(256), at(4)),
            ]
        );
        assert_eq!(problems, []);
    }

    #[test]
    fn repeated_tables_and_an_array_of_inline_tables_are_the_same() {
        let rules = |text: &str| {
            let mut problems = Vec::new();
            let given = read(Path::new("f.toml"), text, &mut problems);
            assert_eq!(problems, []);
            given.into_iter().map(|(key, given, _)| (KEYS[key].path(), given)).collect::<Vec<_>>()
        };
        let tables = rules(
            "[pacing]\nrate = 1.5\n[[pacing.topic]]\nmatch = \"a\"\nrate = 1\n[[pacing.topic]]\nrate = 2\n",
        );
        assert_eq!(
            tables,
            rules("[pacing]\nrate = 1.5\ntopic = [{ match = \"a\", rate = 1 }, { rate = 2 }]\n")
        );
        assert_eq!(tables[0], ("pacing.rate".into(), Given::Fraction(1.5)));
    }

    #[test]
    fn what_is_no_key_is_told_with_what_was_meant() {
        assert_eq!(
            problems(
                "listen = 1\nmerge = 2\n[server]\nlisten_on = 1\nlevel = 1\nxyzzy = 1\n[outbux]\na = 1\n[qqq]\n"
            ),
            [
                "listen (f.toml:1): a value stands outside a section; did you mean server.listen?",
                "merge (f.toml:2): a value stands outside a section; write [merge] on a line of its own and its keys \
                 below it",
                "[outbux] (f.toml:7): there is no such section; did you mean [outbox]?",
                "[qqq] (f.toml:9): there is no such section; `fanfare --print-config` prints every key",
                "server.level (f.toml:5): there is no such key; did you mean log.level?",
                "server.listen_on (f.toml:4): there is no such key; did you mean server.listen?",
                "server.xyzzy (f.toml:6): there is no such key; `fanfare --print-config` prints every key",
            ]
        );
    }

    #[test]
    fn a_mistake_in_the_syntax_has_a_line_and_quotes_nothing() {
        let problems = problems("[redis]\nurl = \"redis://:hunter2@host\nprefix = \n");
        assert!(!problems.is_empty());
        assert!(problems[0].starts_with("f.toml:2: this is not TOML"), "{problems:?}");
        assert!(problems.iter().all(|problem| !problem.contains("hunter2")), "{problems:?}");
    }
}
