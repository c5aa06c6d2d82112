//! What the shard tells about its connections: opened, joined, left, closed.
//!
//! Without a journal each of these is one branch. With one, a connection has an [`Account`] beside its slot. The log has a
//! line of each close at debug, and one about slow devices now and then; neither costs anything while it is off.
//! *Not here*: what becomes of a record (`events`).

use std::net::SocketAddr;
use std::time::Instant;

use super::accept::as_ipv4;
use super::closes::{Ending, is_slow};
use super::state::Shard;
use crate::dataplane::{Plane, Token};
use crate::events::journal::Journal;
use crate::events::record::{Closed, What};
use fanfare_core::limits;
use fanfare_core::model::{CloseReason, EventKind};
use fanfare_core::session::subscriptions::TopicId;
use fanfare_core::websocket::close::{ABNORMAL, NO_STATUS};

impl<P: Plane> Shard<P> {
    /// From here on its connections' lives are noted. It has none yet.
    pub fn keep_journal(&mut self, journal: Journal) {
        debug_assert!(self.table.is_empty());
        self.table.keep_accounts();
        self.journal = Some(journal);
    }

    /// Sets the time of what is noted, milliseconds since the Unix epoch.
    pub fn set_journal_time(&mut self, now_ms: u64) {
        if let Some(journal) = &mut self.journal {
            journal.set_now(now_ms);
        }
    }

    pub(super) fn record_open(&mut self, token: Token, peer: Option<SocketAddr>) {
        if tracing::enabled!(tracing::Level::DEBUG)
            && let Some(peer) = peer
        {
            self.closes.peers.insert(token.index, peer);
        }
        let Some(journal) = &mut self.journal else { return };
        if let Some(account) = self.table.account(token) {
            account.opened_ms = journal.now_ms();
        }
        if journal.wants(EventKind::Open)
            && let Some(connection) = self.table.get(token)
        {
            journal.note(token.index, token.generation, What::Open { format: connection.format, peer });
        }
    }

    pub(super) fn record_join(&mut self, token: Token, topic: TopicId) {
        let Some(journal) = &mut self.journal else { return };
        if journal.wants(EventKind::Join)
            && let Some(name) = self.delivery.name(topic)
        {
            journal.note(token.index, token.generation, What::Join(name.clone()));
        }
    }

    pub(super) fn record_leave(&mut self, token: Token, topic: TopicId) {
        let Some(journal) = &mut self.journal else { return };
        if journal.wants(EventKind::Leave)
            && let Some(name) = self.delivery.name(topic)
        {
            journal.note(token.index, token.generation, What::Leave(name.clone()));
        }
    }

    /// Before a connection gives up its places. One that has none has been noted already. `reason` counts unless one
    /// was known before; `client_code` is what the client's own Close said.
    pub(super) fn record_close(&mut self, token: Token, reason: CloseReason, client_code: Option<u16>) {
        let Some(connection) = self.table.get(token) else { return };
        if connection.position_in_all().is_none() {
            return;
        }
        let reason = connection.reason().unwrap_or(reason);
        let code = match reason {
            CloseReason::ClientClose => client_code.unwrap_or(NO_STATUS),
            reason => reason.code().unwrap_or(ABNORMAL),
        };
        let ending = Ending { reason, code };
        let is_logged = is_slow(reason) || tracing::enabled!(tracing::Level::DEBUG);
        if is_logged || !self.closes.peers.is_empty() {
            self.log_close(token, &ending);
        }
        self.note_close(token, &ending);
    }

    /// A line at debug; and of slow devices one for many, where operators see it.
    fn log_close(&mut self, token: Token, ending: &Ending) {
        let age = self.ages.age(self.table.came_after(token), self.now);
        let Some(connection) = self.table.get(token) else { return };
        let owed_bytes = connection.outbox().map_or(0, |outbox| outbox.bytes());
        let peer =
            self.closes.peers.remove(&token.index).or_else(|| self.plane.peer(connection.fd).map(as_ipv4));
        let peer = peer.map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
        let (shard, reason, code) = (self.number, ending.reason.label(), ending.code);
        let seconds = f64::from(age) * limits::TICK.as_secs_f64();
        tracing::debug!(shard, peer, reason, code, seconds, owed_bytes, "a device was closed");
        if is_slow(ending.reason)
            && let Some(times) = self.closes.slow.event(Instant::now())
        {
            tracing::warn!(
                shard,
                peer,
                owed_bytes,
                times,
                "devices that read too slowly were closed with 4008, this one the last of them: publish less to them, raise \
                 outbox.bytes_max, outbox.total_bytes_max and outbox.age_max_s, or let outbox.policy drop messages instead"
            );
        }
    }

    fn note_close(&mut self, token: Token, ending: &Ending) {
        let Some(journal) = &mut self.journal else { return };
        if !journal.wants(EventKind::Close) {
            return;
        }
        let account = self.table.account(token).copied().unwrap_or_default();
        let Some(connection) = self.table.get(token) else { return };
        let places = connection.subscriptions.as_slice();
        let closed = Closed {
            reason: ending.reason,
            code: ending.code,
            format: connection.format,
            duration_ms: journal.now_ms().saturating_sub(account.opened_ms),
            bytes_in: account.bytes_in,
            bytes_out: account.bytes_out,
            topics: places.iter().filter_map(|place| self.delivery.name(place.topic).cloned()).collect(),
        };
        journal.note(token.index, token.generation, What::Close(Box::new(closed)));
    }
}
