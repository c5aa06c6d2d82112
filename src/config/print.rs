//! The configuration in effect, for people: as a file, and in a line.

use std::fmt;

use super::keys::{self, Draft, KEYS};
use super::layers::Loaded;
use super::problem::Origin;
use super::{Config, Redis};

/// The commented file that documents every key; its values are the defaults.
pub const TEMPLATE: &str = include_str!("../../fanfare.toml");

/// [`TEMPLATE`] with the values in effect, each that is no default with the place it comes from. A file again, but for
/// the secrets, which are hidden.
pub fn to_toml(loaded: &Loaded) -> String {
    let draft = Draft::from(loaded.config.clone());
    let mut section = "";
    let mut text = String::with_capacity(TEMPLATE.len() + 1024);
    for line in TEMPLATE.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
        }
        if let Some(key) = key_of(section, line) {
            text.extend([KEYS[key].name, " = ", &KEYS[key].show(&draft)]);
            if loaded.origins[key] != Origin::Default {
                // A path may hold anything, a line break too.
                text.extend(["  # ", &loaded.origins[key].to_string().replace(char::is_control, "?")]);
            }
        } else {
            text += line;
        }
        text.push('\n');
    }
    text
}

/// The key that a line of [`TEMPLATE`] gives a value, by position in [`KEYS`].
fn key_of(section: &str, line: &str) -> Option<usize> {
    let (name, _value) = line.split_once(" = ")?;
    keys::position(section, name)
}

/// What an operator wants to see of a configuration at a glance: where it listens, where messages come from.
#[derive(Debug)]
pub struct Summary<'a>(pub &'a Config);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config { server, api, redis, .. } = self.0;
        write!(f, "devices on {}, API on http://{}, ", server.listen, api.listen)?;
        match redis {
            Some(Redis { url, prefix }) => write!(f, "messages from {url} channels {prefix}* and the API"),
            None => write!(f, "messages from the API only (no Redis)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::io::Write;

    use super::super::flags::Flags;
    use super::super::keys::Kind;
    use super::super::raw::load;
    use super::*;
    use fanfare_core::limits::PUSH_WEIGHT_MAX;
    use fanfare_core::push::rate::Rate;

    fn load_text(text: &str, environment: &[(&str, &str)]) -> Loaded {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary directory");
        file.write_all(text.as_bytes()).expect("space on it");
        let flags = Flags { config: Some(file.path().to_owned()), ..Flags::default() };
        load(&flags, environment.iter().map(|(name, value)| (name.into(), value.into())))
            .unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[test]
    fn the_documented_file_is_the_default_configuration() {
        let loaded = load_text(TEMPLATE, &[]);
        assert_eq!(loaded.config, Config::default());
        assert!(
            loaded.origins.iter().all(|origin| *origin != Origin::Default),
            "every key stands in fanfare.toml"
        );
    }

    #[test]
    fn printed_defaults_are_the_documented_file() {
        let loaded = load(&Flags::default(), []).expect("the defaults are good");
        assert_eq!(to_toml(&loaded), TEMPLATE);
    }

    #[test]
    fn every_key_is_documented_with_its_range_or_its_words_right_above_it() {
        let mut section = "";
        let mut comment = String::new();
        let mut documented = HashSet::new();
        for line in TEMPLATE.lines() {
            if let Some(words) = line.strip_prefix("# ") {
                comment = comment + words + " ";
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                section = name;
            }
            if let Some(key) = key_of(section, line) {
                assert!(documented.insert(key), "{} stands there once", KEYS[key].path());
                let facts: Vec<String> = match &KEYS[key].kind {
                    Kind::Whole { min, max, .. } => vec![format!("{min} to {max}")],
                    Kind::AutoOr { max, .. } => vec![format!("1 to {max}"), "auto".into()],
                    Kind::Choice { words, .. } => words.iter().map(|word| format!("\"{word}\"")).collect(),
                    Kind::Rate { .. } => vec![format!("{} to {}", Rate::MIN, Rate::MAX)],
                    Kind::Paces { .. } => {
                        vec![format!("{} to {}", Rate::MIN, Rate::MAX), format!("1 to {PUSH_WEIGHT_MAX}")]
                    }
                    Kind::Switch { .. }
                    | Kind::Text { .. }
                    | Kind::List { .. }
                    | Kind::Secret { .. }
                    | Kind::Url { .. } => Vec::new(),
                };
                assert!(!comment.is_empty(), "{} has a comment", KEYS[key].path());
                for fact in facts {
                    assert!(comment.contains(&fact), "{}: {fact} in {comment:?}", KEYS[key].path());
                }
            }
            comment.clear();
        }
        assert_eq!(documented.len(), KEYS.len());
    }

    #[test]
    fn what_is_printed_is_a_file_with_the_same_meaning() {
        let given = load_text(
            "[server]\nlisten = \"[::1]:80\"\nshards = 3\npin = false\n[redis]\nurl = \"unix:///run/a b%23.sock\"\n\
             prefix = \"\\\"x\\\":\"\n[clients]\nauto_join = [\"{a}:{b}\", 'say \"hi\"']\nliveness = \"ping-only\"\n\
             [outbox]\npolicy = \"latest-only\"\n[pacing]\nrate = 12.5\n[[pacing.topic]]\nmatch = 'a\"*'\nrate = 500\n[log]\nformat = \"json\"\nlevel = \"warn,fanfare=debug\"\n",
            &[("FANFARE_MERGE_DELAY_MS", "7")],
        );
        let printed = to_toml(&given);
        assert!(printed.contains("\ndelay_ms = 7  # FANFARE_MERGE_DELAY_MS\n"), "{printed}");
        assert_eq!(load_text(&printed, &[]).config, given.config);
    }

    #[test]
    fn a_password_is_neither_printed_nor_summed_up() {
        let given = load_text("[redis]\nurl = \"redis://dev:hunter2@cache:6379/3\"\n", &[]);
        let printed = to_toml(&given);
        assert!(printed.contains("\nurl = \"redis://dev:***@cache:6379\""), "{printed}");
        assert!(!printed.contains("hunter2"));
        let etcd = load_text("[etcd]\nuser = \"dev\"\npassword = \"hunter2\"\n", &[]);
        assert!(to_toml(&etcd).contains("\npassword = \"***\"") && !to_toml(&etcd).contains("hunter2"));
        assert_eq!(
            Summary(&given.config).to_string(),
            "devices on 0.0.0.0:7777, API on http://127.0.0.1:7799, messages from redis://dev:***@cache:6379 channels \
             fanfare:* and the API"
        );
    }
}
