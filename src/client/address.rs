//! Where the gateway's API is. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Host and port of an API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// As it stands in a URL: a name, `127.0.0.1`, `[::1]`.
    host: String,
    port: u16,
}

/// Why a text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadAddress {
    /// `https://`
    Tls,
    /// Another scheme.
    Scheme,
    /// Something behind host and port.
    Path,
    /// No port, or none from 1 to 65535.
    Port,
    /// No host, or no text that can be one.
    Host,
}

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => {
                "the gateway's API speaks no TLS: use http://, through an SSH tunnel if it is on another host"
            }
            Self::Scheme => "only http:// is spoken",
            Self::Path => "leave out what follows the port",
            Self::Port => "it needs a port, such as http://127.0.0.1:7799",
            Self::Host => "it needs a host, such as http://127.0.0.1:7799",
        })
    }
}

impl Address {
    /// `http://host:port`, or only `host:port`.
    pub fn parse(text: &str) -> Result<Self, BadAddress> {
        let rest = match text.split_once("://") {
            None => text,
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => return Err(BadAddress::Tls),
            Some(_) => return Err(BadAddress::Scheme),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err(BadAddress::Path);
        }
        let after_host = rest.rfind(']').map_or(0, |bracket| bracket + 1);
        let colon = rest[after_host..].find(':').ok_or(BadAddress::Port)? + after_host;
        let (host, port) = (&rest[..colon], &rest[colon + 1..]);
        if !is_host(host) {
            return Err(BadAddress::Host);
        }
        match port.parse() {
            Ok(0) | Err(_) => Err(BadAddress::Port),
            Ok(port) => Ok(Self { host: host.to_owned(), port }),
        }
    }

    /// Where to connect to reach who listens there: a listener on every address is on this host's own.
    pub fn of_listener(listen: SocketAddr) -> Self {
        let ip = match listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let host = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
        Self { host, port: listen.port() }
    }

    /// The URL of a path, which begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{self}{path}")
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

fn is_host(host: &str) -> bool {
    if let Some(ip) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return ip.parse::<Ipv6Addr>().is_ok();
    }
    !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port_with_or_without_the_scheme() {
        for (text, url) in [
            ("127.0.0.1:7799", "http://127.0.0.1:7799/stats"),
            ("http://127.0.0.1:7799", "http://127.0.0.1:7799/stats"),
            ("HTTP://gateway-3.internal:80/", "http://gateway-3.internal:80/stats"),
            ("[::1]:7799", "http://[::1]:7799/stats"),
        ] {
            assert_eq!(
                Address::parse(text).map(|address| address.url("/stats")),
                Ok(url.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_address_says_what_is_wrong() {
        for (text, wrong) in [
            ("https://gateway:7799", BadAddress::Tls),
            ("ws://gateway:7799", BadAddress::Scheme),
            ("http://gateway:7799/v1", BadAddress::Path),
            ("gateway", BadAddress::Port),
            ("gateway:0", BadAddress::Port),
            ("gateway:65536", BadAddress::Port),
            ("[::1]", BadAddress::Port),
            (":7799", BadAddress::Host),
            ("user@gateway:7799", BadAddress::Host),
            ("[::g]:7799", BadAddress::Host),
            ("::1:7799", BadAddress::Host),
        ] {
            assert_eq!(Address::parse(text), Err(wrong), "{text}");
        }
    }

    #[test]
    fn who_listens_everywhere_is_asked_on_this_host() {
        let address = |listen: &str| Address::of_listener(listen.parse().expect("an address")).to_string();
        assert_eq!(address("0.0.0.0:7799"), "127.0.0.1:7799");
        assert_eq!(address("[::]:7799"), "[::1]:7799");
        assert_eq!(address("10.0.0.7:80"), "10.0.0.7:80");
    }

    proptest! {
        #[test]
        fn what_parses_is_a_url_of_the_same_address(text in "(http://)?[a-z\\[\\]:0-9./@]{0,20}") {
            if let Ok(address) = Address::parse(&text) {
                prop_assert_eq!(Address::parse(&address.url("/")), Ok(address));
            }
        }
    }
}
