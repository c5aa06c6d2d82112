//! The results file: a [`Record`] as JSON that a person can read too; names that never hit an earlier run's file.
//!
//! *Not here*: what is in a record (`results`), the page (`report`).

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{RECORD_VERSION, Record};

/// Bytes of a results file that is read. The largest that is written has some hundred curves of 2,000 points each.
pub(crate) const FILE_BYTES_MAX: usize = 64 << 20;
/// Runs of one name in one day.
const RUNS_PER_DAY_MAX: u32 = 10_000;
/// Characters of a name that the file's name keeps: with date, counter and ending it stays below 255 bytes.
const NAME_CHARS_MAX: usize = 80;

/// Reads a results file.
///
/// # Errors
/// What is wrong with it, to be put behind the file's name.
pub(crate) fn parse(bytes: &[u8]) -> Result<Record, String> {
    if bytes.len() > FILE_BYTES_MAX {
        return Err(format!("has more than {} MiB, which no results file has", FILE_BYTES_MAX >> 20));
    }
    let value: Value = serde_json::from_slice(bytes).map_err(|e| format!("is not JSON: {e}"))?;
    match value.get("version").and_then(Value::as_u64) {
        Some(version) if version == u64::from(RECORD_VERSION) => {}
        Some(version) => {
            return Err(format!(
                "has version {version} of the results file, and this fanfare-bench reads {RECORD_VERSION}"
            ));
        }
        None => return Err("is JSON, but no results file of fanfare-bench".into()),
    }
    serde_json::from_value(value).map_err(|e| format!("is no whole results file of fanfare-bench: {e}"))
}

/// The file's text: objects a line per key, points and buckets close together.
pub(crate) fn text(record: &Record) -> Result<String, String> {
    let value = serde_json::to_value(record).map_err(|e| e.to_string())?;
    let mut out = String::new();
    write_value(&value, 0, &mut out);
    out.push('\n');
    Ok(out)
}

fn write_value(value: &Value, depth: usize, out: &mut String) {
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('{');
            for (at, (key, value)) in map.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                line(out, depth + 1);
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push_str(": ");
                write_value(value, depth + 1, out);
            }
            line(out, depth);
            out.push('}');
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_string()) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                line(out, depth + 1);
                write_value(item, depth + 1, out);
            }
            line(out, depth);
            out.push(']');
        }
        leaf => out.push_str(&leaf.to_string()),
    }
}

/// The files of one run.
#[derive(Debug)]
pub(crate) struct Place {
    json: File,
    /// Path of the JSON.
    pub(crate) json_path: PathBuf,
    /// Path of the page.
    pub(crate) html_path: PathBuf,
}

impl Place {
    /// Makes the directory and the first JSON file whose name is free: `DATE-NAME`, `DATE-NAME-2`, …
    pub(crate) fn new(directory: &Path, date: &str, name: &str) -> Result<Self, String> {
        let failed = |path: &Path, e: io::Error| format!("cannot write {}: {e}", path.display());
        fs::create_dir_all(directory).map_err(|e| failed(directory, e))?;
        let stem = format!("{date}-{}", file_name(name));
        for run in 1..=RUNS_PER_DAY_MAX {
            let stem = if run == 1 { stem.clone() } else { format!("{stem}-{run}") };
            let json_path = directory.join(format!("{stem}.json"));
            let html_path = directory.join(format!("{stem}.html"));
            if html_path.exists() {
                continue;
            }
            match File::create_new(&json_path) {
                Ok(json) => return Ok(Self { json, json_path, html_path }),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(failed(&json_path, e)),
            }
        }
        Err(format!("{} has {RUNS_PER_DAY_MAX} runs of this day and name: give --name", directory.display()))
    }

    /// Writes both files.
    pub(crate) fn write(mut self, json: &str, html: &str) -> Result<(), String> {
        let failed = |path: &Path, e: io::Error| format!("cannot write {}: {e}", path.display());
        self.json.write_all(json.as_bytes()).map_err(|e| failed(&self.json_path, e))?;
        fs::write(&self.html_path, html).map_err(|e| failed(&self.html_path, e))
    }
}

