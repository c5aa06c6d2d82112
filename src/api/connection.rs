//! One API connection: its reads, its writes, its deadlines. It parses nothing.
//!
//! The connection's task owns the socket and what has arrived on it; it ends with an answer that closes, a deadline, the
//! client, or because it gives way. *Not here*: where requests begin and end (`inbound`), what to answer (`routes`), who gives
//! way (`table`).

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use monoio::BufResult;
use monoio::buf::IoBuf;
use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt, CancelableAsyncReadRent, Canceller};
use monoio::net::TcpStream;
use monoio::time::{sleep, timeout};

use crate::api::answer::Answer;
use crate::api::head::Method;
use crate::api::inbound::{Inbound, Step};
use crate::api::outcome::Later;
use crate::api::pushes::{self, Progress};
use crate::api::refusal::{Code, Refusal};
use crate::api::response::{self, After, CONTINUE, Response};
use crate::api::routes;
use crate::api::slots::{Displaced, Slot};
use crate::api::state::Api;
use crate::api::table::Phase;
use crate::sys::memory;
use fanfare_core::limits::{
    API_BODIES_BYTES_MAX, API_BODY_BYTES_DEFAULT, API_BYTES_FREE, API_CONNECTIONS_MAX, API_PIPELINED_MAX,
    API_PROGRESS_LOOK, API_STREAMS_MAX,
};

/// Bytes of one read.
const READ_BYTES: usize = 16 * 1024;
const _: () = assert!(READ_BYTES < API_BODY_BYTES_DEFAULT);

/// After a request as large as this, what it took is given back to the system: the allocator would keep it for this thread.
const LARGE_REQUEST_BYTES: usize = 1024 * 1024;

/// Why there is nothing more to do for a client.
#[derive(Debug)]
struct Gone;

impl From<Displaced> for Gone {
    fn from(_: Displaced) -> Self {
        Self
    }
}

/// Answers the requests of one client until it goes, or is sent away.
pub async fn serve(api: &Api, stream: TcpStream, slot: Slot<'_>) {
    // Answers are small and whole: nothing is gained by waiting for more of them.
    let _ = stream.set_nodelay(true);
    let scratch = Vec::with_capacity(READ_BYTES);
    let mut client = Client {
        api,
        peer: stream.peer_addr().ok(),
        stream,
        slot,
        scratch,
        canceller: Canceller::new(),
        held: 0,
    };
    // An error here is the client's going away: there is nobody to tell.
    let _ = client.requests().await;
}

struct Client<'a> {
    api: &'a Api,
    /// Where the client is, for the log.
    peer: Option<SocketAddr>,
    stream: TcpStream,
    slot: Slot<'a>,
    /// Taken while a read is under way.
    scratch: Vec<u8>,
    /// Ends a read between two requests when the connection gives way.
    canceller: Canceller,
    /// What its request counts for among those that take much.
    held: usize,
}

