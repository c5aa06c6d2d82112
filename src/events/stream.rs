//! Events to Redis: `PUBLISH` of a batch, or `XADD` of each event. One session, at it until the queue is over.
//!
//! A batch is answered before the next one is sent. One whose answers did not all come is sent again: what had arrived
//! arrives twice, with the same numbers. *Not here*: how a session comes about (`redis`).

use std::sync::Arc;

use bytes::BytesMut;
use monoio::time::{sleep, timeout};

use super::json;
use super::shared::Shared;
use super::sink_queue::Batch;
use crate::metrics::{Blocks, EventSink};
use crate::redis::resp::{self, Reply};
use crate::redis::{Dialer, Failure, Greeting, Link, Report, Timing};
use fanfare_core::limits::{EVENTS_POLL, RESP_LINE_BYTES_MAX};

/// Where in Redis events go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisTarget {
    /// `PUBLISH` to this channel: an array of events.
    Channel(String),
    /// `XADD` to this stream, in field `event`.
    Stream {
        /// Its name.
        name: String,
        /// Entries that it keeps, about.
        length_max: u64,
    },
}

/// Delivers what enters the queue until it is over. Writes `sent` and `failed` of its sink's block.
pub async fn run(mut dialer: Dialer, place: RedisTarget, queue: Arc<Shared>, blocks: Arc<Blocks>) {
    let block = &blocks.events.sinks[EventSink::Redis as usize];
    // A user that may not PING may write all the same.
    let greeting = Greeting {
        words: &[b"PING"],
        answers: |reply| match reply {
            Reply::Pong => true,
            Reply::Error(text) => text.starts_with("NOPERM"),
            _ => false,
        },
    };
    let mut report = Report::new("events");
    while !queue.is_over() {
        let failure = match dialer.open(RESP_LINE_BYTES_MAX, &greeting, None).await {
            Err(failure) => {
                report.failed(&failure);
                failure
            }
            Ok(mut link) => {
                let mut has_taken = false;
                let outcome = deliver(&mut link, &place, &queue, dialer.timing(), |count| {
                    // An open connection proves little: the server may refuse every command.
                    if !std::mem::replace(&mut has_taken, true) {
                        report.stands(None);
                    }
                    block.sent.add(count as u64);
                });
                let Err(failure) = outcome.await else { return };
                queue.lock().failed();
                if has_taken {
                    dialer.backoff.stood(fanfare_core::limits::REDIS_WELL_AFTER);
                    report.lost(&failure);
                } else {
                    report.failed(&failure);
                }
                failure
            }
        };
        block.failed.add(1);
        sleep(dialer.backoff.pause(failure.pace())).await;
    }
}

/// Delivers over one connection until the queue is over.
async fn deliver(
    link: &mut Link,
    place: &RedisTarget,
    queue: &Shared,
    timing: Timing,
    mut taken: impl FnMut(usize),
) -> Result<(), Failure> {
    loop {
        let Some(batch) = queue.batch() else {
            if queue.is_over() {
                return Ok(());
            }
            sleep(EVENTS_POLL).await;
            continue;
        };
        let (commands, answers) = commands(place, &batch);
        link.send(commands, timing.pong_within).await?;
        for _ in 0..answers {
            let reply = timeout(timing.pong_within, link.reply()).await;
            match reply.unwrap_or(Err(Failure::Silent(timing.pong_within)))? {
                Reply::Integer(_) | Reply::Bulk(_) => {}
                Reply::Error(text) => return Err(Failure::Refused(text)),
                _ => return Err(Failure::Unexpected),
            }
        }
        queue.lock().taken();
        taken(batch.count);
    }
}

/// A batch as commands, and how many answers they have.
fn commands(place: &RedisTarget, batch: &Batch) -> (BytesMut, usize) {
    let mut out = BytesMut::new();
    match place {
        RedisTarget::Channel(name) => {
            resp::command(&mut out, &[b"PUBLISH", name.as_bytes(), &json::array(&batch.events)]);
            (out, 1)
        }
        RedisTarget::Stream { name, length_max } => {
            let length_max = length_max.to_string();
            for event in &batch.events {
                let (name, length_max) = (name.as_bytes(), length_max.as_bytes());
                resp::command(&mut out, &[b"XADD", name, b"MAXLEN", b"~", length_max, b"*", b"event", event]);
            }
            (out, batch.events.len())
        }
    }
}
