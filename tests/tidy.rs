//! The walls of the design, held against the sources themselves.
//!
//! A wall is a [`Rule`]: a sentence, and a function that finds the lines that break it. `sources_keep_every_rule` walks
//! the repository; the other tests show that each rule catches what it is for and lets pass what it must. The scanner
//! knows comments, literals and `#[cfg(test)]` items, no more of Rust than that. *Not here*: what the compiler and
//! clippy check already (`Cargo.toml`, `clippy.toml`).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A file longer than this is two files. From 500 on it is a question to its author.
const LINES_MAX: usize = 700;

/// Directories that hold no source of ours.
const NOT_OURS: [&str; 9] = [
    ".git",
    "target",
    "node_modules",
    "__pycache__",
    ".env",
    "corpus",
    "artifacts",
    "coverage",
    ".pytest_cache",
];

/// Ends of names of the text files that people write.
const TEXT: [&str; 16] = [
    "rs",
    "toml",
    "py",
    "js",
    "md",
    "sh",
    "yaml",
    "yml",
    "txt",
    "ini",
    "service",
    "conf",
    "run",
    "setup",
    "gitignore",
    "env",
];

const PURE: [&str; 21] = [
    "src/core/",
    "src/events/record.rs",
    "src/events/json.rs",
    "src/events/sink_queue.rs",
    "src/topology.rs",
    "src/topology/",
    "src/doctor/checks.rs",
    "src/doctor/checks/",
    "src/doctor/finding.rs",
    "src/doctor/wanted.rs",
    "src/doctor/table.rs",
    "src/doctor/target.rs",
    "src/client/address.rs",
    "src/client/arguments.rs",
    "src/client/ledger.rs",
    "src/client/message.rs",
    "src/client/request.rs",
    "src/client/sse.rs",
    "src/client/table.rs",
    "src/client/views.rs",
    "src/client/top/screen.rs",
];

const LOCK_FREE: [&str; 7] = [
    "src/events/journal.rs",
    "src/ingest/",
    "src/redis/",
    "src/ring/",
    "src/shard/",
    "src/dataplane/",
    "src/core/",
];

const UNSAFE_ADDRESSES: [&str; 3] = ["src/dataplane/", "src/sys/", "bench/src/sys/"];

const ROOMS_WITHOUT_A_PURPOSE: [&str; 9] =
    ["utils", "util", "common", "types", "manager", "handler", "handlers", "service", "helpers"];

/// One text file, seen in three ways; all three have the same lines.
struct Source {
    /// From the root of the repository, with `/`.
    path: String,
    /// As written.
    text: String,
    /// Comments and the insides of literals blanked.
    code: String,
    /// `code` without the items under `#[cfg(test)]`.
    production: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let code = if has_extension(path, "rs") { blank_comments_and_literals(text) } else { String::new() };
        let production = blank_test_items(&code);
        Self { path: path.into(), text: text.into(), code, production }
    }

    fn is_rust(&self) -> bool {
        has_extension(&self.path, "rs")
    }

    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }
}

/// A wall.
struct Rule {
    sentence: &'static str,
    /// Line numbers, from 1, that break it.
    broken: fn(&Source) -> Vec<usize>,
    /// A file that breaks it: path and text.
    example: (&'static str, &'static str),
}

