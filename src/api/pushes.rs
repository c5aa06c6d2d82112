//! Pushes by HTTP: beginning one, looking at them, steering them.
//!
//! *Not here*: the registry of them (`push::registry`), the stream of one's progress (`connection`).

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::hand_over::hand_push_over;
use super::outcome;
use super::push_log::{Begun, By};
use super::refusal::{Code, Refusal};
use super::response::Response;
use super::state::Api;
use super::views::Accepted;
use crate::ingest::answers::{How, Verdict};
use fanfare_core::limits::{API_PROGRESS_EVERY, API_PUSH_WAIT, PUSHES_RUNNING_MAX};
use fanfare_core::push::id::PushId;
use fanfare_core::push::rate::Rate;
use fanfare_core::push::registry::{self, Facts, PushChange, RegistryError, Snapshot};
use fanfare_core::push::request::{self, Request};
use fanfare_core::push::share::{Failed, UNLIMITED};
use fanfare_core::push::{Source, terms};

/// Time between two looks whether every shard has a push.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// A push as the API shows it.
#[derive(Debug, Serialize)]
pub struct View {
    id: String,
    state: &'static str,
    to: Value,
    lane: &'static str,
    weight: u32,
    messages: u32,
    bytes: u64,
    source: &'static str,
    accepted_at: String,
    finished_at: Option<String>,
    rate: Option<f64>,
    rate_now: Option<f64>,
    eta_s: Option<f64>,
    expires_in_s: Option<f64>,
    targeted: Option<u64>,
    sent: u64,
    failed: serde_json::Map<String, Value>,
    remaining: Option<u64>,
    latency_ms: Option<Latency>,
}

#[derive(Debug, Serialize)]
struct Latency {
    first: f64,
    p50: f64,
    p99: f64,
    last: f64,
}

impl View {
    /// Of a push as it is now.
    pub fn new(push: &Snapshot) -> Self {
        let facts = &push.facts;
        let standing = push.standing.unwrap_or_default();
        let at = |unix_ms| {
            let time = SystemTime::UNIX_EPOCH + Duration::from_millis(unix_ms);
            humantime::format_rfc3339_millis(time).to_string()
        };
        let milli = |milli: u64| (milli != UNLIMITED).then_some(milli as f64 / 1000.0);
        let ms = |us: u64| us as f64 / 1000.0;
        let failed = Failed::ALL.map(|why| (why.label().to_owned(), standing.failed[why as usize].into()));
        Self {
            id: facts.id.to_string(),
            state: push.state.label(),
            to: request::to_json(&facts.to),
            lane: facts.terms.lane.label(),
            weight: push.weight,
            messages: facts.messages,
            bytes: facts.bytes,
            source: facts.source.label(),
            accepted_at: at(facts.accepted.unix_ms),
            finished_at: push.finished_after_ms.map(|after| at(facts.accepted.unix_ms + after)),
            rate: push.rate.map(Rate::as_f64),
            rate_now: milli(push.rate_now_milli),
            eta_s: push.eta_s.map(|seconds| (seconds * 10.0).round() / 10.0),
            expires_in_s: push.expires_in_s.map(|seconds| (seconds * 10.0).round() / 10.0),
            targeted: push.standing.map(|standing| standing.targeted),
            sent: standing.sent,
            failed: failed.into_iter().collect(),
            remaining: push.standing.map(|standing| standing.remaining()),
            latency_ms: push.latency.map(|spread| Latency {
                first: ms(spread.first),
                p50: ms(spread.p50),
                p99: ms(spread.p99),
                last: ms(spread.last),
            }),
        }
    }

    /// Whether there is nothing more to tell.
    pub fn is_over(&self) -> bool {
        self.finished_at.is_some()
    }
}

