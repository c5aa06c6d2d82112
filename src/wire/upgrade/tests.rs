//! Which requests become connections, and what the others are told.

use proptest::prelude::*;
use tungstenite::handshake::client::{Response, generate_request};
use tungstenite::handshake::derive_accept_key;

use super::*;
use crate::config::Config;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn clients() -> Clients {
    let parameter = |name: &str| TemplatePart::Parameter(name.into());
    let template = vec![parameter("product_id"), TemplatePart::Literal(":".into()), parameter("alias_key")];
    Clients { auto_join: vec![TopicTemplate { parts: template }], ..Config::default().clients }
}

/// A request with these header lines after `Host`.
fn request(target: &str, lines: &[&str]) -> String {
    let first = [format!("GET {target} HTTP/1.1"), "Host: gateway".into()];
    let lines: Vec<&str> = first.iter().map(String::as_str).chain(lines.iter().copied()).collect();
    lines.join("\r\n") + "\r\n\r\n"
}

const LINES: [&str; 4] = [
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

fn handshake(target: &str) -> String {
    request(target, &LINES)
}

fn upgrade(request: &str) -> Upgrade {
    match parse(request.as_bytes(), &clients()) {
        Parsed::Upgrade(upgrade) => upgrade,
        other => panic!("{request}: {other:?}"),
    }
}

/// Failure, status, header lines and body of a refusal.
fn refusal(request: &[u8]) -> (HandshakeFailure, u16, String, String) {
    let Parsed::Refused(refusal) = parse(request, &clients()) else { panic!("{request:?}") };
    let (status, headers, body) = answer(&refusal.response);
    (refusal.failure, status, headers, body)
}

fn answer(response: &[u8]) -> (u16, String, String) {
    let (head_bytes, parsed) = Response::try_parse(response).unwrap().unwrap();
    let body = &response[head_bytes..];
    assert_eq!(parsed.headers()["content-length"].to_str().unwrap(), body.len().to_string());
    assert!(parsed.headers()["connection"].to_str().unwrap().starts_with("close"));
    let head = String::from_utf8(response[..head_bytes].to_vec()).unwrap();
    (parsed.status().as_u16(), head, String::from_utf8(body.to_vec()).unwrap())
}

fn topics(target: &str) -> Vec<String> {
    upgrade(&handshake(target)).topics.iter().map(|topic| topic.as_str().to_owned()).collect()
}

#[test]
fn tungstenites_own_client_is_answered_to_its_satisfaction() {
    let request =
        tungstenite::client::IntoClientRequest::into_client_request("ws://gateway/connect").unwrap();
    let (bytes, key) = generate_request(request).unwrap();
    let Parsed::Upgrade(upgrade) = parse(&bytes, &clients()) else { panic!("{bytes:?}") };
    assert_eq!(upgrade.head_bytes, bytes.len());
    let (len, response) = Response::try_parse(&upgrade.response).unwrap().unwrap();
    assert_eq!(len, upgrade.response.len());
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.headers()["sec-websocket-accept"], derive_accept_key(key.as_bytes()));
}