const RULES: [Rule; 14] = [
    Rule {
        sentence: "`core`, `topology` are pure (no async, no monoio, no clock: \
                   time is an argument)",
        broken: |source| {
            let impure = ["async", "await", "monoio", "Instant::now", "SystemTime"];
            if source.is_in(&PURE) { lines_with_any(&source.production, &impure) } else { Vec::new() }
        },
        example: (
            "src/core/websocket/x.rs",
            "//! x\nuse std::time::Instant;\nfn f() { let _ = Instant::now(); }\n",
        ),
    },
    Rule {
        sentence: "`ingest` and `shard` do not know each other and meet only in `downlink`",
        broken: |source| {
            if source.is_in(&["src/ingest/", "src/ingest.rs"]) {
                lines_that_name_module(&source.code, "shard")
            } else if source.is_in(&["src/shard/", "src/shard.rs"]) {
                lines_that_name_module(&source.code, "ingest")
            } else {
                Vec::new()
            }
        },
        example: ("src/shard/x.rs", "//! x\nuse crate::{batch, ingest};\n"),
    },
    Rule {
        sentence: "`unsafe` lives in `dataplane/` and `sys/` only",
        broken: |source| {
            if source.is_in(&UNSAFE_ADDRESSES) {
                Vec::new()
            } else {
                lines_with_any(&source.code, &["unsafe"])
            }
        },
        example: ("src/ring/x.rs", "//! x\nfn f(p: *const u8) -> u8 { unsafe { *p } }\n"),
    },
    Rule {
        sentence: "threads start only in `server/threads`",
        broken: |source| {
            let starts = ["thread::spawn", "thread::Builder", "thread::scope", "thread::{"];
            if source.is_in(&["src/"]) && !source.is_in(&["src/server/threads.rs"]) {
                lines_with_any(&source.production, &starts)
            } else {
                Vec::new()
            }
        },
        example: ("src/api/x.rs", "//! x\nfn f() { std::thread::spawn(|| {}); }\n"),
    },
    Rule {
        sentence: "nothing is printed by a macro that panics when it cannot be written",
        broken: |source| {
            let prints = ["print!", "println!", "eprint!", "eprintln!"];
            let places = ["src/", "bench/src/"];
            if source.is_in(&places) { lines_with_any(&source.production, &prints) } else { Vec::new() }
        },
        example: ("src/x.rs", "//! x\nfn f() { eprintln!(\"x\"); }\n"),
    },
    Rule {
        sentence: "no Mutex, RwLock or mpsc in core, ingest, redis, ring, shard, dataplane, nor in a journal of events",
        broken: |source| {
            let locks = ["Mutex", "RwLock", "Condvar", "mpsc"];
            if source.is_in(&LOCK_FREE) { lines_with_any(&source.production, &locks) } else { Vec::new() }
        },
        example: ("src/ring/x.rs", "//! x\nuse std::sync::Mutex;\n"),
    },
    Rule {
        sentence: "a file has at most 700 lines; from 500 on its length is a question about the design",
        broken: |source| {
            let lines = source.text.lines().count();
            if source.is_rust() && lines > LINES_MAX { vec![lines] } else { Vec::new() }
        },
        example: ("src/x.rs", LONG_FILE),
    },
    Rule {
        sentence: "what is left to do stands in an issue, not in the code",
        broken: |source| {
            let notes = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
            let mut lines = lines_with_any(&source.text, &notes);
            lines.extend(lines_with_any(&source.code, &["todo!", "unimplemented!", "dbg!"]));
            lines
        },
        example: ("src/x.rs", "//! x\nfn f() { todo!() }\n"),
    },
    Rule {
        sentence: "a test that exists runs",
        broken: |source| {
            lines_with(&source.code, |line| line.contains("#[ignore") && !line.contains("#[ignored"))
        },
        example: ("tests/x.rs", "//! x\n#[test]\n#[ignore]\nfn f() {}\n"),
    },
    Rule {
        sentence: "a module is named for its purpose (not `utils`, `common`, `types`, `manager`, `handler`, `service`)",
        broken: |source| {
            let name = |part: &str| ROOMS_WITHOUT_A_PURPOSE.contains(&part.trim_end_matches(".rs"));
            if !source.is_rust() {
                return Vec::new();
            }
            let mut lines = if source.path.split('/').any(name) { vec![1] } else { Vec::new() };
            lines.extend(lines_with(&source.code, |line| {
                let words: Vec<&str> = words(line).collect();
                words.windows(2).any(|pair| pair[0] == "mod" && name(pair[1]))
            }));
            lines
        },
        example: ("src/api/utils.rs", "//! x\n"),
    },
    Rule {
        sentence: "a Rust file begins with `//!`: what it is, and what is not here",
        broken: |source| {
            let begins = source.text.starts_with("//!") || source.text.starts_with("#![no_main]\n//!");
            if source.is_rust() && !begins { vec![1] } else { Vec::new() }
        },
        example: ("src/x.rs", "use std::io;\n"),
    },
    Rule {
        sentence: "no tab, no trailing space, no carriage return",
        broken: |source| {
            lines_with(&source.text, |line| line.contains(['\t', '\r']) || line.ends_with([' ', '\u{a0}']))
        },
        example: ("fanfare.toml", "listen = 1 \n"),
    },
    Rule {
        sentence: "a text file ends with one newline",
        broken: |source| {
            let ends =
                source.text.is_empty() || (source.text.ends_with('\n') && !source.text.ends_with("\n\n"));
            if ends { Vec::new() } else { vec![source.text.lines().count()] }
        },
        example: ("x.md", "# x"),
    },
    Rule {
        sentence: "no path of the machine that the file was written on",
        broken: |source| {
            let paths = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/fa", "rm/")];
            lines_with(&source.text, |line| paths.iter().any(|path| line.contains(path)))
        },
        example: ("x.md", concat!("see /wo", "rk/notes\n")),
    },
];

