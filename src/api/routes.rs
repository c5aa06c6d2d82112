//! The routes: one table, and what each answers.
//!
//! *Not here*: HTTP itself (`inbound`, `response`), the shapes of what is read from the blocks (`views`).

use bytes::Bytes;

use crate::api::head::Method;
use crate::api::inbound::Request;
use crate::api::publish::{self, Publish};
use crate::api::refusal::{Code, Refusal};
use crate::api::response::Response;
use crate::api::{Api, census, views};
use crate::batch::Address;
use crate::ingest::publisher::{NotTaken, Request as ToIngest};
use crate::metrics::{Audience, text};

/// The API's description, served as it is.
pub const OPENAPI: &str = include_str!("openapi.yaml");

/// What a path offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// go-push: publish to everyone.
    PushAll,
    /// go-push: publish to a room.
    PushRoom,
    /// go-push: counters.
    Stats,
    /// Publish.
    Push,
    /// One topic.
    Topic,
    /// Every shard.
    Shards,
    /// The process lives.
    Health,
    /// The process can serve.
    Ready,
    /// Every metric.
    Metrics,
    /// The description.
    OpenApi,
}

/// One path.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The path as the description writes it; `{topic}` stands for the rest of a path.
    pub path: &'static str,
    /// The method: GET (then HEAD too) or POST.
    pub method: Method,
    /// What it offers.
    pub endpoint: Endpoint,
}

/// Every route. A test holds the description against it.
pub static ROUTES: [Route; 10] = [
    Route { path: "/push/all", method: Method::Post, endpoint: Endpoint::PushAll },
    Route { path: "/push/room", method: Method::Post, endpoint: Endpoint::PushRoom },
    Route { path: "/stats", method: Method::Get, endpoint: Endpoint::Stats },
    Route { path: "/v1/push", method: Method::Post, endpoint: Endpoint::Push },
    Route { path: "/v1/topics/{topic}", method: Method::Get, endpoint: Endpoint::Topic },
    Route { path: "/v1/shards", method: Method::Get, endpoint: Endpoint::Shards },
    Route { path: "/healthz", method: Method::Get, endpoint: Endpoint::Health },
    Route { path: "/readyz", method: Method::Get, endpoint: Endpoint::Ready },
    Route { path: "/metrics", method: Method::Get, endpoint: Endpoint::Metrics },
    Route { path: "/openapi.yaml", method: Method::Get, endpoint: Endpoint::OpenApi },
];

impl Route {
    /// The part of `path` that stands for `{topic}` (empty on a route without), when the path is this route's.
    fn matches<'a>(&self, path: &'a str) -> Option<&'a str> {
        match self.path.split_once('{') {
            Some((prefix, _)) => path.strip_prefix(prefix),
            None => (self.path == path).then_some(""),
        }
    }
}

/// The answer to a request.
pub async fn answer(api: &Api, request: &Request) -> Response {
    let Some((route, rest)) = ROUTES.iter().find_map(|route| Some((route, route.matches(&request.path)?)))
    else {
        return Response::refusal(&Refusal::new(Code::NotFound, "no such path; /openapi.yaml lists them"));
    };
    match (route.method, request.method) {
        (Method::Get, Method::Get | Method::Head) | (Method::Post, Method::Post) => {}
        (Method::Post, _) => return Response::method_not_allowed("POST"),
        _ => return Response::method_not_allowed("GET, HEAD"),
    }
    let answer = match route.endpoint {
        Endpoint::PushAll => push_like_go_push(api, publish::push_all(&request.body)),
        Endpoint::PushRoom => push_like_go_push(api, publish::push_room(&request.body)),
        Endpoint::Push => push(api, &request.body),
        Endpoint::Topic => topic(api, rest).await,
        Endpoint::Stats => Ok(Response::json(200, &views::stats(&api.blocks, api.started))),
        Endpoint::Shards => Ok(Response::json(200, &views::shards(&api.blocks))),
        Endpoint::Health => Ok(Response::text("text/plain; charset=utf-8", "ok\n")),
        Endpoint::Ready => Ok(ready(api)),
        Endpoint::Metrics => Ok(metrics(api)),
        Endpoint::OpenApi => Ok(Response::text("application/yaml", OPENAPI)),
    };
    answer.unwrap_or_else(|refusal| Response::refusal(&refusal))
}

