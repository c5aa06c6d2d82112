//! What the sender of a push may ask for, and the bounds of each.

use std::time::Duration;

use super::rate::Rate;
use crate::limits::{PUSH_EXPIRES_MAX, PUSH_RAMP_MAX, PUSH_WEIGHT_MAX};

/// In which order a push stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Lane {
    /// In the order of its topics: behind every earlier message, before every later one.
    #[default]
    Normal,
    /// Past everything that its topics have waiting. Urgent pushes of a topic keep their order among themselves; between
    /// them and other messages there is none.
    Urgent,
}

impl Lane {
    /// How it is written.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Urgent => "urgent",
        }
    }

    /// Reads what [`Lane::label`] writes.
    pub fn named(text: &str) -> Option<Self> {
        [Self::Normal, Self::Urgent].into_iter().find(|lane| lane.label() == text)
    }
}

/// The options of a push.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// Devices per second; `None`: as fast as sends go.
    pub rate: Option<Rate>,
    /// Time in which the rate rises from nothing; zero: it does not.
    pub ramp: Duration,
    /// Time after which whoever was not served never is.
    pub expires_in: Option<Duration>,
    /// Its order.
    pub lane: Lane,
    /// Its share where paced pushes have to share, from 1.
    pub weight: u32,
}

impl Default for Terms {
    fn default() -> Self {
        Self { rate: None, ramp: Duration::ZERO, expires_in: None, lane: Lane::Normal, weight: 1 }
    }
}

/// An option with a value that it does not take: its name, and what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadTerm {
    /// The option.
    pub name: &'static str,
    /// What it takes.
    pub takes: &'static str,
}

/// A time from a number of seconds, a fraction allowed.
fn seconds(value: f64, min: Duration, max: Duration) -> Option<Duration> {
    let time = Duration::try_from_secs_f64(value).ok()?;
    (min..=max).contains(&time).then_some(time)
}

/// `rate`, devices per second.
pub fn rate(value: f64) -> Result<Rate, BadTerm> {
    Rate::per_second(value)
        .map_err(|_| BadTerm { name: "rate", takes: "devices per second, from 0.1 to 10000000" })
}

/// `ramp_s`.
pub fn ramp(value: f64) -> Result<Duration, BadTerm> {
    seconds(value, Duration::ZERO, PUSH_RAMP_MAX)
        .ok_or(BadTerm { name: "ramp_s", takes: "seconds, from 0 to 86400" })
}

/// `expires_in_s`.
pub fn expires_in(value: f64) -> Result<Duration, BadTerm> {
    seconds(value, Duration::from_millis(1), PUSH_EXPIRES_MAX)
        .ok_or(BadTerm { name: "expires_in_s", takes: "seconds, above 0 and up to 604800" })
}

/// `weight`.
pub fn weight(value: u64) -> Result<u32, BadTerm> {
    let wrong = BadTerm { name: "weight", takes: "a whole number from 1 to 1000" };
    u32::try_from(value).ok().filter(|weight| (1..=PUSH_WEIGHT_MAX).contains(weight)).ok_or(wrong)
}

/// `lane`.
pub fn lane(text: &str) -> Result<Lane, BadTerm> {
    Lane::named(text).ok_or(BadTerm { name: "lane", takes: "\"normal\" or \"urgent\"" })
}

impl Terms {
    /// Whether they fit each other.
    pub fn check(&self) -> Result<(), BadTerm> {
        if self.rate.is_none() && !self.ramp.is_zero() {
            return Err(BadTerm { name: "ramp_s", takes: "a `rate` beside it, to which to rise" });
        }
        Ok(())
    }
}
