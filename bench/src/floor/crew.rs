//! The senders of a floor: one thread per file table, all on one core.
//!
//! A file table has room for fewer sockets than a gateway of many shards has, so the sockets are spread over as many
//! threads as that gateway would need. Each has a listener of its own on the same port, as a shard has: the kernel then
//! spreads neighbouring connects over the senders. With one listener for all of them a sender would take runs of one
//! receiver's connections, and to wake one thread for a run of messages is cheaper than what a gateway can have. A pass
//! is over when the last of them has sent. *Not here*: how one of them sends (`sender`), when (`super`).

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender as Channel, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use super::sender::Sender;
use super::spec::{ARRIVES_WITHIN, Spec};
use crate::receiver::Receivers;
use crate::sys::process;

/// Files of a thread that are no accepted sockets.
const SPARE_FILES: usize = 200;
/// Bound of how full a file table may be on average: the kernel spreads by a hash, so some get more than others.
const FILL_PERCENT: usize = 95;
/// Connections that wait to be accepted; the kernel cuts it at net.core.somaxconn.
const BACKLOG: i32 = 16 * 1024;
/// Pause of an accept that found nobody.
const ACCEPT_PAUSE: Duration = Duration::from_micros(200);

/// What one thread did so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Effort {
    /// Sends that found a full socket.
    pub(super) blocked: u64,
    /// CPU time of the thread.
    pub(super) cpu: Duration,
}

/// Threads that send what they are told to.
pub(super) struct Crew {
    orders: Vec<Channel<Arc<[u8]>>>,
    answers: Receiver<Result<(usize, Effort), String>>,
    efforts: Vec<Effort>,
    threads: Vec<JoinHandle<()>>,
}

/// A listener per sender, all on one port.
pub(super) struct Listeners(Vec<TcpListener>);

impl Listeners {
    /// As many as `spec`'s sockets need. They listen when this returns: the kernel spreads only over those that do.
    pub(super) fn open(spec: &Spec) -> io::Result<Self> {
        let room =
            usize::try_from(process::open_files_max()).unwrap_or(usize::MAX).saturating_sub(SPARE_FILES);
        let count = match spec.sockets {
            few if few <= room => 1,
            many => many.div_ceil((room / 100 * FILL_PERCENT).max(1)),
        };
        let first = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let target = first.local_addr()?;
        let others = (1..count).map(|_| listen(target));
        Ok(Self(std::iter::once(Ok(first)).chain(others).collect::<io::Result<_>>()?))
    }

    /// Where the receivers connect to.
    pub(super) fn target(&self) -> io::Result<SocketAddr> {
        self.0[0].local_addr()
    }
}

/// A listener whose queue is as long as the system allows: connects come faster than they are accepted.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// What the threads share while they accept.
struct Door {
    /// Sockets that are to come.
    sockets: usize,
    accepted: Arc<AtomicUsize>,
    /// The receivers have given up, or somebody pressed Ctrl-C.
    shut: AtomicBool,
    congestion: Option<String>,
}

impl Crew {
    /// Starts a thread per listener; returns when every socket is accepted. `accepted` says how many are.
    pub(super) fn accept(
        listeners: Listeners,
        spec: &Spec,
        receivers: &Receivers,
        accepted: Arc<AtomicUsize>,
    ) -> Result<Self, String> {
        let door = Arc::new(Door {
            sockets: spec.sockets,
            accepted,
            shut: AtomicBool::new(false),
            congestion: spec.congestion.clone(),
        });
        let (answer, answers) = channel();
        let mut crew = Self { orders: Vec::new(), answers, efforts: Vec::new(), threads: Vec::new() };
        for (at, listener) in listeners.0.into_iter().enumerate() {
            let (order, orders) = channel();
            let (door, spec, answer) = (Arc::clone(&door), spec.clone(), answer.clone());
            let body = move || {
                let sender = hire(&door, listener, &spec);
                drop(door);
                work(at, sender, &orders, &answer);
            };
            let thread = std::thread::Builder::new().name(format!("sender-{at}")).spawn(body);
            crew.threads.push(thread.map_err(|e| format!("cannot start a sender: {e}"))?);
            crew.orders.push(order);
            crew.efforts.push(Effort::default());
        }
        crew.await_sockets(&door, spec, receivers)?;
        Ok(crew)
    }

