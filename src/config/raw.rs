//! What stands beside the process when it starts: file, environment and flags, read and checked as a whole.
//!
//! What is no key is a problem wherever it stands: a setting that silently does nothing is worse than a gateway that does
//! not start. *Not here*: which of several values wins (`layers`), what a key takes (`keys`).

use std::ffi::OsString;
use std::fs;

use super::environment;
use super::file;
use super::flags::Flags;
use super::layers::{Layer, Layers, Loaded};
use super::problem::{Origin, Problem, Problems};

/// Reads everything and checks everything; blocks on the file that `flags` name.
pub fn load(
    flags: &Flags,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded, Problems> {
    let mut problems = Vec::new();
    let layers = read(flags, environment, &Layers::default(), &mut problems);
    layers.check(problems)
}

/// Reads everything anew into layers whose others are those of `kept`; adds what cannot be read to `problems`.
pub(super) fn read(
    flags: &Flags,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    kept: &Layers,
    problems: &mut Vec<Problem>,
) -> Layers {
    let mut from_file = Vec::new();
    if let Some(path) = &flags.config {
        match fs::read_to_string(path) {
            Ok(text) => from_file = file::read(path, &text, problems),
            Err(error) => problems.push(Problem {
                key: None,
                origin: Origin::File { path: path.clone(), line: None },
                wrong: format!("the file cannot be read ({error})"),
                remedy: "give --config a readable UTF-8 file, or none to run with the defaults".into(),
            }),
        }
    }
    kept.with(Layer::File, from_file)
        .with(Layer::Environment, environment::read(environment, problems))
        .with(Layer::Flags, flags.given().collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::num::NonZeroUsize;
    use std::time::Duration;

    use tempfile::NamedTempFile;

    use super::super::Config;
    use super::*;

    fn file(text: &str) -> (NamedTempFile, Flags) {
        let mut file = NamedTempFile::new().expect("a temporary directory");
        file.write_all(text.as_bytes()).expect("space on it");
        let flags = Flags { config: Some(file.path().to_owned()), ..Flags::default() };
        (file, flags)
    }

    fn loaded(flags: &Flags, environment: &[(&str, &str)]) -> Result<Config, Problems> {
        let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
        load(flags, environment).map(|loaded| loaded.config)
    }

    fn told(flags: &Flags, environment: &[(&str, &str)]) -> String {
        loaded(flags, environment).expect_err("something is wrong").to_string()
    }

    #[test]
    fn nothing_given_is_the_default() {
        assert_eq!(loaded(&Flags::default(), &[]), Ok(Config::default()));
    }

    #[test]
    fn a_flag_wins_over_the_environment_which_wins_over_the_file() {
        let (_file, mut flags) = file("[server]\nshards = 1\ndrain_s = 1\nspin_us = 1\n");
        flags.shards = Some("3".into());
        let environment = [("FANFARE_SERVER_SHARDS", "2"), ("FANFARE_SERVER_DRAIN_S", "2")];
        let server = loaded(&flags, &environment).expect("all good").server;
        assert_eq!(server.shards, NonZeroUsize::new(3));
        assert_eq!(server.drain, Duration::from_secs(2));
        assert_eq!(server.spin, Duration::from_micros(1));
    }

    #[test]
    fn a_value_that_loses_is_not_looked_at() {
        let (_file, flags) = file("[redis]\nurl = \"redis://:***@cache\"\n");
        assert!(told(&flags, &[]).contains("***"));
        let config = loaded(&flags, &[("FANFARE_REDIS_URL", "redis://:secret@cache")]).expect("completed");
        assert_eq!(config.redis.and_then(|redis| redis.url.password), Some("secret".into()));
    }

    #[test]
    fn the_environment_can_switch_redis_off_and_a_prefix_needs_no_order() {
        let (_file, flags) = file("[redis]\nprefix = \"shop:\"\nurl = \"redis://cache\"\n");
        assert_eq!(
            loaded(&flags, &[]).expect("all good").redis.map(|redis| redis.prefix).as_deref(),
            Some("shop:")
        );
        assert_eq!(loaded(&flags, &[("FANFARE_REDIS_URL", "")]).expect("all good").redis, None);
    }

    #[test]
    fn a_list_in_the_environment_is_separated_by_commas() {
        let environment = [("FANFARE_CLIENTS_AUTO_JOIN", "{product_id}:{alias_key}, news")];
        let templates = loaded(&Flags::default(), &environment).expect("all good").clients.auto_join;
        let texts: Vec<String> = templates.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["{product_id}:{alias_key}", "news"]);
    }

    #[test]
    fn all_problems_of_all_sources_are_told_at_once() {
        let (file, mut flags) = file(
            "[server]\nspin_us = -1\nlisen = \"x\"\n\n[outbox]\npolicy = \"shrug\"\nbytes_max = 262144\n",
        );
        flags.api = Some("localhost".into());
        let text = told(&flags, &[("FANFARE_MERGE_DELAY_MS", "soon"), ("FANFARE_CLIENTS_LIVENES_S", "9")]);
        let path = file.path().display();
        let expected = [
            "the configuration has 7 problems:".to_owned(),
            format!("  server.lisen ({path}:3): there is no such key; did you mean server.listen?"),
            "  FANFARE_CLIENTS_LIVENES_S: no key has this variable; did you mean FANFARE_CLIENTS_LIVENESS_S?".into(),
            format!("  server.spin_us ({path}:2): -1 is less than 0; give a whole number from 0 to 1000"),
            "  api.listen (--api): \"localhost\" is not an IP address with a port; give one such as 0.0.0.0:7777 or \
             [::]:7777"
                .into(),
            "  merge.delay_ms (FANFARE_MERGE_DELAY_MS): \"soon\" is not a whole number; give a whole number from 0 to \
             10000"
                .into(),
            format!(
                "  outbox.bytes_max ({path}:7): 262144 is less than 262145; give a whole number from 262145 to 67108864"
            ),
            format!(
                "  outbox.policy ({path}:6): \"shrug\" is not a word that is known here; give \"close\" or \
                 \"drop-oldest\" or \"latest-only\""
            ),
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn one_port_cannot_serve_devices_and_the_api() {
        let flags = Flags { api: Some("127.0.0.1:7777".into()), ..Flags::default() };
        assert!(
            told(&flags, &[]).contains("api.listen (--api): 127.0.0.1:7777 and server.listen, 0.0.0.0:7777")
        );
        let flags = Flags { listen: Some("[::]:7799".into()), ..Flags::default() };
        assert!(
            told(&flags, &[]).contains("api.listen (--listen): 127.0.0.1:7799 and server.listen, [::]:7799")
        );
        let both_any =
            Flags { listen: Some("127.0.0.1:0".into()), api: Some("127.0.0.1:0".into()), ..Flags::default() };
        assert!(loaded(&both_any, &[]).is_ok());
    }

    #[test]
    fn a_refused_key_is_not_told_about_twice() {
        let flags =
            Flags { listen: Some("x".into()), api: Some("127.0.0.1:7777".into()), ..Flags::default() };
        assert_eq!(loaded(&flags, &[]).expect_err("x is no address").0.len(), 1);
    }

    #[test]
    fn more_topics_to_join_than_a_connection_may_have_are_refused() {
        let (_file, flags) = file("[clients]\ntopics_max = 1\nauto_join = [\"a\", \"b\"]\n");
        assert!(told(&flags, &[]).contains("2 topics to join and clients.topics_max allows 1"));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_one_problem_among_others() {
        let flags = Flags {
            config: Some("/nonexistent/f.toml".into()),
            shards: Some("0".into()),
            ..Flags::default()
        };
        let text = told(&flags, &[]);
        assert!(text.contains("/nonexistent/f.toml: the file cannot be read"), "{text}");
        assert!(text.contains("server.shards (--shards): 0 is less than 1"), "{text}");
    }
}
