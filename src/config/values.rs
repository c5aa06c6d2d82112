//! What the texts of keys have to be.
//!
//! *Not here*: which key takes which (`keys`), URLs of Redis (`redis_url`), templates (`template`), paces (`pace`).

use std::net::SocketAddr;

use super::problem::Wrong;
use super::{REDIS_PREFIX_DEFAULT, Redis, RedisUrl};
use fanfare_core::limits;
use fanfare_core::model::TopicTemplate;
use fanfare_core::websocket::token::is_token;

pub(super) fn address(text: &str) -> Result<SocketAddr, Wrong> {
    text.parse().map_err(|_| Wrong {
        what: format!("{text:?} is not an IP address with a port"),
        remedy: "give one such as 0.0.0.0:7777 or [::]:7777".into(),
    })
}

pub(super) fn redis(text: &str) -> Result<Option<Redis>, Wrong> {
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse::<RedisUrl>() {
        Ok(url) => Ok(Some(Redis { url, prefix: REDIS_PREFIX_DEFAULT.into() })),
        Err(bad) => Err(Wrong { what: bad.to_string(), remedy: bad.remedy().into() }),
    }
}

pub(super) fn prefix(text: &str) -> Result<String, Wrong> {
    let what = if text.is_empty() {
        "the prefix is empty, so every channel of the server would be subscribed".into()
    } else if text.len() > limits::REDIS_PREFIX_BYTES_MAX {
        format!("the prefix is longer than {} bytes", limits::REDIS_PREFIX_BYTES_MAX)
    } else if text.contains(|c: char| c.is_whitespace() || c.is_control() || "*?[]\\".contains(c)) {
        "the prefix has a space or a character that PSUBSCRIBE reads as a pattern".into()
    } else {
        return Ok(text.to_owned());
    };
    let remedy = format!("give a prefix such as {REDIS_PREFIX_DEFAULT:?} without spaces and * ? [ ] \\");
    Err(Wrong { what, remedy })
}

pub(super) fn templates(texts: &[&str]) -> Result<Vec<TopicTemplate>, Wrong> {
    let parse = |text: &&str| {
        text.parse().map_err(|bad: fanfare_core::model::template::BadTemplate| Wrong {
            what: format!("{text:?} is no topic: {bad}"),
            remedy: "write a topic with query parameters in braces, such as {product_id}:{alias_key}".into(),
        })
    };
    texts.iter().map(parse).collect()
}

/// Names of WebSocket subprotocols.
pub(super) fn subprotocols(texts: &[&str]) -> Result<Vec<String>, Wrong> {
    let wrong = |what: String| Wrong {
        what,
        remedy: "give names as clients offer them in Sec-WebSocket-Protocol, such as [\"v2.json\"]".into(),
    };
    if texts.len() > limits::SUBPROTOCOLS_MAX {
        return Err(wrong(format!("there are more than {} subprotocols", limits::SUBPROTOCOLS_MAX)));
    }
    match texts.iter().find(|text| !is_token(text)) {
        Some(text) => Err(wrong(format!("{text:?} is no subprotocol's name"))),
        None => Ok(texts.iter().map(|text| (*text).to_owned()).collect()),
    }
}

/// A filter takes any word as the name of a module, so that a misspelt level would silence the log without a word:
/// a directive here is a level, or has a `=`. Filters with spans, whose fields have commas of their own, are only parsed.
pub(super) fn log_filter(text: &str) -> Result<String, Wrong> {
    let wrong = |what: String| Wrong {
        what,
        remedy: "give off, error, warn, info, debug or trace, or a list such as warn,fanfare=debug".into(),
    };
    // An empty word parses as a level too.
    let is_level = |word: &str| !word.is_empty() && word.parse::<tracing::metadata::LevelFilter>().is_ok();
    let is_directive = |word: &str| word.contains('=') || is_level(word);
    if text.is_empty() {
        return Err(wrong("there is no log level".into()));
    }
    if !text.contains('[')
        && let Some(word) = text.split(',').find(|word| !is_directive(word))
    {
        return Err(wrong(format!("{word:?} is no log level")));
    }
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(wrong(format!("{text:?} is no log filter ({error})"))),
    }
}

