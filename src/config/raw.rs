//! From file, environment and flags to a [`Config`], or to everything that is wrong with them.
//!
//! Of several values for a key the flag's wins, then the environment's, then the file's, then the default. The value
//! that wins is checked; one that loses is not looked at, so that a file with a hidden password is completed by a
//! variable. What is no key is a problem wherever it stands: a setting that silently does nothing is worse than a
//! gateway that does not start. *Not here*: what a key takes (`keys`).

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;

use super::environment;
use super::file;
use super::flags::Flags;
use super::given::Given;
use super::keys::{self, Draft, KEYS};
use super::problem::{Origin, Problem, Problems};
use super::{Config, EVENTS_NAME_DEFAULT, EventsRedis};

/// A configuration, and where each of its values stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// By position in [`KEYS`].
    pub(super) origins: Vec<Origin>,
}

/// Reads everything and checks everything; blocks on the file that `flags` name.
pub fn load(
    flags: &Flags,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded, Problems> {
    let mut problems = Vec::new();
    let mut given: Vec<(usize, Given, Origin)> = Vec::new();
    if let Some(path) = &flags.config {
        match fs::read_to_string(path) {
            Ok(text) => given.extend(file::read(path, &text, &mut problems)),
            Err(error) => problems.push(Problem {
                key: None,
                origin: Origin::File { path: path.clone(), line: None },
                wrong: format!("the file cannot be read ({error})"),
                remedy: "give --config a readable UTF-8 file, or none to run with the defaults".into(),
            }),
        }
    }
    given.extend(environment::read(environment, &mut problems));
    given.extend(flags.given());

    // In the order of precedence: a later value replaces an earlier one.
    let mut winners: [Option<(Given, Origin)>; KEYS.len()] = [const { None }; KEYS.len()];
    for (key, value, origin) in given {
        winners[key] = Some((value, origin));
    }
    check(winners, problems)
}

/// Sets every key, then looks at the keys that must fit each other.
fn check(
    winners: [Option<(Given, Origin)>; KEYS.len()],
    mut problems: Vec<Problem>,
) -> Result<Loaded, Problems> {
    let mut draft = Draft::from(Config::default());
    let mut origins = Vec::with_capacity(KEYS.len());
    let mut refused = Vec::new();
    for (key, winner) in KEYS.iter().zip(winners) {
        let (given, origin) = winner.map_or((None, Origin::Default), |(given, origin)| (Some(given), origin));
        if let Some(Err(wrong)) = given.map(|given| key.set(&given, &mut draft)) {
            refused.push(key.path());
            problems.push(Problem {
                key: Some(key.path()),
                origin: origin.clone(),
                wrong: wrong.what,
                remedy: wrong.remedy,
            });
        }
        origins.push(origin);
    }
    let config = draft.finish();
    for relation in RELATIONS {
        // A key that was refused has its default in the draft, which nobody asked for.
        if relation.keys.iter().any(|(section, name)| refused.contains(&format!("{section}.{name}"))) {
            continue;
        }
        if let Some((wrong, remedy)) = (relation.broken)(&config) {
            problems.push(relation.problem(&origins, wrong, remedy));
        }
    }
    if problems.is_empty() { Ok(Loaded { config, origins }) } else { Err(Problems(problems)) }
}

/// Keys that must fit each other. Relations to a constant are ranges, in [`KEYS`].
struct Relation {
    /// The key that is told about, then those it must fit.
    keys: &'static [(&'static str, &'static str)],
    /// What is wrong and what to do.
    broken: fn(&Config) -> Option<(String, String)>,
}

const RELATIONS: [Relation; 4] = [
    Relation {
        keys: &[("api", "listen"), ("server", "listen")],
        broken: |config| {
            let (api, server) = (config.api.listen, config.server.listen);
            overlap(api, server).then(|| {
                let wrong = format!("{api} and server.listen, {server}, are the same address");
                (wrong, "give the API a port of its own, on a private address".into())
            })
        },
    },
    Relation {
        keys: &[("clients", "auto_join"), ("clients", "topics_max")],
        broken: |config| {
            let (templates, topics_max) = (config.clients.auto_join.len(), config.clients.topics_max);
            (templates > topics_max).then(|| {
                let wrong = format!("{templates} topics to join and clients.topics_max allows {topics_max}");
                (wrong, "join fewer or raise clients.topics_max".into())
            })
        },
    },
    Relation {
        keys: &[("events", "redis"), ("redis", "url")],
        broken: |config| {
            (config.events.redis != EventsRedis::Off && config.redis.is_none()).then(|| {
                let wrong = "events are to go to Redis, and redis.url is empty".into();
                (wrong, "give redis.url, or \"off\" and an events.webhook".into())
            })
        },
    },
    Relation {
        keys: &[("events", "name"), ("events", "redis"), ("redis", "prefix")],
        broken: |config| {
            let prefix = &config.redis.as_ref()?.prefix;
            let (redis, name) = (config.events.redis, &config.events.name);
            (redis == EventsRedis::Channel && name.starts_with(prefix.as_str())).then(|| {
                let wrong = format!("every gateway listens on {name:?}, because it begins with redis.prefix");
                (wrong, format!("give a name such as {EVENTS_NAME_DEFAULT:?}"))
            })
        },
    },
];

impl Relation {
    /// The problem, at the place of the first of its keys that somebody gave.
    fn problem(&self, origins: &[Origin], wrong: String, remedy: String) -> Problem {
        let origin = self
            .keys
            .iter()
            .filter_map(|(section, name)| origins.get(keys::position(section, name)?))
            .find(|origin| **origin != Origin::Default);
        let (section, name) = self.keys[0];
        Problem {
            key: Some(format!("{section}.{name}")),
            origin: origin.cloned().unwrap_or_default(),
            wrong,
            remedy,
        }
    }
}

/// Whether two listeners would want the same port of the same address. Port 0 is any free port, never the same one.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let takes_all = |wide: SocketAddr, narrow: SocketAddr| {
        // `[::]` takes IPv4 too.
        wide.ip().is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4())
    };
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || takes_all(a, b) || takes_all(b, a))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::num::NonZeroUsize;
    use std::time::Duration;

    use tempfile::NamedTempFile;

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
        assert_eq!(config.redis.and_then(|redis| redis.url.password).as_deref(), Some("secret"));
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
    fn addresses_overlap_when_one_socket_would_take_what_the_other_wants() {
        for (a, b, overlaps) in [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("0.0.0.0:1", "[::1]:1", false),
            ("[::]:1", "127.0.0.1:1", true),
            ("[::]:1", "0.0.0.0:1", true),
            ("0.0.0.0:1", "127.0.0.1:2", false),
        ] {
            let (a, b) = (a.parse().expect("an address"), b.parse().expect("an address"));
            assert_eq!((overlap(a, b), overlap(b, a)), (overlaps, overlaps), "{a} {b}");
        }
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
