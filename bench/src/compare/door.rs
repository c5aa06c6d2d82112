//! How fast a server lets in a crowd that waits at its door.
//!
//! While this tool connects, loopback charges it for both ends' TCP: it sets the pace of any server that is fast enough,
//! and the faster one only sleeps more. So the server is stopped (SIGSTOP), a crowd connects and sends its requests, which
//! the kernel keeps in the listener's queue, and what is timed is the server alone: from SIGCONT to the last answer.
//! That is a restart, or a network that comes back. *Not here*: servers that this tool did not start, which it may not
//! stop.

use std::fs;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use crate::fanout::{self, FanoutArgs};
use crate::gateway::Gateway;
use crate::receiver::Plan;
use crate::receiver::connection::{Role, ask, connect, read_response};
use crate::sys::epoll::Epoll;
use crate::sys::process;

/// Those who wait at once: what the queue of a listener holds by default, by half.
const CROWD: usize = 2_000;
/// Silence of a server that has been told to go on, after which it will not answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Everybody has left by then, and the server has closed its ends; else the kernel would do that after its end, on the
/// next server's core.
const LEAVE: Duration = Duration::from_secs(2);
/// Files of this tool beside the crowd's sockets.
const SPARE_FILES: u64 = 200;

/// What was found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Door {
    /// Accepted, upgraded and answered a second.
    pub(super) accepts_per_s: f64,
    /// The server's CPU time for one of them.
    pub(super) cpu_us: Option<f64>,
    /// This tool's share of its core meanwhile.
    pub(super) tool_percent: f64,
}

/// Starts the server, lets in as many as the run has connections, one crowd behind the other, all of whom stay, and ends
/// it. `None`: the server is not this tool's to stop, or somebody pressed Ctrl-C.
pub(super) fn measure(run: &FanoutArgs) -> Result<Option<Door>, String> {
    if run.server.gateway.is_none() {
        return Ok(None);
    }
    let gateway = Gateway::from_args(&run.server, None)?;
    let plan = fanout::plan(run, &gateway);
    // On a thread of its own, because it stays on its core.
    let found = std::thread::scope(|scope| scope.spawn(|| crowds(&plan, &gateway)).join());
    std::thread::sleep(LEAVE);
    found.map_err(|_| "the thread that waits at the door panicked".to_owned())?
}

fn crowds(plan: &Plan, gateway: &Gateway) -> Result<Option<Door>, String> {
    process::pin(plan.cores[0])?;
    let room = process::open_files_max().saturating_sub(SPARE_FILES) as usize;
    let total = plan.staying.min(room);
    let mut inside = Vec::with_capacity(total);
    let (mut time, mut tool, mut cpu) = (Duration::ZERO, Duration::ZERO, Some(Duration::ZERO));
    while inside.len() < total {
        if process::interrupted() {
            return Ok(None);
        }
        let size = queue_length().min(CROWD).min(total - inside.len());
        let stopped = gateway.stop()?;
        let crowd = gather(plan, inside.len(), size)?;
        let epoll = watch(&crowd)?;
        let (own, servers, begin) = (process::thread_cpu(), gateway.cpu_to_the_ns(), Instant::now());
        drop(stopped);
        await_answers(epoll, &crowd)?;
        time += begin.elapsed();
        tool += process::thread_cpu().saturating_sub(own);
        let used = servers.zip(gateway.cpu_to_the_ns());
        cpu = cpu.zip(used).map(|(sum, (before, after))| sum + after.saturating_sub(before));
        inside.extend(crowd);
    }
    Ok(Some(Door {
        accepts_per_s: total as f64 / time.as_secs_f64().max(1e-9),
        cpu_us: cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / total.max(1) as f64),
        tool_percent: 100.0 * tool.as_secs_f64() / time.as_secs_f64().max(1e-9),
    }))
}

/// Half of what may wait for an accept, whatever the server asked for (`net.core.somaxconn`).
fn queue_length() -> usize {
    let most = fs::read_to_string("/proc/sys/net/core/somaxconn").ok();
    let most = most.and_then(|text| text.trim().parse::<usize>().ok()).unwrap_or(128);
    (most / 2).max(1)
}

/// Connects so many, each with its request behind it. Nobody answers.
fn gather(plan: &Plan, first: usize, size: usize) -> Result<Vec<TcpStream>, String> {
    let failed = |e: std::io::Error| format!("cannot connect to {}, which is stopped: {e}", plan.target);
    let request = plan.upgrades.first().map(Vec::as_slice).unwrap_or_default();
    let mut crowd = Vec::with_capacity(size);
    for index in first..first + size {
        let socket = connect(plan, index, Role::Stays).map_err(failed)?;
        let begin = Instant::now();
        while !ask(&socket, request).map_err(failed)? {
            if begin.elapsed() > PATIENCE {
                return Err(format!("{} takes no more connections while it is stopped", plan.target));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        crowd.push(socket);
    }
    Ok(crowd)
}

fn watch(crowd: &[TcpStream]) -> Result<Epoll, String> {
    let failed = |e| format!("epoll: {e}");
    let epoll = Epoll::new().map_err(failed)?;
    for (at, socket) in crowd.iter().enumerate() {
        epoll.add(socket.as_raw_fd(), at as u64, false).map_err(failed)?;
    }
    Ok(epoll)
}

fn await_answers(mut epoll: Epoll, crowd: &[TcpStream]) -> Result<(), String> {
    let mut heads = vec![Vec::new(); crowd.len()];
    let (mut answered, mut since) = (0, Instant::now());
    while answered < crowd.len() {
        let ready = epoll.wait(Duration::from_millis(50)).map_err(|e| format!("epoll_wait: {e}"))?;
        for at in 0..ready {
            let at = epoll.ready(at).token as usize;
            answered += usize::from(read_response(&crowd[at], &mut heads[at])?.is_some());
        }
        if ready > 0 {
            since = Instant::now();
        } else if since.elapsed() > PATIENCE || process::interrupted() {
            return Err(format!("{answered} of {} who waited at the door were answered", crowd.len()));
        }
    }
    Ok(())
}