/// Addresses of etcd servers, all with TLS or all without.
pub(super) fn endpoints(texts: &[&str]) -> Result<Vec<String>, Wrong> {
    let wrong = |what: String| Wrong {
        what,
        remedy: "give addresses such as http://10.0.0.5:2379, all with http:// or all with https://".into(),
    };
    if !cfg!(feature = "etcd") && !texts.is_empty() {
        return Err(Wrong {
            what: "this program was built without etcd".into(),
            remedy: "leave it empty, or build with the feature etcd".into(),
        });
    }
    if texts.len() > limits::ETCD_ENDPOINTS_MAX {
        return Err(wrong(format!("there are more than {} addresses", limits::ETCD_ENDPOINTS_MAX)));
    }
    for text in texts {
        let uri = text.parse::<http::Uri>().ok();
        let is_address = uri.is_some_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.port_u16().is_some()
                && matches!(uri.path(), "" | "/")
                && uri.query().is_none()
                && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        });
        if !is_address {
            // The text is not quoted: a password may stand in it, where none is looked for.
            return Err(wrong(
                "an address is no http:// or https:// URL with a host and a port alone".into(),
            ));
        }
    }
    let with_tls = |text: &&str| text.starts_with("https");
    if texts.iter().any(with_tls) && !texts.iter().all(with_tls) {
        return Err(wrong("some addresses are with TLS and some without".into()));
    }
    Ok(texts.iter().map(|text| (*text).to_owned()).collect())
}

/// What the names of etcd's keys begin with.
pub(super) fn etcd_prefix(text: &str) -> Result<String, Wrong> {
    let what = if text.is_empty() {
        "the prefix is empty, so every key of the server would be taken for one of ours".into()
    } else if text.len() > limits::ETCD_PREFIX_BYTES_MAX {
        format!("the prefix is longer than {} bytes", limits::ETCD_PREFIX_BYTES_MAX)
    } else if text.contains(char::is_control) {
        "the prefix has a control character".into()
    } else {
        return Ok(text.to_owned());
    };
    Err(Wrong { what, remedy: "give a prefix such as \"/fanfare/\"".into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_log_level_is_not_taken_for_a_module() {
        for good in
            ["info", "INFO", "off", "warn,fanfare=debug", "fanfare::shard=trace", "[conn{id=3}]=debug"]
        {
            assert!(log_filter(good).is_ok(), "{good}");
        }
        for bad in ["", "inof", "warn,debgu", "fanfare=loud", "info,"] {
            assert!(log_filter(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_prefix_that_psubscribe_would_expand_is_refused() {
        for bad in ["", "a*", "a?", "[ab]", "a b", "a\\", "a\n"] {
            assert!(prefix(bad).is_err(), "{bad:?}");
        }
        assert!(prefix(&"x".repeat(limits::REDIS_PREFIX_BYTES_MAX + 1)).is_err());
        assert_eq!(prefix("shop:push:").expect("a prefix"), "shop:push:");
    }

    #[test]
    fn a_subprotocol_has_no_character_that_could_end_a_header_field() {
        assert_eq!(subprotocols(&["v2.json", "mqtt"]).expect("names"), ["v2.json", "mqtt"]);
        for bad in ["", "a b", "a,b", "a\r\nb", "é", "a=b", "\"a\""] {
            assert!(subprotocols(&[bad]).is_err(), "{bad:?}");
        }
        assert!(subprotocols(&["a"; limits::SUBPROTOCOLS_MAX]).is_ok());
        assert!(subprotocols(&["a"; limits::SUBPROTOCOLS_MAX + 1]).is_err());
    }

    #[test]
    fn an_address_of_etcd_has_a_scheme_a_host_and_a_port() {
        for good in [&["http://127.0.0.1:2379"][..], &["https://a:1", "https://[::1]:2"], &[]] {
            assert_eq!(endpoints(good).expect("addresses"), good);
        }
        for bad in ["", "127.0.0.1:2379", "http://a", "ftp://a:1", "http://user:hunter2@a:1", "http://a:1/v3"]
        {
            let wrong = endpoints(&[bad]).expect_err("no address");
            assert!(!format!("{wrong:?}").contains("hunter2"), "{bad}");
        }
        assert!(endpoints(&["http://a:1", "https://b:1"]).is_err());
        assert!(etcd_prefix("").is_err());
        assert_eq!(etcd_prefix("/shop/").expect("a prefix"), "/shop/");
    }
}
