//! The configuration while the process runs: who may change it, what waits for a start, what was refused.
//!
//! ```text
//!  file, environment, flags ─┐
//!  etcd: a snapshot ─────────┼─► new layers ─► checked as a whole ─┬─ problems: noted under their source, nothing changes
//!  API: a patch ─────────────┘                                     └─ good: what is live takes effect now
//! ```
//! Owned by the main thread. *Not here*: how the threads get it (`live::Edition`), when (`supervision`).

use std::collections::BTreeMap;
use std::ffi::OsString;

use serde::Serialize;
use serde_json::Value;

use super::Config;
use super::flags::Flags;
use super::keys::{Draft, Effect, KEYS};
use super::layers::{Layer, Layers, Loaded};
use super::live::{self, Reload};
use super::patch::Patch;
use super::problem::{Origin, Problem, Problems};
use super::raw;
use super::snapshot::Snapshot;

/// Who wants a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Everything that a start reads: file, environment, flags.
    File,
    /// etcd.
    Etcd,
    /// `PATCH /v1/config`.
    Api,
}

/// What it wants.
pub enum ConfigChange<'a> {
    /// Read the file again, and the rest that a start reads.
    Read(&'a Flags, Vec<(OsString, OsString)>),
    /// etcd's keys are these from here on.
    Etcd(&'a Snapshot),
    /// The API's values change by this.
    Api(&'a Patch),
}

impl ConfigChange<'_> {
    /// Who wants it.
    pub fn source(&self) -> Source {
        match self {
            Self::Read(..) => Source::File,
            Self::Etcd(_) => Source::Etcd,
            Self::Api(_) => Source::Api,
        }
    }
}

/// Where every value of the running configuration comes from, and what else was said.
#[derive(Debug)]
pub struct Settings {
    /// What was accepted last. Its keys that are read at start may differ from what runs.
    accepted: Loaded,
    /// Where what runs comes from, by position in [`KEYS`].
    origins: Vec<Origin>,
    /// The last attempt of each source, when it was refused.
    refused: BTreeMap<Source, Vec<Problem>>,
}

impl Settings {
    /// Those that a process starts with.
    pub fn new(loaded: Loaded) -> Self {
        Self { origins: loaded.origins.clone(), accepted: loaded, refused: BTreeMap::new() }
    }

    /// Takes a change whole, or refuses it with everything that is wrong. Reading a file blocks.
    pub fn offer(&mut self, running: &Config, change: ConfigChange<'_>) -> Result<Reload, Problems> {
        let source = change.source();
        match self.layers_with(change) {
            Ok(accepted) => {
                self.refused.remove(&source);
                Ok(self.accept(running, accepted))
            }
            Err(problems) => {
                self.refused.insert(source, problems.0.clone());
                Err(problems)
            }
        }
    }

    /// Whether the last attempt of a source was refused.
    pub fn is_refused(&self, source: Source) -> bool {
        self.refused.contains_key(&source)
    }

    fn layers_with(&self, change: ConfigChange<'_>) -> Result<Loaded, Problems> {
        let layers: &Layers = &self.accepted.layers;
        let mut problems = Vec::new();
        let layers = match change {
            ConfigChange::Read(flags, environment) => raw::read(flags, environment, layers, &mut problems),
            ConfigChange::Etcd(snapshot) => layers.with(Layer::Etcd, snapshot.values(&mut problems)),
            ConfigChange::Api(patch) => {
                let values = patch.values(layers.values(Layer::Api), &mut problems);
                layers.with(Layer::Api, values)
            }
        };
        layers.check(problems)
    }

    fn accept(&mut self, running: &Config, accepted: Loaded) -> Reload {
        let reload = live::reload(running, &accepted.config);
        let (now, wanted) = (Draft::from(reload.config.clone()), Draft::from(accepted.config.clone()));
        for (n, key) in KEYS.iter().enumerate() {
            // The same value may come from somewhere else by now.
            if key.is_same(&now, &wanted) {
                self.origins[n] = accepted.origins[n].clone();
            }
        }
        self.accepted = accepted;
        reload
    }

    /// What `GET /v1/config` shows.
    pub fn view(&self, edition: u64, running: &Config) -> View {
        let (now, wanted) = (Draft::from(running.clone()), Draft::from(self.accepted.config.clone()));
        let values = KEYS.iter().enumerate().map(|(n, key)| {
            let place = |draft: &Draft, origin: &Origin| Located {
                value: key.json(draft),
                source: origin.source(),
                origin: origin.to_string(),
            };
            let at_start = (!key.is_same(&now, &wanted)).then(|| place(&wanted, &self.accepted.origins[n]));
            let shown =
                Shown { place: place(&now, &self.origins[n]), live: key.effect == Effect::AtOnce, at_start };
            (key.path(), shown)
        });
        let problems = self.refused.iter().flat_map(|(source, problems)| {
            problems.iter().map(|problem| RefusedValue { source: *source, told: Told::of(problem) })
        });
        View { edition, values: values.collect(), problems: problems.collect() }
    }
}

/// The answer to `GET /v1/config`. No password is in it.
#[derive(Clone, Debug, Serialize)]
pub struct View {
    edition: u64,
    values: BTreeMap<String, Shown>,
    problems: Vec<RefusedValue>,
}

#[derive(Clone, Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    place: Located,
    live: bool,
    /// What the next start will take, when that is another value.
    #[serde(skip_serializing_if = "Option::is_none")]
    at_start: Option<Located>,
}

