//! What a web page of another site can make a browser send: nothing of it is answered, on no path.

use fanfare::api::Deadlines;
use fanfare::config::Config;
use fanfare::metrics::{Foreign, PublishRefused};

use crate::harness::{Answer, Gateway, routes};

/// Request lines of every route, and of some that are none.
fn lines() -> Vec<(String, String)> {
    let concrete = |path: &str| path.replace("{topic}", "a").replace("{id}", "p");
    let known = routes().into_iter().map(|(method, path)| (method.to_uppercase(), concrete(path)));
    let others = [
        ("OPTIONS", "/v1/config"),
        ("OPTIONS", "*"),
        ("PUT", "/v1/push"),
        ("GET", "/nowhere"),
        ("HEAD", "/stats"),
    ];
    known.chain(others.map(|(method, path)| (method.to_owned(), path.to_owned()))).collect()
}

/// The answer to a head alone: the body that it announces never comes.
fn asked(gateway: &Gateway, method: &str, target: &str, fields: &str) -> Answer {
    let mut client = gateway.client();
    client.send(format!("{method} {target} HTTP/1.1\r\n{fields}Content-Length: 50\r\n\r\n"));
    let answer = client.answer_to(method);
    assert!(client.is_ended(), "the body would be the next request");
    answer
}

#[test]
fn what_a_page_of_another_site_sends_is_403_on_every_path_before_its_body_comes() {
    let mut gateway = Gateway::start();
    for (method, path) in lines() {
        for (fields, code) in [
            ("Host: 127.0.0.1:7799\r\nOrigin: https://evil.example\r\n", "origin_not_allowed"),
            ("Host: localhost\r\nOrigin: null\r\n", "origin_not_allowed"),
            ("Host: localhost\r\nSec-Fetch-Site: cross-site\r\n", "origin_not_allowed"),
            ("Host: localhost\r\nsec-fetch-site: same-site\r\n", "origin_not_allowed"),
            ("Host: evil.example:7799\r\n", "host_not_allowed"),
            (
                "Host: evil.example\r\nOrigin: http://evil.example\r\nSec-Fetch-Site: same-origin\r\n",
                "host_not_allowed",
            ),
        ] {
            let is_probe = method == "GET" && ["/healthz", "/readyz"].contains(&path.as_str());
            if is_probe && code == "host_not_allowed" {
                continue;
            }
            let answer = asked(&gateway, &method, &path, fields);
            assert_eq!(answer.status, 403, "{method} {path} {fields}");
            assert_eq!(answer.field("Access-Control-Allow-Origin"), None);
            if method != "HEAD" {
                assert_eq!(answer.error(), (403, code.into()), "{method} {path} {fields}");
            }
        }
    }
    assert!(gateway.requests.pop().is_none(), "nothing of this reaches the ingest core");
    assert!(gateway.asked.next().is_none(), "nor the owner of the configuration");
    let foreign = |why: Foreign| gateway.blocks.control.foreign[why as usize].get();
    assert!(foreign(Foreign::Host) > 30 && foreign(Foreign::Origin) > 60);
    assert!(gateway.blocks.control.publish_refused[PublishRefused::Bad as usize].get() > 0);
}

#[test]
fn an_absolute_target_does_not_hide_the_host_beside_it() {
    let gateway = Gateway::start();
    let status =
        |target: &str, host: &str| asked(&gateway, "POST", target, &format!("Host: {host}\r\n")).status;
    assert_eq!(status("http://127.0.0.1:7799/push/all", "evil.example"), 403);
    assert_eq!(status("http://evil.example/push/all", "127.0.0.1:7799"), 403);
    assert_eq!(status("https://evil.example/push/all", "127.0.0.1:7799"), 403);
    assert_eq!(status("http://u@127.0.0.1/push/all", "127.0.0.1:7799"), 400);
    let mut client = gateway.client();
    client.send("GET http://127.0.0.1:7799/stats HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.answer_to("GET").status, 200);
}

#[test]
fn a_probe_is_answered_whatever_it_calls_the_gateway() {
    let gateway = Gateway::start();
    for (path, status) in [("/healthz", 200), ("/readyz", 503), ("/metrics", 403)] {
        let mut client = gateway.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: fanfare.default.svc:7799\r\n\r\n"));
        assert_eq!(client.answer_to("GET").status, status, "{path}");
    }
}

#[test]
fn listed_names_and_pages_are_served() {
    let mut config = Config::default();
    config.api.hosts = vec!["fanfare".into()];
    config.api.origins = vec!["https://admin.example".into()];
    let gateway = Gateway::start_with(config, Deadlines::default());
    for fields in [
        "Host: fanfare:7799\r\n",
        "Host: FANFARE\r\nOrigin: http://fanfare\r\nSec-Fetch-Site: same-origin\r\n",
        "Host: localhost\r\nOrigin: https://admin.example\r\nSec-Fetch-Site: cross-site\r\n",
    ] {
        let mut client = gateway.client();
        client.send(format!("POST /push/all HTTP/1.1\r\n{fields}Content-Length: 9\r\n\r\nitems=[1]"));
        let answer = client.answer_to("POST");
        assert_eq!((answer.status, answer.field("Access-Control-Allow-Origin")), (200, None), "{fields}");
    }
}
