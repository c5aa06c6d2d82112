//! The words of the gateway as plain values: they import nothing of the rest but its bounds.

mod address;
mod batch;
pub mod charge;
mod clients;
mod close_reason;
mod event_kind;
pub mod footprint;
mod format_id;
pub mod json;
mod message;
pub mod payloads;
pub mod template;
mod time;

pub use address::{Address, BadTopic, Topic, addresses_bytes};
pub use batch::{Batch, Encoded};
pub use clients::{Clients, LivenessCounts, SubprotocolUnknown};
pub use close_reason::CloseReason;
pub use event_kind::{EventKind, EventKinds};
pub use format_id::FormatId;
pub use message::{Epoch, Message, Offset, PayloadKind};
pub use template::{TemplatePart, TopicTemplate};
pub use time::{Moment, Tick};