#[derive(Clone, Debug, Serialize)]
struct Located {
    value: Value,
    source: &'static str,
    origin: String,
}

#[derive(Clone, Debug, Serialize)]
struct RefusedValue {
    source: Source,
    #[serde(flatten)]
    told: Told,
}

/// A problem for a program: the key, and the rest as a sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    /// `section.key`, when the problem has one.
    pub key: Option<String>,
    /// Where, what is wrong, and what to do.
    pub message: String,
}

impl Told {
    /// A problem as the API tells it; what the API itself gave needs no place.
    pub fn of(problem: &Problem) -> Self {
        let Problem { key, origin, wrong, remedy } = problem;
        let message = match origin {
            Origin::Api => format!("{wrong}; {remedy}"),
            _ => format!("{origin}: {wrong}; {remedy}"),
        };
        Self { key: key.clone(), message }
    }
}

#[cfg(test)]
mod tests {
    use super::super::given::Given;
    use super::super::keys::{self, Kind};
    use super::super::print;
    use super::*;

    /// Settings and what runs by them.
    struct Process {
        settings: Settings,
        running: Config,
    }

    impl Process {
        fn start(environment: &[(&str, &str)]) -> Self {
            let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into()));
            let loaded = raw::load(&Flags::default(), environment).expect("a good start");
            Self { running: loaded.config.clone(), settings: Settings::new(loaded) }
        }

        fn offer(&mut self, change: ConfigChange<'_>) -> Result<Vec<String>, Problems> {
            let reload = self.settings.offer(&self.running, change)?;
            self.running = reload.config;
            Ok(reload.live)
        }

        fn patch(&mut self, body: &str) -> Result<Vec<String>, Problems> {
            self.offer(ConfigChange::Api(&Patch::parse(body.as_bytes()).expect("an object")))
        }

        fn etcd(&mut self, entries: &[(&str, &str)]) -> Result<Vec<String>, Problems> {
            let bytes = |text: &str| text.as_bytes().to_vec();
            let entries = entries.iter().map(|(name, value)| (bytes(name), bytes(value))).collect();
            let prefix = "/f/".into();
            self.offer(ConfigChange::Etcd(&Snapshot { revision: 1, prefix, incomplete: None, entries }))
        }

        fn shown(&self, key: &str) -> Value {
            let view = self.settings.view(1, &self.running);
            serde_json::to_value(&view).expect("JSON")["values"][key].clone()
        }

        fn problems(&self) -> Value {
            serde_json::to_value(self.settings.view(1, &self.running)).expect("JSON")["problems"].clone()
        }
    }

    #[test]
    fn a_value_is_shown_with_its_place() {
        let mut process = Process::start(&[("FANFARE_MERGE_DELAY_MS", "7")]);
        let shown = |value: u64, source: &str, origin: &str| serde_json::json!({"value": value, "source": source, "origin": origin, "live": true});
        assert_eq!(process.shown("merge.delay_ms"), shown(7, "environment", "FANFARE_MERGE_DELAY_MS"));
        assert_eq!(
            process.etcd(&[("merge.delay_ms", "8"), ("pacing.rate", "500")]).expect("good"),
            ["pacing.rate"]
        );
        assert_eq!(process.shown("merge.delay_ms"), shown(7, "environment", "FANFARE_MERGE_DELAY_MS"));
        assert_eq!(process.shown("pacing.rate"), shown(500, "etcd", "etcd /f/pacing.rate"));
        assert_eq!(process.patch(r#"{"merge.delay_ms": 9}"#).expect("good"), ["merge.delay_ms"]);
        assert_eq!(process.shown("merge.delay_ms"), shown(9, "api", "PATCH /v1/config"));
        assert_eq!(process.patch(r#"{"merge.delay_ms": null}"#).expect("good"), ["merge.delay_ms"]);
        assert_eq!(process.shown("merge.delay_ms"), shown(7, "environment", "FANFARE_MERGE_DELAY_MS"));
        assert_eq!(process.etcd(&[]).expect("good"), ["pacing.rate"]);
        assert_eq!(process.shown("pacing.rate"), shown(0, "default", "default"));
    }

    #[test]
    fn one_bad_key_refuses_the_whole_change_until_it_is_mended() {
        let mut process = Process::start(&[]);
        process.etcd(&[("pacing.rate", "500")]).expect("good");
        let before = process.running.clone();
        let refused =
            process.etcd(&[("pacing.rate", "800"), ("log.level", "\"loud\"")]).expect_err("no level");
        assert_eq!((refused.0.len(), &process.running), (1, &before));
        assert!(process.settings.is_refused(Source::Etcd));
        let problem = &process.problems()[0];
        assert_eq!((&problem["source"], &problem["key"]), (&"etcd".into(), &"log.level".into()));
        let message = problem["message"].as_str().expect("a sentence");
        assert!(message.starts_with("etcd /f/log.level: \"loud\" is no log level; give off,"), "{message}");
        // Another source's change neither lifts the refusal nor is held up by it.
        process.patch(r#"{"merge.delay_ms": 9}"#).expect("good");
        assert_eq!(process.problems().as_array().map(Vec::len), Some(1));
        assert_eq!(process.etcd(&[("pacing.rate", "800")]).expect("mended"), ["pacing.rate"]);
        assert_eq!(process.problems(), serde_json::json!([]));
    }

    #[test]
    fn keys_that_could_not_be_read_whole_change_nothing_and_are_told() {
        let mut process = Process::start(&[]);
        process.etcd(&[("pacing.rate", "500")]).expect("good");
        let before = process.running.clone();
        let incomplete = Some("there are more than 9 keys".into());
        let partial = Snapshot { incomplete, prefix: "/f/".into(), ..Snapshot::default() };
        let refused = process.offer(ConfigChange::Etcd(&partial)).expect_err("it is no configuration");
        assert_eq!((refused.0.len(), &process.running), (1, &before));
        assert_eq!(process.problems()[0]["source"], "etcd");
        process.patch(r#"{"merge.delay_ms": 9}"#).expect("the other sources go on");
        assert_eq!(process.shown("pacing.rate")["value"], 500);
        assert_eq!(process.etcd(&[("pacing.rate", "600")]).expect("whole again"), ["pacing.rate"]);
        assert_eq!(process.problems(), serde_json::json!([]));
    }

    #[test]
    fn a_change_must_fit_what_the_other_sources_gave() {
        let mut process = Process::start(&[("FANFARE_CLIENTS_AUTO_JOIN", "a,b")]);
        let refused = process.patch(r#"{"clients.topics_max": 1}"#).expect_err("two topics to join");
        assert_eq!(refused.0[0].origin, Origin::Environment("FANFARE_CLIENTS_AUTO_JOIN".into()));
        process.patch(r#"{"clients.topics_max": 2}"#).expect("room for both");
    }

    #[test]
    fn what_waits_for_a_start_is_shown_beside_what_runs() {
        let mut process = Process::start(&[("FANFARE_SERVER_SHARDS", "2")]);
        let flags = Flags::default();
        let variables = vec![("FANFARE_SERVER_SHARDS".into(), "3".into())];
        assert_eq!(process.offer(ConfigChange::Read(&flags, variables)).expect("good"), Vec::<String>::new());
        let place =
            serde_json::json!({"value": 3, "source": "environment", "origin": "FANFARE_SERVER_SHARDS"});
        let shown = process.shown("server.shards");
        assert_eq!((&shown["value"], &shown["live"], &shown["at_start"]), (&2.into(), &false.into(), &place));
        let variables = vec![("FANFARE_SERVER_SHARDS".into(), "2".into())];
        process.offer(ConfigChange::Read(&flags, variables)).expect("good");
        assert_eq!(process.shown("server.shards").get("at_start"), None);
    }

    /// Keys that take any text, and show it: names, patterns, filters.
    const NO_SECRETS: [&str; 8] = [
        "api.hosts",
        "redis.prefix",
        "clients.subprotocols",
        "clients.auto_join",
        "events.name",
        "log.level",
        "etcd.prefix",
        "etcd.user",
    ];

    #[test]
    fn no_secret_of_any_key_is_shown_anywhere() {
        let user = (
            keys::position("etcd", "user").expect("a key"),
            Given::Plain("dev".into()),
            Origin::Flag("--user"),
        );
        let mut taken = Vec::new();
        for (n, key) in KEYS.iter().enumerate() {
            let path = key.path();
            let has_secret = matches!(key.kind, Kind::Secret { .. } | Kind::Url { .. });
            for text in [
                "hunter2",
                "redis://dev:hunter2@cache",
                "rediss://:hunter2@cache:1/3",
                "unix://:hunter2@/run/redis.sock",
                "https://backend/hunter2",
                "https://backend:8443?token=hunter2",
                "https://hunter2@backend/",
                "http://dev:hunter2@backend:2379",
            ] {
                for given in [Given::Plain(text.into()), Given::List(vec![Given::Text(text.into())])] {
                    let mut values = vec![(n, given, Origin::Flag("--x"))];
                    if path == "etcd.password" {
                        values.push(user.clone());
                    }
                    let shown = match Layers::default().with(Layer::Flags, values).check(Vec::new()) {
                        Ok(loaded) => {
                            taken.push(path.clone());
                            let settings = Settings::new(loaded.clone());
                            let view = settings.view(1, &loaded.config);
                            let json = serde_json::to_string(&view).expect("JSON");
                            let (file, summary) = (print::to_toml(&loaded), print::Summary(&loaded.config));
                            format!("{json} {file} {summary} {loaded:?} {settings:?} {view:?}")
                        }
                        // A text that is no URL may be quoted where no secret belongs.
                        Err(problems) if has_secret || text.contains('@') => {
                            format!("{problems} {problems:?}")
                        }
                        Err(_) => continue,
                    };
                    if !NO_SECRETS.contains(&path.as_str()) {
                        assert!(!shown.contains("hunter2"), "{path} = {text}: {shown}");
                    }
                }
            }
        }
        for key in ["redis.url", "events.webhook", "etcd.password"] {
            assert!(taken.iter().any(|path| path == key), "{key} takes none of these");
        }
    }

    #[test]
    fn a_number_in_the_place_of_a_secret_is_not_quoted() {
        for (n, key) in KEYS.iter().enumerate() {
            if let Kind::Secret { .. } | Kind::Url { .. } = key.kind {
                let values = vec![(n, Given::Whole(271_828_182), Origin::Flag("--x"))];
                let problems = Layers::default().with(Layer::Flags, values).check(Vec::new());
                assert!(!problems.expect_err("no text").to_string().contains("271828182"), "{}", key.path());
            }
        }
    }

    #[test]
    fn no_password_is_shown() {
        let process = Process::start(&[
            ("FANFARE_REDIS_URL", "redis://dev:hunter2@cache"),
            ("FANFARE_ETCD_USER", "dev"),
            ("FANFARE_ETCD_PASSWORD", "hunter2"),
        ]);
        let view = process.settings.view(1, &process.running);
        let text = serde_json::to_string(&view).expect("JSON");
        assert!(!text.contains("hunter2") && text.contains("redis://dev:***@cache"), "{text}");
        assert!(!format!("{:?} {view:?}", process.settings).contains("hunter2"));
    }
}
