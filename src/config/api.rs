//! What the keys of `[api]` take.
//!
//! *Not here*: which keys there are (`keys`), who is held against the values (`api::access`).

use super::problem::Wrong;
use fanfare_core::limits::API_NAMES_MAX;

/// Longest name of a host (RFC 1035, 2.3.4).
const NAME_BYTES_MAX: usize = 253;

/// Names by which the API may be called, in lower case and without the dot at the end.
pub(super) fn hosts(texts: &[&str]) -> Result<Vec<String>, Wrong> {
    let host = |text: &&str| {
        let name = text.strip_suffix('.').unwrap_or(text);
        let is_name = !name.is_empty()
            && name.len() <= NAME_BYTES_MAX
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        (is_name || name == "*").then(|| name.to_ascii_lowercase())
    };
    let texts = few(texts)?;
    let bad: Vec<_> =
        texts.iter().filter(|text| host(text).is_none()).map(|text| format!("{text:?}")).collect();
    let what = match bad.as_slice() {
        [] => return Ok(texts.iter().filter_map(host).collect()),
        [one] => format!("{one} is not a host's name"),
        several => format!("{} are not hosts' names", several.join(", ")),
    };
    let remedy = "give names without scheme and port such as \"gateway.internal\", or \"*\" for any";
    Err(Wrong { what, remedy: remedy.into() })
}

/// Origins as browsers write them: in lower case, without the scheme's own port.
pub(super) fn origins(texts: &[&str]) -> Result<Vec<String>, Wrong> {
    few(texts)?.iter().map(|text| origin(text)).collect()
}

fn origin(text: &str) -> Result<String, Wrong> {
    let lower = text.to_ascii_lowercase();
    let (scheme, authority) = lower.split_once("://").unwrap_or_default();
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let is_authority = !authority.is_empty()
        && authority.len() <= NAME_BYTES_MAX
        && authority.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b));
    if !is_scheme || !is_authority {
        // The text is not quoted: a password may stand before an @.
        return Err(Wrong {
            what: "an origin is no scheme, host and port alone".into(),
            remedy:
                "give origins such as \"https://admin.example\" or \"http://10.0.0.5:3000\", without a path"
                    .into(),
        });
    }
    let own_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    Ok(format!("{scheme}://{}", authority.strip_suffix(own_port).unwrap_or(authority)))
}

fn few<'a, 'b>(texts: &'a [&'b str]) -> Result<&'a [&'b str], Wrong> {
    if texts.len() <= API_NAMES_MAX {
        return Ok(texts);
    }
    Err(Wrong {
        what: format!("there are more than {API_NAMES_MAX}"),
        remedy: format!("give at most {API_NAMES_MAX}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_alone() {
        assert_eq!(
            hosts(&["Gateway-3.internal.", "fan_fare", "*"]).expect("names"),
            ["gateway-3.internal", "fan_fare", "*"]
        );
        for bad in ["", ".", "a b", "http://a", "a:7799", "*.example", "a/b", "u@a", "[::1]", "\u{f6}"] {
            assert!(hosts(&[bad]).is_err(), "{bad:?}");
        }
        assert!(hosts(&["a"; API_NAMES_MAX + 1]).is_err());
        let wrong = hosts(&["a b", "fine", "c/d"]).expect_err("two of them");
        assert_eq!(wrong.what, r#""a b", "c/d" are not hosts' names"#);
    }

    #[test]
    fn an_origin_is_written_as_browsers_write_it() {
        for (given, kept) in [
            ("https://Admin.example", "https://admin.example"),
            ("https://admin.example:443", "https://admin.example"),
            ("http://10.0.0.5:80", "http://10.0.0.5"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("https://a:80", "https://a:80"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ] {
            assert_eq!(origins(&[given]).expect(given), [kept]);
        }
        for bad in [
            "",
            "null",
            "*",
            "admin.example",
            "https://",
            "https://a/",
            "https://a?x",
            "https://u:hunter2@a",
            "://a",
        ] {
            let wrong = origins(&[bad]).expect_err(bad);
            assert!(!format!("{wrong:?}").contains("hunter2"));
        }
    }
}
