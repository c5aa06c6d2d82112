//! Sockets that a service manager opened and hands over, `sd_listen_fds(3)`.
//!
//! Such a socket outlives this process: the manager holds it too, and whoever connects between two processes waits in
//! its queue for the next one. So it is never shut down here, which would end it for everybody who holds it; it is
//! only closed. *Not here*: which socket is for devices and which for the API (`server::sockets`).
#![allow(unsafe_code)]

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{SockRef, Type};

use fanfare_core::limits;

/// The first descriptor that a manager hands over (`SD_LISTEN_FDS_START`).
const FIRST: RawFd = 3;
/// Sockets that one process takes: some addresses for devices, one for the API.
const SOCKETS_MAX: u32 = 64;

/// Descriptors can be taken into ownership once.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// A listening TCP socket that was handed over.
#[derive(Debug)]
pub struct Inherited {
    /// Its `FileDescriptorName=`; systemd's default is the name of the socket unit. Empty when there is none.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Close-on-exec, with the options of our own. Whether it blocks is left as it is: that belongs to everybody who
    /// holds the socket, and is set by whoever accepts.
    pub listener: TcpListener,
}

/// Why what was handed over cannot be used; the text says what the operator does about it.
#[derive(Debug)]
pub enum Unusable {
    /// `LISTEN_FDS` is not a number, or too large a one.
    Count(String),
    /// A descriptor is not open, not a socket, or not one that listens for TCP.
    NotListening {
        /// Its number.
        fd: RawFd,
        /// Its name.
        name: String,
    },
    /// The kernel refused an option.
    Option(io::Error),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(text) => write!(
                f,
                "LISTEN_FDS: {text:?} is no number from 0 to {SOCKETS_MAX}; it is set by the service manager, so start \
                 fanfare by its socket unit, or unset LISTEN_FDS and LISTEN_PID"
            ),
            Self::NotListening { fd, name } => write!(
                f,
                "the service manager handed over descriptor {fd} ({name:?}), which is no listening TCP socket; give \
                 the socket unit ListenStream=ADDRESS:PORT or ListenStream=PORT, and Accept=no"
            ),
            Self::Option(error) => write!(f, "cannot set up a socket of the service manager: {error}"),
        }
    }
}

impl std::error::Error for Unusable {}

/// What the variables announce: the name of each descriptor from [`FIRST`] on. Nothing when they are not set, or are
/// meant for another process, one that started this one.
fn announced(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    process: u32,
) -> Result<Vec<String>, Unusable> {
    let (mut pid, mut count, mut names) = (None, None, None);
    for (name, value) in environment {
        match name.to_str() {
            Some("LISTEN_PID") => pid = value.into_string().ok(),
            Some("LISTEN_FDS") => count = Some(value.to_string_lossy().into_owned()),
            Some("LISTEN_FDNAMES") => names = Some(value.to_string_lossy().into_owned()),
            _ => {}
        }
    }
    let is_ours = pid.and_then(|pid| pid.parse().ok()) == Some(process);
    let Some(count) = count.filter(|_| is_ours) else { return Ok(Vec::new()) };
    let Some(count) = count.parse::<u32>().ok().filter(|count| *count <= SOCKETS_MAX) else {
        return Err(Unusable::Count(count));
    };
    let names = names.unwrap_or_default();
    let names = names.split(':').map(str::to_owned).chain(std::iter::repeat(String::new()));
    Ok(names.take(count as usize).collect())
}

/// Takes what was handed over to this process into ownership; nothing the second time. Called before anything else is
/// opened, so that each number still means what the manager put there.
pub fn take(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Vec<Inherited>, Unusable> {
    let names = announced(environment, std::process::id())?;
    if names.is_empty() || TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    (FIRST..).zip(names).map(|(fd, name)| adopt(fd, name)).collect()
}

/// Takes one descriptor into ownership, if it is what it should be.
fn adopt(fd: RawFd, name: String) -> Result<Inherited, Unusable> {
    // SAFETY: no pointers; the number may mean nothing, which is an error. A manager's descriptors survive exec, and
    // are to survive no further one.
    let open = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } == 0;
    if !open {
        return Err(Unusable::NotListening { fd, name });
    }
    // SAFETY: it is open, and its only owner was the manager's exec: `take` runs once, before this process opens any.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    checked(socket, fd, name)
}

