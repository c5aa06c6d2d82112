//! What the main thread counts: changes of the configuration, threads that are stuck.

use fanfare_core::counters::Value;

use super::pulse::Working;

/// What made the main thread look at the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ConfigCause {
    /// SIGHUP.
    Signal,
    /// The file was saved.
    Save,
    /// etcd's keys have changed.
    Etcd,
    /// `PATCH /v1/config`.
    Api,
}

impl ConfigCause {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 4] = [Self::Signal, Self::Save, Self::Etcd, Self::Api];

    /// Label in `config_reloads_total{source}`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Save => "save",
            Self::Etcd => "etcd",
            Self::Api => "api",
        }
    }
}

/// What came of a look at the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ConfigOutcome {
    /// Something took effect.
    Applied,
    /// Nothing that is live has changed.
    Unchanged,
    /// Something was wrong; the old one stays.
    Refused,
}

impl ConfigOutcome {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 3] = [Self::Applied, Self::Unchanged, Self::Refused];

    /// Label in `config_reloads_total{outcome}`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
        }
    }
}

/// What the main thread counts.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct MainBlock {
    /// Looks at the configuration, by [`ConfigCause`] and [`ConfigOutcome`].
    pub config_reloads: [[Value; ConfigOutcome::ALL.len()]; ConfigCause::ALL.len()],
    /// 1 while a thread is stuck, by [`Working`].
    pub stalled: [Value; Working::ALL.len()],
    /// 1 while a shard is stuck.
    pub shards_stalled: Box<[Value]>,
}

impl MainBlock {
    /// Names of the threads that are stuck now.
    pub fn stalled(&self) -> Vec<String> {
        let others =
            Working::ALL.into_iter().zip(&self.stalled).map(|(thread, is)| (thread.label().to_owned(), is));
        let shards =
            self.shards_stalled.iter().enumerate().map(|(number, is)| (format!("shard-{number}"), is));
        shards.chain(others).filter(|(_, is)| is.get() == 1).map(|(name, _)| name).collect()
    }
}
