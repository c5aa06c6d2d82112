//! Every bound of the gateway: its value, its unit, and why it is what it is.
//!
//! What an operator may change has its default here too and its range in `config`; what is not configurable is
//! a constant because changing it would change the design, not the deployment. *Not here*: who enforces a bound.

use std::time::Duration;

/// Shards of one process. More than this many cores has never been a machine that one gateway ran on.
pub const SHARDS_MAX: usize = 256;

/// One published message, bytes of payload. Above it a publisher is told 413, a Redis message is counted and refused.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// Arrays and objects within one another in a message. Python's parser gives up at about 1,000, others at less; nobody
/// nests by hand as deep as this.
pub const MESSAGE_DEPTH_MAX: usize = 128;

/// A topic's name, bytes. Long enough for two UUIDs and a separator, short enough for a map key.
pub const TOPIC_BYTES_MAX: usize = 256;

/// Topics with state in the ingest core. A topic costs about 150 bytes there; idle ones are forgotten first.
pub const TOPICS_MAX: usize = 1 << 20;

/// Topics that are never forgotten for their age: they take two megabytes, and their offsets go on after any pause.
pub const TOPICS_KEPT: usize = 4096;
/// Beyond that, time without a message after which the ingest core forgets a topic, at the latest twice that: topics that
/// were used once do not hold memory for ever.
pub const TOPIC_FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
const _: () = assert!(TOPIC_FORGOTTEN_AFTER.as_millis() > 2 * MERGE_DELAY_MAX.as_millis());

/// Topics that one turn of the ingest core forgets: about half a millisecond.
pub const TOPICS_FORGOTTEN_PER_TURN: usize = 4096;

/// Merger defaults: go-push's count; a size that one send moves at the kernel's best rate; a delay nobody notices.
pub const MERGE_MESSAGES_DEFAULT: usize = 100;
/// See [`MERGE_MESSAGES_DEFAULT`].
pub const MERGE_BYTES_DEFAULT: usize = 32 * 1024;
/// See [`MERGE_MESSAGES_DEFAULT`].
pub const MERGE_DELAY_DEFAULT: Duration = Duration::from_millis(10);

/// The longest that the delay may be set to.
pub const MERGE_DELAY_MAX: Duration = Duration::from_secs(10);

/// Memory of all open batches together. Past it the oldest close before they are full or due.
pub const OPEN_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of frames of one fanout round: waiting batches of an address are joined up to here. Throughput is flat above 64 KiB
/// (1.4 GB/s a core), and a round of 10,000 members at this size stays below two seconds.
pub const ROUND_BYTES_MAX: usize = 256 * 1024;

/// Downlinks in a shard's ring. At 100 batches a second and address this is seconds of traffic, in 64 KiB of slots.
pub const RING_SLOTS: usize = 4096;
/// Memory of what is in a shard's ring: payloads, and the encodings of each format. Past it the ingest core stops reading
/// its sources.
pub const RING_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Commands that wait for one thread: a configuration and the drain, and as many again. The next configuration is ordered
/// when the last one is in force.
pub const COMMAND_SLOTS: usize = 4;

/// Memory of batches that a shard has taken from its ring and not finished, and that no push holds up. Past it the shard
/// leaves them in the ring.
pub const BACKLOG_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Publish requests from the HTTP API that wait for the ingest core.
pub const PUBLISH_SLOTS: usize = 1024;
/// Memory of those requests. A single one may be larger: its body has a bound of its own.
pub const PUBLISH_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Memory of messages from Redis that wait for the ingest core's loop. Past it the session stops reading its socket.
pub const REDIS_INBOX_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Publishes on their way to Redis: payloads, each once, addresses and what holds them. Past it the API answers 429; one
/// alone may be larger.
pub const REDIS_OUTBOX_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Time for a publish by HTTP to go through Redis and come back. Longer than a failover that is noticed at once and a
/// script that Redis kills; shorter than what HTTP clients wait.
pub const PUBLISH_DEADLINE: Duration = Duration::from_secs(5);
/// How much longer the API waits for the ingest core to say that the time is over.
pub const VERDICT_MARGIN: Duration = Duration::from_secs(3);
/// Requests of the API that wait for a verdict: as many as its connections may have pipelined.
pub const TICKETS_MAX: usize = API_CONNECTIONS_MAX * API_PIPELINED_MAX;
/// Publishes of one API connection that wait for their verdicts. The next one is read when the first is answered.
pub const API_PIPELINED_MAX: usize = 64;

