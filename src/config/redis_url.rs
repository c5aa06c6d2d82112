//! `redis://`, `rediss://` and `unix://` URLs: parsing, and printing without the password.
//!
//! ```text
//! redis://[[user]:password@]host[:port][/database]       rediss:// likewise, with TLS
//! unix://[[user]:password@]/path/to/socket
//! ```
//!
//! User, password and path are percent-decoded (RFC 3986, 2.1). The database index is checked and dropped: publish and
//! subscribe know no databases. *Not here*: connecting (`redis`).

use std::ffi::OsString;
use std::fmt;
use std::net::Ipv6Addr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::str::FromStr;

use super::{RedisEndpoint, RedisUrl};
use crate::secret::{HIDDEN, Secret};

/// Where Redis listens unless told otherwise.
const PORT_DEFAULT: u16 = 6379;

/// Longest path of a Unix socket: `sun_path` has 108 bytes, the last one zero (unix(7)).
const UNIX_PATH_BYTES_MAX: usize = 107;

/// Why a text is no Redis URL. No sentence quotes the text: any part of it may be the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRedisUrl {
    /// Not one of the three schemes.
    Scheme,
    /// Nothing where the host should be.
    NoHost,
    /// A host with characters that no host has.
    Host,
    /// `[…]` without an IPv6 address in it.
    Ipv6,
    /// Not a number from 1 to 65535.
    Port,
    /// Not a number.
    Database,
    /// Something follows the database index.
    Trailer,
    /// `%` without two hexadecimal digits, or bytes that are not UTF-8.
    Escape,
    /// `user@` without a password.
    UserAlone,
    /// The password is the stand-in of a printed configuration.
    HiddenPassword,
    /// A Unix socket with a host.
    UnixHost,
    /// A Unix socket without a path, or with one that is too long or has a zero byte.
    UnixPath,
}

impl fmt::Display for BadRedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme => f.write_str("the URL does not begin with redis://, rediss:// or unix://"),
            Self::NoHost => f.write_str("the URL has no host"),
            Self::Host => f.write_str("the host has a character that no host name has"),
            Self::Ipv6 => f.write_str("the brackets do not hold an IPv6 address"),
            Self::Port => f.write_str("the port is not a number from 1 to 65535"),
            Self::Database => f.write_str("what follows the host is not a database index"),
            Self::Trailer => f.write_str("the URL has a query or a fragment, which mean nothing here"),
            Self::Escape => {
                f.write_str("a % is not followed by two hexadecimal digits, or the result is not text")
            }
            Self::UserAlone => f.write_str("the URL has a user and no password, and Redis wants both"),
            Self::HiddenPassword => f.write_str("the password is the *** of a printed configuration"),
            Self::UnixHost => f.write_str("a unix:// URL has a host"),
            Self::UnixPath => {
                write!(f, "a unix:// URL needs an absolute path of at most {UNIX_PATH_BYTES_MAX} bytes")
            }
        }
    }
}

impl BadRedisUrl {
    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::UnixHost | Self::UnixPath => "write unix:///path/to/socket",
            Self::HiddenPassword => "put the real one there, or give the URL in FANFARE_REDIS_URL",
            Self::Scheme => "write redis://host:6379, rediss://host:6379 or unix:///path",
            _ => {
                "write redis://user:password@host:port/0, where only the host is required and @ : / ? # % in the \
                 user or the password are percent-encoded"
            }
        }
    }
}

impl std::error::Error for BadRedisUrl {}

impl FromStr for RedisUrl {
    type Err = BadRedisUrl;

    fn from_str(url: &str) -> Result<Self, BadRedisUrl> {
        let (scheme, rest) = url.split_once("://").ok_or(BadRedisUrl::Scheme)?;
        if !["redis", "rediss", "unix"].contains(&scheme) {
            return Err(BadRedisUrl::Scheme);
        }
        if rest.contains(['?', '#']) {
            return Err(BadRedisUrl::Trailer);
        }
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        // A password that holds an @ nobody encoded: the last one is the separator, a host has none.
        let (user_info, host_port) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = credentials(user_info)?;
        let endpoint = if scheme == "unix" {
            if !host_port.is_empty() {
                return Err(BadRedisUrl::UnixHost);
            }
            RedisEndpoint::Unix(unix_path(path)?)
        } else {
            check_database(path)?;
            let (host, port) = host_and_port(host_port)?;
            if scheme == "redis" {
                RedisEndpoint::Tcp { host, port }
            } else {
                RedisEndpoint::Tls { host, port }
            }
        };
        Ok(Self { endpoint, user, password })
    }
}

