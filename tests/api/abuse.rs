//! The private API's HTTP: what clients may do, and what they may not.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use fanfare::api::Deadlines;
use fanfare::config::Config;
use fanfare::ingest::publisher::Request;
use fanfare::metrics::PublishRefused;
use fanfare_core::limits;

use crate::harness::{Gateway, PATIENCE, eventually};

const SHORT: Duration = Duration::from_millis(150);

fn small_bodies() -> Config {
    let mut config = Config::default();
    config.api.body_bytes_max = 1000;
    config
}

#[test]
fn a_chunked_body_is_a_body() {
    let mut gateway = Gateway::start();
    let mut client = gateway.client();
    let head = "POST /push/all HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    for byte in format!("{head}6\r\nitems=\r\n5;x=y\r\n[1,2]\r\n0\r\nTrailer: t\r\n\r\n").bytes() {
        client.send([byte]);
    }
    assert_eq!(client.answer_to("POST").status, 200);
    assert!(matches!(gateway.taken(), Request::Publish { messages, .. } if messages.len() == 2));
}

#[test]
fn pipelined_requests_are_answered_in_order_on_one_connection() {
    let mut gateway = Gateway::start();
    let mut client = gateway.client();
    client.send(
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n\
         POST /push/all HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nitems=[1]\
         GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n\
         GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    );
    assert_eq!([200, 200, 404, 200], [(); 4].map(|()| client.answer_to("GET").status));
    assert!(client.is_ended(), "nothing is answered after `Connection: close`");
    gateway.taken();
}

#[test]
fn a_client_that_waits_for_100_gets_it() {
    let mut gateway = Gateway::start();
    let mut client = gateway.client();
    let head =
        "POST /push/all HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n";
    client.send(head);
    assert_eq!(client.answer_to("POST").status, 100);
    client.send("items=[1]");
    assert_eq!(client.answer_to("POST").status, 200);
    gateway.taken();
}

#[test]
fn head_answers_like_get_without_the_body() {
    let gateway = Gateway::start();
    let mut client = gateway.client();
    let head = client.exchange("HEAD", "/openapi.yaml", "", b"");
    let get = client.exchange("GET", "/openapi.yaml", "", b"");
    assert_eq!(head.field("Content-Length"), Some(get.body.len().to_string().as_str()));
    assert_eq!(head.field("Content-Type"), get.field("Content-Type"));
    assert_eq!(client.exchange("HEAD", "/push/all", "", b"").status, 405);
}

#[test]
fn an_http_1_0_client_gets_one_answer() {
    let gateway = Gateway::start();
    let mut client = gateway.client();
    client.send("GET /healthz HTTP/1.0\r\n\r\n");
    let answer = client.answer_to("GET");
    assert_eq!((answer.status, answer.field("Connection")), (200, Some("close")));
    assert!(client.is_ended());
}

#[test]
fn a_request_that_can_be_read_in_two_ways_is_refused_and_the_connection_ends() {
    let gateway = Gateway::start();
    for (head, expected) in [
        (
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
            (400, "bad_request"),
        ),
        (
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2",
            (400, "bad_request"),
        ),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip", (501, "not_implemented")),
        (
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nExpect: tea",
            (417, "expectation_failed"),
        ),
        ("GET / HTTP/1.1", (400, "bad_request")),
        ("GET / HTTP/2.0\r\nHost: localhost", (505, "http_version_not_supported")),
        ("\u{16}\u{3}\u{1} TLS", (400, "bad_request")),
    ] {
        let mut client = gateway.client();
        client.send(format!("{head}\r\n\r\n"));
        assert_eq!(client.answer_to("POST").error(), (expected.0, expected.1.to_owned()), "{head}");
        assert!(client.is_ended());
    }
}

#[test]
fn an_endless_head_is_431() {
    let gateway = Gateway::start();
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\nEndless: ");
    client.send(vec![b'a'; 2 * limits::API_HEAD_BYTES_MAX]);
    assert_eq!(client.answer_to("GET").error(), (431, "head_too_large".into()));
    assert!(client.is_ended());
}

