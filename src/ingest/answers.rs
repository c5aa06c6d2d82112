//! The way back from the ingest core to the control thread: what became of each request that wants to know.
//!
//! A request has a [`Ticket`], and gets one [`Verdict`]: through a ring that has a slot for every ticket there is, with a
//! doorbell. *Not here*: who waits (`api::tickets`), what decides (`redis::outbound`, `pushes`).

use std::sync::Arc;

use crate::ring::doorbell::Doorbell;
use fanfare_core::limits::TICKETS_MAX;

/// Names a request whose sender waits. It is answered once: whoever answers gives it away.
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket(pub u32);

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was carried out.
    Done,
    /// The same push was carried out before.
    Duplicate,
    /// Its id is that of a push that asked for something else.
    Conflict,
    /// The queue to Redis has no room for it; nothing was done.
    Full,
    /// As one message in Redis it would be above the bound; nothing was done.
    TooLarge,
    /// It was not carried out, or not known to be.
    Failed(Box<Failed>),
}

/// A publish that is not known to have been carried out whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// What is known.
    pub how: How,
    /// Messages that Redis took, each once for every address.
    pub taken: u32,
    /// All of them.
    pub of: u32,
    /// Redis' words, or a clause that says what happened.
    pub why: Box<str>,
}

/// What is known of a publish that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Redis said no.
    Refused,
    /// It was not given to Redis.
    Unavailable,
    /// It was given to Redis: it may have been delivered, or not.
    Unknown,
    /// The process stops; it was not given to Redis.
    Stopping,
}

impl Verdict {
    /// The same for another sender of the same push.
    #[must_use]
    pub fn again(&self) -> Self {
        match self {
            Self::Done | Self::Duplicate => Self::Duplicate,
            Self::Conflict => Self::Conflict,
            Self::Full => Self::Full,
            Self::TooLarge => Self::TooLarge,
            Self::Failed(failed) => Self::Failed(failed.clone()),
        }
    }

    /// The process stops before it was looked at.
    pub fn stopping() -> Self {
        let why = "the gateway is stopping".into();
        Self::Failed(Box::new(Failed { how: How::Stopping, taken: 0, of: 0, why }))
    }
}

/// The ingest core's end.
pub struct Answers {
    ring: rtrb::Producer<(Ticket, Verdict)>,
    doorbell: Arc<Doorbell>,
}

/// The control thread's end.
pub struct Verdicts {
    ring: rtrb::Consumer<(Ticket, Verdict)>,
    doorbell: Arc<Doorbell>,
}

/// Both ends; the doorbell is the control thread's.
pub fn answers(doorbell: Arc<Doorbell>) -> (Answers, Verdicts) {
    let (producer, consumer) = rtrb::RingBuffer::new(TICKETS_MAX);
    (Answers { ring: producer, doorbell: Arc::clone(&doorbell) }, Verdicts { ring: consumer, doorbell })
}

impl Answers {
    /// Gives a verdict.
    pub fn give(&mut self, ticket: Ticket, verdict: Verdict) {
        let given = self.ring.push((ticket, verdict));
        assert!(given.is_ok(), "there are as many slots as tickets");
        self.doorbell.ring();
    }
}

impl Verdicts {
    /// The oldest.
    pub fn pop(&mut self) -> Option<(Ticket, Verdict)> {
        self.ring.pop().ok()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Rung by the ingest core.
    pub fn doorbell(&self) -> &Arc<Doorbell> {
        &self.doorbell
    }
}

impl std::fmt::Debug for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answers").finish_non_exhaustive()
    }
}
