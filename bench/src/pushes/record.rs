//! Many pushes as a record.

use serde_json::json;

use super::args::PushesArgs;
use super::audit::Line;
use super::found::Found;
use crate::paced::message::EVERYBODY;
use crate::results::Better::{Lower, Neutral};
use crate::results::Record;

/// Table and broken promises of a run.
pub(super) fn record(args: &PushesArgs, found: &Found) -> Record {
    let mut record = Record::new("pushes", None);
    let audit = &found.audit;
    // No figure: those are rounded, and their thousands separated.
    record.table("drawn from", &["argument", "value"], vec![vec!["--seed".into(), args.seed.to_string()]]);
    record.figure("run", "pushes", audit.lines.len() as f64, "", Neutral);
    record.figure("run", "looks at all of them", found.polls as f64, "", Neutral);
    record.figure("run", "changes", found.steered as f64, "", Neutral);
    record.figure("run", "changes that came too late", found.too_late as f64, "", Neutral);
    record.figure("devices", "at first", f64::from(args.connections), "", Neutral);
    record.figure("devices", "said goodbye", audit.left as f64, "", Neutral);
    record.figure("devices", "killed", audit.killed as f64, "", Neutral);
    record.figure("devices", "messages", audit.messages as f64, "", Neutral);
    let sum = |value: fn(&Line) -> u64| audit.lines.iter().map(value).sum::<u64>() as f64;
    record.figure("ledgers", "targeted", sum(|line| line.ledger.targeted.unwrap_or(0)), "", Neutral);
    record.figure("ledgers", "sent", sum(|line| line.ledger.sent), "", Neutral);
    for why in ["closed", "slow", "expired", "cancelled", "shutdown"] {
        let failed: u64 = audit.lines.iter().filter_map(|line| line.ledger.failed.get(why)).sum();
        record.figure("ledgers", &format!("failed: {why}"), failed as f64, "", Neutral);
    }
    record.figure("received", "by those that read to the end", sum(|line| line.received), "", Neutral);
    record.figure("received", "by killed ones", sum(|line| line.received_by_killed), "", Neutral);
    record.figure(
        "received",
        "sent to killed ones and not read",
        sum(|line| line.unread_by_killed),
        "",
        Neutral,
    );
    for (name, count) in [
        ("duplicates", audit.duplicates),
        ("reorders", audit.reorders),
        ("strays", audit.strays),
        ("torn", audit.torn),
        ("broken promises", audit.broken.len() as u64),
    ] {
        record.figure("verified", name, count as f64, "", Lower);
    }
    let columns = [
        "push",
        "to",
        "lane",
        "rate",
        "ended as",
        "targeted",
        "sent",
        "received",
        "by killed",
        "unread",
        "failed",
    ];
    record.table("ledgers against devices", &columns, audit.lines.iter().map(row).collect());
    record.series("devices served", "sent by all ledgers", ("s", ""), found.sent.clone());
    record.warnings.clone_from(&audit.broken);
    record.details = json!({"seed": args.seed, "audit": audit});
    record
}

fn row(line: &Line) -> Vec<String> {
    let asked = &line.asked;
    let to = match &asked.to[..] {
        [EVERYBODY] => "everybody".to_owned(),
        rooms => rooms.iter().map(u32::to_string).collect::<Vec<_>>().join(" "),
    };
    let failed = line.ledger.failed.iter().filter(|(_, count)| **count > 0);
    let failed = failed.map(|(why, count)| format!("{count} {why}")).collect::<Vec<_>>().join(", ");
    vec![
        line.number.to_string(),
        to,
        if asked.is_urgent { "urgent" } else { "normal" }.into(),
        asked.rate.map_or_else(|| "–".into(), |rate| format!("{rate}/s")),
        line.ledger.state.clone(),
        line.ledger.targeted.map_or_else(|| "?".into(), |n| n.to_string()),
        line.ledger.sent.to_string(),
        line.received.to_string(),
        line.received_by_killed.to_string(),
        line.unread_by_killed.to_string(),
        failed,
    ]
}
