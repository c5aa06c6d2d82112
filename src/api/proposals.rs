//! What the control thread asks of the main thread, which owns the configuration: to show it, or to change it.
//!
//! A proposal waits in a bounded queue; its answer appears in a cell that the asker looks at, as with a census. *Not
//! here*: what comes of it (`supervision`, `config::settings`).

use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::config::patch::Patch;
use crate::config::problem::Problems;
use crate::config::settings::View;
use fanfare_core::limits::CONFIG_PROPOSALS_MAX;

/// Time between two looks for an answer; a change takes a turn of each shard's loop.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// What came of a proposal.
#[derive(Debug)]
pub enum PatchOutcome {
    /// The configuration; a change is in force on every shard.
    Shown(Box<View>),
    /// Everything that is wrong; nothing has changed.
    Refused(Problems),
    /// The process is stopping and changes nothing any more.
    Stopping,
}

/// One question.
#[derive(Debug)]
pub struct Proposal {
    /// What to change; `None`: show what there is.
    pub patch: Option<Patch>,
    answer: Arc<OnceLock<PatchOutcome>>,
}

/// The asker's end of a [`Proposal`].
#[derive(Debug)]
pub struct Awaited(Arc<OnceLock<PatchOutcome>>);

/// The control thread's end.
pub struct Proposals {
    sender: mpsc::SyncSender<Proposal>,
    wake: Box<dyn Fn() + Send>,
}

/// The main thread's end.
#[derive(Debug)]
pub struct Inbox(mpsc::Receiver<Proposal>);

/// Both ends; `wake` ends the main thread's wait.
pub fn proposals(wake: impl Fn() + Send + 'static) -> (Proposals, Inbox) {
    let (sender, receiver) = mpsc::sync_channel(CONFIG_PROPOSALS_MAX);
    (Proposals { sender, wake: Box::new(wake) }, Inbox(receiver))
}

impl Proposals {
    /// Proposes; never waits. `None`: as many as may wait do.
    pub fn propose(&self, patch: Option<Patch>) -> Option<Awaited> {
        let answer = Arc::default();
        let proposal = Proposal { patch, answer: Arc::clone(&answer) };
        self.sender.try_send(proposal).ok()?;
        (self.wake)();
        Some(Awaited(answer))
    }
}

impl Inbox {
    /// The proposal that has waited longest.
    pub fn next(&self) -> Option<Proposal> {
        self.0.try_recv().ok()
    }
}

impl Proposal {
    /// Answers, once.
    pub fn answer(self, answer: PatchOutcome) {
        // It was taken out of the queue once, so nobody else has answered.
        let _ = self.answer.set(answer);
    }
}

impl Awaited {
    /// The answer, within the monoio runtime of the calling thread; `None` when none has come by then. What was proposed
    /// may be done all the same.
    pub async fn within(mut self, deadline: Duration) -> Option<PatchOutcome> {
        let begun = Instant::now();
        loop {
            // Who answered has let go of its end by then; before that the cell is not ours alone.
            if let Some(answer) = Arc::get_mut(&mut self.0).and_then(OnceLock::take) {
                return Some(answer);
            }
            if begun.elapsed() >= deadline {
                return None;
            }
            monoio::time::sleep(LOOK_EVERY).await;
        }
    }
}
