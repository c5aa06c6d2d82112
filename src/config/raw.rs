//! What stands beside the process when it starts: file, environment and flags, read and checked as a whole.
//!
//! What is no key is a problem in the file: a setting that silently does nothing is worse than a gateway that does not
//! start. In the environment it is a warning, because others put variables there too. *Not here*: which of several values wins (`layers`), what a key takes (`keys`).

use std::ffi::OsString;
use std::time::Duration;

use super::environment;
use super::file;
use super::flags::Flags;
use super::layers::{Layer, Layers, Loaded};
use super::open;
use super::problem::{Origin, Problem, Problems};
use fanfare_core::limits::CONFIG_PIPE_DEADLINE;

/// Reads everything and checks everything; waits [`CONFIG_PIPE_DEADLINE`] at most for a file that is a pipe.
pub fn load(
    flags: &Flags,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded, Problems> {
    let mut problems = Vec::new();
    let environment: Vec<_> = environment.into_iter().collect();
    let warnings =
        environment::unknown(environment.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str())));
    let layers = read_within(CONFIG_PIPE_DEADLINE, flags, environment, &Layers::default(), &mut problems);
    match layers.check(problems) {
        Ok(loaded) => Ok(Loaded { warnings, ..loaded }),
        // Whoever mends the mistakes learns of the rest at once.
        Err(Problems(problems)) => Err(Problems(problems.into_iter().chain(warnings).collect())),
    }
}

/// Reads everything anew into layers whose others are those of `kept`; adds what cannot be read to `problems`. Waits for
/// nobody: the caller has a process to watch.
pub(super) fn read(
    flags: &Flags,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    kept: &Layers,
    problems: &mut Vec<Problem>,
) -> Layers {
    read_within(Duration::ZERO, flags, environment, kept, problems)
}

fn read_within(
    patience: Duration,
    flags: &Flags,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    kept: &Layers,
    problems: &mut Vec<Problem>,
) -> Layers {
    let mut from_file = Vec::new();
    if let Some(path) = &flags.config {
        match open::read(path, patience) {
            // What a save leaves that found no space, or that is not over.
            Ok(text) if text.trim().is_empty() && !kept.values(Layer::File).is_empty() => {
                problems.push(Problem {
                    key: None,
                    origin: Origin::File { path: path.clone(), line: None },
                    wrong: "the file is empty now, and had values".into(),
                    remedy: "save it again; to go back to the defaults, leave a comment in it".into(),
                });
            }
            Ok(text) => from_file = file::read(path, &text, problems),
            Err((wrong, remedy)) => problems.push(Problem {
                key: None,
                origin: Origin::File { path: path.clone(), line: None },
                wrong,
                remedy,
            }),
        }
    }
    kept.with(Layer::File, from_file)
        .with(Layer::Environment, environment::read(environment, problems))
        .with(Layer::Flags, flags.given().collect())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::num::NonZeroUsize;

    use tempfile::NamedTempFile;

    use super::super::Config;
    use super::*;
    use crate::secret::Secret;

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
    fn a_variable_that_is_no_keys_is_a_warning_and_the_rest_is_in_force() {
        let environment =
            [("FANFARE_HOME", "/opt/fanfare"), ("FANFARE_SERVER_SHARD", "9"), ("FANFARE_SERVER_SHARDS", "2")];
        let environment = environment.map(|(name, value)| (name.into(), value.into()));
        let loaded = load(&Flags::default(), environment).expect("nothing is wrong");
        assert_eq!(loaded.config.server.shards, NonZeroUsize::new(2));
        let told: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "FANFARE_HOME: no key has this variable, so it does nothing; a key's variable is FANFARE_SECTION_KEY, such \
                 as FANFARE_SERVER_LISTEN",
                "FANFARE_SERVER_SHARD: no key has this variable, so it does nothing; did you mean FANFARE_SERVER_SHARDS?",
            ]
        );
    }

    #[test]
    fn blanks_around_a_value_of_the_environment_are_no_part_of_it() {
        let environment = [
            ("FANFARE_SERVER_LISTEN", "127.0.0.1:7000\n"),
            ("FANFARE_SERVER_SHARDS", " 3 "),
            ("FANFARE_SERVER_PIN", "false\r\n"),
            ("FANFARE_OUTBOX_POLICY", "\tdrop-oldest"),
            ("FANFARE_PACING_RATE", "500\n"),
            ("FANFARE_PACING_TOPIC", " a=1 \n"),
            ("FANFARE_LOG_LEVEL", "debug\n"),
            ("FANFARE_CLIENTS_AUTO_JOIN", "a, b\n"),
            ("FANFARE_REDIS_URL", " redis://cache:6379\n"),
            ("FANFARE_REDIS_PREFIX", "shop:\n"),
            ("FANFARE_ETCD_ENDPOINTS", "http://a:1\n"),
            ("FANFARE_ETCD_USER", "dev\n"),
            ("FANFARE_ETCD_PASSWORD", " hunter 2 \r\n"),
        ];
        let config = loaded(&Flags::default(), &environment).expect("all good");
        assert_eq!((config.server.listen.port(), config.server.shards), (7000, NonZeroUsize::new(3)));
        assert!(!config.server.pin && config.log.level == "debug");
        assert_eq!(config.clients.auto_join.len(), 2);
        assert_eq!(config.redis.map(|redis| redis.prefix).as_deref(), Some("shop:"));
        assert_eq!((config.etcd.endpoints.len(), config.etcd.user.as_str()), (1, "dev"));
        assert_eq!(
            config.etcd.password.as_ref().map(Secret::expose),
            Some(" hunter 2 "),
            "a password may have blanks"
        );
    }

    #[test]
    fn an_empty_variable_is_not_set_unless_empty_is_a_value() {
        let (_file, flags) = file("[server]\nshards = 3\n[redis]\nurl = \"redis://cache\"\n");
        let environment = [
            ("FANFARE_SERVER_SHARDS", ""),
            ("FANFARE_SERVER_PIN", " \n"),
            ("FANFARE_LOG_LEVEL", ""),
            ("FANFARE_API_LISTEN", ""),
            ("FANFARE_REDIS_URL", "\n"),
        ];
        let config = loaded(&flags, &environment).expect("all good");
        let expected = Config::default();
        assert_eq!(config.server.shards, NonZeroUsize::new(3), "the file's");
        assert_eq!((config.server.pin, config.log.level), (expected.server.pin, expected.log.level));
        assert_eq!((config.api.listen, config.redis), (expected.api.listen, None));
    }

    #[test]
    fn a_file_that_was_emptied_is_a_problem_and_one_that_always_was_is_none() {
        let (file, flags) = file("[merge]\ndelay_ms = 7\n");
        let before = load(&flags, []).expect("all good").layers;
        let problems = |kept: &Layers| {
            let mut problems = Vec::new();
            read(&flags, [], kept, &mut problems);
            problems.len()
        };
        assert_eq!(problems(&before), 0);
        for text in ["", " \n\n"] {
            fs::write(file.path(), text).expect("space on it");
            assert_eq!((problems(&before), problems(&Layers::default())), (1, 0), "{text:?}");
        }
        fs::write(file.path(), "# the defaults\n").expect("space on it");
        assert_eq!(problems(&before), 0);
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
        let text = told(&flags, &[("FANFARE_MERGE_DELAY_MS", "soon")]);
        let path = file.path().display();
        let expected = [
            "the configuration has 6 problems:".to_owned(),
            format!("  server.lisen ({path}:3): there is no such key; did you mean server.listen?"),
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
