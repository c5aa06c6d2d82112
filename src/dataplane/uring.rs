//! [`Plane`] on a raw io_uring ring that one thread owns.
//!
//! The ring waits: for input, for room, for who comes, for the time. What does not wait is a plain system call. A SEND by
//! the ring would be carried out inside `io_uring_enter` just as well, but takes a reference to the socket's file and gives
//! it back: two more cache lines of each of a million sockets that were not touched since the last message.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, RawFd};

use io_uring::types::{Fd, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use socket2::SockRef;

use super::{Closing, Event, Listener, Plane, Received, Token, Took, TurnedAway};
use crate::sys::eventfd::EventFd;
use crate::sys::{files, sockopt};
use fanfare_core::limits;

/// Submission entries: what a turn's accepts and closes come to. When they are used up, they are submitted.
const ENTRIES: u32 = limits::EVENTS_PER_TURN as u32;
/// Completion entries. Overflow is not loss (the kernel keeps the rest), only a detour.
const COMPLETIONS: u32 = 8 * ENTRIES;

/// Bits of a poll's result that say that the stream ends.
const ENDING: i32 = (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) as i32;

/// What a completion is about; the top byte of its user data.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Op {
    Readable = 1,
    Writable = 2,
    Tick = 3,
    /// Removal of a poll, close of a socket: nobody waits for it.
    Forget = 4,
    Knock = 5,
    Head = 6,
}

impl Op {
    const fn with(self, token: Token) -> u64 {
        (self as u64) << 56 | (token.index as u64) << 32 | token.generation as u64
    }
}

/// `IORING_ENTER_GETEVENTS` of `io_uring_enter(2)`: run deferred work and post what it completes.
const GETEVENTS: u32 = 1;

/// Somebody waits at the listener. Exclusively: where shards share a listener, each connection wakes one of them. The poll
/// is made anew after each report, which puts a shard behind those that wait already.
const KNOCK: u32 = libc::POLLIN as u32 | libc::EPOLLEXCLUSIVE as u32;

/// Reads of what a client has sent who is told that there is no room.
const LAST_READS: usize = 4;

const NOBODY: Token = Token { index: 0, generation: 0 };

/// The ring. Dropping it cancels what is in flight.
pub struct Uring {
    ring: IoUring,
    /// What was reported, in the order in which it came.
    events: VecDeque<Event>,
    tick: Box<Timespec>,
    /// Until it ends.
    listener: Option<Listener>,
    /// One was taken from a listener that others share: it is their turn now.
    has_taken: bool,
    /// Sockets closed so far.
    closed: u64,
    /// Closes among the prepared entries.
    closes_prepared: bool,
    /// A descriptor that is given up for a moment when no other is free. An eventfd, because it counts among the open files
    /// of the whole machine too.
    reserve: Option<EventFd>,
}

/// Errors of accept that are those of the connection that would have been accepted (accept(2), "Error handling").
const OF_ONE_CONNECTION: [i32; 11] = [
    libc::ECONNABORTED,
    libc::EINTR,
    libc::ENETDOWN,
    libc::EPROTO,
    libc::ENOPROTOOPT,
    libc::EHOSTDOWN,
    libc::ENONET,
    libc::EHOSTUNREACH,
    libc::EOPNOTSUPP,
    libc::ENETUNREACH,
    libc::EPERM,
];