/// Bytes that one slow connection may owe its client.
pub const OUTBOX_BYTES_DEFAULT: usize = 2 * 1024 * 1024;
/// Bytes that all slow connections of the process may hold together: with each at its bound, 128 of them.
pub const OUTBOX_TOTAL_BYTES_DEFAULT: usize = 256 * 1024 * 1024;
/// How long the oldest byte may wait.
pub const OUTBOX_AGE_DEFAULT: Duration = Duration::from_secs(30);

/// A connection that was told to close gets this long to take the Close frame and answer it; then it is reset.
pub const CLOSE_GRACE: Duration = Duration::from_secs(30);

/// A connection whose two Close frames and whose FIN are sent gets this long to end its side; then it is reset.
pub const FINISH_GRACE: Duration = Duration::from_secs(5);

/// A client's message, bytes, fragments joined. Devices send PING and JOIN; nothing they say is long.
pub const CLIENT_MESSAGE_BYTES_DEFAULT: usize = 64 * 1024;
/// Time from its first byte to its last: the longest message by default at 2 KB/s.
pub const CLIENT_MESSAGE_DEADLINE_DEFAULT: Duration = Duration::from_secs(30);
/// Bytes allocated for unfinished messages of all clients of the process: a thousand of the longest, and small ones of many
/// more.
pub const PARTIAL_BYTES_DEFAULT: usize = 64 * 1024 * 1024;

/// Head of an HTTP upgrade: what nginx passes on by default (4 lines of 8 KiB). Browsers bring every cookie of the domain.
pub const UPGRADE_HEAD_BYTES_DEFAULT: usize = 32 * 1024;
/// The range of what can be configured. What browsers send fits the least; more than the most is no header any more.
pub const UPGRADE_HEAD_BYTES: std::ops::RangeInclusive<usize> = 1024..=64 * 1024;
/// Header fields of an HTTP upgrade: more than any proxy adds. Each has 32 bytes while the head is parsed.
pub const UPGRADE_HEADERS_MAX: usize = 1000;
/// Subprotocols that can be configured: an offer is compared with each.
pub const SUBPROTOCOLS_MAX: usize = 64;
/// Time from accept to the complete head.
pub const UPGRADE_DEADLINE_DEFAULT: Duration = Duration::from_secs(10);
/// How long a connection whose client says nothing stays with the kernel before it is accepted: until the SYN-ACK is
/// sent again, the least that there is. Longer would keep from the deadline those whom it is for.
pub const DEFER_ACCEPT: Duration = Duration::from_secs(1);
/// Handshakes on one shard that wait for the rest of their heads.
pub const HANDSHAKES_DEFAULT: usize = 8 * 1024;
/// Bytes that those handshakes hold together: 4 KiB for each of them, or 1,024 of the largest heads.
pub const HANDSHAKE_BYTES_DEFAULT: usize = 32 * 1024 * 1024;
/// The range of what can be configured. The least has room for some of the largest heads.
pub const HANDSHAKE_BYTES: std::ops::RangeInclusive<usize> = 1024 * 1024..=1024 * 1024 * 1024;

/// Topics that one connection may join (go-push's bound).
pub const TOPICS_PER_CONNECTION_DEFAULT: usize = 5;
/// The most that can be configured: a membership's position among its connection's fits a byte.
pub const TOPICS_PER_CONNECTION_MAX: usize = 200;

/// Silence after which a connection counts as dead (go-push's 60 s).
pub const LIVENESS_DEFAULT: Duration = Duration::from_secs(60);

/// Receive scratch of a shard, in memory while somebody comes or speaks: the most that one read takes.
pub const SCRATCH_BYTES: usize = 16 * 1024;
/// What the first read of a connection takes. Devices say less; of a flood of empty frames it has 85. Whoever has more is
/// read on behind those who have not, and in reads as long as the ones before were cheap.
pub const FIRST_READ_BYTES: usize = 512;

/// What input may cost in one turn, all connections together, in units of about a tenth of a microsecond: four milliseconds,
/// or the PINGs of [`EVENTS_PER_TURN`] devices. What is over stays in the kernel until the next turn.
pub const INPUT_TURN_COST: u32 = 40_000;
/// Of that, what those who were held back get in any case, however many others speak.
pub const INPUT_HELD_COST: u32 = INPUT_TURN_COST / 4;
/// What one connection that was held back may cost in one turn; the read that passes it is the last.
pub const INPUT_CONNECTION_COST: u32 = 1_500;
/// A connection that cost more than this waits with its next input until the others had their turn. To join five topics
/// costs less.
pub const INPUT_LIGHT_COST: u32 = 150;
/// Costs: of a read, of a frame, of a message that its format looks at, of so many bytes, of a change of membership (with its
/// record and the state of a topic that comes and goes), of an answer's send, and of a handshake.
pub const COST_READ: u32 = 10;
/// See [`COST_READ`].
pub const COST_FRAME: u32 = 1;
/// See [`COST_READ`].
pub const COST_MESSAGE: u32 = 4;
/// See [`COST_READ`].
pub const BYTES_PER_COST: usize = 32;
/// See [`COST_READ`].
pub const COST_CHANGE: u32 = 15;
/// See [`COST_READ`].
pub const COST_ANSWER: u32 = 50;
/// See [`COST_READ`].
pub const COST_HANDSHAKE: u32 = 100;

