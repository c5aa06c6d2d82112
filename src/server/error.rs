//! Why a gateway did not start, and what the operator reads.

use std::fmt;
use std::io;
use std::net::SocketAddr;

/// Why a gateway did not start.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be listened on.
    Address {
        /// The configuration key that names it.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        error: io::Error,
    },
    /// A socket of the service manager cannot be used.
    Socket(String),
    /// The kernel refused something that a gateway needs.
    Kernel {
        /// What was wanted.
        wanted: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { key, address, error } if error.kind() == io::ErrorKind::AddrInUse => write!(
                f,
                "{key}: {address} is in use: another process listens there, or an outgoing connection has its port; \
                 `ss -tanp sport = :{port}` shows which",
                port = address.port()
            ),
            Self::Address { key, address, error } => {
                write!(f, "{key}: cannot listen on {address}: {error}")
            }
            Self::Socket(sentence) => f.write_str(sentence),
            Self::Kernel { wanted, error } => write!(f, "cannot {wanted}: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl StartError {
    /// 78 (`EX_CONFIG`) when the operator has something to fix, 70 (`EX_SOFTWARE`) when the kernel refuses.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Address { .. } | Self::Socket(_) => 78,
            Self::Kernel { .. } => 70,
        }
    }
}
