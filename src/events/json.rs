//! An event as JSON: one object, without a line break. Pure.
//!
//! *Not here*: what the fields promise (`docs/EVENTS.md`).

use bytes::Bytes;
use serde::Serialize;

use super::record::{ConnectionId, Record, What};
use fanfare_core::model::Topic;
use fanfare_core::protocols;

/// What every event begins with.
#[derive(Serialize)]
struct Event<'a, Rest> {
    #[serde(rename = "event")]
    kind: &'static str,
    seq: u64,
    gateway: &'a str,
    #[serde(flatten)]
    rest: Rest,
}

/// What every event of a connection has.
#[derive(Serialize)]
struct OfConnection<Rest> {
    connection: String,
    at_ms: u64,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Details<'a> {
    Open {
        format: &'static str,
        peer: Option<std::net::SocketAddr>,
    },
    Topic {
        topic: &'a str,
    },
    Close {
        reason: &'static str,
        code: u16,
        duration_ms: u64,
        bytes_in: u64,
        bytes_out: u64,
        format: &'static str,
        topics: Vec<&'a str>,
    },
}

#[derive(Serialize)]
struct Lost {
    count: u64,
}

/// The name that a connection has outside: unique among the connections of all gateways.
fn name(gateway: &str, connection: ConnectionId) -> String {
    format!("{gateway}-{connection}")
}

/// The event of a record. `seq` numbers the events of a gateway from 1.
pub fn event(gateway: &str, seq: u64, record: &Record) -> Bytes {
    let rest = match &record.what {
        What::Open { format, peer } => {
            Details::Open { format: protocols::format(*format).name(), peer: *peer }
        }
        What::Join(topic) | What::Leave(topic) => Details::Topic { topic: topic.as_str() },
        What::Close(closed) => Details::Close {
            reason: closed.reason.label(),
            code: closed.code,
            duration_ms: closed.duration_ms,
            bytes_in: closed.bytes_in,
            bytes_out: closed.bytes_out,
            format: protocols::format(closed.format).name(),
            topics: closed.topics.iter().map(Topic::as_str).collect(),
        },
    };
    let rest = OfConnection { connection: name(gateway, record.connection), at_ms: record.at_ms, rest };
    encode(&Event { kind: record.what.kind().word(), seq, gateway, rest })
}

/// That `count` events before this place did not get through; `seq` is the number of the last of them.
pub fn lost(gateway: &str, seq: u64, count: u64) -> Bytes {
    encode(&Event { kind: "lost", seq, gateway, rest: Lost { count } })
}

/// A JSON array of events.
pub fn array(events: &[Bytes]) -> Vec<u8> {
    let mut array = Vec::with_capacity(events.iter().map(|event| event.len() + 1).sum::<usize>() + 2);
    array.push(b'[');
    for (n, event) in events.iter().enumerate() {
        if n > 0 {
            array.push(b',');
        }
        array.extend_from_slice(event);
    }
    array.push(b']');
    array
}

fn encode(event: &impl Serialize) -> Bytes {
    serde_json::to_vec(event).expect("numbers and texts are JSON").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::record::Closed;
    use fanfare_core::model::{CloseReason, EventKind, FormatId};

    fn record(what: What) -> Record {
        Record {
            connection: ConnectionId { shard: 1, index: 17, generation: 42 },
            at_ms: 1_763_720_191_123,
            what,
        }
    }

    fn topic(name: &str) -> Topic {
        Topic::new(name).expect("a topic")
    }

    #[test]
    fn each_kind_has_its_own_fields() {
        let peer = Some("127.0.0.1:5".parse().expect("an address"));
        let open = event("a1", 7, &record(What::Open { format: FormatId::RAW, peer }));
        assert_eq!(
            open,
            r#"{"event":"open","seq":7,"gateway":"a1","connection":"a1-1-17-42","at_ms":1763720191123,"format":"raw","peer":"127.0.0.1:5"}"#
        );
        let join = event("a1", 8, &record(What::Join(topic("say \"hi\" é"))));
        assert_eq!(
            join,
            r#"{"event":"join","seq":8,"gateway":"a1","connection":"a1-1-17-42","at_ms":1763720191123,"topic":"say \"hi\" é"}"#
        );
        let closed = Closed {
            reason: CloseReason::ClientClose,
            code: 1000,
            format: FormatId::RAW,
            duration_ms: 1234,
            bytes_in: 5,
            bytes_out: 6,
            topics: vec![topic("a"), topic("b")],
        };
        let close = event("a1", 9, &record(What::Close(Box::new(closed))));
        assert_eq!(
            close,
            r#"{"event":"close","seq":9,"gateway":"a1","connection":"a1-1-17-42","at_ms":1763720191123,"reason":"client_close","code":1000,"duration_ms":1234,"bytes_in":5,"bytes_out":6,"format":"raw","topics":["a","b"]}"#
        );
        assert_eq!(lost("a1", 12, 3), r#"{"event":"lost","seq":12,"gateway":"a1","count":3}"#);
    }

    #[test]
    fn the_document_has_every_reason_kind_and_format() {
        let document = include_str!("../../docs/EVENTS.md");
        let reasons = CloseReason::ALL.iter().map(|reason| reason.label());
        let kinds = EventKind::ALL.iter().map(|kind| kind.word());
        let formats = FormatId::ALL.iter().map(|id| protocols::format(*id).name());
        for word in reasons.chain(kinds).chain(formats) {
            assert!(document.contains(&format!("`{word}`")), "docs/EVENTS.md lacks {word}");
        }
    }

    #[test]
    fn a_batch_is_an_array() {
        let events = [lost("g", 1, 1), lost("g", 2, 1)];
        let array: Vec<serde_json::Value> = serde_json::from_slice(&array(&events)).expect("JSON");
        assert_eq!(array.len(), 2);
        assert_eq!(super::array(&[]), b"[]");
    }
}
