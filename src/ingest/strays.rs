//! Channels under the prefix that name nobody: each is a publisher's mistake, and is told with what would be right.
//!
//! A counter has them all; the log has one line now and then, with the channel as it came. *Not here*: what a channel's
//! name means (`intake`).

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

use crate::metrics::Refused;
use fanfare_core::limits::LOG_QUIET;

/// Characters of a channel that the log shows.
const SHOWN_MAX: usize = 80;

/// What a channel under the prefix may be; a name goes behind the colon.
const CHANNELS: [&str; 3] = ["all", "topic:", "push"];

/// Channels that the log names within [`LOG_QUIET`], each once.
const NAMED_MAX: usize = 8;

/// What is told of them.
pub(super) struct Strays {
    prefix: String,
    /// Since when, and which were told since then.
    since: Option<Instant>,
    told: Vec<u64>,
    /// Messages since the last line.
    held: u64,
}

impl Strays {
    /// Of channels under this prefix.
    pub(super) fn new(prefix: String) -> Self {
        Self { prefix, since: None, told: Vec::new(), held: 0 }
    }

    /// A message came on a channel, its prefix cut off, that was refused for this reason.
    pub(super) fn tell(&mut self, channel: &[u8], refused: Refused, now: Instant) {
        if let Some((times, why)) = self.line(channel, refused, now) {
            tracing::warn!(
                "a message on the channel {}{} reaches nobody ({times} since the last such line): {why}",
                self.prefix,
                shown(channel)
            );
        }
    }

    /// How many messages there were since the last line, and what is wrong; `None`: nothing is to be told now.
    fn line(&mut self, channel: &[u8], refused: Refused, now: Instant) -> Option<(u64, String)> {
        if !matches!(refused, Refused::UnknownChannel | Refused::BadTopic | Refused::Uid) {
            // The others are told where they are found.
            return None;
        }
        self.held += 1;
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= LOG_QUIET) {
            self.since = Some(now);
            self.told.clear();
        }
        let mut hasher = DefaultHasher::new();
        channel.hash(&mut hasher);
        let name = hasher.finish();
        if self.told.len() >= NAMED_MAX || self.told.contains(&name) {
            return None;
        }
        self.told.push(name);
        Some((std::mem::take(&mut self.held), self.reason(channel, refused)))
    }

    /// What is wrong with a channel, and what would be right.
    fn reason(&self, channel: &[u8], refused: Refused) -> String {
        let prefix = &self.prefix;
        match refused {
            Refused::Uid => format!(
                "devices have no uid in this version; give each a topic of its own, {prefix}topic:{}",
                shown(channel.strip_prefix(b"uid:").unwrap_or_default())
            ),
            Refused::BadTopic => {
                "behind topic: stands the name of a topic, 1 to 256 bytes of UTF-8 without control characters"
                    .to_owned()
            }
            _ => match nearest(channel) {
                Some(right) => format!("did you mean {prefix}{right}?"),
                None => format!("there are {prefix}all, {prefix}topic:NAME and {prefix}push"),
            },
        }
    }
}

/// The right channel that a wrong one looks like.
fn nearest(channel: &[u8]) -> Option<String> {
    let channel = std::str::from_utf8(channel).ok()?;
    let (kind, name) = match channel.find(['/', ':', '.', '-']) {
        Some(at) => (&channel[..=at], Some(&channel[at + 1..])),
        None => (channel, None),
    };
    // One letter in four may be wrong, and case is no difference.
    let kind = kind.to_lowercase();
    let distance = |right: &&str| strsim::damerau_levenshtein(&kind, right);
    let near = CHANNELS.iter().min_by_key(|right| distance(right)).filter(|right| {
        let length = kind.len().max(right.len());
        distance(right) <= (length / 3).max(1)
    })?;
    match (near.ends_with(':'), name) {
        (true, Some(name)) if !name.is_empty() => Some(format!("{near}{}", shown(name.as_bytes()))),
        (true, _) => Some(format!("{near}NAME")),
        (false, _) => Some((*near).to_owned()),
    }
}

/// A channel as far as the log shows it, with nothing in it that a terminal obeys.
fn shown(channel: &[u8]) -> String {
    let mut shown = String::new();
    let text = String::from_utf8_lossy(channel);
    for character in text.chars().take(SHOWN_MAX) {
        // A String takes every write.
        let _ = write!(shown, "{}", character.escape_debug());
    }
    if text.chars().nth(SHOWN_MAX).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_channel_is_told_with_the_nearest_right_one() {
        let near = |channel: &str| nearest(channel.as_bytes());
        for (wrong, right) in [
            ("topics:news", "topic:news"),
            ("topic/news", "topic:news"),
            ("Topic:news", "topic:news"),
            ("topic", "topic:NAME"),
            ("tpoic:a:b", "topic:a:b"),
            ("All", "all"),
            ("al", "all"),
            ("all:", "all"),
            ("pushes", "push"),
            ("pusj", "push"),
        ] {
            assert_eq!(near(wrong).as_deref(), Some(right), "{wrong}");
        }
        for stranger in ["", "room:news", "users", "x", "broadcast"] {
            assert_eq!(near(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn a_reason_says_what_would_be_right() {
        let strays = Strays::new("f:".into());
        assert!(strays.reason(b"uid:7", Refused::Uid).contains("f:topic:7"));
        assert!(strays.reason(b"topic:", Refused::BadTopic).contains("1 to 256 bytes"));
        assert_eq!(strays.reason(b"topics:a", Refused::UnknownChannel), "did you mean f:topic:a?");
        assert!(strays.reason(b"\xff", Refused::UnknownChannel).contains("f:topic:NAME"));
    }

    #[test]
    fn each_channel_is_told_once_in_a_while_and_no_flood_of_them_floods_the_log() {
        let (mut strays, now) = (Strays::new("f:".into()), Instant::now());
        let mut line = |channel: &str, at| {
            strays.line(channel.as_bytes(), Refused::UnknownChannel, at).map(|(times, _)| times)
        };
        assert_eq!((line("a", now), line("a", now), line("b", now)), (Some(1), None, Some(2)));
        let lines = (0..1000).filter(|n| line(&n.to_string(), now).is_some()).count();
        assert_eq!(lines, NAMED_MAX - 2);
        assert_eq!(line("a", now + LOG_QUIET), Some(1000 - (NAMED_MAX as u64 - 2) + 1));
    }

    #[test]
    fn what_the_log_shows_is_bounded_and_has_no_control_characters() {
        let shown = shown("a\n\x1b[31m\u{202e}".repeat(100).as_bytes());
        assert!(shown.chars().all(|character| !character.is_control()));
        assert!(shown.len() < SHOWN_MAX * 10, "{shown}");
    }
}
