//! The conversation with etcd: connect, read what is not known, watch the rest.
//!
//! The client brings tokio; its runtime stays on the calling thread, but for the one thread that it may start to resolve a
//! host name. *Not here*: what is known (`mirror`).

use std::sync::Arc;
use std::time::Instant;

use etcd_client::{Client, ConnectOptions, EventType, GetOptions, TlsOptions, WatchOptions, WatchResponse};
use tokio::time::{sleep, timeout};

use super::Mailbox;
use super::mirror::{Event, Mirror, Next, Said};
use crate::config::Etcd;
use crate::limits::{ETCD_DEADLINE, ETCD_KEYS_MAX, ETCD_PING_AFTER, LOG_QUIET};
use crate::metrics::Blocks;
use crate::redis::backoff::{Backoff, Pace};

/// What the thread is given.
pub struct Seat {
    /// Where, as whom, below which prefix.
    pub etcd: Etcd,
    /// Where snapshots go.
    pub mailbox: Arc<Mailbox>,
    /// Ends the main thread's wait.
    pub wake: Box<dyn Fn() + Send>,
    /// Every counter of the process; this thread writes `etcd`.
    pub blocks: Arc<Blocks>,
    /// For the pauses between attempts.
    pub seed: u64,
}

/// Why a session is over.
#[derive(Debug)]
enum End {
    /// etcd does not answer, or no longer.
    Gone(String),
    /// It has answered, and a person has to change something.
    Refused(String),
    /// What is known cannot be continued.
    Read(&'static str),
}

impl From<etcd_client::Error> for End {
    fn from(error: etcd_client::Error) -> Self {
        // gRPC's numbers: invalid argument, permission denied, failed precondition, unauthenticated.
        let is_refusal = matches!(&error, etcd_client::Error::GRpcStatus(status)
            if matches!(i32::from(status.code()), 3 | 7 | 9 | 16));
        if is_refusal { Self::Refused(error.to_string()) } else { Self::Gone(error.to_string()) }
    }
}

/// Keeps up with etcd for as long as the process lives. An error is the kernel's.
pub fn run(seat: &Seat) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(1)
        .thread_name("etcd-resolver")
        .build()
        .map_err(|error| format!("cannot create the etcd client's runtime: {error}"))?;
    runtime.block_on(keep_up(seat))
}

async fn keep_up(seat: &Seat) -> Result<(), String> {
    let mut mirror = Mirror::new(&seat.etcd.prefix);
    let mut backoff = Backoff::new(seat.seed);
    let mut told: Option<Instant> = None;
    loop {
        let mut stood = None;
        // The client's futures are large; the thread's stack need not hold them.
        let end = Box::pin(converse(seat, &mut mirror, &mut stood)).await.unwrap_or_else(|end| end);
        seat.blocks.etcd.connected.set(0);
        let pace = match end {
            End::Read(why) => {
                tracing::warn!("etcd: {why}: everything is read again");
                Pace::Absent
            }
            End::Gone(why) | End::Refused(why)
                if told.is_some_and(|told| told.elapsed() < LOG_QUIET) && stood.is_none() =>
            {
                seat.blocks.etcd.connect_errors.add(1);
                tracing::debug!("etcd: {why}");
                Pace::Absent
            }
            End::Gone(why) => {
                seat.blocks.etcd.connect_errors.add(1);
                tracing::warn!("etcd: {why}; what is in force stays, and it is tried again");
                told = Some(Instant::now());
                Pace::Absent
            }
            End::Refused(why) => {
                seat.blocks.etcd.connect_errors.add(1);
                tracing::error!(
                    "etcd: {why}; what is in force stays: look at etcd.user, its password and its roles"
                );
                told = Some(Instant::now());
                Pace::Refused
            }
        };
        if let Some(stood) = stood {
            backoff.stood(Instant::elapsed(&stood));
        }
        sleep(backoff.pause(pace)).await;
    }
}

