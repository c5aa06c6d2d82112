//! What `main` needs of the wiring: [`start`], [`Running::wait`], [`StartError`].

use std::fmt;
use std::process::ExitCode;

use crate::config::Config;
use crate::sys::signals::{Signals, Wake};

/// A gateway that serves.
#[derive(Debug)]
pub struct Running {
    _config: Config,
}

/// Why the gateway does not serve: a sentence for the operator.
#[derive(Debug)]
pub enum StartError {}

impl fmt::Display for StartError {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl StartError {
    /// 78 when the operator has something to fix, 70 otherwise.
    pub fn exit_code(&self) -> u8 {
        match *self {}
    }
}

/// Starts every thread; `cores` are the ids of the cores that the process may use.
#[allow(clippy::unnecessary_wraps)]
pub fn start(config: Config, _cores: Vec<usize>) -> Result<Running, StartError> {
    Ok(Running { _config: config })
}

impl Running {
    /// Serves until a signal or a failure ends it, and drains.
    pub fn wait(self, mut signals: Signals) -> ExitCode {
        match signals.wait() {
            Wake::Stop(_) | Wake::Woken => ExitCode::SUCCESS,
        }
    }
}
