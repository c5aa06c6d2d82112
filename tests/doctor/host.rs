//! A recorded host, unpacked into a directory when it is asked about.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tempfile::TempDir;

/// Files by their paths.
#[derive(Default)]
pub struct Host {
    files: BTreeMap<String, Vec<u8>>,
    unpacked: OnceCell<TempDir>,
}

impl Clone for Host {
    fn clone(&self) -> Self {
        Self { files: self.files.clone(), unpacked: OnceCell::new() }
    }
}

impl Host {
    /// A host that says nothing.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The host in `hosts/NAME.host`: a line `== PATH` before each file's text.
    pub fn recorded(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/doctor/hosts/{name}.host"));
        let text = fs::read_to_string(path).expect("a recorded host");
        let files = text.split("== ").filter_map(|file| file.split_once('\n'));
        let files: BTreeMap<_, _> = files.map(|(path, text)| (path.into(), text.into())).collect();
        assert!(files.len() > 20, "{name} is not a whole host");
        Self { files, unpacked: OnceCell::new() }
    }

    /// With this file.
    pub fn with(mut self, path: &str, text: impl AsRef<[u8]>) -> Self {
        self.files.insert(path.into(), text.as_ref().to_vec());
        self.unpacked = OnceCell::new();
        self
    }

    /// Without a file that it has.
    pub fn without(mut self, path: &str) -> Self {
        assert!(self.files.remove(path).is_some(), "there is no {path} to take away");
        self.unpacked = OnceCell::new();
        self
    }

    /// Paths, in order.
    pub fn files(&self) -> Vec<String> {
        self.files.keys().cloned().collect()
    }

    /// A directory with the files.
    pub fn root(&self) -> &str {
        let unpacked = self.unpacked.get_or_init(|| {
            let root = TempDir::new().expect("a temporary directory");
            for (path, text) in &self.files {
                let path = root.path().join(path);
                fs::create_dir_all(path.parent().expect("a file is in a directory")).expect("space on it");
                fs::write(path, text).expect("space on it");
            }
            root
        });
        unpacked.path().to_str().expect("a plain path")
    }
}
