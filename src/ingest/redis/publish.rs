//! The publishing session: pipelined `PUBLISH`, answered in order.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use monoio::time::sleep;

use super::queue::PublishQueue;
use crate::limits::{REDIS_IO_BYTES, REDIS_WINDOW_BYTES, RESP_LINE_BYTES_MAX};
use crate::log::throttle::Throttle;
use crate::metrics::Blocks;
use crate::redis::{Dialer, Due, Failure, Greeting, Link, Pulse, Report, Timing};
use crate::wire::resp::{self, Reply};

/// Sends what enters the queue to Redis, and keeps at it for ever.
///
/// An answer counts as published, an error as failed. When the connection is lost, what it was given and did not
/// answer counts as failed: its fate is not known, and to send it again could deliver it twice. What waits is sent
/// by the next session. Writes `redis_publishing`, `redis_published`, `redis_publish_failed` and
/// `redis_connect_errors` of the ingest block.
pub async fn publish(mut dialer: Dialer, queue: PublishQueue, blocks: Arc<Blocks>) -> Infallible {
    // Only a PING shows that the server would take a PUBLISH, before one is spent on the question. A user that may
    // not PING may publish all the same.
    let greeting = Greeting {
        words: &[b"PING"],
        answers: |reply| match reply {
            Reply::Pong => true,
            Reply::Error(text) => text.starts_with("NOPERM"),
            _ => false,
        },
    };
    let mut report = Report::new("publish");
    let mut refusals = Throttle::default();
    let mut lost_at: Option<Instant> = None;
    loop {
        let failure = match dialer.open(RESP_LINE_BYTES_MAX, &greeting).await {
            Err(failure) => {
                blocks.ingest.redis_connect_errors.add(1);
                report.failed(&failure);
                failure
            }
            Ok(link) => {
                let stood_at = Instant::now();
                blocks.ingest.redis_publishing.set(1);
                report.stands(lost_at.map(|lost| stood_at.saturating_duration_since(lost)));
                let pulse = Pulse::new(&dialer.timing(), stood_at);
                let mut session = Session {
                    link,
                    pulse,
                    pinged: false,
                    queue: &queue,
                    blocks: &blocks,
                    refusals: &mut refusals,
                };
                let Err(failure) = session.run(dialer.timing()).await;
                blocks.ingest.redis_publishing.set(0);
                blocks.ingest.redis_publish_failed.add(queue.lost() as u64);
                dialer.backoff.stood(stood_at.elapsed());
                lost_at = Some(Instant::now());
                report.lost(&failure);
                failure
            }
        };
        sleep(dialer.backoff.pause(failure.pace())).await;
    }
}

/// A connection that stands.
struct Session<'a> {
    link: Link,
    pulse: Pulse,
    /// A PING is not answered. It is sent only when nothing else is due, so its answer comes first.
    pinged: bool,
    queue: &'a PublishQueue,
    blocks: &'a Blocks,
    refusals: &'a mut Throttle,
}

impl Session<'_> {
    async fn run(&mut self, timing: Timing) -> Result<Infallible, Failure> {
        loop {
            while let Some(reply) = self.link.next_reply()? {
                self.take(reply)?;
            }
            // The window makes sure that replies are looked at, however fast the queue fills.
            let open = self.queue.sent_bytes() < REDIS_WINDOW_BYTES;
            if open {
                let commands = self.queue.send(REDIS_IO_BYTES);
                self.link.send(commands, timing.pong_within).await?;
            }
            if self.pinged || self.queue.sent_bytes() > 0 {
                self.pulse.asked(Instant::now());
            }
            let patience = self.pulse.patience(Instant::now());
            monoio::select! {
                readable = self.link.readable() => {
                    readable?;
                    self.link.receive().await?;
                    self.pulse.heard(Instant::now());
                }
                () = self.queue.arrived(), if open => {}
                () = sleep(patience) => self.look_after(timing).await?,
            }
        }
    }

    /// A deadline may have passed.
    async fn look_after(&mut self, timing: Timing) -> Result<(), Failure> {
        match self.pulse.due(Instant::now()) {
            Due::Nothing => Ok(()),
            Due::Dead => Err(Failure::Silent(self.pulse.last_heard().elapsed())),
            Due::Ping => {
                let mut ping = BytesMut::new();
                resp::command(&mut ping, &[b"PING"]);
                self.pinged = true;
                self.link.send(ping, timing.pong_within).await
            }
        }
    }

    /// One reply; each answers the oldest command without an answer.
    fn take(&mut self, reply: Reply) -> Result<(), Failure> {
        if std::mem::take(&mut self.pinged) {
            return match reply {
                Reply::Pong => Ok(()),
                Reply::Error(text) if text.starts_with("NOPERM") => Ok(()),
                Reply::Error(text) => Err(Failure::Refused(text)),
                _ => Err(Failure::Unexpected),
            };
        }
        match reply {
            Reply::Integer(_) if self.queue.answered() => self.blocks.ingest.redis_published.add(1),
            Reply::Error(text) if self.queue.answered() => {
                self.blocks.ingest.redis_publish_failed.add(1);
                if let Some(times) = self.refusals.event(Instant::now()) {
                    let failure = Failure::Refused(text);
                    tracing::error!(times, "redis: a publish failed: {failure}; {}", failure.remedy());
                }
            }
            // Sent unasked, before the stream is closed: too many clients, a shutdown.
            Reply::Error(text) => return Err(Failure::Refused(text)),
            _ => return Err(Failure::Unexpected),
        }
        Ok(())
    }
}