/// The next connection of a listener; `None`: nobody waits.
fn accept_from(listener: &Listener) -> io::Result<Option<(TcpStream, SocketAddr)>> {
    let mut attempt = 0;
    loop {
        match listener.socket().accept() {
            Ok(accepted) => return Ok(Some(accepted)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => {
                attempt += 1;
                let is_of_one = error.raw_os_error().is_some_and(|code| OF_ONE_CONNECTION.contains(&code));
                if !is_of_one || attempt == limits::ACCEPTS_PER_TURN {
                    return Err(error);
                }
            }
        }
    }
}

impl Uring {
    /// A ring for the calling thread, which must be the only one to use it. `wakeup` is signalled when the kernel has
    /// something to report. The listener is a descriptor of the thread's own table, and non-blocking: shards that share
    /// one may be told of the same connection.
    pub fn new(wakeup: &EventFd, listener: Listener) -> io::Result<Self> {
        listener.socket().set_nonblocking(true)?;
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(COMPLETIONS)
            .build(ENTRIES)?;
        ring.submitter().register_eventfd(wakeup.as_raw_fd())?;
        let tick = Box::new(Timespec::new().nsec(limits::TICK.subsec_nanos()));
        let mut this = Self {
            ring,
            events: VecDeque::new(),
            tick,
            listener: Some(listener),
            has_taken: false,
            closed: 0,
            closes_prepared: false,
            reserve: Some(EventFd::new()?),
        };
        this.arm_tick();
        Ok(this)
    }

    /// Submits what is prepared and takes what the kernel has to report. `false`: there is nothing.
    ///
    /// One `io_uring_enter` runs about twenty pieces of deferred work and says by a flag that more is left, for which
    /// the eventfd is not signalled again: so this goes on until the flag is clear, or a turn's worth of events waits.
    ///
    /// While a turn's worth waits already, nothing more is taken: the kernel joins the news of a socket as long as they
    /// are not asked for, a queue here would not.
    pub fn turn(&mut self) -> bool {
        if self.events.len() >= limits::EVENTS_PER_TURN {
            self.submit_with(0);
            return true;
        }
        loop {
            self.submit();
            self.reap();
            if self.events.len() >= limits::EVENTS_PER_TURN || !self.has_news() {
                return !self.events.is_empty();
            }
        }
    }

    /// Whether the kernel has something to report that was not taken; costs no system call.
    pub fn has_news(&mut self) -> bool {
        self.ring.submission().taskrun() || !self.ring.completion().is_empty()
    }

    /// Whether its thread may sleep: nothing is prepared, taken or reported. What the kernel has to report from here on
    /// is announced by the eventfd.
    pub fn is_quiet(&mut self) -> bool {
        self.events.is_empty() && self.ring.submission().is_empty() && !self.has_news()
    }

    /// The next event, if one has been taken.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Gives back room that its queues do not need now.
    pub fn shrink(&mut self) {
        self.events.shrink_to_fit();
    }

    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: what an entry points at outlives its submission: the tick's timespec is owned by self, and no other entry
        // points at anything.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.submit();
        }
    }

    /// Gives every prepared entry to the kernel and lets it run its deferred work.
    ///
    /// A ring that refuses entries reports nothing of these sockets, ever; there is no way on from there, so that is the end
    /// of the process.
    fn submit(&mut self) {
        self.submit_with(GETEVENTS);
    }

    /// The same, with flags of `io_uring_enter(2)`.
    fn submit_with(&mut self, flags: u32) {
        loop {
            let prepared = self.ring.submission().len();
            if prepared == 0 && flags == 0 {
                return;
            }
            // SAFETY: no argument is passed, and the entries are valid as `push` says.
            match unsafe { self.ring.submitter().enter::<libc::sigset_t>(prepared as u32, 0, flags, None) } {
                Ok(consumed) if consumed == prepared => {
                    self.closes_prepared = false;
                    return;
                }
                Ok(_) => {}
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::EAGAIN | libc::EBUSY) => self.reap(),
                    _ => panic!("the dataplane's ring refuses to work: {error}"),
                },
            }
        }
    }

    /// Takes all completions.
    fn reap(&mut self) {
        let mut tick = false;
        for completion in self.ring.completion() {
            let (op, token) = decode(completion.user_data());
            let result = completion.result();
            if op == Op::Readable as u8 {
                if result == -libc::ECANCELED {
                    continue;
                }
                let ending = result < 0 || result & ENDING != 0;
                self.events.push_back(match cqueue::more(completion.flags()) {
                    false => Event::PollEnded(token),
                    true if ending => Event::Ending(token),
                    true => Event::Readable(token),
                });
            } else if op == Op::Writable as u8 {
                if result != -libc::ECANCELED {
                    self.events.push_back(Event::Writable(token));
                }
            } else if op == Op::Knock as u8 || op == Op::Head as u8 {
                if result != -libc::ECANCELED {
                    let is_knock = op == Op::Knock as u8;
                    self.events.push_back(if is_knock { Event::Knock } else { Event::Head(token) });
                }
            } else if op == Op::Tick as u8 {
                self.events.push_back(Event::Tick);
                tick = true;
            }
        }
        if tick {
            self.arm_tick();
        }
    }

    /// Removes a poll with the next submission. The kernel looks for it among up to a hundred, in a list that is in no cache:
    /// a removal costs more than the close behind it, and one of a poll that is not there twice as much.
    fn forget(&mut self, op: Op, token: Token) {
        let entry = opcode::PollRemove::new(op.with(token))
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(Op::Forget.with(token));
        self.push(&entry);
    }

    fn close_socket(&mut self, fd: RawFd) {
        let entry = opcode::Close::new(Fd(fd))
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(Op::Forget.with(NOBODY));
        self.push(&entry);
        self.closed += 1;
        self.closes_prepared = true;
    }

    /// Reads what a client has sent, up to a usual head or two, and answers it. Bytes that stay unread would reset the
    /// connection.
    fn tell_last(&mut self, stream: &TcpStream, scratch: &mut [u8], response: &[u8]) -> TurnedAway {
        let fd = stream.as_raw_fd();
        for _ in 0..LAST_READS {
            match self.receive(fd, scratch) {
                Received::Bytes(count) if count == scratch.len() => {}
                Received::Bytes(_) | Received::Empty => break,
                Received::End | Received::Gone => return TurnedAway::Gone,
            }
        }
        self.send(fd, response);
        self.finish(fd);
        TurnedAway::Told
    }

    fn arm_tick(&mut self) {
        let entry = opcode::Timeout::new(&raw const *self.tick).build().user_data(Op::Tick.with(NOBODY));
        self.push(&entry);
    }
}