impl Client<'_> {
    async fn requests(&mut self) -> Result<(), Gone> {
        let mut inbound = Inbound::default();
        let deadlines = self.api.deadlines;
        // When the request that is arriving began; `None` between two requests.
        let mut begun = None;
        let mut patience = deadlines.read;
        // Publishes that were read and wait for their answers, in the order of their requests.
        let mut waiting = VecDeque::new();
        loop {
            // The configuration is borrowed for the step alone: it may be another one after the next await.
            let step = inbound.poll_step(&self.api.config().api);
            if matches!(step, Step::Read | Step::Continue | Step::Refuse(..)) {
                self.answer_waiting(&mut waiting).await?;
            }
            match step {
                Step::Read => {
                    let left = match begun {
                        Some(begun) => deadlines.read.saturating_sub(Instant::elapsed(&begun)),
                        None => patience,
                    };
                    if let Err(refusal) = self.read_within(left, &inbound, begun.is_none()).await? {
                        // Its memory is free while the client is told.
                        drop(inbound);
                        return self.refuse(&refusal, None).await;
                    }
                    inbound.handle_bytes(&self.scratch);
                    begun.get_or_insert_with(Instant::now);
                }
                Step::Admit { method, is_probe } => {
                    if !is_probe && self.slot.place().is_err() {
                        let refusal = too_many_requests();
                        self.count_if_post(&refusal, Some(method));
                        self.answer_waiting(&mut waiting).await?;
                        return self.refuse(&refusal, Some(method)).await;
                    }
                }
                Step::Continue => self.write(CONTINUE.to_vec()).await?,
                Step::Answer(request) => {
                    self.slot.turn(Phase::Work);
                    let answer = routes::answer(self.api, &request, self.peer).await;
                    // A client that has only probed health has no place yet: its connection is kept if it gets one.
                    let keep = request.keep_alive && !self.api.is_draining() && self.slot.place().is_ok();
                    let head_only = request.method == Method::Head;
                    drop(request);
                    self.let_go();
                    let mut response = match answer {
                        Answer::Later(later) if keep => {
                            waiting.push_back(later);
                            if waiting.len() >= API_PIPELINED_MAX {
                                self.answer_waiting(&mut waiting).await?;
                            }
                            begun = (!inbound.is_idle()).then(Instant::now);
                            patience = deadlines.idle;
                            continue;
                        }
                        Answer::Later(later) => {
                            let outcome = self.answer_waiting(&mut waiting).await;
                            let response = later.response(self.api).await;
                            outcome?;
                            response
                        }
                        Answer::Whole(response) => response,
                        Answer::Progress(id) if self.slot.stream().is_ok() => {
                            self.answer_waiting(&mut waiting).await?;
                            return self.tell_progress(&id).await;
                        }
                        Answer::Progress(_) => Response::refusal(&too_many_streams()),
                    };
                    self.answer_waiting(&mut waiting).await?;
                    let after = if keep { After::KeepAlive } else { After::Close };
                    self.answer(&mut response, after, head_only).await?;
                    if after == After::Close {
                        return self.linger().await;
                    }
                    begun = (!inbound.is_idle()).then(Instant::now);
                    patience = deadlines.idle;
                }
                Step::Refuse(refusal, method) => {
                    self.api.tell_of_foreigner(&refusal);
                    self.count_if_post(&refusal, method);
                    return self.refuse(&refusal, method).await;
                }
            }
        }
    }

    /// Reads more of a request within this time, or says why there is none to read.
    async fn read_within(
        &mut self,
        left: Duration,
        inbound: &Inbound,
        is_between: bool,
    ) -> Result<Result<(), Refusal>, Gone> {
        match timeout(left, self.read_on(inbound, is_between)).await {
            Ok(read) => read?,
            Err(_) if is_between => return Err(Gone),
            Err(_) => {
                let seconds = self.api.deadlines.read.as_secs_f32();
                let message = format!("the request did not arrive whole in {seconds} s");
                return Ok(Err(Refusal::new(Code::RequestTimeout, message)));
            }
        }
        let held = self.hold(inbound);
        if let Err(refusal) = &held {
            self.api.count_publish_refused(refusal);
        }
        Ok(held)
    }

    fn count_if_post(&self, refusal: &Refusal, method: Option<Method>) {
        if method == Some(Method::Post) {
            self.api.count_publish_refused(refusal);
        }
    }

    /// Counts what the request takes once the bytes that were read are with it: before they are, so that nothing grows that
    /// does not fit. Requests of one read are small, and not counted.
    fn hold(&mut self, inbound: &Inbound) -> Result<(), Refusal> {
        let bytes = READ_BYTES + inbound.capacity_with(self.scratch.len());
        if bytes <= API_BYTES_FREE && self.held == 0 {
            return Ok(());
        }
        let largest = self.api.config().api.body_bytes_max;
        if self.slot.hold_body(bytes, largest).is_ok() {
            self.held = bytes;
            return Ok(());
        }
        let message = format!(
            "requests under way take as much as they may, {} MiB; try again in a moment",
            API_BODIES_BYTES_MAX.max(2 * largest) >> 20
        );
        Err(Refusal::new(Code::TooBusy, message))
    }

    /// Counts the request no more, after it was freed.
    fn let_go(&mut self) {
        if self.held > 0 {
            // Less always fits.
            let _ = self.slot.hold_body(0, 0);
        }
        if std::mem::take(&mut self.held) >= LARGE_REQUEST_BYTES {
            memory::collect();
        }
    }

    /// Answers the publishes that wait, in order; those that can be answered together leave together. If the client has
    /// gone, what became of the rest is counted all the same.
    async fn answer_waiting(&mut self, waiting: &mut VecDeque<Later>) -> Result<(), Gone> {
        let mut bytes = Vec::new();
        let mut outcome = Ok(());
        while let Some(later) = waiting.pop_front() {
            if !later.is_ready() && !bytes.is_empty() && outcome.is_ok() {
                outcome = self.write(std::mem::take(&mut bytes)).await;
            }
            let response = later.response(self.api).await;
            self.api.count_request(response.status);
            if outcome.is_ok() {
                bytes.append(&mut response.encode(After::KeepAlive, false, SystemTime::now()));
            }
        }
        if outcome.is_ok() && !bytes.is_empty() {
            outcome = self.write(bytes).await;
        }
        outcome
    }

    /// The last answer on a connection whose next request cannot be found. The method is there when it is known.
    async fn refuse(&mut self, refusal: &Refusal, method: Option<Method>) -> Result<(), Gone> {
        self.let_go();
        let head_only = method == Some(Method::Head);
        self.answer(&mut Response::refusal(refusal), After::Close, head_only).await?;
        self.linger().await
    }

    /// Tells the progress of a push until it is over, nobody listens, or the process stops.
    async fn tell_progress(&mut self, id: &str) -> Result<(), Gone> {
        self.api.count_request(200);
        // Nothing is read from here on but the end.
        self.scratch = Vec::new();
        self.write(response::stream_head(SystemTime::now())).await?;
        let mut progress = Progress::default();
        while let Ok(view) = pushes::view(self.api, id) {
            if let Some(event) = progress.event(&view, Instant::now()) {
                self.write(event).await?;
            }
            if view.is_over() || self.api.is_draining() {
                break;
            }
            sleep(API_PROGRESS_LOOK).await;
        }
        self.linger().await
    }

    /// Sends an answer, whose body is gone then.
    async fn answer(&mut self, response: &mut Response, after: After, head_only: bool) -> Result<(), Gone> {
        self.api.count_request(response.status);
        let now = SystemTime::now();
        if head_only || response.body.len() <= API_BYTES_FREE / 2 {
            let bytes = response.encode(after, head_only, now);
            response.body.clear();
            return self.write(bytes).await;
        }
        // Others may send the same body, which is counted for each: it stays as long as the slowest of them.
        let head = response.encode_head(after, now);
        let body = std::mem::take(&mut response.body);
        self.slot.hold_answer(body.len());
        let mut written = self.write(head).await;
        if written.is_ok() {
            let kept = body.clone();
            written = self.write(body).await;
            if kept.is_unique() {
                drop(kept);
                // The metrics of 64 shards leave a megabyte.
                memory::collect();
            }
        }
        self.slot.hold_answer(0);
        written
    }

    /// Reads more of a request, or the beginning of the next, into the scratch buffer.
    async fn read_on(&mut self, inbound: &Inbound, is_between: bool) -> Result<(), Gone> {
        let is_idle = is_between && self.slot.has_place();
        self.slot.turn(if is_idle {
            Phase::Idle
        } else if inbound.is_in_body() {
            Phase::Body
        } else {
            Phase::Head
        });
        if is_idle { self.read_idle().await } else { self.read().await }
    }

    /// Reads the beginning of a next request. If the connection gives way and that is here already, it is taken all the same.
    async fn read_idle(&mut self) -> Result<(), Gone> {
        let Self { slot, stream, scratch, canceller, .. } = self;
        let buffer = std::mem::take(scratch);
        let mut read = pin!(stream.cancelable_read(buffer, canceller.handle()));
        let (result, buffer) = if let Ok(read) = slot.unless_displaced(read.as_mut()).await {
            read
        } else {
            *canceller = std::mem::take(canceller).cancel();
            let read = read.await;
            if read.0.as_ref().is_ok_and(|read| *read > 0) {
                slot.enter_again();
            }
            read
        };
        *scratch = buffer;
        something(&result)
    }

    /// Reads into the scratch buffer, which then has at least one byte.
    async fn read(&mut self) -> Result<(), Gone> {
        let buffer = std::mem::take(&mut self.scratch);
        let (result, buffer): BufResult<usize, Vec<u8>> =
            self.slot.unless_displaced(self.stream.read(buffer)).await?;
        self.scratch = buffer;
        something(&result)
    }

    async fn write(&mut self, bytes: impl IoBuf) -> Result<(), Gone> {
        let written = self.slot.unless_displaced(self.stream.write_all(bytes));
        match timeout(self.api.deadlines.read, written).await {
            Ok(Ok((Ok(_), _))) => Ok(()),
            Ok(Ok((Err(_), _)) | Err(Displaced)) | Err(_) => Err(Gone),
        }
    }

    /// Ends the stream and drops what still comes, until the client ends it too or the time is over.
    async fn linger(&mut self) -> Result<(), Gone> {
        let linger = self.api.deadlines.linger;
        self.slot.turn(Phase::Leave);
        self.stream.shutdown().await.map_err(|_| Gone)?;
        // A read that was cancelled by a deadline took the scratch buffer with it.
        self.scratch.reserve(READ_BYTES);
        let silence = async { while self.read().await.is_ok() {} };
        let _ = timeout(linger, silence).await;
        Ok(())
    }
}

