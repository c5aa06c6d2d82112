//! What the gateway answers, as far as the commands read it. Pure.
//!
//! Everything that can be missing is allowed to be: a gateway of another version is still shown, as far as it is known.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Exit;
use crate::doctor::table::grouped;

/// The answer to `POST /v1/push`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Accepted {
    /// The push's name.
    pub id: String,
    /// Messages taken.
    pub accepted: u64,
    /// Devices that it is for, when that was known in time.
    pub targeted: Option<u64>,
    /// The same push was taken before.
    #[serde(default)]
    pub duplicate: bool,
}

/// The answer to `GET /v1/pushes`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Pushes {
    /// Those that are not over, newest first.
    pub running: Vec<Push>,
    /// Those that are.
    pub recent: Vec<Push>,
}

/// Where a push is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Accepted, and behind something.
    Queued,
    /// Being sent.
    Running,
    /// Held by somebody.
    Paused,
    /// Everybody was served or failed.
    Done,
    /// Ended by somebody.
    Cancelled,
    /// Ended by its time.
    Expired,
    /// Accepted, and never carried out: nobody got it.
    Lost,
    /// A state that this version does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

impl State {
    /// As it is shown.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Lost => "lost",
            Self::Unknown => "?",
        }
    }
}

/// A push and its account.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Push {
    /// Its name.
    pub id: String,
    /// Where it is in its life.
    pub state: State,
    /// Whom it is for, as its sender wrote it.
    pub to: serde_json::Value,
    /// `normal` or `urgent`.
    pub lane: String,
    /// Its share.
    pub weight: Option<u64>,
    /// Messages for each device.
    pub messages: u64,
    /// Their payload.
    pub bytes: u64,
    /// `http`, `redis` or `rule`.
    pub source: String,
    /// RFC 3339.
    pub accepted_at: String,
    /// RFC 3339; `None` while it runs.
    pub finished_at: Option<String>,
    /// Devices a second that are wanted; `None`: unpaced.
    pub rate: Option<f64>,
    /// Devices a second in force.
    pub rate_now: Option<f64>,
    /// Seconds to its end, where that can be told.
    pub eta_s: Option<f64>,
    /// Seconds until it expires.
    pub expires_in_s: Option<f64>,
    /// Devices that it is for.
    pub targeted: Option<u64>,
    /// Of these: served.
    pub sent: u64,
    /// Of these: not served, by reason.
    pub failed: BTreeMap<String, u64>,
    /// Of these: still to come.
    pub remaining: Option<u64>,
    /// From acceptance to the last byte taken.
    pub latency_ms: Option<Latency>,
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Latency {
    /// Of the first device.
    pub first: Option<f64>,
    /// Half of the devices were faster.
    pub p50: Option<f64>,
    /// 99 of 100 were.
    pub p99: Option<f64>,
    /// Of the last device.
    pub last: Option<f64>,
}

/// The reason of those who were gone when their turn came. Devices come and go by themselves: no sender can mend it.
const CLOSED: &str = "closed";

impl Push {
    /// Nothing will change any more.
    pub fn is_over(&self) -> bool {
        let has_ended = matches!(self.state, State::Done | State::Cancelled | State::Expired | State::Lost);
        has_ended || self.finished_at.is_some()
    }

    /// Devices that were not served, whatever the reason.
    pub fn failed_total(&self) -> u64 {
        self.failed.values().sum()
    }

    /// Hundredths of the devices that were served, when it is known whom the push is for. 100 only when all were.
    pub fn percent(&self) -> Option<u64> {
        match self.targeted {
            None => None,
            Some(0) => (self.state == State::Done).then_some(100),
            Some(targeted) => Some(self.sent.min(targeted) * 100 / targeted),
        }
    }

    /// `slow 3, expired 12`; empty when nobody failed.
    pub fn failures(&self) -> String {
        let failed = self.failed.iter().filter(|(_, devices)| **devices > 0);
        let failed: Vec<String> =
            failed.map(|(reason, devices)| format!("{reason} {}", grouped(*devices))).collect();
        failed.join(", ")
    }

    /// How a push that is over ended for a script: devices that had gone are no failure, every other one is.
    pub fn exit(&self) -> Exit {
        let closed = self.failed.get(CLOSED).copied().unwrap_or(0);
        let all = self.failed_total() == closed
            && (self.state == State::Done || self.targeted == Some(self.sent + closed));
        if all { Exit::Done } else { Exit::NotAllSent }
    }

    /// Whom it is for, in a few words.
    pub fn audience(&self) -> String {
        let topic = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        if self.to.get("all").is_some() {
            return "everybody".into();
        }
        if let Some(name) = self.to.get("topic").and_then(topic) {
            return name;
        }
        let topics = self.to.get("topics").and_then(|topics| topics.as_array());
        let names: Vec<String> = topics.into_iter().flatten().filter_map(topic).collect();
        match &names[..] {
            [] => "?".into(),
            [first, second] => format!("{first}, {second}"),
            [first, rest @ ..] if !rest.is_empty() => format!("{first} and {} more", rest.len()),
            [first, ..] => first.clone(),
        }
    }
}

/// The answer that refuses.
#[derive(Clone, Debug, Deserialize)]
pub struct ApiError {
    /// Its one field.
    pub error: RefusedBecause,
}

