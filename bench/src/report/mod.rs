//! What runs found, for people and for machines: [`finish`] for one run, [`run`] (the subcommand) for files of several.
//!
//! A record becomes text (`text`, or `compare` when there are several), a page (`html`, which draws with `svg`), and a
//! file (`results::file`). *Not here*: what a subcommand measures; it fills a [`Record`].

mod args;
mod compare;
mod escape;
mod html;
mod svg;
mod text;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use crate::args::Machine;
use crate::results::file::{self, FILE_BYTES_MAX, Place};
use crate::results::{Environment, Record};
use crate::sys::process;

pub(crate) use args::ReportArgs;

/// Where results go unless the command line says otherwise.
const RESULTS: &str = "results";

/// The end of every run: adds its environment to the record, keeps the results where the command line wants them, and
/// prints the table.
///
/// Without a flag: `results/DATE-NAME.json` and `.html`. With `--json FILE`: that file, and the directory only if
/// `--results` names one. With `--json -`: the JSON is all that standard output gets.
pub(crate) fn finish(machine: &Machine, mut record: Record) -> Result<(), String> {
    if let Some(name) = &machine.name {
        record.name.clone_from(name);
    }
    record.environment = Environment::read();
    record.interrupted = process::interrupted();
    if record.interrupted {
        record.warnings.insert(0, "interrupted: these are the results up to Ctrl-C".into());
    }
    // JSON has no such numbers, and no plot has a place for them.
    for series in &mut record.series {
        series.points.retain(|(x, y)| x.is_finite() && y.is_finite());
    }
    let json = file::text(&record).map_err(|e| format!("cannot write the results as JSON: {e}"))?;
    let to_output = machine.json.as_deref() == Some(Path::new("-"));
    if let Some(path) = &machine.json
        && !to_output
    {
        fs::write(path, &json).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    }
    let mut kept = String::new();
    let directory = match &machine.results {
        Some(directory) => Some(directory.as_path()),
        None if machine.no_results || machine.json.is_some() => None,
        None => Some(Path::new(RESULTS)),
    };
    if let Some(directory) = directory {
        let place = Place::new(directory, record.environment.date(), &record.name)?;
        kept = format!("\nresults           {}   {}\n", place.json_path.display(), place.html_path.display());
        place.write(&json, &html::page(&[(record.name.clone(), record.clone())]))?;
    }
    print(&if to_output { json } else { text::run(&record) + &kept });
    Ok(())
}

/// Writes to standard output, without what could move a terminal's cursor: some of it came from servers and files.
/// Whoever closed it (`| head`) wants no more, and the files are written.
fn print(text: &str) {
    let text: String = text.chars().filter(|c| *c == '\n' || !c.is_control()).collect();
    let _ = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
}

/// The subcommand: results files side by side, the first as the measure of the others.
pub(crate) fn run(args: &ReportArgs) -> Result<bool, String> {
    let mut records = Vec::new();
    for path in &args.files {
        let record = read(path).map_err(|why| format!("{} {why}", path.display()))?;
        records.push((path.as_path(), record));
    }
    let names: Vec<String> = records.iter().map(|(_, record)| record.name.clone()).collect();
    let unique = names.iter().collect::<HashSet<_>>().len() == names.len();
    let stem = |path: &Path| path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let label = |path: &Path, record: &Record| if unique { record.name.clone() } else { stem(path) };
    let records: Vec<_> = records.into_iter().map(|(path, record)| (label(path, &record), record)).collect();
    let shown = show(&records);
    if let Some(path) = &args.html {
        fs::write(path, shown.html).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    }
    print(&shown.text);
    Ok(true)
}

fn read(path: &Path) -> Result<Record, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|e| format!("cannot be read: {e}"))?;
    file.take(FILE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| format!("cannot be read: {e}"))?;
    file::parse(&bytes)
}

/// Records under their labels, as text and as a page.
pub(crate) struct Shown {
    pub(crate) text: String,
    pub(crate) html: String,
}

/// Shows one record, or several side by side with the first as the measure of the others.
pub(crate) fn show(records: &[(String, Record)]) -> Shown {
    let text = match records {
        [(_, record)] => text::run(record),
        several => compare::text(several),
    };
    Shown { text, html: html::page(records) }
}
