//! Which socket of the service manager is for devices, and which for the API.
//!
//! A socket named `devices` or `api` (`FileDescriptorName=` in its unit) is that. Any other name, such as systemd's
//! default, leaves it to the port: the one of `api.listen` is the API's, everything else is for devices. What was not
//! handed over is opened as without a manager. *Not here*: taking them into ownership (`sys::activation`).

use std::net::{SocketAddr, TcpListener};

use super::error::StartError;
use crate::config::Config;
use crate::sys::activation::Inherited;

/// What the service manager opened for this process.
#[derive(Debug, Default)]
pub struct Sockets {
    /// For devices; none: the shards open their own.
    pub devices: Vec<Inherited>,
    /// For the API; none: it opens its own.
    pub api: Option<Inherited>,
}

impl Sockets {
    /// Sorts them by name and port. The API's waits from here on: io_uring's accept answers EAGAIN at once on a listener that
    /// does not, and a service manager may hand over either.
    pub fn sort(inherited: Vec<Inherited>, config: &Config) -> Result<Self, StartError> {
        let mut sockets = Self::default();
        for socket in inherited {
            if !is_api(&socket.name, socket.address, config) {
                sockets.devices.push(socket);
                continue;
            }
            let failed =
                |error| StartError::Kernel { wanted: "set up a socket of the service manager", error };
            socket.listener.set_nonblocking(false).map_err(failed)?;
            if let Some(first) = sockets.api.replace(socket) {
                let second = sockets.api.as_ref().map_or(first.address, |second| second.address);
                return Err(StartError::Socket(format!(
                    "the service manager handed over two sockets for the API, {} and {second}; name those for devices \
                     with FileDescriptorName=devices in their socket unit",
                    first.address
                )));
            }
        }
        Ok(sockets)
    }

    /// Listeners for devices; shard `i` accepts from number `i` modulo their count.
    pub(super) fn listeners(&self) -> impl ExactSizeIterator<Item = &TcpListener> {
        self.devices.iter().map(|socket| &socket.listener)
    }
}

fn is_api(name: &str, address: SocketAddr, config: &Config) -> bool {
    match name {
        "devices" => false,
        "api" => true,
        _ => address.port() == config.api.listen.port(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;

    fn socket(name: &str) -> Inherited {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        Inherited { name: name.into(), address, listener }
    }

    #[test]
    fn names_decide_in_any_order() {
        let inherited = vec![socket("api"), socket("devices"), socket("devices")];
        let sockets = Sockets::sort(inherited, &Config::default()).expect("one API");
        assert_eq!((sockets.devices.len(), sockets.api.is_some()), (2, true));
    }

    #[test]
    fn without_a_known_name_the_port_decides() {
        let (first, second) = (socket("fanfare.socket"), socket(""));
        let mut config = Config::default();
        config.api.listen = SocketAddr::from(([127, 0, 0, 1], second.address.port()));
        let devices = first.address;
        let sockets = Sockets::sort(vec![first, second], &config).expect("one API");
        assert_eq!(sockets.devices.iter().map(|socket| socket.address).collect::<Vec<_>>(), [devices]);
        assert_eq!(sockets.api.map(|api| api.address.port()), Some(config.api.listen.port()));
    }

    #[test]
    fn the_apis_waits_whatever_it_was() {
        let inherited = socket("api");
        inherited.listener.set_nonblocking(true).expect("it is open");
        let sockets = Sockets::sort(vec![inherited], &Config::default()).expect("one API");
        let api = sockets.api.expect("it was handed over");
        let client = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            TcpStream::connect(api.address)
        });
        assert!(api.listener.accept().is_ok(), "it waits for who comes later");
        assert!(client.join().expect("it only connects").is_ok());
    }

    #[test]
    fn two_sockets_for_the_api_are_the_operators_to_sort_out() {
        let error = Sockets::sort(vec![socket("api"), socket("api")], &Config::default()).expect_err("two");
        assert_eq!(error.exit_code(), 78);
        assert!(error.to_string().contains("FileDescriptorName=devices"), "{error}");
    }
}
