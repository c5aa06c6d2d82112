//! The threads of lifecycle events: one that reads every shard's journal and speaks to Redis, one that blocks on the
//! webhook. Without a receiver there is neither, and no journal.
//!
//! *Not here*: what they do (`events`).

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::error::StartError;
use super::runtime::{RUNTIME_ENTRIES, block_on};
use super::threads::{Part, Threads};
use crate::config::{Config, EventsRedis};
use crate::events::collector::{self, Collector};
use crate::events::journal::{self, Journal, Reader};
use crate::events::shared::Shared;
use crate::events::sink_queue::{Bounds, SinkQueue};
use crate::events::stream::{self, RedisTarget};
use crate::events::webhook::Webhook;
use crate::metrics::{Blocks, EventSink};
use crate::redis::{Dialer, Timing};

/// The journals' ends while the shards are started one after the other.
pub(super) struct Journals {
    readers: Option<Vec<Reader>>,
}

impl Journals {
    /// None yet; none ever, if nobody wants events.
    pub(super) fn new(config: &Config) -> Self {
        Self { readers: config.events.is_on().then(Vec::new) }
    }

    /// The next shard's end.
    pub(super) fn add(&mut self, shard: usize, config: &Config, blocks: &Arc<Blocks>) -> Option<Journal> {
        let readers = self.readers.as_mut()?;
        let (journal, reader) = journal::journal(shard, config.events.kinds, Arc::clone(blocks));
        readers.push(reader);
        Some(journal)
    }

    /// Starts the threads; the part that a drain waits for, if there is one.
    pub(super) fn start(
        self,
        threads: &Threads,
        config: &Config,
        blocks: &Arc<Blocks>,
    ) -> Result<Option<Part>, StartError> {
        let Some(readers) = self.readers else { return Ok(None) };
        let (events, gateway) = (&config.events, gateway_id());
        let queue = || {
            let bounds = Bounds {
                batch_events_max: events.batch_events_max,
                batch_bytes_max: events.batch_bytes_max,
                delay: events.delay,
                queue_bytes_max: events.queue_bytes_max,
            };
            Arc::new(Shared::new(SinkQueue::new(Arc::clone(&gateway), bounds)))
        };
        let mut queues = Vec::new();
        if let Some(url) = &events.webhook {
            let queue = queue();
            queues.push((EventSink::Webhook, Arc::clone(&queue)));
            let (url, patience, gateway) = (url.clone(), events.webhook_timeout, Arc::clone(&gateway));
            let blocks = Arc::clone(blocks);
            threads.spawn(Part::Webhook, None, move || {
                Webhook::new(url, patience, gateway, queue, blocks).run();
                Ok(())
            })?;
        }
        let redis = match to_redis(threads, config)? {
            Some((dialer, place)) => {
                let queue = queue();
                queues.push((EventSink::Redis, Arc::clone(&queue)));
                Some((dialer, place, queue))
            }
            None => None,
        };
        let collector = Collector::new(gateway, readers, queues, Arc::clone(blocks));
        let blocks = Arc::clone(blocks);
        threads.spawn(Part::Events, None, move || {
            block_on(RUNTIME_ENTRIES, || async move {
                if let Some((dialer, place, queue)) = redis {
                    monoio::spawn(stream::run(dialer, place, queue, blocks));
                }
                collector::run(collector).await
            })
        })?;
        Ok(Some(Part::Events))
    }
}

/// A session with Redis and what it writes to, if events go there.
fn to_redis(threads: &Threads, config: &Config) -> Result<Option<(Dialer, RedisTarget)>, StartError> {
    let events = &config.events;
    let place = match events.redis {
        EventsRedis::Off => return Ok(None),
        EventsRedis::Channel => RedisTarget::Channel(events.name.clone()),
        EventsRedis::Stream => {
            RedisTarget::Stream { name: events.name.clone(), length_max: events.stream_length_max }
        }
    };
    let Some(redis) = &config.redis else { return Ok(None) };
    let failed = |error: io::Error| StartError::Kernel { wanted: "prepare a session with Redis", error };
    let (dialer, lookup) = Dialer::new(&redis.url, Timing::default(), now_ms()).map_err(failed)?;
    lookup.map_or(Ok(()), |lookup| threads.resolve(lookup)).map_err(failed)?;
    Ok(Some((dialer, place)))
}

/// Names this run of this process: when it began, and 20 random bits, because containers that begin at once have the same
/// process id too.
fn gateway_id() -> Arc<str> {
    let random = RandomState::new().build_hasher().finish();
    format!("{:x}", now_ms() << 20 | random & 0xf_ffff).into()
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
