//! Handing what is published to the ingest core, if that, Redis and the topics' pushes take it now.
//!
//! *Not here*: what a publish is (`publish`), whether its topics have room (`held`), what its verdict says (`outcome`).

use super::answer::Answer;
use super::held;
use super::outcome::{self, Copies, Later, Taken};
use super::publish::Publish;
use super::refusal::{Code, Refusal};
use super::state::Api;
use super::tickets::Awaited;
use super::views;
use crate::ingest::answers::{Ticket, Verdict};
use crate::ingest::publisher::{NewPush, NotTaken, Request};
use crate::metrics::Audience;
use fanfare_core::model::{Address, Moment};
use fanfare_core::push;
use fanfare_core::push::id::PushId;

/// The Redis subscription has been gone for so long that a publish does not wait for it.
const REDIS_GONE_MS: u64 = 1000;

/// Hands a push to the ingest core, and waits for its verdict.
pub(super) async fn hand_push_over(
    api: &Api,
    id: PushId,
    request: push::request::Request,
    accepted: Moment,
) -> Result<Verdict, Refusal> {
    let copies = Copies {
        audience: audience_of(&request.to[0]),
        count: (request.messages.len() * request.to.len()) as u64,
    };
    let (ticket, awaited) = draw(api)?;
    let new = NewPush { id, request, accepted, ticket };
    match hand_over(api, Request::Push(Box::new(new))) {
        Ok(()) => {
            let verdict = outcome::verdict(awaited).await;
            let is_taken = matches!(verdict, Verdict::Done | Verdict::Duplicate);
            outcome::count(api, copies, is_taken);
            Ok(verdict)
        }
        Err(refusal) => {
            awaited.withdraw();
            outcome::count(api, copies, false);
            Err(refusal)
        }
    }
}

/// Hands a publish to the ingest core, and answers it, at once or later.
pub(super) fn hand_publish_over(api: &Api, publish: Publish, taken: Taken) -> Result<Answer, Refusal> {
    let Publish { addresses, messages } = publish;
    if messages.is_empty() {
        return Ok(Answer::Whole(taken.response()));
    }
    let copies =
        Copies { audience: audience_of(&addresses[0]), count: (messages.len() * addresses.len()) as u64 };
    let (ticket, awaited) = match api.config().redis.is_some().then(|| draw(api)).transpose()? {
        Some((ticket, awaited)) => (Some(ticket), Some(awaited)),
        None => (None, None),
    };
    let handed = hand_over(api, Request::Publish { ticket, addresses, messages });
    match (handed, awaited) {
        (Ok(()), Some(awaited)) => Ok(Answer::Later(Later { awaited, copies, answer: taken })),
        (Ok(()), None) => {
            outcome::count(api, copies, true);
            Ok(Answer::Whole(taken.response()))
        }
        (Err(refusal), awaited) => {
            if let Some(awaited) = awaited {
                awaited.withdraw();
            }
            outcome::count(api, copies, false);
            Err(refusal)
        }
    }
}

fn draw(api: &Api) -> Result<(Ticket, Awaited), Refusal> {
    api.tickets.draw().ok_or_else(|| Refusal::new(Code::QueueFull, "as many publishes wait as there may be"))
}

fn audience_of(address: &Address) -> Audience {
    match address {
        Address::All => Audience::All,
        Address::Topic(_) => Audience::Topic,
    }
}

/// Hands a request over, if it and Redis take some now.
fn hand_over(api: &Api, request: Request) -> Result<(), Refusal> {
    if api.is_draining() {
        return Err(shutting_down());
    }
    if api.config().redis.is_some() {
        let unavailable =
            |why: &str| Refusal::new(Code::RedisUnavailable, format!("{why}; nothing was published"));
        if let Some((_, why)) = views::publishing_missing(&api.blocks) {
            return Err(unavailable(&why));
        }
        // One that is lost for a moment is waited for.
        if api.redis_gone_ms().is_some_and(|gone| gone >= REDIS_GONE_MS) {
            return Err(unavailable("the Redis subscription does not stand"));
        }
    }
    held::check(api, &request)?;
    ask(api, request)
}

/// Hands a request over, if the ingest core takes one now.
pub(super) fn ask(api: &Api, request: Request) -> Result<(), Refusal> {
    api.publisher.borrow_mut().request(request).map_err(|why| match why {
        NotTaken::Full => Refusal::new(Code::QueueFull, "the queue to the ingest core is full"),
        NotTaken::Stopping => shutting_down(),
    })
}

fn shutting_down() -> Refusal {
    Refusal::new(Code::ShuttingDown, "the gateway is stopping")
}
