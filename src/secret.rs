//! Values that nobody is shown: `Debug` and `Display` say `***`. Whoever needs one asks for it by name (`expose`).
//!
//! A new key that holds a secret has one of these types in [`crate::config::Config`], and its row in `keys` is a `Secret` or a `Url`.

use std::borrow::Cow;
use std::fmt;

/// What stands for a secret wherever it is shown.
pub const HIDDEN: &str = "***";

/// A password.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret itself, for the peer that it is shared with.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// A peer's sentence, which may quote what it was sent, without the secret.
    pub fn hide_in(&self, text: &str) -> String {
        if self.0.is_empty() { text.to_owned() } else { text.replace(&self.0, HIDDEN) }
    }
}

impl<T: Into<String>> From<T> for Secret {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// An `http` or `https` URL whose path or query may be what lets somebody in, as those of chat services are. Scheme, host
/// and port are shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl {
    url: String,
    /// Bytes of scheme, host and port.
    origin: usize,
}

/// Why a text is no [`SecretUrl`]. No sentence quotes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadUrl {
    /// Not a URL of http or https.
    Scheme,
    /// A user or a password stands in it.
    UserInfo,
    /// It is the stand-in of a printed configuration.
    Hidden,
}

impl fmt::Display for BadUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "this is no URL of http or https",
            Self::UserInfo => "the URL has a user or a password, which are not sent",
            Self::Hidden => "the URL ends in the *** of a printed configuration",
        })
    }
}

impl std::str::FromStr for SecretUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let uri = text.parse::<http::Uri>().map_err(|_| BadUrl::Scheme)?;
        let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(BadUrl::Scheme);
        };
        if authority.as_str().contains('@') {
            return Err(BadUrl::UserInfo);
        }
        if authority.host().is_empty() {
            return Err(BadUrl::Scheme);
        }
        let origin = scheme.len() + "://".len() + authority.as_str().len();
        if text.get(origin..).and_then(|rest| rest.strip_prefix('/')) == Some(HIDDEN) {
            return Err(BadUrl::Hidden);
        }
        Ok(Self { url: text.to_owned(), origin })
    }
}

impl SecretUrl {
    /// The whole URL, for the request.
    pub fn expose(&self) -> &str {
        &self.url
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (origin, rest) = self.url.split_at(self.origin);
        match rest {
            "" | "/" => f.write_str(&self.url),
            _ => write!(f, "{origin}/{HIDDEN}"),
        }
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that somebody gave, to be quoted: a URL's user and password are hidden, in whatever key it was put by mistake.
pub fn without_user_info(text: &str) -> Cow<'_, str> {
    let Some(start) = text.find("://").map(|at| at + "://".len()) else { return text.into() };
    match text[start..].rfind('@') {
        Some(at) => format!("{}{HIDDEN}{}", &text[..start], &text[start + at..]).into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_exposed_to_who_asks_and_shown_to_nobody() {
        let secret = Secret::from("hunter2");
        assert_eq!(
            (secret.expose(), format!("{secret} {secret:?} {:?}", Some(&secret))),
            ("hunter2", "*** *** Some(***)".into())
        );
        assert_eq!(
            secret.hide_in("ERR unknown command 'AUTH' 'hunter2'"),
            "ERR unknown command 'AUTH' '***'"
        );
        assert_eq!(Secret::from("").hide_in("abc"), "abc");
    }

    #[test]
    fn a_url_is_shown_up_to_its_port() {
        for (url, shown) in [
            ("https://hooks.example/services/T0/hunter2", "https://hooks.example/***"),
            ("https://backend.example:8443/?token=hunter2", "https://backend.example:8443/***"),
            ("http://[::1]:1?hunter2", "http://[::1]:1/***"),
            ("http://backend:8080", "http://backend:8080"),
            ("http://backend:8080/", "http://backend:8080/"),
        ] {
            let parsed: SecretUrl = url.parse().expect(url);
            assert_eq!(
                (parsed.expose(), parsed.to_string(), format!("{parsed:?}")),
                (url, shown.to_owned(), shown.to_owned())
            );
        }
        for (bad, why) in [
            ("", BadUrl::Scheme),
            ("backend", BadUrl::Scheme),
            ("ftp://backend/", BadUrl::Scheme),
            ("http://", BadUrl::Scheme),
            ("http://a b/", BadUrl::Scheme),
            ("https://user:hunter2@backend/", BadUrl::UserInfo),
            ("https://backend/***", BadUrl::Hidden),
        ] {
            assert_eq!(bad.parse::<SecretUrl>(), Err(why), "{bad}");
        }
    }

    #[test]
    fn a_quoted_text_has_no_user_in_it() {
        assert_eq!(without_user_info("redis://:hunter2@cache:6379"), "redis://***@cache:6379");
        assert_eq!(
            without_user_info("\"https://u:p@ss@host/x\" is not one"),
            "\"https://***@host/x\" is not one"
        );
        assert_eq!(without_user_info("a@b"), "a@b");
    }
}
