//! The subscribing session: one `PSUBSCRIBE` for everything under the prefix.
//!
//! Among the messages come the marks of the publishing session, by which publishes are known to have come back
//! (`outbound`). A mark that Redis has taken and that does not come, although Redis answers here, was published at another
//! server: the session connects anew. *Not here*: what a message means (`ingest::intake`).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use monoio::time::sleep;

use super::incoming::{Incoming, MARK_CHANNEL};
use super::queue::PublishQueue;
use crate::ingest::inbox::Inbox;
use crate::log::throttle::Throttle;
use crate::metrics::{Blocks, Refused};
use crate::redis::resp::{self, Reply};
use crate::redis::{Dialer, Due, Failure, Greeting, Link, Pulse, RefusalKind, Report, Timing};
use fanfare_core::limits::{MESSAGE_BYTES_MAX, REDIS_MARK_PATIENCE};

/// Subscribes to every channel that starts with `prefix`, and keeps at it for ever.
///
/// Messages go to the inbox in Redis' order. While it is full the socket is not read: TCP holds Redis back, which
/// drops us at its client-output-buffer-limit, and that is a gap like any other. A message above
/// [`MESSAGE_BYTES_MAX`] is counted as refused and its bytes are dropped as they come. Where the host's name leads to several
/// servers, it goes to the one that the publishing session has. Writes `redis_subscribed`, `redis_subscribe_refused`,
/// `redis_gaps`, `redis_gap_us`, `redis_connect_errors` and `messages_refused` of the ingest block; whoever takes
/// from the inbox counts what it accepts.
pub async fn subscribe(
    mut dialer: Dialer,
    prefix: String,
    inbox: Inbox<Incoming>,
    queue: PublishQueue,
    blocks: Arc<Blocks>,
) -> Infallible {
    let pattern = pattern(prefix.as_bytes());
    let words: &[&[u8]] = &[b"PSUBSCRIBE", &pattern];
    let greeting = Greeting { words, answers: |reply| matches!(reply, Reply::Subscribed { .. }) };
    let mut report = Report::new("subscribe");
    let mut oversized = Throttle::default();
    let mut lost_at: Option<Instant> = None;
    let mut followed = None;
    loop {
        let failure = match dialer.open(MESSAGE_BYTES_MAX, &greeting, queue.publishing_at()).await {
            Err(failure) => {
                blocks.ingest.redis_connect_errors.add(1);
                if let Failure::Refused(text) = &failure {
                    blocks.ingest.redis_subscribe_refused.set(RefusalKind::of(text) as u64);
                }
                report.failed(&failure);
                failure
            }
            Ok(link) => {
                let stood_at = Instant::now();
                let gap = lost_at.take().map(|lost| stood_at.saturating_duration_since(lost));
                back(&inbox, &blocks, gap).await;
                report.stands(gap);
                queue.subscription_stands();
                let pulse = Pulse::new(&dialer.timing(), Instant::now());
                let session = Session {
                    here: [link.server(), followed],
                    link,
                    pulse,
                    asked: VecDeque::new(),
                    looked_for: None,
                    prefix: &prefix,
                    inbox: &inbox,
                    queue: &queue,
                    blocks: &blocks,
                    oversized: &mut oversized,
                };
                let (failure, lost) = session.run(dialer.timing()).await;
                blocks.ingest.redis_subscribed.set(0);
                blocks.ingest.redis_gaps.add(1);
                queue.subscription_lost();
                if let Failure::Elsewhere(there) = failure {
                    followed = Some(there);
                }
                dialer.backoff.stood(lost.saturating_duration_since(stood_at));
                lost_at = Some(lost);
                report.lost(&failure);
                failure
            }
        };
        monoio::time::sleep(dialer.backoff.pause(failure.pace())).await;
    }
}

/// The subscription stands; the first one after the start ends no gap.
async fn back(inbox: &Inbox<Incoming>, blocks: &Blocks, gap: Option<Duration>) {
    blocks.ingest.redis_subscribed.set(1);
    blocks.ingest.redis_subscribe_refused.set(RefusalKind::None as u64);
    if let Some(gap) = gap {
        blocks.ingest.redis_gap_us.add(gap.as_micros() as u64);
        inbox.push(Incoming::Gap).await;
    }
}

/// What was asked and is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Ping,
    /// A PING behind which this mark has not come, if it did not come before the answer.
    Mark(u64),
}

/// A subscription that stands.
struct Session<'a> {
    link: Link,
    /// The server at the other end, where it has an address; and the one that the session wanted to follow to.
    here: [Option<SocketAddr>; 2],
    pulse: Pulse,
    /// Oldest first.
    asked: VecDeque<Asked>,
    /// The mark that Redis has taken, and when it is missed here.
    looked_for: Option<(u64, Instant)>,
    prefix: &'a str,
    inbox: &'a Inbox<Incoming>,
    queue: &'a PublishQueue,
    blocks: &'a Blocks,
    oversized: &'a mut Throttle,
}