fn too_many_requests() -> Refusal {
    let message = format!("all {API_CONNECTIONS_MAX} places for requests are taken; try again");
    Refusal::new(Code::TooManyConnections, message)
}

fn too_many_streams() -> Refusal {
    let message = format!("as many streams of events as there may be, {API_STREAMS_MAX}");
    Refusal::new(Code::TooManyStreams, message)
}

/// A read that brought nothing is the client's end.
fn something(read: &std::io::Result<usize>) -> Result<(), Gone> {
    match read {
        Ok(0) | Err(_) => Err(Gone),
        Ok(_) => Ok(()),
    }
}

/// A future whose panic is an error of its own and not the end of the thread.
pub struct Contained<F>(Pin<Box<F>>);

/// A panic was caught; the future must not be polled again.
#[derive(Debug, PartialEq, Eq)]
pub struct Panicked;

impl<F: Future> Contained<F> {
    /// Contains a future.
    pub fn new(future: F) -> Self {
        Self(Box::pin(future))
    }
}

impl<F: Future> Future for Contained<F> {
    type Output = Result<F::Output, Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // What a connection shares with others is cells and counters, each changed in one step; what a panic leaves
        // half done is the connection's own and is dropped with it.
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_panic_is_contained_and_an_outcome_passes() {
        let mut context = Context::from_waker(Waker::noop());
        let mut fine = Contained::new(std::future::ready(7));
        assert_eq!(Pin::new(&mut fine).poll(&mut context), Poll::Ready(Ok(7)));
        let nothing: &[u8] = &[];
        let mut panics = Contained::new(async { nothing[nothing.len()] });
        assert_eq!(Pin::new(&mut panics).poll(&mut context), Poll::Ready(Err(Panicked)));
    }
}