/// Unit of a shard's coarse clock. Everything that a sweep decides is late by at most a sweep.
pub const TICK: Duration = Duration::from_millis(250);
/// Time between two turns of a shard from which on it counts as a pause of its own: the process was stopped, or its
/// machine. Four times what lies between two turns of a shard that runs.
pub const OWN_PAUSE: Duration = Duration::from_secs(1);
/// Ticks in which a sweep looks at every connection once.
pub const SWEEP_TICKS: u32 = 4;

/// Bytes that the kernel may hold unsent for one device (`TCP_NOTSENT_LOWAT`). Above a round, so that a fast device never
/// falls short; far below the kernel's own 4 MiB, so that a slow one is seen here and not in kernel memory.
pub const KERNEL_UNSENT_BYTES: u32 = 512 * 1024;

/// How long ingest waits before it tries a full ring, or a full queue to Redis, again.
pub const STALL_RETRY: Duration = Duration::from_millis(1);
/// Messages that ingest takes from one source before it looks at the others and at the clock.
pub const INGEST_TURN: usize = 512;
/// How long a drain waits for Redis to return what this gateway published.
pub const DRAIN_REDIS: Duration = Duration::from_secs(2);

/// Sends of one slice: eight milliseconds of kernel work. With a turn's input it is the longest that other jobs wait.
pub const SLICE_SENDS: usize = 1024;
/// Bytes of one slice: the kernel copies them in about 25 ms. Rounds of large messages have fewer sends a slice; with a
/// fourth of this, slices at 2,100 messages/s were so short that a tenth of the core went into beginning them.
pub const SLICE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Downlinks that a shard takes in one turn of its loop.
pub const DOWNLINKS_PER_TURN: usize = 64;
/// Readiness events that a shard handles in one turn of its loop, fewer when input reaches [`INPUT_TURN_COST`] before: about
/// ten milliseconds when all are of connections that left. Newcomers and downlinks wait no longer for a crowd that leaves.
pub const EVENTS_PER_TURN: usize = 512;

/// Connections that a shard accepts in one go, at most two of them a turn: about two milliseconds each, heads and answers
/// included.
pub const ACCEPTS_PER_TURN: usize = 128;

/// Devices that a shard may have beyond what the others of the same socket have on average: as a part of that, and in any
/// case. Less would send it away from the door over the order in which a few connects are taken.
pub const DOOR_AHEAD: (u64, u64) = (32, 16);
/// The same while a crowd waits: what is not accepted soon does not fit the queue, is dropped and tries again after 1 s.
pub const DOOR_AHEAD_IN_CROWD: (u64, u64) = (4, 1024);
/// As many at the door are a crowd: a millisecond's work of a shard.
pub const DOOR_CROWD: u32 = 64;
/// With as many there every shard takes whom it can: a quarter of the queue that Linux has by default
/// (`net.core.somaxconn`).
pub const DOOR_FULL: u32 = 1024;
/// How long a shard that is further ahead leaves the door to the others; its thread sleeps in whole milliseconds, so one or
/// two. If none of them has taken anybody in that time it does not leave again.
pub const DOOR_PAUSE: Duration = Duration::from_millis(1);
/// Accepts between two looks at the counters of the others, at most: two cache lines of each, which their cores write.
pub const DOOR_LOOK: u64 = 16;

/// Connections that wait to be accepted, per listener. The kernel cuts it to `net.core.somaxconn`, which is the knob.
pub const LISTEN_BACKLOG: i32 = 65_535;

/// Connections in one chunk of a shard's table. A chunk is the unit in which memory is taken and given back.
pub const TABLE_CHUNK: usize = 256;
/// Connections of one shard: an index is 24 bits of a request's user data.
pub const CONNECTIONS_PER_SHARD_MAX: usize = 1 << 24;

