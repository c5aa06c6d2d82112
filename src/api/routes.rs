//! The routes: one table, and what each answers.
//!
//! *Not here*: HTTP itself (`inbound`, `response`), how a publish is handed over (`hand_over`), the shapes of what is
//! read from the blocks (`views`).

use std::net::SocketAddr;

use bytes::Bytes;

use crate::api::answer::Answer;
use crate::api::hand_over::{ask, hand_publish_over};
use crate::api::head::Method;
use crate::api::inbound::Request;
use crate::api::outcome::Taken;
use crate::api::publish::{self, Publish};
use crate::api::push_log::By;
use crate::api::refusal::{Code, Refusal};
use crate::api::response::Response;
use crate::api::shared::Kind;
use crate::api::state::Api;
use crate::api::{census, pushes, settings, views};
use crate::metrics::text::{self, classic, negotiate};
use fanfare_core::model::Address;

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
    /// Every push.
    Pushes,
    /// One push.
    PushShow,
    /// Steer a push.
    PushChange,
    /// End a push.
    PushCancel,
    /// A push's progress.
    PushEvents,
    /// One topic.
    Topic,
    /// Every shard.
    Shards,
    /// The running configuration.
    Config,
    /// A change of it.
    ConfigChange,
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
    /// The path as the description writes it. A name in braces stands for the rest of a path, or for a part of it that
    /// ends where the route goes on.
    pub path: &'static str,
    /// The method; with GET comes HEAD.
    pub method: Method,
    /// What it offers.
    pub endpoint: Endpoint,
}

/// Every route. A test holds the description against it.
pub static ROUTES: [Route; 17] = [
    Route { path: "/push/all", method: Method::Post, endpoint: Endpoint::PushAll },
    Route { path: "/push/room", method: Method::Post, endpoint: Endpoint::PushRoom },
    Route { path: "/stats", method: Method::Get, endpoint: Endpoint::Stats },
    Route { path: "/v1/push", method: Method::Post, endpoint: Endpoint::Push },
    Route { path: "/v1/pushes", method: Method::Get, endpoint: Endpoint::Pushes },
    Route { path: "/v1/pushes/{id}/events", method: Method::Get, endpoint: Endpoint::PushEvents },
    Route { path: "/v1/pushes/{id}", method: Method::Get, endpoint: Endpoint::PushShow },
    Route { path: "/v1/pushes/{id}", method: Method::Patch, endpoint: Endpoint::PushChange },
    Route { path: "/v1/pushes/{id}", method: Method::Delete, endpoint: Endpoint::PushCancel },
    Route { path: "/v1/topics/{topic}", method: Method::Get, endpoint: Endpoint::Topic },
    Route { path: "/v1/shards", method: Method::Get, endpoint: Endpoint::Shards },
    Route { path: "/v1/config", method: Method::Get, endpoint: Endpoint::Config },
    Route { path: "/v1/config", method: Method::Patch, endpoint: Endpoint::ConfigChange },
    Route { path: "/healthz", method: Method::Get, endpoint: Endpoint::Health },
    Route { path: "/readyz", method: Method::Get, endpoint: Endpoint::Ready },
    Route { path: "/metrics", method: Method::Get, endpoint: Endpoint::Metrics },
    Route { path: "/openapi.yaml", method: Method::Get, endpoint: Endpoint::OpenApi },
];

impl Route {
    /// The part of `path` that stands for the name in braces (empty on a route without), when the path is this route's.
    fn matches<'a>(&self, path: &'a str) -> Option<&'a str> {
        let Some((prefix, rest)) = self.path.split_once('{') else {
            return (self.path == path).then_some("");
        };
        let (_, suffix) = rest.split_once('}')?;
        path.strip_prefix(prefix)?.strip_suffix(suffix)
    }
}

/// The answer to a request.
pub async fn answer(api: &Api, request: &Request, peer: Option<SocketAddr>) -> Answer {
    // The first that matches, with its like: `/v1/pushes/a/events` is no push's name.
    let matching = || ROUTES.iter().filter_map(|route| Some((route, route.matches(&request.path)?)));
    let first = matching().next().map(|(route, _)| route.path);
    let on_path = || matching().filter(|(route, _)| Some(route.path) == first);
    let method = if request.method == Method::Head { Method::Get } else { request.method };
    let Some((route, rest)) = on_path().find(|(route, _)| route.method == method) else {
        let methods: Vec<&str> = on_path().map(|(route, _)| route.method.allowed()).collect();
        if methods.is_empty() {
            let refusal = Refusal::new(Code::NotFound, "no such path; /openapi.yaml lists them");
            return Answer::Whole(Response::refusal(&refusal));
        }
        return Answer::Whole(Response::method_not_allowed(methods.join(", ")));
    };
    if route.endpoint == Endpoint::PushEvents
        && request.method == Method::Get
        && pushes::view(api, rest).is_ok()
    {
        return Answer::Progress(rest.to_owned());
    }
    let published = match route.endpoint {
        Endpoint::PushAll => take(api, publish::push_all(&request.body), Taken::GoPush),
        Endpoint::PushRoom => take(api, publish::push_room(&request.body), Taken::GoPush),
        Endpoint::Push => take_push(api, &request.body, By::Api(peer)).await,
        _ => return Answer::Whole(whole(api, route, rest, request, By::Api(peer)).await),
    };
    published.unwrap_or_else(|refusal| Answer::Whole(Response::refusal(&refusal)))
}

