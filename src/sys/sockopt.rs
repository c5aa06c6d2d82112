//! Listening sockets for devices.
//!
//! A listener is a plain `std` one, close-on-exec. *Not here*: accepting (`dataplane`).
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use fanfare_core::limits;

/// A process's first listener for devices, beside which it then opens the others.
///
/// Listeners with `SO_REUSEPORT` share a port without a word, also with those of another process of the same user: two
/// gateways by mistake would each get half of the devices. This one gets the option only when it listens: until then the
/// kernel refuses it while anybody listens there, and from then on everybody else who begins like this. So of two
/// processes that start at the same moment one is refused.
pub fn first_listener(address: SocketAddr, notsent_lowat_bytes: u32) -> io::Result<TcpListener> {
    let socket = bindable(address, notsent_lowat_bytes)?;
    socket.bind(&address.into())?;
    socket.listen(limits::LISTEN_BACKLOG)?;
    socket.set_reuse_port(true)?;
    Ok(socket.into())
}

/// A listener for devices that shares its port with the other shards' listeners.
pub fn listener(address: SocketAddr, notsent_lowat_bytes: u32) -> io::Result<TcpListener> {
    let socket = bindable(address, notsent_lowat_bytes)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(limits::LISTEN_BACKLOG)?;
    Ok(socket.into())
}

