//! The text behind `--config`, whatever the path leads to: it is read to its end in bounded memory and time, or it is a problem.
//!
//! A thread that reads a pipe waits for its writer, and a device such as `/dev/zero` has no end; whoever reads the
//! configuration watches the process too. *Not here*: what the text means (`file`).

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use fanfare_core::limits::{CONFIG_FILE_BYTES_MAX, CONFIG_PIPE_LOOK};

/// Why there is no text: what is wrong, and what to do.
pub(super) type Unread = (String, String);

/// Reads the file. What comes through a pipe or from a terminal is waited for at most this long.
pub(super) fn read(path: &Path, patience: Duration) -> Result<String, Unread> {
    let cannot = |why: &dyn std::fmt::Display| {
        let remedy = "give --config a readable UTF-8 file, or none to run with the defaults";
        (format!("the file cannot be read ({why})"), remedy.to_owned())
    };
    let file = OpenOptions::new()
        .read(true)
        // A pipe without a writer is opened at once, and no terminal becomes the process's own.
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(|error| cannot(&error))?;
    let is_pipe = file.metadata().map_err(|error| cannot(&error))?.file_type().is_fifo();
    let bytes = match read_all(file, patience) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            let wrong = format!("it is no regular file, and had no end within {} s", patience.as_secs_f32());
            return Err((wrong, "give --config a regular file".into()));
        }
        Err(error) => return Err(cannot(&error)),
    };
    if bytes.len() > CONFIG_FILE_BYTES_MAX {
        let wrong = format!("the file has more than {CONFIG_FILE_BYTES_MAX} bytes");
        return Err((wrong, "give --config a file of settings; all of them fit many times".into()));
    }
    if is_pipe && bytes.is_empty() {
        return Err((
            "it is a pipe, and nothing came through it".into(),
            "give --config a regular file".into(),
        ));
    }
    String::from_utf8(bytes).map_err(|error| cannot(&error.utf8_error()))
}

/// As much as a configuration may have, and a byte more if there is more.
fn read_all(file: File, patience: Duration) -> io::Result<Vec<u8>> {
    let until = Instant::now() + patience;
    let mut bytes = Vec::new();
    let mut file = file.take(CONFIG_FILE_BYTES_MAX as u64 + 1);
    loop {
        // What was read before an error is kept.
        match file.read_to_end(&mut bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < until => {
                sleep(CONFIG_PIPE_LOOK);
            }
            outcome => return outcome.map(|_| bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::path::PathBuf;
    use std::process::Command;
    use std::thread;

    use tempfile::TempDir;

    use super::*;

    /// Long enough for a thread to run, on whatever machine.
    const LONG: Duration = Duration::from_secs(20);

    fn pipe(directory: &TempDir) -> PathBuf {
        let path = directory.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&path).status().expect("coreutils").success());
        path
    }

    fn wrong(path: impl AsRef<Path>, patience: Duration) -> String {
        read(path.as_ref(), patience).expect_err("it is no configuration").0
    }

    #[test]
    fn a_pipe_that_nobody_writes_is_a_problem_at_once() {
        let directory = TempDir::new().expect("a temporary directory");
        let begun = Instant::now();
        assert_eq!(wrong(pipe(&directory), LONG), "it is a pipe, and nothing came through it");
        assert!(begun.elapsed() < LONG);
    }

    #[test]
    fn a_pipe_is_read_to_its_end_and_not_waited_for_without_end() {
        let directory = TempDir::new().expect("a temporary directory");
        let path = pipe(&directory);
        let mut writer = OpenOptions::new().read(true).write(true).open(&path).expect("a pipe opens");
        writer.write_all(b"[merge]\n").expect("a pipe takes a line");
        assert_eq!(wrong(&path, Duration::ZERO), "it is no regular file, and had no end within 0 s");
        writer.write_all(b"[merge]\n").expect("a pipe takes a line");
        let later = thread::spawn(move || {
            sleep(CONFIG_PIPE_LOOK * 3);
            writer.write_all(b"delay_ms = 7\n").expect("a pipe takes a line");
        });
        assert_eq!(read(&path, LONG).as_deref(), Ok("[merge]\ndelay_ms = 7\n"));
        later.join().expect("it wrote");
    }

    #[test]
    fn what_has_no_end_or_is_too_long_is_a_problem() {
        assert!(wrong("/dev/zero", LONG).starts_with("the file has more than 1048576 bytes"));
        let directory = TempDir::new().expect("a temporary directory");
        let path = directory.path().join("long.toml");
        fs::write(&path, vec![b'#'; CONFIG_FILE_BYTES_MAX]).expect("space on it");
        assert_eq!(read(&path, Duration::ZERO).map(|text| text.len()), Ok(CONFIG_FILE_BYTES_MAX));
        fs::write(&path, vec![b'#'; CONFIG_FILE_BYTES_MAX + 1]).expect("space on it");
        assert!(wrong(&path, Duration::ZERO).starts_with("the file has more than"));
    }

    #[test]
    fn what_is_no_text_is_a_problem_and_an_empty_device_is_an_empty_file() {
        assert!(wrong("/", LONG).starts_with("the file cannot be read ("));
        assert!(wrong("/nonexistent/f.toml", LONG).starts_with("the file cannot be read ("));
        let directory = TempDir::new().expect("a temporary directory");
        let path = directory.path().join("latin1.toml");
        fs::write(&path, b"# \xe9\n").expect("space on it");
        assert!(wrong(&path, LONG).starts_with("the file cannot be read (invalid utf-8"));
        assert_eq!(read(Path::new("/dev/null"), LONG).as_deref(), Ok(""));
    }
}