#[test]
fn a_body_above_its_bound_is_413_while_it_is_still_being_sent() {
    let mut gateway = Gateway::start_with(small_bodies(), Deadlines::default());
    let fits = format!("items=[\"{}\"]", "x".repeat(990));
    assert_eq!(gateway.post("/push/all", fits).status, 200);
    gateway.taken();

    let mut announced = gateway.client();
    announced.request("POST", "/push/all", "", &vec![b'x'; 200_000]);
    assert_eq!(announced.answer_to("POST").error(), (413, "body_too_large".into()));
    assert!(announced.is_ended());

    let mut chunked = gateway.client();
    chunked.send("POST /push/all HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..200 {
        chunked.send(format!("64\r\n{}\r\n", "x".repeat(100)));
    }
    assert_eq!(chunked.answer_to("POST").error(), (413, "body_too_large".into()));
    assert!(chunked.is_ended());
    assert_eq!(gateway.blocks.control.publish_refused[PublishRefused::TooLarge as usize].get(), 2);
}

#[test]
fn a_request_that_trickles_is_408_in_time_whatever_it_trickles() {
    let deadlines = Deadlines { read: SHORT, linger: SHORT, ..Deadlines::default() };
    let gateway = Gateway::start_with(Config::default(), deadlines);
    for begin in [
        "GET /stats HTTP/1.1\r\n",
        "POST /push/all HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n",
    ] {
        let mut client = gateway.client();
        client.send(begin);
        let begun = Instant::now();
        let mut trickle = client.stream.try_clone().expect("a descriptor");
        // Each byte is activity; the deadline is for the request, not for a read.
        let trickler = std::thread::spawn(move || {
            while trickle.write_all(b"a").is_ok() && begun.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        assert_eq!(client.answer_to("POST").error(), (408, "request_timeout".into()), "{begin}");
        let took = begun.elapsed();
        assert!(took >= SHORT * 9 / 10 && took < SHORT * 20, "{took:?}");
        drop(client);
        trickler.join().expect("the trickler ends when the gateway closes");
    }
}

#[test]
fn a_connection_that_says_nothing_is_closed_without_a_word() {
    let deadlines = Deadlines { read: SHORT, idle: SHORT, ..Deadlines::default() };
    let gateway = Gateway::start_with(Config::default(), deadlines);
    let mut fresh = gateway.client();
    assert!(fresh.is_ended());
    let mut kept = gateway.client();
    assert_eq!(kept.exchange("GET", "/healthz", "", b"").status, 200);
    assert!(kept.is_ended());
}

#[test]
fn ten_thousand_connections_of_random_bytes_leave_the_api_as_it_was() {
    const THREADS: u64 = 4;
    const EACH: u64 = 2500;
    let gateway = Gateway::start_with(small_bodies(), Deadlines { read: SHORT, ..Deadlines::default() });
    let address = gateway.address;
    let attack = |thread: u64| {
        move || {
            let mut seed = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(thread + 1);
            let mut random = move || {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                seed
            };
            let beginnings: [&[u8]; 5] = [
                b"",
                b"GET ",
                b"POST /push/all HTTP/1.1\r\nHost: localhost\r\n",
                b"POST /v1/push HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40\r\n\r\n",
                b"POST /push/room HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
            ];
            for _ in 0..EACH {
                let mut bytes = beginnings[random() as usize % beginnings.len()].to_vec();
                bytes.extend((0..random() % 200).map(|_| random() as u8));
                let mut stream = TcpStream::connect(address).expect("the API accepts");
                stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
                // The API may refuse and close before it has everything: that is its right.
                let _ = stream.write_all(&bytes).and_then(|()| stream.shutdown(Shutdown::Write));
                let _ = stream.read_to_end(&mut Vec::new());
            }
        }
    };
    let threads: Vec<_> = (0..THREADS).map(|thread| std::thread::spawn(attack(thread))).collect();
    for thread in threads {
        thread.join().expect("every connection was accepted");
    }
    assert_eq!(gateway.get("/healthz").status, 200);
    eventually("every connection has ended", || gateway.blocks.control.connections.get() == 0);
    assert_eq!(gateway.blocks.control.panics.get(), 0);
    assert!(gateway.blocks.control.requests[3].get() > THREADS * EACH / 10, "most of it was refused");
}