/// What was told of a push to one who watches it.
#[derive(Debug, Default)]
pub struct Progress {
    told: Option<(Instant, &'static str)>,
}

impl Progress {
    /// A server-sent event, when it is time for one or the state is another.
    pub fn event(&mut self, view: &View, now: Instant) -> Option<Vec<u8>> {
        let is_due = self.told.is_none_or(|(at, state)| {
            state != view.state || now.saturating_duration_since(at) >= API_PROGRESS_EVERY
        });
        if !is_due {
            return None;
        }
        self.told = Some((now, view.state));
        let name = if view.is_over() { "end" } else { "progress" };
        let data = serde_json::to_string(view).expect("the API's own types have string keys only");
        Some(format!("event: {name}\ndata: {data}\n\n").into_bytes())
    }
}

/// Begins a push, and waits a moment for every shard to say how many devices it is for.
pub async fn begin(api: &Api, request: Request, by: By) -> Result<Response, Refusal> {
    let accepted = api.clock.now();
    // What is handed on is what was asked: a retry asks for the same, whatever the rules say by then.
    let terms = api.config().pacing.complete(request.terms, &request.to);
    let id = match &request.id {
        Some(id) => id.clone(),
        None => PushId::new(&api.next_id()).expect("hexadecimal digits"),
    };
    let count = request.messages.len();
    let facts = Facts {
        id: id.clone(),
        to: request.to.clone().into(),
        terms,
        source: Source::Http,
        messages: count as u32,
        bytes: request.bytes(),
        accepted,
    };
    let told = Begun::from(&facts);
    let is_noted = api.pushes.borrow_mut().note(facts).map_err(|why| refusal(why, &id))?;
    let noted = Noted { api, id: is_noted.then_some(&id) };
    let verdict = hand_push_over(api, id.clone(), request, accepted).await?;
    let duplicate = verdict == Verdict::Duplicate;
    if let Verdict::Failed(failed) = &verdict
        && failed.how == How::Unknown
    {
        noted.lose();
    } else if verdict == Verdict::Done {
        noted.stays();
        api.push_log.borrow_mut().begun(&told, by);
    }
    if let Some(refusal) = outcome::refusal(verdict) {
        return Err(refusal);
    }
    let targeted = targeted(api, &id).await;
    let begun = Accepted { id: id.to_string(), accepted: count, targeted, duplicate };
    let location = Some(format!("/v1/pushes/{id}"));
    Ok(Response { location, ..Response::json(202, &begun) })
}

/// A push that was noted before it was handed on, and is withdrawn unless something becomes of it.
struct Noted<'a> {
    api: &'a Api,
    /// `None`: it was there before, or stays.
    id: Option<&'a PushId>,
}

impl Noted<'_> {
    /// It is carried out.
    fn stays(mut self) {
        self.id = None;
    }

    /// Nobody knows what became of it: it is shown as lost.
    fn lose(mut self) {
        if let Some(id) = self.id.take() {
            self.api.pushes.borrow_mut().lose(id.as_str(), self.api.clock.now_us());
        }
    }
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.api.pushes.borrow_mut().withdraw(id.as_str());
        }
    }
}

/// How many devices a push is for, if every shard has it soon.
async fn targeted(api: &Api, id: &PushId) -> Option<u64> {
    let until = Instant::now() + API_PUSH_WAIT;
    loop {
        api.adopt_pushes();
        let now_us = api.clock.now_us();
        let standing = api.pushes.borrow().snapshot(id.as_str(), now_us)?.standing;
        if let Some(standing) = standing {
            // It has its rate from its first moment on.
            api.tick_pushes();
            return Some(standing.targeted);
        }
        if Instant::now() >= until {
            return None;
        }
        monoio::time::sleep(LOOK_EVERY).await;
    }
}

