//! One record, or several side by side, as one page that needs nothing else: no network, no script.
//!
//! Every string of a record goes through [`escape`]. *Not here*: how a plot is drawn (`svg`), what is compared with
//! what (`compare`).

use std::fmt::Write;

use super::compare::{self, Verdict};
use super::escape::escape;
use super::svg::{Axis, COLOURS, Line, Plot, Scale};
use super::text::are_numbers;
use crate::results::{Distribution, Record, Table};
use crate::units::{count, decimals, duration, human};

const STYLE: &str = include_str!("style.css");
/// Nines that the axis of percentiles shows at most: of more deliveries than a million, the last of a million.
const NINES_MAX: f64 = 6.0;
/// A curve whose largest value is that many times its middle one needs a log axis to show both.
const WIDE: f64 = 40.0;

/// The page.
pub(super) fn page(records: &[(String, Record)]) -> String {
    let title = records.iter().map(|(label, _)| label.as_str()).collect::<Vec<_>>().join(" · ");
    let mut out = String::new();
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{0} – fanfare-bench</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{0}</h1>\n",
        escape(&title)
    );
    head(&mut out, records);
    if let [(_, record)] = records {
        figures(&mut out, record);
    } else {
        conditions(&mut out, records);
    }
    distributions(&mut out, records);
    series(&mut out, records);
    if records.len() > 1 {
        side_by_side(&mut out, records);
    }
    for (label, record) in records {
        for table in &record.tables {
            let title =
                if records.len() > 1 { format!("{label}: {}", table.title) } else { table.title.clone() };
            let _ = writeln!(out, "<h2>{}</h2>", escape(&title));
            self::table(&mut out, table);
        }
    }
    environments(&mut out, records);
    out.push_str("</body>\n</html>\n");
    out
}

/// When and what, and the sentences that come before the numbers.
fn head(out: &mut String, records: &[(String, Record)]) {
    for (at, (label, record)) in records.iter().enumerate() {
        let environment = &record.environment;
        let chip = if records.len() > 1 { format!("{}{}: ", chip(at), escape(label)) } else { String::new() };
        let _ = writeln!(
            out,
            "<p class=\"soft\">{chip}fanfare-bench {} · {} · took {} · {}</p>",
            escape(&record.subcommand),
            escape(&environment.started.replace('T', " ").replace('Z', " UTC")),
            duration(environment.seconds),
            escape(&environment.machine())
        );
    }
    for (label, record) in records {
        for warning in &record.warnings {
            let whose = if records.len() > 1 { format!("{label}: ") } else { String::new() };
            let _ = writeln!(out, "<p class=\"warn\">{}{}</p>", escape(&whose), escape(warning));
        }
    }
}

fn chip(at: usize) -> String {
    format!("<span class=\"chip c{}\"></span>", at % COLOURS)
}

/// A panel per group.
fn figures(out: &mut String, record: &Record) {
    let mut groups: Vec<(&str, String)> = Vec::new();
    for figure in &record.figures {
        let (name, value) = (escape(&figure.name), escape(&human(figure.value, &figure.unit)));
        let line = format!("<dt>{name}</dt><dd>{value}</dd>");
        match groups.iter_mut().find(|(group, _)| *group == figure.group) {
            Some((_, lines)) => lines.push_str(&line),
            None => groups.push((&figure.group, line)),
        }
    }
    if groups.is_empty() {
        return;
    }
    out.push_str("<h2>Figures</h2>\n<div class=\"groups\">\n");
    for (group, lines) in groups {
        let _ = writeln!(out, "<div class=\"group\"><h3>{}</h3><dl>{lines}</dl></div>", escape(group));
    }
    out.push_str("</div>\n");
}

/// A column per record; with ratios, one for them behind each but the first.
fn labels(out: &mut String, records: &[(String, Record)], with_ratios: bool) {
    for (at, (label, _)) in records.iter().enumerate() {
        let number = if with_ratios { " class=\"n\"" } else { "" };
        let _ = write!(out, "<th{number}>{}{}</th>", chip(at), escape(label));
        if with_ratios && at > 0 {
            let _ = write!(out, "<th>to {}</th>", escape(&records[0].0));
        }
    }
    out.push_str("</tr>\n");
}