/// 701 lines.
const LONG_FILE: &str = {
    const BYTES: [u8; LINES_MAX + 1] = [b'\n'; LINES_MAX + 1];
    match std::str::from_utf8(&BYTES) {
        Ok(text) => text,
        Err(_) => panic!(),
    }
};

// --- the scanner ---------------------------------------------------------------------------------------------------

fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == extension)
}

/// What the scanner is inside of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Code,
    LineComment,
    /// Depth: block comments nest.
    BlockComment(usize),
    Text,
    /// Number of `#`.
    RawText(usize),
    Character,
}

/// The same lines, with every comment and the inside of every literal replaced by spaces.
fn blank_comments_and_literals(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut inside = Inside::Code;
    let mut at = 0;
    while at < chars.len() {
        let (next, taken, shown) = step(inside, &chars, at);
        for &c in &chars[at..at + taken] {
            code.push(if c == '\n' || shown { c } else { ' ' });
        }
        inside = next;
        at += taken;
    }
    code
}

/// What the scanner is inside of after the next few characters, how many those are, and whether they are code.
fn step(inside: Inside, chars: &[char], at: usize) -> (Inside, usize, bool) {
    let here = chars[at];
    let next = chars.get(at + 1).copied();
    let escaped = usize::min(2, chars.len() - at);
    match inside {
        Inside::Code => match (here, next) {
            ('/', Some('/')) => (Inside::LineComment, 2, false),
            ('/', Some('*')) => (Inside::BlockComment(1), 2, false),
            ('"', _) => (Inside::Text, 1, true),
            ('\'', _) if is_character(chars, at) => (Inside::Character, 1, true),
            ('r', Some('"' | '#')) if !continues_word(chars, at) => match raw_opening(chars, at) {
                Some(hashes) => (Inside::RawText(hashes), hashes + 2, true),
                None => (inside, 1, true),
            },
            _ => (inside, 1, true),
        },
        Inside::LineComment => (if here == '\n' { Inside::Code } else { inside }, 1, false),
        Inside::BlockComment(depth) => match (here, next) {
            ('*', Some('/')) if depth == 1 => (Inside::Code, 2, false),
            ('*', Some('/')) => (Inside::BlockComment(depth - 1), 2, false),
            ('/', Some('*')) => (Inside::BlockComment(depth + 1), 2, false),
            _ => (inside, 1, false),
        },
        Inside::Text | Inside::Character => match here {
            '\\' => (inside, escaped, false),
            '"' if inside == Inside::Text => (Inside::Code, 1, true),
            '\'' if inside == Inside::Character => (Inside::Code, 1, true),
            _ => (inside, 1, false),
        },
        Inside::RawText(hashes) => {
            let closes = here == '"' && chars[at + 1..].iter().take_while(|&&c| c == '#').count() >= hashes;
            if closes { (Inside::Code, hashes + 1, true) } else { (inside, 1, false) }
        }
    }
}

/// Whether the quote begins a character literal and not a lifetime or a label.
fn is_character(chars: &[char], at: usize) -> bool {
    matches!((chars.get(at + 1), chars.get(at + 2)), (Some('\\'), _) | (Some(_), Some('\'')))
}

/// Whether the letter belongs to a longer name (`br"` and `cr"` are openings, `for"` is none).
fn continues_word(chars: &[char], at: usize) -> bool {
    let before = |n: usize| at.checked_sub(n).and_then(|i| chars.get(i)).copied();
    let is_name = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    match before(1) {
        Some('b' | 'c') => is_name(before(2)),
        previous => is_name(previous),
    }
}

