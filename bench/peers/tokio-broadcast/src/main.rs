//! A WebSocket broadcaster on tokio and tokio-tungstenite: what a competent team writes in an afternoon.
//!
//! `ws://LISTEN/topics/TOPIC` receives each message as one text frame. `POST http://API/publish?topic=TOPIC` publishes
//! its body: a JSON array is that many messages, anything else is one. One thread, a task per connection, one
//! `tokio::sync::broadcast` per topic. A message is held once, however many receive it; what waits for a connection
//! goes out in one write; a connection that lags behind the channel is closed with 1013.
//! *Not here*: batching protocols, authentication, metrics: a peer to measure against, not a product.

mod api;
mod devices;
mod topics;

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait for an accept; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: u32 = 65_536;

const USAGE: &str = "tokio-broadcast: usage: tokio-broadcast --listen IP:PORT --api IP:PORT";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((devices, api)) = addresses(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match run(devices, api) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("tokio-broadcast: {why}");
            ExitCode::FAILURE
        }
    }
}

fn addresses(arguments: &[String]) -> Option<(SocketAddr, SocketAddr)> {
    let [listen, devices, api_flag, api] = arguments else { return None };
    if listen != "--listen" || api_flag != "--api" {
        return None;
    }
    Some((devices.parse().ok()?, api.parse().ok()?))
}

/// One core is all that a run gives a server, so one thread is the fastest runtime there is: no task ever moves.
fn run(devices: SocketAddr, api: SocketAddr) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(async {
        let topics = Arc::new(topics::Topics::default());
        let (devices, api) = (listen(devices)?, listen(api)?);
        tokio::try_join!(devices::serve(devices, Arc::clone(&topics)), api::serve(api, topics)).map(|_| ())
    })
}

/// Accepted sockets inherit `TCP_NODELAY`: no system call for each.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.set_nodelay(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
