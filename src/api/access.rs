//! From where a request may come: no web page of another site publishes or configures. Pure.
//!
//! A browser sends any page's requests to any address. Of those that it sends without asking first (forms, plain text) it
//! tells the page's origin. After DNS rebinding (a name of the page's site that resolves to this host) it takes the page for
//! one of this host and sends whatever the page wants, but with that name as Host. Backends, probes and command lines
//! send no Origin, and an address as Host; a name is for the operator to list.
//! *Not here*: who the caller is (nobody is asked), which paths are probes (`head`).

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::api::refusal::{Code, Refusal};
use crate::config;

/// An entry of `api.hosts` that stands for every name.
const ANY_HOST: &str = "*";
/// Bytes of a Host or an Origin that a sentence quotes.
const QUOTED_BYTES_MAX: usize = 100;

/// What a head says about where its request comes from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Provenance<'a> {
    /// Host and port of a target in absolute form (`GET http://host/path`).
    pub target: Option<&'a [u8]>,
    /// The Host field; HTTP/1.0 does without.
    pub host: Option<&'a [u8]>,
    /// The Origin field, the last one.
    pub origin: Option<&'a [u8]>,
    /// There are several Origin fields.
    pub has_several_origins: bool,
    /// The first Sec-Fetch-Site field that names another site than this one.
    pub other_site: Option<&'a [u8]>,
}

/// What a Sec-Fetch-Site field says when no other site has a hand in the request: a page of this origin, or a person.
pub fn is_own_site(value: &[u8]) -> bool {
    value == b"same-origin" || value == b"none"
}

/// Whether the request may be answered. `any_host`: it reads what anybody may know.
pub fn check(rules: &config::Api, from: &Provenance<'_>, any_host: bool) -> Result<(), Refusal> {
    let mut own = None;
    // RFC 9112, section 3.2.2 has the Host field ignored beside an absolute target; here both must be allowed.
    for text in [from.host, from.target].into_iter().flatten() {
        let authority = Authority::parse(text).ok_or_else(|| bad_host(text))?;
        if !any_host && !authority.is_allowed(&rules.hosts) {
            return Err(foreign_host(authority.host));
        }
        own = Some(authority);
    }
    let is_listed = match from.origin {
        None => false,
        Some(origin) if from.has_several_origins => return Err(foreign_origin(origin)),
        Some(origin) if rules.origins.iter().any(|listed| is_listed_as(listed, origin)) => true,
        Some(origin) if own.as_ref().is_some_and(|own| own.is_origin(origin)) => false,
        Some(origin) => return Err(foreign_origin(origin)),
    };
    match from.other_site {
        Some(site) if !is_listed => Err(Refusal::new(
            Code::ForeignOrigin,
            format!(
                "a web page of another site sent this (Sec-Fetch-Site: {}); only those of this address and of api.origins may",
                quoted(site)
            ),
        )),
        _ => Ok(()),
    }
}

/// `host[:port]`, as RFC 3986 writes it, without user information.
#[derive(Debug)]
struct Authority<'a> {
    /// An IPv6 address in its brackets.
    host: &'a str,
    port: Option<u16>,
}

impl<'a> Authority<'a> {
    fn parse(text: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let end =
            if text.starts_with('[') { text.find(']')? + 1 } else { text.find(':').unwrap_or(text.len()) };
        let (host, rest) = text.split_at(end);
        let is_host = if host.starts_with('[') {
            ipv6(host).is_some()
        } else {
            !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        };
        let port = match rest.strip_prefix(':') {
            None if rest.is_empty() => None,
            // A colon without digits is the scheme's own port.
            Some("") => None,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
            _ => return None,
        };
        is_host.then_some(Self { host, port })
    }

    fn is_allowed(&self, hosts: &[String]) -> bool {
        // `localhost.` is the same name, written in full.
        let name = self.host.strip_suffix('.').unwrap_or(self.host);
        self.host.starts_with('[')
            || self.host.parse::<Ipv4Addr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || hosts.iter().any(|listed| listed == ANY_HOST || listed.eq_ignore_ascii_case(name))
    }

