//! Events to a webhook: each batch is a POST of a JSON array, on a thread of its own.
//!
//! A status of 2xx means that the batch is taken. 400, 413 and 422 mean that this batch will never be; anything else,
//! no answer included, that it is to come again. *Not here*: who starts the thread (`server`).

use std::fmt;
use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::json;
use super::shared::Shared;
use crate::log::told::Told;
use crate::metrics::{Blocks, EventSink};
use crate::redis::backoff::{Backoff, RetryPace};
use crate::secret::SecretUrl;
use fanfare_core::limits::{EVENTS_ANSWER_BYTES_MAX, EVENTS_POLL};

/// Pause before another attempt once nothing more comes: the end of the process is near.
const LAST_PAUSE: Duration = Duration::from_millis(200);

/// One receiver by HTTP.
pub struct Webhook {
    agent: Agent,
    url: SecretUrl,
    gateway: Arc<str>,
    queue: Arc<Shared>,
    blocks: Arc<Blocks>,
}

/// What came of a POST.
enum WebhookReply {
    Taken,
    Refused(u16),
    Failed(Cause),
}

/// Why a batch was not taken.
enum Cause {
    Status(u16),
    Transport(ureq::Error),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "it answers {status}; what is taken is answered 2xx"),
            Self::Transport(error) => {
                write!(f, "{error}; check that it runs, events.webhook and events.webhook_timeout_s")
            }
        }
    }
}

impl Webhook {
    /// Posts what enters the queue to `url`. Reads the system's root certificates if it is of https.
    pub fn new(
        url: SecretUrl,
        request_timeout: Duration,
        gateway: Arc<str>,
        queue: Arc<Shared>,
        blocks: Arc<Blocks>,
    ) -> Self {
        let roots = if url.expose().starts_with("https:") { roots() } else { Vec::new() };
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let agent = Agent::config_builder()
            .timeout_global(Some(request_timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("fanfare/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            .build()
            .new_agent();
        Self { agent, url, gateway, queue, blocks }
    }

    /// Delivers until the queue is over. Blocks. Writes `sent`, `failed` and `refused` of its sink's block.
    pub fn run(self) {
        let block = &self.blocks.events.sinks[EventSink::Webhook as usize];
        let seed = u64::from(std::process::id());
        let mut backoff = Backoff::new(seed);
        let mut told = Told::works(5);
        while !self.queue.is_over() {
            let Some(batch) = self.queue.batch() else {
                self.queue.sleep(EVENTS_POLL, EVENTS_POLL);
                continue;
            };
            let complaint = match self.post(&json::array(&batch.events)) {
                WebhookReply::Taken => {
                    self.queue.lock().taken();
                    block.sent.add(batch.count as u64);
                    if told.is_back() {
                        tracing::info!("events: the webhook takes them again");
                    }
                    backoff = Backoff::new(seed);
                    continue;
                }
                WebhookReply::Refused(status) => {
                    block.refused.add(self.queue.lock().refused(Instant::now()));
                    format!("it refuses a batch for good ({status}); its log says why")
                }
                WebhookReply::Failed(cause) => {
                    self.queue.lock().failed();
                    block.failed.add(1);
                    cause.to_string()
                }
            };
            if let Some(times) = told.fails(&complaint, Instant::now()) {
                tracing::warn!(times, "events: the webhook takes nothing: {complaint}");
            }
            self.queue.sleep(backoff.pause(RetryPace::Refused), LAST_PAUSE);
        }
    }

    fn post(&self, body: &[u8]) -> WebhookReply {
        let request = self
            .agent
            .post(self.url.expose())
            .header("content-type", "application/json")
            .header("fanfare-gateway", &*self.gateway);
        match request.send(body) {
            Err(error) => WebhookReply::Failed(Cause::Transport(error)),
            Ok(mut response) => {
                let status = response.status().as_u16();
                // Read to its end, the connection can be used again. What it says is for nobody.
                let mut answer = response.body_mut().as_reader().take(EVENTS_ANSWER_BYTES_MAX);
                let _ = std::io::copy(&mut answer, &mut std::io::sink());
                match status {
                    200..=299 => WebhookReply::Taken,
                    400 | 413 | 422 => WebhookReply::Refused(status),
                    _ => WebhookReply::Failed(Cause::Status(status)),
                }
            }
        }
    }
}

/// The roots that the system trusts, or those of `SSL_CERT_FILE`.
fn roots() -> Vec<Certificate<'static>> {
    let loaded = rustls_native_certs::load_native_certs();
    if loaded.certs.is_empty() {
        tracing::error!(
            "events: no root certificate was found, so no webhook of https is trusted: {:?}",
            loaded.errors
        );
    }
    loaded.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect()
}
