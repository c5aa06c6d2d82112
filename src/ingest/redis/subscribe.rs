//! The subscribing session: one `PSUBSCRIBE` for everything under the prefix.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use monoio::time::timeout;

use super::Incoming;
use crate::ingest::inbox::Inbox;
use crate::limits::MESSAGE_BYTES_MAX;
use crate::log::throttle::Throttle;
use crate::metrics::{Blocks, Refused};
use crate::redis::{Dialer, Due, Failure, Greeting, Link, Pulse, Report, Timing};
use crate::wire::resp::{self, Reply};

/// Subscribes to every channel that starts with `prefix`, and keeps at it for ever.
///
/// Messages go to the inbox in Redis' order. While it is full the socket is not read: TCP holds Redis back, which
/// drops us at its client-output-buffer-limit, and that is a gap like any other. A message above
/// [`MESSAGE_BYTES_MAX`] is counted as refused and its bytes are dropped as they come. Writes `redis_subscribed`,
/// `redis_gaps`, `redis_gap_us`, `redis_connect_errors` and `messages_refused` of the ingest block; whoever takes
/// from the inbox counts what it accepts.
pub async fn subscribe(
    mut dialer: Dialer,
    prefix: String,
    inbox: Inbox<Incoming>,
    blocks: Arc<Blocks>,
) -> Infallible {
    let pattern = pattern(prefix.as_bytes());
    let greeting = Greeting {
        words: &[b"PSUBSCRIBE", &pattern],
        answers: |reply| matches!(reply, Reply::Subscribed { .. }),
    };
    let mut report = Report::new("subscribe");
    let mut oversized = Throttle::default();
    let mut lost_at: Option<Instant> = None;
    loop {
        let failure = match dialer.open(MESSAGE_BYTES_MAX, &greeting).await {
            Err(failure) => {
                blocks.ingest.redis_connect_errors.add(1);
                report.failed(&failure);
                failure
            }
            Ok(link) => {
                let stood_at = Instant::now();
                let gap = lost_at.take().map(|lost| stood_at.saturating_duration_since(lost));
                back(&inbox, &blocks, gap).await;
                report.stands(gap);
                let pulse = Pulse::new(&dialer.timing(), Instant::now());
                let session = Session {
                    link,
                    pulse,
                    prefix: &prefix,
                    inbox: &inbox,
                    blocks: &blocks,
                    oversized: &mut oversized,
                };
                let (failure, lost) = session.run(dialer.timing()).await;
                blocks.ingest.redis_subscribed.set(0);
                blocks.ingest.redis_gaps.add(1);
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
    if let Some(gap) = gap {
        blocks.ingest.redis_gap_us.add(gap.as_micros() as u64);
        inbox.push(Incoming::Gap).await;
    }
}

/// A subscription that stands.
struct Session<'a> {
    link: Link,
    pulse: Pulse,
    prefix: &'a str,
    inbox: &'a Inbox<Incoming>,
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
            let patience = self.pulse.patience(Instant::now());
            match timeout(patience, self.link.readable()).await {
                Ok(readable) => {
                    readable?;
                    self.link.receive().await?;
                    self.pulse.heard(Instant::now());
                }
                Err(_) => match self.pulse.due(Instant::now()) {
                    Due::Nothing => {}
                    Due::Dead => return Err(Failure::Silent(self.pulse.last_heard().elapsed())),
                    Due::Ping => {
                        let mut ping = BytesMut::new();
                        resp::command(&mut ping, &[b"PING"]);
                        self.pulse.asked(Instant::now());
                        self.link.send(ping, timing.pong_within).await?;
                    }
                },
            }
        }
    }

    async fn take(&mut self, reply: Reply) -> Result<(), Failure> {
        match reply {
            Reply::Message { channel, payload, .. } => {
                // The pattern lets nothing else through.
                if channel.starts_with(self.prefix.as_bytes()) {
                    let channel = channel.slice(self.prefix.len()..);
                    self.inbox.push(Incoming::Message { channel, payload }).await;
                    // It may have waited for space, and a server that was not listened to is not silent.
                    self.pulse.heard(Instant::now());
                }
                Ok(())
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
                Ok(())
            }
            // A user that may not PING gets an answer all the same.
            Reply::Error(text) if !text.starts_with("NOPERM") => Err(Failure::Refused(text)),
            Reply::Error(_)
            | Reply::Pong
            | Reply::Subscribed { .. }
            | Reply::Simple(_)
            | Reply::Integer(_)
            | Reply::Bulk(_)
            | Reply::Other => Ok(()),
        }
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
