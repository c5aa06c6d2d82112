//! The message of a run: a pure function of its sequence number, so that a receiver knows every byte beforehand.
//!
//! `{"s":"0000000042","t":"000000840000","p":"xxx…"}`: the sequence in 10 digits, the intended send time in
//! microseconds since the run's base in 12, padding up to the size. *Not here*: how messages are framed (`verify`).

use std::ops::Range;

/// Bytes of a message without padding.
pub(crate) const MESSAGE_BYTES_MIN: usize = 44;
/// Above it no gateway that this tool knows takes a message.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Sequences are 10 digits.
pub(crate) const SEQUENCE_MAX: u64 = 10_000_000_000;

const SEQUENCE_AT: usize = 6;
const TIME_AT: usize = 23;
const TEMPLATE: &[u8; MESSAGE_BYTES_MIN - 2] = br#"{"s":"0000000000","t":"000000000000","p":""#;

/// What all messages of a run have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct MessageSpec {
    /// Bytes of every message.
    pub(crate) bytes: usize,
    /// Time between the intended times of two messages, in units of 2^-32 microseconds: a delivery's latency costs one
    /// multiplication. 0 when there is no schedule.
    interval: u64,
    /// How many the run has at most; a message whose number is at or above it is none of the run.
    pub(crate) count: u64,
    /// Of a run with several topics, the ones of one topic: its sequence `s` is the run's message `first + s * every`.
    first: u64,
    every: u64,
}

impl MessageSpec {
    /// Messages of this size, this many microseconds apart (below 2^31), at most so many.
    #[allow(clippy::cast_sign_loss)] // an interval is not negative
    pub(crate) const fn new(bytes: usize, interval_us: f64, count: u64) -> Self {
        Self { bytes, interval: (interval_us * 4_294_967_296.0) as u64, count, first: 0, every: 1 }
    }

    /// The messages of one of the run's topics, which take turns. Its sequences are consecutive again.
    pub(crate) const fn of_topic(mut self, topic: usize, topics: usize) -> Self {
        self.first = topic as u64;
        self.every = topics as u64;
        self
    }

    /// Which message of the run this sequence is.
    #[inline]
    pub(crate) fn number(&self, sequence: u64) -> u64 {
        self.first + sequence * self.every
    }

    /// The sequences of this topic among messages of the run; empty when none is.
    pub(crate) fn sequences(&self, numbers: Range<u64>) -> Range<u64> {
        let below = |number: u64| number.saturating_sub(self.first).div_ceil(self.every);
        below(numbers.start)..below(numbers.end)
    }

    /// How many topics take turns.
    pub(crate) fn topics(&self) -> u64 {
        self.every
    }

    /// Intended send time of a message, microseconds since the run's base.
    #[inline]
    pub(crate) fn intended_us(&self, sequence: u64) -> u64 {
        ((u128::from(self.number(sequence)) * u128::from(self.interval)) >> 32) as u64
    }

    /// How many messages are due at a time.
    pub(crate) fn due(&self, now_us: u64) -> u64 {
        let mut due = ((u128::from(now_us) << 32) / u128::from(self.interval.max(1))) as u64;
        while self.intended_us(due) <= now_us {
            due += 1;
        }
        due
    }

    /// Appends the message.
    pub(crate) fn write(&self, sequence: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(TEMPLATE);
        write_digits(&mut out[start + SEQUENCE_AT..start + SEQUENCE_AT + 10], self.number(sequence));
        let time = self.intended_us(sequence);
        write_digits(&mut out[start + TIME_AT..start + TIME_AT + 12], time);
        out.resize(start + self.bytes - 2, b'x');
        out.extend_from_slice(br#""}"#);
    }

    /// The sequence of a message of this run; `None` when any byte is not what that sequence's message has.
    pub(crate) fn read(&self, message: &[u8]) -> Option<u64> {
        if message.len() != self.bytes {
            return None;
        }
        let digits = &message[SEQUENCE_AT..SEQUENCE_AT + 10];
        let number = read_digits(digits).filter(|number| *number < self.count)?;
        let sequence = number.checked_sub(self.first)? / self.every;
        let mut expected = Vec::with_capacity(self.bytes);
        self.write(sequence, &mut expected);
        (expected == message).then_some(sequence)
    }
}

fn write_digits(out: &mut [u8], mut value: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

fn read_digits(digits: &[u8]) -> Option<u64> {
    digits
        .iter()
        .try_fold(0_u64, |value, digit| digit.is_ascii_digit().then(|| value * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_json_of_exactly_its_size_and_reads_back() {
        let spec = MessageSpec::new(100, 2_000.0, SEQUENCE_MAX);
        let mut out = Vec::new();
        spec.write(1_234_567, &mut out);
        assert_eq!(out.len(), 100);
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(json["s"], "0001234567");
        assert_eq!(json["t"], "002469134000");
        assert_eq!(spec.read(&out), Some(1_234_567));
    }

    #[test]
    fn the_smallest_message_has_no_padding() {
        let spec = MessageSpec::new(MESSAGE_BYTES_MIN, 0.0, SEQUENCE_MAX);
        let mut out = Vec::new();
        spec.write(9_999_999_999, &mut out);
        assert_eq!(out.len(), MESSAGE_BYTES_MIN);
        assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok());
    }

    #[test]
    fn one_wrong_byte_anywhere_is_no_message() {
        let spec = MessageSpec::new(64, 10.0, SEQUENCE_MAX);
        let mut out = Vec::new();
        spec.write(77, &mut out);
        for at in (0..out.len()).filter(|at| !(SEQUENCE_AT..SEQUENCE_AT + 10).contains(at)) {
            let mut wrong = out.clone();
            wrong[at] ^= 1;
            assert_eq!(spec.read(&wrong), None, "byte {at}");
        }
    }

    #[test]
    fn topics_take_turns_and_none_reads_the_message_of_another() {
        let run = MessageSpec::new(64, 1_000.0, 1_000);
        let topics = [0, 1, 2].map(|topic| run.of_topic(topic, 3));
        let (mut of_run, mut of_topic) = (Vec::new(), Vec::new());
        run.write(7, &mut of_run);
        topics[1].write(2, &mut of_topic);
        assert_eq!(of_run, of_topic);
        assert_eq!(topics.map(|topic| topic.read(&of_run)), [None, Some(2), None]);
        assert_eq!(topics.map(|topic| topic.sequences(3..8)), [1..3, 1..3, 1..2]);
        assert_eq!(topics.map(|topic| topic.sequences(4..5)), [2..2, 1..2, 1..1]);
        assert_eq!(topics[2].intended_us(2), 8_000);
    }

    #[test]
    fn due_counts_the_messages_whose_time_has_come() {
        let spec = MessageSpec::new(64, 2_000.0, SEQUENCE_MAX);
        assert_eq!(spec.due(0), 1);
        assert_eq!(spec.due(1_999), 1);
        assert_eq!(spec.due(2_000), 2);
        assert_eq!(spec.due(9_999), 5);
    }
}