    /// Whether a page of that origin comes from this host and port. TLS may have ended before it came here.
    fn is_origin(&self, origin: &[u8]) -> bool {
        let Some((default_port, rest)) = [(80, &b"http://"[..]), (443, b"https://")]
            .into_iter()
            .find_map(|(port, scheme)| Some((port, strip_prefix_any_case(origin, scheme)?)))
        else {
            return false;
        };
        Authority::parse(rest).is_some_and(|page| {
            page.host.eq_ignore_ascii_case(self.host)
                && page.port.unwrap_or(default_port) == self.port.unwrap_or(default_port)
        })
    }
}

/// The address in brackets, whose zone (`%eth0`, or `%25eth0` as in a URL) means something to its sender only.
fn ipv6(host: &str) -> Option<Ipv6Addr> {
    let inside = host.strip_prefix('[')?.strip_suffix(']')?;
    let (address, zone) =
        inside.split_once('%').map_or((inside, None), |(address, zone)| (address, Some(zone)));
    let is_zone = |zone: &str| {
        !zone.is_empty() && zone.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
    };
    zone.is_none_or(is_zone).then(|| address.parse().ok()).flatten()
}

fn strip_prefix_any_case<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// A listed origin is in lower case and without its scheme's own port, as browsers write them.
fn is_listed_as(listed: &str, origin: &[u8]) -> bool {
    listed.as_bytes().eq_ignore_ascii_case(origin)
}

/// What a request says of itself, for a sentence.
fn quoted(text: &[u8]) -> Cow<'_, str> {
    let printable = |byte: &u8| if byte.is_ascii_graphic() { char::from(*byte) } else { '?' };
    if text.len() <= QUOTED_BYTES_MAX && text.iter().all(u8::is_ascii_graphic) {
        return String::from_utf8_lossy(text);
    }
    let mut cut: String = text.iter().take(QUOTED_BYTES_MAX).map(printable).collect();
    if text.len() > QUOTED_BYTES_MAX {
        cut.push('…');
    }
    cut.into()
}

fn bad_host(text: &[u8]) -> Refusal {
    let message = format!("Host is no name or address with or without a port: {}", quoted(text));
    Refusal::new(Code::BadRequest, message)
}

fn foreign_host(host: &str) -> Refusal {
    let host = quoted(host.as_bytes());
    let message = format!(
        "Host {host} is neither an IP address nor localhost nor in api.hosts; if this gateway is to be reached by that name, \
         set api.hosts = [\"{host}\"]"
    );
    Refusal::new(Code::ForeignHost, message)
}

