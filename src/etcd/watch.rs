//! The conversation with etcd: connect, read everything, watch what changes.
//!
//! A read that is not whole is told as that, once, and repeated until it is whole; nothing is watched meanwhile, and what
//! was known before stays in force.
//!
//! The client brings tokio; its runtime stays on the calling thread, but for the one thread that it may start to resolve a
//! host name. *Not here*: a read (`reading`), what is known (`mirror`).

use std::sync::Arc;
use std::time::Instant;

use etcd_client::{
    Client, ConnectOptions, EventType, GetOptions, GetResponse, TlsOptions, WatchOptions, WatchResponse,
};
use tokio::time::{sleep, timeout};

use super::Mailbox;
use super::mirror::{KeyEvent, Mirror, Next, Said};
use super::reading::{Page, Reading, Step};
use crate::config::Etcd;
use crate::config::snapshot::Snapshot;
use crate::log::throttle::Throttle;
use crate::metrics::Blocks;
use crate::redis::backoff::{Backoff, RetryPace};
use fanfare_core::limits::{ETCD_AGAIN_AFTER, ETCD_DEADLINE, ETCD_PING_AFTER};

/// What the thread is given.
pub struct WatchSetup {
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
    /// There is more than is read.
    Incomplete(String),
    /// One answer is larger than the client takes.
    TooLarge,
}

/// What the main thread was told last, so that it is not told the same again.
#[derive(Debug, Default)]
struct Told(Option<Snapshot>);

/// Lines that an etcd that comes and goes can repeat.
#[derive(Debug)]
struct Lines {
    failed: Throttle,
    broken: Throttle,
    again: Throttle,
    connected: Throttle,
}

impl Default for Lines {
    fn default() -> Self {
        let [broken, again, connected] = [(); 3].map(|()| Throttle::letting(5));
        Self { failed: Throttle::default(), broken, again, connected }
    }
}

impl Lines {
    /// An attempt failed, or a watch that stood broke: how many it stands for, if it is told.
    fn broken(&mut self, stood: bool) -> Option<u64> {
        if stood { self.broken.event(Instant::now()) } else { self.failed.event(Instant::now()) }
    }

    fn read_again(&mut self, why: &str) {
        if let Some(times) = self.again.event(Instant::now()) {
            tracing::warn!(times, "etcd: {why}: everything is read again");
        }
    }
}

impl End {
    /// How soon the next attempt may come, whether or not this one is told.
    fn pace(&self) -> RetryPace {
        match self {
            Self::Refused(_) => RetryPace::Refused,
            Self::Gone(_) | Self::Read(_) | Self::Incomplete(_) | Self::TooLarge => RetryPace::Absent,
        }
    }
}

impl From<etcd_client::Error> for End {
    fn from(error: etcd_client::Error) -> Self {
        let etcd_client::Error::GRpcStatus(status) = &error else { return Self::Gone(error.to_string()) };
        // gRPC's numbers: invalid argument, permission denied, out of range, failed precondition, unauthenticated.
        match i32::from(status.code()) {
            3 | 7 | 9 | 16 => Self::Refused(error.to_string()),
            11 if status.message().contains("compacted") => Self::Read("what was being read is compacted"),
            11 if status.message().contains("too large") => Self::TooLarge,
            _ => Self::Gone(error.to_string()),
        }
    }
}

/// Keeps up with etcd for as long as the process lives. An error is the kernel's.
pub fn run(setup: &WatchSetup) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(1)
        .thread_name("etcd-resolver")
        .build()
        .map_err(|error| format!("cannot create the etcd client's runtime: {error}"))?;
    runtime.block_on(keep_up(setup))
}

async fn keep_up(setup: &WatchSetup) -> Result<(), String> {
    let mut mirror = Mirror::new(&setup.etcd.prefix);
    let mut backoff = Backoff::new(setup.seed);
    let mut last = Told::default();
    let mut lines = Lines::default();
    loop {
        let mut stood = None;
        // The client's futures are large; the thread's stack need not hold them.
        let end = Box::pin(converse(setup, &mut mirror, &mut last, &mut lines, &mut stood))
            .await
            .unwrap_or_else(|end| end);
        mirror.forget();
        setup.blocks.etcd.connected.set(0);
        let pace = end.pace();
        match end {
            End::Incomplete(why) => {
                setup.blocks.etcd.incomplete.set(1);
                let prefix = setup.etcd.prefix.clone();
                last.tell(setup, Snapshot { prefix, incomplete: Some(why), ..Snapshot::default() });
                sleep(ETCD_AGAIN_AFTER).await;
                continue;
            }
            End::Read(why) => {
                lines.read_again(why);
            }
            // Of a watch: changes that are more than one answer holds. What they came to is read.
            End::TooLarge => {
                lines.read_again("more has changed at once than one answer holds");
            }
            End::Gone(why) => {
                setup.blocks.etcd.connect_errors.add(1);
                if let Some(times) = lines.broken(stood.is_some()) {
                    tracing::warn!(times, "etcd: {why}; what is in force stays, and it is tried again");
                } else {
                    tracing::debug!("etcd: {why}");
                }
            }
            End::Refused(why) => {
                setup.blocks.etcd.connect_errors.add(1);
                if let Some(times) = lines.broken(stood.is_some()) {
                    tracing::error!(
                        times,
                        "etcd: {why}; what is in force stays: look at etcd.user, its password and its roles"
                    );
                } else {
                    tracing::debug!("etcd: {why}");
                }
            }
        }
        if let Some(stood) = stood {
            backoff.stood(Instant::elapsed(&stood));
        }
        sleep(backoff.pause(pace)).await;
    }
}