/// Body of an API request. A publish of the largest message with its JSON escapes fits twice.
pub const API_BODY_BYTES_DEFAULT: usize = 8 * 1024 * 1024;
/// Head of an API request.
pub const API_HEAD_BYTES_MAX: usize = 16 * 1024;
/// API connections with a request, or between two. One more request is answered 503 unless somebody idle gives way.
pub const API_CONNECTIONS_MAX: usize = 256;
/// API connections beyond these whose first request's head is not whole. The oldest gives way to a newcomer: a head is one
/// packet, and a probe's is here when it is accepted.
pub const API_HEADS_MAX: usize = 256;
/// Streams of events: people who watch pushes.
pub const API_STREAMS_MAX: usize = 64;
/// API connections that wait to be accepted; the kernel cuts it to `net.core.somaxconn`.
pub const API_BACKLOG: i32 = 4096;
/// A connection whose next head takes as long loses its place to a newcomer.
pub const API_HEAD_GRACE: Duration = Duration::from_secs(1);
/// Descriptors of the control thread's table that are for others: sessions, files that are read, the log.
pub const API_DESCRIPTORS_SPARE: usize = 32;
/// Bytes that a request and an answer of an API connection each may have whatever the others hold. Most publishes fit,
/// and all connections together have 36 MiB.
pub const API_BYTES_FREE: usize = 64 * 1024;
/// Bytes of API requests that are arriving or being answered, in all, as allocated. Past it a body that grows is answered
/// 503. Eight of the largest that are taken by default.
pub const API_BODIES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of API answers that their clients have not read, in all. Past it the oldest of them are dropped with their
/// connections. The metrics of 256 shards take 1 MiB.
pub const API_ANSWERS_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Entries of `api.hosts` and of `api.origins`. Each request's are held against all of them.
pub const API_NAMES_MAX: usize = 100;
/// Header fields of an API request. A browser behind two proxies sends about 30.
pub const API_HEADERS_MAX: usize = 64;
/// A line that announces a chunk: 16 digits and an extension that nobody sends.
pub const API_CHUNK_LINE_BYTES_MAX: usize = 256;
/// Time for one API request to arrive whole, and for its answer to leave.
pub const API_READ_DEADLINE: Duration = Duration::from_secs(10);
/// Silence between two requests of a connection. Longer than the pools of common HTTP clients keep one.
pub const API_IDLE_DEADLINE: Duration = Duration::from_secs(60);
/// After a last answer, time in which what the client still sends is read and dropped: closing with bytes unread
/// resets the connection, and the reset can overtake the answer.
pub const API_LINGER: Duration = Duration::from_secs(1);
/// Time for the ingest core and every shard to answer a census. A shard's turn takes milliseconds.
pub const API_CENSUS_DEADLINE: Duration = Duration::from_secs(2);
/// How long the answer to a push waits for every shard to say how many devices it is for.
pub const API_PUSH_WAIT: Duration = Duration::from_millis(100);
/// How often the progress of a push is told to those who watch it, and how often it is looked at for another state.
pub const API_PROGRESS_EVERY: Duration = Duration::from_millis(250);
/// See [`API_PROGRESS_EVERY`].
pub const API_PROGRESS_LOOK: Duration = Duration::from_millis(50);
/// Pause of the accept loop after it failed: EMFILE does not go away by trying again at once.
pub const API_ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// An answer that takes long to make, such as the metrics, is followed by a pause of so many times that long, in which no
/// other of its kind is made: the four kinds of them take four fifths of the control thread at most.
pub const API_MAKING_PAUSES: u32 = 4;
/// Pauses that may be owed before one is made: who asks now and then does not wait.
pub const API_MAKING_BURST: Duration = Duration::from_millis(100);
/// The longest pause: the thread may have been interrupted in the making.
pub const API_MAKING_PAUSE_MAX: Duration = Duration::from_millis(250);
/// Topics of one `/v1/push`.
pub const PUSH_TOPICS_MAX: usize = 100;
/// Messages of one `/v1/push`.
pub const PUSH_MESSAGES_MAX: usize = 1000;
/// Name of a push, bytes.
pub const PUSH_ID_BYTES_MAX: usize = 64;
/// Time in which a push may rise to its rate: a day.
pub const PUSH_RAMP_MAX: Duration = Duration::from_secs(86_400);
/// Time after which a push can expire: a week. A device that is not there by then has other news.
pub const PUSH_EXPIRES_MAX: Duration = Duration::from_secs(604_800);
/// Weight of a push among those that share a rate.
pub const PUSH_WEIGHT_MAX: u32 = 1000;
/// Pushes that run at once. Each has a kilobyte and a half of accounts per shard.
pub const PUSHES_RUNNING_MAX: usize = 1000;
/// Pushes that are over and still told about, and for how long.
pub const PUSHES_RECENT_MAX: usize = 1000;
/// See [`PUSHES_RECENT_MAX`]. Within it a push that comes again is known, unless [`PUSH_IDS_SEEN_MAX`] came after it.
pub const PUSH_RECENT_AGE: Duration = Duration::from_secs(3600);
/// Ids of pushes that are remembered: ten a second for most of [`PUSH_RECENT_AGE`], in 8 MiB at most.
pub const PUSH_IDS_SEEN_MAX: usize = 32 * 1024;
/// How often paced pushes are allotted their rates. A change is in force within this and [`PACE_LOOK`].
pub const PACING_EVERY: Duration = Duration::from_millis(20);
/// How often the control thread looks for new pushes while none runs.
pub const PACING_IDLE_EVERY: Duration = Duration::from_millis(50);
/// How old what is shown of a push may be: who looks in quick succession does not cost a turn of all pushes each time.
pub const PUSHES_LOOK_AGE: Duration = Duration::from_millis(5);
/// How often a shard looks at the orders of its pushes, at least, and how short a time it sleeps for one at most: the
/// runtime's timers are good to a millisecond.
pub const PACE_LOOK: Duration = Duration::from_millis(10);
/// See [`PACE_LOOK`].
pub const PACE_STEP: Duration = Duration::from_millis(1);
/// Shards serve a paced push together when each of them gets at least so many devices per second, thousandths: each
/// serves whole devices, and the fewer take turns the more even is the sum.
pub const PACE_SHARD_MILLI_MIN: u64 = 100_000;
/// Memory of batches that wait behind pushes which have a pace or stand still, those of the pushes included. Past it
/// more for such a topic is refused: by HTTP with 429, by Redis it is dropped and told.
pub const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The same for one topic, so that it leaves room to others.
pub const HELD_TOPIC_BYTES_MAX: usize = 32 * 1024 * 1024;
/// What others publish by Redis may exceed both by this much. What this gateway published and accepted is not dropped when
/// it comes back: it exceeds them at most by what [`REDIS_OUTBOX_BYTES_MAX`] becomes with its encodings.
pub const HELD_REDIS_MARGIN: usize = REDIS_OUTBOX_BYTES_MAX;
/// Messages for topics with pushes that run, each once for every topic, that are on their way through Redis or were lost
/// there a moment ago: in 2 MiB. Past it the API answers 429.
pub const RETURNING_MAX: usize = 64 * 1024;
/// Pushes that run for one topic. More are refused, so that one topic does not take all of [`PUSHES_RUNNING_MAX`].
pub const PUSHES_PER_TOPIC_MAX: usize = 250;
/// Items of one `/push/all` or `/push/room`. go-push has no such bound; this one is far above what its callers send,
/// and keeps the bookkeeping of one request below 1 MiB.
pub const PUSH_ITEMS_MAX: usize = 10_000;

