//! The text of OpenMetrics in Prometheus' own, older format (0.0.4), for scrapers that ask for `text/plain`. Pure.
//!
//! The samples are the same. There a family of counters bears the name of its samples, an info is a gauge, and neither units
//! nor an end are told. *Not here*: who wants which (`super::negotiate`).

/// Media type of [`of`]'s text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The same metrics in the older format.
pub fn of(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len() + openmetrics.len() / 16);
    let mut lines = openmetrics.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((keyword, rest)) =
            line.strip_prefix("# ").map(|rest| rest.split_once(' ').unwrap_or((rest, "")))
        else {
            text.extend([line, "\n"]);
            continue;
        };
        // HELP stands above TYPE, which says what it is the help of.
        let kind_of = |line: &str| line.rsplit(' ').next().map(Kind::of).unwrap_or_default();
        let kind = match (keyword, lines.peek()) {
            ("HELP", Some(next)) if next.starts_with("# TYPE ") => kind_of(next),
            ("TYPE", _) => kind_of(line),
            _ => continue,
        };
        let (name, what) = rest.split_once(' ').unwrap_or((rest, ""));
        let what = if keyword == "TYPE" { kind.name.unwrap_or(what) } else { what };
        text.extend(["# ", keyword, " ", name, kind.suffix, " ", what, "\n"]);
    }
    text
}

/// What a kind of OpenMetrics is in the older format.
#[derive(Default)]
struct Kind {
    /// What follows a family's name.
    suffix: &'static str,
    /// Another name of the kind.
    name: Option<&'static str>,
}

impl Kind {
    fn of(openmetrics: &str) -> Self {
        match openmetrics {
            "counter" => Self { suffix: "_total", name: None },
            "info" => Self { suffix: "_info", name: Some("gauge") },
            "unknown" => Self { suffix: "", name: Some("untyped") },
            _ => Self::default(),
        }
    }
}
