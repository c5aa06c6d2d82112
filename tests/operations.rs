//! What operators load and read — dashboard, alert rules, the table of metrics — against the metrics that there are.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use fanfare::metrics::text::{Described, described};
use serde_json::Value;

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Names of the samples of /metrics.
fn samples() -> BTreeSet<String> {
    described().iter().flat_map(Described::samples).collect()
}

/// Names in an expression that are fanfare's.
fn names(expression: &str) -> Vec<String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("fanfare_")).map(str::to_owned).collect()
}

fn unknown(expressions: &[String]) -> Vec<String> {
    let known = samples();
    let used = expressions.iter().flat_map(|expression| names(expression));
    used.filter(|name| !known.contains(name)).collect()
}

/// Every value of a key, however deep.
fn collect(value: &Value, key: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if let (true, Value::String(text)) = (name == key, value) {
                    found.push(text.clone());
                }
                collect(value, key, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, key, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_asks_only_for_metrics_that_exist() {
    let dashboard: Value = serde_json::from_str(&file("tuning/grafana.json")).expect("JSON");
    let mut expressions = Vec::new();
    for key in ["expr", "query", "definition"] {
        collect(&dashboard, key, &mut expressions);
    }
    assert!(expressions.len() > 50, "{} expressions", expressions.len());
    assert_eq!(unknown(&expressions), Vec::<String>::new());
}

#[test]
fn the_dashboard_asks_whatever_source_is_chosen() {
    let dashboard: Value = serde_json::from_str(&file("tuning/grafana.json")).expect("JSON");
    let mut sources = Vec::new();
    collect(&dashboard["panels"], "uid", &mut sources);
    assert!(!sources.is_empty() && sources.iter().all(|uid| uid == "${datasource}"), "{sources:?}");
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<u64> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
    let rows: Vec<&str> =
        panels.iter().filter(|p| p["type"] == "row").filter_map(|p| p["title"].as_str()).collect();
    let wanted =
        ["Overview", "Connections", "Delivery", "Pushes", "Sources", "Slow consumers", "Shards", "Process"];
    assert_eq!(rows, wanted);
}

#[test]
fn alerts_ask_only_for_metrics_that_exist() {
    let rules = file("tuning/alerts.yml");
    let unknown =
        unknown(&[rules.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")]);
    assert_eq!(unknown, Vec::<String>::new());
}

#[test]
fn every_alert_has_a_severity_a_summary_a_remedy_and_a_test() {
    let (rules, tests) = (file("tuning/alerts.yml"), file("tuning/alerts_test.yml"));
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() > 10);
    for alert in alerts {
        let name = alert.lines().next().expect("a name");
        for part in ["expr:", "severity: ", "summary:", "description:"] {
            assert!(alert.contains(part), "{name} has no {part}");
        }
        assert!(tests.contains(&format!("- name: {name} fires")), "{name} has no test");
    }
}

#[test]
fn prometheus_takes_the_alerts_and_their_tests() {
    for arguments in [["check", "rules", "tuning/alerts.yml"], ["test", "rules", "tuning/alerts_test.yml"]] {
        let done = Command::new("promtool").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
        let done =
            done.unwrap_or_else(|error| panic!("promtool: {error}; tests/setup installs it (prometheus)"));
        let said =
            [done.stdout, done.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
        assert!(done.status.success(), "promtool {}\n{said}", arguments.join(" "));
    }
}

#[test]
fn the_table_of_metrics_is_the_one_of_the_code() {
    let row = |metric: &Described| {
        let labels = metric.labels.join(", ");
        format!("| `{}` | {} | {labels} | {} |", metric.name, metric.kind, metric.help)
    };
    let table: Vec<String> = described().iter().map(row).collect();
    let document = file("docs/METRICS.md");
    let written: Vec<&str> = document.lines().filter(|line| line.starts_with("| `fanfare_")).collect();
    assert!(written == table, "docs/METRICS.md should have these rows:\n{}", table.join("\n"));
}