/// Time that handshakes under way get when a drain begins: who was accepted is told by a Close frame to come back, and
/// not by 503. A head is one packet; who has sent none by then is no device.
pub const DRAIN_HANDSHAKES: Duration = Duration::from_secs(1);
/// How long after its duration a drain waits for clients to answer.
pub const DRAIN_TAIL: Duration = Duration::from_secs(1);
/// Time over which a drain spreads its closes.
pub const DRAIN_DEFAULT: Duration = Duration::from_secs(10);

/// Prefix of the Redis channels, bytes. With the longest topic behind it a channel's name stays below a kilobyte.
pub const REDIS_PREFIX_BYTES_MAX: usize = 128;
/// Redis: silence after which the session sends PING, and how long it waits for any byte after that.
pub const REDIS_PING_AFTER: Duration = Duration::from_secs(5);
/// See [`REDIS_PING_AFTER`]: a dead peer is noticed within the sum, below 15 s.
pub const REDIS_PONG_WITHIN: Duration = Duration::from_secs(5);
/// Redis: first and longest pause between attempts to connect.
pub const REDIS_BACKOFF_MIN: Duration = Duration::from_millis(100);
/// See [`REDIS_BACKOFF_MIN`].
pub const REDIS_BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Time for one attempt to connect, TLS and AUTH included.
pub const REDIS_CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// Redis: longest pause while nothing answers at its address. An attempt there costs next to nothing, and delivery
/// resumes within this and a round trip or two of the server's return: below a second.
pub const REDIS_BACKOFF_ABSENT_MAX: Duration = Duration::from_millis(500);
/// Redis: a session that stood this long counts as proof that the server is well; the pauses start over.
pub const REDIS_WELL_AFTER: Duration = Duration::from_secs(5);
/// Redis: how long one attempt waits for a name to be resolved when it knows addresses from an earlier time.
pub const REDIS_RESOLVE_PATIENCE: Duration = Duration::from_secs(1);
/// Redis: bytes of publishes that are written before replies are looked at. It allows 20 MB/s at 50 ms.
pub const REDIS_WINDOW_BYTES: usize = 1024 * 1024;
/// Redis: bytes that one read can take, and about as many as one write gives.
pub const REDIS_IO_BYTES: usize = 64 * 1024;

