//! One receiver's loop: wait, read and verify what is ready, then what falls due by time.
//!
//! *Not here*: how a connection comes to be (`opening`).

mod opening;

use std::io::{self, Read};
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use super::churn::Pace;
use super::connection::{Connection, Role, State};
use super::control::{Control, Phase, Progress};
use super::outcome::Outcome;
use super::plan::Plan;
use super::slow::Slow;
use crate::message::MessageSpec;
use crate::sys::epoll::{Epoll, Ready};
use crate::sys::process;
use crate::verify::{Closed, Desk, Signal, Stream, Tape, client_frame, opcode};

/// One read takes at most this: a batch of thousands of messages, and it stays in the second-level cache.
const READ_BYTES: usize = 256 * 1024;
/// The loop of a thread that has a core to itself looks at its clock and at its orders at least this often.
const TURN: Duration = Duration::from_millis(5);
/// The longest that such a look may be away.
const TURN_MAX: Duration = Duration::from_millis(50);
/// How often a thread that has a core to itself counts the connections that are behind, once everything is published.
const COUNT_EVERY: Duration = Duration::from_millis(20);
/// A core with more threads than this is crowded.
const THREADS_UNCROWDED: usize = 4;
/// How often the threads of a crowded core look for messages, all together.
const LOOKS_PER_S: u32 = 10_000;
/// Leaves and pings of one turn.
const DUE_PER_TURN: u64 = 256;

/// How often a thread does what is not receiving.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pacing {
    turn: Duration,
    count_every: Duration,
    /// The pause between two looks at the connections of a thread on a crowded core. If it waited in the kernel instead,
    /// nearly each message would wake a thread, and on loopback the sender pays for that: as much as for a third of the
    /// send, and nothing that a network card would ask of it.
    nap: Option<Duration>,
}

impl Pacing {
    /// For a thread that shares its core with others: what all of them do together stays what one would do.
    pub(super) fn of(threads_per_core: usize) -> Self {
        let share = u32::try_from(threads_per_core).unwrap_or(u32::MAX).max(1);
        Self {
            turn: TURN.saturating_mul(share).min(TURN_MAX),
            count_every: COUNT_EVERY.saturating_mul(share),
            nap: (threads_per_core > THREADS_UNCROWDED).then(|| Duration::from_secs(1) * share / LOOKS_PER_S),
        }
    }
}

/// One thread's state.
struct Receiver<'a> {
    plan: Plan,
    pacing: Pacing,
    first_index: usize,
    control: &'a Control,
    progress: &'a Progress,
    epoll: Epoll,
    connections: Vec<Connection>,
    /// By topic.
    tapes: Vec<Tape>,
    signals: Vec<Signal>,
    ping: Vec<u8>,
    started: usize,
    in_flight: usize,
    open: u64,
    slow: Slow,
    out: Outcome,
}

/// CPU, run delay and time at a moment.
struct Mark {
    cpu: Duration,
    run_delay: Duration,
    at: Instant,
}

impl Mark {
    fn now() -> Self {
        let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let run_delay = schedstat.split(' ').nth(1).and_then(|ns| ns.trim().parse().ok()).unwrap_or(0);
        Self { cpu: process::thread_cpu(), run_delay: Duration::from_nanos(run_delay), at: Instant::now() }
    }
}

