//! What the ingest core's verdict says to a publisher, and publishes whose answers wait for one.
//!
//! With Redis a publish is answered when it is known what became of it. Requests that a client has pipelined are handed
//! over as they are read, so that one round trip is for all of them. *Not here*: the wait (`tickets`).

use monoio::time::timeout;

use super::refusal::{Code, Refusal};
use super::response::Response;
use super::state::Api;
use super::tickets::Awaited;
use super::views::Accepted;
use crate::ingest::answers::{Failed, How, Verdict};
use crate::metrics::Audience;
use fanfare_core::limits::{PUBLISH_DEADLINE, VERDICT_MARGIN};

/// Bytes of Redis' words that an answer repeats.
const WORDS_BYTES_MAX: usize = 300;

/// A publish that was handed over and has no answer yet.
#[derive(Debug)]
pub struct Later {
    pub(super) awaited: Awaited,
    pub(super) copies: Copies,
    pub(super) answer: Taken,
}

/// Messages of a publish, each once for every address.
#[derive(Clone, Copy, Debug)]
pub struct Copies {
    /// For whom.
    pub audience: Audience,
    /// How many.
    pub count: u64,
}

/// How a publish is answered that was taken.
#[derive(Debug)]
pub enum Taken {
    /// As go-push does: 200 with nothing in it.
    GoPush,
    /// With its id and the number of its messages.
    V1(String, usize),
}

impl Taken {
    /// The answer.
    pub fn response(self) -> Response {
        match self {
            Self::GoPush => Response::empty(),
            Self::V1(id, accepted) => {
                Response::json(202, &Accepted { id, accepted, targeted: None, duplicate: false })
            }
        }
    }
}

impl Later {
    /// Whether [`Self::response`] need not wait.
    pub fn is_ready(&self) -> bool {
        self.awaited.is_ready()
    }

    /// The answer, once it is known.
    pub async fn response(self, api: &Api) -> Response {
        let told = refusal(verdict(self.awaited).await);
        count(api, self.copies, told.is_none());
        match told {
            None => self.answer.response(),
            Some(refusal) => {
                api.count_publish_refused(&refusal);
                Response::refusal(&refusal)
            }
        }
    }
}

/// Counts messages that were taken, or not.
pub fn count(api: &Api, copies: Copies, is_taken: bool) {
    let control = &api.blocks.control;
    let counter = if is_taken { &control.messages_taken } else { &control.messages_turned_away };
    counter[copies.audience as usize].add(copies.count);
}

/// The verdict, which comes in time unless the ingest core is stuck.
pub async fn verdict(awaited: Awaited) -> Verdict {
    if awaited.is_ready() {
        return awaited.await;
    }
    timeout(PUBLISH_DEADLINE + VERDICT_MARGIN, awaited).await.unwrap_or_else(|_| {
        let why = "the ingest core did not answer in time".into();
        Verdict::Failed(Box::new(Failed { how: How::Unknown, taken: 0, of: 0, why }))
    })
}

/// What a verdict other than done says; a duplicate is done.
pub fn refusal(verdict: Verdict) -> Option<Refusal> {
    let failed = match verdict {
        Verdict::Done | Verdict::Duplicate => return None,
        Verdict::Conflict => {
            return Some(Refusal::new(
                Code::IdConflict,
                "this is the id of a push that asked for something else",
            ));
        }
        Verdict::Full => return Some(Refusal::new(Code::QueueFull, "the queue to Redis is full")),
        Verdict::TooLarge => {
            let message = "as one message in Redis the push would be above the bound; send it in parts";
            return Some(Refusal::new(Code::MessageTooLarge, message));
        }
        Verdict::Failed(failed) => failed,
    };
    let Failed { how, taken, of, why } = *failed;
    let why = words(&why);
    let part = |rest: &str| match (taken, of) {
        (0, _) => format!("; {rest}"),
        _ => format!("; Redis has taken {taken} of {of} messages"),
    };
    Some(match how {
        How::Refused => {
            Refusal::new(Code::RedisRefused, format!("Redis says: {why}{}", part("nothing was published")))
        }
        How::Unavailable => {
            Refusal::new(Code::RedisUnavailable, format!("{why}{}", part("nothing was published")))
        }
        How::Stopping => Refusal::new(Code::ShuttingDown, "the gateway is stopping; nothing was published"),
        How::Unknown => {
            let message = format!(
                "the outcome is unknown: {why}. The publish was handed to Redis; devices may have received it, or not"
            );
            Refusal::new(Code::OutcomeUnknown, message)
        }
    })
}

/// As much of a text as an answer repeats.
fn words(text: &str) -> &str {
    let mut end = text.len().min(WORDS_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(how: How, taken: u32, why: &str) -> (u16, String) {
        let failed = Failed { how, taken, of: 3, why: why.into() };
        let refusal = refusal(Verdict::Failed(Box::new(failed))).expect("a refusal");
        (refusal.code.status(), refusal.message.into_owned())
    }

    #[test]
    fn a_failure_says_what_is_known_and_in_redis_own_words() {
        let noperm = "NOPERM this user has no permissions to run the 'publish' command";
        assert_eq!(
            told(How::Refused, 0, noperm),
            (502, format!("Redis says: {noperm}; nothing was published"))
        );
        assert_eq!(
            told(How::Refused, 2, "OOM"),
            (502, "Redis says: OOM; Redis has taken 2 of 3 messages".to_owned())
        );
        let (status, message) = told(How::Unknown, 0, "the connection was lost");
        assert!(status == 503 && message.starts_with("the outcome is unknown: the connection was lost."));
        assert_eq!(told(How::Unavailable, 0, "x").0, 503);
        assert!(
            told(How::Refused, 0, &"é".repeat(1000)).1.len() < 400,
            "no answer is as long as Redis likes"
        );
        assert_eq!(refusal(Verdict::Done), None);
        assert_eq!(refusal(Verdict::Conflict).expect("one").code.status(), 409);
    }
}
