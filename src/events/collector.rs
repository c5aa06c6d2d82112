//! From every shard's journal to every receiver's queue: numbers each record, encodes it once, and never waits.
//!
//! It ends when every shard has, and gives the receivers a while to take what is left. *Not here*: delivering (`stream`,
//! `webhook`).

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::journal::Reader;
use super::json;
use super::shared::Shared;
use crate::metrics::{Blocks, EventSink};
use fanfare_core::limits::{EVENTS_FLUSH, EVENTS_POLL, EVENTS_POLL_BUSY, EVENTS_TURN};

/// How often the queues are looked at while the last events leave.
const FLUSH_POLL: Duration = Duration::from_millis(10);

/// The events thread's state.
pub struct Collector {
    gateway: Arc<str>,
    readers: Vec<Reader>,
    queues: Vec<(EventSink, Arc<Shared>)>,
    blocks: Arc<Blocks>,
    /// Number of the last event.
    seq: u64,
}

impl Collector {
    /// Reads these journals into these queues.
    pub fn new(
        gateway: Arc<str>,
        readers: Vec<Reader>,
        queues: Vec<(EventSink, Arc<Shared>)>,
        blocks: Arc<Blocks>,
    ) -> Self {
        Self { gateway, readers, queues, blocks, seq: 0 }
    }

    /// Takes a share of what every journal holds; `true`: one of them has more.
    pub fn turn(&mut self, now: Instant) -> bool {
        let mut has_more = false;
        for reader in &mut self.readers {
            let mut taken = 0;
            while taken < EVENTS_TURN
                && let Some(record) = reader.pop()
            {
                taken += 1;
                self.seq += 1;
                let text = json::event(&self.gateway, self.seq, &record);
                for (sink, queue) in &self.queues {
                    if !queue.lock().offer(self.seq, &text, now) {
                        self.blocks.events.sinks[*sink as usize].overflowed.add(1);
                    }
                }
            }
            self.blocks.events.progress.add(taken as u64);
            has_more |= taken == EVENTS_TURN;
            // A ring that was full is empty now: what it had no room for came before what it will have next.
            let dropped = reader.newly_dropped();
            if dropped > 0 {
                self.seq += dropped;
                for (_, queue) in &self.queues {
                    queue.lock().lose(self.seq, dropped, now);
                }
            }
        }
        for (sink, queue) in &self.queues {
            let queue = queue.lock();
            let block = &self.blocks.events.sinks[*sink as usize];
            block.queue.set(queue.events() as u64);
            block.queue_bytes.set(queue.bytes() as u64);
        }
        self.blocks.events.turns.add(1);
        has_more
    }

    fn is_over(&self) -> bool {
        self.readers.iter().all(Reader::is_over)
    }

    /// Counts what no receiver took before the end.
    fn give_up(&self) {
        for (sink, queue) in &self.queues {
            let left = queue.lock().events() as u64;
            self.blocks.events.sinks[*sink as usize].left.add(left);
            if left > 0 {
                tracing::warn!(
                    sink = sink.label(),
                    left,
                    "events: the receiver did not take the last of them"
                );
            }
        }
    }
}

/// Runs until every shard has ended and the last events are with their receivers, or have had their time.
pub async fn run(mut collector: Collector) -> io::Result<()> {
    while !collector.is_over() {
        let has_more = collector.turn(Instant::now());
        monoio::time::sleep(if has_more { EVENTS_POLL_BUSY } else { EVENTS_POLL }).await;
        collector.blocks.events.waits.add(1);
    }
    // What a shard dropped last is seen now.
    collector.turn(Instant::now());
    collector.queues.iter().for_each(|(_, queue)| queue.close());
    let until = Instant::now() + EVENTS_FLUSH;
    while Instant::now() < until && !collector.queues.iter().all(|(_, queue)| queue.is_over()) {
        monoio::time::sleep(FLUSH_POLL).await;
        collector.blocks.events.turns.add(1);
        collector.blocks.events.waits.add(1);
    }
    collector.give_up();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::journal::journal;
    use crate::events::record::What;
    use crate::events::sink_queue::{Bounds, SinkQueue};
    use fanfare_core::limits::EVENTS_RING_SLOTS;
    use fanfare_core::model::{EventKinds, Topic};

    const BOUNDS: Bounds = Bounds {
        batch_events_max: 1_000_000,
        batch_bytes_max: usize::MAX,
        delay: Duration::ZERO,
        queue_bytes_max: 1 << 30,
    };

    fn shared(queue_bytes_max: usize) -> Arc<Shared> {
        Arc::new(Shared::new(SinkQueue::new("g".into(), Bounds { queue_bytes_max, ..BOUNDS })))
    }

    fn numbers(queue: &Shared) -> Vec<(String, u64)> {
        let events = queue.batch().map_or_else(Vec::new, |batch| batch.events);
        let read = |event| {
            let event: serde_json::Value = serde_json::from_slice(event).expect("JSON");
            (event["event"].as_str().expect("a kind").to_owned(), event["seq"].as_u64().expect("a number"))
        };
        events.iter().map(|event| read(event)).collect()
    }

    #[test]
    fn what_a_ring_had_no_room_for_uses_up_numbers_and_is_told_to_every_receiver() {
        let blocks = Arc::new(Blocks::new(1));
        let (mut journal, reader) = journal(0, EventKinds::ALL, Arc::clone(&blocks));
        let queues = [shared(1 << 30), shared(1 << 30)];
        let both = EventSink::ALL.into_iter().zip(queues.iter().cloned()).collect();
        let mut collector = Collector::new("g".into(), vec![reader], both, blocks);
        let topic = Topic::new("t").expect("a topic");
        for n in 0..EVENTS_RING_SLOTS as u32 + 5 {
            journal.note(n, n, What::Join(topic.clone()));
        }
        while collector.turn(Instant::now()) {}
        journal.note(0, 0, What::Leave(topic));
        collector.turn(Instant::now());
        let last = EVENTS_RING_SLOTS as u64 + 6;
        for queue in &queues {
            let numbers = numbers(queue);
            assert_eq!(numbers.last(), Some(&("leave".to_owned(), last)));
            let marks: Vec<_> = numbers.iter().filter(|(event, _)| event == "lost").collect();
            assert_eq!(marks.len(), 1, "five were lost at one place");
        }
    }

    #[test]
    fn a_receiver_that_takes_nothing_costs_the_other_nothing() {
        let blocks = Arc::new(Blocks::new(1));
        let (mut journal, reader) = journal(0, EventKinds::ALL, Arc::clone(&blocks));
        let (stuck, well) = (shared(200), shared(1 << 30));
        let both = vec![(EventSink::Redis, Arc::clone(&stuck)), (EventSink::Webhook, Arc::clone(&well))];
        let mut collector = Collector::new("g".into(), vec![reader], both, Arc::clone(&blocks));
        let topic = Topic::new("t").expect("a topic");
        (0..100).for_each(|n| journal.note(n, n, What::Join(topic.clone())));
        collector.turn(Instant::now());
        assert_eq!(numbers(&well).len(), 100);
        let [redis, webhook] = &blocks.events.sinks;
        assert_eq!(redis.queue.get() + redis.overflowed.get(), 100);
        assert!(redis.queue_bytes.get() <= 200 && redis.overflowed.get() > 90);
        assert_eq!((webhook.queue.get(), webhook.overflowed.get()), (100, 0));
    }
}
