//! The publishing session: pipelined `PUBLISH`, answered in order; and what the server is, looked at between them.
//!
//! *Not here*: what becomes of a publish by its answer (`outbound`).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use monoio::time::{sleep, timeout};

use super::incoming::MARK_CHANNEL;
use super::queue::PublishQueue;
use crate::log::throttle::Throttle;
use crate::metrics::Blocks;
use crate::redis::resp::{self, Reply};
use crate::redis::{Dialer, Failure, Greeting, Link, Question, RefusalKind, Report, Role, Timing};
use fanfare_core::limits::{
    REDIS_BUSY_PAUSE, REDIS_IO_BYTES, REDIS_LOOK, REDIS_WINDOW_BYTES, RESP_LINE_BYTES_MAX,
};

/// Sends what enters the queue to Redis, and keeps at it for ever.
///
/// When the connection is lost, what it was given and did not answer counts as failed: its fate is not known, and to send
/// it again could deliver it twice. What waits is sent by the next session, for as long as its publisher waits. A server
/// that is a replica is no server to publish to: the session connects anew until it finds the primary. Writes
/// `redis_publishing`, `redis_published`, `redis_publish_failed`, `redis_publish_refused`, `redis_role` and
/// `redis_connect_errors` of the ingest block.
pub async fn publish(
    mut dialer: Dialer,
    prefix: String,
    queue: PublishQueue,
    blocks: Arc<Blocks>,
) -> Infallible {
    let probe = [prefix.as_bytes(), MARK_CHANNEL].concat();
    let mut report = Report::new("publish");
    let mut refusals = Throttle::default();
    let mut lost_at: Option<Instant> = None;
    loop {
        let failure = match open(&mut dialer, &blocks).await {
            Err(failure) => {
                blocks.ingest.redis_connect_errors.add(1);
                report.failed(&failure);
                failure
            }
            Ok((link, question)) => {
                let stood_at = Instant::now();
                queue.connected(link.server());
                report.stands(lost_at.map(|lost| stood_at.saturating_duration_since(lost)));
                let mut session = Session {
                    link,
                    question,
                    probe: &probe,
                    asked: VecDeque::new(),
                    look_at: stood_at,
                    mark_at: stood_at,
                    taken_at: None,
                    late_since: None,
                    queue: &queue,
                    blocks: &blocks,
                    refusals: &mut refusals,
                };
                let Err(failure) = session.run(dialer.timing()).await;
                blocks.ingest.redis_publishing.set(0);
                blocks.ingest.redis_publish_failed.add(queue.connection_lost() as u64);
                dialer.backoff.stood(stood_at.elapsed());
                lost_at = Some(Instant::now());
                report.lost(&failure);
                failure
            }
        };
        if let Failure::Replica = failure {
            queue.refuse_unsent("the Redis server is a replica: what is published there stays there");
        } else {
            blocks.ingest.redis_role.set(Role::Unknown as u64);
        }
        sleep(dialer.backoff.pause(failure.pace())).await;
    }
}

/// A connection to a server that is no replica, and how to ask it for its role.
async fn open(dialer: &mut Dialer, blocks: &Blocks) -> Result<(Link, Question), Failure> {
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
    let mut link = dialer.open(RESP_LINE_BYTES_MAX, &greeting, None).await?;
    let within = dialer.timing().pong_within;
    let mut question = Question::Hello;
    while let Some(words) = question.words() {
        let mut out = BytesMut::new();
        resp::command(&mut out, words);
        link.send(out, within).await?;
        let reply = timeout(within, link.reply()).await.unwrap_or(Err(Failure::Silent(within)))?;
        match question.role(&reply)? {
            Some(role) => {
                blocks.ingest.redis_role.set(role as u64);
                if role == Role::Replica {
                    return Err(Failure::Replica);
                }
                break;
            }
            None => question = question.next(),
        }
    }
    Ok((link, question))
}

/// What was asked and is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Publish,
    /// A publish that comes back as a mark.
    Mark,
    Role,
    /// `MULTI` and `DISCARD` around a probe, so that it is judged and not published.
    Brackets,
    Probe,
}