/// `user:password`, each possibly empty, an empty one being none; a user needs a password, though it may be empty
/// (`user:@` is how a user without one, `nopass`, is written).
fn credentials(user_info: &str) -> Result<(Option<String>, Option<Secret>), BadRedisUrl> {
    let Some((user, password)) = user_info.split_once(':') else {
        return if user_info.is_empty() { Ok((None, None)) } else { Err(BadRedisUrl::UserAlone) };
    };
    if password == HIDDEN {
        return Err(BadRedisUrl::HiddenPassword);
    }
    let decode = |text: &str| String::from_utf8(percent_decoded(text)?).map_err(|_| BadRedisUrl::Escape);
    let user = Some(decode(user)?).filter(|user| !user.is_empty());
    let password = Some(decode(password)?).filter(|password| user.is_some() || !password.is_empty());
    Ok((user, password.map(Secret::from)))
}

fn host_and_port(text: &str) -> Result<(String, u16), BadRedisUrl> {
    let (host, port) = if let Some(bracketed) = text.strip_prefix('[') {
        let (host, after) = bracketed.split_once(']').ok_or(BadRedisUrl::Ipv6)?;
        let host: Ipv6Addr = host.parse().map_err(|_| BadRedisUrl::Ipv6)?;
        let port =
            if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or(BadRedisUrl::Port)?) };
        (host.to_string(), port)
    } else {
        let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
        if host.is_empty() {
            return Err(BadRedisUrl::NoHost);
        }
        if !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
            return Err(BadRedisUrl::Host);
        }
        (host.to_owned(), port)
    };
    let port = port.map_or(Ok(PORT_DEFAULT), number::<u16>).map_err(|()| BadRedisUrl::Port)?;
    if port == 0 { Err(BadRedisUrl::Port) } else { Ok((host, port)) }
}

/// Digits only: `parse` alone would take a sign.
fn number<N: FromStr>(text: &str) -> Result<N, ()> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().map_err(|_| ()) } else { Err(()) }
}

fn check_database(path: &str) -> Result<(), BadRedisUrl> {
    let index = path.strip_prefix('/').unwrap_or_default();
    if index.is_empty() || number::<u32>(index).is_ok() { Ok(()) } else { Err(BadRedisUrl::Database) }
}

fn unix_path(path: &str) -> Result<PathBuf, BadRedisUrl> {
    let path = percent_decoded(path)?;
    // A `/` alone is a directory, and no socket.
    if path.len() < 2 || path.len() > UNIX_PATH_BYTES_MAX || path.contains(&0) {
        return Err(BadRedisUrl::UnixPath);
    }
    Ok(OsString::from_vec(path).into())
}

fn percent_decoded(text: &str) -> Result<Vec<u8>, BadRedisUrl> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    let digit = |bytes: &mut std::str::Bytes<'_>| {
        let digit = bytes.next().and_then(|b| char::from(b).to_digit(16));
        digit.map(|digit| digit as u8).ok_or(BadRedisUrl::Escape)
    };
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' { digit(&mut bytes)? << 4 | digit(&mut bytes)? } else { byte });
    }
    Ok(decoded)
}

/// Writes bytes with everything encoded but what RFC 3986 (2.3) calls unreserved, and `plain`.
fn write_percent_encoded(f: &mut fmt::Formatter<'_>, bytes: &[u8], plain: &[u8]) -> fmt::Result {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || plain.contains(&byte) {
            write!(f, "{}", char::from(byte))?;
        } else {
            write!(f, "%{byte:02X}")?;
        }
    }
    Ok(())
}

