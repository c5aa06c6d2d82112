//! Many at once: whoever holds connections, halves of requests or unread answers, probes are answered and memory is bounded.

use std::io::Read as _;
use std::time::{Duration, Instant};

use fanfare::api::Deadlines;
use fanfare::api::orders::Order;
use fanfare::config::Config;
use fanfare::ingest::answers::{Failed, How, Verdict};
use fanfare::metrics::PublishRefused;
use fanfare_core::limits;

use crate::harness::{Client, Gateway, PATIENCE, eventually};

/// Longer than any test here: no deadline helps.
fn patient() -> Gateway {
    let deadlines = Deadlines { read: 2 * PATIENCE, idle: 2 * PATIENCE, ..Deadlines::default() };
    Gateway::start_with(Config::default(), deadlines)
}

fn assert_probes_are_answered(gateway: &Gateway) {
    for path in ["/healthz", "/readyz", "/metrics"] {
        let begun = Instant::now();
        assert_eq!(gateway.get(path).status, if path == "/readyz" { 503 } else { 200 }, "{path}");
        assert!(begun.elapsed() < PATIENCE / 4, "{path} took {:?}", begun.elapsed());
    }
}

fn publish(gateway: &Gateway) -> u16 {
    gateway.post("/push/all", "items=[]").status
}

fn that_send(gateway: &Gateway, count: usize, bytes: &str) -> Vec<Client> {
    (0..count)
        .map(|_| {
            let mut client = gateway.client();
            client.send(bytes);
            client
        })
        .collect()
}

#[test]
fn idle_connections_give_way_the_longest_idle_first() {
    let gateway = patient();
    let mut clients = Vec::new();
    for _ in 0..4 * limits::API_CONNECTIONS_MAX {
        let mut client = gateway.client();
        assert_eq!(client.exchange("GET", "/stats", "", b"").status, 200);
        clients.push(client);
    }
    assert_probes_are_answered(&gateway);
    assert_eq!(publish(&gateway), 200);
    let gone = clients.len() - limits::API_CONNECTIONS_MAX;
    for client in &mut clients[..gone] {
        assert!(client.is_ended(), "it ends in order, with nothing said");
    }
    // The youngest are there still; some of the others gave way to the probes and the publish.
    for client in clients.iter_mut().rev().take(100) {
        assert_eq!(client.exchange("GET", "/stats", "", b"").status, 200);
    }
    assert!(gateway.blocks.control.displaced.get() >= gone as u64);
}

#[test]
fn connections_that_say_nothing_or_half_a_head_cost_publishers_nothing() {
    let gateway = patient();
    let _silent = that_send(&gateway, 300, "");
    let _half = that_send(&gateway, 300, "POST /v1/push HTTP/1.1\r\nHost: local");
    eventually("all of them are here", || gateway.blocks.control.displaced.get() >= 300);
    for _ in 0..300 {
        assert_eq!(publish(&gateway), 200);
    }
    assert_probes_are_answered(&gateway);
    assert!(gateway.blocks.control.connections.get() <= limits::API_HEADS_MAX as u64);
}

#[test]
fn with_every_place_taken_probes_are_answered_and_others_are_told() {
    let gateway = patient();
    let half = "POST /push/all HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nitems";
    let mut busy = that_send(&gateway, limits::API_CONNECTIONS_MAX, half);
    eventually("all are here", || {
        gateway.blocks.control.connections.get() == limits::API_CONNECTIONS_MAX as u64
    });
    eventually("all have their places", || publish(&gateway) == 503);
    assert_probes_are_answered(&gateway);
    let refused = gateway.post("/push/all", "items=[]");
    assert_eq!(refused.error(), (503, "too_many_connections".into()));
    assert!(gateway.blocks.control.publish_refused[PublishRefused::QueueFull as usize].get() > 0);
    // A probe that would stay is answered and closed.
    let mut probe = gateway.client();
    let answer = probe.exchange("GET", "/healthz", "", b"");
    assert_eq!((answer.status, answer.field("Connection")), (200, Some("close")));
    // Nobody who has a place has lost it.
    let last = busy.last_mut().expect("one");
    last.send("=[1]");
    assert_eq!(last.answer_to("POST").status, 200);
    eventually("its place is the next one's", || publish(&gateway) == 200);
}

