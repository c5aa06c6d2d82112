//! Whether a publish may wait behind the pushes that hold its topics up, and may become one more.
//!
//! It is asked before a publish is accepted, so that what was accepted is not dropped. *Not here*: the bounds
//! (`push::holds`).

use super::refusal::{Code, Refusal};
use super::state::Api;
use crate::ingest::publisher::Request;
use fanfare_core::limits::PUSHES_RUNNING_MAX;
use fanfare_core::model::Address;
use fanfare_core::push::holds::{Held, Holds};

/// Refuses a request for a topic behind whose pushes enough waits already.
pub(super) fn check(api: &Api, request: &Request) -> Result<(), Refusal> {
    let to: &[Address] = match request {
        Request::Publish { addresses, .. } => addresses,
        Request::Push(new) => &new.request.to,
        Request::Inspect { .. } => return Ok(()),
    };
    api.adopt_pushes();
    let mut holds = api.holds.borrow_mut();
    // Every format has an encoding of its own: one is the least.
    let bytes = 2 * request.bytes();
    // What waits for ingest may be for such topics too, and so are the other addresses.
    let ahead = api.publisher.borrow().waiting_bytes() + bytes * (to.len() as u64 - 1);
    for address in to {
        let full = holds.refuses(address, bytes as usize, 0, ahead);
        let many = || refuses_push(api, &mut holds, request, address);
        if let Some(held) = full.or_else(many) {
            let code = if matches!(held, Held::Pushes(_) | Held::All) {
                Code::TooManyPushes
            } else {
                Code::TopicHeld
            };
            let so = held.sentence(address);
            return Err(Refusal::new(code, format!("{so}: let it go on or cancel it, or try again later")));
        }
    }
    Ok(())
}

/// Why no push may begin for an address, if the request becomes one there: it asks for it, or a rule does.
fn refuses_push(api: &Api, holds: &mut Holds, request: &Request, address: &Address) -> Option<Held> {
    if matches!(request, Request::Push(_)) {
        // The registry has counted it.
        return holds.refuses_push(address);
    }
    let is_paced = api.config().pacing.rule_for(address).is_some();
    if !is_paced || holds.waits_for_rule(address) {
        return None;
    }
    if api.pushes.borrow().running() >= PUSHES_RUNNING_MAX {
        return Some(Held::All);
    }
    holds.refuses_push(address)
}
