//! A request is decided the same however it is cut into reads; an accepted one is within the bounds, and its answer is one
//! head. The first byte chooses the reads' size, two bits of the second what becomes of unknown subprotocols.
#![no_main]

use std::sync::LazyLock;

use fanfare::config::Config;
use fanfare_core::model::{Clients, SubprotocolUnknown, TemplatePart, TopicTemplate};
use fanfare_core::websocket::handshake::{Parsed, Progress, parse, resume};
use libfuzzer_sys::fuzz_target;

static CLIENTS: LazyLock<[Clients; 4]> = LazyLock::new(|| {
    use SubprotocolUnknown::{First, None, Refuse};
    [First, None, Refuse, First].map(|subprotocol_unknown| {
        let parts = vec![TemplatePart::Literal("t:".into()), TemplatePart::Parameter("p".into())];
        Clients {
            auto_join: vec![TopicTemplate { parts }],
            subprotocols: vec!["json".into()],
            subprotocol_unknown,
            head_bytes_max: 4096,
            ..Config::default().clients
        }
    })
});

fuzz_target!(|data: &[u8]| {
    let [step, choice, request @ ..] = data else { return };
    let clients = &CLIENTS[usize::from(choice % 4)];
    let whole = parse(request, clients);
    let ends = || (1..request.len()).step_by(1 + usize::from(*step)).chain([request.len()]);
    let decided =
        ends().map(|end| parse(&request[..end], clients)).find(|parsed| *parsed != Parsed::Incomplete);
    assert_eq!(decided.unwrap_or(Parsed::Incomplete), whole);

    let mut progress = Progress::default();
    let resumed = ends().map(|end| resume(&request[..end], &mut progress, clients));
    let resumed = { resumed }.find(|parsed| *parsed != Parsed::Incomplete).unwrap_or(Parsed::Incomplete);
    // What cannot become a head may be noticed later, but nothing else is decided in another way.
    assert!(resumed == whole || (resumed == Parsed::Incomplete && matches!(whole, Parsed::Refused(_))));

    if let Parsed::Upgrade(upgrade) = whole {
        assert!(upgrade.head_bytes <= request.len().min(clients.head_bytes_max));
        assert!(upgrade.topics.len() <= clients.topics_max);
        let answer = std::str::from_utf8(&upgrade.response).expect("fields of ASCII");
        assert!(answer.starts_with("HTTP/1.1 101 ") && answer.ends_with("\r\n\r\n"));
        let fields = answer.trim_end().split("\r\n").skip(1);
        assert!(
            fields.clone().all(|field| field.split_once(": ").is_some_and(|(_, value)| !value.is_empty()))
        );
        assert!((3..=4).contains(&fields.count()) && !answer.replace("\r\n", "").contains(['\r', '\n']));
    }
});
