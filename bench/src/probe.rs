//! One newcomer: whether a server takes a connection now, and how long that takes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::receiver::Plan;
use crate::receiver::connection::check_upgrade;

/// A device gives up then.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connects, upgrades and leaves; how long it took until the upgrade was answered.
pub(crate) fn handshake(plan: &Plan) -> Result<Duration, String> {
    let begin = Instant::now();
    let failed = |e: std::io::Error| format!("a newcomer after {:.1} s: {e}", begin.elapsed().as_secs_f64());
    let mut socket = TcpStream::connect_timeout(&plan.target, PATIENCE).map_err(failed)?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    socket.write_all(plan.upgrades.first().map(Vec::as_slice).unwrap_or_default()).map_err(failed)?;
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let read = socket.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            return Err("a newcomer: the server closed the connection instead of upgrading it".into());
        }
        head.extend_from_slice(&buffer[..read]);
        if let Some(answered) = check_upgrade(&mut head) {
            return answered.map(|_tail| begin.elapsed());
        }
    }
}