fn foreign_origin(origin: &[u8]) -> Refusal {
    let message = format!(
        "a web page of Origin {} sent this; only those of this address and of api.origins may",
        quoted(origin)
    );
    Refusal::new(Code::ForeignOrigin, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Config;

    fn rules(hosts: &[&str], origins: &[&str]) -> config::Api {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        config::Api { hosts: texts(hosts), origins: texts(origins), ..Config::default().api }
    }

    fn outcome(rules: &config::Api, from: &Provenance<'_>) -> Result<(), Code> {
        check(rules, from, false).map_err(|refusal| refusal.code)
    }

    fn host(rules: &config::Api, host: &str) -> Result<(), Code> {
        outcome(rules, &Provenance { host: Some(host.as_bytes()), ..Provenance::default() })
    }

    fn origin(rules: &config::Api, host: &str, origin: &str) -> Result<(), Code> {
        let (host, origin) = (Some(host.as_bytes()), Some(origin.as_bytes()));
        outcome(rules, &Provenance { host, origin, ..Provenance::default() })
    }

    #[test]
    fn an_address_and_localhost_are_hosts_and_no_other_name_is() {
        let rules = rules(&[], &[]);
        for good in [
            "127.0.0.1",
            "127.0.0.1:7799",
            "10.1.2.3:1",
            "0.0.0.0:7799",
            "[::1]",
            "[::1]:7799",
            "[FE80::1%25eth0]:80",
            "[fe80::1%eth0]",
            "[::ffff:127.0.0.1]:7799",
            "localhost",
            "LocalHost:7799",
            "localhost.:7799",
            "localhost:",
        ] {
            assert_eq!(host(&rules, good), Ok(()), "{good}");
        }
        for name in [
            "evil.example",
            "evil.example:7799",
            "localhost.evil.example",
            "evil.localhost",
            "127.0.0.1.evil.example",
            "127.0.0.1.",
            "localhost..",
            "2130706433",
            "0x7f.1",
            "127.1",
            "010.0.0.1",
            "1.2.3.4.5",
            "xn--lcalhost-n1a",
        ] {
            assert_eq!(host(&rules, name), Err(Code::ForeignHost), "{name}");
        }
        for bad in [
            "",
            ":7799",
            "localhost:x",
            "localhost:+1",
            "localhost:65536",
            "localhost:7799:1",
            "user@localhost",
            "evil.example@127.0.0.1",
            "127.0.0.1@evil.example",
            "localhost/",
            "localhost#evil.example",
            "localhost, evil.example",
            "localhost evil.example",
            "%6cocalhost",
            "localhost%00.evil.example",
            "[::1",
            "[::1]x",
            "[localhost]",
            "[127.0.0.1]",
            "[fe80::1%]",
            "[v1.x]",
            "::1",
            "l\u{f6}calhost",
        ] {
            assert_eq!(host(&rules, bad), Err(Code::BadRequest), "{bad}");
        }
    }

    #[test]
    fn a_listed_name_is_a_host_whatever_its_port_and_case() {
        let listed = rules(&["gateway-3.internal", "fanfare"], &[]);
        for good in ["fanfare", "FANFARE:7799", "gateway-3.internal.:80", "localhost", "127.0.0.1"] {
            assert_eq!(host(&listed, good), Ok(()), "{good}");
        }
        for foreign in ["evil.fanfare", "fanfare.evil.example", "gateway-3", "internal"] {
            assert_eq!(host(&listed, foreign), Err(Code::ForeignHost), "{foreign}");
        }
        assert_eq!(host(&rules(&["*"], &[]), "evil.example"), Ok(()));
        assert_eq!(host(&rules(&["*"], &[]), "evil@example"), Err(Code::BadRequest));
    }

    #[test]
    fn a_page_of_this_address_may_ask_and_no_other() {
        let rules = rules(&["fanfare"], &[]);
        for (at, page) in [
            ("127.0.0.1:7799", "http://127.0.0.1:7799"),
            ("[::1]:7799", "http://[::1]:7799"),
            ("fanfare:7799", "http://FANFARE:7799"),
            ("fanfare", "http://fanfare"),
            ("fanfare:80", "http://fanfare"),
            ("fanfare", "https://fanfare"),
            ("fanfare", "https://fanfare:443"),
        ] {
            assert_eq!(origin(&rules, at, page), Ok(()), "{page} at {at}");
        }
        for (at, page) in [
            ("127.0.0.1:7799", "https://evil.example"),
            ("127.0.0.1:7799", "http://127.0.0.1"),
            ("127.0.0.1:7799", "http://127.0.0.1:3000"),
            ("127.0.0.1:7799", "http://localhost:7799"),
            ("localhost:7799", "http://127.0.0.1:7799"),
            ("127.0.0.1:7799", "null"),
            ("127.0.0.1:7799", ""),
            ("127.0.0.1:7799", "127.0.0.1:7799"),
            ("127.0.0.1:7799", "http://127.0.0.1:7799.evil.example"),
            ("127.0.0.1:7799", "http://127.0.0.1:7799@evil.example"),
            ("127.0.0.1:7799", "http://evil.example:7799#127.0.0.1:7799"),
            ("127.0.0.1:7799", "http://127.0.0.1:7799 https://evil.example"),
            ("127.0.0.1:7799", "ws://127.0.0.1:7799"),
            ("127.0.0.1:7799", "chrome-extension://abcdef"),
            ("fanfare", "https://fanfare:80"),
        ] {
            assert_eq!(origin(&rules, at, page), Err(Code::ForeignOrigin), "{page} at {at}");
        }
    }

    #[test]
    fn a_listed_page_may_ask_though_its_browser_calls_it_another_site() {
        let rules = rules(&[], &["https://admin.example", "chrome-extension://abcdef"]);
        let from = Provenance {
            host: Some(b"127.0.0.1:7799"),
            origin: Some(b"https://Admin.example"),
            other_site: Some(b"cross-site"),
            ..Provenance::default()
        };
        assert_eq!(outcome(&rules, &from), Ok(()));
        assert_eq!(origin(&rules, "127.0.0.1", "chrome-extension://abcdef"), Ok(()));
        for page in ["https://admin.example:8443", "http://admin.example", "https://x.admin.example", "null"]
        {
            assert_eq!(origin(&rules, "127.0.0.1", page), Err(Code::ForeignOrigin), "{page}");
        }
        let twice = Provenance { has_several_origins: true, ..from };
        assert_eq!(outcome(&rules, &twice), Err(Code::ForeignOrigin));
    }

    #[test]
    fn what_another_site_sent_without_an_origin_is_refused() {
        let rules = rules(&["*"], &[]);
        for site in ["cross-site", "same-site", "Same-Origin", "", "none, cross-site", "x"] {
            assert!(!is_own_site(site.as_bytes()), "{site}");
            let from = Provenance {
                host: Some(b"localhost"),
                origin: Some(b"http://localhost"),
                other_site: Some(site.as_bytes()),
                ..Provenance::default()
            };
            assert_eq!(outcome(&rules, &from), Err(Code::ForeignOrigin), "{site}");
            assert_eq!(outcome(&rules, &Provenance { origin: None, ..from }), Err(Code::ForeignOrigin));
        }
        assert!(is_own_site(b"none") && is_own_site(b"same-origin"));
    }

    #[test]
    fn an_absolute_target_and_the_host_beside_it_must_both_be_allowed() {
        let rules = rules(&[], &[]);
        let asked = |target: &'static str, host: Option<&'static str>| {
            let (target, host) = (Some(target.as_bytes()), host.map(str::as_bytes));
            outcome(&rules, &Provenance { target, host, ..Provenance::default() })
        };
        assert_eq!(asked("127.0.0.1:7799", Some("localhost")), Ok(()));
        assert_eq!(asked("evil.example", Some("127.0.0.1")), Err(Code::ForeignHost));
        assert_eq!(asked("127.0.0.1", Some("evil.example")), Err(Code::ForeignHost));
        assert_eq!(asked("evil.example", None), Err(Code::ForeignHost));
        assert_eq!(asked("user@127.0.0.1", None), Err(Code::BadRequest));
        // HTTP/1.0 without a Host: no browser sends that. An Origin has nothing then that it could be.
        assert_eq!(outcome(&rules, &Provenance::default()), Ok(()));
        let page = Provenance { origin: Some(b"http://127.0.0.1"), ..Provenance::default() };
        assert_eq!(outcome(&rules, &page), Err(Code::ForeignOrigin));
    }

    #[test]
    fn the_sentence_names_the_key_and_quotes_no_more_than_it_must() {
        let refusal = |at: &str| {
            let from = Provenance { host: Some(at.as_bytes()), ..Provenance::default() };
            check(&rules(&[], &[]), &from, false).expect_err("foreign").message
        };
        assert!(refusal("gateway.internal:7799").ends_with("set api.hosts = [\"gateway.internal\"]"));
        assert!(refusal(&"a".repeat(10_000)).len() < 500);
        assert!(!refusal("a\u{7}b<script>").contains(char::is_control));
    }

    proptest! {
        #[test]
        fn no_text_but_an_address_or_localhost_is_a_host(
            text in prop_oneof![
                "[a-z0-9.:@/#?\\[\\]% -]{0,20}",
                "(localhost|127\\.0\\.0\\.1|\\[::1\\])[a-z0-9.:@/#?\\[\\]%\\x00 -]{0,8}",
                "[a-z0-9.:@/#?\\[\\]%\\x00 -]{0,8}(localhost|127\\.0\\.0\\.1|\\[::1\\])(:7799)?",
            ],
        ) {
            if host(&rules(&[], &[]), &text) == Ok(()) {
                let (name, port) = text.rsplit_once(':').filter(|(_, port)| !port.contains(']')).unwrap_or((&text, ""));
                prop_assert!(port.bytes().all(|b| b.is_ascii_digit()), "{text}");
                let is_v6 = name.starts_with('[') && name.ends_with(']');
                prop_assert!(is_v6 || name.parse::<Ipv4Addr>().is_ok() || ["localhost", "localhost."].contains(&name), "{text}");
            }
        }
    }
}
