//! Why an attempt or a session ended: how soon to try again, and what an operator can do about it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::backoff::RetryPace;
use crate::redis::resp::RespError;

/// Why an attempt or a session ended.
#[derive(Debug)]
pub enum Failure {
    /// The host's name has no address.
    Unresolved(String),
    /// No connection: refused, no route, no such socket file.
    Unreachable(io::Error),
    /// The attempt took longer than its deadline.
    TimedOut(Duration),
    /// The TLS handshake or a record failed.
    Tls(String),
    /// Redis answered with this error.
    Refused(String),
    /// What came is not RESP.
    NotRedis(RespError),
    /// A reply that is none to what was asked.
    Unexpected,
    /// The server ended the stream.
    Closed,
    /// The stream failed.
    Broken(io::Error),
    /// Nothing was heard, or nothing taken, for this long.
    Silent(Duration),
    /// The server is a replica, and the session publishes.
    Replica,
    /// The publishing session is at this server, and the subscription was at another.
    Elsewhere(SocketAddr),
    /// What the gateway publishes does not come back: the two connections lead to different servers.
    Astray,
}

/// What an operator can tell from a refusal without its words. A metric's value, and a sentence of `/readyz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RefusalKind {
    /// There is none.
    None,
    /// The user may not.
    NotPermitted,
    /// The session is not logged in.
    NotAuthenticated,
    /// The server will be ready by itself.
    NotNow,
    /// Anything else.
    Other,
}

impl RefusalKind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] =
        [Self::None, Self::NotPermitted, Self::NotAuthenticated, Self::NotNow, Self::Other];

    /// Of an error's text.
    pub fn of(text: &str) -> Self {
        match text.split(' ').next() {
            Some("NOPERM") => Self::NotPermitted,
            Some("NOAUTH" | "WRONGPASS") => Self::NotAuthenticated,
            _ if passes_by_itself(text) => Self::NotNow,
            _ => Self::Other,
        }
    }

    /// What it means, as a clause.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::None => "nothing is refused",
            Self::NotPermitted => {
                "the ACL user may not (NOPERM): it needs +psubscribe, +publish and the channels &PREFIX*"
            }
            Self::NotAuthenticated => "the server wants another user or password than redis.url has",
            Self::NotNow => "the server is busy, loads, or fails over",
            Self::Other => "the log has the server's words",
        }
    }
}

impl Failure {
    /// How soon the next attempt may come.
    pub fn pace(&self) -> RetryPace {
        match self {
            Self::Unresolved(_)
            | Self::Unreachable(_)
            | Self::TimedOut(_)
            | Self::Closed
            | Self::Broken(_)
            | Self::Elsewhere(_)
            | Self::Astray
            | Self::Silent(_) => RetryPace::Absent,
            Self::Refused(text) if passes_by_itself(text) => RetryPace::Absent,
            Self::Refused(_) | Self::Tls(_) | Self::NotRedis(_) | Self::Unexpected | Self::Replica => {
                RetryPace::Refused
            }
        }
    }

    /// What an operator can do, as a clause.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Unresolved(_) => "check the host in redis.url, and the system's resolver",
            Self::Unreachable(_) => "check that the server runs, and host and port or path in redis.url",
            Self::TimedOut(_) | Self::Silent(_) => {
                "check the network, and whether the server is overloaded or stopped"
            }
            Self::Tls(_) => {
                "the server's certificate must be for the host in redis.url and come from a root that the system \
                 trusts (SSL_CERT_FILE names another); a server without TLS needs redis:// instead of rediss://"
            }
            Self::Refused(text) => refusal_remedy(text),
            Self::NotRedis(_) | Self::Unexpected => {
                "something other than Redis answers there; a server with TLS needs rediss://"
            }
            Self::Replica => {
                "publishes are refused until redis.url leads to the primary; a host's name is resolved again each time"
            }
            Self::Elsewhere(_) => "nothing: the subscription follows",
            Self::Astray => "redis.url must lead both connections of a gateway to one server, the primary",
            Self::Closed | Self::Broken(_) => {
                "the server's log says why: a restart, CLIENT KILL, or client-output-buffer-limit; a server with TLS \
                 closes on redis:// without a word and needs rediss://"
            }
        }
    }
}

/// Errors of a server that starts, fails over, or runs a script.
pub(crate) fn passes_by_itself(text: &str) -> bool {
    let kind = text.split(' ').next().unwrap_or_default();
    ["LOADING", "BUSY", "MASTERDOWN", "TRYAGAIN", "CLUSTERDOWN"].contains(&kind)
}

fn refusal_remedy(text: &str) -> &'static str {
    match text.split(' ').next() {
        Some("NOAUTH") => "the server wants a password: redis://:PASSWORD@host or redis://USER:PASSWORD@host",
        Some("WRONGPASS") => "user or password in redis.url is wrong, or the user is off",
        Some("NOPERM") => {
            "the ACL user needs +psubscribe, +publish, +ping and the channels &PREFIX*; for events +xadd and the key, or \
             the channel, of events.name"
        }
        Some("DENIED") => "the server is in protected mode: give it a password or a bind address",
        _ if passes_by_itself(text) => "nothing: the server will be ready by itself",
        _ if text.contains("max number of clients") => "raise maxclients of the server",
        _ if text.contains("without any password") => "the server has no password: take it out of redis.url",
        _ => "the error is the server's own",
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved(why) => write!(f, "the name cannot be resolved: {why}"),
            Self::Unreachable(error) => write!(f, "no connection: {error}"),
            Self::TimedOut(deadline) => write!(f, "no session within {deadline:?}"),
            Self::Tls(why) => write!(f, "TLS: {why}"),
            Self::Refused(text) => write!(f, "Redis says: {text}"),
            Self::NotRedis(error) => write!(f, "the answer is not RESP: {error}"),
            Self::Unexpected => write!(f, "a reply does not belong to any request"),
            Self::Closed => write!(f, "the server closed the connection"),
            Self::Broken(error) => write!(f, "the connection failed: {error}"),
            Self::Silent(long) => write!(f, "the server was silent for {long:?}"),
            Self::Replica => write!(f, "the server is a replica: what is published there stays there"),
            Self::Astray => write!(f, "what is published does not come back on the subscription"),
            Self::Elsewhere(there) => write!(f, "publishes go to another server, {there}"),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_restart_looks_like_is_retried_soon_and_what_needs_a_person_is_not() {
        for soon in [
            Failure::Unreachable(io::ErrorKind::ConnectionRefused.into()),
            Failure::Closed,
            Failure::Broken(io::ErrorKind::ConnectionReset.into()),
            Failure::Refused("LOADING Redis is loading the dataset in memory".into()),
        ] {
            assert_eq!(soon.pace(), RetryPace::Absent, "{soon}");
        }
        for late in [
            Failure::Refused("NOAUTH Authentication required.".into()),
            Failure::Refused("WRONGPASS invalid username-password pair or user is disabled.".into()),
            Failure::Tls("invalid peer certificate".into()),
            Failure::NotRedis(RespError::Kind(b'H')),
        ] {
            assert_eq!(late.pace(), RetryPace::Refused, "{late}");
        }
    }

    #[test]
    fn each_refusal_that_redis_is_known_for_has_a_remedy_of_its_own() {
        let mut remedies: Vec<_> =
            ["NOAUTH a", "WRONGPASS a", "NOPERM a", "DENIED a", "ERR max number of clients reached", "x"]
                .map(|text| Failure::Refused(text.into()).remedy())
                .to_vec();
        remedies.sort_unstable();
        remedies.dedup();
        assert_eq!(remedies.len(), 6);
    }
}
