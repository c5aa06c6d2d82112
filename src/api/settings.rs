//! `/v1/config`: the running configuration, and changing it.
//!
//! *Not here*: who decides (`supervision`), the shape of the answer (`config::settings`).

use crate::api::proposals::PatchOutcome;
use crate::api::refusal::{Code, Refusal};
use crate::api::response::Response;
use crate::api::state::Api;
use crate::config::patch::Patch;
use crate::config::problem::Problems;
use crate::config::settings::Told;
use fanfare_core::limits::CONFIG_PATCH_BYTES_MAX;

/// Shows the configuration.
pub async fn show(api: &Api) -> Result<Response, Refusal> {
    ask(api, None).await
}

/// Changes it; answers once every shard goes by the change.
pub async fn change(api: &Api, body: &[u8]) -> Result<Response, Refusal> {
    if body.len() > CONFIG_PATCH_BYTES_MAX {
        let message = format!("a change of the configuration has at most {CONFIG_PATCH_BYTES_MAX} bytes");
        return Err(Refusal::new(Code::BodyTooLarge, message));
    }
    let patch = Patch::parse(body).map_err(|sentence| Refusal::new(Code::BadBody, sentence))?;
    ask(api, Some(patch)).await
}

async fn ask(api: &Api, patch: Option<Patch>) -> Result<Response, Refusal> {
    let awaited = api.proposals.propose(patch).ok_or_else(|| {
        Refusal::new(Code::QueueFull, "as many questions about the configuration wait as there may be")
    })?;
    match awaited.within(api.deadlines.config).await {
        Some(PatchOutcome::Shown(view)) => Ok(Response::json(200, &view)),
        Some(PatchOutcome::Refused(problems)) => Ok(refused(&problems)),
        Some(PatchOutcome::Stopping) => Err(Refusal::new(Code::ShuttingDown, "the gateway is stopping")),
        None => {
            let message =
                "the configuration did not reach every shard in time; GET /v1/config shows what is in force";
            Err(Refusal::new(Code::NoAnswer, message))
        }
    }
}

/// 422 with every problem.
fn refused(problems: &Problems) -> Response {
    let count = problems.0.len();
    let message = format!("nothing was changed: {count} problem{}", if count == 1 { "" } else { "s" });
    let mut error = crate::api::response::error_object(&Refusal::new(Code::BadConfig, message));
    error["problems"] = problems.0.iter().map(|problem| serde_json::json!(Told::of(problem))).collect();
    Response::json(Code::BadConfig.status(), &serde_json::json!({"error": error}))
}
