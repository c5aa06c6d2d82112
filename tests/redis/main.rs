//! The two Redis sessions against a real redis-server: one process per test, on a free port of 127.0.0.1.

mod gateway;
mod server;

use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfare::config::{RedisEndpoint, RedisUrl};
use fanfare::ingest::answers::How;
use fanfare::ingest::redis::{Incoming, subscribe};
use fanfare::metrics::Refused;
use fanfare::redis::{Dialer, RefusalKind, Timing};
use fanfare_core::limits::{MESSAGE_BYTES_MAX, REDIS_INBOX_BYTES_MAX};
use gateway::{Gateway, IMPATIENT, PREFIX, channel, eventually, run, tcp};
use server::{RedisServer, free_port};

#[test]
fn messages_under_the_prefix_arrive_in_order_and_without_it() {
    let server = RedisServer::start(&[]);
    run(async {
        let gateway = Gateway::new(64);
        gateway.subscribes(&tcp(server.port), Timing::default());
        gateway.subscribed().await;
        let mut client = server.client();
        for n in 0..5000 {
            client.queue(&[b"PUBLISH", b"t1x:all", b"a glob would match this"]);
            client.queue(&[b"PUBLISH", &channel("all"), format!("{n}").as_bytes()]);
        }
        client.flush();
        for n in 0..5000 {
            let (channel, payload) = gateway.next_message().await;
            assert_eq!((&channel[..], &payload[..]), (&b"all"[..], format!("{n}").as_bytes()));
        }
        assert_eq!((gateway.count().redis_gaps.get(), gateway.count().redis_connect_errors.get()), (0, 0));
    });
}