fn decode(user_data: u64) -> (u8, Token) {
    let index = (user_data >> 32) as u32 & (limits::CONNECTIONS_PER_SHARD_MAX as u32 - 1);
    ((user_data >> 56) as u8, Token { index, generation: user_data as u32 })
}

impl Plane for Uring {
    fn watch_listener(&mut self) {
        let Some(listener) = &self.listener else { return };
        let fd = listener.socket().as_raw_fd();
        let entry = opcode::PollAdd::new(Fd(fd), KNOCK).build().user_data(Op::Knock.with(NOBODY));
        self.push(&entry);
    }

    fn accept(&mut self) -> io::Result<Option<(RawFd, SocketAddr)>> {
        let Some(listener) = &self.listener else { return Ok(None) };
        if std::mem::take(&mut self.has_taken) {
            return Ok(None);
        }
        let mut accepted = accept_from(listener);
        if accepted.is_err() && self.closes_prepared {
            self.submit();
            let Some(listener) = &self.listener else { return Ok(None) };
            accepted = accept_from(listener);
        }
        let Some((stream, peer)) = accepted? else { return Ok(None) };
        // Whoever is awake would take them all, and the others, woken for nothing, would sleep on.
        self.has_taken = matches!(self.listener, Some(Listener::Inherited(_)));
        Ok(Some((stream.into_raw_fd(), peer)))
    }

    fn turn_away(&mut self, scratch: &mut [u8], response: &[u8]) -> io::Result<Option<TurnedAway>> {
        self.reserve = None;
        let accepted = self.listener.as_ref().map_or(Ok(None), accept_from);
        let became =
            accepted.map(|accepted| accepted.map(|(stream, _)| self.tell_last(&stream, scratch, response)));
        // Nothing else takes a descriptor of this table meanwhile. Of the whole machine's, somebody may have taken the last:
        // then there is none in reserve, and the next call tries without.
        self.reserve = EventFd::new().ok();
        became
    }

