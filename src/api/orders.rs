//! What the main thread tells the control thread, which hands it on: the way of everything that concerns all threads.
//!
//! *Not here*: why (`supervision`), the way on from here (`ingest::publisher`, `downlink`).

use std::io;
use std::sync::Arc;
use std::sync::mpsc;

use crate::config::live::Edition;
use crate::sys::eventfd::EventFd;
use crate::sys::readiness::Readiness;

/// Orders that can wait: the drain, and the one edition that is on its way.
const WAITING_MAX: usize = 2;

/// One thing to do.
#[derive(Debug)]
pub enum Order {
    /// The process stops.
    Drain,
    /// Go by this configuration from here on.
    Configure(Arc<Edition>),
}

/// The main thread's end.
#[derive(Debug)]
pub struct Orders {
    sender: mpsc::SyncSender<Order>,
    bell: Arc<EventFd>,
}

/// The control thread's end.
#[derive(Debug)]
pub struct Inbox {
    receiver: mpsc::Receiver<Order>,
    bell: Arc<EventFd>,
}

/// Both ends.
pub fn orders() -> io::Result<(Orders, Inbox)> {
    let bell = Arc::new(EventFd::new()?);
    let (sender, receiver) = mpsc::sync_channel(WAITING_MAX);
    Ok((Orders { sender, bell: Arc::clone(&bell) }, Inbox { receiver, bell }))
}

impl Orders {
    /// Gives an order; never waits. `false`: two wait already, which means that the control thread is stuck.
    pub fn give(&self, order: Order) -> bool {
        let given = self.sender.try_send(order).is_ok();
        self.bell.signal();
        given
    }
}

impl Inbox {
    /// The next order, within the monoio runtime of the calling thread. An error is the kernel's.
    pub(super) async fn next(&self) -> io::Result<Order> {
        let bell = Readiness::of(&*self.bell)?;
        loop {
            // The bell is silenced before the look: an order that comes after the look rings it again.
            self.bell.drain();
            if let Ok(order) = self.receiver.try_recv() {
                return Ok(order);
            }
            bell.ready().await?;
        }
    }
}