/// Redis: addresses of one host name that an attempt tries, each with an equal share of its time.
pub const REDIS_ADDRESSES_MAX: usize = 8;
/// Redis: the least time a session looks at its socket before it believes that a deadline has passed. A thread that
/// was held up itself finds every deadline passed, and the answers waiting.
pub const REDIS_LOOK: Duration = Duration::from_millis(50);
/// Redis: time after which a mark that Redis has published is missed on the subscription, and Redis is asked there. The mark
/// comes with the answer; a replica behind the subscription gets it a little later.
pub const REDIS_MARK_PATIENCE: Duration = Duration::from_secs(1);
/// Redis: pause before it is given again what it could not do for the moment.
pub const REDIS_BUSY_PAUSE: Duration = Duration::from_millis(100);
/// How long a thread may neither work nor wait for anything before it is stuck. A turn of a loop takes milliseconds, and
/// the slowest thing that one does in a piece, freeing the memory of a million connections, about a second.
pub const THREAD_STUCK_AFTER: Duration = Duration::from_secs(10);
/// Log lines that wait to be written: a burst of a second of 1,000 handshakes with four lines each. Costs 96 KiB.
pub const LOG_QUEUE_LINES_MAX: usize = 4096;
/// Bytes of log lines that wait to be written, as allocated: 250 a line.
pub const LOG_QUEUE_BYTES_MAX: usize = 1024 * 1024;
/// A log line that is longer is cut: the longest are lists of problems with a configuration.
pub const LOG_LINE_BYTES_MAX: usize = 16 * 1024;
/// How long the end of the process waits for log lines to be written. What standard error takes at all it takes sooner.
pub const LOG_FLUSH: Duration = Duration::from_millis(200);
/// Least time between two log lines about the same kind of event.
pub const LOG_QUIET: Duration = Duration::from_secs(10);

/// Records of connections' lives in a shard's ring to the events thread: 1 MiB a shard, and twenty milliseconds of
/// 800,000 a second, which is more than a shard can close.
pub const EVENTS_RING_SLOTS: usize = 16 * 1024;
/// How often the events thread looks at the rings and the queues. A doorbell would cost the shards a fence a record.
pub const EVENTS_POLL: Duration = Duration::from_millis(20);
/// The same while a ring still has more than was taken.
pub const EVENTS_POLL_BUSY: Duration = Duration::from_millis(1);
/// Records that the events thread takes from one ring before it looks at the next.
pub const EVENTS_TURN: usize = 4096;
/// At the end of a drain: time in which receivers can still take the last events. With the drain's own duration and
/// tail it stays below the service manager's patience.
pub const EVENTS_FLUSH: Duration = Duration::from_secs(3);
/// Events of one batch; one request of the webhook, one message of the channel.
pub const EVENTS_BATCH_DEFAULT: usize = 500;
/// Bytes of one batch. An event has about 250.
pub const EVENTS_BATCH_BYTES_DEFAULT: usize = 256 * 1024;
/// Age of the oldest event at which a batch leaves that is not full.
pub const EVENTS_DELAY_DEFAULT: Duration = Duration::from_millis(200);
/// Bytes of events that wait for one receiver: about 60,000.
pub const EVENTS_QUEUE_BYTES_DEFAULT: usize = 16 * 1024 * 1024;
/// Entries that the Redis stream keeps, about.
pub const EVENTS_STREAM_DEFAULT: u64 = 1_000_000;
/// Time for one request to the webhook.
pub const EVENTS_WEBHOOK_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// Bytes of the webhook's answer that are read, so that the connection can be used again.
pub const EVENTS_ANSWER_BYTES_MAX: u64 = 16 * 1024;
/// Rules of `[[pacing.topic]]`. Each topic that gets its state is held against all of them.
pub const PACING_TOPICS_MAX: usize = 100;

/// How often the configuration file is looked at. It is read when two looks have found the same: who saves it in pieces
/// is done by then. A saved file is in force within two of these.
pub const CONFIG_LOOK_EVERY: Duration = Duration::from_millis(400);
/// The file of `--config`: the template with every key and comment is a hundredth of it.
pub const CONFIG_FILE_BYTES_MAX: usize = 1024 * 1024;
/// Time for a configuration to come through a pipe at the start: less than what service managers give a start.
pub const CONFIG_PIPE_DEADLINE: Duration = Duration::from_secs(5);
/// Time between two looks whether more of it has come.
pub const CONFIG_PIPE_LOOK: Duration = Duration::from_millis(10);
/// Body of a `PATCH /v1/config`: every key there is fits many times.
pub const CONFIG_PATCH_BYTES_MAX: usize = 64 * 1024;
/// Questions about the configuration that wait for the main thread; one more is answered 429.
pub const CONFIG_PROPOSALS_MAX: usize = 16;
/// Time for a changed configuration to reach every shard. A shard's turn takes milliseconds.
pub const CONFIG_DEADLINE: Duration = Duration::from_secs(5);

