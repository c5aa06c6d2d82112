//! Is a TCP connection of this machine still established at its other end? One question to the kernel, `sock_diag(7)`.
//!
//! It is how a client that reads nothing, or hears nothing, knows when the server gave it up.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddrV4;

use socket2::{Domain, Protocol, Socket, Type};

const NETLINK_SOCK_DIAG: i32 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const TCP_ESTABLISHED: u8 = 1;
/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
const HEADER_BYTES: usize = 16;
const REQUEST_BYTES: usize = HEADER_BYTES + 56;

/// A netlink socket of one thread.
pub(crate) struct Diag(Socket);

impl Diag {
    /// Needs no privilege.
    pub(crate) fn new() -> io::Result<Self> {
        let protocol = Some(Protocol::from(NETLINK_SOCK_DIAG));
        Socket::new(Domain::from(libc::AF_NETLINK), Type::DGRAM, protocol).map(Self)
    }

    /// Whether this machine has an established socket whose own address is `local` and whose peer is `remote`.
    /// A few microseconds.
    pub(crate) fn is_established(&mut self, local: SocketAddrV4, remote: SocketAddrV4) -> io::Result<bool> {
        self.0.write_all(&request(local, remote))?;
        let mut answer = [0; 1024];
        let n = self.0.read(&mut answer)?;
        Ok(state(&answer[..n]) == Some(TCP_ESTABLISHED))
    }
}

fn request(local: SocketAddrV4, remote: SocketAddrV4) -> [u8; REQUEST_BYTES] {
    let mut out = [0; REQUEST_BYTES];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        out[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(&(REQUEST_BYTES as u32).to_ne_bytes());
    put(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    put(&NLM_F_REQUEST.to_ne_bytes());
    put(&[0; 8]);
    put(&[libc::AF_INET as u8, libc::IPPROTO_TCP as u8, 0, 0]);
    put(&u32::MAX.to_ne_bytes());
    put(&local.port().to_be_bytes());
    put(&remote.port().to_be_bytes());
    put(&local.ip().octets());
    put(&[0; 12]);
    put(&remote.ip().octets());
    put(&[0; 12]);
    put(&0_u32.to_ne_bytes());
    // No cookie: whichever socket has these addresses.
    put(&[0xff; 8]);
    out
}

/// The second byte of `struct inet_diag_msg`; `None` when the answer is an error.
fn state(answer: &[u8]) -> Option<u8> {
    let kind = answer.get(4..6)?;
    (kind == SOCK_DIAG_BY_FAMILY.to_ne_bytes()).then(|| answer.get(HEADER_BYTES + 1).copied())?
}

#[cfg(test)]
mod tests {
    use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

    use super::*;

    fn v4(address: SocketAddr) -> SocketAddrV4 {
        let SocketAddr::V4(address) = address else { panic!("{address} is no IPv4 address") };
        address
    }

    #[test]
    fn a_connection_is_established_until_its_server_closes_it_though_nobody_reads() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = listener.accept().unwrap().0;
        let mut diag = Diag::new().unwrap();
        let mut held = || {
            diag.is_established(v4(client.peer_addr().unwrap()), v4(client.local_addr().unwrap())).unwrap()
        };
        assert!(held());
        server.shutdown(Shutdown::Write).unwrap();
        assert!(!held());
        drop(server);
        // The listener that is found in its place is no connection.
        assert!(!held());
    }

    #[test]
    fn an_answer_of_any_bytes_is_no_panic() {
        assert_eq!(state(&[]), None);
        assert_eq!(state(&[0; 17]), None);
        let mut answer = request(v4("127.0.0.1:1".parse().unwrap()), v4("127.0.0.1:2".parse().unwrap()));
        answer[HEADER_BYTES + 1] = 1;
        assert_eq!(state(&answer), Some(1));
        assert_eq!(state(&answer[..=HEADER_BYTES]), None);
    }
}