#[test]
fn the_handshake_of_the_rfc_is_accepted_without_a_subprotocol_or_extension() {
    // RFC 6455 section 1.3.
    let lines = [
        &LINES[..],
        &["Sec-WebSocket-Protocol: chat, superchat", "Sec-WebSocket-Extensions: permessage-deflate"],
    ];
    let response = String::from_utf8(upgrade(&request("/connect", &lines.concat())).response).unwrap();
    let response = response.to_ascii_lowercase();
    assert!(response.contains("\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{response}");
    assert!(!response.contains("protocol:") && !response.contains("extensions"), "{response}");
}

#[test]
fn the_path_and_its_version_select_the_format() {
    let format = |target: &str| upgrade(&handshake(target)).format;
    assert_eq!(format("/connect"), FormatId::GO_PUSH_V1);
    assert_eq!(format("/connect?v=1"), FormatId::GO_PUSH_V1);
    assert_eq!(format("/connect?a=b&v=2&v=9"), FormatId::GO_PUSH_V2);
    assert_eq!(format("http://gateway/connect?v=2"), FormatId::GO_PUSH_V2);
    for target in ["/topics", "/topics/", "/topics/news", "/topics/news?v=3"] {
        assert_eq!(format(target), FormatId::RAW);
    }
}

#[test]
fn topics_come_from_the_path_and_the_query_each_once() {
    assert_eq!(topics("/connect"), [""; 0]);
    assert_eq!(topics("/connect?join=a&join=b&join=a&topic=c&&x"), ["a", "b"]);
    assert_eq!(topics("/topics"), [""; 0]);
    assert_eq!(topics("/topics/?topic=a"), ["a"]);
    assert_eq!(topics("/topics/a?topic=b&topic=a&join=c"), ["a", "b"]);
    assert_eq!(topics("/topics/a/b"), ["a/b"]);
}

#[test]
fn names_are_percent_decoded_and_a_plus_is_a_space_in_the_query_only() {
    assert_eq!(topics("/topics/a%2Fb+c%20d?topic=e+f%2Bg%26h%3Di"), ["a/b+c d", "e f+g&h=i"]);
    assert_eq!(topics("/connect?jo%69n=%C3%A9&join=100%"), ["é", "100%"]);
    assert_eq!(topics("/connect?join=a=b"), ["a=b"]);
}

#[test]
fn templates_join_the_topics_that_the_query_fills() {
    assert_eq!(topics("/connect?product_id=p+1&alias_key=k&product_id=q"), ["p 1:k"]);
    assert_eq!(topics("/topics/a?alias_key=k&product_id=p"), ["a", "p:k"]);
    assert_eq!(topics("/connect?join=p:k&product_id=p&alias_key=k"), ["p:k"]);
    assert_eq!(topics("/connect?product_id=p"), [""; 0]);
    assert_eq!(topics("/connect?product_id=%FF&alias_key=k"), [""; 0]);
    assert_eq!(topics("/connect?product_id=p&alias_key=%0A"), [""; 0]);
}

#[test]
fn topics_beyond_the_bound_are_ignored() {
    let target = "/connect?join=1&join=2&join=3&join=4&join=5&join=6&product_id=p&alias_key=k";
    assert_eq!(topics(target), ["1", "2", "3", "4", "5"]);
}

#[test]
fn a_name_that_cannot_be_a_topic_is_refused_with_the_reason() {
    let long = format!("/topics/{}", "x".repeat(257));
    for (target, why) in [
        ("/connect?join=", "empty"),
        ("/connect?join=a&join=%0A", "control character"),
        ("/connect?join=%FF", "not UTF-8"),
        ("/topics/%FF", "not UTF-8"),
        ("/topics/a?topic=%00", "control character"),
        (&long, "longer than 256"),
    ] {
        let (failure, status, _, body) = refusal(handshake(target).as_bytes());
        assert_eq!((failure, status), (HandshakeFailure::BadRequest, 400), "{target}");
        assert!(body.contains(why), "{target}: {body}");
    }
}

#[test]
fn list_headers_may_be_lists_or_repeated() {
    let rest = &LINES[2..];
    for lines in [
        ["Connection: keep-alive, Upgrade", "Upgrade: websocket"].as_slice(),
        &["Connection: keep-alive", "Connection: upgrade", "Upgrade: WebSocket"],
        &["connection: UPGRADE,", "upgrade: h2c , websocket"],
        &["Connection: upgrade", "Upgrade: h2c", "Upgrade: websocket"],
    ] {
        let _ = upgrade(&request("/connect", &[lines, rest].concat()));
    }
    for lines in [
        ["Connection: keep-alive", "Upgrade: websocket"].as_slice(),
        &["Connection: upgrades", "Upgrade: websocket"],
        &["Connection: Upgrade", "Upgrade: websockets"],
        &["Connection: Upgrade"],
        &["Upgrade: websocket"],
        &[],
    ] {
        let (failure, status, ..) = refusal(request("/connect", &[lines, rest].concat()).as_bytes());
        assert_eq!((failure, status), (HandshakeFailure::BadRequest, 400), "{lines:?}");
    }
}

#[test]
fn another_version_is_told_the_right_one() {
    let versions: [&[&str]; 5] = [
        &[],
        &["Sec-WebSocket-Version: 8"],
        &["Sec-WebSocket-Version: 13, 8"],
        &["Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8"],
        &["Sec-WebSocket-Version: 013"],
    ];
    for version in versions {
        let lines = [&LINES[..2], version, &LINES[3..]].concat();
        let (failure, status, head, _) = refusal(request("/connect", &lines).as_bytes());
        assert_eq!((failure, status), (HandshakeFailure::BadVersion, 426), "{version:?}");
        assert!(
            head.contains("\r\nSec-WebSocket-Version: 13\r\n") && head.contains("\r\nUpgrade: websocket\r\n")
        );
    }
}

#[test]
fn a_key_is_sixteen_bytes_in_base64_once() {
    let good = format!("Sec-WebSocket-Key: {KEY}");
    let keys: [&[&str]; 5] = [
        &[],
        &["Sec-WebSocket-Key:"],
        &["Sec-WebSocket-Key: c2hvcnQ="],
        &["Sec-WebSocket-Key: !GhlIHNhbXBsZSBub25jZQ=="],
        &[&good, &good],
    ];
    for key in keys {
        let (failure, status, ..) = refusal(request("/connect", &[&LINES[..3], key].concat()).as_bytes());
        assert_eq!((failure, status), (HandshakeFailure::BadRequest, 400), "{key:?}");
    }
}

#[test]
fn other_requests_are_refused_with_their_own_status() {
    use HandshakeFailure::{BadRequest, NotFound};
    let no_host = handshake("/connect").replace("Host: gateway\r\n", "");
    let two_hosts = handshake("/connect").replace("Host: gateway\r\n", "Host: a\r\nHost: b\r\n");
    let cases = [
        (request("/", &[]), (NotFound, 404)),
        (handshake("/connect/"), (NotFound, 404)),
        (handshake("/topicsx"), (NotFound, 404)),
        (request("/connect", &[]), (BadRequest, 400)),
        (handshake("/connect?v=3"), (BadRequest, 400)),
        (handshake("/connect?v="), (BadRequest, 400)),
        (handshake("/connect").replace("GET", "POST"), (BadRequest, 405)),
        (handshake("/connect").replace("HTTP/1.1", "HTTP/1.0"), (BadRequest, 400)),
        (handshake("/connect").replace("HTTP/1.1", "HTTP/2.0"), (BadRequest, 400)),
        (no_host, (BadRequest, 400)),
        (two_hosts, (BadRequest, 400)),
    ];
    for (request, expected) in cases {
        let (failure, status, ..) = refusal(request.as_bytes());
        assert_eq!((failure, status), expected, "{request}");
    }
}

#[test]
fn bytes_that_cannot_become_a_head_are_refused_at_once() {
    for garbage in
        [&b"\x16\x03\x01\x02\x00"[..], b"\0", b"GET /\x7f", b"GET / SMTP", b"GET / HTTP/1.1\r\n: x"]
    {
        let (failure, status, ..) = refusal(garbage);
        assert_eq!((failure, status), (HandshakeFailure::BadRequest, 400), "{garbage:?}");
    }
}

#[test]
fn a_head_may_be_as_large_as_the_bound_and_frames_may_follow_it() {
    let fill = UPGRADE_HEAD_BYTES_MAX - handshake("/connect?x=").len();
    let largest = handshake(&format!("/connect?x={}", "y".repeat(fill)));
    assert_eq!(largest.len(), UPGRADE_HEAD_BYTES_MAX);
    assert_eq!(upgrade(&largest).head_bytes, UPGRADE_HEAD_BYTES_MAX);
    assert_eq!(upgrade(&format!("{largest}frames")).head_bytes, UPGRADE_HEAD_BYTES_MAX);
    assert_eq!(upgrade(&format!("{}frames", handshake("/connect"))).head_bytes, handshake("/connect").len());

    let too_large = handshake(&format!("/connect?x={}", "y".repeat(fill + 1)));
    let too_large = too_large.as_bytes();
    assert_eq!(parse(&too_large[..UPGRADE_HEAD_BYTES_MAX - 1], &clients()), Parsed::Incomplete);
    for end in [UPGRADE_HEAD_BYTES_MAX, too_large.len()] {
        let (failure, status, ..) = refusal(&too_large[..end]);
        assert_eq!((failure, status), (HandshakeFailure::HeadTooBig, 431));
    }
    let many = vec!["a: b"; 200];
    assert_eq!(refusal(request("/connect", &many).as_bytes()).0, HandshakeFailure::HeadTooBig);
}

#[test]
fn the_ready_answers_are_whole_http() {
    let (status, head, body) = answer(overload_response());
    assert!(status == 503 && head.contains("\r\nRetry-After: ") && body.ends_with('\n'));
    let (status, _, body) = answer(timeout_response());
    assert!(status == 408 && body.ends_with('\n'));
}

proptest! {
    #[test]
    fn any_cut_of_a_request_is_decided_like_the_whole(
        target in "/(connect|topics|topics/[a-z%/]{0,9})(\\?((join|topic|v|product_id|alias_key)=[a-z0-9+%&]{0,5}&){0,4})?",
        lines in proptest::sample::subsequence(LINES.to_vec(), 2..=4),
        damage in proptest::option::of((any::<proptest::sample::Index>(), any::<u8>())),
        tail in any::<Vec<u8>>(),
    ) {
        let mut bytes = [request(&target, &lines).into_bytes(), tail].concat();
        if let Some((at, byte)) = damage {
            *at.get_mut(&mut bytes) = byte;
        }
        let whole = parse(&bytes, &clients());
        let first = (0..=bytes.len()).map(|end| parse(&bytes[..end], &clients()));
        let decided = first.into_iter().find(|parsed| *parsed != Parsed::Incomplete);
        prop_assert_eq!(decided.unwrap_or(Parsed::Incomplete), whole);
    }

    #[test]
    fn any_name_reaches_its_topic_through_percent_encoding(name in "[^\\p{Cc}]{1,60}") {
        use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
        let encoded = utf8_percent_encode(&name, NON_ALPHANUMERIC).to_string();
        prop_assert_eq!(topics(&format!("/topics/{encoded}")), [name.as_str()]);
        prop_assert_eq!(topics(&format!("/connect?join={encoded}")), [name.as_str()]);
    }
}