/// Time that a start waits for its addresses: the kernel holds the sockets of a killed process for some milliseconds, on a
/// busy machine for some hundred. Whoever really listens there is named by then.
pub const BIND_PATIENCE: Duration = Duration::from_secs(2);
/// Processes, and descriptors of each, that are looked at for who has an address.
pub const HOLDERS_MAX: usize = 65_536;

/// Servers of one etcd cluster.
pub const ETCD_ENDPOINTS_MAX: usize = 16;
/// Prefix of etcd's keys, bytes.
pub const ETCD_PREFIX_BYTES_MAX: usize = 128;
/// Keys below etcd's prefix: every key of ours a hundred times. With more, the prefix is somebody else's too.
pub const ETCD_KEYS_MAX: usize = 8192;
/// Bytes of their names, of our keys' values, and of what holds them. One value may have 1.5 MiB by etcd's default.
pub const ETCD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Keys that etcd is asked for at once: all of ours.
pub const ETCD_PAGE_KEYS: usize = 256;
/// Pause before the next read, where etcd has more below the prefix than is read.
pub const ETCD_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// Time for etcd to answer.
pub const ETCD_DEADLINE: Duration = Duration::from_secs(5);
/// Silence of etcd after which it is asked whether it is there; its servers refuse to be asked more often than each 5 s.
pub const ETCD_PING_AFTER: Duration = Duration::from_secs(10);

/// Bytes that `fanfare doctor` reads of one file. The largest, a process's status, has a few kilobytes on a large machine.
pub const HOST_FILE_BYTES_MAX: u64 = 64 * 1024;
/// Entries that it looks at in one directory: network devices, or the queues of one.
pub const HOST_ENTRIES_MAX: usize = 1024;
/// CPUs that it believes in: the most that Linux can be built for.
pub const HOST_CPUS_MAX: usize = 8192;
/// Cgroups on the way to the root.
pub const HOST_CGROUP_DEPTH_MAX: usize = 64;
/// Connections that it asks the host for unless told otherwise: more than an untuned host holds with two shards.
pub const DOCTOR_CONNECTIONS_DEFAULT: u64 = 100_000;

/// A server-sent event that the client commands take. A push's account names up to [`PUSH_TOPICS_MAX`] topics.
pub const SSE_EVENT_BYTES_MAX: usize = 256 * 1024;
/// The same account as the answer to a request, 1,000 and more of them in a list; the metrics of 256 shards.
pub const CLIENT_ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Standard input of `fanfare push -`: above what a push's body may have by default.
pub const CLIENT_INPUT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Time for the gateway to answer a client command, and silence of a stream of events after which it counts as gone.
pub const CLIENT_DEADLINE: Duration = Duration::from_secs(10);
/// The same of `fanfare top`: somebody who presses q waits for at most this.
pub const TOP_DEADLINE: Duration = Duration::from_secs(2);
/// How long a client command reads before it looks whether somebody wants it to stop.
pub const CLIENT_LOOK: Duration = Duration::from_millis(300);

/// A line of RESP: heads and error texts. Redis' longest are a few hundred bytes.
pub const RESP_LINE_BYTES_MAX: usize = 4 * 1024;
/// Elements of a RESP reply, those of its inner arrays included. A message has four; the answer to HELLO fourteen, and
/// about ten for each module; that to ROLE four for each replica.
pub const RESP_ELEMENTS_MAX: usize = 1024;
/// RESP arrays within each other. The answer to HELLO has a list of modules with lists of arguments.
pub const RESP_DEPTH_MAX: usize = 6;
/// A RESP bulk string that is skipped instead of taken for nonsense: what the protocol allows.
pub const RESP_BULK_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Replies below this are copied out of the read buffer, so that a message that waits for long does not hold
/// [`REDIS_IO_BYTES`]; larger ones too, unless the block that they were read into has little else.
pub const RESP_COPY_BELOW: usize = 16 * 1024;