impl Session<'_> {
    /// Runs until the subscription is lost; why, and since when nothing can have come.
    async fn run(mut self, timing: Timing) -> (Failure, Instant) {
        let Err(failure) = self.listen(timing).await;
        let lost = match failure {
            Failure::Silent(_) => self.pulse.last_heard(),
            _ => Instant::now(),
        };
        (failure, lost)
    }

    async fn listen(&mut self, timing: Timing) -> Result<Infallible, Failure> {
        loop {
            while let Some(reply) = self.link.next_reply()? {
                self.take(reply).await?;
            }
            if let Some(there) = self.queue.publishes_elsewhere(self.here) {
                return Err(Failure::Elsewhere(there));
            }
            let now = Instant::now();
            self.look_for_mark(timing, now).await?;
            let missed = self
                .looked_for
                .map(|(_, at)| at.saturating_duration_since(now))
                .filter(|wait| !wait.is_zero());
            let patience = self.pulse.patience(now).min(missed.unwrap_or(Duration::MAX));
            let looked_for = self.looked_for.map(|(mark, _)| mark);
            monoio::select! {
                readable = self.link.readable() => {
                    readable?;
                    self.link.receive().await?;
                    self.pulse.heard(Instant::now());
                }
                () = self.queue.wanted(self.here, looked_for) => {}
                () = sleep(patience) => match self.pulse.due(Instant::now()) {
                    Due::Nothing => {}
                    Due::Dead => return Err(Failure::Silent(self.pulse.last_heard().elapsed())),
                    Due::Ping => self.ask(Asked::Ping, &[b"PING"], timing).await?,
                },
            }
        }
    }

    /// Asks Redis for an answer here when a mark has not come for a while: what it had sent before comes before that.
    async fn look_for_mark(&mut self, timing: Timing, now: Instant) -> Result<(), Failure> {
        let Some(mark) = self.queue.mark_to_look_for() else {
            self.looked_for = None;
            return Ok(());
        };
        match self.looked_for {
            Some((known, at)) if known == mark => {
                let is_asked = self.asked.contains(&Asked::Mark(mark));
                if now >= at && !is_asked {
                    self.ask(Asked::Mark(mark), &[b"PING"], timing).await?;
                }
            }
            _ => self.looked_for = Some((mark, now + REDIS_MARK_PATIENCE)),
        }
        Ok(())
    }

    /// An answer came behind which a mark is missed.
    fn answered(&mut self, asked: Option<Asked>) -> Result<(), Failure> {
        match asked {
            Some(Asked::Mark(mark)) if self.queue.mark_to_look_for() == Some(mark) => Err(Failure::Astray),
            Some(_) => Ok(()),
            None => Err(Failure::Unexpected),
        }
    }

    async fn ask(&mut self, asked: Asked, words: &[&[u8]], timing: Timing) -> Result<(), Failure> {
        let mut out = BytesMut::new();
        resp::command(&mut out, words);
        self.asked.push_back(asked);
        self.pulse.asked(Instant::now());
        self.link.send(out, timing.pong_within).await
    }

    async fn take(&mut self, reply: Reply) -> Result<(), Failure> {
        match reply {
            Reply::Message { channel, payload, .. } => {
                // The pattern lets nothing else through.
                if channel.starts_with(self.prefix.as_bytes()) {
                    let channel = channel.slice(self.prefix.len()..);
                    let incoming = if &channel[..] == MARK_CHANNEL && self.queue.mark_arrived(&payload) {
                        Incoming::Mark
                    } else {
                        Incoming::Message { channel, payload }
                    };
                    self.inbox.push(incoming).await;
                    // It may have waited for space, and a server that was not listened to is not silent.
                    self.pulse.heard(Instant::now());
                }
            }
            Reply::TooBig { bytes } => {
                self.blocks.ingest.messages_refused[Refused::TooBig as usize].add(1);
                if let Some(times) = self.oversized.event(Instant::now()) {
                    tracing::warn!(
                        bytes,
                        times,
                        "redis: a message above {MESSAGE_BYTES_MAX} bytes is refused"
                    );
                }
            }
            Reply::Pong => {
                let asked = self.asked.pop_front();
                self.answered(asked)?;
            }
            // A user that may not PING gets an answer all the same.
            Reply::Error(text) if !self.asked.is_empty() && text.starts_with("NOPERM") => {
                let asked = self.asked.pop_front();
                self.answered(asked)?;
            }
            Reply::Error(text) => return Err(Failure::Refused(text)),
            _ => return Err(Failure::Unexpected),
        }
        Ok(())
    }
}

/// The glob that matches what starts with the prefix, and nothing else.
fn pattern(prefix: &[u8]) -> Vec<u8> {
    let mut pattern = Vec::with_capacity(prefix.len() + 1);
    for byte in prefix {
        if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\') {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    pattern.push(b'*');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_matched_literally() {
        assert_eq!(pattern(b"fanfare:"), b"fanfare:*");
        assert_eq!(pattern(br"a*b?[c]\d"), br"a\*b\?\[c\]\\d*");
        assert_eq!(pattern(b""), b"*");
    }
}