impl fmt::Display for RedisUrl {
    /// A URL again; the password is `***`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.endpoint {
            RedisEndpoint::Tcp { .. } => "redis://",
            RedisEndpoint::Tls { .. } => "rediss://",
            RedisEndpoint::Unix(_) => "unix://",
        })?;
        if let Some(user) = &self.user {
            write_percent_encoded(f, user.as_bytes(), b"")?;
        }
        if let Some(password) = &self.password {
            write!(f, ":{}@", if password.expose().is_empty() { "" } else { HIDDEN })?;
        }
        match &self.endpoint {
            RedisEndpoint::Tcp { host, port } | RedisEndpoint::Tls { host, port } if host.contains(':') => {
                write!(f, "[{host}]:{port}")
            }
            RedisEndpoint::Tcp { host, port } | RedisEndpoint::Tls { host, port } => {
                write!(f, "{host}:{port}")
            }
            RedisEndpoint::Unix(path) => write_percent_encoded(f, path.as_os_str().as_bytes(), b"/"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(url: &str) -> RedisUrl {
        url.parse().unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    fn password(url: &RedisUrl) -> Option<&str> {
        url.password.as_ref().map(Secret::expose)
    }

    fn tcp(host: &str, port: u16) -> RedisEndpoint {
        RedisEndpoint::Tcp { host: host.into(), port }
    }

    #[test]
    fn only_the_host_is_required() {
        let expected = RedisUrl { endpoint: tcp("cache", 6379), user: None, password: None };
        for url in ["redis://cache", "redis://cache/", "redis://cache:6379/15", "redis://:@cache"] {
            assert_eq!(parsed(url), expected, "{url}");
        }
    }

    #[test]
    fn user_and_password_are_percent_decoded() {
        let url = parsed("rediss://dev%40home:p%2Fw%3A%25@redis.example.com:6380/2");
        assert_eq!(url.endpoint, RedisEndpoint::Tls { host: "redis.example.com".into(), port: 6380 });
        assert_eq!((url.user.as_deref(), password(&url)), (Some("dev@home"), Some("p/w:%")));
        let default_user = parsed("redis://:secret@10.0.0.1");
        assert_eq!((default_user.user.as_deref(), password(&default_user)), (None, Some("secret")));
    }

    #[test]
    fn an_at_sign_that_nobody_encoded_belongs_to_the_password() {
        assert_eq!(password(&parsed("redis://:p@ss@host")), Some("p@ss"));
    }

    #[test]
    fn an_ipv6_host_stands_in_brackets() {
        assert_eq!(parsed("redis://[::1]").endpoint, tcp("::1", 6379));
        assert_eq!(parsed("redis://[2001:db8::7]:7000").endpoint, tcp("2001:db8::7", 7000));
        assert_eq!(parsed("redis://[2001:DB8::7]:7000").to_string(), "redis://[2001:db8::7]:7000");
    }

    #[test]
    fn a_unix_socket_is_a_path_and_may_have_a_password() {
        let url = parsed("unix:///run/my%20redis.sock");
        assert_eq!(url.endpoint, RedisEndpoint::Unix("/run/my redis.sock".into()));
        assert_eq!(password(&parsed("unix://:secret@/run/redis.sock")), Some("secret"));
    }

    #[test]
    fn a_user_without_password_is_refused_unless_the_empty_password_is_written() {
        assert_eq!("redis://dev@host".parse::<RedisUrl>(), Err(BadRedisUrl::UserAlone));
        let url = parsed("redis://dev:@host");
        assert_eq!((url.user.as_deref(), password(&url)), (Some("dev"), Some("")));
    }

    #[test]
    fn everything_else_is_refused_with_its_reason() {
        use BadRedisUrl::*;
        for (url, reason) in [
            ("", Scheme),
            ("localhost:6379", Scheme),
            ("http://host", Scheme),
            ("redis+unix:///run/redis.sock", Scheme),
            ("REDIS//host", Scheme),
            ("redis://", NoHost),
            ("redis://:6379", NoHost),
            ("redis://:secret@", NoHost),
            ("redis://ho st", Host),
            ("redis://a,b", Host),
            ("redis://[::1", Ipv6),
            ("redis://[cache]", Ipv6),
            ("redis://[::1]6379", Port),
            ("redis://host:", Port),
            ("redis://host:0", Port),
            ("redis://host:65536", Port),
            ("redis://host:+1", Port),
            ("redis://::1", NoHost),
            ("redis://host/cache", Database),
            ("redis://host/-1", Database),
            ("redis://host/0/1", Database),
            ("redis://host?db=1", Trailer),
            ("redis://:pass#word@host", Trailer),
            ("redis://:100%@host", Escape),
            ("redis://:%zz@host", Escape),
            ("redis://:%ff@host", Escape),
            ("redis://:***@host", HiddenPassword),
            ("unix://run/redis.sock", UnixHost),
            ("unix://", UnixPath),
            ("unix:///", UnixPath),
            ("unix:///a%00b", UnixPath),
        ] {
            assert_eq!(url.parse::<RedisUrl>(), Err(reason), "{url}");
        }
        assert_eq!(format!("unix:///{}", "x".repeat(107)).parse::<RedisUrl>(), Err(UnixPath));
    }

    #[test]
    fn a_password_is_never_printed() {
        let url = parsed("rediss://dev:hunter2@host:1234");
        assert_eq!(url.to_string(), "rediss://dev:***@host:1234");
        assert!(!format!("{url:?}").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".*") {
            let _ = text.parse::<RedisUrl>();
            let _ = format!("redis://{text}").parse::<RedisUrl>();
            let _ = format!("unix://{text}").parse::<RedisUrl>();
        }

        #[test]
        fn what_is_printed_parses_to_the_same_but_for_the_password(
            user in proptest::option::of("\\PC{1,8}"),
            host in "[a-z][a-z0-9.-]{0,12}",
            port in 1_u16..,
            path in "/\\PC{1,20}",
            kind in 0..3,
        ) {
            let endpoint = match kind {
                0 => RedisEndpoint::Tcp { host, port },
                1 => RedisEndpoint::Tls { host, port },
                _ => RedisEndpoint::Unix(path.into()),
            };
            let password = user.is_some().then(|| Secret::from(""));
            let url = RedisUrl { endpoint, user, password };
            prop_assert_eq!(url.to_string().parse::<RedisUrl>(), Ok(url));
        }
    }
}
