//! The log: lines on standard error, whose level can change while the process runs.
//!
//! Standard output is for the answers of `--check` and `--print-config` and nothing else. *Not here*: what is logged.

pub mod throttle;

use std::error::Error;
use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::config::{self, LogFormat};

/// Replaces the filter.
type Replace = dyn Fn(EnvFilter) -> Result<(), tracing_subscriber::reload::Error>;

/// Changes what is logged.
pub struct Level(Box<Replace>);

impl Level {
    /// Logs by this filter from here on. It was checked with the rest of the configuration.
    pub fn set(&self, level: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok((self.0)(EnvFilter::try_new(level)?)?)
    }
}

/// Starts the log, once in a process.
pub fn start(log: &config::Log) -> Result<Level, Box<dyn Error + Send + Sync>> {
    let filter = EnvFilter::try_new(&log.level)?;
    let builder =
        tracing_subscriber::fmt().with_ansi(io::stderr().is_terminal()).with_writer(io::stderr as fn() -> _);
    // The formats are types, and so are their handles; only what a handle does is the same.
    match log.format {
        LogFormat::Text => {
            let builder = builder.with_env_filter(filter).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.try_init()?;
            Ok(Level(Box::new(move |filter| handle.reload(filter))))
        }
        LogFormat::Json => {
            let builder = builder.json().with_env_filter(filter).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.try_init()?;
            Ok(Level(Box::new(move |filter| handle.reload(filter))))
        }
    }
}
