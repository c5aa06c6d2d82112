//! The environment: `FANFARE_SECTION_KEY`.
//!
//! Blanks around a value are no part of it: files of variables and mounted secrets end in a newline. An empty value is one
//! that is not given, unless its key takes the empty text. *Not here*: what a key takes (`keys`).

use std::ffi::{OsStr, OsString};

use super::Config;
use super::given::Given;
use super::keys::{Draft, KEYS, Key, Kind};
use super::problem::{Origin, Problem, closest};

/// What every variable of the program begins with.
const PREFIX: &str = "FANFARE_";

/// Reads the variables of keys: each key's position in [`KEYS`], its text and its name. A value that is no text is added
/// to `problems`.
pub(super) fn read(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    problems: &mut Vec<Problem>,
) -> Vec<(usize, Given, Origin)> {
    let mut ours: Vec<(usize, String, OsString)> = variables
        .into_iter()
        .filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            Some((position(&name)?, name, value))
        })
        .collect();
    // The environment has no order of its own; problems are told in the same one each time.
    ours.sort_unstable();

    let mut given = Vec::new();
    for (key, name, value) in ours {
        match value.into_string() {
            Ok(text) => {
                let value = value_of(&KEYS[key], &text);
                given.extend(value.map(|value| (key, value, Origin::Environment(name))));
            }
            Err(_) => problems.push(Problem {
                key: Some(KEYS[key].path()),
                origin: Origin::Environment(name),
                wrong: "the value is not UTF-8".into(),
                remedy: KEYS[key].kind.remedy(),
            }),
        }
    }
    given
}

/// What a variable gives its key: nothing, when it is empty and the key does not take the empty text.
fn value_of(key: &Key, text: &str) -> Option<Given> {
    let text = match key.kind {
        // Blanks may belong to a password, the newline at the end of its file does not.
        Kind::Secret { .. } => text.trim_end_matches(['\r', '\n']),
        _ => text.trim(),
    };
    let given = Given::Plain(text.to_owned());
    let is_value = !text.is_empty() || key.set(&given, &mut Draft::from(Config::default())).is_ok();
    is_value.then_some(given)
}

/// Warnings of the variables that begin with [`PREFIX`] and are no keys'. Others may put such there for reasons of their
/// own, so they are no mistakes; Kubernetes does, and is not even told.
pub(super) fn unknown<'a>(variables: impl Iterator<Item = (&'a OsStr, &'a OsStr)>) -> Vec<Problem> {
    let mut names: Vec<&str> = variables
        .filter_map(|(name, value)| Some((name.to_str()?, value)))
        .filter(|(name, value)| {
            name.starts_with(PREFIX) && position(name).is_none() && !is_kubernetes_service(name, value)
        })
        .map(|(name, _)| name)
        .collect();
    names.sort_unstable();
    names.into_iter().map(warning).collect()
}

fn position(name: &str) -> Option<usize> {
    KEYS.iter().position(|key| key.variable() == name)
}

/// Whether Kubernetes put the variable there. It describes each service of a namespace to every pod in it, so that a
/// service named `fanfare` or `fanfare-api` makes variables that begin as ours do: `FANFARE_SERVICE_HOST`,
/// `FANFARE_SERVICE_PORT[_NAME]`, `FANFARE_PORT`, `FANFARE_PORT_7777_TCP[_ADDR|_PORT|_PROTO]`.
fn is_kubernetes_service(name: &str, value: &OsStr) -> bool {
    let is_port = |text: &str| {
        let mut words = text.split('_');
        words.next().is_some_and(|number| number.parse::<u16>().is_ok())
            && words.next().is_some_and(|protocol| ["TCP", "UDP", "SCTP"].contains(&protocol))
    };
    // FANFARE_API_PORT=8080 is somebody who means the API's port.
    let is_url = value.to_str().is_some_and(|value| value.contains("://"));
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && is_url)
        || name.match_indices("_PORT_").any(|(at, separator)| is_port(&name[at + separator.len()..]))
}

