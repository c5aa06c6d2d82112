//! What a run found.
//!
//! *Not here*: how counts become it (`account`), how it is shown (`record`).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::floor::Floor;
use crate::gateway::Memory;
use crate::histogram::Percentiles;
use crate::lag::Lag;
use crate::results::{Distribution, Series};
use crate::verify::Faults;

/// What a run found. All of it goes into the JSON; the table shows the most of it.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) connections: u64,
    pub(crate) connect_seconds: f64,
    pub(crate) connects_per_s: f64,
    pub(crate) connect_cpu: Option<ConnectCpu>,
    /// From a connection's SYN to its 101.
    pub(crate) handshake: Percentiles,
    /// Connections that could not be opened, where that is counted, by what the server or the kernel said.
    pub(crate) connects_refused: BTreeMap<String, u64>,
    pub(crate) interrupted: bool,
    /// Messages given to the publisher's target, warm-up included.
    pub(crate) published: u64,
    pub(crate) refused: u64,
    /// Messages that were refused, and came to somebody all the same.
    pub(crate) refused_and_delivered: u64,
    pub(crate) publish_error: Option<String>,
    /// CPU time of the publisher, of its time.
    pub(crate) publisher_cpu_percent: f64,
    /// Connections that had not got everything when the wait for them ended.
    pub(crate) behind: u64,
    pub(crate) publish_lag: Percentiles,
    pub(crate) publish_answer: Percentiles,
    /// From the first measured message's time to the last delivery, or to when the message after the last would have come.
    pub(crate) window_seconds: f64,
    pub(crate) deliveries: u64,
    pub(crate) deliveries_per_s: f64,
    pub(crate) payload_mb_per_s: f64,
    /// Frames, reads and their quotients count the warm-up too.
    pub(crate) frames: u64,
    pub(crate) frames_per_s: f64,
    pub(crate) messages_per_frame: f64,
    pub(crate) messages_per_read: f64,
    pub(crate) latency: Percentiles,
    pub(crate) time_to_last: Percentiles,
    pub(crate) faults: Faults,
    pub(crate) connections_with_gaps: u64,
    pub(crate) first_malformed: Option<String>,
    pub(crate) other_frames: u64,
    /// Go-push PINGs.
    pub(crate) pings_sent: u64,
    /// The server's pings.
    pub(crate) pings_answered: u64,
    /// Connections that the server ended, by Close code or what came instead.
    pub(crate) closed_by_server: BTreeMap<String, u64>,
    pub(crate) rejoined: u64,
    pub(crate) rejoins_failed: u64,
    pub(crate) stalled: Option<Slow>,
    pub(crate) trickling: Option<Slow>,
    pub(crate) vanished: Option<Slow>,
    pub(crate) gateway: Option<GatewayUse>,
    pub(crate) bytes_per_send: f64,
    /// Where `bytes_per_send` comes from: the gateway's metrics, or the receivers' reads.
    pub(crate) bytes_per_send_from: &'static str,
    pub(crate) memory: Option<MemoryUse>,
    pub(crate) receivers: Lag,
    pub(crate) floor: Option<Floor>,
    /// The distributions of which the percentiles above are, whole.
    #[serde(skip)]
    pub(crate) distributions: Vec<Distribution>,
    /// How the run went over time.
    #[serde(skip)]
    pub(crate) series: Vec<Series>,
}

/// What connecting cost.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct ConnectCpu {
    /// CPU time of the gateway for one connection, accept and upgrade.
    pub(crate) gateway_us_per_connection: f64,
    /// CPU time of the gateway, of the time that connecting took.
    pub(crate) gateway_percent: f64,
    /// CPU time of this tool, of the time that its cores had meanwhile.
    pub(crate) tool_percent: f64,
}

impl ConnectCpu {
    /// From CPU times and how long connecting took.
    pub(super) fn new(gateway: Duration, tool: Duration, wall: Duration, cores: usize, opened: u64) -> Self {
        let percent = |cpu: Duration| 100.0 * cpu.as_secs_f64() / wall.as_secs_f64().max(1e-9);
        Self {
            gateway_us_per_connection: gateway.as_secs_f64() * 1e6 / opened.max(1) as f64,
            gateway_percent: percent(gateway),
            tool_percent: percent(tool) / cores.max(1) as f64,
        }
    }
}

/// What became of slow connections of one kind.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Slow {
    pub(crate) connections: u64,
    /// By Close code or what came instead, as far as they could read it; what is missing was still open.
    pub(crate) closed: BTreeMap<String, u64>,
    /// Messages that they read, at their pace or at the end.
    pub(crate) messages: u64,
    pub(crate) faults: Faults,
    /// From the load's begin until the server's kernel no longer had the connection as established; to the second.
    pub(crate) given_up: Percentiles,
    /// Connections that the server still held at the end.
    pub(crate) held: u64,
    /// Connections whose end at the server cannot be seen from here.
    pub(crate) unseen: u64,
}

/// The gateway's CPU time in the measured window.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct GatewayUse {
    pub(crate) user_seconds: f64,
    pub(crate) system_seconds: f64,
    /// Of the window's wall time.
    pub(crate) cpu_percent: f64,
    pub(crate) sends: Option<f64>,
    pub(crate) user_ns_per_send: Option<f64>,
    pub(crate) system_ns_per_send: Option<f64>,
}

/// The gateway's memory, bytes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct MemoryUse {
    pub(crate) before: Memory,
    pub(crate) connected: Memory,
    pub(crate) after_load: Memory,
    pub(crate) after_leave: Memory,
    /// The highest anonymous memory that was seen.
    pub(crate) peak: u64,
    pub(crate) anonymous_per_connection: f64,
}