#[test]
fn answers_that_nobody_reads_keep_no_probe_waiting() {
    /// So few that a slow machine fills their sockets in time.
    const UNREAD: usize = 32;
    const ASKED: usize = 400;
    let gateway = patient();
    let pipelined = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(ASKED);
    let clients = that_send(&gateway, UNREAD, &pipelined);
    let answered = || gateway.blocks.control.requests[1].get();
    eventually("no more answers fit the sockets", || {
        let before = answered();
        std::thread::sleep(Duration::from_millis(200));
        before > UNREAD as u64 && answered() == before
    });
    // How many fit is the kernel's affair: it lets a receiving socket grow.
    assert!(answered() < (ASKED / 2 * UNREAD) as u64, "most are not even made: {}", answered());
    assert_probes_are_answered(&gateway);
    drop(clients);
    eventually("all have gone", || gateway.blocks.control.connections.get() == 0);
}

/// A push that is over: nobody knows what became of it.
fn lose_a_push(gateway: &mut Gateway, id: &str) {
    let mut client = gateway.client();
    let body = format!(r#"{{"to":{{"topic":"a"}},"messages":[1],"id":"{id}"}}"#);
    client.request("POST", "/v1/push", "", body.as_bytes());
    let failed = Failed { how: How::Unknown, taken: 0, of: 1, why: "it was lost".into() };
    crate::decide(gateway, Verdict::Failed(Box::new(failed)));
    assert_eq!(client.answer_to("POST").error(), (503, "outcome_unknown".into()));
}

#[test]
fn the_list_has_every_push_that_is_over_each_time() {
    let mut gateway = patient();
    assert_eq!(gateway.get("/v1/pushes").json(), serde_json::json!({"running": [], "recent": []}));
    for id in ["a", "b"] {
        lose_a_push(&mut gateway, id);
    }
    let mut client = gateway.client();
    let shown = ["b", "a"].map(|id| {
        client.request("GET", &format!("/v1/pushes/{id}"), "", b"");
        client.answer_to("GET").json()
    });
    for _ in 0..2 {
        assert_eq!(gateway.get("/v1/pushes").json(), serde_json::json!({"running": [], "recent": shown}));
    }
}

#[test]
fn a_crowd_that_lists_a_thousand_pushes_holds_up_neither_probes_nor_the_drain() {
    const ASKED: usize = 2000;
    let mut gateway = patient();
    for id in 0..limits::PUSHES_RECENT_MAX {
        lose_a_push(&mut gateway, &id.to_string());
    }
    let list = gateway.get("/v1/pushes").json();
    assert_eq!(list["recent"].as_array().map(Vec::len), Some(limits::PUSHES_RECENT_MAX));
    let request = "GET /v1/pushes HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let _unread = that_send(&gateway, 100, &request.repeat(20));
    for _ in 0..ASKED {
        drop(that_send(&gateway, 1, request));
    }
    assert_probes_are_answered(&gateway);
    let begun = Instant::now();
    assert!(gateway.orders.give(Order::Drain));
    eventually("the drain reaches the thread", || gateway.get("/readyz").text().contains("draining"));
    assert!(begun.elapsed() < PATIENCE / 4, "the drain took {:?}", begun.elapsed());
}

#[test]
fn unfinished_bodies_have_a_total_and_small_publishes_pass() {
    let gateway = patient();
    let size = limits::API_BODY_BYTES_DEFAULT;
    let begun = format!("POST /v1/push HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n");
    let announced = that_send(&gateway, 100, &begun);
    let held = || gateway.blocks.control.held_bytes[0].get() as usize;
    assert_eq!(held(), 0, "what is only announced takes nothing");
    drop(announced);
    let body = vec![b' '; size - 1];
    let mut refused = 0;
    let mut clients = Vec::new();
    for _ in 0..12 {
        let mut client = gateway.client();
        client.send(&begun);
        client.stream.set_write_timeout(Some(Duration::from_secs(2))).expect("a socket option");
        // It may be refused in the middle of it.
        let _ = std::io::Write::write_all(&mut client.stream, &body);
        clients.push(client);
        assert!(held() <= limits::API_BODIES_BYTES_MAX);
    }
    for client in &mut clients {
        client.stream.set_nonblocking(true).expect("a socket option");
        let mut answer = [0; 512];
        if let Ok(length) = client.stream.read(&mut answer)
            && length > 0
        {
            let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
            assert!(
                answer.starts_with("HTTP/1.1 503 ")
                    && answer.contains("too_busy")
                    && answer.contains("Retry-After")
            );
            refused += 1;
        }
    }
    assert!(refused >= 12 - limits::API_BODIES_BYTES_MAX / size, "{refused} were refused");
    for _ in 0..20 {
        assert_eq!(publish(&gateway), 200);
    }
    let medium = format!("items=[]&x={}", "y".repeat(30 * 1024));
    assert_eq!(gateway.post("/push/all", medium).status, 200);
    assert_probes_are_answered(&gateway);
    drop(clients);
    eventually("nothing is held", || held() == 0);
}