fn warning(name: &str) -> Problem {
    let known: Vec<String> = KEYS.iter().map(Key::variable).collect();
    // Without the prefix and a section that is right: what both have would make any two of them alike.
    let section_end = name[PREFIX.len()..].find('_').map_or(PREFIX.len(), |at| PREFIX.len() + at + 1);
    let section = &name[..section_end];
    let is_section = known.iter().any(|known| section.len() > PREFIX.len() && known.starts_with(section));
    let skipped = if is_section { section } else { PREFIX };
    let meant = closest(&name[skipped.len()..], known.iter().filter_map(|known| known.strip_prefix(skipped)));
    Problem {
        key: None,
        remedy: meant.map_or_else(
            || "a key's variable is FANFARE_SECTION_KEY, such as FANFARE_SERVER_LISTEN".into(),
            |meant| format!("did you mean {skipped}{meant}?"),
        ),
        origin: Origin::Environment(name.into()),
        wrong: "no key has this variable, so it does nothing".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    /// What is given, and the warnings.
    fn read_all(variables: &[(&str, &str)]) -> (Vec<(usize, Given, Origin)>, Vec<String>) {
        let mut problems = Vec::new();
        let given = read(variables.iter().map(|(name, value)| (name.into(), value.into())), &mut problems);
        assert_eq!(problems, []);
        let warnings = unknown(variables.iter().map(|(name, value)| (OsStr::new(name), OsStr::new(value))));
        (given, warnings.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_key_has_a_variable() {
        for (n, key) in KEYS.iter().enumerate() {
            let name = key.variable();
            let (given, warnings) = read_all(&[(&name, "x")]);
            assert_eq!(given, [(n, Given::Plain("x".into()), Origin::Environment(name))]);
            assert_eq!(warnings, [] as [&str; 0]);
        }
    }

    #[test]
    fn an_unknown_variable_is_a_warning_and_other_programs_variables_are_not() {
        let (given, warnings) = read_all(&[
            ("PATH", "/bin"),
            ("FANFARE_SERVER_LISTN", "x"),
            ("FANFARE_MERGE_DELAY", "x"),
            ("FANFARE_QQQ", "x"),
            ("FANFARE_", ""),
            ("FANFARE_API_PORT", "8080"),
        ]);
        assert_eq!(given, []);
        let warning = |name: &str, remedy: &str| {
            format!("{name}: no key has this variable, so it does nothing; {remedy}")
        };
        let any = "a key's variable is FANFARE_SECTION_KEY, such as FANFARE_SERVER_LISTEN";
        assert_eq!(
            warnings,
            [
                warning("FANFARE_", any),
                warning("FANFARE_API_PORT", any),
                warning("FANFARE_MERGE_DELAY", "did you mean FANFARE_MERGE_DELAY_MS?"),
                warning("FANFARE_QQQ", any),
                warning("FANFARE_SERVER_LISTN", "did you mean FANFARE_SERVER_LISTEN?"),
            ]
        );
    }

    #[test]
    fn what_kubernetes_says_about_services_is_not_ours() {
        let (given, warnings) = read_all(&[
            ("FANFARE_SERVICE_HOST", "10.0.0.1"),
            ("FANFARE_SERVICE_PORT", "7777"),
            ("FANFARE_SERVICE_PORT_DEVICES", "7777"),
            ("FANFARE_PORT", "tcp://10.0.0.1:7777"),
            ("FANFARE_PORT_7777_TCP", "tcp://10.0.0.1:7777"),
            ("FANFARE_PORT_7777_TCP_ADDR", "10.0.0.1"),
            ("FANFARE_API_PORT_7799_TCP_PROTO", "tcp"),
        ]);
        assert_eq!((given, warnings), (vec![], vec![]));
        let url = OsStr::new("tcp://10.0.0.1:80");
        assert!(KEYS.iter().all(|key| !is_kubernetes_service(&key.variable(), url)));
    }

    #[test]
    fn a_value_that_is_not_text_is_a_problem() {
        let mut problems = Vec::new();
        read([("FANFARE_LOG_LEVEL".into(), OsString::from_vec(vec![0xff]))], &mut problems);
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].key.as_deref(), Some("log.level"));
    }
}