/// go-push answers 200 with an empty body to whatever it took.
fn push_like_go_push(api: &Api, publish: Result<Publish, Refusal>) -> Result<Response, Refusal> {
    take(api, publish).map(|_| Response::empty())
}

fn push(api: &Api, body: &Bytes) -> Result<Response, Refusal> {
    let accepted = take(api, publish::v1(body))?;
    Ok(Response::json(202, &views::Accepted { id: api.next_id(), accepted }))
}

/// Hands a publish to the ingest core; how many messages it has. Every refusal of a publish is counted here.
fn take(api: &Api, publish: Result<Publish, Refusal>) -> Result<usize, Refusal> {
    let taken = publish.and_then(|publish| hand_over(api, publish));
    if let Err(refusal) = &taken {
        api.count_publish_refused(refusal);
    }
    taken
}

fn hand_over(api: &Api, publish: Publish) -> Result<usize, Refusal> {
    let Publish { addresses, messages } = publish;
    let count = messages.len();
    if count == 0 {
        return Ok(0);
    }
    let audience = match addresses[0] {
        Address::All => Audience::All,
        Address::Topic(_) => Audience::Topic,
    };
    let copies = (count * addresses.len()) as u64;
    let control = &api.blocks.control;
    let taken = if api.is_draining() {
        Err(shutting_down())
    } else if api.config().redis.is_some() && api.blocks.ingest.redis_publishing.get() == 0 {
        Err(Refusal::new(Code::RedisUnavailable, "Redis does not take publishes now"))
    } else {
        ask(api, ToIngest::Publish { addresses, messages })
    };
    match taken {
        Ok(()) => control.messages_taken[audience as usize].add(copies),
        Err(_) => control.messages_turned_away[audience as usize].add(copies),
    }
    taken.map(|()| count)
}

async fn topic(api: &Api, encoded: &str) -> Result<Response, Refusal> {
    let topic = publish::topic_in_path(encoded)?;
    let inspection = census::Inspection::of(Address::Topic(topic.clone()), api.blocks.shards.len());
    ask(api, inspection.request())?;
    let (members, next_offset, epoch) = inspection
        .outcome(api.deadlines.census)
        .await
        .ok_or_else(|| Refusal::new(Code::NoAnswer, "the ingest core or a shard did not answer in time"))?;
    Ok(Response::json(200, &views::TopicView::new(topic.as_str(), members, next_offset, epoch)))
}

fn ready(api: &Api) -> Response {
    let missing = views::missing(&api.blocks, api.is_draining(), api.redis_gone_ms());
    if missing.is_empty() {
        return Response::json(200, &serde_json::json!({"ready": true, "missing": []}));
    }
    let sentences: Vec<&str> = missing.iter().map(|part| part.message.as_str()).collect();
    let refusal = Refusal::new(Code::NotReady, sentences.join("; "));
    let body = serde_json::json!({
        "ready": false,
        "missing": missing,
        "error": crate::api::response::error_object(&refusal),
    });
    Response { retry_after_s: Some(1), ..Response::json(503, &body) }
}

fn metrics(api: &Api) -> Response {
    let missing = views::missing(&api.blocks, api.is_draining(), api.redis_gone_ms());
    api.blocks.control.ready.set(u64::from(missing.is_empty()));
    Response::text(text::CONTENT_TYPE, api.exposition.text())
}

fn ask(api: &Api, request: ToIngest) -> Result<(), Refusal> {
    api.publisher.borrow_mut().request(request).map_err(|why| match why {
        NotTaken::Full => Refusal::new(Code::QueueFull, "the queue to the ingest core is full"),
        NotTaken::Stopping => shutting_down(),
    })
}

fn shutting_down() -> Refusal {
    Refusal::new(Code::ShuttingDown, "the gateway is stopping")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_at_most_one_route() {
        for path in ["/push/all", "/v1/topics/a", "/v1/topics/a/b", "/v1/topics/", "/metrics"] {
            assert_eq!(ROUTES.iter().filter(|route| route.matches(path).is_some()).count(), 1, "{path}");
        }
        for path in ["", "/", "*", "/push", "/push/all/", "/v1/topics", "//metrics", "/v1/shards2"] {
            assert!(ROUTES.iter().all(|route| route.matches(path).is_none()), "{path}");
        }
        let topics = ROUTES.iter().find(|route| route.endpoint == Endpoint::Topic).expect("a route");
        assert_eq!(topics.matches("/v1/topics/a%20b/c"), Some("a%20b/c"));
    }
}