const _: () = assert!(MERGE_BYTES_DEFAULT <= ROUND_BYTES_MAX);
const _: () = assert!(ROUND_BYTES_MAX < OUTBOX_BYTES_DEFAULT);
const _: () = assert!(MESSAGE_BYTES_MAX < OUTBOX_BYTES_DEFAULT);
const _: () = assert!(MESSAGE_BYTES_MAX <= BACKLOG_BYTES_MAX);
const _: () = assert!(BACKLOG_BYTES_MAX <= RING_BYTES_MAX);
const _: () = assert!(BACKLOG_BYTES_MAX < HELD_BYTES_MAX);
const _: () = assert!(MESSAGE_BYTES_MAX < HELD_TOPIC_BYTES_MAX);
const _: () = assert!(HELD_TOPIC_BYTES_MAX + HELD_REDIS_MARGIN < HELD_BYTES_MAX);
const _: () = assert!(PUSHES_PER_TOPIC_MAX < PUSHES_RUNNING_MAX);
const _: () = assert!(MESSAGE_BYTES_MAX < REDIS_INBOX_BYTES_MAX);
const _: () = assert!(PACE_STEP.as_micros() < PACE_LOOK.as_micros());
const _: () = assert!(
    PACING_EVERY.as_millis() + PACE_LOOK.as_millis() < 100,
    "a change of rate is in force within 100 ms"
);
const _: () = assert!(PUSHES_RUNNING_MAX <= PUSH_IDS_SEEN_MAX);
const _: () = assert!(MESSAGE_BYTES_MAX + TOPIC_BYTES_MAX + 1024 < REDIS_OUTBOX_BYTES_MAX);
const _: () = assert!(ROUND_BYTES_MAX < KERNEL_UNSENT_BYTES as usize);
const _: () = assert!(TOPIC_BYTES_MAX < *UPGRADE_HEAD_BYTES.start());
const _: () = assert!(UPGRADE_HEAD_BYTES_DEFAULT <= *UPGRADE_HEAD_BYTES.end());
const _: () = assert!(*UPGRADE_HEAD_BYTES.end() < *HANDSHAKE_BYTES.start());
const _: () = assert!(HANDSHAKE_BYTES_DEFAULT <= *HANDSHAKE_BYTES.end());
const _: () = assert!(MESSAGE_BYTES_MAX < API_BODY_BYTES_DEFAULT);
const _: () = assert!(2 * API_BODY_BYTES_DEFAULT <= API_BODIES_BYTES_MAX);
const _: () =
    assert!(4 * API_HEAD_BYTES_MAX <= API_BYTES_FREE, "a head and what was read with it need no room");
const _: () = assert!(API_CHUNK_LINE_BYTES_MAX < API_HEAD_BYTES_MAX);
const _: () = assert!(3 * TOPIC_BYTES_MAX < API_HEAD_BYTES_MAX);
const _: () = assert!(PUSH_MESSAGES_MAX <= PUSH_ITEMS_MAX);
const _: () = assert!(DOWNLINKS_PER_TURN <= RING_SLOTS);
const _: () = assert!(CONNECTIONS_PER_SHARD_MAX.is_multiple_of(TABLE_CHUNK));
const _: () = assert!(REDIS_BACKOFF_MIN.as_millis() < REDIS_BACKOFF_ABSENT_MAX.as_millis());
const _: () = assert!(REDIS_BACKOFF_ABSENT_MAX.as_millis() < REDIS_BACKOFF_MAX.as_millis());
const _: () = assert!(REDIS_PING_AFTER.as_secs() + REDIS_PONG_WITHIN.as_secs() < 15);
const _: () = assert!(MESSAGE_BYTES_MAX as u64 <= RESP_BULK_BYTES_MAX);
const _: () = assert!(REDIS_WINDOW_BYTES < REDIS_OUTBOX_BYTES_MAX);
const _: () = assert!(RESP_COPY_BELOW < REDIS_IO_BYTES);
const _: () = assert!(EVENTS_TURN <= EVENTS_RING_SLOTS);
const _: () = assert!(DOOR_CROWD < DOOR_FULL && DOOR_PAUSE.as_millis() < TICK.as_millis());
const _: () = assert!(EVENTS_BATCH_BYTES_DEFAULT < EVENTS_QUEUE_BYTES_DEFAULT);
const _: () = assert!(OUTBOX_BYTES_DEFAULT < OUTBOX_TOTAL_BYTES_DEFAULT);
const _: () = assert!(CLIENT_MESSAGE_BYTES_DEFAULT < PARTIAL_BYTES_DEFAULT);
const _: () = assert!(FIRST_READ_BYTES < SCRATCH_BYTES);
const _: () = assert!(INPUT_LIGHT_COST < INPUT_CONNECTION_COST && INPUT_CONNECTION_COST < INPUT_HELD_COST);
const _: () = assert!(
    EVENTS_PER_TURN as u32 * (COST_READ + COST_FRAME + COST_MESSAGE + COST_ANSWER) <= INPUT_TURN_COST
);
const _: () = assert!(OWN_PAUSE.as_millis() > TICK.as_millis());
const _: () = assert!(EVENTS_POLL.as_millis() < TICK.as_millis());
const _: () = assert!(2 * LOG_LINE_BYTES_MAX < LOG_QUEUE_BYTES_MAX);