/// Number of `#` in the opening of a raw string, when it is one.
fn raw_opening(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
    (chars.get(at + 1 + hashes) == Some(&'"')).then_some(hashes)
}

/// The same lines without the items under `#[cfg(test)]`. Takes code whose comments and literals are blank.
fn blank_test_items(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some((at, attribute)) =
        ["#[cfg(test)]", "#[cfg(all(test"].iter().filter_map(|a| Some((rest.find(a)?, *a))).min()
    {
        let (before, item) = rest.split_at(at);
        kept.push_str(before);
        let end = attribute.len() + end_of_item(&item[attribute.len()..]);
        kept.extend(item[..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &item[end..];
    }
    kept.push_str(rest);
    kept
}

/// Bytes up to the end of the item: its closing brace, or the semicolon of one that has no body.
fn end_of_item(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}

fn lines_with(text: &str, broken: impl Fn(&str) -> bool) -> Vec<usize> {
    // `split`, because `lines` would drop the carriage return that one rule looks for.
    text.split('\n').enumerate().filter(|(_, line)| broken(line)).map(|(at, _)| at + 1).collect()
}

/// Lines with one of the needles, not as a part of a longer name.
fn lines_with_any(code: &str, needles: &[&str]) -> Vec<usize> {
    lines_with(code, |line| needles.iter().any(|needle| has_name(line, needle)))
}

fn has_name(line: &str, needle: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(needle).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + needle.len()..].chars().next();
        let ends_in_name = needle.ends_with(is_name);
        let continues = before.is_some_and(is_name) || (ends_in_name && after.is_some_and(is_name));
        !continues
    })
}

/// Lines that reach into a module: a path through it, or its name in a `use`. A variable of that name is none.
fn lines_that_name_module(code: &str, module: &str) -> Vec<usize> {
    let mut lines = lines_with_any(code, &[&format!("{module}::"), &format!("crate::{module}")]);
    let mut line = 1;
    for statement in code.split_inclusive(';') {
        let from_use = statement.rfind("use ").map(|at| &statement[at..]);
        if from_use.is_some_and(|used| used.ends_with(';') && has_name(used, module)) {
            lines.push(line + statement.trim_end_matches(char::is_whitespace).matches('\n').count());
        }
        line += statement.matches('\n').count();
    }
    lines.sort_unstable();
    lines.dedup();
    lines
}

// --- the walk ------------------------------------------------------------------------------------------------------

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(directory) = open.pop() {
        let entries = std::fs::read_dir(&directory).expect("a directory of the repository is readable");
        for entry in entries {
            let entry = entry.expect("a directory's entry is readable");
            let kind = entry.file_type().expect("an entry has a type");
            let name = entry.file_name().to_string_lossy().into_owned();
            if kind.is_dir() && !NOT_OURS.contains(&name.as_str()) {
                open.push(entry.path());
            } else if kind.is_file() && is_text(&name) {
                found.push(read(root, &entry.path()));
            }
        }
    }
    found
}

fn is_text(name: &str) -> bool {
    name.rsplit('.').next().is_some_and(|extension| TEXT.contains(&extension))
}

fn read(root: &Path, path: &PathBuf) -> Source {
    let text = std::fs::read(path).expect("a source is readable");
    let text = String::from_utf8(text).unwrap_or_else(|_| panic!("{} is not UTF-8", path.display()));
    let name = path.strip_prefix(root).expect("the walk stays below its root").to_string_lossy();
    Source::new(&name, &text)
}

fn report(sources: &[Source]) -> String {
    let mut report = String::new();
    for source in sources {
        for rule in &RULES {
            for line in (rule.broken)(source) {
                let _ = writeln!(report, "{}:{line}: {}", source.path, rule.sentence);
            }
        }
    }
    report
}

#[test]
fn sources_keep_every_rule() {
    let sources = sources();
    for needed in ["src/lib.rs", "src/main.rs", "tests/tidy.rs", "Cargo.toml"] {
        assert!(sources.iter().any(|source| source.path == needed), "the walk did not find {needed}");
    }
    let report = report(&sources);
    assert!(report.is_empty(), "\n{report}");
}

