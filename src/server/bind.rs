//! Addresses that are in use: for how long that is waited out, and who uses them.
//!
//! The kernel may hold the sockets of a killed process for some milliseconds after the process is gone, and a supervisor
//! starts the next one sooner than that. *Not here*: what is bound (`sys::sockopt`), the sentence (`error`).

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use fanfare_core::limits::{BIND_PATIENCE, HOLDERS_MAX};

/// Pause between two attempts.
const RETRY_EVERY: Duration = Duration::from_millis(10);

/// Until when a start waits for its addresses, all of them together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience(Instant);

impl Patience {
    /// From now on.
    pub(super) fn begin() -> Self {
        Self(Instant::now() + BIND_PATIENCE)
    }

    /// Binds, again and again while the address is in use and there is time. Blocks.
    pub(super) fn bind<T>(self, mut bind: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            match bind() {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < self.0 => {
                    thread::sleep(RETRY_EVERY);
                }
                result => return result,
            }
        }
    }
}

/// What uses an address, as far as this process may look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A process that listens there.
    Listens(Process),
    /// A process with a connection from that port.
    Connected(Process),
    /// Somebody listens there, and the process is another user's or another container's.
    Unseen,
    /// Nobody who can be found.
    Unknown,
}

/// A process, by what `ps` shows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its command line, or its name where it has none.
    pub command: String,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.command)
    }
}

/// Looks at proc(5) for who uses the address.
pub(super) fn holder(address: SocketAddr) -> Holder {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let mut sockets: Vec<Socket> = tables.iter().flat_map(|table| sockets(table)).collect();
    sockets.retain(|socket| socket.is_in_the_way_of(address));
    // A listener is the likelier cause, whoever else is connected from that port.
    sockets.sort_by_key(|socket| !socket.listens);
    let Some(first) = sockets.first() else { return Holder::Unknown };
    match (process_with(&sockets), first.listens) {
        (Some((process, true)), _) => Holder::Listens(process),
        (Some((process, false)), false) => Holder::Connected(process),
        (_, true) => Holder::Unseen,
        (None, false) => Holder::Unknown,
    }
}

/// A row of `/proc/net/tcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Socket {
    local: SocketAddr,
    listens: bool,
    inode: u64,
}

impl Socket {
    fn is_in_the_way_of(&self, address: SocketAddr) -> bool {
        let (ours, theirs) = (address.ip().to_canonical(), self.local.ip().to_canonical());
        let any = ours.is_unspecified() || theirs.is_unspecified();
        self.local.port() == address.port() && (any || ours == theirs)
    }
}

/// The rows of such a table that can be read.
fn sockets(table: &str) -> impl Iterator<Item = Socket> {
    table.lines().skip(1).filter_map(|row| {
        let mut columns = row.split_whitespace().skip(1);
        let local = local(columns.next()?)?;
        let listens = columns.nth(1)? == "0A";
        let inode = columns.nth(5)?.parse().ok()?;
        Some(Socket { local, listens, inode })
    })
}