/// What is not the same in the conditions.
fn conditions(out: &mut String, records: &[(String, Record)]) {
    let conditions = compare::conditions(records);
    if conditions.is_empty() {
        return;
    }
    out.push_str("<h2>Different conditions</h2>\n<div class=\"scroll\"><table><tr><th></th>");
    labels(out, records, false);
    for (name, values) in conditions {
        let _ = write!(out, "<tr><td class=\"group-name\">{}</td>", escape(&name));
        for value in values {
            let _ = write!(out, "<td><code>{}</code></td>", escape(&value));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table></div>\n");
}

/// Every number beside its counterparts.
fn side_by_side(out: &mut String, records: &[(String, Record)]) {
    out.push_str("<h2>Figures</h2>\n<div class=\"scroll\"><table><tr><th></th><th></th>");
    labels(out, records, true);
    let mut group = "";
    for row in compare::rows(records) {
        let shown = if row.group == group { "" } else { row.group };
        group = row.group;
        let _ =
            write!(out, "<tr><td class=\"group-name\">{}</td><td>{}</td>", escape(shown), escape(row.name));
        for (at, value) in row.values.iter().enumerate() {
            let text = value.map_or_else(String::new, |value| human(value, row.unit));
            let _ = write!(out, "<td class=\"n\">{}</td>", escape(&text));
            if at > 0 {
                let (text, verdict) = compare::against(row.values[0], *value, row.better);
                let class = match verdict {
                    Verdict::Better => " better",
                    Verdict::Worse => " worse",
                    Verdict::Same | Verdict::Differs => "",
                };
                let _ = write!(out, "<td class=\"ratio{class}\">{text}</td>");
            }
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table></div>\n");
}

/// A plot per distribution, with a line per record.
fn distributions(out: &mut String, records: &[(String, Record)]) {
    let mut plots: Vec<(&str, Vec<Line>, f64)> = Vec::new();
    for (at, (label, record)) in records.iter().enumerate() {
        for one in record.distributions.iter().filter(|one| one.percentiles.count > 1) {
            let line = Line { name: label.clone(), colour: at, dashed: false, points: curve(one) };
            let nines = (one.percentiles.count as f64).log10().clamp(1.5, NINES_MAX) + 0.15;
            match plots.iter_mut().find(|(name, ..)| *name == one.name) {
                Some((_, lines, most)) => {
                    lines.push(line);
                    *most = most.max(nines);
                }
                None => plots.push((&one.name, vec![line], nines)),
            }
        }
    }
    if plots.is_empty() {
        return;
    }
    out.push_str("<h2>Distributions</h2>\n<div class=\"plots\">\n");
    for (name, lines, nines) in plots {
        let x = Axis { title: "percentile".into(), unit: String::new(), scale: Scale::Nines(nines) };
        let y =
            Axis { title: "milliseconds".into(), unit: "ms".into(), scale: scale(&lines, |point| point.1) };
        out.push_str(&Plot { title: name.into(), x, y, x_to: 0.0, lines, bounds: Vec::new() }.svg());
    }
    out.push_str("</div>\n");
    if let [(_, record)] = records {
        percentiles(out, record);
    }
}

fn percentiles(out: &mut String, record: &Record) {
    let columns = ["milliseconds", "values", "mean", "p50", "p90", "p99", "p99.9", "max"];
    let rows = record.distributions.iter().filter(|one| one.percentiles.count > 0).map(|one| {
        let p = &one.percentiles;
        let mut row = vec![one.name.clone(), count(p.count as f64)];
        row.extend([p.mean_ms, p.p50_ms, p.p90_ms, p.p99_ms, p.p999_ms, p.max_ms].map(|ms| decimals(ms, 2)));
        row
    });
    let columns = columns.map(str::to_owned).to_vec();
    table(out, &Table { title: String::new(), columns, rows: rows.collect() });
}

/// Share of the values at or below a value, in milliseconds, for each value that occurs.
fn curve(one: &Distribution) -> Vec<(f64, f64)> {
    let total: f64 = one.buckets.iter().map(|(_, count)| *count as f64).sum();
    let mut seen = 0.0;
    let mut points: Vec<(f64, f64)> = Vec::with_capacity(one.buckets.len() + 2);
    for (low_us, count) in &one.buckets {
        let ms = (*low_us as f64 / 1000.0).min(one.percentiles.max_ms);
        // A bucket's values begin where those of the one before end.
        points.push((seen / total.max(1.0), ms));
        seen += *count as f64;
    }
    points.push((1.0, one.percentiles.max_ms));
    points
}

/// Log where a linear axis would hide the most of a curve.
fn scale(lines: &[Line], value: fn(&(f64, f64)) -> f64) -> Scale {
    let mut values: Vec<f64> = lines.iter().flat_map(|line| line.points.iter().map(value)).collect();
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    match (values.first(), values.get(values.len() / 2), values.last()) {
        (Some(low), Some(middle), Some(high)) if *low > 0.0 && *high > WIDE * middle => Scale::Log,
        _ => Scale::Linear,
    }
}

/// A plot per name of a plot, with the lines of every record.
fn series(out: &mut String, records: &[(String, Record)]) {
    let mut plots: Vec<(&str, &str, &str, Vec<Line>)> = Vec::new();
    for (at, (label, record)) in records.iter().enumerate() {
        for series in record.series.iter().filter(|series| !series.points.is_empty()) {
            let place = plots.iter().position(|(plot, ..)| *plot == series.plot).unwrap_or_else(|| {
                plots.push((&series.plot, &series.x_unit, &series.y_unit, Vec::new()));
                plots.len() - 1
            });
            let lines = &mut plots[place].3;
            // One record: a colour per series. Several: a colour per record, and its second series is dashed.
            let several = records.len() > 1;
            let before = lines.iter().filter(|line| line.colour == at).count();
            let name = if several { format!("{label}: {}", series.name) } else { series.name.clone() };
            let colour = if several { at } else { lines.len() };
            lines.push(Line { name, colour, dashed: several && before > 0, points: by_x(&series.points) });
        }
    }
    if plots.is_empty() {
        return;
    }
    // Curves over time lie on one axis.
    let timed = plots.iter().filter(|(_, x_unit, ..)| *x_unit == "s").flat_map(|(.., lines)| lines);
    let end = timed.flat_map(|line| &line.points).map(|point| point.0).fold(0.0, f64::max);
    out.push_str("<h2>Curves</h2>\n<div class=\"plots\">\n");
    for (plot, x_unit, y_unit, lines) in plots {
        let x_scale = match x_unit {
            // A climb multiplies its rate.
            "messages/s" => Scale::Log,
            "B" => scale(&lines, |point| point.0),
            _ => Scale::Linear,
        };
        let bounds = bounds(records, plot);
        // What is far below its bound, or grows with a rate on a log axis, is seen on a log axis only.
        let is_log = !bounds.is_empty() || (x_unit == "messages/s" && y_unit == "/s");
        let y_scale = if is_log { Scale::Log } else { scale(&lines, |point| point.1) };
        let x = Axis { title: axis_title(x_unit, true), unit: x_unit.into(), scale: x_scale };
        let y = Axis { title: axis_title(y_unit, false), unit: y_unit.into(), scale: y_scale };
        let x_to = if x_unit == "s" { end } else { 0.0 };
        out.push_str(&Plot { title: plot.into(), x, y, x_to, lines, bounds }.svg());
    }
    out.push_str("</div>\n");
}

/// In the order of x: an older results file has those of a climb in the order of their tries.
fn by_x(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut points = points.to_vec();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

/// What the values of a plot may come to, each once.
fn bounds(records: &[(String, Record)], plot: &str) -> Vec<(f64, String)> {
    let all = records.iter().flat_map(|(_, record)| &record.series).filter(|series| series.plot == plot);
    let mut bounds: Vec<(f64, String)> = Vec::new();
    for bound in all.filter_map(|series| series.bound.as_ref()) {
        if !bounds.contains(bound) {
            bounds.push(bound.clone());
        }
    }
    bounds
}

fn axis_title(unit: &str, is_x: bool) -> String {
    match unit {
        "s" if is_x => "seconds since the begin".into(),
        "s" => "seconds".into(),
        "ms" => "milliseconds".into(),
        "/s" => "a second".into(),
        "B" => "bytes".into(),
        "" => "number".into(),
        unit => unit.into(),
    }
}

fn table(out: &mut String, table: &Table) {
    let cell = |row: &[String], at: usize| row.get(at).cloned().unwrap_or_default();
    let numbers: Vec<bool> = (0..table.columns.len())
        .map(|at| at > 0 && are_numbers(table.rows.iter().map(|row| cell(row, at))))
        .collect();
    out.push_str("<div class=\"scroll\"><table>\n");
    for (element, row) in
        std::iter::once(("th", &table.columns)).chain(table.rows.iter().map(|row| ("td", row)))
    {
        out.push_str("<tr>");
        for (at, numbers) in numbers.iter().enumerate() {
            let class = if *numbers { " class=\"n\"" } else { "" };
            let _ = write!(out, "<{element}{class}>{}</{element}>", escape(&cell(row, at)));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table></div>\n");
}

/// All that is needed to make the run again.
fn environments(out: &mut String, records: &[(String, Record)]) {
    out.push_str("<h2>How to make it again</h2>\n");
    for (label, record) in records {
        let e = &record.environment;
        if records.len() > 1 {
            let _ = writeln!(out, "<h3>{}</h3>", escape(label));
        }
        let load: Vec<String> = e.load_average.iter().map(|load| decimals(*load, 2)).collect();
        let lines = [
            ("command", e.command.join(" ")),
            ("fanfare-bench", format!("{}, commit {}", e.version, e.commit.as_deref().unwrap_or("unknown"))),
            (
                "machine",
                format!("{}, {} CPUs, {} of memory", e.cpu, e.cpus, human(e.memory_bytes as f64, "B")),
            ),
            ("kernel", format!("Linux {}", e.kernel)),
            ("load average at the begin", load.join("  ")),
            ("open files of a process", count(e.open_files_max as f64)),
        ];
        out.push_str("<table>\n");
        for (name, value) in lines {
            let _ = writeln!(
                out,
                "<tr><td class=\"group-name\">{name}</td><td><code>{}</code></td></tr>",
                escape(&value)
            );
        }
        out.push_str("</table>\n<details><summary>kernel settings</summary><table>\n");
        for (key, value) in &e.sysctls {
            let _ = writeln!(
                out,
                "<tr><td><code>{}</code></td><td><code>{}</code></td></tr>",
                escape(key),
                escape(value)
            );
        }
        out.push_str("</table></details>\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Recorder;
    use crate::results::Better;

    /// A record whose every string is an attack.
    fn hostile() -> Record {
        let bad = "</title><script>alert(1)</script>\"' onload=\"x";
        let mut record = Record::new(bad, Some(bad));
        record.figure(bad, bad, 1.0, bad, Better::Lower);
        record.series(bad, bad, (bad, bad), vec![(0.0, 1.0), (1.0, 2.0)]);
        record.tables.push(Table {
            title: bad.into(),
            columns: vec![bad.into()],
            rows: vec![vec![bad.into()]],
        });
        record.warn(bad);
        let mut recorder = Recorder::default();
        (1..100).for_each(|us| recorder.record(us));
        record.distribution(bad, &recorder);
        record.environment.command = vec![bad.into()];
        record.environment.kernel = bad.into();
        record.environment.sysctls.insert(bad.into(), bad.into());
        record
    }

    #[test]
    fn no_string_of_a_record_becomes_markup() {
        let one = [("a<b".to_owned(), hostile())];
        let two = [("a<b".to_owned(), hostile()), ("\"c\"".to_owned(), Record::new("x", None))];
        for records in [&one[..], &two] {
            let page = page(records);
            assert!(!page.contains("<script") && !page.contains("a<b"), "{page}");
            assert_eq!(page.matches("<title>").count(), page.matches("</title>").count());
            assert!(
                !page.contains("http:") && !page.contains("https:"),
                "the page asks the network for nothing"
            );
        }
    }

    #[test]
    fn a_curve_over_rates_is_in_their_order_and_has_its_bound_once() {
        let mut record = Record::new("compare", None);
        for name in ["fanfare", "peer"] {
            record.series("p99", name, ("messages/s", "ms"), vec![(20.0, 900.0), (5.0, 1.0), (10.0, 2.0)]);
            record.bound(1_000.0, "--p99-max-ms");
        }
        let mut out = String::new();
        series(&mut out, &[("one".into(), record)]);
        assert_eq!(out.matches("--p99-max-ms").count(), 1, "{out}");
        let line = out.lines().find(|line| line.starts_with("<polyline")).expect("a line");
        let points = line.split("points=\"").nth(1).expect("points").trim_end_matches("\"/>");
        let xs: Vec<f64> =
            points.split(' ').map(|point| point.split(',').next().unwrap().parse().unwrap()).collect();
        // Twice the rate is as far to the right each time.
        assert!(xs.is_sorted() && (xs[2] - xs[1] - (xs[1] - xs[0])).abs() < 0.2, "{xs:?}");
    }

    #[test]
    fn the_curve_of_percentiles_ends_at_the_maximum() {
        let mut recorder = Recorder::default();
        (1..=1000).for_each(|ms| recorder.record(ms * 1000));
        let points = curve(&Distribution::of("latency", &recorder));
        assert_eq!(points.last(), Some(&(1.0, 1000.0)));
        assert!(points.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1));
        let middle = points.iter().find(|point| point.0 >= 0.5).unwrap();
        assert!((middle.1 - 500.0).abs() < 10.0, "{middle:?}");
    }

    #[test]
    fn a_tail_far_from_the_middle_gets_a_log_axis() {
        let line = |points: Vec<(f64, f64)>| Line { name: String::new(), colour: 0, dashed: false, points };
        let flat = [line(vec![(0.0, 1.0), (0.5, 2.0), (1.0, 30.0)])];
        let tail = [line(vec![(0.0, 1.0), (0.5, 2.0), (1.0, 300.0)])];
        let zero = [line(vec![(0.0, 0.0), (0.5, 2.0), (1.0, 300.0)])];
        let of = |lines: &[Line]| scale(lines, |point| point.1);
        assert_eq!([of(&flat), of(&tail), of(&zero)], [Scale::Linear, Scale::Log, Scale::Linear]);
    }
}
