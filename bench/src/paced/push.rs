//! The push of a run: what is asked for, and its last word. *Not here*: watching it (`super`), its API (`api`).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::api::{Api, Push};
use super::args::PacedArgs;
use super::connect::{LOOK, SETTLE};
use super::message;

/// A push that was cancelled is over within it.
const CANCELLED_WITHIN: Duration = Duration::from_secs(5);

/// The push's body.
pub(super) fn body(args: &PacedArgs) -> Result<Value, String> {
    let text = message::text(0, 0, args.bytes as usize);
    let message: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    Ok(json!({"to": {"topic": format!("{}-0", args.topic)}, "messages": [message], "rate": args.rate}))
}

/// The last word of a push that was cancelled.
pub(super) fn wait_over(api: &mut Api, id: &str) -> Result<Push, String> {
    let until = Instant::now() + CANCELLED_WITHIN;
    loop {
        let push = api.get(id)?;
        if push.is_over() {
            // What it has sent is on its way for a moment.
            std::thread::sleep(SETTLE);
            return Ok(push);
        }
        if Instant::now() > until {
            return Err(format!("push {id} was cancelled and is still {}", push.state));
        }
        std::thread::sleep(LOOK);
    }
}