#[test]
fn a_message_of_the_largest_size_arrives_and_larger_ones_are_refused_without_harm() {
    // By default Redis itself drops a subscriber that it owes 32 MiB.
    let server = RedisServer::start(&["--client-output-buffer-limit", "pubsub 0 0 0"]);
    run(async {
        let gateway = Gateway::new(8);
        gateway.subscribes(&tcp(server.port), Timing::default());
        gateway.subscribed().await;
        let pattern: Vec<u8> =
            (0..48 * 1024 * 1024_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let mut client = server.client();
        for bytes in [MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX + 1, pattern.len(), 5] {
            client.queue(&[b"PUBLISH", &channel("all"), &pattern[..bytes]]);
        }
        client.flush();
        assert_eq!(gateway.next_message().await.1, pattern[..MESSAGE_BYTES_MAX]);
        assert_eq!(gateway.next_message().await.1, pattern[..5]);
        assert_eq!(gateway.count().messages_refused[Refused::TooBig as usize].get(), 2);
        assert_eq!(gateway.count().redis_gaps.get(), 0);
    });
}

#[test]
fn a_full_inbox_holds_redis_back_and_is_not_taken_for_a_dead_server() {
    let server = RedisServer::start(&[]);
    run(async {
        let gateway = Gateway::new(700);
        gateway.subscribes(&tcp(server.port), IMPATIENT);
        gateway.subscribed().await;
        let mut client = server.client();
        for n in 0..2000 {
            client.queue(&[b"PUBLISH", &channel("all"), format!("{n}").as_bytes()]);
        }
        client.flush();
        monoio::time::sleep((IMPATIENT.ping_after + IMPATIENT.pong_within) * 2).await;
        let bytes = gateway.inbox.bytes();
        assert!((300..=700).contains(&bytes), "{bytes} bytes wait");
        for n in 0..2000 {
            assert_eq!(gateway.next_message().await.1, format!("{n}").as_bytes());
        }
        assert_eq!(gateway.count().redis_gaps.get(), 0);
    });
}

#[test]
fn an_idle_session_stands_by_its_pings() {
    let server = RedisServer::start(&[]);
    run(async {
        let gateway = Gateway::new(700);
        gateway.subscribes(&tcp(server.port), IMPATIENT);
        gateway.publishes(&tcp(server.port), IMPATIENT);
        gateway.subscribed().await;
        monoio::time::sleep((IMPATIENT.ping_after + IMPATIENT.pong_within) * 3).await;
        gateway.offer(None, "hi");
        assert_eq!(gateway.next_message().await.1, "hi");
        let count = gateway.count();
        assert_eq!((count.redis_gaps.get(), count.redis_connect_errors.get()), (0, 0));
        assert_eq!(count.redis_publishing.get(), 1);
    });
}

#[test]
fn publishes_reach_redis_in_order_and_are_counted_once_answered() {
    let server = RedisServer::start(&[]);
    run(async {
        let gateway = Gateway::new(REDIS_INBOX_BYTES_MAX);
        gateway.subscribes(&tcp(server.port), Timing::default());
        gateway.subscribed().await;
        // Before the session: they wait for it.
        let large = Bytes::from(vec![b'x'; MESSAGE_BYTES_MAX]);
        for n in 0..3000 {
            gateway.offer(Some("a"), format!("{n}"));
        }
        gateway.offer(Some("b"), large.clone());
        gateway.publishes(&tcp(server.port), Timing::default());
        for n in 0..3000 {
            let (channel, payload) = gateway.next_message().await;
            assert_eq!((&channel[..], &payload[..]), (&b"topic:a"[..], format!("{n}").as_bytes()));
        }
        assert_eq!(gateway.next_message().await.1, large);
        for _ in 0..3001 {
            assert_eq!(gateway.outcome_of_one_that_comes_back().await, None);
        }
        assert!(gateway.queue.is_empty());
        assert_eq!(
            (gateway.count().redis_published.get(), gateway.count().redis_publish_failed.get()),
            (3001, 0)
        );
    });
}

#[test]
fn a_killed_server_is_a_gap_and_delivery_resumes_within_a_second_of_its_return() {
    let mut server = RedisServer::start(&[]);
    run(async {
        let gateway = Gateway::new(64);
        gateway.subscribes(&tcp(server.port), Timing::default());
        gateway.publishes(&tcp(server.port), Timing::default());
        gateway.subscribed().await;
        eventually("publishing", || gateway.count().redis_publishing.get() == 1).await;
        server.kill();
        eventually("the loss is seen", || gateway.count().redis_subscribed.get() == 0).await;
        eventually("both are seen", || gateway.count().redis_publishing.get() == 0).await;
        // Long enough for the pauses to have reached their longest.
        monoio::time::sleep(Duration::from_secs(3)).await;
        gateway.offer(Some("kept"), "published while Redis was away");
        server.restart();
        let returned = Instant::now();
        let mut client = server.client();
        while gateway.inbox.is_empty() {
            client.say(&[b"PUBLISH", &channel("all"), b"again"]);
            monoio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(returned.elapsed() < Duration::from_secs(1), "{:?}", returned.elapsed());
        assert_eq!(gateway.next().await, Incoming::Gap);
        client.say(&[b"PUBLISH", &channel("all"), b"last"]);
        while gateway.next_message().await.1 != "last" {}
        assert_eq!(gateway.outcome_of_one_that_comes_back().await, None);
        let count = gateway.count();
        assert_eq!((count.redis_published.get(), count.redis_publish_failed.get()), (1, 0));
        assert_eq!(count.redis_gaps.get(), 1);
        assert!((3_000_000..10_000_000).contains(&count.redis_gap_us.get()), "{}", count.redis_gap_us.get());
        assert!(count.redis_connect_errors.get() > 4);
    });
}

#[test]
fn a_stopped_server_is_noticed_and_what_it_was_given_counts_as_failed() {
    let server = RedisServer::start(&[]);
    run(async {
        let gateway = Gateway::new(64);
        gateway.subscribes(&tcp(server.port), IMPATIENT);
        gateway.publishes(&tcp(server.port), IMPATIENT);
        gateway.subscribed().await;
        eventually("publishing", || gateway.count().redis_publishing.get() == 1).await;
        server.signal("STOP");
        let stopped = Instant::now();
        gateway.offer(None, "into the void");
        eventually("the loss is seen", || {
            gateway.count().redis_subscribed.get() + gateway.count().redis_publishing.get() == 0
        })
        .await;
        assert!(
            stopped.elapsed() < (IMPATIENT.ping_after + IMPATIENT.pong_within) * 3,
            "{:?}",
            stopped.elapsed()
        );
        assert_eq!(gateway.count().redis_publish_failed.get(), 1);
        server.signal("CONT");
        gateway.subscribed().await;
        assert_eq!(gateway.next().await, Incoming::Gap);
        assert_eq!(gateway.count().redis_gaps.get(), 1);
    });
}

#[test]
fn passwords_and_acl_users_are_let_in_and_wrong_ones_are_not() {
    let server = RedisServer::start(&["--requirepass", "sesame"]);
    let mut client = server.client();
    assert_eq!(client.say(&[b"AUTH", b"sesame"]), "+OK");
    let user: &[&[u8]] = &[
        b"ACL",
        b"SETUSER",
        b"dev",
        b"on",
        b">pw",
        b"resetchannels",
        b"&t[[]1]*",
        b"+psubscribe",
        b"+publish",
    ];
    assert_eq!(client.say(user), "+OK");
    let url = |user: Option<&str>, password: Option<&str>| RedisUrl {
        user: user.map(Into::into),
        password: password.map(Into::into),
        ..tcp(server.port)
    };
    run(async {
        for (url, welcome) in [
            (url(None, Some("sesame")), true),
            (url(None, Some("simsalabim")), false),
            (url(Some("nobody"), Some("pw")), false),
            (url(None, None), false),
        ] {
            let gateway = Gateway::new(64);
            gateway.subscribes(&url, Timing::default());
            gateway.publishes(&url, Timing::default());
            let count = gateway.count();
            if welcome {
                gateway.subscribed().await;
                gateway.offer(None, "hi");
                assert_eq!(gateway.next_message().await.1, "hi");
            } else {
                eventually("both are refused", || count.redis_connect_errors.get() >= 2).await;
                assert_eq!((count.redis_subscribed.get(), count.redis_publishing.get()), (0, 0));
            }
        }
    });
}

#[test]
fn an_acl_user_without_ping_stands_and_a_publish_it_may_not_make_counts_as_failed() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    // The user's channel rule is the pattern itself, as PSUBSCRIBE demands; no message channel equals it.
    let rule = br"&t\[1\]\*:*";
    let user: &[&[u8]] =
        &[b"ACL", b"SETUSER", b"dev", b"on", b">pw", b"resetchannels", rule, b"+psubscribe", b"+publish"];
    assert_eq!(client.say(user), "+OK");
    let url = RedisUrl { user: Some("dev".into()), password: Some("pw".into()), ..tcp(server.port) };
    run(async {
        let gateway = Gateway::new(64);
        gateway.subscribes(&url, IMPATIENT);
        gateway.publishes(&url, IMPATIENT);
        gateway.subscribed().await;
        monoio::time::sleep((IMPATIENT.ping_after + IMPATIENT.pong_within) * 2).await;
        gateway.offer(None, "allowed");
        assert_eq!(gateway.next_message().await.1, "allowed");
        assert_eq!(gateway.outcome_of_one_that_comes_back().await, None);
        client.say(&[b"ACL", b"SETUSER", b"dev", b"-publish"]);
        gateway.offer(None, "forbidden");
        assert_eq!(gateway.outcome().await, Some(How::Refused));
        assert_eq!(gateway.count().redis_publish_refused.get(), RefusalKind::NotPermitted as u64);
        let count = gateway.count();
        assert_eq!((count.redis_published.get(), count.redis_publish_failed.get()), (1, 1));
        assert_eq!((count.redis_publishing.get(), count.redis_gaps.get()), (1, 0));
    });
}

#[test]
fn a_unix_socket_and_a_host_name_lead_to_the_server() {
    let server = RedisServer::start(&[]);
    run(async {
        for endpoint in [
            RedisEndpoint::Unix(server.unix_socket()),
            RedisEndpoint::Tcp { host: "localhost".into(), port: server.port },
        ] {
            let gateway = Gateway::new(64);
            let url = RedisUrl { endpoint, user: None, password: None };
            gateway.subscribes(&url, Timing::default());
            gateway.publishes(&url, Timing::default());
            gateway.subscribed().await;
            gateway.offer(None, "hi");
            assert_eq!(gateway.next_message().await.1, "hi");
        }
    });
}

/// The half of the next test that runs with `SSL_CERT_FILE` in its environment; alone it has nothing to say.
#[test]
fn tls_client() {
    let Ok(port) = std::env::var("FANFARE_TEST_TLS_PORT") else { return };
    let endpoint = |host: &str| RedisEndpoint::Tls { host: host.into(), port: port.parse().unwrap() };
    let url = |host: &str| RedisUrl { endpoint: endpoint(host), user: None, password: None };
    run(async {
        let gateway = Gateway::new(64);
        gateway.subscribes(&url("localhost"), IMPATIENT);
        gateway.publishes(&url("localhost"), IMPATIENT);
        let count = gateway.count();
        eventually("an outcome", || count.redis_subscribed.get() + count.redis_connect_errors.get() > 0)
            .await;
        if count.redis_connect_errors.get() > 0 {
            return println!("the client refuses");
        }
        let large = Bytes::from(vec![b'x'; MESSAGE_BYTES_MAX]);
        for payload in [Bytes::from_static(b"small"), large, Bytes::from_static(b"last")] {
            gateway.offer(None, payload.clone());
            assert_eq!(gateway.next_message().await.1, payload);
        }
        monoio::time::sleep((IMPATIENT.ping_after + IMPATIENT.pong_within) * 2).await;
        assert_eq!((gateway.count().redis_gaps.get(), gateway.count().redis_connect_errors.get()), (0, 0));
        // The certificate is for localhost only.
        let misled = Gateway::new(64);
        misled.subscribes(&url("127.0.0.1"), Timing::default());
        eventually("the certificate is refused", || misled.count().redis_connect_errors.get() > 0).await;
        assert_eq!(misled.count().redis_subscribed.get(), 0);
        println!("the client is content");
    });
}

#[test]
fn tls_is_spoken_with_a_server_whose_root_the_environment_names_and_with_no_other() {
    let (server, authority) = RedisServer::start_tls();
    let said = |certificates: &std::path::Path| {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tls_client", "--nocapture"])
            .env("FANFARE_TEST_TLS_PORT", server.port.to_string())
            .env("SSL_CERT_FILE", certificates)
            .output()
            .unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
        String::from_utf8_lossy(&child.stdout).into_owned()
    };
    let trusting = said(&authority);
    assert!(trusting.contains("the client is content"), "{trusting}");
    let (_other, stranger) = RedisServer::start_tls();
    let wary = said(&stranger);
    assert!(wary.contains("the client refuses"), "{wary}");
}

/// A server of our own that says one thing to each connection after it has heard something, and hangs up.
fn fake_server(answers: &'static [&'static [u8]]) -> (u16, std::sync::mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (accepted, accepts) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream: TcpStream = stream.unwrap();
            let _ = accepted.send(());
            for answer in answers {
                let mut heard = [0; 4096];
                let _ = stream.read(&mut heard);
                let _ = stream.write_all(answer);
            }
        }
    });
    (port, accepts)
}

