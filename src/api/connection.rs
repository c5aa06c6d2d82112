//! One API connection: its reads, its writes, its deadlines. It parses nothing.
//!
//! The connection's task owns the socket and what has arrived on it; it ends with an answer that closes, a deadline, or
//! the client. *Not here*: where requests begin and end (`inbound`), what to answer (`routes`).

use std::future::Future;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};

use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt};
use monoio::net::TcpStream;
use monoio::time::{sleep, timeout};

use crate::api::Api;
use crate::api::head::Method;
use crate::api::inbound::{Inbound, Step};
use crate::api::pushes::{self, Progress};
use crate::api::refusal::{Code, Refusal};
use crate::api::response::{self, After, CONTINUE, Response};
use crate::api::routes::{self, Answer};
use crate::limits::{API_BODY_BYTES_DEFAULT, API_PROGRESS_LOOK};
use crate::sys::memory;

/// Bytes of one read.
const READ_BYTES: usize = 16 * 1024;
const _: () = assert!(READ_BYTES < API_BODY_BYTES_DEFAULT);

/// After an answer as long as this, what it took is given back to the system: the metrics of 64 shards leave a megabyte.
const LARGE_ANSWER_BYTES: usize = 64 * 1024;

/// Why there is nothing more to do for a client.
#[derive(Debug)]
struct Gone;

/// Answers the requests of one client until it goes, or is sent away.
pub async fn serve(api: &Api, stream: TcpStream) {
    // Answers are small and whole: nothing is gained by waiting for more of them.
    let _ = stream.set_nodelay(true);
    let mut client =
        Client { api, peer: stream.peer_addr().ok(), stream, scratch: Vec::with_capacity(READ_BYTES) };
    // An error here is the client's going away: there is nobody to tell.
    let _ = client.requests().await;
}

/// Tells a client that there are too many already.
pub async fn turn_away(api: &Api, stream: TcpStream) {
    let mut client =
        Client { api, peer: stream.peer_addr().ok(), stream, scratch: Vec::with_capacity(READ_BYTES) };
    let refusal = Refusal::new(Code::TooManyConnections, "as many API connections as there may be");
    let _ = client.refuse(&refusal, None).await;
}

struct Client<'a> {
    api: &'a Api,
    /// Where the client is, for the log.
    peer: Option<SocketAddr>,
    stream: TcpStream,
    /// Taken while a read is under way.
    scratch: Vec<u8>,
}

impl Client<'_> {
    async fn requests(&mut self) -> Result<(), Gone> {
        let mut inbound = Inbound::default();
        let deadlines = self.api.deadlines;
        // When the request that is arriving began; `None` between two requests.
        let mut begun = None;
        let mut patience = deadlines.read;
        loop {
            // The configuration is borrowed for the step alone: it may be another one after the next await.
            let step = inbound.poll_step(&self.api.config().api);
            match step {
                Step::Read => {
                    let left = match begun {
                        Some(begun) => deadlines.read.saturating_sub(Instant::elapsed(&begun)),
                        None => patience,
                    };
                    match timeout(left, self.read()).await {
                        Ok(read) => read?,
                        Err(_) if begun.is_none() => return Err(Gone),
                        Err(_) => {
                            let seconds = deadlines.read.as_secs_f32();
                            let message = format!("the request did not arrive whole in {seconds} s");
                            return self.refuse(&Refusal::new(Code::RequestTimeout, message), None).await;
                        }
                    }
                    inbound.handle_bytes(&self.scratch);
                    begun.get_or_insert_with(Instant::now);
                }
                Step::Continue => self.write(CONTINUE.to_vec()).await?,
                Step::Answer(request) => {
                    let response = match routes::answer(self.api, &request, self.peer).await {
                        Answer::Whole(response) => response,
                        Answer::Progress(id) => return self.tell_progress(&id).await,
                    };
                    let keep = request.keep_alive && !self.api.is_draining();
                    let after = if keep { After::KeepAlive } else { After::Close };
                    let answered = self.answer(&response, after, request.method == Method::Head).await;
                    let is_large = response.body.len() >= LARGE_ANSWER_BYTES;
                    drop(response);
                    if is_large {
                        memory::collect();
                    }
                    answered?;
                    if after == After::Close {
                        return self.linger().await;
                    }
                    begun = (!inbound.is_idle()).then(Instant::now);
                    patience = deadlines.idle;
                }
                Step::Refuse(refusal, method) => {
                    self.api.tell_of_foreigner(&refusal);
                    if method == Some(Method::Post) {
                        self.api.count_publish_refused(&refusal);
                    }
                    return self.refuse(&refusal, method).await;
                }
            }
        }
    }

    /// The last answer on a connection whose next request cannot be found. The method is there when it is known.
    async fn refuse(&mut self, refusal: &Refusal, method: Option<Method>) -> Result<(), Gone> {
        let head_only = method == Some(Method::Head);
        self.answer(&Response::refusal(refusal), After::Close, head_only).await?;
        self.linger().await
    }

    /// Tells the progress of a push until it is over, nobody listens, or the process stops.
    async fn tell_progress(&mut self, id: &str) -> Result<(), Gone> {
        self.api.count_request(200);
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

    async fn answer(&mut self, response: &Response, after: After, head_only: bool) -> Result<(), Gone> {
        self.api.count_request(response.status);
        self.write(response.encode(after, head_only, SystemTime::now())).await
    }

    /// Reads into the scratch buffer, which then has at least one byte.
    async fn read(&mut self) -> Result<(), Gone> {
        let (result, scratch) = self.stream.read(std::mem::take(&mut self.scratch)).await;
        self.scratch = scratch;
        match result {
            Ok(0) | Err(_) => Err(Gone),
            Ok(_) => Ok(()),
        }
    }

    async fn write(&mut self, bytes: Vec<u8>) -> Result<(), Gone> {
        match timeout(self.api.deadlines.read, self.stream.write_all(bytes)).await {
            Ok((Ok(_), _)) => Ok(()),
            Ok((Err(_), _)) | Err(_) => Err(Gone),
        }
    }

    /// Ends the stream and drops what still comes, until the client ends it too or the time is over.
    async fn linger(&mut self) -> Result<(), Gone> {
        let linger = self.api.deadlines.linger;
        self.stream.shutdown().await.map_err(|_| Gone)?;
        // A read that was cancelled by a deadline took the scratch buffer with it.
        self.scratch.reserve(READ_BYTES);
        let silence = async { while self.read().await.is_ok() {} };
        let _ = timeout(linger, silence).await;
        Ok(())
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