/// One connection, from its begin to its end. `stood` is when the watch began to stand.
async fn converse(
    setup: &WatchSetup,
    mirror: &mut Mirror,
    last: &mut Told,
    lines: &mut Lines,
    stood: &mut Option<Instant>,
) -> Result<End, End> {
    let mut client =
        in_time(Box::pin(Client::connect(&setup.etcd.endpoints, Some(options(&setup.etcd))))).await?;
    let (cluster, snapshot) = Box::pin(read(setup, &mut client)).await?;
    let known = snapshot.revision;
    mirror.read(cluster, snapshot.clone());
    last.tell(setup, snapshot);
    let options = WatchOptions::new().with_prefix().with_start_revision(known + 1).with_progress_notify();
    let mut stream = in_time(Box::pin(client.watch(setup.etcd.prefix.as_str(), Some(options)))).await?;
    loop {
        // The transport's own pings end a stream whose other end is gone.
        let Some(response) = stream.message().await? else {
            return Ok(End::Gone("the watch has ended".into()));
        };
        let cluster = response.header().map_or(0, etcd_client::ResponseHeader::cluster_id);
        let said = said_by(&response)?;
        if let Said::Created { revision } = said {
            if let Some(times) = lines.connected.event(Instant::now()) {
                tracing::info!(times, "etcd: connected at revision {revision}");
            }
            *stood = Some(Instant::now());
            setup.blocks.etcd.connected.set(1);
        }
        match mirror.take(cluster, said) {
            Next::Watch => {}
            Next::Tell => last.tell(setup, mirror.known().cloned().unwrap_or_default()),
            Next::Read(why) => return Ok(End::Read(why)),
        }
        let revision = mirror.known().map_or(0, |known| known.revision);
        setup.blocks.etcd.revision.set(revision.cast_unsigned());
    }
}

/// Reads everything below the prefix, at one revision: the cluster, and what stands there.
async fn read(setup: &WatchSetup, client: &mut Client) -> Result<(u64, Snapshot), End> {
    let mut reading = Reading::new(&setup.etcd.prefix);
    loop {
        let question = reading.question();
        let options = GetOptions::new()
            .with_range(question.to)
            .with_limit(question.keys.cast_signed() as i64)
            .with_revision(question.revision.unwrap_or(0));
        let step = match in_time(Box::pin(client.get(question.from, Some(options)))).await {
            Ok(answer) => reading.take(page(answer)?),
            Err(End::TooLarge) => reading.too_large(),
            Err(end) => return Err(end),
        };
        match step {
            Step::Ask => {}
            Step::Whole => break,
            Step::Incomplete(why) => return Err(End::Incomplete(why)),
            Step::Anew(why) => return Err(End::Read(why)),
        }
    }
    let (cluster, snapshot) = reading.finish();
    setup.blocks.etcd.reads.add(1);
    setup.blocks.etcd.incomplete.set(0);
    setup.blocks.etcd.revision.set(snapshot.revision.cast_unsigned());
    Ok((cluster, snapshot))
}

fn page(mut answer: GetResponse) -> Result<Page, End> {
    let header = answer.take_header().ok_or_else(|| End::Gone("an answer without a header".into()))?;
    Ok(Page {
        cluster: header.cluster_id(),
        revision: header.revision(),
        more: answer.more(),
        count: answer.count(),
        entries: answer.take_kvs().into_iter().map(etcd_client::KeyValue::into_key_value).collect(),
    })
}

impl Told {
    /// Tells the main thread, unless it was told the same last. A revision alone is no news.
    fn tell(&mut self, setup: &WatchSetup, snapshot: Snapshot) {
        let is_same = self
            .0
            .as_ref()
            .is_some_and(|last| last.entries == snapshot.entries && last.incomplete == snapshot.incomplete);
        if !is_same {
            self.0 = Some(snapshot.clone());
            setup.mailbox.put(snapshot);
            (setup.wake)();
        }
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
        Some(KeyEvent { name: kv.key().to_vec(), value, revision: kv.mod_revision() })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_tried_again_late_whether_or_not_it_is_told_and_anything_else_soon() {
        assert_eq!(End::Refused("permission denied".into()).pace(), RetryPace::Refused);
        for end in [End::Gone("gone".into()), End::Read("compacted"), End::TooLarge] {
            assert_eq!(end.pace(), RetryPace::Absent, "{end:?}");
        }
    }
}