#[test]
fn garbage_instead_of_resp_is_a_failed_attempt_and_not_tried_in_a_hurry() {
    let (port, accepts) = fake_server(&[b"HTTP/1.1 400 Bad Request\r\n\r\n"]);
    run(async {
        let gateway = Gateway::new(64);
        gateway.subscribes(&tcp(port), Timing::default());
        monoio::time::sleep(Duration::from_secs(2)).await;
        let attempts = accepts.try_iter().count() as u64;
        assert!((3..=6).contains(&attempts), "{attempts} attempts in 2 s");
        assert!(gateway.count().redis_connect_errors.get() >= attempts - 1);
        assert_eq!((gateway.count().redis_subscribed.get(), gateway.count().redis_gaps.get()), (0, 0));
    });
}

#[test]
fn garbage_on_a_subscription_that_stood_is_a_gap() {
    let (port, _accepts) =
        fake_server(&[b"*3\r\n$10\r\npsubscribe\r\n$1\r\nx\r\n:1\r\n*1000000000\r\n$8\r\npmessage\r\n"]);
    run(async {
        let gateway = Gateway::new(64);
        gateway.subscribes(&tcp(port), Timing::default());
        assert_eq!(gateway.next().await, Incoming::Gap);
        assert!(gateway.count().redis_gaps.get() >= 1);
        assert_eq!(gateway.count().redis_connect_errors.get(), 0);
    });
}

