//! The API of pushes as a backend meets it: one begun, looked at, steered.
//!
//! *Not here*: whether what it tells is true (`super`, `pushes::audit`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::http::{Client, Response, Url};

/// A push as the API shows it; what is not known is `None`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Push {
    pub(crate) id: String,
    pub(crate) state: String,
    pub(crate) rate: Option<f64>,
    pub(crate) rate_now: Option<f64>,
    pub(crate) eta_s: Option<f64>,
    pub(crate) targeted: Option<u64>,
    pub(crate) sent: u64,
    pub(crate) failed: BTreeMap<String, u64>,
    pub(crate) remaining: Option<u64>,
    pub(crate) latency_ms: Option<Latency>,
}

/// From acceptance to all bytes taken, milliseconds.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Latency {
    pub(crate) first: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) last: f64,
}

impl Push {
    /// It will not change any more.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state.as_str(), "done" | "cancelled" | "expired" | "lost")
    }

    /// Devices that will not be served.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.values().sum()
    }

    /// What is wrong with the account, if something is: every device is sent to, failed, or remains.
    pub(crate) fn imbalance(&self) -> Option<String> {
        let (targeted, remaining) = self.targeted.zip(self.remaining)?;
        let (sent, failed) = (self.sent, self.failed());
        (targeted != sent + failed + remaining).then(|| {
            format!(
                "push {}: targeted {targeted} is not sent {sent} + failed {failed} + remaining {remaining}",
                self.id
            )
        })
    }
}

/// Every push that the server tells of.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct All {
    pub(crate) running: Vec<Push>,
    pub(crate) recent: Vec<Push>,
}

/// What came of a wish to change a push.
#[derive(Clone, Debug)]
pub(crate) enum Steered {
    /// As it is now.
    Push(Box<Push>),
    /// It was over before.
    Over,
}

/// A connection to the API.
pub(crate) struct Api {
    client: Client,
}

impl Api {
    /// Connects when it is first used.
    pub(crate) fn new(url: &Url) -> Self {
        Self { client: Client::new(url) }
    }

    /// Begins one; the id that it got.
    pub(crate) fn begin(&mut self, body: &Value) -> Result<String, String> {
        #[derive(Deserialize)]
        struct Accepted {
            id: String,
        }
        let answer = self.ask("POST", "/v1/push", body)?;
        if answer.status != 202 {
            return Err(format!("the server answered POST /v1/push with {}: {}", answer.status, answer.body));
        }
        read::<Accepted>(&answer, "POST /v1/push").map(|accepted| accepted.id)
    }

    /// One.
    pub(crate) fn get(&mut self, id: &str) -> Result<Push, String> {
        self.look(&format!("/v1/pushes/{id}"))
    }

    /// All.
    pub(crate) fn all(&mut self) -> Result<All, String> {
        self.look("/v1/pushes")
    }

    /// Changes one.
    pub(crate) fn change(&mut self, id: &str, change: &Value) -> Result<Steered, String> {
        self.steer("PATCH", id, change)
    }

    /// Ends one.
    pub(crate) fn cancel(&mut self, id: &str) -> Result<Steered, String> {
        self.steer("DELETE", id, &Value::Null)
    }

    fn steer(&mut self, method: &str, id: &str, body: &Value) -> Result<Steered, String> {
        let path = format!("/v1/pushes/{id}");
        let answer = self.ask(method, &path, body)?;
        match answer.status {
            200 => read(&answer, &path).map(|push| Steered::Push(Box::new(push))),
            409 => Ok(Steered::Over),
            status => Err(format!("the server answered {method} {path} with {status}: {}", answer.body)),
        }
    }

    fn look<T: for<'de> Deserialize<'de>>(&mut self, path: &str) -> Result<T, String> {
        let answer = self.client.get(path).map_err(|e| format!("GET {path}: {e}"))?;
        if answer.status != 200 {
            return Err(format!("the server answered GET {path} with {}: {}", answer.status, answer.body));
        }
        read(&answer, path)
    }

    fn ask(&mut self, method: &str, path: &str, body: &Value) -> Result<Response, String> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.client.send_json(method, path, body.as_bytes()).map_err(|e| format!("{method} {path}: {e}"))
    }
}

fn read<T: for<'de> Deserialize<'de>>(answer: &Response, path: &str) -> Result<T, String> {
    serde_json::from_str(&answer.body)
        .map_err(|e| format!("the answer of {path} is not what it should be: {e}"))
}
