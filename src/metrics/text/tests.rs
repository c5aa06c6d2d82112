//! Claims of the table and of the text.

use std::collections::HashSet;

use super::super::PublishRefused;
use super::*;
use fanfare_core::model::FormatId;
use fanfare_core::protocols;

fn exposition(shards: usize) -> (Arc<Blocks>, Exposition) {
    let blocks = Arc::new(Blocks::new(shards));
    let exposition = Exposition::new(blocks.clone(), UNIX_EPOCH + std::time::Duration::from_millis(1500));
    (blocks, exposition)
}

#[test]
fn a_value_appears_under_its_name_and_labels() {
    let (blocks, exposition) = exposition(2);
    blocks.shards[1].connections[2].set(7);
    blocks.shards[0].closed[CloseReason::Slow as usize].add(2);
    blocks.shards[1].closed[CloseReason::Slow as usize].add(3);
    blocks.shards[0].turn_max_us.set(2_500_000);
    blocks.shards[0].closing.set(1);
    blocks.shards[1].closing.set(3);
    blocks.shards[1].turn_us.record(150);
    blocks.shards[0].lifetime_ms.record(3_600_000);
    blocks.shards[1].lifetime_ms.record(250);
    blocks.ring_downlinks_pushed[1].set(5);
    blocks.shards[1].downlinks.set(2);
    blocks.ingest.batch_messages.record(100);
    blocks.ring_bytes_pushed[1].set(100);
    blocks.shards[1].downlink_bytes_released.set(40);
    blocks.ring_stalls[1].add(9);
    blocks.ingest.batches_sealed[2].add(4);
    blocks.control.publish_refused[PublishRefused::QueueFull as usize].add(5);
    blocks.events.sinks[1].refused.add(6);
    let text = exposition.text();
    let raw = protocols::format(FormatId::RAW).name();
    for line in [
        &format!("fanfare_connections{{shard=\"1\",format=\"{raw}\"}} 7") as &str,
        "fanfare_closed_total{reason=\"slow\",code=\"4008\"} 5",
        "fanfare_closed_total{reason=\"reset\",code=\"\"} 0",
        "fanfare_connections_by_state{shard=\"1\",state=\"open\"} 4",
        "fanfare_connections_by_state{shard=\"1\",state=\"closing\"} 3",
        "fanfare_turn_seconds_bucket{le=\"0.0001\",shard=\"1\"} 0",
        "fanfare_turn_seconds_bucket{le=\"0.0002\",shard=\"1\"} 1",
        "fanfare_turn_seconds_sum{shard=\"1\"} 0.00015",
        "fanfare_connection_duration_seconds_bucket{le=\"1.0\"} 1",
        "fanfare_connection_duration_seconds_bucket{le=\"+Inf\"} 2",
        "fanfare_connection_duration_seconds_sum 3600.25",
        "fanfare_batch_messages_bucket{le=\"50.0\"} 0",
        "fanfare_batch_messages_bucket{le=\"100.0\"} 1",
        "fanfare_ring_downlinks{shard=\"1\"} 3",
        "fanfare_turn_max_seconds{shard=\"0\"} 2.5",
        "fanfare_ring_bytes{shard=\"1\"} 60",
        "fanfare_ring_stalls_total{shard=\"1\"} 9",
        "fanfare_batches_sealed_total{reason=\"delay\"} 4",
        "fanfare_publish_refused_total{reason=\"queue_full\"} 5",
        "fanfare_events_dropped_total{sink=\"webhook\",reason=\"refused\"} 6",
        "fanfare_process_start_time_seconds 1.5",
        &format!("fanfare_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(text.lines().any(|l| l == line), "no line `{line}` in\n{text}");
    }
}

#[test]
fn the_text_keeps_the_rules_of_openmetrics() {
    let text = exposition(3).1.text();
    assert!(text.ends_with("\n# EOF\n"));
    let (mut families, mut series, mut family) = (HashSet::new(), HashSet::new(), String::new());
    let mut kind = String::new();
    for line in text.lines().take_while(|line| *line != "# EOF") {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').expect("a help text");
            assert!(!words.is_empty() && !words.ends_with('.'), "{line}");
            assert!(families.insert(name.to_owned()), "{name} twice");
            name.clone_into(&mut family);
        } else if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, of) = typed.split_once(' ').expect("a type");
            assert_eq!(name, family, "{line}");
            of.clone_into(&mut kind);
        } else {
            let (name, value) = line.rsplit_once(' ').expect("a sample");
            assert!(value.parse::<f64>().is_ok_and(|v| v >= 0.0), "{line}");
            assert!(series.insert(name.to_owned()), "{name} twice");
            let bare = name.split('{').next().expect("a name");
            let suffix = bare.strip_prefix(&family).expect("samples stand under their family");
            let allowed: &[&str] = match kind.as_str() {
                "counter" => &["_total"],
                "histogram" => &["_bucket", "_sum", "_count"],
                "info" => &["_info"],
                _ => &[""],
            };
            assert!(allowed.contains(&suffix), "{line}");
            assert!(bare.starts_with("fanfare_") && !name.contains("{}"), "{line}");
        }
    }
    let described: HashSet<String> = described().into_iter().map(|described| described.name).collect();
    assert_eq!(families, described);
}