/// The descriptor as a listener for devices or the API.
fn checked(socket: OwnedFd, fd: RawFd, name: String) -> Result<Inherited, Unusable> {
    let view = SockRef::from(&socket);
    let listens = view.is_listener().unwrap_or(false) && view.r#type().ok() == Some(Type::STREAM);
    let address = view.local_addr().ok().and_then(|address| address.as_socket());
    let Some(address) = address.filter(|_| listens) else {
        return Err(Unusable::NotListening { fd, name });
    };
    // What `sys::sockopt` gives its own listeners. Who was in the queue before the very first process set this has the
    // system's default (`net.ipv4.tcp_notsent_lowat`) instead.
    view.set_tcp_nodelay(true).map_err(Unusable::Option)?;
    view.set_tcp_notsent_lowat(limits::KERNEL_UNSENT_BYTES).map_err(Unusable::Option)?;
    Ok(Inherited { name, address, listener: TcpListener::from(socket) })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn announce(variables: &[(&str, &str)]) -> Result<Vec<String>, Unusable> {
        announced(variables.iter().map(|(name, value)| (name.into(), value.into())), 42)
    }

    #[test]
    fn names_belong_to_descriptors_in_order_and_missing_ones_are_empty() {
        let pid = ("LISTEN_PID", "42");
        let names = announce(&[pid, ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "devices:api")]);
        assert_eq!(names.expect("well-formed"), ["devices", "api"]);
        let names = announce(&[pid, ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "devices")]);
        assert_eq!(names.expect("well-formed"), ["devices", ""]);
        assert_eq!(announce(&[pid, ("LISTEN_FDS", "1")]).expect("well-formed"), [""]);
    }

    #[test]
    fn what_is_meant_for_another_process_is_not_taken() {
        assert!(announce(&[("LISTEN_PID", "41"), ("LISTEN_FDS", "1")]).expect("not ours").is_empty());
        assert!(announce(&[("LISTEN_FDS", "x")]).expect("not ours").is_empty());
        assert!(announce(&[("LISTEN_PID", "42")]).expect("nothing").is_empty());
    }

    #[test]
    fn a_count_that_is_none_is_told() {
        for count in ["", "-1", "many", "65"] {
            let error = announce(&[("LISTEN_PID", "42"), ("LISTEN_FDS", count)]).expect_err(count);
            assert!(error.to_string().contains("LISTEN_FDS"), "{error}");
        }
    }

    #[test]
    fn a_listener_is_taken_with_the_options_of_our_own() {
        let made = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = made.local_addr().expect("it is bound");
        let inherited = checked(made.into(), 3, "devices".into()).expect("it listens");
        assert_eq!((inherited.address, inherited.name.as_str()), (address, "devices"));
        let view = SockRef::from(&inherited.listener);
        assert!(view.tcp_nodelay().expect("a TCP socket"));
        assert_eq!(view.tcp_notsent_lowat().expect("a TCP socket"), limits::KERNEL_UNSENT_BYTES);
    }

    #[test]
    fn what_does_not_listen_for_tcp_is_refused_with_the_remedy() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let unix = UnixListener::bind(directory.path().join("socket")).expect("a socket");
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let stream = std::net::TcpStream::connect(address).expect("it listens");
        let file = std::fs::File::open("/dev/null").expect("every Linux has it");
        for descriptor in [OwnedFd::from(unix), udp.into(), stream.into(), file.into()] {
            let error = checked(descriptor, 7, "fanfare.socket".into()).expect_err("no TCP listener");
            let text = error.to_string();
            assert!(text.contains("descriptor 7") && text.contains("ListenStream="), "{text}");
        }
    }
}
