//! The private API over real TCP, with the test in the place of the ingest core: what each route answers.

#[path = "api/abuse.rs"]
mod abuse;
#[path = "api/crowd.rs"]
mod crowd;
#[path = "api/harness.rs"]
mod harness;
#[path = "api/origin.rs"]
mod origin;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fanfare::api::Deadlines;
use fanfare::api::orders::Order;
use fanfare::api::proposals;
use fanfare::api::refusal::Code;
use fanfare::config::flags::Flags;
use fanfare::config::patch::Patch;
use fanfare::config::settings::{ConfigChange, Settings};
use fanfare::config::{Config, raw};
use fanfare::ingest::answers::{Failed, How, Verdict};
use fanfare::ingest::publisher::{Directive, Request};
use fanfare::metrics::{Audience, PublishRefused};
use fanfare_core::limits;
use fanfare_core::model::{Address, PayloadKind};
use harness::{Gateway, description, eventually, routes, with_redis};
use saphyr::Yaml;

/// Addresses and payloads of a publish.
fn publish(request: Request) -> (Vec<String>, Vec<String>) {
    let Request::Publish { addresses, messages, .. } = request else { panic!("{request:?}") };
    let name = |address: &Address| match address {
        Address::All => "*".to_owned(),
        Address::Topic(topic) => topic.as_str().to_owned(),
    };
    assert!(messages.iter().all(|message| message.kind == PayloadKind::Json));
    let text = |payload: &[u8]| String::from_utf8(payload.to_vec()).expect("UTF-8");
    (addresses.iter().map(name).collect(), messages.iter().map(|message| text(&message.payload)).collect())
}