async fn whole(api: &Api, route: &Route, rest: &str, request: &Request, by: By) -> Response {
    let answer = match route.endpoint {
        Endpoint::PushAll | Endpoint::PushRoom | Endpoint::Push => unreachable!("answered by `answer`"),
        Endpoint::Pushes => Ok(api.shared.get(Kind::Pushes, || pushes::list(api)).await),
        // The head of a stream is that of what it tells of.
        Endpoint::PushShow | Endpoint::PushEvents => pushes::show(api, rest),
        Endpoint::PushChange => pushes::change(api, rest, &request.body, by),
        Endpoint::PushCancel => pushes::cancel(api, rest, by),
        Endpoint::Topic => topic(api, rest).await,
        Endpoint::Stats => Ok(Response::json(200, &views::stats(&api.blocks, api.started))),
        Endpoint::Shards => {
            let make = || Response::json(200, &views::shards(&api.blocks));
            Ok(api.shared.get(Kind::Shards, make).await)
        }
        Endpoint::Config => settings::show(api).await,
        Endpoint::ConfigChange => settings::change(api, &request.body).await,
        Endpoint::Health => Ok(Response::text("text/plain; charset=utf-8", "ok\n")),
        Endpoint::Ready => Ok(ready(api)),
        Endpoint::Metrics => {
            let is_classic = request.accept.as_deref().is_some_and(negotiate::wants_classic);
            let kind = if is_classic { Kind::MetricsClassic } else { Kind::Metrics };
            Ok(api.shared.get(kind, || metrics(api, kind)).await)
        }
        Endpoint::OpenApi => Ok(Response::text("application/yaml", OPENAPI)),
    };
    answer.unwrap_or_else(|refusal| Response::refusal(&refusal))
}

async fn take_push(api: &Api, body: &Bytes, by: By) -> Result<Answer, Refusal> {
    let request = publish::v1(body).inspect_err(|refusal| api.count_publish_refused(refusal))?;
    let paced = request.to.iter().any(|address| api.config().pacing.rule_for(address).is_some());
    if request.is_job || paced {
        let begun = pushes::begin(api, request, by).await;
        return begun.map(Answer::Whole).inspect_err(|refusal| {
            api.count_publish_refused(refusal);
            api.push_log.borrow_mut().refused(&refusal.message, by);
        });
    }
    let count = request.messages.len();
    let publish = Publish { addresses: request.to, messages: request.messages };
    take(api, Ok(publish), Taken::V1(api.next_id(), count))
}

/// Hands a publish to the ingest core, and answers it, at once or later. Every refusal of a publish is counted here.
fn take(api: &Api, publish: Result<Publish, Refusal>, taken: Taken) -> Result<Answer, Refusal> {
    let answer = publish.and_then(|publish| hand_publish_over(api, publish, taken));
    if let Err(refusal) = &answer {
        api.count_publish_refused(refusal);
    }
    answer
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
    let missing =
        views::missing(&api.blocks, api.is_draining(), api.config().redis.is_some(), api.redis_gone_ms());
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

fn metrics(api: &Api, kind: Kind) -> Response {
    let missing =
        views::missing(&api.blocks, api.is_draining(), api.config().redis.is_some(), api.redis_gone_ms());
    api.blocks.control.ready.set(u64::from(missing.is_empty()));
    api.blocks.control.publish_bytes.set(api.publisher.borrow().waiting_bytes());
    let openmetrics = api.exposition.text();
    if kind == Kind::MetricsClassic {
        return Response::text(
            classic::CONTENT_TYPE,
            classic::of(&openmetrics).into_bytes().into_boxed_slice(),
        );
    }
    Response::text(text::CONTENT_TYPE, openmetrics.into_bytes().into_boxed_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_at_most_one_route_a_method() {
        for (n, route) in ROUTES.iter().enumerate() {
            assert!(ROUTES[..n].iter().all(|other| (other.path, other.method) != (route.path, route.method)));
        }
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
