//! Opening a connection: resolve, connect, TLS, AUTH, greeting, all within one deadline.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use monoio::net::{TcpStream, UnixStream};
use monoio::time::timeout;
use rustls::ClientConfig;

use super::backoff::Backoff;
use super::failure::Failure;
use super::link::{Link, Socket};
use super::resolve::{Lookup, Resolver, resolver};
use super::timing::Timing;
use super::tls::{self, Tls};
use crate::config::{RedisEndpoint, RedisUrl};
use crate::redis::resp::{self, Reply};
use crate::secret::Secret;
use fanfare_core::limits::REDIS_RESOLVE_PATIENCE;

/// Opens one session's connections, one after the other, with a pause before each.
///
/// Two sessions need two. It can be made on any thread and is used on one with a monoio runtime that has timers.
pub struct Dialer {
    route: Route,
    security: Security,
    user: Option<String>,
    password: Option<Secret>,
    timing: Timing,
    pub(crate) backoff: Backoff,
}

/// How to reach the server.
enum Route {
    Unix(PathBuf),
    Address(SocketAddr),
    Name(Resolver),
}

enum Security {
    Plain,
    /// The host that the certificate must be for, and the roots once they were read.
    Tls {
        host: String,
        config: Option<Arc<ClientConfig>>,
    },
}

/// A session's first command, and what answers it.
pub(crate) struct Greeting<'a> {
    pub(crate) words: &'a [&'a [u8]],
    pub(crate) answers: fn(&Reply) -> bool,
}

impl Dialer {
    /// A dialer for the server that `url` names. A [`Lookup`] comes with it when that is by a host's name: somebody
    /// has to run it on a thread of its own, or the name is never resolved. `seed` sets this session's pauses apart
    /// from those of other gateways. Fails only when the process is out of file descriptors.
    pub fn new(url: &RedisUrl, timing: Timing, seed: u64) -> io::Result<(Self, Option<Lookup>)> {
        let (route, security, lookup) = match &url.endpoint {
            RedisEndpoint::Unix(path) => (Route::Unix(path.clone()), Security::Plain, None),
            RedisEndpoint::Tcp { host, port } => {
                let (route, lookup) = route(host, *port)?;
                (route, Security::Plain, lookup)
            }
            RedisEndpoint::Tls { host, port } => {
                let (route, lookup) = route(host, *port)?;
                (route, Security::Tls { host: bare(host).to_owned(), config: None }, lookup)
            }
        };
        let (user, password) = (url.user.clone(), url.password.clone());
        Ok((Self { route, security, user, password, timing, backoff: Backoff::new(seed) }, lookup))
    }

    /// How patient the session is.
    pub(crate) fn timing(&self) -> Timing {
        self.timing
    }

    /// A connection on which the greeting was answered, or why there is none within the deadline. Of a name's addresses
    /// `first` is tried first, if it is among them.
    pub(crate) async fn open(
        &mut self,
        bulk_bytes_max: usize,
        greeting: &Greeting<'_>,
        first: Option<SocketAddr>,
    ) -> Result<Link, Failure> {
        let deadline = self.timing.connect_deadline;
        let attempt = self.attempt(bulk_bytes_max, greeting, first);
        timeout(deadline, attempt).await.unwrap_or(Err(Failure::TimedOut(deadline)))
    }

    async fn attempt(
        &mut self,
        bulk_bytes_max: usize,
        greeting: &Greeting<'_>,
        first: Option<SocketAddr>,
    ) -> Result<Link, Failure> {
        let within = self.timing.connect_deadline;
        let tls = self.security.session()?;
        let mut link = Link::new(self.route.connect(within, first).await?, tls, bulk_bytes_max);
        link.shake_hands(within).await?;
        self.authenticate(&mut link).await?;
        let mut out = BytesMut::new();
        resp::command(&mut out, greeting.words);
        link.send(out, within).await?;
        match link.reply().await? {
            reply if (greeting.answers)(&reply) => Ok(link),
            Reply::Error(text) => Err(Failure::Refused(text)),
            _ => Err(Failure::Unexpected),
        }
    }