/// One connection, from its begin to its end. `stood` is when the watch began to stand.
async fn converse(seat: &Seat, mirror: &mut Mirror, stood: &mut Option<Instant>) -> Result<End, End> {
    let mut client =
        in_time(Box::pin(Client::connect(&seat.etcd.endpoints, Some(options(&seat.etcd))))).await?;
    let known = match mirror.known() {
        Some(known) => known.revision,
        None => Box::pin(read(seat, mirror, &mut client)).await?,
    };
    let options = WatchOptions::new().with_prefix().with_start_revision(known + 1).with_progress_notify();
    let mut stream = in_time(Box::pin(client.watch(seat.etcd.prefix.as_str(), Some(options)))).await?;
    loop {
        // The transport's own pings end a stream whose other end is gone.
        let Some(response) = stream.message().await? else {
            return Ok(End::Gone("the watch has ended".into()));
        };
        let cluster = response.header().map_or(0, etcd_client::ResponseHeader::cluster_id);
        let said = said_by(&response)?;
        if let Said::Created { revision } = said {
            tracing::info!("etcd: connected at revision {revision}");
            *stood = Some(Instant::now());
            seat.blocks.etcd.connected.set(1);
        }
        match mirror.take(cluster, said) {
            Next::Watch => {}
            Next::Tell => tell(seat, mirror),
            Next::Read(why) => return Ok(End::Read(why)),
        }
        let revision = mirror.known().map_or(0, |known| known.revision);
        seat.blocks.etcd.revision.set(revision.cast_unsigned());
    }
}

/// Reads everything; the revision of it.
async fn read(seat: &Seat, mirror: &mut Mirror, client: &mut Client) -> Result<i64, End> {
    // One more than there may be tells that there are too many.
    let options = GetOptions::new().with_prefix().with_limit((ETCD_KEYS_MAX + 1).cast_signed() as i64);
    let mut answer = in_time(Box::pin(client.get(seat.etcd.prefix.as_str(), Some(options)))).await?;
    let header = answer.take_header().ok_or_else(|| End::Gone("an answer without a header".into()))?;
    let entries = answer.take_kvs().into_iter().map(etcd_client::KeyValue::into_key_value);
    mirror.read(header.cluster_id(), header.revision(), entries);
    seat.blocks.etcd.reads.add(1);
    seat.blocks.etcd.revision.set(header.revision().cast_unsigned());
    tell(seat, mirror);
    Ok(header.revision())
}

fn tell(seat: &Seat, mirror: &Mirror) {
    if let Some(known) = mirror.known() {
        seat.mailbox.put(known.clone());
        (seat.wake)();
    }
}

fn said_by(response: &WatchResponse) -> Result<Said, End> {
    let revision = response.header().map_or(0, etcd_client::ResponseHeader::revision);
    if response.compact_revision() > 0 {
        return Ok(Said::Compacted);
    }
    if response.canceled() {
        return Err(End::Refused(format!("the watch was cancelled: {}", response.cancel_reason())));
    }
    if response.created() {
        return Ok(Said::Created { revision });
    }
    if response.events().is_empty() {
        return Ok(Said::Progress { revision });
    }
    let events = response.events().iter().filter_map(|event| {
        let kv = event.kv()?;
        let value = (event.event_type() == EventType::Put).then(|| kv.value().to_vec());
        Some(Event { name: kv.key().to_vec(), value, revision: kv.mod_revision() })
    });
    Ok(Said::Changed(events.collect()))
}

fn options(etcd: &Etcd) -> ConnectOptions {
    let mut options = ConnectOptions::new()
        .with_connect_timeout(ETCD_DEADLINE)
        .with_keep_alive(ETCD_PING_AFTER, ETCD_DEADLINE)
        .with_keep_alive_while_idle(true)
        // A member that the others have lost would keep the watch and hear of no change.
        .with_require_leader(true);
    if etcd.endpoints.iter().any(|endpoint| endpoint.starts_with("https")) {
        options = options.with_tls(TlsOptions::new().with_enabled_roots());
    }
    match &etcd.password {
        Some(password) => options.with_user(&etcd.user, password.expose()),
        None => options,
    }
}

async fn in_time<T>(asked: impl Future<Output = Result<T, etcd_client::Error>>) -> Result<T, End> {
    match timeout(ETCD_DEADLINE, asked).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(End::Gone(format!("no answer in {} s", ETCD_DEADLINE.as_secs()))),
    }
}
