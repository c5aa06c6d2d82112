//! A request is decided the same however it is cut into reads; an accepted one is within the bounds. The first byte
//! chooses the reads' size.
#![no_main]

use std::sync::LazyLock;

use fanfare::config::{Clients, Config, TemplatePart, TopicTemplate};
use fanfare::wire::upgrade::{Parsed, parse};
use libfuzzer_sys::fuzz_target;

static CLIENTS: LazyLock<Clients> = LazyLock::new(|| {
    let parts = vec![TemplatePart::Literal("t:".into()), TemplatePart::Parameter("p".into())];
    Clients { auto_join: vec![TopicTemplate { parts }], ..Config::default().clients }
});

fuzz_target!(|data: &[u8]| {
    let [step, request @ ..] = data else { return };
    let whole = parse(request, &CLIENTS);
    let ends = (0..request.len()).step_by(1 + usize::from(*step)).chain([request.len()]);
    let decided =
        ends.map(|end| parse(&request[..end], &CLIENTS)).find(|parsed| *parsed != Parsed::Incomplete);
    assert_eq!(decided.unwrap_or(Parsed::Incomplete), whole);

    if let Parsed::Upgrade(upgrade) = whole {
        assert!(upgrade.head_bytes <= request.len());
        assert!(upgrade.topics.len() <= CLIENTS.topics_max);
        assert!(upgrade.response.starts_with(b"HTTP/1.1 101 ") && upgrade.response.ends_with(b"\r\n\r\n"));
    }
});