#[test]
fn a_publish_whose_answer_never_came_counts_as_failed_and_is_not_sent_again() {
    let server = RedisServer::start(&[]);
    let (port, accepts) = fake_server(&[b"+PONG\r\n", b"*2\r\n$4\r\nrole\r\n$6\r\nmaster\r\n", b""]);
    run(async {
        let gateway = Gateway::new(64);
        // Only one that is subscribed publishes. By a socket file, because the subscription follows to another address.
        let endpoint = RedisEndpoint::Unix(server.unix_socket());
        let url = RedisUrl { endpoint, user: None, password: None };
        gateway.subscribes(&url, Timing::default());
        gateway.subscribed().await;
        gateway.offer(None, "once");
        gateway.publishes(&tcp(port), Timing::default());
        assert_eq!(gateway.outcome().await, Some(How::Unknown));
        eventually("the session is back", || accepts.try_iter().count() > 0).await;
        assert_eq!(
            (gateway.count().redis_published.get(), gateway.count().redis_publish_failed.get()),
            (0, 1)
        );
    });
}

#[test]
fn a_resolver_that_hangs_holds_up_nothing_but_its_session() {
    run(async {
        let url = RedisUrl {
            endpoint: RedisEndpoint::Tcp { host: "localhost".into(), port: free_port() },
            user: None,
            password: None,
        };
        // Nobody runs the lookup: it never answers.
        let (dialer, _lookup) = Dialer::new(&url, IMPATIENT, 7).unwrap();
        let gateway = Gateway::new(64);
        let turns = Rc::new(Cell::new(0));
        let counted = Rc::clone(&turns);
        monoio::spawn(async move {
            loop {
                monoio::time::sleep(Duration::from_millis(10)).await;
                counted.set(counted.get() + 1);
            }
        });
        let (inbox, queue) = (gateway.inbox.clone(), gateway.queue.clone());
        monoio::spawn(subscribe(dialer, PREFIX.into(), inbox, queue, Arc::clone(&gateway.blocks)));
        eventually("two attempts time out", || gateway.count().redis_connect_errors.get() == 2).await;
        assert!(turns.get() > 50, "other tasks had {} turns", turns.get());
    });
}