    fn await_sockets(&mut self, door: &Door, spec: &Spec, receivers: &Receivers) -> Result<(), String> {
        let (mut accepted, mut since) = (0, Instant::now());
        let mut ready = 0;
        while ready < self.threads.len() {
            match self.answers.recv_timeout(Duration::from_millis(5)) {
                Ok(answer) => {
                    answer?;
                    ready += 1;
                }
                Err(_)
                    if receivers.failed() || process::interrupted() || since.elapsed() > ARRIVES_WITHIN =>
                {
                    door.shut.store(true, Ordering::Relaxed);
                    return Err(format!("only {accepted} of {} sockets came to be", spec.sockets));
                }
                Err(_) => {
                    let now = door.accepted.load(Ordering::Relaxed);
                    if now != accepted {
                        (accepted, since) = (now, Instant::now());
                    }
                }
            }
        }
        Ok(())
    }

    /// One pass: all of `bytes` to every socket.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Result<(), String> {
        let bytes: Arc<[u8]> = bytes.into();
        for order in &self.orders {
            order.send(Arc::clone(&bytes)).map_err(|_| "a sender is gone")?;
        }
        for _ in 0..self.orders.len() {
            let (at, effort) = self.answers.recv().map_err(|_| "the senders are gone")??;
            self.efforts[at] = effort;
        }
        Ok(())
    }

    /// What all of them did so far.
    pub(super) fn effort(&self) -> Effort {
        self.efforts.iter().fold(Effort::default(), |sum, effort| Effort {
            blocked: sum.blocked + effort.blocked,
            cpu: sum.cpu + effort.cpu,
        })
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.orders.clear();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Accepts what comes to `listener` in a file table of its own.
fn hire(door: &Door, listener: TcpListener, spec: &Spec) -> Result<Sender, String> {
    process::own_file_table().map_err(|e| format!("cannot get a file table of its own: {e}"))?;
    let sockets = accept_share(door, &listener)?;
    // Here, in this thread's table, and not before all are connected: what waits at a closed listener is reset.
    drop(listener);
    process::pin(spec.sender_core)?;
    Sender::new(spec.sender, sockets)
}

fn accept_share(door: &Door, listener: &TcpListener) -> Result<Vec<TcpStream>, String> {
    let mut sockets = Vec::new();
    while door.accepted.load(Ordering::Relaxed) < door.sockets {
        match listener.accept() {
            Ok((socket, _)) => {
                socket.set_nodelay(true).map_err(|e| e.to_string())?;
                if let Some(name) = &door.congestion {
                    let set = SockRef::from(&socket).set_tcp_congestion(name.as_bytes());
                    set.map_err(|e| format!("congestion control {name}: {e}"))?;
                }
                sockets.push(socket);
                door.accepted.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) if door.shut.load(Ordering::Relaxed) => return Err("given up".into()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(ACCEPT_PAUSE),
            Err(e) => return Err(format!("accept failed after {} sockets: {e}", sockets.len())),
        }
    }
    Ok(sockets)
}

/// Says that it is ready, then answers every order.
fn work(
    at: usize,
    sender: Result<Sender, String>,
    orders: &Receiver<Arc<[u8]>>,
    answer: &Channel<Result<(usize, Effort), String>>,
) {
    let mut sender = match sender {
        Ok(sender) => sender,
        Err(why) => {
            // Whoever asked may have given up already.
            let _ = answer.send(Err(why));
            return;
        }
    };
    let _ = answer.send(Ok((at, Effort::default())));
    for bytes in orders {
        let done = sender.pass(&bytes);
        let effort = Effort { blocked: sender.blocked, cpu: process::thread_cpu() };
        if answer.send(done.map(|()| (at, effort))).is_err() {
            return;
        }
    }
}
