//! Why a gateway did not start, and what the operator reads.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use super::bind::{self, Holder};

/// Why a gateway did not start.
#[derive(Debug)]
pub enum StartError {
    /// An address is in use.
    InUse {
        /// The configuration key that names it.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// By whom.
        holder: Holder,
    },
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
            Self::InUse { key, address, holder } => {
                write!(f, "{key}: {address} is in use: ")?;
                let port = address.port();
                match holder {
                    Holder::Listens(process) => write!(f, "{process} listens there"),
                    Holder::Connected(process) => {
                        write!(
                            f,
                            "{process} has a connection from that port, and listeners need ports outside of \
                            net.ipv4.ip_local_port_range"
                        )
                    }
                    Holder::Unseen => write!(
                        f,
                        "a process listens there that cannot be seen from here; `ss -tlnp sport = :{port}` as root \
                         shows it"
                    ),
                    Holder::Unknown => {
                        write!(
                            f,
                            "no process that can be seen has it; `ss -tanp sport = :{port}` as root shows more"
                        )
                    }
                }?;
                write!(f, "; end it, or give {key} another port")
            }
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
    /// Why an address cannot be listened on, with who has it.
    pub(super) fn listening(key: &'static str, address: SocketAddr, error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::AddrInUse {
            Self::InUse { key, address, holder: bind::holder(address) }
        } else {
            Self::Address { key, address, error }
        }
    }

    /// 78 (`EX_CONFIG`) when the operator has something to fix, 70 (`EX_SOFTWARE`) when the kernel refuses.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::InUse { .. } | Self::Address { .. } | Self::Socket(_) => 78,
            Self::Kernel { .. } => 70,
        }
    }
}