#[test]
fn a_histogram_shows_every_value_once() {
    let (blocks, exposition) = exposition(1);
    for value in [0, 1, 99, 100, 101, 500_000, 1_000_000, 2_000_000, u64::from(u32::MAX)] {
        blocks.ingest.merge_us.record(value);
    }
    let text = exposition.text();
    let buckets: Vec<(&str, u64)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("fanfare_merge_delay_seconds_bucket{le=\""))
        .filter_map(|rest| rest.split_once("\"} "))
        .map(|(bound, count)| (bound, count.parse().expect("a count")))
        .collect();
    assert_eq!(buckets[0], ("0.0001", 4), "everything up to the first bound");
    assert_eq!(buckets[1], ("0.0002", 5));
    assert_eq!(buckets[buckets.len() - 2], ("1.0", 7));
    assert_eq!(buckets[buckets.len() - 1], ("+Inf", 9));
    assert!(text.contains("\nfanfare_merge_delay_seconds_count 9\n"));
    assert!(buckets.is_sorted_by_key(|bucket| bucket.1));
}

#[test]
fn an_underflown_gauge_does_not_cost_the_scrape() {
    let (blocks, exposition) = exposition(1);
    blocks.shards[0].handshakes.sub(1);
    assert!(exposition.text().contains(&format!("fanfare_handshakes{{shard=\"0\"}} {}", i64::MAX)));
}

#[test]
fn the_older_format_has_every_sample_under_a_family_of_its_name() {
    let (blocks, exposition) = exposition(3);
    blocks.shards[1].deliveries.set(7);
    blocks.ingest.merge_us.record(150);
    let (open, old) = (exposition.text(), classic::of(&exposition.text()));
    let samples = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    };
    // Some values are those of the moment: names and labels are compared.
    let names = |text: &str| -> Vec<String> {
        samples(text).iter().filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
    };
    assert_eq!(names(&old), names(&open));
    let (mut families, mut family, mut kind) = (HashSet::new(), String::new(), String::new());
    for line in old.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').expect("a help text");
            assert!(!words.is_empty() && families.insert(name.to_owned()), "{line}");
            name.clone_into(&mut family);
        } else if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, of) = typed.split_once(' ').expect("a type");
            assert_eq!(name, family, "{line}");
            assert!(["counter", "gauge", "histogram"].contains(&of), "{line}");
            of.clone_into(&mut kind);
        } else {
            assert!(!line.starts_with('#'), "{line}");
            let suffix = line.split(['{', ' ']).next().and_then(|name| name.strip_prefix(family.as_str()));
            let allowed: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(suffix.is_some_and(|suffix| allowed.contains(&suffix)), "{line} under {family}");
        }
    }
    assert_eq!(families.len(), described().len());
    assert!(
        old.contains("# TYPE fanfare_deliveries_total counter\n")
            && old.contains("# TYPE fanfare_build_info gauge\n")
    );
}