    /// `AUTH password`, or `AUTH user password` (Redis 6), or nothing.
    async fn authenticate(&self, link: &mut Link) -> Result<(), Failure> {
        let password = self.password.as_ref().map_or("", Secret::expose).as_bytes();
        let mut out = BytesMut::new();
        match (&self.user, &self.password) {
            (None, None) => return Ok(()),
            (None, Some(_)) => resp::command(&mut out, &[b"AUTH", password]),
            (Some(user), _) => resp::command(&mut out, &[b"AUTH", user.as_bytes(), password]),
        }
        link.send(out, self.timing.connect_deadline).await?;
        match link.reply().await? {
            Reply::Simple(ok) if ok == "OK" => Ok(()),
            Reply::Error(text) => Err(Failure::Refused(self.without_password(&text))),
            _ => Err(Failure::Unexpected),
        }
    }

    /// What Redis says of a command that it does not know (AUTH can be renamed) quotes the beginning of its arguments.
    fn without_password(&self, text: &str) -> String {
        let said = text.split_once("with args").map_or(text, |(said, _)| said.trim_end_matches([',', ' ']));
        self.password.as_ref().map_or_else(|| said.to_owned(), |password| password.hide_in(said))
    }
}

impl Security {
    fn session(&mut self) -> Result<Option<Tls>, Failure> {
        let Self::Tls { host, config } = self else { return Ok(None) };
        let shared = match config {
            Some(shared) => Arc::clone(shared),
            None => Arc::clone(config.insert(tls::client_config()?)),
        };
        Tls::new(shared, host).map(Some)
    }
}

impl Route {
    async fn connect(&mut self, within: Duration, first: Option<SocketAddr>) -> Result<Socket, Failure> {
        match self {
            Self::Unix(path) => {
                UnixStream::connect(path).await.map(Socket::Unix).map_err(Failure::Unreachable)
            }
            Self::Address(address) => tcp(*address).await,
            Self::Name(resolver) => {
                let mut addresses = resolver.addresses(REDIS_RESOLVE_PATIENCE.min(within / 2)).await?;
                addresses.sort_by_key(|address| Some(*address) != first);
                // Each gets an equal share of the time, so that one that swallows packets leaves some to the next.
                let share = within / addresses.len() as u32;
                let mut failure = Failure::TimedOut(within);
                for address in addresses {
                    match timeout(share, tcp(address)).await {
                        Ok(Ok(socket)) => return Ok(socket),
                        Ok(Err(error)) => failure = error,
                        Err(_) => failure = Failure::TimedOut(share),
                    }
                }
                Err(failure)
            }
        }
    }
}

async fn tcp(address: SocketAddr) -> Result<Socket, Failure> {
    let stream = TcpStream::connect_addr(address).await.map_err(Failure::Unreachable)?;
    // A command waits for nothing: whoever sends has put together what belongs together.
    stream.set_nodelay(true).map_err(Failure::Unreachable)?;
    Ok(Socket::Tcp(stream))
}

/// An address literal is used as it is; any other host needs the resolver.
fn route(host: &str, port: u16) -> io::Result<(Route, Option<Lookup>)> {
    if let Ok(ip) = bare(host).parse::<IpAddr>() {
        return Ok((Route::Address(SocketAddr::new(ip, port)), None));
    }
    let (resolver, lookup) = resolver(host, port)?;
    Ok((Route::Name(resolver), Some(lookup)))
}

/// An IPv6 literal without the brackets that a URL puts around it.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialer(host: &str) -> (Dialer, Option<Lookup>) {
        let endpoint = RedisEndpoint::Tls { host: host.into(), port: 1 };
        Dialer::new(&RedisUrl { endpoint, user: None, password: None }, Timing::default(), 0).unwrap()
    }

    #[test]
    fn only_a_name_needs_a_resolver() {
        for literal in ["127.0.0.1", "::1", "[::1]"] {
            assert!(dialer(literal).1.is_none(), "{literal}");
        }
        assert!(dialer("localhost").1.is_some());
    }

    #[test]
    fn a_dialer_and_its_lookup_can_go_to_the_threads_that_use_them() {
        fn goes<T: Send>(thing: T) -> T {
            thing
        }
        let (dialer, lookup) = dialer("localhost");
        drop((goes(dialer), goes(lookup)));
    }
}
