//! Which requests become connections, and what the others are told.

use http::StatusCode;
use proptest::prelude::*;
use tungstenite::handshake::client::{Response, generate_request};
use tungstenite::handshake::derive_accept_key;
use tungstenite::handshake::machine::TryParse;

use super::*;
use crate::limits::UPGRADE_HEAD_BYTES_DEFAULT as HEAD_BYTES_MAX;
use crate::model::{SubprotocolUnknown, TemplatePart, TopicTemplate};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn clients() -> Clients {
    let parameter = |name: &str| TemplatePart::Parameter(name.into());
    let template = vec![parameter("product_id"), TemplatePart::Literal(":".into()), parameter("alias_key")];
    Clients { auto_join: vec![TopicTemplate { parts: template }], ..Clients::default() }
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
fn the_handshake_of_the_rfc_is_accepted_without_an_extension() {
    // RFC 6455 section 1.3.
    let lines = [
        &LINES[..],
        &["Sec-WebSocket-Protocol: chat, superchat", "Sec-WebSocket-Extensions: permessage-deflate"],
    ];
    let response = String::from_utf8(upgrade(&request("/connect", &lines.concat())).response).unwrap();
    let response = response.to_ascii_lowercase();
    assert!(response.contains("\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{response}");
    assert!(response.contains("\r\nsec-websocket-protocol: chat\r\n"), "{response}");
    assert!(!response.contains("extensions"), "{response}");
}

/// What is selected of these lines, by a gateway that knows `known`; an error is the status of a refusal.
fn selected(known: &[&str], unknown: SubprotocolUnknown, offers: &[&str]) -> Result<Option<String>, u16> {
    let offers: Vec<String> = offers.iter().map(|offer| format!("sec-webSocket-protocol:{offer}")).collect();
    let offers: Vec<&str> = offers.iter().map(String::as_str).collect();
    let request = request("/topics/news", &[&LINES[..], &offers].concat());
    let subprotocols = known.iter().map(ToString::to_string).collect();
    let clients = Clients { subprotocols, subprotocol_unknown: unknown, ..clients() };
    match parse(request.as_bytes(), &clients) {
        Parsed::Upgrade(upgrade) => {
            let (len, response) = Response::try_parse(&upgrade.response).unwrap().unwrap();
            assert_eq!((len, response.status().as_u16()), (upgrade.response.len(), 101));
            assert_eq!(
                response.headers().len() - 3,
                response.headers().get_all("sec-websocket-protocol").iter().count()
            );
            let told = response.headers().get("sec-websocket-protocol");
            Ok(told.map(|told| told.to_str().unwrap().to_owned()))
        }
        Parsed::Refused(refusal) => Err(answer(&refusal.response).0),
        Parsed::Incomplete => panic!("{request}"),
    }
}

#[test]
fn one_subprotocol_is_selected_of_an_offer_however_it_is_written() {
    use SubprotocolUnknown::{First, None, Refuse};
    let offers: [(&[&str], &str); 8] = [
        (&["json"], "json"),
        (&[" json, v2.json"], "json"),
        (&["json", "v2.json"], "json"),
        (&["\t a ,b\t,c "], "a"),
        (&[", ,json,,"], "json"),
        (&["", " , ", "json"], "json"),
        (&["json, json", "json"], "json"),
        (&["JSON, json"], "JSON"),
    ];
    for (offer, first) in offers {
        assert_eq!(selected(&[], First, offer), Ok(Some(first.into())), "{offer:?}");
        assert_eq!(selected(&[], None, offer), Ok(Option::None), "{offer:?}");
        assert_eq!(selected(&[], Refuse, offer), Err(400), "{offer:?}");
    }
    for no_offer in [&[][..], &[""], &[" , ,", ""]] {
        for unknown in [First, None, Refuse] {
            assert_eq!(selected(&["json"], unknown, no_offer), Ok(Option::None), "{no_offer:?}");
        }
    }
}

#[test]
fn the_first_known_subprotocol_of_an_offer_goes_before_an_unknown_one() {
    use SubprotocolUnknown::{First, None, Refuse};
    for unknown in [First, None, Refuse] {
        assert_eq!(selected(&["a", "b"], unknown, &["x", "b, a"]), Ok(Some("b".into())));
        // Names are compared as they are written (RFC 6455 section 4.1 lets clients do so).
        assert_ne!(selected(&["a", "b"], unknown, &["x, A, B"]), Ok(Some("A".into())));
    }
}

#[test]
fn an_offer_that_is_no_list_of_tokens_is_refused_and_never_echoed() {
    for offer in ["a b", "json; v=1", "\"json\"", "a, b/c, d", "json, \x7f", "é", "a=b", "a,(b)", "json\u{b}"]
    {
        for known in [&[][..], &["json"], &["a"]] {
            assert_eq!(selected(known, SubprotocolUnknown::First, &[offer]), Err(400), "{offer:?}");
        }
    }
    for line_ends in ["json\r\nSet-Cookie: a=b", "json\nSet-Cookie: a=b"] {
        let told = selected(&[], SubprotocolUnknown::First, &[line_ends]);
        assert_eq!(
            told,
            Ok(Some("json".into())),
            "the rest is a field of the request, and no field of the answer"
        );
    }
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
}

#[test]
fn a_template_whose_parameter_is_missing_or_empty_is_skipped() {
    for query in [
        "product_id=p",
        "alias_key=k",
        "product_id=&alias_key=",
        "product_id=p&alias_key=",
        "product_id=&alias_key=k",
        "product_id&alias_key=k",
        "product_id=&alias_key=k&product_id=p",
    ] {
        assert_eq!(topics(&format!("/connect?{query}")), [""; 0], "{query}");
        assert_eq!(topics(&format!("/topics/a?{query}")), ["a"], "{query}");
    }
}

#[test]
fn one_topic_more_than_a_connection_may_join_is_refused_wherever_it_comes_from() {
    let of_query = "join=1&join=2&join=3&join=4&join=5&topic=1&topic=2&topic=3&topic=4&topic=5";
    let template = "product_id=p&alias_key=k";
    assert_eq!(topics(&format!("/connect?{of_query}")), ["1", "2", "3", "4", "5"]);
    assert_eq!(topics(&format!("/topics/5?{of_query}&join=6&topic=1&topic=2")), ["5", "1", "2", "3", "4"]);
    let other = "/connect?join=1&join=2&join=3&join=4&join=p:k";
    assert_eq!(topics(&format!("{other}&{template}")), ["1", "2", "3", "4", "p:k"]);
    for target in [
        format!("/connect?{of_query}&join=6"),
        format!("/connect?{of_query}&{template}"),
        format!("/topics/0?{of_query}"),
        format!("/topics?{of_query}&topic=6"),
        format!("/topics/a?topic={}", (0..3_000).map(|n| n.to_string()).collect::<Vec<_>>().join("&topic=")),
    ] {
        let (failure, status, _, body) = refusal(handshake(&target).as_bytes());
        assert_eq!((failure, status), (HandshakeFailure::BadRequest, 400), "{target}");
        assert!(body.contains("5 (clients.topics_max)"), "{target}: {body}");
    }
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
        ("/topics/a?topic", "empty"),
        ("/connect?product_id=%FF&alias_key=k", "not UTF-8"),
        ("/connect?product_id=p&alias_key=%0A", "control character"),
        (&format!("/connect?product_id=p&alias_key={}", "k".repeat(255)), "longer than 256"),
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
    let keys: [&[&str]; 11] = [
        &[],
        &["Sec-WebSocket-Key:"],
        &["Sec-WebSocket-Key: c2hvcnQ="],
        &["Sec-WebSocket-Key: !GhlIHNhbXBsZSBub25jZQ=="],
        // 15, 17 and 18 bytes; without padding; with the padding of others; with the digits of base64url.
        &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j"],
        &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQE="],
        &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQEC"],
        &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"],
        &["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ==="],
        &["Sec-WebSocket-Key: -_hlIHNhbXBsZSBub25jZQ=="],
        &[&good, &good],
    ];
    for key in keys {
        let (failure, status, ..) = refusal(request("/connect", &[&LINES[..3], key].concat()).as_bytes());
        assert_eq!((failure, status), (HandshakeFailure::BadRequest, 400), "{key:?}");
    }
}

#[test]
fn a_keys_unused_bits_may_be_anything_and_the_answer_is_to_the_key_as_it_was_sent() {
    // The example of RFC 6455 section 4.1 is among them.
    let digits = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain(*b"+/").map(char::from);
    let keys = digits.map(|digit| format!("AQIDBAUGBwgJCgsMDQ4PE{digit}=="));
    for key in keys.chain(["AQIDBAUGBwgJCgsMDQ4PEC==".into()]) {
        let line = format!("Sec-WebSocket-Key: {key}");
        let upgrade = upgrade(&request("/connect", &[&LINES[..3], &[&line]].concat()));
        let (_, response) = Response::try_parse(&upgrade.response).unwrap().unwrap();
        assert_eq!(response.headers()["sec-websocket-accept"], derive_accept_key(key.as_bytes()), "{key}");
    }
}

#[test]
fn a_request_that_announces_a_body_is_refused() {
    for body in [
        ["Content-Length: 5"].as_slice(),
        &["Content-Length: 00000000000000000000005"],
        &["Content-Length: 0, 5"],
        &["Content-Length: 0", "Content-Length: 5"],
        &["Content-Length: -1"],
        &["Content-Length: +0"],
        &["Content-Length:"],
        &["Transfer-Encoding: chunked"],
        &["transfer-encoding: identity"],
        &["Transfer-Encoding:"],
        &["Content-Length: 0", "Transfer-Encoding: chunked"],
    ] {
        let bytes = request("/connect", &[&LINES[..], body].concat()) + "5\r\nhello\r\n0\r\n\r\n";
        let (failure, status, _, why) = refusal(bytes.as_bytes());
        assert_eq!((failure, status), (HandshakeFailure::BadRequest, 400), "{body:?}");
        assert!(why.contains("no body"), "{body:?}: {why}");
    }
    for none in [["Content-Length: 0"].as_slice(), &["Content-Length: 0", "content-length:0"]] {
        let _ = upgrade(&request("/connect", &[&LINES[..], none].concat()));
    }
}

#[test]
fn one_slash_at_the_end_of_a_path_means_nothing() {
    assert_eq!(upgrade(&handshake("/connect/?v=2")).format, FormatId::GO_PUSH_V2);
    assert_eq!(topics("/connect/?join=a"), ["a"]);
    assert_eq!(topics("/topics/news/"), ["news"]);
    assert_eq!(topics("/topics/a/b/?topic=c/"), ["a/b", "c/"]);
    assert_eq!(topics("/topics/?topic=a"), ["a"]);
    assert_eq!(topics("/topics/a%2Fb"), ["a/b"]);
    assert_eq!(topics("/topics/news%2F"), ["news/"]);
    assert_eq!(topics("/topics/%2Fnews%2F/"), ["/news/"]);
    for doubled in ["//connect", "/connect//", "/topics//", "/topics//news", "/topics/news//", "/topics/a//b"]
    {
        let (failure, status, _, body) = refusal(handshake(doubled).as_bytes());
        assert_eq!((failure, status), (HandshakeFailure::BadRequest, 400), "{doubled}");
        assert!(body.contains("%2F"), "{doubled}: {body}");
    }
}

#[test]
fn other_requests_are_refused_with_their_own_status() {
    use HandshakeFailure::{BadRequest, NotFound};
    let no_host = handshake("/connect").replace("Host: gateway\r\n", "");
    let two_hosts = handshake("/connect").replace("Host: gateway\r\n", "Host: a\r\nHost: b\r\n");
    let cases = [
        (request("/", &[]), (NotFound, 404)),
        (handshake("/connect/x"), (NotFound, 404)),
        (handshake("/Connect"), (NotFound, 404)),
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
    for bound in [1024, HEAD_BYTES_MAX, 64 * 1024] {
        let clients = Clients { head_bytes_max: bound, ..clients() };
        let head_bytes = |bytes: &str| match parse(bytes.as_bytes(), &clients) {
            Parsed::Upgrade(upgrade) => upgrade.head_bytes,
            other => panic!("{other:?}"),
        };
        let fill = bound - request("/connect", &[&LINES[..], &["Cookie: "]].concat()).len();
        let cookie = |length: usize| format!("Cookie: {}", "y".repeat(length));
        let largest = request("/connect", &[&LINES[..], &[&cookie(fill)]].concat());
        assert_eq!((largest.len(), head_bytes(&largest)), (bound, bound));
        assert_eq!(head_bytes(&format!("{largest}frames")), bound);
        assert_eq!(head_bytes(&format!("{}frames", handshake("/connect"))), handshake("/connect").len());

        let too_large = request("/connect", &[&LINES[..], &[&cookie(fill + 1)]].concat());
        let too_large = too_large.as_bytes();
        assert_eq!(parse(&too_large[..bound - 1], &clients), Parsed::Incomplete);
        for end in [bound, too_large.len()] {
            let Parsed::Refused(refusal) = parse(&too_large[..end], &clients) else { panic!("{bound}") };
            assert_eq!((refusal.failure, answer(&refusal.response).0), (HandshakeFailure::HeadTooBig, 431));
        }
    }
}

#[test]
fn a_head_may_have_a_thousand_fields() {
    let with = |fields: usize| {
        let more: Vec<String> = (LINES.len() + 1..fields).map(|n| format!("X-{n}: {n}")).collect();
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        request("/connect", &[&more, &LINES[..]].concat())
    };
    for fields in [USUAL_HEADERS, USUAL_HEADERS + 1, UPGRADE_HEADERS_MAX] {
        assert_eq!(upgrade(&with(fields)).head_bytes, with(fields).len(), "{fields}");
    }
    assert_eq!(refusal(with(UPGRADE_HEADERS_MAX + 1).as_bytes()).0, HandshakeFailure::HeadTooBig);
    let many = vec!["a:b"; UPGRADE_HEADERS_MAX];
    assert_eq!(refusal(request("/connect", &many).as_bytes()).0, HandshakeFailure::HeadTooBig);
}

#[test]
fn the_ready_answers_are_whole_http() {
    let (status, head, body) = answer(overload_response());
    assert!(status == 503 && head.contains("\r\nRetry-After: ") && body.ends_with('\n'));
    let (status, head, body) = answer(no_descriptor_response());
    assert!(status == 503 && head.contains("\r\nRetry-After: ") && body.ends_with('\n'));
    let (status, _, body) = answer(timeout_response());
    assert!(status == 408 && body.ends_with('\n'));
}

/// What a head of the largest size costs that comes in pieces of this many bytes: how many bytes were parsed, as a part of
/// all, and what was decided.
fn parsed_in_pieces(bytes: &[u8], piece: usize) -> (usize, Parsed) {
    let clients = clients();
    let (mut progress, mut parsed_bytes) = (Progress::default(), 0);
    for end in (piece..bytes.len() + piece).step_by(piece).map(|end| end.min(bytes.len())) {
        let mut copy = progress;
        parsed_bytes += if copy.must_parse(&bytes[..end]) { end } else { 0 };
        match resume(&bytes[..end], &mut progress, &clients) {
            Parsed::Incomplete => {}
            decided => return (parsed_bytes, decided),
        }
    }
    (parsed_bytes, Parsed::Incomplete)
}

#[test]
fn a_large_head_in_small_pieces_is_decided_with_its_last_byte_and_parsed_only_a_few_times() {
    let line = "X-Filler: ".to_owned() + &"x".repeat(90);
    let few_lines = ["Cookie: ".to_owned() + &"y".repeat(30_000)];
    let many_lines = vec![line; 300];
    for lines in [&few_lines[..], &many_lines] {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let head = request("/connect", &[&lines, &LINES[..]].concat());
        let bare = head.replace("\r\n", "\n");
        let behind_empty_lines = "\r\n".repeat(1_000) + &head;
        for head in [head, bare, behind_empty_lines] {
            for piece in [1, 2, 3, 7, 1_000, 16 * 1024] {
                let (parsed_bytes, decided) = parsed_in_pieces(head.as_bytes(), piece);
                let Parsed::Upgrade(upgrade) = decided else { panic!("{piece}: {decided:?}") };
                assert_eq!(upgrade.head_bytes, head.len());
                // Half a megabyte is what the first kilobyte costs byte by byte.
                let at_most = 4 * head.len() + 1024 * 1024 / 2 / piece;
                assert!(parsed_bytes <= at_most, "{parsed_bytes} bytes were parsed in pieces of {piece}");
            }
        }
    }
    let endless =
        "GET /connect HTTP/1.1\r\n".to_owned() + &"a: b\r\n".repeat(990) + "X: " + &"x".repeat(40_000);
    for nothing in ["\r\n".repeat(20_000), "\n".repeat(40_000), endless] {
        let (parsed_bytes, decided) = parsed_in_pieces(nothing.as_bytes(), 1);
        let Parsed::Refused(refusal) = decided else { panic!("{decided:?}") };
        assert_eq!(refusal.failure, HandshakeFailure::HeadTooBig);
        assert!(parsed_bytes <= 4 * HEAD_BYTES_MAX + 1024 * 1024 / 2, "{parsed_bytes}");
    }
}

proptest! {
    #[test]
    fn a_head_in_any_pieces_is_decided_as_in_one(
        target in "/(connect|topics/[a-z%/]{0,9})(\\?(join|topic)=[a-z0-9+%&]{0,5})?",
        filler in 0_usize..9_000,
        damage in proptest::option::of((any::<proptest::sample::Index>(), any::<u8>())),
        cuts in proptest::collection::vec(1_usize..3_000, 1..40),
    ) {
        let filler = format!("Cookie: {}", "c".repeat(filler));
        let mut bytes = request(&target, &[&[filler.as_str()], &LINES[..]].concat()).into_bytes();
        if let Some((at, byte)) = damage {
            *at.get_mut(&mut bytes) = byte;
        }
        let (mut progress, mut end) = (Progress::default(), 0);
        let mut cuts = cuts.into_iter().cycle();
        let mut decided = Parsed::Incomplete;
        while decided == Parsed::Incomplete && end < bytes.len() {
            end = bytes.len().min(end + cuts.next().unwrap());
            decided = resume(&bytes[..end], &mut progress, &clients());
        }
        // What cannot become a head may be noticed later than in one piece, but not judged in another way.
        if decided == Parsed::Incomplete {
            prop_assert!(!matches!(parse(&bytes, &clients()), Parsed::Upgrade(_)));
        } else {
            prop_assert_eq!(decided, parse(&bytes, &clients()));
        }
    }

    #[test]
    fn any_cut_of_a_request_is_decided_like_the_whole(
        target in "/(connect|topics|topics/[a-z%/]{0,9})/?(\\?((join|topic|v|product_id|alias_key)=[a-z0-9+%&]{0,5}&){0,4})?",
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
