//! The environment: `FANFARE_SECTION_KEY`.

use std::ffi::OsString;

use super::given::Given;
use super::keys::{KEYS, Key};
use super::problem::{Origin, Problem, closest};

/// What every variable of the program begins with.
const PREFIX: &str = "FANFARE_";

/// Reads the variables that begin with [`PREFIX`]: a known key's position in [`KEYS`], its text and its name. What is
/// no key is added to `problems`.
pub(super) fn read(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    problems: &mut Vec<Problem>,
) -> Vec<(usize, Given, Origin)> {
    let mut ours: Vec<(String, OsString)> = variables
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with(PREFIX) && !is_kubernetes_service(name))
        .collect();
    // The environment has no order of its own; problems are told in the same one each time.
    ours.sort_unstable();

    let mut given = Vec::new();
    for (name, value) in ours {
        let Some(key) = KEYS.iter().position(|key| key.variable() == name) else {
            problems.push(unknown(name));
            continue;
        };
        match value.into_string() {
            Ok(text) => given.push((key, Given::Plain(text), Origin::Environment(name))),
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

/// Whether Kubernetes put the variable there. It describes each service of a namespace to every pod in it, so that a
/// service named `fanfare` or `fanfare-api` makes variables that begin as ours do: `FANFARE_SERVICE_HOST`,
/// `FANFARE_SERVICE_PORT[_NAME]`, `FANFARE_PORT`, `FANFARE_PORT_7777_TCP[_ADDR|_PORT|_PROTO]`.
fn is_kubernetes_service(name: &str) -> bool {
    let is_port = |text: &str| {
        let mut words = text.split('_');
        words.next().is_some_and(|number| number.parse::<u16>().is_ok())
            && words.next().is_some_and(|protocol| ["TCP", "UDP", "SCTP"].contains(&protocol))
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.ends_with("_PORT")
        || name.match_indices("_PORT_").any(|(at, separator)| is_port(&name[at + separator.len()..]))
}

fn unknown(name: String) -> Problem {
    let known: Vec<String> = KEYS.iter().map(Key::variable).collect();
    // Without the prefix, which would make any two of them alike.
    let meant = closest(&name[PREFIX.len()..], known.iter().map(|known| &known[PREFIX.len()..]));
    Problem {
        key: None,
        remedy: meant.map_or_else(
            || "unset it; every key's variable is FANFARE_SECTION_KEY, such as FANFARE_SERVER_LISTEN".into(),
            |meant| format!("did you mean {PREFIX}{meant}?"),
        ),
        origin: Origin::Environment(name),
        wrong: "no key has this variable".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn read_all(variables: &[(&str, &str)]) -> (Vec<(usize, Given, Origin)>, Vec<String>) {
        let mut problems = Vec::new();
        let given = read(variables.iter().map(|(name, value)| (name.into(), value.into())), &mut problems);
        (given, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_key_has_a_variable() {
        for (n, key) in KEYS.iter().enumerate() {
            let name = key.variable();
            let (given, problems) = read_all(&[(&name, "x")]);
            assert_eq!(given, [(n, Given::Plain("x".into()), Origin::Environment(name))]);
            assert!(problems.is_empty());
        }
    }

    #[test]
    fn an_unknown_variable_is_a_problem_and_other_programs_variables_are_not() {
        let (given, problems) = read_all(&[
            ("PATH", "/bin"),
            ("FANFARE_SERVER_LISTN", "x"),
            ("FANFARE_MERGE_DELAY", "x"),
            ("FANFARE_QQQ", "x"),
        ]);
        assert_eq!(given, []);
        assert_eq!(
            problems,
            [
                "FANFARE_MERGE_DELAY: no key has this variable; did you mean FANFARE_MERGE_DELAY_MS?",
                "FANFARE_QQQ: no key has this variable; unset it; every key's variable is FANFARE_SECTION_KEY, such \
                 as FANFARE_SERVER_LISTEN",
                "FANFARE_SERVER_LISTN: no key has this variable; did you mean FANFARE_SERVER_LISTEN?",
            ]
        );
    }

    #[test]
    fn what_kubernetes_says_about_services_is_not_ours() {
        let (given, problems) = read_all(&[
            ("FANFARE_SERVICE_HOST", "10.0.0.1"),
            ("FANFARE_SERVICE_PORT", "7777"),
            ("FANFARE_SERVICE_PORT_DEVICES", "7777"),
            ("FANFARE_PORT", "tcp://10.0.0.1:7777"),
            ("FANFARE_PORT_7777_TCP", "tcp://10.0.0.1:7777"),
            ("FANFARE_PORT_7777_TCP_ADDR", "10.0.0.1"),
            ("FANFARE_API_PORT_7799_TCP_PROTO", "tcp"),
        ]);
        assert_eq!((given, problems), (vec![], vec![]));
        assert!(KEYS.iter().all(|key| !is_kubernetes_service(&key.variable())));
    }

    #[test]
    fn a_value_that_is_not_text_is_a_problem() {
        let mut problems = Vec::new();
        read([("FANFARE_LOG_LEVEL".into(), OsString::from_vec(vec![0xff]))], &mut problems);
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].key.as_deref(), Some("log.level"));
    }
}
