//! Layers of values, of which the uppermost one that has a key gives it its value.
//!
//! ```text
//!  API          what an operator wants now; gone with the process
//!  flags        ┐
//!  environment  ┘ what this one process was started with
//!  etcd         ┐
//!  file         ┘ what the fleet has in common; etcd is the one that can be changed for all at once
//!  defaults
//! ```
//! The value that wins is checked; one that loses is not looked at, so that a file with a hidden password is completed
//! by a variable. Any change makes new layers, which are checked as a whole: they are all in force or none of them is.
//! *Not here*: reading (`raw`, `snapshot`, `patch`), what a key takes (`keys`).

use std::fmt;
use std::net::SocketAddr;

use super::given::Given;
use super::keys::{self, Draft, KEYS};
use super::problem::{Origin, Problem, Problems};
use super::{Config, EVENTS_NAME_DEFAULT, EventsRedis};
use crate::secret::without_user_info;

/// A place where values come from, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Layer {
    File,
    Etcd,
    Environment,
    Flags,
    Api,
}

/// What one place gives: keys by position in [`KEYS`], each with its place.
pub(super) type Values = Vec<(usize, Given, Origin)>;

/// Everything that somebody gave. `Debug` shows no values: a password may be among them.
#[derive(Clone, Default, PartialEq)]
pub struct Layers([Values; Layer::Api as usize + 1]);

/// A configuration, and where each of its values stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// By position in [`KEYS`].
    pub(super) origins: Vec<Origin>,
    /// What it was made of.
    pub(super) layers: Layers,
    /// What has no effect and is no mistake: variables that are no keys.
    pub warnings: Vec<Problem>,
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(Vec::len)).finish()
    }
}

impl Layers {
    /// The same, but for one layer.
    pub(super) fn with(&self, layer: Layer, values: Values) -> Self {
        let mut layers = self.clone();
        layers.0[layer as usize] = values;
        layers
    }

    /// What a layer gives.
    pub(super) fn values(&self, layer: Layer) -> &Values {
        &self.0[layer as usize]
    }

    /// Sets every key, then looks at the keys that must fit each other. Fails with what is found here behind what
    /// was found in reading.
    pub(super) fn check(self, mut problems: Vec<Problem>) -> Result<Loaded, Problems> {
        let mut winners: [Option<(&Given, &Origin)>; KEYS.len()] = [None; KEYS.len()];
        for (key, value, origin) in self.0.iter().flatten() {
            winners[*key] = Some((value, origin));
        }
        let mut draft = Draft::from(Config::default());
        let mut origins = Vec::with_capacity(KEYS.len());
        let mut refused = Vec::new();
        for (key, winner) in KEYS.iter().zip(winners) {
            let origin = winner.map_or(Origin::Default, |(_, origin)| origin.clone());
            if let Some(Err(wrong)) = winner.map(|(given, _)| key.set(given, &mut draft)) {
                refused.push(key.path());
                problems.push(Problem {
                    key: Some(key.path()),
                    origin: origin.clone(),
                    wrong: without_user_info(&wrong.what).into_owned(),
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
        if problems.is_empty() {
            Ok(Loaded { config, origins, layers: self, warnings: Vec::new() })
        } else {
            Err(Problems(problems))
        }
    }
}

/// Keys that must fit each other. Relations to a constant are ranges, in [`KEYS`].
struct Relation {
    /// The key that is told about, then those it must fit.
    keys: &'static [(&'static str, &'static str)],
    /// What is wrong and what to do.
    broken: fn(&Config) -> Option<(String, String)>,
}

const RELATIONS: [Relation; 5] = [
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
    Relation {
        keys: &[("etcd", "password"), ("etcd", "user")],
        broken: |config| {
            let wrong = match (config.etcd.user.is_empty(), config.etcd.password.is_some()) {
                (true, true) => "there is a password and no user",
                (false, false) => "there is a user and no password",
                _ => return None,
            };
            Some((wrong.into(), "give both etcd.user and etcd.password, or neither".into()))
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
    use super::*;
    use crate::secret::Secret;

    fn given(section: &str, name: &str, number: i128, origin: Origin) -> Values {
        vec![(keys::position(section, name).expect("a key"), Given::Whole(number), origin)]
    }

    #[test]
    fn of_two_layers_the_upper_one_gives_the_value_and_its_going_uncovers_the_lower() {
        let order = [
            (Layer::File, Origin::File { path: "f".into(), line: Some(1) }),
            (Layer::Etcd, Origin::Etcd("/fanfare/merge.messages_max".into())),
            (Layer::Environment, Origin::Environment("FANFARE_MERGE_MESSAGES_MAX".into())),
            (Layer::Flags, Origin::Flag("--messages")),
            (Layer::Api, Origin::Api),
        ];
        let key = keys::position("merge", "messages_max").expect("a key");
        let mut layers = Layers::default();
        for (n, (layer, origin)) in order.iter().enumerate() {
            let values = given("merge", "messages_max", n as i128 + 1, origin.clone());
            layers = layers.with(*layer, values);
            let loaded = layers.clone().check(Vec::new()).expect("a number in range");
            assert_eq!((loaded.config.merge.messages_max, &loaded.origins[key]), (n + 1, origin));
        }
        for (n, (layer, _)) in order.iter().enumerate().rev() {
            layers = layers.with(*layer, Vec::new());
            let loaded = layers.clone().check(Vec::new()).expect("a number in range");
            let expected = if n == 0 { Config::default().merge.messages_max } else { n };
            assert_eq!(loaded.config.merge.messages_max, expected);
        }
    }

    #[test]
    fn layers_show_no_values() {
        let url = keys::position("redis", "url").expect("a key");
        let text = Given::Plain("redis://:hunter2@cache".into());
        let layers = Layers::default().with(Layer::Flags, vec![(url, text, Origin::Flag("--redis"))]);
        assert!(!format!("{layers:?}").contains("hunter2"));
    }

    #[test]
    fn a_user_of_etcd_has_a_password_and_none_stands_alone() {
        let of = |name| keys::position("etcd", name).expect("a key");
        let text = |text: &str| Given::Text(text.into());
        let user = (of("user"), text("u"), Origin::Flag("--user"));
        let password = (of("password"), text("hunter2"), Origin::Flag("--password"));
        let check = |values| Layers::default().with(Layer::Flags, values).check(Vec::new());
        assert!(check(vec![user.clone()]).is_err() && check(vec![password.clone()]).is_err());
        let loaded = check(vec![user, password]).expect("both");
        assert_eq!(loaded.config.etcd.password.as_ref().map(Secret::expose), Some("hunter2"));
        assert!(!format!("{:?}", loaded.config).contains("hunter2"));
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
}