// --- the rules catch what they are for -----------------------------------------------------------------------------

fn broken_by(path: &str, text: &str) -> String {
    report(&[Source::new(path, text)])
}

#[test]
fn every_rule_catches_its_example() {
    for rule in &RULES {
        let (path, text) = rule.example;
        let report = broken_by(path, text);
        assert!(report.contains(rule.sentence), "{path} should break: {}\nbut: {report}", rule.sentence);
    }
}

#[test]
fn a_problem_is_reported_with_its_line() {
    let report = broken_by("src/core/model/x.rs", "//! x\n\nfn f() {}\nasync fn g() {}\n");
    assert!(report.starts_with("src/core/model/x.rs:4: "), "{report}");
}

#[test]
fn comments_and_literals_are_not_code() {
    let text = "//! unsafe async\n/* Mutex /* nested */ mpsc */\nfn f<'a>(_: &'a str) -> char {\n    \
                g(\"async \\\" unsafe\", r#\"\"unsafe\"#, br\"Mutex\", b'\"', '\"', '\\'');\n    'u'\n}\n";
    let code = blank_comments_and_literals(text);
    for word in ["unsafe", "async", "Mutex", "mpsc"] {
        assert!(!code.contains(word), "{word} is left in\n{code}");
    }
    assert!(code.contains("fn f<'a>(_: &'a str) -> char {"), "{code}");
    assert_eq!(code.lines().count(), text.lines().count());
}

#[test]
fn code_after_a_literal_is_still_code() {
    for literal in ["\"\\\\\"", "'\\''", "r##\"a\"#b\"##", "b'\\\\'", "'\"'", "c\"x\"", "/* \" */"] {
        let code = blank_comments_and_literals(&format!("f({literal}, unsafe)"));
        assert!(has_name(&code, "unsafe"), "hidden by {literal}: {code}");
    }
}

#[test]
fn a_name_that_ends_in_r_is_no_raw_string() {
    let code = blank_comments_and_literals("matches!(for\"x\", unsafe)");
    assert!(has_name(&code, "unsafe"), "{code}");
}

#[test]
fn test_modules_may_lock_read_clocks_and_start_threads() {
    let text = "//! x\nfn f() {}\n#[cfg(test)]\nmod tests {\n    use std::sync::Mutex;\n    \
                fn g() { std::thread::spawn(|| { std::time::Instant::now() }); }\n}\n";
    assert_eq!(broken_by("src/core/session/x.rs", text), "");
}

#[test]
fn code_below_a_test_module_is_production_again() {
    let text = "//! x\n#[cfg(test)]\nmod tests { fn g() { if true {} } }\nuse std::sync::Mutex;\n";
    assert!(broken_by("src/ring/x.rs", text).starts_with("src/ring/x.rs:4: "));
    let text = "//! x\n#[cfg(test)]\nmod tests;\nuse std::sync::Mutex;\n";
    assert!(broken_by("src/ring/x.rs", text).starts_with("src/ring/x.rs:4: "));
}

#[test]
fn a_variable_may_bear_the_name_of_a_module() {
    let text =
        "//! x\nuse crate::downlink::Downlink;\nfn f(shards: &[u8]) { for shard in shards { g(*shard); } }\n";
    assert_eq!(broken_by("src/ingest/x.rs", text), "");
}

#[test]
fn a_path_into_the_other_half_is_caught_in_every_spelling() {
    for line in [
        "use crate::shard::Shard;",
        "use crate::shard;",
        "use crate::{\n    batch,\n    shard::table,\n};",
        "fn f() { crate::shard::run(); }",
        "use super::super::shard as s;",
    ] {
        let report = broken_by("src/ingest/x.rs", &format!("//! x\n{line}\n"));
        assert!(report.contains("meet only in `downlink`"), "not caught: {line}");
    }
}

#[test]
fn a_longer_name_is_another_name() {
    let text = "//! x\n#![allow(unsafe_code)]\nfn asynchronous(deadline: MyInstant::nowhere) {}\n";
    assert_eq!(broken_by("src/core/websocket/x.rs", text), "");
}
