//! Whether the configuration file was saved, by looking at it now and then.
//!
//! A look follows links, so that a file that an editor replaces and one behind links that are swapped (a `ConfigMap` of
//! Kubernetes) are new ones like one that was written to. It is read once two looks have found the same, not while it is
//! still being written. *Not here*: reading it (`config`).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fanfare_core::limits::CONFIG_LOOK_EVERY;

/// What tells one saved file from another: device, inode, size, times of content and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark([i64; 7]);

/// The file that `--config` names, since it was read last.
#[derive(Debug)]
pub struct Saved {
    path: PathBuf,
    /// As it was read; `None`: it was not there.
    read: Option<Mark>,
    /// As it was at the last look.
    seen: Option<Mark>,
    looked: Instant,
}

impl Saved {
    /// Looks at the file that is about to be read. `None` for what is no file, such as a pipe: it can be read once.
    pub fn new(path: Option<&PathBuf>) -> Option<Self> {
        let path = path?.clone();
        let mark = Mark::of(&path);
        mark.map(|_| Self { path, read: mark, seen: mark, looked: Instant::now() })
    }

    /// How long the main thread may sleep between two looks.
    pub(super) fn patience() -> Duration {
        CONFIG_LOOK_EVERY
    }

    /// Whether it is to be read: it is another one than was read, and has stayed the same since the last look.
    pub(super) fn look(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.looked) < CONFIG_LOOK_EVERY {
            return false;
        }
        self.looked = now;
        let mark = Mark::of(&self.path);
        let is_settled = mark == self.seen;
        self.seen = mark;
        is_settled && mark != self.read
    }

    /// It is about to be read. What is saved from here on is another one.
    pub(super) fn reading(&mut self) {
        self.read = Mark::of(&self.path);
        self.seen = self.read;
    }
}

impl Mark {
    fn of(path: &PathBuf) -> Option<Self> {
        let file = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
        Some(Self([
            file.dev().cast_signed(),
            file.ino().cast_signed(),
            file.size().cast_signed(),
            file.mtime(),
            file.mtime_nsec(),
            file.ctime(),
            file.ctime_nsec(),
        ]))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A file, and a clock that a test moves.
    struct Desk {
        directory: tempfile::TempDir,
        saved: Saved,
        now: Instant,
    }

    impl Desk {
        fn new() -> Self {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let path = directory.path().join("fanfare.toml");
            fs::write(&path, "a").expect("space on it");
            let saved = Saved::new(Some(&path)).expect("a file");
            Self { now: saved.looked, directory, saved }
        }

        fn look(&mut self) -> bool {
            self.now += CONFIG_LOOK_EVERY;
            self.saved.look(self.now)
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.directory.path().join(name);
            fs::write(&path, text).expect("space on it");
            path
        }
    }

    #[test]
    fn a_file_is_read_once_when_it_has_settled() {
        let mut desk = Desk::new();
        assert!(!desk.look());
        desk.write("fanfare.toml", "ab");
        assert!(!desk.look(), "it may still be written to");
        desk.write("fanfare.toml", "abc");
        assert!(!desk.look(), "it was written to again");
        assert!(desk.look());
        desk.saved.reading();
        assert!(!desk.look());
    }

    #[test]
    fn a_look_costs_nothing_before_its_time() {
        let mut desk = Desk::new();
        desk.write("fanfare.toml", "ab");
        assert!(!desk.saved.look(desk.now));
        assert!(!desk.look());
        assert!(!desk.saved.look(desk.now + CONFIG_LOOK_EVERY / 2));
        assert!(desk.look());
    }

    #[test]
    fn a_file_that_another_replaces_is_a_new_one() {
        let mut desk = Desk::new();
        let other = desk.write("other", "b");
        fs::rename(other, desk.directory.path().join("fanfare.toml")).expect("one directory");
        assert!(!desk.look());
        assert!(desk.look());
    }

    #[test]
    fn links_that_are_swapped_lead_to_a_new_one() {
        let mut desk = Desk::new();
        let at = |name: &str| desk.directory.path().join(name);
        for (version, text) in [("v1", "a"), ("v2", "a")] {
            fs::create_dir(at(version)).expect("a directory");
            fs::write(at(version).join("fanfare.toml"), text).expect("space on it");
        }
        symlink("v1", at("..data")).expect("a link");
        let mount = at("mount.toml");
        symlink("..data/fanfare.toml", &mount).expect("a link");
        desk.saved = Saved::new(Some(&mount)).expect("a file behind links");
        desk.now = desk.saved.looked;
        symlink("v2", at("..data_tmp")).expect("a link");
        fs::rename(at("..data_tmp"), at("..data")).expect("one directory");
        assert!(!desk.look());
        assert!(desk.look());
    }

    #[test]
    fn a_file_that_goes_is_read_once_too_and_so_is_one_that_comes_back() {
        let mut desk = Desk::new();
        fs::remove_file(desk.directory.path().join("fanfare.toml")).expect("it is there");
        assert!(!desk.look());
        assert!(desk.look());
        desk.saved.reading();
        assert!(!desk.look());
        desk.write("fanfare.toml", "a");
        assert!(!desk.look());
        assert!(desk.look());
    }

    #[test]
    fn what_is_no_file_is_not_looked_at() {
        assert!(Saved::new(Some(&"/dev/null".into())).is_none());
        assert!(Saved::new(Some(&"/nonexistent/fanfare.toml".into())).is_none());
        assert!(Saved::new(None).is_none());
    }
}
