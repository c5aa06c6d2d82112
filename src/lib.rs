//! fanfare: a WebSocket push gateway for fleets of devices.
//!
//! ```text
//!  Redis ─► ingest: session · merger · seal ─┬─ ring + doorbell ─► shard 0: accept · dataplane ─► devices
//!  HTTP  ─► control: API, metrics ── ring ─►  ├─ ring + doorbell ─► shard 1
//!                                             └─ …                  shard N
//! ```
//!
//! The modules, in the order in which a message meets them. The documents `ARCHITECTURE.md` and `README.md` beside
//! the sources say the rest.

pub mod ingest;

pub mod downlink;

pub mod ring;

pub mod shard;

pub mod dataplane;

pub mod events;

pub mod redis;

pub mod api;

pub mod metrics;

pub mod cli;

pub mod client;

pub mod config;

pub mod etcd;

pub mod secret;

pub mod topology;

pub mod server;

pub mod supervision;

pub mod log;

pub mod doctor;

pub mod sys;
