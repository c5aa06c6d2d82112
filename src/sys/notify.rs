//! The service manager's side channel, `sd_notify(3)`: state as lines of text, one datagram each, to `$NOTIFY_SOCKET`.
//!
//! The protocol is a datagram on a UNIX socket and has been stable since 2010, so libsystemd is not linked for it. The
//! variable stays in the environment: nothing here starts a child that could inherit it. *Not here*: what is told and
//! when (`supervision`).
#![allow(unsafe_code)]

use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// How long a message waits for room in the manager's queue. The sender is the thread that waits for signals.
const PATIENCE: Duration = Duration::from_secs(1);

/// The way to the service manager.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
    to: SocketAddr,
}

impl Notifier {
    /// To the address that `$NOTIFY_SOCKET` holds: a path, or a name in the abstract namespace behind an `@`.
    pub fn new(address: &OsStr) -> io::Result<Self> {
        let to = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(address)?,
            _ => {
                let wrong = "neither a path nor an abstract name";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, wrong));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { socket, to })
    }

    /// Sends one message: assignments such as `READY=1`, separated by line breaks. Blocks for a second at most.
    pub fn send(&self, message: &str) -> io::Result<()> {
        self.socket.send_to_addr(message.as_bytes(), &self.to).map(drop)
    }
}

/// `CLOCK_MONOTONIC` in microseconds, by which the manager orders a reload's begin against its own request.
pub fn monotonic_us() -> u64 {
    let mut now = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: `now` is valid for writes of one timespec for the whole call.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, now.as_mut_ptr()) };
    assert_eq!(failed, 0, "every Linux has CLOCK_MONOTONIC");
    // SAFETY: the call succeeded, so the kernel filled the struct.
    let now = unsafe { now.assume_init() };
    now.tv_sec.cast_unsigned() * 1_000_000 + now.tv_nsec.cast_unsigned() / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(manager: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let length = manager.recv(&mut buffer).expect("a message");
        String::from_utf8(buffer[..length].to_vec()).expect("text")
    }

    #[test]
    fn a_message_reaches_a_path() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("a socket");
        let notifier = Notifier::new(path.as_os_str()).expect("a path");
        notifier.send("READY=1\nSTATUS=well").expect("somebody listens");
        assert_eq!(received(&manager), "READY=1\nSTATUS=well");
    }

    #[test]
    fn a_message_reaches_an_abstract_name() {
        let name = format!("fanfare-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        let manager = UnixDatagram::bind_addr(&address).expect("a socket");
        let notifier = Notifier::new(OsStr::new(&format!("@{name}"))).expect("a name");
        notifier.send("STOPPING=1").expect("somebody listens");
        assert_eq!(received(&manager), "STOPPING=1");
    }

    #[test]
    fn an_address_of_another_family_is_refused() {
        for address in ["", "notify", "vsock:2:1234"] {
            assert!(Notifier::new(OsStr::new(address)).is_err(), "{address}");
        }
    }

    #[test]
    fn a_manager_that_is_gone_is_an_error_and_not_a_wait() {
        let notifier = Notifier::new(OsStr::new("/nonexistent/notify")).expect("a path");
        assert!(notifier.send("READY=1").is_err());
    }

    #[test]
    fn the_monotonic_clock_does_not_go_back() {
        let before = monotonic_us();
        assert!(before > 0 && monotonic_us() >= before);
    }
}
