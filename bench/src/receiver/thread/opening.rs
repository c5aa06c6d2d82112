//! From nothing to an open connection: connect, ask for the upgrade, read the answer.
//!
//! *Not here*: what an open connection receives (`super`), the socket calls (`connection`).

use std::io;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Receiver;
use crate::receiver::connection::{self, State, Upgrade, connect, read_response};

impl Receiver<'_> {
    /// Keeps connects in flight until every connection was begun.
    pub(super) fn start_connects(&mut self) -> Result<(), String> {
        while self.started < self.connections.len() && self.in_flight < self.plan.connects_in_flight {
            match self.begin(self.started) {
                Ok(()) => {}
                Err(e) if self.plan.counts_refusals => self.refused(e.to_string()),
                Err(e) => return Err(self.cannot_connect(&e)),
            }
            self.started += 1;
        }
        Ok(())
    }

    pub(super) fn begin(&mut self, at: usize) -> io::Result<()> {
        let socket = connect(&self.plan, self.first_index + at, self.connections[at].role)?;
        let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
        self.connections[at].state = State::Connecting(socket, Instant::now());
        // On loopback the connection stands when connect returns, and what follows costs no report of it.
        let watches_room = !self.ask(at, false)?;
        self.epoll.add(fd, at as u64, watches_room)?;
        self.in_flight += 1;
        Ok(())
    }

    /// Connecting to Upgrading (without an upgrade: to Open), if the connection stands.
    fn ask(&mut self, at: usize, watches_room: bool) -> io::Result<bool> {
        let connection = &mut self.connections[at];
        let State::Connecting(socket, since) = &connection.state else { return Ok(true) };
        let since = *since;
        let request = self.plan.upgrades.get((self.first_index + at) % self.plan.topics());
        let stands = match request {
            Some(request) => connection::ask(socket, request)?,
            // It is told of by an event.
            None => watches_room && connection::stands(socket)?,
        };
        if stands && let State::Connecting(socket, _) = std::mem::replace(&mut connection.state, State::Gone)
        {
            connection.state = match request {
                Some(_) => {
                    State::Upgrading(socket, Box::new(Upgrade { since, head: Vec::new(), watches_room }))
                }
                None => State::Open(socket),
            };
        }
        Ok(stands)
    }

    fn cannot_connect(&self, error: &io::Error) -> String {
        let target = self.plan.target;
        if self.plan.counts_refusals {
            // One text for all that failed alike.
            return format!("cannot connect to {target}: {error}");
        }
        format!("cannot connect to {target} ({} connections are open): {error}", self.open)
    }

    #[cold]
    pub(super) fn refused(&mut self, why: String) {
        *self.out.refusals.entry(why).or_default() += 1;
        self.progress.refused.fetch_add(1, Ordering::Release);
    }

    /// Connecting to Upgrading to Open. When the connection is open now: whether its socket was empty then.
    pub(super) fn open_further(&mut self, at: usize) -> Result<Option<bool>, String> {
        if let State::Connecting(_, since) = self.connections[at].state {
            match self.ask(at, true) {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(e) => return Err(self.cannot_connect(&e)),
            }
            if matches!(self.connections[at].state, State::Open(_)) {
                return self.opened(at, since, &[], true).map(|()| Some(false));
            }
        }
        let connection = &mut self.connections[at];
        let State::Upgrading(socket, upgrade) = &mut connection.state else { return Ok(None) };
        let Some(answered) = read_response(socket, &mut upgrade.head)? else { return Ok(None) };
        let (since, watches_room) = (upgrade.since, upgrade.watches_room);
        if let State::Upgrading(socket, _) = std::mem::replace(&mut connection.state, State::Gone) {
            connection.state = State::Open(socket);
        }
        if let Some(hello) = &self.plan.hello {
            connection.send(hello).map_err(|e| format!("cannot send the first frame: {e}"))?;
        }
        self.opened(at, since, &answered.tail, watches_room).map(|()| Some(answered.is_drained))
    }

    fn opened(&mut self, at: usize, since: Instant, tail: &[u8], watches_room: bool) -> Result<(), String> {
        self.out.handshakes.record(since.elapsed().as_micros() as u64);
        self.open += 1;
        let opened_at = self.control.began.elapsed();
        self.progress.opened_at_us.store(opened_at.as_micros() as u64, Ordering::Release);
        self.progress.open.store(self.open, Ordering::Release);
        self.progress.opened.fetch_add(1, Ordering::Release);
        let (role, fd) = (self.connections[at].role, self.connections[at].fd());
        if let Some(fd) = fd {
            let change = match (role.reads(), watches_room) {
                (false, _) => self.epoll.remove(fd),
                (true, true) => self.epoll.read_only(fd, at as u64),
                (true, false) => Ok(()),
            };
            change.map_err(|e| format!("epoll_ctl: {e}"))?;
        }
        if !tail.is_empty() {
            self.take(at, tail);
        }
        if !role.reads()
            && let Some(socket) = self.connections[at].socket()
        {
            self.slow.opened(at, role, socket).map_err(|e| format!("cannot slow a connection down: {e}"))?;
        }
        Ok(())
    }
}