    fn closed(&self) -> u64 {
        self.closed
    }

    fn descriptors_max(&self) -> u64 {
        files::nofile_limit().map_or(0, |limit| limit.soft)
    }

    fn waiting(&self) -> u32 {
        self.listener.as_ref().map_or(0, |listener| sockopt::waiting(listener.socket()))
    }

    fn stop_listening(&mut self) {
        // The poll holds the file, and would swallow what is meant to wake the next process.
        self.forget(Op::Knock, NOBODY);
        self.submit();
        if let Some(Listener::Own(listener)) = self.listener.take() {
            sockopt::stop_listening(&listener);
        }
    }

    fn watch_handshake(&mut self, token: Token, fd: RawFd) {
        let events = (libc::POLLIN | libc::POLLRDHUP) as u32;
        let entry = opcode::PollAdd::new(Fd(fd), events).build().user_data(Op::Head.with(token));
        self.push(&entry);
    }

    fn dismiss(&mut self, watched: Option<Token>, fd: RawFd) {
        if let Some(token) = watched {
            self.forget(Op::Head, token);
        }
        self.close_socket(fd);
    }

    fn watch(&mut self, token: Token, fd: RawFd) {
        let entry = opcode::PollAdd::new(Fd(fd), (libc::POLLIN | libc::POLLRDHUP) as u32)
            .multi(true)
            .build()
            .user_data(Op::Readable.with(token));
        self.push(&entry);
    }

    fn watch_writable(&mut self, token: Token, fd: RawFd) {
        let entry =
            opcode::PollAdd::new(Fd(fd), libc::POLLOUT as u32).build().user_data(Op::Writable.with(token));
        self.push(&entry);
    }

    fn unwatch_writable(&mut self, token: Token) {
        self.forget(Op::Writable, token);
    }

    fn send(&mut self, fd: RawFd, bytes: &[u8]) -> Took {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: `bytes` is valid for its length for the whole call.
        let sent = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) };
        match sent {
            0.. => Took::Bytes(sent.cast_unsigned()),
            _ => match io::Error::last_os_error().raw_os_error() {
                Some(libc::EAGAIN | libc::EINTR | libc::ENOBUFS) => Took::Bytes(0),
                _ => Took::Gone,
            },
        }
    }

    fn receive(&mut self, fd: RawFd, buffer: &mut [u8]) -> Received {
        // SAFETY: `buffer` is valid for writes of its length for the whole call.
        let received =
            unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT) };
        match received {
            0 => Received::End,
            1.. => Received::Bytes(received.cast_unsigned()),
            _ => match io::Error::last_os_error().raw_os_error() {
                Some(libc::EAGAIN | libc::EINTR) => Received::Empty,
                _ => Received::Gone,
            },
        }
    }

    fn peer(&self, fd: RawFd) -> Option<SocketAddr> {
        // SAFETY: the shard owns the descriptor and does not close it during this call.
        let socket = unsafe { BorrowedFd::borrow_raw(fd) };
        SockRef::from(&socket).peer_addr().ok()?.as_socket()
    }

    fn finish(&mut self, fd: RawFd) {
        // SAFETY: shutdown takes no pointers. A socket that is not connected any more is closed soon after.
        let _ = unsafe { libc::shutdown(fd, libc::SHUT_WR) };
    }

    fn close(&mut self, token: Token, fd: RawFd, how: Closing) {
        if how == Closing::Reset {
            let linger = libc::linger { l_onoff: 1, l_linger: 0 };
            let length = size_of::<libc::linger>() as libc::socklen_t;
            let value = (&raw const linger).cast();
            // SAFETY: `linger` is valid for `length` bytes for the whole call.
            let _ = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_LINGER, value, length) };
        }
        // An armed poll holds the file: the socket would neither close nor be freed. It goes first, in the same submission.
        self.forget(Op::Readable, token);
        self.close_socket(fd);
    }
}