/// Why the gateway refuses.
#[derive(Clone, Debug, Deserialize)]
pub struct RefusedBecause {
    /// One sentence.
    pub message: String,
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A push half-way, as the gateway writes it.
    pub(in crate::client) const RUNNING: &str = r#"{
        "id":"release-7","state":"running","to":{"topic":"news"},"lane":"normal","weight":1,"messages":1,"bytes":7,
        "source":"http","accepted_at":"2026-11-21T10:00:00.000Z","finished_at":null,"rate":500,"rate_now":500.0,
        "eta_s":9.5,"expires_in_s":null,"targeted":10000,"sent":5200,
        "failed":{"closed":30,"slow":20,"expired":0,"cancelled":0,"shutdown":0},"remaining":4750,
        "latency_ms":{"first":1.25,"p50":5210.0,"p99":10300.5,"last":10402.0}}"#;

    /// A push of which nothing is known but its name and its counts.
    pub(in crate::client) fn push(state: &str, targeted: u64, sent: u64, failed: &str) -> Push {
        let json = format!(
            r#"{{"id":"x","state":"{state}","targeted":{targeted},"sent":{sent},"failed":{failed}}}"#
        );
        serde_json::from_str(&json).expect("a push")
    }

    #[test]
    fn a_push_is_read_as_the_gateway_writes_it() {
        let push: Push = serde_json::from_str(RUNNING).expect("a push");
        assert_eq!((push.state, push.targeted, push.remaining), (State::Running, Some(10_000), Some(4_750)));
        assert_eq!((push.failed_total(), push.percent()), (50, Some(52)));
        assert_eq!((push.failures().as_str(), push.audience().as_str()), ("closed 30, slow 20", "news"));
        assert_eq!(push.latency_ms.and_then(|latency| latency.p50), Some(5_210.0));
        assert!(!push.is_over());
    }

    #[test]
    fn fields_and_states_of_another_version_do_no_harm() {
        let push: Push = serde_json::from_str(r#"{"id":"x","state":"frozen","mood":7}"#).expect("a push");
        assert_eq!((push.state, push.percent()), (State::Unknown, None));
        let null: Push = serde_json::from_str(r#"{"latency_ms":null,"targeted":null}"#).expect("a push");
        assert_eq!(null.latency_ms, None);
        let nulls: Push =
            serde_json::from_str(r#"{"latency_ms":{"first":null,"p50":null}}"#).expect("a push");
        assert_eq!(nulls.latency_ms, Some(Latency::default()));
    }

    #[test]
    fn what_is_shown_as_done_is_what_was_served_however_it_ended() {
        for (state, targeted, sent, failed, percent) in [
            ("cancelled", 10_000, 900, r#"{"cancelled":9100}"#, Some(9)),
            ("expired", 10, 3, r#"{"expired":7}"#, Some(30)),
            ("done", 10, 7, r#"{"closed":3}"#, Some(70)),
            ("done", 10_000, 9_999, r#"{"slow":1}"#, Some(99)),
            ("done", 10, 10, "{}", Some(100)),
            ("done", 0, 0, "{}", Some(100)),
            ("cancelled", 0, 0, "{}", None),
            ("running", 0, 0, "{}", None),
        ] {
            assert_eq!(push(state, targeted, sent, failed).percent(), percent, "{state} {sent}/{targeted}");
        }
    }

    #[test]
    fn a_push_that_was_lost_is_over_and_reached_nobody() {
        let lost = Push { targeted: None, ..push("lost", 0, 0, "{}") };
        assert_eq!((lost.is_over(), lost.state.word(), lost.exit()), (true, "lost", Exit::NotAllSent));
    }

    #[test]
    fn devices_that_had_gone_are_no_failure_and_every_other_reason_is_one() {
        assert_eq!(push("done", 10, 10, "{}").exit(), Exit::Done);
        assert_eq!(push("done", 10, 7, r#"{"closed":3}"#).exit(), Exit::Done);
        for reason in ["slow", "expired", "cancelled", "shutdown", "struck_by_lightning"] {
            let failed = format!(r#"{{"closed":2,"{reason}":1}}"#);
            assert_eq!(push("done", 10, 7, &failed).exit(), Exit::NotAllSent, "{reason}");
        }
        // Ended when everybody had been served already, and before anybody was known.
        assert_eq!(push("cancelled", 10, 10, "{}").exit(), Exit::Done);
        let unknown = Push { targeted: None, ..push("cancelled", 0, 0, "{}") };
        assert_eq!(unknown.exit(), Exit::NotAllSent);
    }

    #[test]
    fn an_audience_is_a_few_words() {
        for (to, words) in [
            (r#"{"all":true}"#, "everybody"),
            (r#"{"topic":"news"}"#, "news"),
            (r#"{"topics":["news"]}"#, "news"),
            (r#"{"topics":["news","eu"]}"#, "news, eu"),
            (r#"{"topics":["news","eu","us"]}"#, "news and 2 more"),
            ("null", "?"),
        ] {
            let push = Push { to: serde_json::from_str(to).expect("JSON"), ..Push::default() };
            assert_eq!(push.audience(), words);
        }
    }
}