/// What of a name can stand in a file's name everywhere: letters, digits, `.`, `_`, `-`.
fn file_name(name: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let kept: String = name.chars().take(NAME_CHARS_MAX).map(keep).collect();
    if kept.is_empty() { "run".into() } else { kept }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Better, Environment, Table};
    use super::*;
    use crate::histogram::Recorder;

    fn record() -> Record {
        let mut record = Record::new("fanout", Some("a \"name\""));
        let mut latency = Recorder::default();
        (1..500).for_each(|us| latency.record(us * us));
        record.distribution("latency", &latency);
        record.figure("deliveries", "a second", 1234.5, "/s", Better::Higher);
        record.figure("gateway", "not measured", f64::NAN, "%", Better::Lower);
        record.series("deliveries over time", "deliveries", ("s", "/s"), vec![(0.0, 1.0), (0.2, 2.5)]);
        let (columns, rows) = (vec!["rate".into()], vec![vec!["1".into()]]);
        record.tables.push(Table { title: "rungs".into(), columns, rows });
        record.details = serde_json::json!({"nested": {"empty": {}, "list": []}});
        record.environment = Environment { started: "2026-01-02T03:04:05Z".into(), ..Default::default() };
        record
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = text(&record()).unwrap();
        let read = parse(text.as_bytes()).unwrap();
        assert_eq!(super::text(&read).unwrap(), text);
        assert_eq!(read.figures[0].value.to_bits(), 1234.5_f64.to_bits());
        assert!(read.figures[1].value.is_nan(), "null is no number, and no error");
        assert_eq!(read.distributions[0].buckets, record().distributions[0].buckets);
        assert!(text.contains("\"points\": [[0.0,1.0],[0.2,2.5]]"), "{text}");
    }

    #[test]
    fn every_foreign_file_is_refused_with_its_reason() {
        for (bytes, reason) in [
            (&b""[..], "is not JSON"),
            (b"\xff\xfe", "is not JSON"),
            (b"[1, 2]", "is JSON, but no results file"),
            (b"{\"version\": \"1\"}", "is JSON, but no results file"),
            (b"{\"version\": 99}", "has version 99"),
            (b"{\"version\": 1, \"subcommand\": \"x\"}", "no whole results file"),
        ] {
            let error = parse(bytes).unwrap_err();
            assert!(error.contains(reason) && !error.contains('\n'), "{bytes:?}: {error}");
        }
        assert!(parse(&vec![b' '; FILE_BYTES_MAX + 1]).unwrap_err().contains("64 MiB"));
    }

    #[test]
    fn the_second_run_of_a_name_gets_a_name_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("not/yet");
        let place = |name| Place::new(&below, "2026-01-02", name).unwrap();
        let first = place("a/b c");
        assert_eq!(first.json_path, below.join("2026-01-02-a-b-c.json"));
        assert_eq!(place("a/b c").json_path, below.join("2026-01-02-a-b-c-2.json"));
        fs::write(below.join("2026-01-02-page.html"), "kept").unwrap();
        assert_eq!(place("page").html_path, below.join("2026-01-02-page-2.html"));
        assert_eq!(place("").json_path, below.join("2026-01-02-run.json"));
        assert!(place(&"ü".repeat(500)).json_path.exists());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        /// A valid file with one span replaced: whatever still parses can be shown too.
        #[test]
        fn a_damaged_file_is_refused_or_shown(at in any::<prop::sample::Index>(), n in 0..40_usize, by in "[0-9eE.,\\-\\[\\]{}\":a]{0,12}") {
            let mut text = text(&record()).unwrap();
            let from = at.index(text.len());
            let to = (from + n).min(text.len());
            if text.is_char_boundary(from) && text.is_char_boundary(to) {
                text.replace_range(from..to, &by);
            }
            if let Ok(record) = parse(text.as_bytes()) {
                let shown = crate::report::show(&[("x".into(), record.clone()), ("y".into(), record)]);
                prop_assert!(shown.html.ends_with("</html>\n") && !shown.text.is_empty());
            }
        }
    }
}