/// `TCP_DEFER_ACCEPT` (tcp(7)): the listener is told of a connection when the client's request has come, or has not within
/// [`limits::DEFER_ACCEPT`]. So a handshake is one wake-up and one read.
pub fn defer_accept(listener: &impl AsRawFd) -> io::Result<()> {
    let seconds = limits::DEFER_ACCEPT.as_secs() as libc::c_int;
    let (value, length) = ((&raw const seconds).cast(), size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: `seconds` is valid for reads of `length` bytes for the whole call.
    let failed = unsafe {
        libc::setsockopt(listener.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, value, length)
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Connections that wait to be accepted: of a listener, `tcpi_unacked` of `TCP_INFO` is the length of its queue.
pub fn waiting(listener: &impl AsRawFd) -> u32 {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    let (value, fd) = (info.as_mut_ptr().cast(), listener.as_raw_fd());
    // SAFETY: `info` is valid for writes of `length` bytes, `length` for reads and writes, for the whole call.
    let failed = unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, value, &raw mut length) };
    // SAFETY: numbers only, for which every pattern is a value; the kernel writes a part of them or none.
    if failed == 0 { unsafe { info.assume_init() }.tcpi_unacked } else { 0 }
}

/// Ends listening while an accept may be under way: it fails, and whoever waits to be accepted is reset. An accept that
/// is cancelled instead can leak a connection that it had taken already.
pub fn stop_listening(listener: &TcpListener) {
    // A listener can always be shut down; if it could not, closing it is the next that happens.
    let _ = SockRef::from(listener).shutdown(Shutdown::Both);
}

/// A TCP socket for the address's family, not bound yet.
///
/// Accepted sockets inherit from it: `TCP_NODELAY`, since a batch is complete when it is sent and has nothing to wait
/// for, and `TCP_NOTSENT_LOWAT` (`notsent_lowat_bytes`), so that a slow client's socket counts as full when that much
/// is unsent, rather than when megabytes of send buffer are. Options set on the listener cost nothing per connection.
fn bindable(address: SocketAddr, notsent_lowat_bytes: u32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of a process before this one, in TIME_WAIT or closing, do not hold the port (socket(7)).
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]` takes IPv4 as well, whatever net.ipv6.bindv6only says.
        socket.set_only_v6(false)?;
    }
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(notsent_lowat_bytes)?;
    defer_accept(&socket)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Write as _};
    use std::net::TcpStream;

    use super::*;

    const LOOPBACK: ([u8; 4], u16) = ([127, 0, 0, 1], 0);
    const LOWAT_BYTES: u32 = 131_072;

    #[test]
    fn accepted_sockets_inherit_what_the_listener_has() {
        let listener = listener(LOOPBACK.into(), LOWAT_BYTES).expect("loopback can be bound");
        let address = listener.local_addr().expect("it is bound");
        let mut client = TcpStream::connect(address).expect("it listens");
        client.write_all(b"GET").expect("it is connected");
        let (accepted, _) = listener.accept().expect("a connection waits");
        let accepted = SockRef::from(&accepted);
        assert!(accepted.tcp_nodelay().expect("a TCP socket"));
        assert_eq!(accepted.tcp_notsent_lowat().expect("a TCP socket"), LOWAT_BYTES);
    }

    #[test]
    fn a_connection_waits_at_the_listener_once_its_client_has_spoken() {
        let listener = listener(LOOPBACK.into(), LOWAT_BYTES).expect("loopback can be bound");
        listener.set_nonblocking(true).expect("a descriptor's flag");
        let address = listener.local_addr().expect("it is bound");
        let mut client = TcpStream::connect(address).expect("it listens");
        assert_eq!(listener.accept().expect_err("it has said nothing").kind(), ErrorKind::WouldBlock);
        client.write_all(b"GET").expect("for the client the connection stands");
        listener.accept().expect("loopback delivers within the call");
    }

    #[test]
    fn those_who_wait_at_a_listener_are_counted() {
        let listener = listener(LOOPBACK.into(), LOWAT_BYTES).expect("loopback can be bound");
        let address = listener.local_addr().expect("it is bound");
        let clients: Vec<TcpStream> = (0..3)
            .map(|_| {
                let mut client = TcpStream::connect(address).expect("it listens");
                client.write_all(b"GET").expect("it is connected");
                client
            })
            .collect();
        assert_eq!(waiting(&listener), 3);
        listener.accept().expect("the first of them");
        assert_eq!(waiting(&listener), 2);
        drop(clients);
    }

    #[test]
    fn shards_share_a_port_and_a_second_process_does_not() {
        let first = first_listener(LOOPBACK.into(), LOWAT_BYTES).expect("loopback can be bound");
        let address = first.local_addr().expect("it is bound");
        let refused = || first_listener(address, LOWAT_BYTES).expect_err("taken").kind();
        assert_eq!(refused(), ErrorKind::AddrInUse, "before the others");
        let second = listener(address, LOWAT_BYTES).expect("SO_REUSEPORT");
        let third = listener(address, LOWAT_BYTES).expect("SO_REUSEPORT");
        assert_eq!(refused(), ErrorKind::AddrInUse);
        drop((first, second));
        assert_eq!(
            first_listener(address, LOWAT_BYTES).expect_err("one still listens").kind(),
            ErrorKind::AddrInUse
        );
        drop(third);
        first_listener(address, LOWAT_BYTES).expect("nobody listens");
    }

    #[test]
    fn connections_are_shared_among_the_first_listener_and_the_others() {
        let first = first_listener(LOOPBACK.into(), LOWAT_BYTES).expect("loopback can be bound");
        let address = first.local_addr().expect("it is bound");
        let second = listener(address, LOWAT_BYTES).expect("SO_REUSEPORT");
        let clients: Vec<TcpStream> = (0..64)
            .map(|_| {
                let mut client = TcpStream::connect(address).expect("they listen");
                client.write_all(b"GET").expect("it is connected");
                client
            })
            .collect();
        let shares = (waiting(&first), waiting(&second));
        assert!(shares.0 > 0 && shares.1 > 0 && shares.0 + shares.1 == clients.len() as u32, "{shares:?}");
    }

    #[test]
    fn connections_of_a_stopped_gateway_do_not_hold_its_port() {
        let before = first_listener(LOOPBACK.into(), LOWAT_BYTES).expect("loopback can be bound");
        let address = before.local_addr().expect("it is bound");
        let connect = || {
            let mut client = TcpStream::connect(address).expect("it listens");
            client.write_all(b"GET").expect("it is connected");
            (client, before.accept().expect("a connection waits").0)
        };
        let (_client, _accepted) = connect();
        let (client, accepted) = connect();
        // The side that closes first goes through TIME_WAIT, which is the gateway's when it drains.
        drop(accepted);
        drop(client);
        drop(before);
        first_listener(address, LOWAT_BYTES).expect("the port can be taken over");
    }

    #[test]
    fn an_address_of_another_machine_is_an_error_and_not_a_taken_port() {
        let error =
            first_listener(([192, 0, 2, 1], 7777).into(), LOWAT_BYTES).expect_err("TEST-NET-1 is nobody's");
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    }
}