/// Runs a thread until it is told to leave.
pub(super) fn run(
    plan: Plan,
    pacing: Pacing,
    first_index: usize,
    control: &Control,
    progress: &Progress,
    end: &Sender<Outcome>,
) -> Result<Outcome, String> {
    process::own_file_table().map_err(|e| format!("cannot get a file table of its own: {e}"))?;
    process::pin(plan.cores[0])?;
    let epoll = Epoll::new().map_err(|e| format!("cannot make an epoll: {e}"))?;
    let roles = [
        (plan.staying, Role::Stays),
        (plan.churning, Role::Churns),
        (plan.slow.stalled, Role::Stalls),
        (plan.slow.trickling, Role::Trickles),
        (plan.slow.vanishing, Role::Vanishes),
    ];
    let connections = roles
        .into_iter()
        .flat_map(|(count, role)| std::iter::repeat_n(role, count))
        .map(|role| Connection { role, state: State::Gone, stream: Stream::new(plan.framing, true) })
        .collect();
    let out = Outcome::measuring_from(plan.measure_from);
    let mut receiver = Receiver {
        pacing,
        first_index,
        control,
        progress,
        epoll,
        connections,
        tapes: tapes(&plan, plan.spec),
        signals: Vec::new(),
        ping: client_frame(opcode::TEXT, br#"{"type":"PING","data":{}}"#),
        started: 0,
        in_flight: 0,
        open: 0,
        slow: Slow::new(&plan),
        out,
        plan,
    };
    let result = receiver.serve(end);
    if result.is_err() {
        progress.failed.fetch_add(1, Ordering::Release);
    }
    result.map(|()| receiver.out)
}

/// What must come, by topic.
fn tapes(plan: &Plan, spec: MessageSpec) -> Vec<Tape> {
    let topics = plan.topics();
    (0..topics).map(|topic| plan.framing.tape(spec.of_topic(topic, topics))).collect()
}

impl Receiver<'_> {
    fn serve(&mut self, end: &Sender<Outcome>) -> Result<(), String> {
        let mut buffer = vec![0; READ_BYTES];
        let (mut phase, mut rounds) = (Phase::Receive, 0);
        let (mut mark, mut counted) = (Mark::now(), Instant::now());
        let mut leaves = Pace::new(self.plan.churn_per_s);
        let mut pings = self
            .plan
            .ping_every
            .map(|every| Pace::new(self.connections.len() as f64 / every.as_secs_f64().max(0.001)));
        let (mut leave_next, mut ping_next) = (self.plan.staying, 0);
        loop {
            self.start_connects()?;
            let ready = self.wait().map_err(|e| format!("epoll_wait: {e}"))?;
            let turn = Instant::now();
            for at in 0..ready {
                let ready = self.epoll.ready(at);
                self.advance(ready, &mut buffer)?;
            }
            let now = Instant::now();
            if phase == Phase::Measure && ready > 0 {
                self.out.turns.record(now.duration_since(turn).as_micros() as u64);
            }
            if let Some(pings) = &mut pings {
                for _ in 0..pings.take_due(now, DUE_PER_TURN) {
                    let connection = &self.connections[ping_next];
                    let pings = connection.role.reads() || connection.role == Role::Trickles;
                    if matches!(connection.state, State::Open(_)) && pings {
                        // A full socket means that the server does not read; its own liveness rule decides.
                        self.out.pings_sent += u64::from(connection.send(&self.ping).is_ok());
                    }
                    ping_next = (ping_next + 1) % self.connections.len();
                }
            }
            if phase == Phase::Measure && !leaves.is_never() && self.plan.churning > 0 {
                for _ in 0..leaves.take_due(now, DUE_PER_TURN) {
                    self.rejoin(leave_next);
                    leave_next += 1;
                    if leave_next == self.plan.staying + self.plan.churning {
                        leave_next = self.plan.staying;
                    }
                }
            }
            self.turn_slow(now, &mut buffer);
            self.progress.messages.store(self.out.tally.messages, Ordering::Release);
            if now.duration_since(counted) >= self.pacing.count_every {
                counted = now;
                self.count_behind();
                self.progress.slow_held.store(self.slow.held() as u64, Ordering::Release);
                self.progress.latency.publish(&self.out.tally.latency);
            }
            if rounds < self.control.rounds.load(Ordering::Acquire) {
                if phase == Phase::Measure {
                    // The order to do so was overtaken by the round's end.
                    self.close_window(&mark);
                }
                (phase, rounds) = (Phase::Receive, rounds + 1);
                // A controller that does not listen any more has its own reason.
                let _ = end.send(self.next_round());
            }
            while phase < self.control.phase() {
                phase = Phase::ALL[phase as usize + 1];
                match phase {
                    Phase::Receive => {}
                    Phase::Measure => {
                        mark = Mark::now();
                        leaves = Pace::new(self.plan.churn_per_s);
                    }
                    Phase::Measured => self.close_window(&mark),
                    Phase::ReadStalled => self.read_stalled()?,
                    Phase::Leave => {
                        self.leave();
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Waits for reports; returns how many there are.
    fn wait(&mut self) -> io::Result<usize> {
        match self.pacing.nap {
            // Whoever connects wants its answer at once.
            Some(nap) if self.in_flight == 0 && self.started == self.connections.len() => {
                if !self.epoll.was_full() {
                    std::thread::sleep(nap);
                }
                self.epoll.wait(Duration::ZERO)
            }
            _ => self.epoll.wait(self.pacing.turn),
        }
    }

    fn close_window(&mut self, begin: &Mark) {
        let end = Mark::now();
        self.out.cpu = end.cpu.saturating_sub(begin.cpu);
        self.out.run_delay = end.run_delay.saturating_sub(begin.run_delay);
        self.out.window = end.at.duration_since(begin.at);
    }

    /// Settles what the round owes each connection, and makes all of them ready for the messages of the next.
    fn next_round(&mut self) -> Outcome {
        let (published, round) = (self.control.published(), self.control.round());
        for at in 0..self.connections.len() {
            if self.connections[at].role == Role::Stays {
                self.settle(at, published);
                self.connections[at].stream.restart();
            }
        }
        // Nothing is known of the next round; a count of this one must not be taken for it.
        self.progress.behind.store(u64::MAX, Ordering::Release);
        self.tapes = tapes(&self.plan, round.spec);
        std::mem::replace(&mut self.out, Outcome::measuring_from(round.measure_from))
    }

    /// Something happened to a connection.
    fn advance(&mut self, ready: Ready, buffer: &mut [u8]) -> Result<(), String> {
        let at = ready.token as usize;
        match &mut self.connections[at].state {
            State::Open(_) if ready.readable => self.read(at, buffer, ready.ended),
            State::Open(_) | State::Gone => {}
            State::Connecting(..) | State::Upgrading(..) => {
                let done = self.open_further(at);
                // Whether it is settled, and if so whether its socket was empty then.
                let settled = match done {
                    Ok(settled) => settled,
                    Err(_)
                        if self.connections[at].role == Role::Churns
                            && self.started == self.connections.len() =>
                    {
                        self.out.rejoins_failed += 1;
                        self.connections[at].state = State::Gone;
                        Some(true)
                    }
                    Err(why) if self.plan.counts_refusals => {
                        self.connections[at].state = State::Gone;
                        self.refused(why);
                        Some(true)
                    }
                    Err(why) => return Err(why),
                };
                if let Some(is_drained) = settled {
                    self.in_flight -= 1;
                    if ready.ended || !is_drained {
                        // An edge that came with the response will not come again.
                        self.read(at, buffer, true);
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads until the socket is empty: an edge is reported once.
    /// `to_end`: an end of the stream may wait behind the bytes, and will not be reported again.
    fn read(&mut self, at: usize, buffer: &mut [u8], to_end: bool) {
        if !self.connections[at].role.reads() && self.control.phase() < Phase::ReadStalled {
            return;
        }
        while let State::Open(socket) = &mut self.connections[at].state {
            match socket.read(buffer) {
                Ok(0) => self.closed(at, Closed::End),
                Ok(n) => {
                    self.take(at, &buffer[..n]);
                    if n < buffer.len() && !to_end {
                        // Less than there was room for is all there was; what comes later is a new edge.
                        return;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.closed(at, Closed::Reset),
            }
        }
    }

    fn take(&mut self, at: usize, bytes: &[u8]) {
        let topic = self.topic(at);
        let connection = &mut self.connections[at];
        let tally = self.out.tally_of(connection.role);
        tally.reads += 1;
        tally.bytes += bytes.len() as u64;
        let now_us = self.control.clock.now_us();
        let mut desk = Desk { tape: &mut self.tapes[topic], tally, refusals: &self.control.refusals, now_us };
        connection.stream.handle_bytes(bytes, &mut desk, &mut self.signals);
        if !self.signals.is_empty() {
            self.act(at);
        }
    }

    #[cold]
    fn act(&mut self, at: usize) {
        for signal in std::mem::take(&mut self.signals) {
            match signal {
                Signal::Ping(payload) => {
                    self.out.tally.pings += 1;
                    if self.connections[at].send(&client_frame(opcode::PONG, &payload)).is_err() {
                        self.closed(at, Closed::Reset);
                    }
                }
                Signal::Close(code) => {
                    let _ = self.connections[at].send(&client_frame(opcode::CLOSE, &code.to_be_bytes()));
                    self.closed(at, Closed::Code(code));
                }
                Signal::Unreadable => self.closed(at, Closed::Unreadable),
            }
        }
    }

    /// The server, or what it sent, ended a connection.
    fn closed(&mut self, at: usize, how: Closed) {
        let connection = &mut self.connections[at];
        if matches!(connection.state, State::Gone) {
            return;
        }
        connection.state = State::Gone;
        self.open -= 1;
        self.progress.open.store(self.open, Ordering::Release);
        let role = connection.role;
        *self.out.tally_of(role).closed.entry(how).or_default() += 1;
        if !role.reads() {
            self.progress.slow_left.fetch_sub(1, Ordering::Release);
            self.slow.given_up(at, self.control.clock.now_us(), role, &mut self.out.slow);
        }
    }

    /// A connection leaves and comes back as a new one, whose first message may be any.
    fn rejoin(&mut self, at: usize) {
        match self.connections[at].state {
            State::Connecting(..) | State::Upgrading(..) => return,
            State::Open(_) => {
                self.settle(at, None);
                self.connections[at].leave();
                self.open -= 1;
            }
            State::Gone => {}
        }
        self.connections[at].stream = Stream::new(self.plan.framing, false);
        match self.begin(at) {
            Ok(()) => self.out.rejoined += 1,
            Err(_) => self.out.rejoins_failed += 1,
        }
    }

    /// The topic of a connection.
    fn topic(&self, at: usize) -> usize {
        (self.first_index + at) % self.tapes.len()
    }

    /// Its messages.
    fn spec(&self, at: usize) -> &MessageSpec {
        self.tapes[self.topic(at)].spec()
    }

    /// Counts what a connection was passed over for.
    fn settle(&mut self, at: usize, published: Option<u64>) {
        let gaps = self.connections[at].stream.gaps(self.spec(at), published, &self.control.refusals);
        self.out.tally.faults.gaps += gaps;
        self.out.connections_with_gaps += u64::from(gaps > 0);
    }

    /// Once everything is published: how many connections wait for some of it.
    fn count_behind(&self) {
        let Some(published) = self.control.published() else {
            return self.progress.behind.store(u64::MAX, Ordering::Release);
        };
        let behind = self.connections.iter().enumerate().filter(|(at, connection)| {
            connection.role.reads()
                && matches!(connection.state, State::Open(_))
                && connection.stream.tail(self.spec(*at), published, &self.control.refusals) > 0
        });
        self.progress.behind.store(behind.count() as u64, Ordering::Release);
    }

    /// What the slow ones do by time.
    fn turn_slow(&mut self, now: Instant, buffer: &mut [u8]) {
        let (reads, bytes) = self.slow.reads_due(now);
        for _ in 0..reads {
            let at = self.slow.next_read();
            if let State::Open(socket) = &mut self.connections[at].state {
                match socket.read(&mut buffer[..bytes]) {
                    Ok(0) => self.closed(at, Closed::End),
                    Ok(n) => self.take(at, &buffer[..n]),
                    Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                    Err(_) => self.closed(at, Closed::Reset),
                }
            }
        }
        self.slow.look(now, self.control.clock.now_us(), &self.connections, &mut self.out.slow);
    }

    /// The slow ones read as fast as they can; one that vanished stays so.
    fn read_stalled(&mut self) -> Result<(), String> {
        for (at, connection) in self.connections.iter().enumerate() {
            if matches!(connection.role, Role::Stalls | Role::Trickles)
                && let Some(fd) = connection.fd()
            {
                self.epoll.add(fd, at as u64, false).map_err(|e| format!("epoll_ctl: {e}"))?;
            }
        }
        Ok(())
    }

    /// The end: every connection's account is settled, then it leaves.
    fn leave(&mut self) {
        let published = self.control.published();
        self.slow.leave(&self.connections, &mut self.out.slow);
        for at in 0..self.connections.len() {
            let role = self.connections[at].role;
            if role.reads() {
                self.settle(at, published);
            } else if !matches!(self.connections[at].state, State::Open(_)) {
                let gaps = self.connections[at].stream.gaps(self.spec(at), None, &self.control.refusals);
                self.out.tally_of(role).faults.gaps += gaps;
            }
            self.connections[at].leave();
        }
    }
}