#[test]
fn the_description_has_the_routes_the_codes_and_the_bounds_of_the_code() {
    let document = description();
    let paths = document["paths"].as_mapping().expect("paths");
    let described: BTreeSet<(String, String)> = paths
        .iter()
        .flat_map(|(path, item)| {
            let keys = item.as_mapping().expect("a path item").keys();
            keys.filter(|key| key.as_str() != Some("parameters")).map(|method| {
                (method.as_str().expect("a method").into(), path.as_str().expect("a path").into())
            })
        })
        .collect();
    let served = routes().into_iter().map(|(method, path)| (method.to_owned(), path.to_owned()));
    assert_eq!(described, served.collect());

    let schemas = &document["components"]["schemas"];
    let codes =
        schemas["Error"]["properties"]["error"]["properties"]["code"]["enum"].as_vec().expect("codes");
    let codes: Vec<&str> = codes.iter().filter_map(Yaml::as_str).collect();
    assert_eq!(codes, Code::ALL.map(Code::label));

    let push = &schemas["Push"]["properties"];
    let topics = &push["to"]["oneOf"][2]["properties"]["topics"];
    for (place, described, bound) in [
        ("messages", &push["messages"]["maxItems"], limits::PUSH_MESSAGES_MAX),
        ("topics", &topics["maxItems"], limits::PUSH_TOPICS_MAX),
        ("items", &schemas["Items"]["contentSchema"]["maxItems"], limits::PUSH_ITEMS_MAX),
        ("a topic", &schemas["Topic"]["maxLength"], limits::TOPIC_BYTES_MAX),
    ] {
        assert_eq!(described.as_integer(), i64::try_from(bound).ok(), "{place}");
    }
    assert_eq!(document["info"]["version"].as_str(), Some(env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_go_push_caller_publishes_to_everyone_and_to_a_room() {
    let mut gateway = Gateway::start();
    let answer = gateway.post("/push/all", r#"items=[{"id":7}]"#);
    assert_eq!((answer.status, answer.text().as_str()), (200, ""));
    assert_eq!(publish(gateway.taken()), (vec!["*".into()], vec![r#"{"id":7}"#.into()]));

    let answer = gateway.post("/push/room", "room=a%2Fb&items=%5B1%2C+%22x%22%5D");
    assert_eq!((answer.status, answer.text().as_str()), (200, ""));
    assert_eq!(publish(gateway.taken()), (vec!["a/b".into()], vec!["1".into(), "\"x\"".into()]));

    assert_eq!(gateway.post("/push/all", "items=[]").status, 200);
    assert!(gateway.requests.pop().is_none(), "an empty array publishes nothing");
    let stats = gateway.get("/stats").json();
    assert_eq!((&stats["mergerAllTotal"], &stats["mergerRoomTotal"]), (&1.into(), &2.into()));
}

#[test]
fn a_push_is_accepted_with_an_id_that_sorts_by_time() {
    let mut gateway = Gateway::start();
    let bodies = [
        r#"{"to":{"all":true},"messages":[{"a": 1},null]}"#,
        r#"{"messages":["x"],"to":{"topic":"news"}}"#,
        r#"{"to":{"topics":["b","a"]},"messages":[3]}"#,
    ];
    let answers = bodies.map(|body| gateway.post("/v1/push", body));
    assert!(answers.iter().all(|answer| answer.status == 202));
    let bodies = answers.map(|answer| answer.json());
    assert_eq!(bodies.each_ref().map(|body| body["accepted"].as_u64()), [Some(2), Some(1), Some(1)]);
    let ids = bodies.each_ref().map(|body| body["id"].as_str().expect("an id"));
    assert!(ids[0] < ids[1] && ids[1] < ids[2], "{ids:?}");
    assert!(ids.iter().all(|id| id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))));
    assert_eq!(publish(gateway.taken()), (vec!["*".into()], vec![r#"{"a": 1}"#.into(), "null".into()]));
    assert_eq!(publish(gateway.taken()), (vec!["news".into()], vec!["\"x\"".into()]));
    assert_eq!(publish(gateway.taken()), (vec!["b".into(), "a".into()], vec!["3".into()]));
}

#[test]
fn what_is_wrong_is_refused_with_its_code_and_counted() {
    let mut gateway = Gateway::start();
    let large = format!("items=[\"{}\"]", "x".repeat(limits::MESSAGE_BYTES_MAX));
    let long = format!("/v1/topics/{}", "t".repeat(limits::TOPIC_BYTES_MAX + 1));
    for (method, path, body, expected) in [
        ("POST", "/push/all", "items=7", (400, "bad_items")),
        ("POST", "/push/all", &large, (413, "message_too_large")),
        ("POST", "/push/room", "items=[1]", (400, "bad_topic")),
        ("POST", "/v1/push", "{}", (400, "bad_body")),
        ("POST", "/v1/push", r#"{"to":{"topic":"\n"},"messages":[1]}"#, (400, "bad_topic")),
        ("GET", "/v1/topics/", "", (400, "bad_topic")),
        ("GET", "/v1/topics/%ff", "", (400, "bad_topic")),
        ("GET", &long, "", (400, "bad_topic")),
        ("GET", "/nowhere", "", (404, "not_found")),
        ("PUT", "/v1/push", "", (405, "method_not_allowed")),
        ("POST", "/stats", "", (405, "method_not_allowed")),
    ] {
        let answer = gateway.client().exchange(method, path, "", body.as_bytes());
        assert_eq!(answer.error(), (expected.0, expected.1.to_owned()), "{method} {path}");
    }
    assert!(gateway.requests.pop().is_none(), "nothing of this reaches the ingest core");
    let refused = |reason| gateway.blocks.control.publish_refused[reason as usize].get();
    assert_eq!((refused(PublishRefused::Bad), refused(PublishRefused::TooLarge)), (4, 1));
    assert_eq!(gateway.blocks.control.requests[3].get(), 11);
    let unknown = gateway.post("/v1/push", r#"{"to":{"all":true},"messages":[1],"urgent":true}"#);
    assert!(unknown.json()["error"]["message"].as_str().is_some_and(|message| message.contains("`urgent`")));
}

#[test]
fn a_path_names_its_methods_to_whoever_comes_with_another() {
    let gateway = Gateway::start();
    assert_eq!(gateway.get("/push/all").field("Allow"), Some("POST"));
    assert_eq!(gateway.post("/metrics", "").field("Allow"), Some("GET, HEAD"));
}

#[test]
fn a_full_queue_is_429_until_the_ingest_core_takes_something() {
    let mut gateway = Gateway::start();
    let mut client = gateway.client();
    let mut push = || client.exchange("POST", "/push/all", "", b"items=[1,2]");
    for _ in 0..limits::PUBLISH_SLOTS {
        assert_eq!(push().status, 200);
    }
    let refused = push();
    assert_eq!(refused.error(), (429, "queue_full".into()));
    assert_eq!(refused.field("Retry-After"), Some("1"));
    gateway.taken();
    assert_eq!(push().status, 200);
    assert_eq!(gateway.get("/v1/topics/a").error(), (429, "queue_full".into()));
    assert_eq!(gateway.get("/stats").json()["mergerAllFail"], 2);
    assert_eq!(gateway.blocks.control.publish_refused[PublishRefused::QueueFull as usize].get(), 1);
}

#[test]
fn with_redis_configured_a_publish_needs_its_session() {
    let mut gateway = Gateway::start_with(with_redis(), Deadlines::default());
    assert_eq!(gateway.post("/push/all", "items=[1]").error(), (503, "redis_unavailable".into()));
    assert!(gateway.requests.pop().is_none());
    gateway.blocks.ingest.redis_publishing.set(1);
    eventually("a gap that is long enough", || {
        // Nobody answers a publish that was handed over: it must not be.
        gateway.get("/readyz").json()["missing"].as_array().is_some_and(|missing| {
            missing.iter().any(|part| part["for_ms"].as_u64().is_some_and(|gone| gone > 1000))
        })
    });
    assert_eq!(gateway.post("/push/all", "items=[1]").error(), (503, "redis_unavailable".into()));
    gateway.blocks.ingest.redis_role.set(2);
    let refused = gateway.post("/push/all", "items=[1]");
    assert!(refused.text().contains("replica"), "{}", refused.text());
    assert!(gateway.requests.pop().is_none());
}

/// Answers what the ingest core would be asked next, once it is.
fn decide(gateway: &mut Gateway, verdict: Verdict) {
    let mut ticket = None;
    eventually("a request", || {
        ticket = match gateway.requests.pop() {
            Some(Request::Publish { ticket, .. }) => ticket,
            Some(Request::Push(new)) => Some(new.ticket),
            _ => None,
        };
        ticket.is_some()
    });
    gateway.answers.give(ticket.expect("there is one"), verdict);
}

#[test]
fn with_redis_an_answer_waits_for_what_became_of_the_publish() {
    let failed = |how, taken| {
        Verdict::Failed(Box::new(Failed { how, taken, of: 2, why: "NOPERM this user may not".into() }))
    };
    let mut gateway = Gateway::start_with(with_redis(), Deadlines::default());
    gateway.blocks.ingest.redis_publishing.set(1);
    gateway.blocks.ingest.redis_subscribed.set(1);
    let requests: [(&str, &[u8]); 4] = [
        ("/push/all", b"items=[1]"),
        ("/push/room", b"room=a&items=[1]"),
        ("/v1/push", br#"{"to":{"topic":"a"},"messages":[1]}"#),
        ("/v1/push", br#"{"to":{"topic":"a"},"messages":[1],"id":"x"}"#),
    ];
    for (path, body) in requests {
        for (verdict, status, code) in [
            (failed(How::Refused, 1), 502, "redis_refused"),
            (failed(How::Unavailable, 0), 503, "redis_unavailable"),
            (failed(How::Unknown, 2), 503, "outcome_unknown"),
            (failed(How::Stopping, 0), 503, "shutting_down"),
            (Verdict::Full, 429, "queue_full"),
            (Verdict::Done, 0, ""),
        ] {
            let mut client = gateway.client();
            client.request("POST", path, "", body);
            decide(&mut gateway, verdict);
            let answer = client.answer_to("POST");
            if code.is_empty() {
                assert!(matches!(answer.status, 200 | 202), "{path}: {}", answer.status);
            } else {
                assert_eq!(answer.error(), (status, code.to_owned()), "{path}");
            }
        }
    }
    let taken = |audience| gateway.blocks.control.messages_taken[audience as usize].get();
    assert_eq!((taken(Audience::All), taken(Audience::Topic)), (1, 3));
}

#[test]
fn pipelined_publishes_wait_together_and_are_answered_in_order() {
    let mut gateway = Gateway::start_with(with_redis(), Deadlines::default());
    gateway.blocks.ingest.redis_publishing.set(1);
    gateway.blocks.ingest.redis_subscribed.set(1);
    let mut client = gateway.client();
    for _ in 0..3 {
        client.request("POST", "/push/all", "", b"items=[1]");
    }
    client.request("GET", "/healthz", "", b"");
    let mut tickets = Vec::new();
    eventually("all of them, before any is answered", || {
        if let Some(Request::Publish { ticket: Some(ticket), .. }) = gateway.requests.pop() {
            tickets.push(ticket);
        }
        tickets.len() == 3
    });
    let verdicts = [Verdict::Done, Verdict::Full, Verdict::Done];
    for (ticket, verdict) in tickets.into_iter().zip(verdicts).rev() {
        gateway.answers.give(ticket, verdict);
    }
    let statuses = [200, 429, 200].map(|expected| (client.answer_to("POST").status, expected));
    assert!(statuses.iter().all(|(status, expected)| status == expected), "{statuses:?}");
    assert_eq!(client.answer_to("GET").text(), "ok\n");
}

#[test]
fn an_id_is_judged_by_the_ingest_core_alone() {
    let mut gateway = Gateway::start();
    let body = br#"{"to":{"topic":"a"},"messages":[1],"id":"x"}"#;
    for (verdict, status) in [(Verdict::Done, 202), (Verdict::Duplicate, 202), (Verdict::Conflict, 409)] {
        let duplicate = verdict == Verdict::Duplicate;
        let mut client = gateway.client();
        client.request("POST", "/v1/push", "", body);
        decide(&mut gateway, verdict);
        let answer = client.answer_to("POST");
        assert_eq!(answer.status, status);
        if status == 202 {
            assert_eq!(answer.json()["duplicate"], duplicate);
        }
    }
}

#[test]
fn the_process_is_ready_when_every_shard_listens_and_redis_is_subscribed() {
    let gateway = Gateway::start_with(with_redis(), Deadlines::default());
    let missing = |gateway: &Gateway| {
        let answer = gateway.get("/readyz");
        let body = answer.json();
        let parts = body["missing"].as_array().expect("a list").clone();
        assert_eq!(body["ready"], parts.is_empty());
        assert_eq!(answer.status, if parts.is_empty() { 200 } else { 503 });
        parts
            .into_iter()
            .map(|part| (part["part"].as_str().expect("a part").to_owned(), part))
            .collect::<Vec<_>>()
    };
    let parts = missing(&gateway);
    assert_eq!(
        parts.iter().map(|(part, _)| part.as_str()).collect::<Vec<_>>(),
        ["shards", "redis_publishing", "redis_subscription"]
    );
    assert!(parts[0].1["message"].as_str().is_some_and(|message| message.contains("2 of 2")));
    let gone_ms =
        |parts: &[(String, serde_json::Value)]| parts.last().and_then(|(_, part)| part["for_ms"].as_u64());
    let first = gone_ms(&parts).expect("a duration");
    eventually("a longer gap", || gone_ms(&missing(&gateway)).expect("a duration") > first);
    gateway.blocks.shards.iter().for_each(|shard| shard.listening.set(1));
    gateway.blocks.ingest.redis_subscribed.set(1);
    gateway.blocks.ingest.redis_publishing.set(1);
    assert!(missing(&gateway).is_empty());
    assert_eq!(gateway.get("/healthz").text(), "ok\n");
}

#[test]
fn a_gap_of_the_redis_subscription_is_timed_from_its_own_beginning() {
    let begun = Instant::now();
    let gateway = Gateway::start_with(with_redis(), Deadlines::default());
    let subscribed = &gateway.blocks.ingest.redis_subscribed;
    let gone_ms =
        || gateway.get("/readyz").json()["missing"].as_array().and_then(|m| m.last()?["for_ms"].as_u64());
    eventually("a gap that is younger than the process", || {
        // The thread looks every 100 ms; a subscription that stands for longer has been seen.
        subscribed.set(1);
        std::thread::sleep(Duration::from_millis(250));
        subscribed.set(0);
        let gone = Duration::from_millis(gone_ms().expect("gone"));
        gone + Duration::from_millis(100) < begun.elapsed()
    });
}

#[test]
fn a_topic_is_counted_by_every_shard() {
    let mut gateway = Gateway::start();
    let mut client = gateway.client();
    client.request("GET", "/v1/topics/caf%C3%A9/1", "", b"");
    let mut request = None;
    eventually("the question", || {
        request = gateway.requests.pop();
        request.is_some()
    });
    let Some(Request::Inspect { position, census }) = request else { panic!("{request:?}") };
    assert!(matches!(&census.address, Address::Topic(topic) if topic.as_str() == "café/1"));
    position.fill(42, 0xab);
    census.answer(3);
    census.answer(4);
    let answer = client.answer_to("GET").json();
    let expected =
        serde_json::json!({"topic": "café/1", "members": 7, "offset": 42, "epoch": "00000000000000ab"});
    assert_eq!(answer, expected);
}

#[test]
fn a_topic_that_nobody_counts_is_503() {
    let census = Duration::from_millis(30);
    let mut gateway = Gateway::start_with(Config::default(), Deadlines { census, ..Deadlines::default() });
    assert_eq!(gateway.get("/v1/topics/a").error(), (503, "no_answer".into()));
    assert!(matches!(gateway.taken(), Request::Inspect { .. }));
}

#[test]
fn the_counters_are_shown_in_every_view() {
    let gateway = Gateway::start();
    let shard = &gateway.blocks.shards[1];
    shard.connections[0].set(5);
    shard.deliveries.add(11);
    shard.turn_max_us.set(900);
    let stats = gateway.get("/stats").json();
    assert_eq!((&stats["onlineConnections"], &stats["sendMessageTotal"]), (&5.into(), &11.into()));
    let shards = gateway.get("/v1/shards").json();
    assert!(shards["process_resident_bytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20));
    let view = &shards["shards"][1];
    assert_eq!(
        (&view["connections"], &view["turn_max_us"], &view["shard"]),
        (&5.into(), &900.into(), &1.into())
    );
    let metrics = gateway.get("/metrics");
    let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(metrics.field("Content-Type"), Some(openmetrics));
    assert!(metrics.text().contains("fanfare_deliveries_total{shard=\"1\"} 11\n"));
    assert!(metrics.text().contains("fanfare_api_requests_total{class=\"2xx\"} 2\n"));
    assert!(metrics.text().ends_with("\n# EOF\n"));
    assert!(gateway.get("/openapi.yaml").text().starts_with("openapi: 3.1.0\n"));
}

#[test]
fn what_a_view_shows_is_what_the_description_says_it_must() {
    let gateway = Gateway::start();
    let document = description();
    let keys = |value: &serde_json::Value| {
        value.as_object().expect("an object").keys().cloned().collect::<BTreeSet<_>>()
    };
    let required = |schema: &str| -> BTreeSet<String> {
        let required = document["components"]["schemas"][schema]["required"].as_vec().expect("a list");
        required.iter().map(|key| key.as_str().expect("a key").to_owned()).collect()
    };
    assert_eq!(keys(&gateway.get("/stats").json()), required("Stats"));
    let shards = gateway.get("/v1/shards").json();
    assert_eq!(keys(&shards), required("Shards"));
    assert_eq!(keys(&shards["shards"][0]), required("Shard"));
}

/// Answers one question about the configuration as the main thread would; the patch that was asked for.
fn answer_one(gateway: &Gateway, answer: impl FnOnce() -> proposals::PatchOutcome) -> Option<Patch> {
    let mut asked = None;
    eventually("a question", || {
        asked = gateway.asked.next();
        asked.is_some()
    });
    let asked = asked.expect("it came");
    let patch = asked.patch.clone();
    asked.answer(answer());
    patch
}

/// The settings of a process that was started with nothing.
fn settings() -> Settings {
    Settings::new(raw::load(&Flags::default(), []).expect("the defaults are good"))
}

#[test]
fn the_configuration_is_asked_of_its_owner_and_shown_as_described() {
    let gateway = Gateway::start();
    let mut client = gateway.client();
    let answer = std::thread::scope(|scope| {
        let answer = scope.spawn(|| client.exchange("GET", "/v1/config", "", b""));
        let view = || proposals::PatchOutcome::Shown(Box::new(settings().view(3, &Config::default())));
        assert_eq!(answer_one(&gateway, view), None);
        answer.join().expect("an answer")
    });
    assert_eq!(answer.status, 200);
    let shown = answer.json();
    assert_eq!((&shown["edition"], &shown["problems"]), (&3.into(), &serde_json::json!([])));
    let delay = serde_json::json!({"value": 10, "source": "default", "origin": "default", "live": true});
    assert_eq!(shown["values"]["merge.delay_ms"], delay);
}

#[test]
fn a_refused_change_is_422_with_every_problem() {
    let gateway = Gateway::start();
    let mut client = gateway.client();
    let body = br#"{"log.level": "loud", "server.shards": 3}"#;
    let answer = std::thread::scope(|scope| {
        let answer = scope.spawn(|| client.exchange("PATCH", "/v1/config", "", body));
        let refused = || {
            let patch = Patch::parse(body).expect("an object");
            let problems =
                settings().offer(&Config::default(), ConfigChange::Api(&patch)).expect_err("two problems");
            proposals::PatchOutcome::Refused(problems)
        };
        assert_eq!(answer_one(&gateway, refused), Patch::parse(body).ok());
        answer.join().expect("an answer")
    });
    assert_eq!(answer.error(), (422, "bad_config".into()));
    let keys: Vec<_> = answer.json()["error"]["problems"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|problem| problem["key"].as_str().expect("a key").to_owned())
        .collect();
    assert_eq!(keys, ["server.shards", "log.level"]);
}

#[test]
fn a_change_that_is_no_object_or_too_long_asks_nobody() {
    let gateway = Gateway::start();
    let patch = |body: &[u8]| gateway.client().exchange("PATCH", "/v1/config", "", body).error();
    assert_eq!(patch(b"[1]"), (400, "bad_body".into()));
    assert_eq!(patch(&vec![b' '; limits::CONFIG_PATCH_BYTES_MAX + 1]), (413, "body_too_large".into()));
    assert!(gateway.asked.next().is_none());
    let refused = gateway.post("/v1/config", "{}");
    assert_eq!((refused.status, refused.field("Allow")), (405, Some("GET, HEAD, PATCH")));
}

#[test]
fn a_main_thread_that_does_not_answer_is_not_waited_for() {
    let config = Duration::from_millis(50);
    let gateway = Gateway::start_with(Config::default(), Deadlines { config, ..Deadlines::default() });
    assert_eq!(gateway.get("/v1/config").error(), (503, "no_answer".into()));
    // The question above waits still.
    for _ in 1..limits::CONFIG_PROPOSALS_MAX {
        assert_eq!(gateway.get("/v1/config").error(), (503, "no_answer".into()));
    }
    assert_eq!(gateway.get("/v1/config").error(), (429, "queue_full".into()));
}

#[test]
fn a_drain_reaches_the_ingest_core_and_ends_publishing() {
    let mut gateway = Gateway::start();
    gateway.blocks.shards.iter().for_each(|shard| shard.listening.set(1));
    assert_eq!(gateway.get("/readyz").status, 200);
    assert!(gateway.orders.give(Order::Drain));
    eventually("the drain", || matches!(gateway.requests.directive(), Some(Directive::Drain)));
    assert_eq!(gateway.post("/push/all", "items=[1]").error(), (503, "shutting_down".into()));
    assert_eq!(gateway.get("/v1/topics/a").error(), (503, "shutting_down".into()));
    let ready = gateway.get("/readyz");
    assert_eq!((ready.status, &ready.json()["missing"][0]["part"]), (503, &"draining".into()));
    assert_eq!(ready.field("Connection"), Some("close"));
    assert_eq!(gateway.get("/healthz").status, 200);
    assert!(gateway.requests.pop().is_none());
}

#[test]
fn a_drain_passes_a_full_queue_and_ends_publishing_at_once() {
    let mut gateway = Gateway::start();
    let mut client = gateway.client();
    for _ in 0..limits::PUBLISH_SLOTS {
        assert_eq!(client.exchange("POST", "/push/all", "", b"items=[1]").status, 200);
    }
    assert!(gateway.orders.give(Order::Drain));
    eventually("the drain", || matches!(gateway.requests.directive(), Some(Directive::Drain)));
    assert_eq!(gateway.post("/push/all", "items=[1]").error(), (503, "shutting_down".into()));
    for _ in 0..limits::PUBLISH_SLOTS {
        assert!(matches!(gateway.taken(), Request::Publish { .. }), "what was taken is still there");
    }
}

#[test]
fn a_scraper_gets_the_format_that_it_accepts() {
    let gateway = Gateway::start();
    let old = "text/plain; version=0.0.4; charset=utf-8";
    for accept in
        ["text/plain;version=0.0.4", "text/plain;q=0.9\r\nAccept: application/openmetrics-text;q=0.1"]
    {
        let mut client = gateway.client();
        let fields = format!("Accept: {accept}\r\n");
        let answer = client.exchange("GET", "/metrics", &fields, b"");
        assert_eq!(answer.field("Content-Type"), Some(old), "{accept}");
        assert!(answer.text().contains("# TYPE fanfare_api_requests_total counter\n"));
        assert!(!answer.text().contains("# EOF") && answer.text().ends_with('\n'));
        let head = client.exchange("HEAD", "/metrics", &fields, b"");
        assert_eq!(head.field("Content-Type"), Some(old));
    }
    for accept in ["*/*", "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"] {
        let answer = gateway.client().exchange("GET", "/metrics", &format!("Accept: {accept}\r\n"), b"");
        assert!(answer.text().ends_with("# EOF\n"), "{accept}");
    }
}

#[test]
fn a_message_that_some_receivers_cannot_read_is_refused_with_its_place() {
    let mut gateway = Gateway::start();
    let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
    let v1 = format!(r#"{{"to":{{"all":true}},"messages":[1,{deep}]}}"#);
    for (path, body) in [
        ("/v1/push", v1),
        ("/push/all", format!("items=[1,{deep}]")),
        ("/push/room", format!("room=a&items=[1,{deep}]")),
    ] {
        let answer = gateway.post(path, body);
        assert_eq!(answer.error(), (400, "unreadable_message".into()), "{path}");
        assert!(answer.text().contains("message 1 is nested deeper than 128"), "{}", answer.text());
    }
    assert!(gateway.requests.pop().is_none());
}
