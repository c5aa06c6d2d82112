//! Every bound of the gateway: its value, its unit, and why it is what it is.
//!
//! What an operator may change has its default here too and its range in `config`; what is not configurable is
//! a constant because changing it would change the design, not the deployment. *Not here*: who enforces a bound.

use std::time::Duration;

/// Shards of one process. More than this many cores has never been a machine that one gateway ran on.
pub const SHARDS_MAX: usize = 256;

/// One published message, bytes of payload. Above it a publisher is told 413, a Redis message is counted and refused.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// A topic's name, bytes. Long enough for two UUIDs and a separator, short enough for a map key.
pub const TOPIC_BYTES_MAX: usize = 256;

/// Topics with state in the ingest core. A topic costs about 150 bytes there; idle ones are forgotten first.
pub const TOPICS_MAX: usize = 1 << 20;

/// Merger defaults: go-push's count; a size that one send moves at the kernel's best rate; a delay nobody notices.
pub const MERGE_MESSAGES_DEFAULT: usize = 100;
/// See [`MERGE_MESSAGES_DEFAULT`].
pub const MERGE_BYTES_DEFAULT: usize = 32 * 1024;
/// See [`MERGE_MESSAGES_DEFAULT`].
pub const MERGE_DELAY_DEFAULT: Duration = Duration::from_millis(10);

/// Bytes of one fanout round: waiting batches of an address are joined up to here. Throughput is flat above 64 KiB
/// (1.4 GB/s a core), and a round of 10,000 members at this size stays below two seconds.
pub const ROUND_BYTES_MAX: usize = 256 * 1024;

/// Downlinks in a shard's ring. At 100 batches a second and address this is seconds of traffic, in 64 KiB of slots.
pub const RING_SLOTS: usize = 4096;
/// Bytes of payload in a shard's ring. Past it the ingest core stops reading its sources.
pub const RING_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Bytes of batches that a shard has taken from its ring and not finished. Past it the shard leaves them in the ring.
pub const BACKLOG_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Publish requests from the HTTP API that wait for the ingest core.
pub const PUBLISH_SLOTS: usize = 1024;

/// Messages from Redis that wait for the ingest core's loop. Past it the session stops reading its socket.
pub const REDIS_INBOX_MESSAGES_MAX: usize = 4096;

/// Publishes on their way to Redis. Past it the API answers 429.
pub const REDIS_OUTBOX_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes that one slow connection may owe its client.
pub const OUTBOX_BYTES_DEFAULT: usize = 1024 * 1024;
/// How long the oldest byte may wait.
pub const OUTBOX_AGE_DEFAULT: Duration = Duration::from_secs(30);

/// A connection that was told to close gets this long to take the Close frame and answer it; then it is reset.
pub const CLOSE_GRACE: Duration = Duration::from_secs(30);

/// A client's message, bytes, fragments joined. Devices send PING and JOIN; nothing they say is long.
pub const CLIENT_MESSAGE_BYTES_DEFAULT: usize = 64 * 1024;

/// Head of an HTTP upgrade. nginx and Apache refuse above 8 KiB too.
pub const UPGRADE_HEAD_BYTES_MAX: usize = 8 * 1024;
/// Time from accept to the complete head.
pub const UPGRADE_DEADLINE_DEFAULT: Duration = Duration::from_secs(10);
/// Handshakes in flight on one shard. Each holds up to a head's bytes: 64 MiB at most.
pub const HANDSHAKES_DEFAULT: usize = 8 * 1024;

/// Topics that one connection may join (go-push's bound).
pub const TOPICS_PER_CONNECTION_DEFAULT: usize = 5;
/// The most that can be configured: a membership's position among its connection's fits a byte.
pub const TOPICS_PER_CONNECTION_MAX: usize = 200;

/// Silence after which a connection counts as dead (go-push's 60 s).
pub const LIVENESS_DEFAULT: Duration = Duration::from_secs(60);

/// Receive scratch of a shard. One read takes at most this; the rest waits for the next turn of the loop.
pub const SCRATCH_BYTES: usize = 64 * 1024;

