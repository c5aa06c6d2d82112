//! The crew: threads with devices that note what came to them, from which push, and when.
//!
//! A thread owns its devices, their sockets (in a file table of its own) and its notes; orders come over a channel, the
//! notes go back when it ends. *Not here*: what a message is (`message`), one device (`device`), what the notes mean
//! (`super`, `pushes::audit`).

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::device::{Device, End};
use super::plan::Plan;
use crate::sys::epoll::Epoll;
use crate::sys::process;

/// Bytes of one read.
const READ_BYTES: usize = 64 * 1024;
/// Orders are looked for this often when nothing comes.
const LOOK: Duration = Duration::from_millis(5);

/// One message on one device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sighting {
    /// Microseconds since the crew's begin.
    pub(crate) at_us: u64,
    pub(crate) device: u32,
    pub(crate) room: u32,
    pub(crate) push: u32,
    pub(crate) message: u32,
}

/// What a device is told.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    /// Connect, and be in these rooms from the first moment on.
    Open(u32, Vec<u32>),
    /// Be in this room too.
    Join(u32, u32),
    /// Be in this room no longer.
    Leave(u32, u32),
    /// Say goodbye, and read to the end.
    Close(u32),
    /// Reset the connection, whatever has not been read.
    Kill(u32),
}

impl Order {
    fn device(&self) -> u32 {
        match self {
            Self::Open(device, _)
            | Self::Join(device, _)
            | Self::Leave(device, _)
            | Self::Close(device)
            | Self::Kill(device) => *device,
        }
    }
}

/// How one device ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) device: u32,
    pub(crate) how: End,
}

/// What a crew saw.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// In the order of time.
    pub(crate) sightings: Vec<Sighting>,
    /// Those that are not open any more.
    pub(crate) ended: Vec<Ended>,
    /// The first thing that was not as published, and how many there were.
    pub(crate) malformed: Option<String>,
    pub(crate) malformed_count: u64,
    /// CPU time of the busiest thread, of its time.
    pub(crate) cpu_percent: f64,
}

#[derive(Debug, Default)]
struct Shared {
    opened: AtomicU64,
    messages: AtomicU64,
    failure: Mutex<Option<String>>,
}

/// The threads.
pub(crate) struct Crew {
    epoch: Instant,
    shared: Arc<Shared>,
    threads: Vec<(mpsc::Sender<Order>, JoinHandle<Notes>)>,
}

impl Crew {
    /// Starts the threads, without a device.
    pub(crate) fn start(plan: &Plan) -> Result<Self, String> {
        process::open_files_max();
        let (epoch, shared) = (Instant::now(), Arc::<Shared>::default());
        let threads = plan.cores.iter().map(|&core| {
            let (orders, inbox) = mpsc::channel();
            let (plan, shared) = (plan.clone(), Arc::clone(&shared));
            let body = move || {
                let begin = Instant::now();
                let mut thread =
                    Thread { plan, epoch, shared, devices: HashMap::new(), notes: Notes::default() };
                let ran = process::pin(core).and_then(|()| thread.run(&inbox));
                if let Err(why) = ran {
                    thread.fail(why);
                }
                thread.notes.cpu_percent =
                    process::thread_cpu().as_secs_f64() / begin.elapsed().as_secs_f64() * 100.0;
                thread.notes
            };
            let handle = std::thread::Builder::new().name("crew".into()).spawn(body);
            handle.map(|handle| (orders, handle)).map_err(|e| format!("cannot start a thread: {e}"))
        });
        Ok(Self { epoch, shared: Arc::clone(&shared), threads: threads.collect::<Result<_, _>>()? })
    }

    /// Microseconds since the begin: the clock of all notes.
    pub(crate) fn now_us(&self) -> u64 {
        self.epoch.elapsed().as_micros() as u64
    }

    /// Gives an order; it is carried out within [`LOOK`] and a turn.
    pub(crate) fn order(&self, order: Order) -> Result<(), String> {
        let thread = order.device() as usize % self.threads.len();
        let given = self.threads[thread].0.send(order);
        given.map_err(|_| self.failure().unwrap_or_else(|| "a thread of devices ended".into()))
    }

    /// Devices that were opened so far.
    pub(crate) fn opened(&self) -> u64 {
        self.shared.opened.load(Ordering::Relaxed)
    }

    /// Messages seen so far.
    pub(crate) fn messages(&self) -> u64 {
        self.shared.messages.load(Ordering::Relaxed)
    }