/// All that run and all that were over lately.
pub fn list(api: &Api) -> Response {
    api.tick_pushes();
    let mut pushes = api.pushes.borrow_mut();
    let mut body = br#"{"running":["#.to_vec();
    for push in pushes.all_running(api.clock.now_us()) {
        body.extend_from_slice(&encoded(&push));
        body.push(b',');
    }
    pop_comma(&mut body);
    body.extend_from_slice(br#"],"recent":["#);
    for text in pushes.recent_texts(encoded) {
        body.extend_from_slice(text);
        body.push(b',');
    }
    pop_comma(&mut body);
    body.extend_from_slice(b"]}");
    Response::text("application/json", body.into_boxed_slice())
}

fn encoded(push: &Snapshot) -> Box<[u8]> {
    let view = serde_json::to_vec(&View::new(push)).expect("the API's own types have string keys only");
    view.into_boxed_slice()
}

fn pop_comma(list: &mut Vec<u8>) {
    list.pop_if(|last| *last == b',');
}

/// One.
pub fn show(api: &Api, id: &str) -> Result<Response, Refusal> {
    Ok(Response::json(200, &view(api, id)?))
}

/// One as it is now.
pub fn view(api: &Api, id: &str) -> Result<View, Refusal> {
    api.tick_pushes_now_and_then();
    let snapshot = api.pushes.borrow().snapshot(id, api.clock.now_us());
    snapshot.as_ref().map(View::new).ok_or_else(unknown)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Patch {
    #[serde(default)]
    rate: NewRate,
    ramp_s: Option<f64>,
    weight: Option<u64>,
    state: Option<String>,
}

/// A rate that may be there, be null, or be absent.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(from = "Option<f64>")]
enum NewRate {
    #[default]
    Absent,
    Unbounded,
    Bounded(f64),
}

impl From<Option<f64>> for NewRate {
    fn from(given: Option<f64>) -> Self {
        given.map_or(Self::Unbounded, Self::Bounded)
    }
}

impl Patch {
    fn change(&self) -> Result<PushChange, Refusal> {
        let wrong = |wrong: terms::BadTerm| {
            Refusal::new(Code::BadBody, format!("`{}` takes {}", wrong.name, wrong.takes))
        };
        let ramp = self.ramp_s.map(terms::ramp).transpose().map_err(wrong)?.unwrap_or_default();
        let rate = match self.rate {
            NewRate::Absent if self.ramp_s.is_some() => {
                return Err(Refusal::new(Code::BadBody, "`ramp_s` takes a `rate` beside it, to which to go"));
            }
            NewRate::Absent => None,
            NewRate::Unbounded => Some((None, ramp)),
            NewRate::Bounded(rate) => Some((Some(terms::rate(rate).map_err(wrong)?), ramp)),
        };
        let is_paused = match self.state.as_deref() {
            None => None,
            Some("paused") => Some(true),
            Some("running") => Some(false),
            Some(_) => return Err(Refusal::new(Code::BadBody, "`state` takes \"paused\" or \"running\"")),
        };
        let weight = self.weight.map(terms::weight).transpose().map_err(wrong)?;
        Ok(PushChange { rate, weight, is_paused })
    }
}

/// Changes one that runs; in force when this answers.
pub fn change(api: &Api, id: &str, body: &Bytes, by: By) -> Result<Response, Refusal> {
    let patch: Patch = serde_json::from_slice(body)
        .map_err(|error| Refusal::new(Code::BadBody, format!("the body is not a change: {error}")))?;
    let change = patch.change()?;
    let id = known(id)?;
    api.tick_pushes();
    api.pushes
        .borrow_mut()
        .change(id.as_str(), change, api.clock.now_us())
        .map_err(|why| refusal(why, &id))?;
    api.tick_pushes();
    api.push_log.borrow_mut().steered(id.as_str(), &change, by);
    show(api, id.as_str())
}

/// Ends one that runs.
pub fn cancel(api: &Api, id: &str, by: By) -> Result<Response, Refusal> {
    let id = known(id)?;
    api.tick_pushes();
    api.pushes.borrow_mut().cancel(id.as_str()).map_err(|why| refusal(why, &id))?;
    api.tick_pushes();
    api.push_log.borrow_mut().cancelled(id.as_str(), by);
    show(api, id.as_str())
}

fn known(id: &str) -> Result<PushId, Refusal> {
    PushId::new(id).map_err(|_| unknown())
}

fn unknown() -> Refusal {
    Refusal::new(Code::NotFound, "no push has this id; /v1/pushes lists them")
}

fn refusal(why: registry::RegistryError, id: &PushId) -> Refusal {
    match why {
        RegistryError::TooMany => {
            let message = format!("{PUSHES_RUNNING_MAX} pushes run already");
            Refusal::new(Code::TooManyPushes, message)
        }
        RegistryError::Unknown => unknown(),
        RegistryError::Over => Refusal::new(Code::Finished, format!("{id} is over")),
    }
}
