//! Bounded reads of a host's files, each through its format.
//!
//! *Not here*: the formats (`formats`), which files there are (`super`, `machine`).

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::facts::{Fact, Unread};
use super::formats;
use fanfare_core::limits;

/// A host to read, and the process whose limits count.
pub struct Host {
    root: PathBuf,
    /// `self` or a process id.
    pub(super) process: String,
}

impl Host {
    /// The host below `root`, seen as the process `pid`, or as this one.
    pub fn new(root: &Path, pid: Option<u32>) -> Self {
        Self { root: root.to_owned(), process: pid.map_or_else(|| "self".into(), |pid| pid.to_string()) }
    }

    /// Whether what this process may do is what the looked-at process may do.
    pub(super) fn is_this_process(&self) -> bool {
        self.root == Path::new("/") && self.process == "self"
    }

    pub(super) fn whole(&self, path: &str) -> Fact<u64> {
        self.fact(path, |bytes| formats::wholes::<1>(bytes).map(|[number]| number))
    }

    /// A file's bytes through its format.
    pub(super) fn fact<T>(&self, path: &str, format: impl Fn(&[u8]) -> Option<T>) -> Fact<T> {
        let bytes = self.bytes(path)?;
        format(&bytes).ok_or_else(|| Unread::Garbled(path.into(), formats::excerpt(&bytes)))
    }

    fn bytes(&self, path: &str) -> Fact<Vec<u8>> {
        let file = File::open(self.root.join(path)).map_err(|error| unread(path, &error))?;
        let mut bytes = Vec::new();
        file.take(limits::HOST_FILE_BYTES_MAX)
            .read_to_end(&mut bytes)
            .map_err(|error| unread(path, &error))?;
        Ok(bytes)
    }

    /// Names in a directory, in order; none when there is no such directory.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.root.join(path)).into_iter().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .take(limits::HOST_ENTRIES_MAX)
            .collect();
        names.sort_unstable();
        names
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }
}

fn unread(path: &str, error: &io::Error) -> Unread {
    match error.kind() {
        // Some files vanish between open and read, or exist for another sort of object: both mean "not here".
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Unread::Absent(path.into()),
        kind => Unread::Unreadable(path.into(), kind),
    }
}
