//! Any bytes are a push, a payload, or refused; what is a push reads the same once it is printed. The first byte
//! chooses between the header of a message and the JSON object, and gives the bytes their beginning.
#![no_main]

use bytes::Bytes;
use fanfare_core::push::header::{self, Header};
use fanfare_core::push::id::PushId;
use fanfare_core::push::request;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [choice, rest @ ..] = data else { return };
    if choice % 2 == 0 {
        let whole = Bytes::from([if choice % 4 == 0 { &b"@push "[..] } else { b"" }, rest].concat());
        if let Ok(Header::Push { terms, id, is_job, payload }) = header::parse(&whole) {
            assert!(whole.ends_with(&payload) && terms.check().is_ok());
            assert!(is_job || (id.is_none() && terms == Default::default()));
        }
        return;
    }
    let Ok(request) = request::parse(&Bytes::copy_from_slice(rest)) else { return };
    assert!(!request.to.is_empty() && !request.messages.is_empty() && request.terms.check().is_ok());
    let id = request.id.clone().unwrap_or_else(|| PushId::new("x").expect("an id"));
    let again = request::parse(&request.to_json(&id)).expect("what is printed can be read");
    assert_eq!((&again.to, again.terms, &again.id), (&request.to, request.terms, &Some(id)));
    let payloads = |request: &request::Request| -> Vec<Bytes> {
        request.messages.iter().map(|message| message.payload.clone()).collect()
    };
    assert_eq!(payloads(&again), payloads(&request));
    assert_eq!(again.fingerprint(), request.fingerprint());
});