/// `0100007F:1E61`: words of the address in the machine's order, the port in hexadecimal.
fn local(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| Some(u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip: IpAddr = match ip.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
            Ipv6Addr::from(<[u8; 16]>::try_from(words).ok()?).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// The first process that has one of the sockets open, and whether that one listens.
fn process_with(sockets: &[Socket]) -> Option<(Process, bool)> {
    let links: Vec<(String, bool)> =
        sockets.iter().map(|socket| (format!("socket:[{}]", socket.inode), socket.listens)).collect();
    let listens = |target: &std::path::Path| {
        links.iter().find(|(link, _)| target.as_os_str() == link.as_str()).map(|(_, listens)| *listens)
    };
    let pids = fs::read_dir("/proc").ok()?.flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut found = None;
    for pid in pids.filter(|pid| *pid != std::process::id()).take(HOLDERS_MAX) {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        for descriptor in descriptors.flatten().take(HOLDERS_MAX) {
            match fs::read_link(descriptor.path()).ok().and_then(|target| listens(&target)) {
                Some(true) => return Some((process(pid), true)),
                Some(false) => found = found.or_else(|| Some((process(pid), false))),
                None => {}
            }
        }
    }
    found
}

fn process(pid: u32) -> Process {
    /// Enough to tell which one it is.
    const COMMAND_CHARS_MAX: usize = 80;
    let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let line = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
    let name = String::from_utf8_lossy(&read("comm")).into_owned();
    let command = if line.trim().is_empty() { name } else { line };
    let printable = command.trim().chars().map(|c| if c.is_control() { '?' } else { c });
    Process { pid, command: printable.take(COMMAND_CHARS_MAX).collect() }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const V4: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
        0: 0100007F:1E61 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n\
        1: 0100007F:1E61 0100007F:D431 01 00000000:00000000 02:00000C1F 00000000     0        0 4712 2 0 20 4 30 10 -1\n";
    const V6: &str = "  sl  local_address\n\
        0: 00000000000000000000000001000000:1E61 00000000000000000000000000000000:0000 0A 00000000:00000000 \
        00:00000000 00000000     0        0 4713 1 0 100 0 0 10 0\n\
        1: 0000000000000000FFFF00000100007F:1E61 00000000000000000000000000000000:0000 0A 00000000:00000000 \
        00:00000000 00000000     0        0 4714 1 0 100 0 0 10 0\n";

    #[test]
    #[cfg(target_endian = "little")]
    fn rows_of_proc_are_read() {
        let at = |local: &str, listens, inode| Socket { local: local.parse().expect("one"), listens, inode };
        let found: Vec<Socket> = sockets(V4).chain(sockets(V6)).collect();
        assert_eq!(
            found,
            [
                at("127.0.0.1:7777", true, 4711),
                at("127.0.0.1:7777", false, 4712),
                at("[::1]:7777", true, 4713),
                at("[::ffff:127.0.0.1]:7777", true, 4714),
            ]
        );
        assert_eq!(sockets("sl\nnonsense\n 0: 1:2 3\n 0: ZZ:1 x 0A\n").count(), 0);
    }

    #[test]
    fn an_address_is_held_by_the_same_one_and_by_every_address() {
        for (held, wanted, is_in_the_way) in [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            ("127.0.0.2:1", "127.0.0.1:1", false),
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("127.0.0.1:1", "[::]:1", true),
            ("[::ffff:127.0.0.1]:1", "127.0.0.1:1", true),
        ] {
            let socket = Socket { local: held.parse().expect("one"), listens: true, inode: 1 };
            assert_eq!(
                socket.is_in_the_way_of(wanted.parse().expect("one")),
                is_in_the_way,
                "{held} {wanted}"
            );
        }
    }

    #[test]
    fn an_address_that_is_given_up_in_time_is_taken() {
        let mut tries = 0;
        let taken = Patience::begin().bind(|| {
            tries += 1;
            if tries < 4 { Err(io::ErrorKind::AddrInUse.into()) } else { Ok(tries) }
        });
        assert_eq!(taken.expect("the fourth"), 4);
    }

    #[test]
    fn only_an_address_in_use_is_waited_for_and_not_for_ever() {
        let mut tries = 0;
        let mut refuse = |kind: io::ErrorKind| {
            tries = 0;
            let begun = Instant::now();
            let refused = Patience(begun + RETRY_EVERY * 5).bind(|| -> io::Result<()> {
                tries += 1;
                Err(kind.into())
            });
            assert_eq!(refused.expect_err("always").kind(), kind);
            tries
        };
        assert_eq!(refuse(io::ErrorKind::AddrNotAvailable), 1);
        assert!((2..=6).contains(&refuse(io::ErrorKind::AddrInUse)));
    }

    #[test]
    fn an_address_of_this_process_is_held_by_nobody_else() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        assert_eq!(holder(address), Holder::Unseen);
        drop(listener);
        assert_eq!(holder(address), Holder::Unknown);
    }

    #[test]
    fn a_process_is_told_by_its_command() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().expect("coreutils");
        let told = process(child.id());
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        // Between fork and exec it still has the test's own command.
        assert!(told.pid == child.id() && !told.command.is_empty(), "{told}");
    }
}