    /// Why a device could not be opened.
    pub(crate) fn failure(&self) -> Option<String> {
        self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Everybody leaves; what was seen.
    pub(crate) fn finish(self) -> Result<Notes, String> {
        let mut all = Notes::default();
        for (orders, thread) in self.threads {
            drop(orders);
            let notes = thread.join().map_err(|_| "a thread of devices panicked".to_owned())?;
            all.sightings.extend(notes.sightings);
            all.ended.extend(notes.ended);
            all.malformed = all.malformed.or(notes.malformed);
            all.malformed_count += notes.malformed_count;
            all.cpu_percent = all.cpu_percent.max(notes.cpu_percent);
        }
        all.sightings.sort_by_key(|sighting| sighting.at_us);
        Ok(all)
    }
}

struct Thread {
    plan: Plan,
    epoch: Instant,
    shared: Arc<Shared>,
    devices: HashMap<u32, Device>,
    notes: Notes,
}

impl Thread {
    fn fail(&self, why: String) {
        self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
    }

    fn run(&mut self, inbox: &mpsc::Receiver<Order>) -> Result<(), String> {
        process::own_file_table().map_err(|e| format!("cannot have a file table of its own: {e}"))?;
        let mut epoll = Epoll::new().map_err(|e| format!("cannot wait for sockets: {e}"))?;
        let mut buffer = vec![0; READ_BYTES];
        loop {
            loop {
                match inbox.try_recv() {
                    Ok(order) => self.obey(order, &epoll),
                    Err(mpsc::TryRecvError::Empty) => break,
                    Err(mpsc::TryRecvError::Disconnected) => return Ok(()),
                }
            }
            let ready = epoll.wait(LOOK).map_err(|e| format!("cannot wait for sockets: {e}"))?;
            for index in 0..ready {
                let report = epoll.ready(index);
                if report.readable {
                    self.read(report.token as u32, &mut buffer);
                }
            }
        }
    }

    fn obey(&mut self, order: Order, epoll: &Epoll) {
        let number = order.device();
        match order {
            Order::Open(_, rooms) => match Device::open(&self.plan, &rooms) {
                Ok((device, tail)) => {
                    if let Err(e) = epoll.add(device.fd(), u64::from(number), true) {
                        return self.fail(format!("cannot wait for a socket: {e}"));
                    }
                    self.devices.insert(number, device);
                    self.shared.opened.fetch_add(1, Ordering::Relaxed);
                    self.take(number, &tail);
                }
                Err(why) => self.fail(why),
            },
            Order::Join(_, room) => self.say(number, true, room),
            Order::Leave(_, room) => self.say(number, false, room),
            Order::Close(_) => {
                let closing = self.devices.get_mut(&number).map(Device::say_goodbye);
                if let Some(Err(why)) = closing {
                    self.end(number, End::Server(why.to_string()));
                }
            }
            Order::Kill(_) => {
                if let Some(device) = self.devices.remove(&number) {
                    device.reset();
                    self.notes.ended.push(Ended { device: number, how: End::Killed });
                }
            }
        }
    }

    fn say(&mut self, number: u32, joins: bool, room: u32) {
        let prefix = &self.plan.prefix;
        let said = self.devices.get_mut(&number).map(|device| device.say(joins, &format!("{prefix}-{room}")));
        if let Some(Err(why)) = said {
            self.end(number, End::Server(why.to_string()));
        }
    }

    fn end(&mut self, number: u32, how: End) {
        if let Some(device) = self.devices.remove(&number) {
            let how = match how {
                // Whoever says goodbye is answered with a Close, behind everything that was sent.
                End::Server(code) if device.is_leaving() && code == "1000" => End::Left,
                how => how,
            };
            self.notes.ended.push(Ended { device: number, how });
        }
    }

    /// Reads until nothing is left.
    fn read(&mut self, number: u32, buffer: &mut [u8]) {
        loop {
            let Some(device) = self.devices.get_mut(&number) else { return };
            match device.socket().read(buffer) {
                Ok(0) => return self.end(number, End::Server("end of stream".into())),
                Ok(n) => self.take(number, &buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return self.end(number, End::Server(e.to_string())),
            }
        }
    }

    fn take(&mut self, number: u32, bytes: &[u8]) {
        let at_us = self.epoch.elapsed().as_micros() as u64;
        let Some(device) = self.devices.get_mut(&number) else { return };
        let mut seen = Vec::new();
        let taken = device.take(bytes, &self.plan, &mut seen);
        self.shared.messages.fetch_add(seen.len() as u64, Ordering::Relaxed);
        self.notes.sightings.extend(seen.into_iter().map(|read| Sighting {
            at_us,
            device: number,
            room: read.room,
            push: read.push,
            message: read.message,
        }));
        match taken {
            Ok(None) => {}
            Ok(Some(end)) => self.end(number, end),
            Err(why) => {
                self.notes.malformed_count += 1;
                self.notes.malformed.get_or_insert(why);
            }
        }
    }
}
