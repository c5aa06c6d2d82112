//! The servers that can be started for a run: what each needs on its command line, how devices join it, and how
//! backends publish to it.
//!
//! A peer is set up as somebody who knows it would for this load: one process that serves, every limit out of the way,
//! nothing written per request. *Not here*: the process once it runs (`gateway`), who is compared (`compare`).

mod manner;
mod nchan;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Serialize;

use crate::sys::process;

pub(crate) use manner::{FormatKind, Manner, PublisherKind};

/// Descriptors beside those of devices: listeners, logs, backends.
const FILES_BESIDE_DEVICES: u64 = 256;

/// What a server is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ServerKind {
    /// The gateway of this repository.
    #[default]
    Fanfare,
    /// nginx with the nchan module.
    Nchan,
    /// `bench/peers/tokio-broadcast`.
    TokioBroadcast,
}

/// What has to be started, and where it will be.
#[derive(Debug)]
pub(crate) struct Launch {
    /// The program with its arguments.
    pub(crate) command: Command,
    /// `host:port` that devices connect to.
    pub(crate) devices: String,
    /// `host:port` that backends publish to.
    pub(crate) api: String,
    /// What the API is asked until it answers.
    pub(crate) ready_path: &'static str,
    /// The answer that means ready; `None`: any.
    pub(crate) ready_status: Option<u16>,
    /// Files of the server's own.
    pub(crate) scratch: Option<Scratch>,
}

impl ServerKind {
    /// The name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fanfare => "fanfare",
            Self::Nchan => "nchan",
            Self::TokioBroadcast => "tokio-broadcast",
        }
    }

    /// How it is talked to. Only fanfare has a choice of formats; the peers send each message as one text frame.
    pub(crate) fn manner(self, topic: &str, format: FormatKind) -> Manner {
        let (format, path, publisher, publish_path) = match self {
            Self::Fanfare => (format, None, PublisherKind::Http, None),
            Self::Nchan => {
                let path = format!("/devices?id={topic}");
                (FormatKind::Raw, Some(path), PublisherKind::Each, Some(format!("/publish?id={topic}")))
            }
            Self::TokioBroadcast => {
                let path = format!("/topics/{topic}");
                (FormatKind::Raw, Some(path), PublisherKind::Array, Some(format!("/publish?topic={topic}")))
            }
        };
        Manner { format, path, publisher, publish_path }
    }

    /// The program, unless another is named: beside this tool's own, or nginx where the system keeps it. One sentence
    /// with the remedy when it, or what it needs, is not there.
    pub(crate) fn find(self, named: Option<&Path>) -> Result<PathBuf, String> {
        let beside = |name: &str| {
            std::env::current_exe()
                .ok()
                .and_then(|own| own.parent().map(|dir| dir.join(name)))
                .unwrap_or_default()
        };
        let (program, remedy) = match self {
            Self::Fanfare => (beside("fanfare"), "cargo build --release --bin fanfare".to_owned()),
            Self::Nchan => return nchan::find(named),
            Self::TokioBroadcast => {
                let build = "cargo build --release --manifest-path bench/peers/tokio-broadcast/Cargo.toml \
                             --target-dir target";
                (beside("tokio-broadcast"), build.to_owned())
            }
        };
        let program = named.map_or(program, Path::to_path_buf);
        if program.is_file() {
            return Ok(program);
        }
        Err(format!("there is no {} at {}; {remedy} builds it", self.name(), program.display()))
    }

    /// The command that starts it on these ports of 127.0.0.1, with room for so many devices.
    pub(crate) fn launch(self, program: &Path, ports: (u16, u16), devices: u32) -> Result<Launch, String> {
        let (listen, api) = (format!("127.0.0.1:{}", ports.0), format!("127.0.0.1:{}", ports.1));
        // A child inherits the soft limit, which this raises to the hard one.
        let files = process::open_files_max();
        if self != Self::Fanfare && u64::from(devices) + FILES_BESIDE_DEVICES > files {
            return Err(format!(
                "{} needs a descriptor for each of {devices} connections, and the hard limit is {files}: \
                 ulimit -Hn {}",
                self.name(),
                u64::from(devices) + FILES_BESIDE_DEVICES
            ));
        }
        let mut command = Command::new(program);
        let mut scratch = None;
        let (ready_path, ready_status) = match self {
            Self::Fanfare => ("/readyz", Some(200)),
            Self::Nchan => (nchan::READY_PATH, Some(200)),
            Self::TokioBroadcast => ("/", None),
        };
        match self {
            Self::Fanfare | Self::TokioBroadcast => {
                command.args(["--listen", &listen, "--api", &api]);
            }
            Self::Nchan => {
                let dir = Scratch::new(self.name())?;
                let needed = u64::from(devices) + FILES_BESIDE_DEVICES;
                let settings = nchan::Settings { devices: &listen, api: &api, files: needed, dir: &dir.0 };
                let file = dir.write("nginx.conf", &nchan::config(&settings))?;
                command.arg("-p").arg(&dir.0).arg("-c").arg(file).args(["-e", "stderr"]);
                scratch = Some(dir);
            }
        }
        Ok(Launch { command, devices: listen, api, ready_path, ready_status, scratch })
    }
}

/// A directory that is removed with this.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Result<Self, String> {
        let mut dir = std::env::temp_dir();
        dir.push(format!("fanfare-bench-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).map_err(|e| format!("cannot make {}: {e}", dir.display()))?;
        Ok(Self(dir))
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, String> {
        let path = self.0.join(name);
        std::fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left in the directory for temporary files is removed by the system one day.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_is_started_on_the_ports_it_is_given() {
        for kind in [ServerKind::Fanfare, ServerKind::TokioBroadcast] {
            let launch = kind.launch(Path::new("server"), (1001, 1002), 100).unwrap();
            let arguments: Vec<_> = launch.command.get_args().collect();
            assert_eq!(arguments, ["--listen", "127.0.0.1:1001", "--api", "127.0.0.1:1002"]);
        }
        let launch = ServerKind::Nchan.launch(Path::new("nginx"), (1001, 1002), 100).unwrap();
        let dir = launch.scratch.as_ref().unwrap().0.clone();
        let config = std::fs::read_to_string(dir.join("nginx.conf")).unwrap();
        assert!(config.contains("listen 127.0.0.1:1001 ") && config.contains("listen 127.0.0.1:1002 "));
        drop(launch);
        assert!(!dir.exists());
    }

    #[test]
    fn a_program_that_is_not_there_is_one_sentence_with_the_command_that_builds_it() {
        for kind in [ServerKind::Fanfare, ServerKind::TokioBroadcast] {
            let said = kind.find(Some(Path::new("/nonexistent/server"))).unwrap_err();
            assert!(said.contains("/nonexistent/server; cargo build --release"), "{said}");
        }
    }

    #[test]
    fn more_devices_than_a_process_may_have_files_are_refused_with_the_limit() {
        let said = ServerKind::Nchan.launch(Path::new("nginx"), (1, 2), u32::MAX).unwrap_err();
        assert!(said.contains("ulimit -Hn"), "{said}");
    }
}
