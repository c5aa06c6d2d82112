//! Reading the configuration again while the process runs: what changes at once, and what waits for the next start.
//!
//! Which of the two a key does stands in its row of `config::keys`, the one table of keys. What is live reaches
//! every thread as an [`Edition`], numbered, in order with the messages around it. *Not here*: reading and checking
//! (`raw`), when (`supervision`).

use super::Config;
use super::keys::{Draft, Effect, KEYS};

/// A configuration in effect.
#[derive(Debug)]
pub struct Edition {
    /// 1 at start, one more with each reload that changed something.
    pub number: u64,
    /// The values.
    pub config: Config,
}

impl Edition {
    /// The one that a process starts with.
    pub fn first(config: Config) -> Self {
        Self { number: 1, config }
    }
}

/// What a reload comes to.
#[derive(Debug, PartialEq)]
pub struct Reload {
    /// The running configuration with what is live of the new one.
    pub config: Config,
    /// Keys that changed and take effect at once, in the order of `fanfare.toml`.
    pub live: Vec<String>,
    /// Keys that differ from what runs and take effect at the next start.
    pub at_start: Vec<String>,
}

/// Compares what runs with what was read.
pub fn reload(running: &Config, read: &Config) -> Reload {
    let (from, mut to) = (Draft::from(read.clone()), Draft::from(running.clone()));
    let (mut live, mut at_start) = (Vec::new(), Vec::new());
    for key in &KEYS {
        if key.is_same(&from, &to) {
            continue;
        }
        match key.effect {
            Effect::AtOnce => {
                key.copy(&from, &mut to);
                live.push(key.path());
            }
            Effect::AtStart => at_start.push(key.path()),
        }
    }
    Reload { config: to.finish(), live, at_start }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::Redis;
    use super::super::given::Given;
    use super::super::keys::Kind;
    use super::*;

    /// The default with one key changed to something else that it takes.
    fn changed(index: usize) -> Config {
        let mut draft = Draft::from(Config::default());
        let key = &KEYS[index];
        let shown = key.show(&draft);
        let given = match (&key.kind, key.path().as_str()) {
            (Kind::Whole { max, .. }, _) => Given::Whole(i128::from(*max)),
            (Kind::AutoOr { .. }, _) => Given::Whole(1),
            (Kind::Switch { get, .. }, _) => Given::Switch(!get(&draft)),
            (Kind::Choice { words, .. }, _) => Given::Text(words[words.len() - 1].into()),
            (Kind::List { .. }, "events.kinds") => Given::List(vec![Given::Text("close".into())]),
            (Kind::Text { .. }, "events.name") => Given::Text("lives".into()),
            (Kind::Url { .. }, "events.webhook") => Given::Text("http://127.0.0.1:9/".into()),
            (Kind::List { .. }, "api.origins") => Given::List(vec![Given::Text("http://a:1".into())]),
            (Kind::List { .. }, "etcd.endpoints") => {
                Given::List(vec![Given::Text("http://127.0.0.1:2379".into())])
            }
            (Kind::Rate { .. }, _) => Given::Fraction(12.5),
            (Kind::Paces { .. }, _) => Given::Plain("speaker-*=500/3".into()),
            (Kind::Secret { .. }, _) | (Kind::Text { .. }, "etcd.user") => Given::Text("hunter2".into()),
            (Kind::Text { .. }, "etcd.prefix") => Given::Text("/shop/".into()),
            (Kind::List { .. }, _) => Given::List(vec![Given::Text("news".into())]),
            (Kind::Text { .. }, "server.listen" | "api.listen") => Given::Text("127.0.0.1:9".into()),
            (Kind::Url { .. }, "redis.url") => Given::Text("redis://cache".into()),
            (Kind::Text { .. }, "redis.prefix") => Given::Text("shop:".into()),
            (Kind::Text { .. }, "log.level") => Given::Text("debug".into()),
            (Kind::Text { .. } | Kind::Url { .. }, path) => panic!("no value for {path}"),
        };
        key.set(&given, &mut draft).expect("a value of its kind");
        assert_ne!(key.show(&draft), shown, "{}", key.path());
        // A prefix without a server is none of the configuration.
        draft.config.redis.get_or_insert_with(|| Redis {
            url: "redis://here".parse().expect("a URL"),
            prefix: String::new(),
        });
        draft.finish()
    }

    fn with_redis() -> Config {
        let url = "redis://here".parse().expect("a URL");
        Config { redis: Some(Redis { url, prefix: "fanfare:".into() }), ..Config::default() }
    }

    #[test]
    fn every_key_is_either_applied_or_named_as_waiting_for_a_start() {
        let running = with_redis();
        for (index, key) in KEYS.iter().enumerate() {
            let read = changed(index);
            let reload = reload(&running, &read);
            match key.effect {
                Effect::AtOnce => {
                    assert_eq!((&reload.live, reload.at_start.len()), (&vec![key.path()], 0));
                    assert_eq!(reload.config, read, "{}", key.path());
                }
                Effect::AtStart => {
                    assert_eq!((reload.live.len(), &reload.at_start), (0, &vec![key.path()]));
                    assert_eq!(reload.config, running, "{}", key.path());
                }
            }
        }
    }

    #[test]
    fn the_same_again_changes_nothing() {
        let reload = reload(&with_redis(), &with_redis());
        assert_eq!(reload, Reload { config: with_redis(), live: vec![], at_start: vec![] });
    }

    #[test]
    fn a_changed_password_is_noticed_and_not_shown() {
        let mut read = with_redis();
        read.redis.as_mut().expect("it has one").url.password = Some("hunter2".into());
        let reload = reload(&with_redis(), &read);
        assert_eq!(reload.at_start, ["redis.url"]);
        assert_eq!(reload.config, with_redis());
    }

    #[test]
    fn redis_that_comes_or_goes_waits_for_a_start_and_takes_nothing_with_it() {
        let gone = reload(&with_redis(), &Config::default());
        assert_eq!((gone.config, gone.at_start), (with_redis(), vec!["redis.url".to_owned()]));
        let come = reload(&Config::default(), &with_redis());
        assert_eq!((come.config, come.at_start), (Config::default(), vec!["redis.url".to_owned()]));
    }

    proptest! {
        #[test]
        fn a_second_reload_of_the_same_file_changes_nothing_more(seconds in 0_u64..3_600, level in "info|warn|debug") {
            let mut read = with_redis();
            read.server.drain = Duration::from_secs(seconds);
            read.server.listen.set_port(9);
            read.log.level = level;
            let first = reload(&with_redis(), &read);
            let second = reload(&first.config, &read);
            prop_assert_eq!(second.live, Vec::<String>::new());
            prop_assert_eq!(second.at_start, vec!["server.listen".to_owned()]);
        }
    }
}
