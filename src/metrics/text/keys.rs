//! The labels that metrics bear, and the values of each.

use super::super::pulse::Working;
use super::super::{Audience, ConfigCause, ConfigOutcome, EventSink, Foreign, Left, PublishRefused, Refused};
use fanfare_core::ingest::merger::SealReason;
use fanfare_core::model::{CloseReason, FormatId};
use fanfare_core::protocols;
use fanfare_core::push::registry::State;
use fanfare_core::push::share::Failed;
use fanfare_core::websocket::handshake::HandshakeFailure;

/// What an outbox policy dropped by, in the order of [`super::ShardBlock::outbox_dropped`].
const DROP_POLICIES: [&str; 2] = ["drop_oldest", "latest_only"];

/// A label whose values are known at compile time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) values: usize,
    pub(super) value: fn(usize) -> &'static str,
}

pub(super) const FORMAT: Key =
    Key { name: "format", values: FormatId::COUNT, value: |i| protocols::format(FormatId::ALL[i]).name() };
pub(super) const CLOSED: Key =
    Key { name: "reason", values: CloseReason::ALL.len(), value: |i| CloseReason::ALL[i].label() };
const STATES: [&str; 3] = ["handshaking", "open", "closing"];
pub(super) const STATE: Key = Key { name: "state", values: STATES.len(), value: |i| STATES[i] };
pub(super) const HANDSHAKE: Key =
    Key { name: "reason", values: HandshakeFailure::ALL.len(), value: |i| HandshakeFailure::ALL[i].label() };
pub(super) const REFUSED: Key =
    Key { name: "reason", values: Refused::ALL.len(), value: |i| Refused::ALL[i].label() };
pub(super) const LEFT: Key = Key { name: "at", values: Left::ALL.len(), value: |i| Left::ALL[i].label() };
pub(super) const SEALED: Key =
    Key { name: "reason", values: SealReason::ALL.len(), value: |i| SealReason::ALL[i].label() };
pub(super) const UNDER_WAY: Key = Key { name: "state", values: 2, value: |i| ["running", "paused"][i] };
pub(super) const OVER: Key =
    Key { name: "state", values: State::OVER.len(), value: |i| State::OVER[i].label() };
pub(super) const FAILED: Key =
    Key { name: "reason", values: Failed::ALL.len(), value: |i| Failed::ALL[i].label() };
pub(super) const POLICY: Key =
    Key { name: "policy", values: DROP_POLICIES.len(), value: |i| DROP_POLICIES[i] };
pub(super) const PUBLISH: Key =
    Key { name: "reason", values: PublishRefused::ALL.len(), value: |i| PublishRefused::ALL[i].label() };
pub(super) const FOREIGN: Key =
    Key { name: "reason", values: Foreign::ALL.len(), value: |i| Foreign::ALL[i].label() };
pub(super) const HELD: Key = Key { name: "of", values: 2, value: |i| ["requests", "answers"][i] };
pub(super) const AUDIENCE: Key =
    Key { name: "audience", values: Audience::ALL.len(), value: |i| Audience::ALL[i].label() };
pub(super) const CLASS: Key =
    Key { name: "class", values: 5, value: |i| ["1xx", "2xx", "3xx", "4xx", "5xx"][i] };
pub(super) const SINK: Key =
    Key { name: "sink", values: EventSink::ALL.len(), value: |i| EventSink::ALL[i].label() };
pub(super) const DROP: Key =
    Key { name: "reason", values: 3, value: |i| ["queue_full", "refused", "shutdown"][i] };
pub(super) const LOG_DROP: Key =
    Key { name: "reason", values: 2, value: |i| ["queue_full", "write_failed"][i] };
pub(super) const CAUSE: Key =
    Key { name: "source", values: ConfigCause::ALL.len(), value: |i| ConfigCause::ALL[i].label() };
pub(super) const OUTCOME: Key =
    Key { name: "outcome", values: ConfigOutcome::ALL.len(), value: |i| ConfigOutcome::ALL[i].label() };
pub(super) const SOURCE: Key = Key { name: "source", values: 2, value: |i| ["redis", "http"][i] };
pub(super) const THREAD: Key =
    Key { name: "thread", values: Working::ALL.len(), value: |i| Working::ALL[i].label() };