/// SENDs of one submission. Eight milliseconds of kernel work: the longest that input and other jobs wait.
pub const SLICE_SENDS: usize = 1024;
/// Downlinks that a shard takes in one turn of its loop.
pub const DOWNLINKS_PER_TURN: usize = 64;
/// Readiness events that a shard handles in one turn of its loop.
pub const EVENTS_PER_TURN: usize = 1024;

/// Connections in one chunk of a shard's table. A chunk is the unit in which memory is taken and given back.
pub const TABLE_CHUNK: usize = 256;
/// Connections of one shard: an index is 24 bits of a request's user data.
pub const CONNECTIONS_PER_SHARD_MAX: usize = 1 << 24;

/// Body of an API request. A publish of the largest message with its JSON escapes fits twice.
pub const API_BODY_BYTES_DEFAULT: usize = 8 * 1024 * 1024;
/// Head of an API request.
pub const API_HEAD_BYTES_MAX: usize = 16 * 1024;
/// API connections at once; one more is answered 503.
pub const API_CONNECTIONS_MAX: usize = 256;
/// Header fields of an API request. A browser behind two proxies sends about 30.
pub const API_HEADERS_MAX: usize = 64;
/// A line that announces a chunk: 16 digits and an extension that nobody sends.
pub const API_CHUNK_LINE_BYTES_MAX: usize = 256;
/// API connections above [`API_CONNECTIONS_MAX`] that are being told so; the next ones are closed without a word.
pub const API_REFUSALS_MAX: usize = 64;
/// Time for one API request to arrive whole, and for its answer to leave.
pub const API_READ_DEADLINE: Duration = Duration::from_secs(10);
/// Silence between two requests of a connection. Longer than the pools of common HTTP clients keep one.
pub const API_IDLE_DEADLINE: Duration = Duration::from_secs(60);
/// After a last answer, time in which what the client still sends is read and dropped: closing with bytes unread
/// resets the connection, and the reset can overtake the answer.
pub const API_LINGER: Duration = Duration::from_secs(1);
/// Time for the ingest core and every shard to answer a census. A shard's turn takes milliseconds.
pub const API_CENSUS_DEADLINE: Duration = Duration::from_secs(2);
/// Pause of the accept loop after it failed: EMFILE does not go away by trying again at once.
pub const API_ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Topics of one `/v1/push`.
pub const PUSH_TOPICS_MAX: usize = 100;
/// Messages of one `/v1/push`.
pub const PUSH_MESSAGES_MAX: usize = 1000;
/// Items of one `/push/all` or `/push/room`. go-push has no such bound; this one is far above what its callers send,
/// and keeps the bookkeeping of one request below 1 MiB.
pub const PUSH_ITEMS_MAX: usize = 10_000;

/// Time over which a drain spreads its closes.
pub const DRAIN_DEFAULT: Duration = Duration::from_secs(10);

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

const _: () = assert!(MERGE_BYTES_DEFAULT <= ROUND_BYTES_MAX);
const _: () = assert!(ROUND_BYTES_MAX < OUTBOX_BYTES_DEFAULT);
const _: () = assert!(MESSAGE_BYTES_MAX <= BACKLOG_BYTES_MAX);
const _: () = assert!(BACKLOG_BYTES_MAX <= RING_BYTES_MAX);
const _: () = assert!(MESSAGE_BYTES_MAX < REDIS_OUTBOX_BYTES_MAX);
const _: () = assert!(UPGRADE_HEAD_BYTES_MAX < SCRATCH_BYTES);
const _: () = assert!(TOPIC_BYTES_MAX < UPGRADE_HEAD_BYTES_MAX);
const _: () = assert!(MESSAGE_BYTES_MAX < API_BODY_BYTES_DEFAULT);
const _: () = assert!(API_CHUNK_LINE_BYTES_MAX < API_HEAD_BYTES_MAX);
const _: () = assert!(3 * TOPIC_BYTES_MAX < API_HEAD_BYTES_MAX);
const _: () = assert!(PUSH_MESSAGES_MAX <= PUSH_ITEMS_MAX);
const _: () = assert!(DOWNLINKS_PER_TURN <= RING_SLOTS);
const _: () = assert!(CONNECTIONS_PER_SHARD_MAX.is_multiple_of(TABLE_CHUNK));