/// A connection that stands.
struct Session<'a> {
    link: Link,
    question: Question,
    /// A channel that no gateway delivers from.
    probe: &'a [u8],
    /// Oldest first, and when it was asked.
    asked: VecDeque<(Asked, Instant)>,
    /// When the server is looked at next.
    look_at: Instant,
    /// When the next mark may be published.
    mark_at: Instant,
    /// When it last took a publish.
    taken_at: Option<Instant>,
    /// Since when an answer is too late.
    late_since: Option<Instant>,
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
            let now = Instant::now();
            self.judge(timing, now)?;
            let mut commands = BytesMut::new();
            if now >= self.look_at {
                self.look(&mut commands, timing, now);
            }
            // The window makes sure that replies are looked at, however fast the queue fills.
            let is_open = self.queue.sent_bytes() < REDIS_WINDOW_BYTES;
            if is_open {
                let (publishes, count) = self.queue.send(REDIS_IO_BYTES, now);
                commands.extend_from_slice(&publishes);
                self.asked.extend(std::iter::repeat_n((Asked::Publish, now), count));
            }
            // Behind the publishes, which it is for.
            if now >= self.mark_at && self.queue.wants_mark() {
                let mark = self.queue.mark_sent();
                resp::command(&mut commands, &[b"PUBLISH", self.probe, mark.as_bytes()]);
                self.asked.push_back((Asked::Mark, now));
            }
            self.link.send(commands, timing.pong_within).await?;
            let (patience, marks) = (self.patience(timing, Instant::now()), Instant::now() >= self.mark_at);
            monoio::select! {
                readable = self.link.readable() => {
                    readable?;
                    self.link.receive().await?;
                }
                () = self.queue.sendable(marks), if is_open => {}
                () = sleep(patience) => {}
            }
        }
    }

    /// Whether the oldest question has waited too long, whatever else came. A thread that was held up itself finds every
    /// deadline passed and the answers waiting, so it looks for them first.
    fn judge(&mut self, timing: Timing, now: Instant) -> Result<(), Failure> {
        let waited = self.asked.front().map_or(Duration::ZERO, |(_, at)| now.saturating_duration_since(*at));
        if waited < timing.pong_within {
            self.late_since = None;
            return Ok(());
        }
        let since = *self.late_since.get_or_insert(now);
        if now.saturating_duration_since(since) < REDIS_LOOK { Ok(()) } else { Err(Failure::Silent(waited)) }
    }

    /// How long to wait for bytes at most.
    fn patience(&self, timing: Timing, now: Instant) -> Duration {
        let late = self.asked.front().map(|(_, at)| match self.late_since {
            Some(since) => since + REDIS_LOOK,
            None => *at + timing.pong_within,
        });
        let mark = self.queue.wants_mark().then_some(self.mark_at);
        let next = [Some(self.look_at), late, mark, self.queue.sends_at()].into_iter().flatten().min();
        let wait = next.map_or(timing.ping_after, |next| next.saturating_duration_since(now));
        // The runtime's timers are good to a millisecond.
        wait.max(Duration::from_millis(1))
    }

    /// Asks for the role, and whether a publish would be taken, unless one was lately.
    fn look(&mut self, out: &mut BytesMut, timing: Timing, now: Instant) {
        self.look_at = now + timing.ping_after;
        if let Some(words) = self.question.words() {
            resp::command(out, words);
            self.asked.push_back((Asked::Role, now));
        }
        if self.taken_at.is_none_or(|taken| now.saturating_duration_since(taken) >= timing.ping_after) {
            resp::command(out, &[b"MULTI"]);
            resp::command(out, &[b"PUBLISH", self.probe, b""]);
            resp::command(out, &[b"DISCARD"]);
            let asked = [Asked::Brackets, Asked::Probe, Asked::Brackets];
            self.asked.extend(asked.map(|asked| (asked, now)));
        }
    }

    /// One reply; each answers the oldest question.
    fn take(&mut self, reply: Reply) -> Result<(), Failure> {
        let Some((asked, _)) = self.asked.pop_front() else {
            return Err(match reply {
                // Sent unasked, before the stream is closed: too many clients, a shutdown.
                Reply::Error(text) => Failure::Refused(text),
                _ => Failure::Unexpected,
            });
        };
        match (asked, reply) {
            (Asked::Publish, Reply::Integer(subscribers)) => {
                self.blocks.ingest.redis_published.add(1);
                self.is_permitted();
                self.queue.answered(Ok(subscribers), Instant::now());
                self.taken_at = Some(Instant::now());
            }
            (Asked::Publish, Reply::Error(text)) => {
                self.blocks.ingest.redis_publish_failed.add(1);
                self.is_refused(asked, &text);
                self.queue.answered(Err(text), Instant::now());
            }
            (Asked::Mark, Reply::Integer(_)) => self.queue.mark_answered(true),
            (Asked::Mark, Reply::Error(_)) => {
                self.queue.mark_answered(false);
                self.mark_at = Instant::now() + REDIS_BUSY_PAUSE;
            }
            (Asked::Probe, Reply::Simple(_) | Reply::Integer(_)) => self.is_permitted(),
            (Asked::Probe, Reply::Error(text)) => self.is_refused(asked, &text),
            (Asked::Brackets, Reply::Simple(_) | Reply::Error(_)) => {}
            (Asked::Role, reply) => match self.question.role(&reply)? {
                Some(role) => {
                    self.blocks.ingest.redis_role.set(role as u64);
                    if role == Role::Replica {
                        return Err(Failure::Replica);
                    }
                }
                None => self.question = self.question.next(),
            },
            _ => return Err(Failure::Unexpected),
        }
        Ok(())
    }

    /// The server takes publishes.
    fn is_permitted(&self) {
        self.blocks.ingest.redis_publishing.set(1);
        self.blocks.ingest.redis_publish_refused.set(RefusalKind::None as u64);
    }

    /// It does not, and says why.
    fn is_refused(&mut self, asked: Asked, text: &str) {
        self.blocks.ingest.redis_publishing.set(1);
        if asked == Asked::Probe || !is_about_a_channel(text) {
            self.blocks.ingest.redis_publish_refused.set(RefusalKind::of(text) as u64);
        }
        if let Some(times) = self.refusals.event(Instant::now()) {
            let failure = Failure::Refused(text.to_owned());
            tracing::error!(times, "redis: a publish failed: {failure}; {}", failure.remedy());
        }
    }
}

/// Whether an error says only that the user may not publish to the channel that was named; others may be open to
/// it. Redis 6 and 7 have different words for it, and both speak of a channel.
fn is_about_a_channel(text: &str) -> bool {
    text.starts_with("NOPERM") && text.contains("channel")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_that_the_user_may_not_use_is_told_from_a_command_that_it_may_not_run() {
        for text in [
            "NOPERM this user has no permissions to access one of the channels used as arguments",
            "NOPERM No permissions to access a channel",
        ] {
            assert!(is_about_a_channel(text), "{text}");
        }
        for text in [
            "NOPERM User gate has no permissions to run the 'publish' command",
            "NOPERM this user has no permissions to run the 'publish' command or its subcommand",
            "OOM command not allowed",
            "ERR unknown channel",
        ] {
            assert!(!is_about_a_channel(text), "{text}");
        }
    }
}
